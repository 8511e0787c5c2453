"""Noise scales and critical batches: how many steps does a batch save?

With ``G`` the gradient and ``Sigma`` the covariance of that of one example, a batch of ``B`` has
noise ``Sigma / B``. The noise scale is ``tr(Sigma) / |G|^2`` (McCandlish et al., 2018,
https://arxiv.org/abs/1812.06162); the steps to a target are ``fewest (1 + critical / B)``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.stats.intervals import t_quantile

# ----------------------------------------------------------------------------
# Unbiased numerator and denominator, and the interval of their ratio.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Moments:
    """Inner products of gradients of equally large groups of examples.

    Attributes:
        size: Examples in each group.
        squares: Squared length of each group's mean gradient, shape ``(k,)``.
        dots: Its inner product with the sum of all, shape ``(k,)``.
        total: Squared length of the sum of all.
    """

    size: int
    squares: Tensor
    dots: Tensor
    total: float

    def __add__(self, other: "Moments") -> "Moments":
        """Returns those of two players together, seen on the same examples."""
        return Moments(
            self.size,
            self.squares + other.squares,
            self.dots + other.dots,
            self.total + other.total,
        )

    @property
    def trace(self) -> float:
        """Unbiased estimate of ``tr(Sigma)``, the variance of the gradient of one example.

        Source: McCandlish et al., 2018, https://arxiv.org/abs/1812.06162, appendix A.1, with the
        mean over all small batches.
        """
        k = len(self.squares)
        return self.size * (float(self.squares.sum()) / k - self.square)

    @property
    def square(self) -> float:
        """Unbiased estimate of ``|G|^2``; below 0 where noise hides it."""
        k = len(self.squares)
        return (self.total - float(self.squares.sum())) / (k * (k - 1))

    def parts(self) -> "Parts":
        """Returns both with their covariance, by leaving out one group at a time.

        Source: Efron and Stein, 1981, https://doi.org/10.1214/aos/1176345462: the jackknife's
        variance is too large rather than too small.
        """
        k = len(self.squares)
        total, squares = self.total, self.squares
        rest = total - 2 * self.dots + squares
        without = squares.sum() - squares
        gradient = (rest - without) / ((k - 1) * (k - 2))
        noise = self.size * (without / (k - 1) - gradient)
        both = torch.stack([noise, gradient])
        off = both - both.mean(1, keepdim=True)
        covariance = (off @ off.T) * (k - 1) / k
        return Parts(
            trace=self.trace,
            square=self.square,
            covariance=(
                float(covariance[0, 0]),
                float(covariance[0, 1]),
                float(covariance[1, 1]),
            ),
            df=k - 1,
            n=k * self.size,
        )


@final
@dataclass(frozen=True, slots=True)
class Parts:
    """Numerator and denominator of a noise scale.

    Attributes:
        trace: ``tr(Sigma)`` of one example.
        square: ``|G|^2``.
        covariance: Variance of the first, covariance, variance of the second.
        df: Degrees of freedom of the covariance.
        n: Examples.
    """

    trace: float
    square: float
    covariance: tuple[float, float, float]
    df: float
    n: int

    def scale(self, *, level: float = 0.95) -> Estimate:
        """Returns the noise scale ``tr(Sigma) / |G|^2`` in examples, with Fieller's interval.

        Where the squared gradient is not told from 0, only a lower bound is known.

        Source: Fieller, 1954, https://doi.org/10.1111/j.2517-6161.1954.tb00159.x.
        """
        low, high = fieller(self, t_quantile((1 + level) / 2, max(self.df, 1.0)))
        if high is None or self.square <= 0:
            bound = max(low, 0.0)
            return Estimate(
                value=bound,
                kind="lower",
                level=level,
                n=self.n,
                unit="examples",
                method=f"lower bound: on {self.n} examples the gradient cannot be distinguished "
                "from 0",
            ).beside(trace=self.trace, square=self.square)
        return Estimate(
            value=self.trace / self.square,
            low=max(low, 0.0),
            high=high,
            level=level,
            n=self.n,
            unit="examples",
            kind="estimate",
            method=f"ratio of unbiased estimates on {self.n} examples, jackknife, Fieller's "
            "interval",
        ).beside(trace=self.trace, square=self.square)


def fieller(parts: Parts, quantile: float) -> tuple[float, float | None]:
    """Returns the ends of the interval of a ratio; the upper one None where it has none.

    It holds every ratio ``r`` for which ``trace - r square`` does not differ from 0 by more than
    ``quantile`` standard errors.

    Example:
        >>> low, high = fieller(Parts(8.0, 2.0, (0.04, 0.0, 0.01), 1e9, 1), 2.0)
        >>> round(low, 3), round(high, 3)
        (3.589, 4.492)
    """
    n, d = parts.trace, parts.square
    vn, c, vd = (quantile**2 * v for v in parts.covariance)
    a, b, e = d * d - vd, n * d - c, n * n - vn
    inner = b * b - a * e
    if inner < 0:  # every ratio fits
        return 0.0, None
    root = math.sqrt(inner)
    if a > 0 and d > 0:
        return (b - root) / a, (b + root) / a
    if a == 0:
        return (e / (2 * b) if b > 0 else 0.0), None
    ends = sorted(((b - root) / a, (b + root) / a))
    # All ratios but those between the ends fit; none below 0 is one of a variance.
    return max(ends[1], 0.0), None


def pooled(parts: Sequence[Parts]) -> Parts:
    """Returns the mean of several looks, numerator and denominator apart.

    Source: McCandlish et al., 2018, appendix A.1: the ratio of means is biased far less than the
    mean of ratios.

    Raises:
        ValueError: If there are none.
    """
    k = len(parts)
    if not k:
        raise ValueError("There are no looks.")
    covariance = [math.fsum(p.covariance[i] for p in parts) / k**2 for i in range(3)]
    return Parts(
        trace=math.fsum(p.trace for p in parts) / k,
        square=math.fsum(p.square for p in parts) / k,
        covariance=(covariance[0], covariance[1], covariance[2]),
        df=sum(p.df for p in parts),
        n=sum(p.n for p in parts),
    )


# ----------------------------------------------------------------------------
# Critical batches: predicted from noise scales, fitted to sweeps.
# ----------------------------------------------------------------------------

_DRAWS = 4000


def predicted_critical_batch(
    windows: Sequence[Parts], batch: int, *, rng: torch.Generator, level: float = 0.95
) -> Estimate:
    """Returns the critical batch of a training from its noise scales, in examples.

    It is the mean of the noise scale over progress: a step on ``B`` examples where the scale is
    ``b`` is worth ``1 / (1 + b / B)`` of one without noise, and counts as much. The interval is
    from normal draws of all numerators and denominators.

    Source: McCandlish et al., 2018, https://arxiv.org/abs/1812.06162, eq. 2.11 and appendix D.

    Args:
        windows: Numerator and denominator in parts of a training, of equally many steps.
        batch: With what batch it was trained.
        rng: For the draws of the interval.
        level: Confidence level.
    """
    if not windows:
        return Estimate.missing("the gradient noise was not measured", unit="examples")
    n = sum(p.n for p in windows)
    noise = torch.tensor([p.trace for p in windows], dtype=torch.float64)
    square = torch.tensor([p.square for p in windows], dtype=torch.float64)
    draws = _drawn(windows, rng)
    values = _mean_scale(draws[..., 0], draws[..., 1], batch).sort().values
    tail = round((1 - level) / 2 * len(values))
    low, high = float(values[tail]), float(values[-tail - 1])
    value = float(_mean_scale(noise[None], square[None], batch)[0])
    if not math.isfinite(high) or not math.isfinite(value):
        return Estimate(
            value=low,
            kind="lower",
            level=level,
            n=n,
            unit="examples",
            method="lower bound: in parts of training the gradient cannot be distinguished from 0",
        )
    return Estimate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        level=level,
        n=n,
        unit="examples",
        kind="estimate",
        method=f"noise scales in {len(windows)} parts of training, weighed by progress",
    )


def _drawn(windows: Sequence[Parts], rng: torch.Generator) -> Tensor:
    """Returns draws of numerators and denominators, shape ``(draws, windows, 2)``."""
    normal = torch.randn(_DRAWS, len(windows), 2, generator=rng, dtype=torch.float64)
    found = []
    for i, p in enumerate(windows):
        a, c, b = p.covariance
        first = math.sqrt(max(a, 0.0))
        shared = c / first if first else 0.0
        rest = math.sqrt(max(b - shared**2, 0.0))
        trace = p.trace + first * normal[:, i, 0]
        square = p.square + shared * normal[:, i, 0] + rest * normal[:, i, 1]
        found.append(torch.stack([trace, square], dim=1))
    return torch.stack(found, dim=1)


def _mean_scale(noise: Tensor, square: Tensor, batch: int) -> Tensor:
    """Returns the mean of ``noise / square`` over windows, weighed by progress."""
    noise, square = noise.clamp(min=0), square.clamp(min=0)
    whole = square + noise / batch
    progress = (square / whole).nan_to_num(0.0)
    return (noise / whole).nan_to_num(0.0).sum(-1) / progress.sum(-1)


@final
@dataclass(frozen=True, slots=True)
class Hyperbola:
    """``S = fewest (1 + critical / B)``: steps to a target at batch ``B``.

    Attributes:
        fewest: Steps of a training without noise.
        critical: The batch at which twice as many are needed, in examples.
    """

    fewest: Estimate
    critical: Estimate

    def steps(self, batch: float) -> float | None:
        """Returns how many steps reach the target at a batch, or None where that is not known."""
        if self.fewest.value is None or self.critical.value is None:
            return None
        return self.fewest.value * (1 + self.critical.value / batch)


_GRID = 600


def fit_critical_batch(
    batches: Sequence[float], steps: Sequence[float], *, level: float = 0.95
) -> Hyperbola:
    """Returns the hyperbola of steps against batches, with profile intervals.

    Least squares of logarithms, since what varies between seeds is the factor. An end of the
    interval that the batches do not bound is said.

    Source: McCandlish et al., 2018, https://arxiv.org/abs/1812.06162, eq. 2.7. The intervals:
    Bates and Watts, 1988, section 6.1.

    Args:
        batches: Batch of each training that reached the target.
        steps: Steps that it took.
        level: Confidence level.

    Raises:
        UserError: If there are fewer than three trainings, or all have one batch.
    """
    if len(batches) != len(steps) or len(steps) < 3 or len(set(batches)) < 2:
        raise UserError(
            "A critical batch needs at least three trainings of at least two batches. Got "
            f"{len(steps)} of {len(set(batches))}."
        )
    B = torch.tensor(batches, dtype=torch.float64)
    y = torch.tensor(steps, dtype=torch.float64).log()
    ends = math.log(float(B.min()) * 1e-3), math.log(float(B.max()) * 1e3)
    grid = torch.linspace(*ends, _GRID, dtype=torch.float64)
    critical, c, rest = _profile(grid, B, y)
    offset = torch.linspace(
        float(y.min()) - math.log(1e3), float(y.max()), _GRID, dtype=torch.float64
    )
    left = y - torch.log1p(grid.exp()[:, None] / B)
    squares, sums = left.square().sum(1), left.sum(1)
    by_fewest = (squares - 2 * offset[:, None] * sums + len(y) * offset[:, None] ** 2).amin(1)
    fit = _Fit(
        limit=rest * (1 + _f_quantile(level, len(steps) - 2)),
        n=len(steps),
        method=f"hyperbola through {len(steps)} trainings, least squares of logarithms",
    )
    by_critical = _residuals(grid, B, y)
    return Hyperbola(
        fewest=_bounded(math.exp(c), "steps", fit, offset, by_fewest, level=level),
        critical=_bounded(critical, "examples", fit, grid, by_critical, level=level),
    )


@final
@dataclass(frozen=True, slots=True)
class _Fit:
    """What is known of a fit.

    Attributes:
        limit: The largest sum of squares that fits nearly as well.
        n: Number of trainings.
        method: How it was fitted, in words.
    """

    limit: float
    n: int
    method: str


def _residuals(grid: Tensor, B: Tensor, y: Tensor) -> Tensor:
    left = y - torch.log1p(grid.exp()[:, None] / B)
    return (left - left.mean(1, keepdim=True)).square().sum(1)


def _profile(grid: Tensor, B: Tensor, y: Tensor) -> tuple[float, float, float]:
    """Returns the best critical batch, the logarithm of the fewest steps, and what is left."""
    at = int(_residuals(grid, B, y).argmin())
    low, high = float(grid[max(at - 1, 0)]), float(grid[min(at + 1, len(grid) - 1)])
    fine = torch.linspace(low, high, _GRID, dtype=torch.float64)
    left = _residuals(fine, B, y)
    best = math.exp(float(fine[int(left.argmin())]))
    # Less than a thousandth of the smallest batch is no effect of the batch at all.
    critical = best if at > 0 else 0.0
    offset = float((y - torch.log1p(critical / B)).mean())
    return critical, offset, float(left.min())


def _f_quantile(level: float, df: int) -> float:
    from scipy.special import fdtri

    return float(fdtri(1, df, level)) / df


def _bounded(
    value: float, unit: str, fit: _Fit, grid: Tensor, residuals: Tensor, *, level: float
) -> Estimate:
    """Returns a number with the part of a logarithmic grid that fits nearly as well."""
    fits = (residuals <= fit.limit * (1 + 1e-9)).nonzero().flatten()
    low = high = value
    if len(fits):
        low, high = (math.exp(float(grid[int(i)])) for i in (fits[0], fits[-1]))
        open_below, open_above = int(fits[0]) == 0, int(fits[-1]) == len(grid) - 1
        if open_above:
            return Estimate(
                value=0.0 if open_below else low,
                kind="lower",
                level=level,
                n=fit.n,
                unit=unit,
                method=f"lower bound: {fit.method}; the batches do not bound it above",
            )
        low = 0.0 if open_below else low
    return Estimate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        level=level,
        n=fit.n,
        unit=unit,
        kind="estimate",
        method=f"{fit.method}, profile interval",
    )


def share_of_progress(batch: float, critical: float) -> float:
    """Returns the progress of one step over that of a step without noise.

    Example:
        >>> share_of_progress(64, 64), share_of_progress(64, 0)
        (0.5, 1.0)
    """
    return 1 / (1 + critical / batch)


def steps_saved(batch: float, critical: float, factor: float = 2.0) -> float:
    """Returns the share of steps that a batch ``factor`` times as large saves.

    Example:
        >>> steps_saved(64, 64), round(steps_saved(64, 1e9), 3)
        (0.25, 0.5)
    """
    return 1 - share_of_progress(batch, critical) / share_of_progress(factor * batch, critical)


# ----------------------------------------------------------------------------
# Rules by which settings follow the batch.
# ----------------------------------------------------------------------------

RateRule = Literal["constant", "sqrt", "linear", "noise"]
"""How a learning rate follows the batch: not at all, by its root, in proportion, or as the best
step does, ``1 / (1 + critical / B)``."""


def scaled_rate(
    lr: float, batch: float, to: float, rule: RateRule, critical: float | None = None
) -> float:
    """Returns the learning rate at another batch.

    Source: ``linear``, Goyal et al., 2017, https://arxiv.org/abs/1706.02677; ``sqrt``,
    Krizhevsky, 2014, https://arxiv.org/abs/1404.5997; ``noise``, McCandlish et al., 2018, eq. 2.6.

    Args:
        lr: Learning rate.
        batch: At this batch.
        to: The other batch.
        rule: How it follows.
        critical: The noise scale, which ``noise`` needs.

    Raises:
        UserError: If ``noise`` has no noise scale.

    Example:
        >>> scaled_rate(0.1, 64, 256, "sqrt"), scaled_rate(0.1, 64, 192, "noise", 64)
        (0.2, 0.15000000000000002)
    """
    match rule:
        case "constant":
            return lr
        case "sqrt":
            return lr * math.sqrt(to / batch)
        case "linear":
            return lr * to / batch
        case "noise":
            if critical is None:
                raise UserError("The rule noise needs a critical batch.")
            return lr * share_of_progress(to, critical) / share_of_progress(batch, critical)


def scaled_gamma(gamma: float, batch: float, to: float) -> float:
    """Returns the weight of R1 that leaves the noise floor where it is at another batch.

    Near the equilibrium of a game that rotates, the floor is ``h tr(Sigma) / (B gamma)``: the
    penalty acts as a batch does.

    Example:
        >>> scaled_gamma(1.0, 128, 64)
        2.0
    """
    return gamma * batch / to
