"""Clipped density and clipped coverage: density and coverage that outliers do not decide."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.spec import Between
from gantlet.metrics.neighbour_search import (
    COLUMNS,
    ROWS,
    BallMembers,
    Folds,
    Nearest,
    Points,
    edge,
    ends,
    rows_of,
    slack,
    smallest_sample,
    spans,
    tile,
    working_dtype,
)
from gantlet.metrics.neighbours import Counting, Needs, Neighbourhoods, NeighbourMetric
from gantlet.stats.intervals import Variance, around, fraction
from gantlet.stats.jackknife import (
    Detailed,
    VarianceParts,
    over_balls,
    over_fakes,
)

# ----------------------------------------------------------------------------
# Clipped coverage, and what it is calibrated by.
# ----------------------------------------------------------------------------

_COVERAGE = (
    "k = {}; {:.4g} before calibration, which is what {:.4g} good fakes of {} give on average "
    "where the rest lies nowhere near; interval from the spread of the balls and, by block "
    "jackknife, the dependence through shared samples; approximate near 1, where values are cut "
    "off"
)


def expected_cover(n: int, m: int, k: int) -> Tensor:
    """Returns the mean of ``min(B, k) / k``, shape ``(m + 1,)``, for 0 to ``m`` good fakes.

    ``B`` is how many of them lie in the ball of a real sample that reaches to its ``k``-th nearest
    of ``n - 1`` others, where all are drawn from one continuous distribution. All orders of their
    distances from the centre are equally likely, so that ``B`` is negative hypergeometric,
    ``P(B = b) = (b + k - 1 over b) (n - 1 - k + m - b over m - b) / (n - 1 + m over m)``, whatever
    the distribution.

    Source: Salvy, Talbot and Thirion, 2025, https://arxiv.org/abs/2507.01761, who
    have it as a beta-binomial integral.

    Args:
        n: Real samples, more than ``k``.
        m: Most fakes.
        k: The neighbour to which a ball reaches.

    Example:
        >>> [round(x, 4) for x in expected_cover(3, 2, 1).tolist()]
        [0.0, 0.3333, 0.5]
    """
    good = torch.arange(m + 1, dtype=torch.float64)
    short = torch.zeros_like(good)
    for b in range(min(k, m + 1)):
        left = (good - b).clamp_min(0)
        log = (
            _log_choose(torch.tensor(float(b + k - 1)), torch.tensor(float(b)))
            + _log_choose(n - 1 - k + left, left)
            - _log_choose(n - 1 + good, good)
        )
        short += torch.where(good >= b, (k - b) * log.exp(), 0.0)
    return (1 - short / k).clamp(0, 1)


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    n, k = n.double(), k.double()
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)


@final
class Calibration:
    """The map from raw clipped coverage to the share of good fakes that gives it on average.

    Args:
        n: Real samples.
        m: Fake samples.
        k: The neighbour to which a ball reaches.
    """

    def __init__(self, n: int, m: int, k: int) -> None:
        self._m = m
        self._means = expected_cover(n, m, k)

    def share(self, raw: float) -> float:
        """Returns the share, linear between whole numbers of fakes, at most 1."""
        i = self._piece(raw)
        low, high = self._means[i : i + 2].tolist()
        return float(min(max(i + (raw - low) / (high - low), 0.0) / self._m, 1.0))

    def slope(self, raw: float) -> float:
        """Returns by how much the share grows with the raw value."""
        low, high = self._means[self._piece(raw) :][:2].tolist()
        return float(1 / (high - low) / self._m)

    def _piece(self, raw: float) -> int:
        place = int(torch.searchsorted(self._means, raw, right=True)) - 1
        return min(max(place, 0), self._m - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class ClippedCoverage(NeighbourMetric):
    """The share of fakes that would cover the real samples as well if all of them were good.

    The ball of a real sample reaches to its ``k``-th nearest real neighbour. It is covered as far
    as it holds ``k`` fakes: ``min(held, k) / k``, so that a crowd in one ball makes up for no
    empty one. The mean over balls is calibrated: 0.7 means that it is what 7 of 10 fakes drawn
    from the real distribution give, the others lying nowhere near. At most 1, and on average a
    little below where the two are equal, as chance above 1 is cut off.

    Source: Salvy, Talbot and Thirion, 2025, https://arxiv.org/abs/2507.01761.

    Differs from the paper: the edge of a ball counts as inside, as for coverage; shares between
    whole numbers of fakes are interpolated, where the authors' program rounds.

    Attributes:
        k: Number of nearest neighbours, which sets the radius of a ball.
    """

    k: Annotated[int, Between(1, 1024)] = 5

    @override
    def needs(self) -> Needs:
        return Needs(k_real=self.k, least=smallest_sample(self.k))

    @override
    def begin(self, scene: Neighbourhoods, folds: Folds) -> Counting:
        real, fake = scene.of(folds)
        held = BallMembers(scene.near_real, self.k, real, fake)

        def finish() -> Detailed:
            covered, by_real, by_fake = (
                z.clamp_max(self.k).double() / self.k for z in held.leaving_out()
            )
            spread = over_balls((covered, by_real, by_fake), real, scene.groups)
            return self._calibrated(scene, covered, spread)

        return Counting(finish, real_balls=[held])

    def _calibrated(
        self, scene: Neighbourhoods, covered: Tensor, spread: VarianceParts
    ) -> Detailed:
        n, m, raw = len(scene.real), len(scene.fake), float(covered.mean())
        to = Calibration(n, m, self.k)
        method = _COVERAGE.format(self.k, raw, to.share(raw) * m, m) + scene.of_groups
        made = fraction(raw, spread.whole, n=scene.drawn_reals, method=method)
        value, low, high = (None if z is None else to.share(z) for z in (raw, made.low, made.high))
        slope = to.slope(raw)
        rest = Variance(spread.rest.value * slope**2, spread.rest.noise * slope**4)
        found = replace(made, value=value, low=low, high=high).beside(plain=raw)
        return Detailed(found, spread.real * slope, rest)


# ----------------------------------------------------------------------------
# Clipped density.
# ----------------------------------------------------------------------------

_DENSITY = (
    "k = {}; radii up to the median of {:.4g}; {:.4g} over that of the real samples themselves, "
    "{:.4g}; for these sample sizes; interval from the spread of the fakes and, by block "
    "jackknife, the dependence through shared balls, their median and the divisor; approximate "
    "near 1, where values are cut off"
)


@final
class ClippedBalls:
    """Balls of real samples, none larger than the median, with all and without each fold.

    Attributes:
        radii: Squared radii in the units of ``Points``, shape ``(1 + folds, n)``; below zero where
            the fold is left out.
        median: The largest radius, with all samples, in those units.
    """

    def __init__(self, x: Points, near: Nearest, k: int, fold: Tensor) -> None:
        self._near, self._fold, self._k = near, fold, k
        reach = torch.cat([torch.full_like(fold, k - 1)[None], ends(near, k, fold)])
        edges = edge(near.distance, x)
        radii = edges.gather(1, reach.clamp_min(0).T).T
        limits = torch.stack([_median(r[e >= 0]) for r, e in zip(radii, reach, strict=True)])
        self.median = math.sqrt(float(limits[0]))
        self.radii = torch.minimum(radii, limits[:, None]).masked_fill(reach < 0, -1.0)

    def of_own(self) -> Tensor:
        """Returns the mean over real samples of ``min(balls, k) / k``, ``(1 + folds,)``."""
        return torch.stack([self._own(f) for f in range(len(self.radii))])

    def _own(self, row: int) -> Tensor:
        kept = self._fold != row - 1  # row 0 is that of all samples, and no fold is -1
        inside = self._near.distance <= self.radii[row][:, None]
        inside &= kept[:, None] & kept[self._near.index]
        counts = self._near.index[inside].bincount(minlength=len(self._fold))[kept]
        return (counts.double() / self._k).clamp_max(1).mean()

    def holding(self, x: Points, y: Points) -> Tensor:
        """Returns how many balls around ``x`` hold each of ``y``, shape ``(1 + folds, m)``."""
        counts = self.radii.new_zeros(len(self.radii), len(y), dtype=torch.int64)
        dtype, widest = working_dtype(x), self.radii.amax(0)
        for i in spans(len(x), ROWS):
            a = rows_of(x, i, dtype)
            for j in spans(len(y), COLUMNS):
                b = rows_of(y, j, dtype)
                off = slack(dtype, x.width) * (a.lengths[:, None] + b.lengths)
                near = tile(a, b) - off <= widest[i, None]
                self._count(
                    counts,
                    x,
                    y,
                    (near.nonzero() + near.new_tensor([i.start, j.start], dtype=torch.int64)).T,
                )
        return counts

    def _count(self, counts: Tensor, x: Points, y: Points, pairs: Tensor) -> None:
        """Adds pairs that may lie in a ball; their distances are taken again in float64."""
        for centre, other in zip(*(torch.split(z, 2**17) for z in pairs), strict=True):
            inside = x.apart(centre, y, other) <= self.radii[:, centre]
            row, which = inside.nonzero(as_tuple=True)
            flat = row * counts.shape[1] + other[which]
            counts.view(-1).index_add_(0, flat, torch.ones_like(flat))


def _median(radii: Tensor) -> Tensor:
    """Returns the square of the median of the roots, the mean of the two middle ones if even."""
    ordered = radii.sort().values
    middle = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1]
    return middle.sqrt().mean().square()


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class ClippedDensity(NeighbourMetric):
    """How densely real balls lie around fakes, over how densely they lie around real samples.

    The ball of a real sample reaches to its ``k``-th nearest real neighbour, but no farther than
    the median of these distances, so that outliers have no large balls. A fake counts as far as it
    lies in ``k`` balls: ``min(balls, k) / k``, so that a crowd in the densest place makes up for
    no bad sample. The mean over fakes is divided by that over the real samples in each other's
    balls, and cut off at 1.

    Source: Salvy, Talbot and Thirion, 2025, https://arxiv.org/abs/2507.01761.

    Attributes:
        k: Number of nearest neighbours, which sets the radius of a ball.
    """

    k: Annotated[int, Between(1, 1024)] = 5

    @override
    def needs(self) -> Needs:
        return Needs(k_real=self.k, least=smallest_sample(self.k))

    @override
    def begin(self, scene: Neighbourhoods, folds: Folds) -> Counting:
        return Counting(lambda: self._density(scene, scene.of(folds)[0]))

    def _density(self, scene: Neighbourhoods, fold: Tensor) -> Detailed:
        balls = ClippedBalls(scene.real, scene.near_real, self.k, fold)
        own = balls.of_own()
        counts = balls.holding(scene.real, scene.fake).double() / self.k
        terms = counts.clamp_max(1) / own[:, None]
        spread = over_fakes(terms[0], terms[1:] - terms[0], scene.groups)
        ratio = float(terms[0].mean())
        largest = balls.median / scene.real.scale
        method = _DENSITY.format(self.k, largest, ratio * float(own[0]), float(own[0]))
        made = around(ratio, spread.whole, n=scene.drawn_fakes, method=method + scene.of_groups)
        if made.low is not None and made.high is not None and made.value is not None:
            low, value, high = (min(z, 1.0) for z in (made.low, made.value, made.high))
            made = replace(made, low=low, value=value, high=high).beside(plain=ratio)
        return Detailed(replace(made, is_proportion=True), spread.real, spread.rest)
