"""Confidence intervals: means, proportions, differences, quantities near zero; power; Holm."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.estimate import Better, Estimate


def detectable_accuracy(n: int, *, level: float = 0.05, power: float = 0.8) -> float:
    """Returns the smallest accuracy distinguishable from chance with ``n`` held-out samples.

    A classifier whose true accuracy is this is found better than guessing at ``level`` with
    probability ``power``. Exact, from the binomial: with ``c`` the fewest right answers that are
    significant, the accuracy ``a`` with ``P(Binomial(n, a) >= c) = power``.

    Source: Lopez-Paz and Oquab, 2017, https://arxiv.org/abs/1610.06545, section 3, whose formula
    is the normal limit of this.

    Differs from the paper: the binomial itself.

    Args:
        n: How many held-out samples are judged, real and fake ones together.
        level: How often guessing may count as telling.
        power: How often the accuracy is to be found.

    Raises:
        UserError: If not even ``n`` right answers are significant.

    Example:
        >>> round(detectable_accuracy(1000), 4), round(detectable_accuracy(100), 3)
        (0.5398, 0.626)
    """
    from scipy.special import betaincinv

    needed = fewest_correct(n, level=level)
    if needed > n:
        raise UserError(f"{n} held-out samples cannot show any difference. Give more.")
    return float(betaincinv(needed, n - needed + 1, power))


def fewest_correct(n: int, *, level: float = 0.05) -> int:
    """Returns the critical number of correct answers of ``n`` for a binomial test against chance.

    ``n + 1`` where not even all of them are significant.

    Example:
        >>> fewest_correct(10), fewest_correct(4)
        (9, 5)
    """
    from scipy.special import bdtrc

    low, high = n // 2, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        if float(bdtrc(middle - 1, n, 0.5)) <= level:
            high = middle
        else:
            low = middle
    return high


# ----------------------------------------------------------------------------
# Intervals from a handful of repeats: means, paired differences, and how many would separate.
# ----------------------------------------------------------------------------


def t_quantile(p: float, df: float) -> float:
    """Returns the ``p`` quantile of Student's t with ``df`` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(df, p))


def t_above(t: float, df: float) -> float:
    """Returns the probability that Student's t with ``df`` degrees of freedom exceeds ``t``.

    Example:
        >>> round(t_above(2.0, 10), 4)
        0.0367
    """
    from scipy.special import stdtr

    return float(stdtr(df, -t))


def mean(
    values: Sequence[float],
    *,
    level: float = 0.95,
    unit: str = "1",
    better: Better | None = None,
    of: str = "seeds",
) -> Estimate:
    """Returns the mean of independent repeats with Student's t interval.

    Example:
        >>> e = mean([1.0, 2.0, 3.0])
        >>> round(e.low, 3), e.value, round(e.high, 3)
        (-0.484, 2.0, 4.484)
    """
    n = len(values)
    if n == 0:
        return Estimate.missing(f"no {of}", unit=unit, better=better)
    centre = math.fsum(values) / n
    if n == 1:
        return Estimate(
            value=centre,
            n=1,
            unit=unit,
            better=better,
            method=f"one of the {of} only: no interval",
        )
    half = t_quantile((1 + level) / 2, n - 1) * _standard_error(values)
    return Estimate(
        value=centre,
        low=centre - half,
        high=centre + half,
        level=level,
        n=n,
        unit=unit,
        better=better,
        method=f"mean of {n} {of}, Student's t",
    )


