"""Time series: how well a predictor that learned from fake series predicts real ones."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Code, Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Sees, SpaceMetric
from gantlet.core.spec import Between
from gantlet.metrics.checks import checked, too_few
from gantlet.stats.intervals import Variance, around, total
from gantlet.stats.jackknife import folds, jackknife, spread
from gantlet.stats.moments import blocks

_LEAST = 10  # series of each set

_METHOD = (
    "mean squared error of predictions one step ahead on held-out series, as a share of their "
    "variance, by ridge regression on {} lags fitted to fake series; fitted to training series "
    "{:.4g}, {:+.3g} more for fake ones ({}); over held-out series, with a jackknife over those "
    "that were fitted to"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Predictive(SpaceMetric):
    """Error one step ahead of a predictor that learned from fake series (predictive score).

    A linear predictor of the next value from the last ``lags`` is fitted to fake series, and for
    comparison to training series; both predict held-out real series. The number is the mean
    squared error as a share of the variance of what is predicted: 1 is a predictor that knows the
    mean alone, and no predictor is better than the innovations of the process allow.

    Source: Yoon, Jarrett and van der Schaar, 2019 (TimeGAN), https://papers.nips.cc/paper/8789.
    Differs from the paper: ridge regression on lags in place of a recurrent network, so that the
    predictor has one solution and its noise an estimate; squared errors as a share of the
    variance in place of absolute errors of scaled series; series of one channel.

    Attributes:
        lags: How many values before the next one are known to the predictor.
        ridge: The penalty on squared coefficients, as a share of the variance of the lags.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = False

    lags: Annotated[int, Between(1)] = 8
    ridge: Annotated[float, Between(0, above=True)] = 1e-6

    @override
    def on(self, space: Space, code: Code | None) -> Self:
        """Returns the metric itself.

        Raises:
            UserError: If samples are not series of one channel, or too short.
        """
        one_channel = len(space.shape) == 1 or (len(space.shape) == 2 and space.shape[0] == 1)
        if space.kind not in {"vector", "audio"} or space.parts or not one_channel:
            raise UserError(
                "The metric predictive needs series of one channel: vectors of numbers in the "
                f"order of time, or sounds. Got {space.label}; leave it out."
            )
        self._check_length(space.size)
        return self

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Judges series, shapes ``(n, ...)``, ``(m, ...)`` and ``(t, ...)``, in the order of time.

        Raises:
            UserError: If they cannot be compared, or are too short.
        """
        x, y = checked(real.flatten(1), fake.flatten(1))
        t = checked(train.flatten(1), y, names=("train", "fake"))[0]
        self._check_length(x.shape[1])
        if reason := (too_few(x, y, _LEAST) or too_few(t, y, _LEAST)):
            return Estimate.missing(reason, better=self.better)
        held_out = HeldOut(x, self.lags)
        if not held_out.variance > 0:
            return Estimate.missing("held-out series do not vary", better=self.better)
        by_fake, by_train = (held_out.predicted_by(z, self.ridge, rng) for z in (y, t))
        return self._named(held_out, by_fake, by_train)

    def _named(self, held_out: "HeldOut", by_fake: "Errors", by_train: "Errors") -> Estimate:
        found = held_out.share(by_fake.mean, by_fake.each, by_fake.noise)
        gap = held_out.share(
            by_fake.mean - by_train.mean,
            by_fake.each - by_train.each,
            total((by_fake.noise, by_train.noise)),
        )
        if found.value is None or found.low is None or gap.value is None or gap.low is None:
            return replace(found, better=self.better)
        real = by_train.mean / held_out.variance
        interval = f"{gap.low:.3g} to {gap.high:.3g}"
        method = _METHOD.format(self.lags, real, gap.value, interval)
        # No mean square is below zero.
        possible = replace(found, low=max(found.low, 0.0), method=method)
        return possible.named(unit=self.unit, better=self.better).beside(real=real)

    def _check_length(self, length: int) -> None:
        if length <= self.lags:
            fewer = "" if length < 2 else f"; predictive:lags={min(length - 1, 2)} needs fewer"
            raise UserError(
                f"The metric predictive with lags={self.lags} needs series of at least "
                f"{self.lags + 1} values. Got {length}{fewer}."
            )


@final
@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Squared errors of one predictor on held-out series.

    Attributes:
        each: Their mean over the steps of each series, float64, shape ``(n,)``.
        noise: The variance of ``mean`` from the series that the predictor was fitted to.
    """

    each: Tensor
    noise: Variance

    @property
    def mean(self) -> float:
        """The mean squared error."""
        return float(self.each.mean())


