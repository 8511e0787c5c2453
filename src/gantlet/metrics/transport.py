"""Sliced, max-sliced and Monge-Inception transport distances."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Groups, Sees
from gantlet.core.spec import Between
from gantlet.metrics.checks import (
    about_zero,
    checked_groups,
    independent_count,
    pair,
    too_few,
    too_few_groups,
)
from gantlet.stats.intervals import Variance, around, total
from gantlet.stats.jackknife import ClusteredPaired, Detailed, Paired, influence_by_group
from gantlet.stats.wasserstein import transport, wasserstein

_METHOD = (
    "{} random directions; plug-in {:.4g}, jackknife bias-corrected; interval by block "
    "jackknife, including the choice of directions; when the distributions are nearly equal {}"
)
# Order 1 is the mean size of a difference, which noise always makes larger.
_NEAR = {
    1: "the value is biased upwards and the interval undercovers",
    2: (
        "the interval is conservative; for small differences along one direction it lies too "
        "low in up to 10 % of cases"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class SlicedWasserstein(ClusteredPaired):
    """The mean over random directions of ``W_p^p`` along each: squared for order 2, no root.

    Bias-corrected by a delete-one-fold jackknife, it may be negative when the two sets
    are close. For normal distributions with covariances ``s^2 I`` and ``t^2 I`` the order 2 is
    ``|m1 - m2|^2 / d + (s - t)^2``.

    Source: Bonneel et al., 2015, https://doi.org/10.1007/s10851-014-0506-3.

    Differs from the paper: bias removed, no root.

    Attributes:
        directions: Number of random projections.
        order: Order ``p`` of the Wasserstein distance.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    directions: Annotated[int, Between(2, 65536)] = 256
    order: Annotated[int, Between(1, 2)] = 2

    @override
    def detail(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Detailed:
        x, y = about_zero(*pair(real, fake))
        groups = checked_groups(groups, len(x), len(y))
        if reason := too_few(x, y, 2) or too_few_groups(groups, 2):
            return _nothing(reason, len(x))
        real_group, fake_group = (None, None) if groups is None else (groups.real, groups.fake)
        u = random_directions(x.shape[1], self.directions, rng=rng, like=x)
        found = transport(x, y, u, self.order, rng=rng, groups=groups)
        variance = total([found.variance, _of_directions(found.along)])
        made = around(
            found.plain - found.bias,
            variance,
            n=min(independent_count(real_group, len(x)), independent_count(fake_group, len(y))),
            method=_METHOD.format(self.directions, found.plain, _NEAR[self.order]),
        )
        named = made.named(unit=self.unit, better=self.better).beside(plain=found.plain)
        of_real = influence_by_group(found.of_real, real_group)
        of_fake = influence_by_group(found.of_fake, fake_group)
        return Detailed(named, of_real, found.rest(variance, of_real, of_fake))


def random_directions(d: int, count: int, *, rng: torch.Generator, like: Tensor) -> Tensor:
    """Returns unit vectors drawn evenly from the sphere, shape ``(d, count)``."""
    u = torch.randn(d, count, generator=rng, device=rng.device, dtype=torch.float64).to(like)
    return normalize(u, dim=0)


def _nothing(reason: str, n: int) -> Detailed:
    missing = Estimate.missing(reason, better=SlicedWasserstein.better)
    return Detailed(missing, torch.zeros(n, dtype=torch.float64), Variance(0.0))


def _of_directions(along: Tensor) -> Variance:
    """Returns the variance of the mean that comes from which directions were drawn."""
    folds_, count = len(along) - 1, along.shape[1]
    unbiased = folds_ * along[0] - (folds_ - 1) * along[1:].mean(0)
    return Variance.of_squares(float(unbiased.var()) / count, count - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Mind(ClusteredPaired):
    """The Monge Inception Distance: ``3 d`` times the mean of ``W_2^2`` over random directions.

    A shift of the mean by ``m`` gives ``3 |m|^2`` whatever the number ``d`` of features is. The
    values of papers are on the features of Inception.

    Source: Berthet et al., 2026, https://arxiv.org/abs/2605.06797; torch-fidelity has it too.

    Differs from the paper: the bias is removed as in ``sliced-wasserstein``, so that it may be
    negative where the two are close; sets of unequal size are used whole.

    Attributes:
        directions: Number of random projections.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    directions: Annotated[int, Between(2, 65536)] = 1000

    @override
    def detail(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Detailed:
        x, y = pair(real, fake)
        # The distance is quadratic in the features.
        unit = math.sqrt(3 * x.shape[1])
        sliced = SlicedWasserstein(directions=self.directions)
        return sliced.detail(x * unit, y * unit, rng=rng, groups=groups)


_MAX_METHOD = (
    "direction optimised on one half of the samples ({:.4g} there), value and interval on the "
    "other half by block jackknife, conditional on this direction; empirical coverage 89-100 "
    "% in simulations; when the distributions are nearly equal {}"
)
_MAX_NEAR = {
    1: "the value is biased upwards",
    2: (
        "the interval is slightly conservative; for small differences it lies too low in up "
        "to 10 % of cases"
    ),
}
# The first and the last step of the search, as an angle in radians.
_STEPS = (0.5, 0.005)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class MaxSlicedWasserstein(Paired):
    """``W_p^p`` along the direction in which real and fake differ most: squared for order 2.

    The direction is sought on half of the samples and judged on the other, so the value is that
    of one honest direction: never inflated by the search, and at most the true maximum.

    Source: Deshpande et al., 2019, https://arxiv.org/abs/1904.05877, definition 1.

    Differs from the paper: found and judged on different samples, bias removed, no root.

    Attributes:
        order: Order ``p`` of the Wasserstein distance.
        restarts: Number of random restarts.
        steps: Optimisation steps per restart.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    order: Annotated[int, Between(1, 2)] = 2
    restarts: Annotated[int, Between(1, 1024)] = 8
    steps: Annotated[int, Between(1, 10_000)] = 50

    @override
    def detail(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Detailed:
        return self.directed(real, fake, rng=rng)[0]

    def directed(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator
    ) -> tuple[Detailed, Tensor | None]:
        """Returns the result of ``detail`` and the direction, shape ``(d,)``; None if not sought.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = about_zero(*pair(real, fake))
        if reason := too_few(x, y, 4):
            missing = Estimate.missing(reason, better=self.better)
            return Detailed(missing, x.new_zeros(len(x)), Variance(0.0)), None
        (seek_x, judge_x), (seek_y, judge_y) = _halves(len(x), rng), _halves(len(y), rng)
        u, seen = max_sliced_direction(
            *(x[seek_x.to(x.device)], y[seek_y.to(y.device)]),
            order=self.order,
            restarts=self.restarts,
            steps=self.steps,
            rng=rng,
        )
        judge_x = judge_x.to(x.device)
        judged = (x[judge_x], y[judge_y.to(y.device)])
        found = transport(*judged, u[:, None], self.order, rng=rng)
        made = around(
            found.plain - found.bias,
            found.variance,
            n=min(map(len, judged)),
            method=_MAX_METHOD.format(seen, _MAX_NEAR[self.order]),
        ).named(unit=self.unit, better=self.better)
        made = made.beside(sought=seen)
        # Samples of the search add nothing to the number, the others the more.
        adds = x.new_zeros(len(x))
        adds[judge_x] = found.of_real * (len(x) / len(judge_x))
        return Detailed(made, adds, found.rest(found.variance, found.of_real, found.of_fake)), u


def max_sliced_direction(
    x: Tensor,
    y: Tensor,
    *,
    order: int = 2,
    restarts: int = 8,
    steps: int = 50,
    rng: torch.Generator,
) -> tuple[Tensor, float]:
    """Returns the unit vector with the largest ``W_p^p`` found, shape ``(d,)``, and that cost.

    Gradient ascent on the sphere, by steps of a falling angle, from the difference of the means
    and from random directions; the best direction that any of them met. Half of the random ones
    are the best of many.

    Args:
        x: Features, shape ``(n, d)``, floating point.
        y: Features, shape ``(m, d)``.
        order: The power ``p`` of the distance.
        restarts: From how many directions to start.
        steps: How many steps from each.
        rng: Draws the directions.
    """
    x, y = x.detach(), y.detach()
    u = _starts(x, y, order, restarts, rng)
    best, most = u[:, 0], -math.inf
    for step in range(steps + 1):
        cost, slope = _slope(x, y, u, order)
        top = int(cost.argmax())
        if float(cost[top]) > most:
            best, most = u[:, top].clone(), float(cost[top])
        angle = _STEPS[0] * (_STEPS[1] / _STEPS[0]) ** (step / steps)
        u = normalize(u + math.tan(angle) * normalize(slope, dim=0), dim=0)
    return best, most


def _starts(x: Tensor, y: Tensor, order: int, count: int, rng: torch.Generator) -> Tensor:
    mean = normalize(x.mean(0) - y.mean(0), dim=0)[:, None]
    drawn = random_directions(x.shape[1], 8 * count, rng=rng, like=x)
    promise = _cost(x, y, drawn, order)
    good, rest = drawn[:, promise.argsort(descending=True)], drawn
    u = torch.cat([mean, good[:, : count // 2], rest[:, :count]], dim=1)[:, :count]
    # Equal means have no direction.
    return torch.where(u.norm(dim=0) > 0, u, drawn[:, :count])


def _cost(x: Tensor, y: Tensor, u: Tensor, order: int) -> Tensor:
    return wasserstein((x @ u).T.sort(dim=1).values, (y @ u).T.sort(dim=1).values, order)


def _slope(x: Tensor, y: Tensor, u: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Returns the cost along each direction and its gradient on the sphere, shape ``(d, l)``."""
    with torch.enable_grad():
        free = u.detach().requires_grad_()
        cost = _cost(x, y, free, order)
        (slope,) = torch.autograd.grad(cost.sum(), free)
    return cost.detach(), slope - u * (u * slope).sum(0)


def _halves(n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    order = torch.randperm(n, generator=rng, device=rng.device)
    return order[: n // 2].sort().values, order[n // 2 :].sort().values