def paired(
    a: Sequence[float],
    b: Sequence[float],
    *,
    level: float = 0.95,
    unit: str = "1",
    of: str = "seeds",
) -> Estimate:
    """Returns the mean of ``a[i] - b[i]`` with Student's t interval.

    Raises:
        ValueError: If the lengths differ.
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    return mean(differences, level=level, unit=unit, of=f"paired {of}")


def exponential(log: Estimate, *, method: str) -> Estimate:
    """Returns a number of which the logarithm was estimated: of a mean, the geometric mean.

    Ends beyond double precision become the largest that are safe to show, about 1e304.

    Args:
        log: The logarithm, with its interval.
        method: How the number was obtained.

    Example:
        >>> e = exponential(mean([math.log(2.0), math.log(8.0)]), method="geometric mean")
        >>> round(e.value, 6)
        4.0
    """
    if log.value is None:
        return log
    value, low, high = (
        None if v is None else math.exp(min(v, 700.0)) for v in (log.value, log.low, log.high)
    )
    return replace(log, value=value, low=low, high=high, method=method)


def proportion(
    count: int,
    n: int,
    *,
    level: float = 0.95,
    unit: str = "1",
    better: Better | None = None,
    of: str = "samples",
) -> Estimate:
    """Returns ``count / n`` of independent trials with the exact binomial interval.

    Source: Clopper and Pearson, 1934, https://doi.org/10.2307/2331986.

    Example:
        >>> e = proportion(8, 10)
        >>> round(e.low, 3), e.value, round(e.high, 3)
        (0.444, 0.8, 0.975)
    """
    from scipy.special import betaincinv

    if n == 0:
        return Estimate.missing(f"no {of}", unit=unit, better=better)
    tail = (1 - level) / 2
    return Estimate(
        value=count / n,
        low=float(betaincinv(count, n - count + 1, tail)) if count > 0 else 0.0,
        high=float(betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0,
        level=level,
        n=n,
        unit=unit,
        better=better,
        method=f"{count} of {n} {of}, exact binomial interval",
        is_proportion=True,
    )


def percentage(count: int, n: int, *, of: str, why: str) -> Estimate:
    """Returns ``100 count / n`` with the exact binomial interval, in per cent.

    Args:
        count: How often it was so.
        n: Of how many independent trials.
        of: What a trial is, in the plural.
        why: Why there is no number where there was no trial.
    """
    found = proportion(count, n, of=of)
    if found.value is None or found.low is None or found.high is None:
        return Estimate.missing(why, unit="%")
    return replace(
        found,
        value=100 * found.value,
        low=100 * found.low,
        high=100 * found.high,
        unit="%",
        is_proportion=False,
    )


def p_value(difference: Estimate) -> float:
    """Returns the two-sided p-value of "no difference" that fits the interval, as if normal.

    Where the two sides of the interval differ, the one that faces zero counts.

    Example:
        >>> round(p_value(Estimate(value=1.0, low=0.0, high=2.0)), 3)
        0.05
    """
    value, low, high = difference.value, difference.low, difference.high
    if value is None or low is None or high is None or value == 0:
        return 1.0
    side = value - low if value > 0 else high - value
    z = statistics.NormalDist().inv_cdf((1 + difference.level) / 2)
    return math.erfc(abs(value) / side * z / math.sqrt(2)) if side > 0 else 0.0


def holm(p_values: Sequence[float], *, level: float = 0.05) -> list[bool]:
    """Returns which null hypotheses are rejected at a family-wise error rate of ``level``.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [True, False, False]
    """
    return [p <= level for p in holm_adjusted(p_values)]


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted by the step-down procedure of Holm, in their order.

    Source: Holm, 1979, https://www.jstor.org/stable/4615733.

    Example:
        >>> holm_adjusted([0.01, 0.5, 0.02])
        [0.03, 0.5, 0.04]
    """
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def simultaneous(count: int, *, level: float = 0.95) -> float:
    """Returns the level at which each of ``count`` intervals is to be taken.

    All of them together then hold with probability ``level`` at least (Bonferroni); if the
    intervals are independent, as those of different classes are, with hardly more.

    Source: Dunn, 1961, https://doi.org/10.1080/01621459.1961.10482090.

    Example:
        >>> round(simultaneous(10), 4)
        0.995
    """
    return 1 - (1 - level) / max(count, 1)


def is_separated(difference: Estimate) -> bool:
    """Returns whether the interval of a difference excludes zero."""
    if difference.low is None or difference.high is None:
        return False
    return difference.low > 0 or difference.high < 0