@final
class HeldOut:
    """Real series that predictors are judged on.

    Args:
        x: The series, shape ``(n, length)``.
        lags: How many values before the next one predictors know.
    """

    def __init__(self, x: Tensor, lags: int) -> None:
        self._x, self._lags = x, lags
        # Moved by one number, so that a large mean costs no digits.
        self._centre = float(x.double().mean())
        self._moments = self._sums(x, torch.zeros(len(x), dtype=torch.long, device=x.device))[0]
        steps = self._moments[0, 0]
        self._mean = float(self._moments[0, -1] / steps)
        self._squares = self._errors(self._constant(self._mean))

    @property
    def variance(self) -> float:
        """The mean square of what is predicted, about its mean."""
        return float(self._squares.mean())

    def predicted_by(self, learned: Tensor, ridge: float, rng: torch.Generator) -> Errors:
        """Returns the errors of the predictor that is fitted to some series.

        Args:
            learned: The series, shape ``(m, length)``.
            ridge: The penalty, as a share of the variance of the lags.
            rng: Deals the series into folds.
        """
        fold = folds(len(learned), rng=rng, device=learned.device)
        sums = self._sums(learned, fold)
        whole = _residual(sums.sum(0), ridge)
        each = self._errors(whole)
        without = _residual(sums.sum(0) - sums, ridge)
        steps = self._moments[0, 0]
        left_out = torch.einsum("fi,ij,fj->f", without, self._moments, without) / steps
        return Errors(each, jackknife(each.mean(), left_out, fold).variance)

    def share(self, mean: float, each: Tensor, noise: Variance) -> Estimate:
        """Returns a mean of squares as a share of the variance.

        Args:
            mean: The mean.
            each: That of each series, shape ``(n,)``.
            noise: The variance of the mean that does not come from the held-out series.
        """
        whole = self.variance
        # A ratio of two means: the influence of each series follows from its derivatives.
        influence = (each - mean) / whole - (self._squares - whole) * mean / whole**2
        of_fit = Variance(noise.value / whole**2, noise.noise / whole**4)
        spreads = total((spread(influence), of_fit))
        return around(mean / whole, spreads, n=len(each), method="")

    def _constant(self, mean: float) -> Tensor:
        residual = torch.zeros(self._lags + 2, dtype=torch.float64, device=self._x.device)
        residual[0], residual[-1] = -mean, 1.0
        return residual

    def _errors(self, residual: Tensor) -> Tensor:
        """Returns the mean squared error on each series, shape ``(n,)``."""
        found = [(w @ residual).square().mean(1) for _, w in self._windows(self._x)]
        return torch.cat(found)

    def _sums(self, x: Tensor, fold: Tensor) -> Tensor:
        """Returns the sums over all windows of products of a 1, the lags and the next value.

        Shape ``(folds, lags + 2, lags + 2)``, of the series of each fold.
        """
        k = self._lags + 2
        sums = torch.zeros(int(fold.max()) + 1, k, k, dtype=torch.float64, device=x.device)
        for block, w in self._windows(x):
            sums.index_add_(0, fold[block], w.mT @ w)
        return sums

    def _windows(self, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yields blocks of series as a 1, lags and the next value, ``(b, steps, lags + 2)``."""
        for block in blocks(len(x), x.shape[1] * (self._lags + 2)):
            w = (x[block].double() - self._centre).unfold(1, self._lags + 1, 1)
            yield block, torch.cat([torch.ones_like(w[..., :1]), w], -1)


def _residual(sums: Tensor, ridge: float) -> Tensor:
    """Returns the residual of the ridge regression as a linear form of a 1, lags and next value.

    Args:
        sums: Sums of products, shape ``(..., lags + 2, lags + 2)``.
        ridge: The penalty, as a share of the variance of the lags.

    Returns:
        Shape ``(..., lags + 2)``; the last coefficient is 1.
    """
    mean = sums[..., 0, 1:] / sums[..., :1, 0]
    covariance = sums[..., 1:, 1:] / sums[..., :1, :1] - mean[..., :, None] * mean[..., None, :]
    lags, both = covariance[..., :-1, :-1], covariance[..., :-1, -1]
    scale = lags.diagonal(dim1=-2, dim2=-1).mean(-1)
    # Series that do not vary say nothing but their mean.
    penalty = torch.where(scale > 0, ridge * scale, 1.0)
    identity = torch.eye(lags.shape[-1], dtype=sums.dtype, device=sums.device)
    weights = torch.linalg.solve(lags + penalty[..., None, None] * identity, both)
    constant = mean[..., -1] - (weights * mean[..., :-1]).sum(-1)
    return torch.cat([-constant[..., None], -weights, torch.ones_like(constant)[..., None]], -1)