def _standard_error(values: Sequence[float]) -> float:
    n = len(values)
    centre = math.fsum(values) / n
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (n - 1) / n)


LEVEL = 0.95


@final
@dataclass(frozen=True, slots=True)
class Variance:
    """A variance that was itself estimated.

    Attributes:
        value: The variance.
        noise: The variance of ``value``; 0 where it is as good as known.
    """

    value: float
    noise: float = 0.0

    @classmethod
    def of_squares(cls, value: float, df: float) -> "Variance":
        """Returns the variance estimated from ``df`` independent squares of normal numbers."""
        return cls(value, 2 * value * value / df)

    @property
    def df(self) -> float:
        """The degrees of freedom that fit value and noise."""
        return 2 * self.value * self.value / self.noise if self.noise > 0 else math.inf


def total(parts: Iterable[Variance]) -> Variance:
    """Returns the variance of a sum of independent parts.

    Its degrees of freedom are those of Satterthwaite, 1946, https://doi.org/10.2307/3002019.

    Example:
        >>> total([Variance.of_squares(1.0, 10), Variance.of_squares(1.0, 10)]).df
        20.0
    """
    known = list(parts)
    return Variance(math.fsum(p.value for p in known), math.fsum(p.noise for p in known))


def around(
    value: float, variance: Variance, *, n: int, method: str, level: float = LEVEL
) -> Estimate:
    """Returns ``value`` with the interval of Student's t, or why there is none."""
    half = _t_quantile(variance, level) * math.sqrt(max(variance.value, 0.0))
    if not math.isfinite(value) or not math.isfinite(half):
        return Estimate.missing("the features are too large for double precision")
    return Estimate(
        value=value, low=value - half, high=value + half, level=level, n=n, method=method
    )


def fraction(
    value: float, variance: Variance, *, n: int, method: str, level: float = LEVEL
) -> Estimate:
    """Returns a fraction in [0, 1] with Wilson's interval at its effective sample size.

    The effective size is that at which a plain count would have this variance; at 0 and 1,
    where the variance says nothing, it is the number ``n`` of samples that were counted.

    Source: Wilson, 1927, https://doi.org/10.2307/2276774.

    Example:
        >>> e = fraction(1.0, Variance(0.0), n=100, method="")
        >>> round(e.low, 3), e.value, e.high
        (0.963, 1.0, 1.0)
    """
    spread = value * (1 - value)
    size = spread / variance.value if spread > 0 and variance.value > 0 else n
    z = _t_quantile(variance, level) ** 2 / size
    centre = (value + z / 2) / (1 + z)
    half = math.sqrt(z * spread + z**2 / 4) / (1 + z)
    # Rounding must not push the value out of its own interval.
    low, high = min(centre - half, value), max(centre + half, value)
    made = Estimate(value=value, low=low, high=high, level=level, n=n, method=method)
    return made.as_proportion()


def _t_quantile(variance: Variance, level: float) -> float:
    return t_quantile((1 + level) / 2, variance.df)


# ----------------------------------------------------------------------------
# The interval of a squared distance, which is skewed where the two sets are nearly equal.
#
# An estimated squared distance is ``|delta + e|^2``, less the mean of ``|e|^2``: ``delta`` is what
# differs and ``e``, about normal with covariance ``S``, what sampling adds. Its mean is
# ``t = |delta|^2``, its variance ``4 delta^T S delta + 2 tr S^2`` and its third cumulant
# ``24 delta^T S^2 delta + 8 tr S^3``. All of them grow with ``t``, so that an interval of equal
# sides that takes the variance of a chance small value for the truth lies below it. The interval
# here holds every ``t`` under which the number found is not too far out on either side.
# ----------------------------------------------------------------------------

SOME = 128
"""Of so many samples of each set, at most, the eigenvalues are taken."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Some samples of a set, or groups of them, that stand for all.

    Attributes:
        places: Which they are, shape ``(k,)``.
        times: For how many of the set each stands, shape ``(k,)``, float64.
    """

    places: Tensor
    times: Tensor


def drawn_by_size(sizes: Tensor, rng: torch.Generator, *, most: int = SOME) -> Drawn:
    """Draws samples with a chance in proportion to how much they add to the covariance.

    Those that add so much that no draw could miss them are all taken. Where a handful carries
    nearly everything, as those of a rare mode do in a kernel of third powers, an even draw mostly
    takes none of them, and intervals held 83 %.

    Source: Madow, 1949, https://doi.org/10.1214/aoms/1177729988, for the systematic draw.

    Args:
        sizes: The squared length of what each adds, shape ``(n,)``; what rounding made negative
            counts as nothing.
        rng: Draws; lives on the CPU.
        most: How many are drawn, if there are so many.

    Example:
        >>> import torch
        >>> sizes = torch.tensor([1.0, 1.0, 1.0, 97.0])
        >>> found = drawn_by_size(sizes, torch.Generator().manual_seed(0), most=2)
        >>> 3 in found.places.tolist(), found.times.sum().item()
        (True, 4.0)
    """
    known = sizes.detach().to("cpu", torch.float64).clamp_min(0)
    n = len(known)
    if n <= most:
        whole = torch.arange(n, device=sizes.device)
        return Drawn(whole, torch.ones(n, dtype=torch.float64, device=sizes.device))
    chance = _chances(known, most)
    # One in each unit of the running sum, in a random order, from a random start.
    order = torch.randperm(n, generator=rng)
    ends = chance[order].cumsum(0) - torch.rand((), generator=rng, dtype=torch.float64)
    steps = ends.floor().diff(prepend=ends.new_full((1,), -1.0))
    places = order[steps > 0].sort().values
    return Drawn(places.to(sizes.device), (1 / chance[places]).to(sizes.device))


def drawn_evenly(n: int, rng: torch.Generator, device: torch.device, *, most: int = SOME) -> Drawn:
    """Draws ``most`` of ``n`` samples or groups, all with the same chance."""
    places = torch.randperm(n, generator=rng, device=rng.device)[:most].to(device)
    times = n / max(len(places), 1)
    return Drawn(places, torch.full((len(places),), times, dtype=torch.float64, device=device))


def _chances(sizes: Tensor, most: int) -> Tensor:
    """Returns chances of at most 1, otherwise in proportion to ``sizes``, that add up to ``most``.

    Of a hundredth of the mean at least, so that none stands for very many.
    """
    left = sizes.clamp_min(float(sizes.mean()) / 100) if float(sizes.sum()) > 0 else sizes + 1
    chance = torch.zeros_like(left)
    while True:
        free = chance < 1
        share = (most - int((~free).sum())) * left / left[free].sum()
        over = free & (share >= 1)
        if not bool(over.any()):
            return torch.where(free, share, chance)
        chance[over] = 1.0


@final
@dataclass(frozen=True, slots=True)
class Curvature:
    """How the distribution of an estimated squared distance changes with the true one.

    Attributes:
        along: The eigenvalue of ``S`` in whose direction a larger difference would most likely
            have been overlooked.
        first: ``delta^T S^2 delta / delta^T S delta`` of the difference that was found.
        second: ``tr S^3``.
    """

    along: float
    first: float
    second: float


def curvature_of(gram: Tensor, added: Tensor) -> Curvature:
    """Returns it from some samples of both sets, or groups of samples.

    A difference that is ``t`` larger than the one found is least unlikely where it is larger in
    the directions in which samples vary most: those of ``S^k delta`` for large ``k``. With ``k``
    0 intervals came out too short, with the largest eigenvalue too long; the third ratio of a
    power iteration held 95 to 98 % in simulations.

    Args:
        gram: Products of what samples add to ``e``, shape ``(k, k)``, so that its eigenvalues are
            those of ``S``; the diagonal is not used, as it is biased.
        added: Product of what each adds to ``e`` with ``delta``, shape ``(k,)``.
    """
    g = gram - torch.diag(gram.diagonal())
    once = g @ added
    twice = g @ once
    powers = [float(added @ added), float(added @ once), float(once @ once), float(once @ twice)]
    ratios = [b / a if a > 0 and b > 0 else 0.0 for a, b in pairwise(powers)]
    third = float(((g @ g) * g).sum())
    return Curvature(ratios[2] or ratios[1], ratios[0], max(third, 0.0))


def products_of(
    sizes: tuple[int, int],
    drawn: tuple[Drawn, Drawn],
    blocks: tuple[Tensor, Tensor, Tensor],
    adds: tuple[Tensor, Tensor],
) -> Curvature:
    """Returns the bend from the centred kernel of some samples.

    Args:
        sizes: How many samples, or groups, each set has in all.
        drawn: Which of them these are.
        blocks: The kernel of some of the first set, of some of the second, and across, shapes
            ``(a, a)``, ``(b, b)`` and ``(a, b)``; without its mean, row and column effects.
        adds: By how much each of them moves the number, times the size of its set.
    """
    xx, yy, xy = blocks
    gram = torch.cat([torch.cat([xx, xy], 1), torch.cat([xy.T, yy], 1)])
    # So that the sum over three different ones of a few is on average that over all.
    each = [
        (z.times / (1 - 1.5 / len(z.places))).sqrt() / n for n, z in zip(sizes, drawn, strict=True)
    ]
    weight = torch.cat(each).to(gram)
    moved = torch.cat([adds[0], -adds[1]]).to(gram)
    return curvature_of(gram * weight * weight[:, None], moved / 2 * weight)


def squared_distance(
    value: float,
    first: Variance,
    second: float,
    bent: Curvature,
    *,
    n: int,
    method: str,
    level: float = LEVEL,
) -> Estimate:
    """Returns a squared distance with its interval.

    The distribution is taken as a gamma distribution that is moved to the three moments, which
    for one direction is Pearson's approximation of a noncentral chi-squared one (1959,
    https://doi.org/10.1093/biomet/46.3-4.364); where the second order vanishes it is normal.
    Student's quantile stands for the normal one, as the variance is estimated.

    Args:
        value: The number found, without bias.
        first: The variance of first order as it was found: with twice that of second order in it.
        second: The variance of second order, ``2 tr S^2``.
        bent: How both change with the truth.
        n: How many samples it rests on.
        method: How it was obtained.
        level: Confidence level of the interval.
    """
    now = Variance(max(first.value - second, second), first.noise)
    plain = around(value, now, n=n, method=method, level=level)
    if plain.low is None or not now.value > 0:
        return plain
    law = _Law(value, first.value, second, bent)
    z = _t_quantile(now, level)
    low, high = (law.excess_root(quantile) for quantile in (z, -z))
    if not math.isfinite(low + high):
        return plain
    return Estimate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        level=level,
        n=n,
        method=method,
    )


@final
class _Law:
    """The distribution of the number found for every true distance."""

    def __init__(self, value: float, raw: float, second: float, bent: Curvature) -> None:
        # No eigenvalue is larger than the root of the sum of all squares.
        most = math.sqrt(second / 2)
        self._value, self._second = value, second
        self._along = min(bent.along, most)
        self._third = min(bent.second, most**3)
        self._first = raw - 2 * second
        self._bent = bent.first * raw / 4 - self._third

    def excess_root(self, z: float) -> float:
        """Returns the truth of which the number found is the quantile of normal ``z``."""
        from scipy.optimize import brentq

        excess = partial(self._excess, z=z)
        # Below zero, where no truth is, the distribution only moves.
        if (at_zero := excess(0.0)) >= 0:
            return -at_zero
        high = max(self._value, 0.0) + math.sqrt(self._second + abs(self._first))
        while excess(high) < 0:
            high *= 2
        # The stubs of scipy know no plain numbers here.
        search: Any = brentq
        return float(search(excess, 0.0, high, xtol=1e-12 * high, rtol=1e-10))

    def _excess(self, truth: float, *, z: float) -> float:
        """Returns the excess of the quantile over the number found."""
        more = truth - self._value
        variance = max(self._first + 4 * self._along * more, 0.0) + self._second
        if not variance > 0:
            return more
        third = 24 * max(self._bent + self._along**2 * more, 0.0) + 8 * self._third
        skew = min(third / variance**1.5, math.sqrt(8))
        return more + math.sqrt(variance) * _gamma_quantile(z, skew)


def _gamma_quantile(z: float, skew: float) -> float:
    """Returns the quantile of a gamma distribution of mean 0 and variance 1 that fits ``z``."""
    from scipy.special import gammainccinv, gammaincinv, ndtr

    if skew < 1e-3:
        return z + (z * z - 1) * skew / 6
    shape = 4 / skew**2
    at = gammaincinv(shape, ndtr(z)) if z < 0 else gammainccinv(shape, ndtr(-z))
    return float((at - shape) / math.sqrt(shape))


def over_inputs(
    values: Tensor, inputs: Tensor | None, *, unit: str, better: Better, what: str
) -> Estimate:
    """Returns the mean over all pairs, with an interval over inputs.

    Outputs for the same input depend on each other, so the inputs are what is independent: their
    sums of deviations give the variance (cluster-robust, with Student's t).

    Source: Liang and Zeger, 1986, https://doi.org/10.1093/biomet/73.1.13, for a mean.

    Args:
        values: One number for each pair, shape ``(n,)``.
        inputs: The number of the input of each pair, shape ``(n,)``; each its own if None.
        unit: In what the values are measured.
        better: Which direction is better.
        what: What a value is, for the method.

    Raises:
        UserError: If ``inputs`` does not fit.
    """
    known = values.detach().double()
    if inputs is None or len(known) < 2:
        of = f"pairs, {what}"
        return mean(known.tolist(), unit=unit, better=better, of=of)
    which, count = numbered(inputs, len(known), known.device)
    if count < 2:
        return Estimate(
            value=float(known.mean()),
            n=count,
            unit=unit,
            better=better,
            method=f"mean of {len(known)} pairs, {what}; one input only: no interval",
        )
    off = known.new_zeros(count).index_add_(0, which, known - known.mean())
    variance = float((off**2).sum()) * count / (count - 1) / len(known) ** 2
    method = f"mean of {len(known)} pairs of {count} inputs, {what}; Student's t over inputs"
    made = around(
        float(known.mean()), Variance.of_squares(variance, count - 1), n=count, method=method
    )
    return made.named(unit=unit, better=better)


def numbered(inputs: Tensor, n: int, device: torch.device) -> tuple[Tensor, int]:
    """Returns the inputs as whole numbers from 0, shape ``(n,)``, and how many there are.

    Raises:
        UserError: If there is not one whole number for each of ``n`` pairs.
    """
    if inputs.shape != (n,) or inputs.is_floating_point():
        raise UserError(
            f"inputs must be one whole number for each of the {n} pairs. "
            f"Got {inputs.dtype} of shape {tuple(inputs.shape)}."
        )
    unique, which = torch.unique(inputs.to(device), return_inverse=True)
    return which, len(unique)


def same_shape(target: Tensor, output: Tensor) -> None:
    """Checks that two sets are pairs of finite numbers.

    Raises:
        UserError: If they are not.
    """
    if target.shape != output.shape or target.ndim < 2:
        raise UserError(
            "Pairs need targets and outputs of one shape, (n, ...). "
            f"Got {tuple(target.shape)} and {tuple(output.shape)}."
        )
    for name, x in (("targets", target), ("outputs", output)):
        if not x.is_floating_point():
            raise UserError(f"The {name} must be floating point. Got {x.dtype}.")
        bad = int((~x.flatten(1).isfinite()).any(1).sum()) if math.prod(x.shape) else 0
        if bad:
            raise UserError(f"{bad} of the {len(x)} {name} hold NaN or infinity; leave them out.")
