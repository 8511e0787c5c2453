"""Pairs of samples that collide: equal ones, or those nearer to each other than real ones are."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Estimate
from gantlet.core.spec import Between
from gantlet.metrics.neighbour_search import (
    COLUMNS,
    ROWS,
    Folds,
    Points,
    edge,
    near_pairs,
    rows_of,
    spans,
    tile,
)
from gantlet.metrics.neighbours import (
    Counting,
    CountingMetric,
    Needs,
    Neighbourhoods,
    measure_together,
)
from gantlet.stats.intervals import LEVEL
from gantlet.stats.jackknife import estimate_of
from gantlet.stats.support import Collisions, effective_support

FEWEST = 20
"""A threshold is the distance of at least the so many-th closest pair: fewer say too little."""


@final
@dataclass(frozen=True, slots=True)
class Threshold:
    """The distance below which a share of real pairs fall.

    Attributes:
        squared: The squared distance, in the units of the ``Points`` it was found in.
        share: The share of pairs that are at most so far apart.
    """

    squared: float
    share: float


def threshold(x: Points, share: float) -> Threshold:
    """Returns the distance of the ``share`` closest of all pairs, at least of the 20th closest.

    All pairs are looked at, block by block; what is held is a block and the closest so far.

    Args:
        x: Real samples, at least 2, that are used for nothing else.
        share: Which share of the pairs shall be closer.
    """
    pairs = len(x) * (len(x) - 1) // 2
    k = min(max(math.ceil(share * pairs), FEWEST), pairs)
    best = torch.empty(0, dtype=torch.float64)
    bound = math.inf
    for i, j, distances in _tiles(x):
        mask = _later(i, j) & (distances <= bound)
        best = torch.cat([best, distances[mask].clamp_min(0)])
        if len(best) > k:
            best = best.topk(k, largest=False).values
            bound = float(best.max())
    return Threshold(float(best.max()), k / pairs)


@final
@dataclass(frozen=True, slots=True)
class Partners:
    """The collisions of each sample.

    Attributes:
        count: With how many others it collides, shape ``(n,)``.
        latest: The place of the latest earlier sample that it collides with, or -1; the order is
            that of the samples.
        closest: The closest pairs, shape ``(k, 2)``, the closest first.
    """

    count: Tensor
    latest: Tensor
    closest: Tensor


_CLOSEST = 16


def partners(x: Points, squared: float) -> Partners:
    """Returns the collisions of all pairs within a squared distance, looked at block by block."""
    count = torch.zeros(len(x), dtype=torch.int64)
    latest = torch.full((len(x),), -1, dtype=torch.int64)
    limits = edge(torch.full((len(x),), squared, dtype=torch.float64), x)
    closest = _Closest(len(x))
    for i, j, distances in _tiles(x):
        later = _later(i, j)
        near = later & (distances <= limits[i, None])
        count[i] += near.sum(1)
        count[j] += near.sum(0)
        rows, columns = near.nonzero(as_tuple=True)
        latest.scatter_reduce_(0, columns + j.start, rows + i.start, "amax")
        closest.update(distances.masked_fill(~later, math.inf), i.start, j.start)
    return Partners(count, latest, closest.pairs)


def equal_partners(number: Tensor) -> Partners:
    """Returns the collisions of samples that are equal.

    Args:
        number: A number for each sample, equal where samples are, shape ``(n,)``.
    """
    _, kind, sizes = torch.unique(number, return_inverse=True, return_counts=True)
    order = kind.argsort(stable=True)
    ordered = kind[order]
    again = torch.cat([ordered.new_zeros(1, dtype=torch.bool), ordered[1:] == ordered[:-1]])
    latest = torch.full_like(kind, -1)
    latest[order[again]] = order[again.nonzero()[:, 0] - 1]
    pairs = torch.stack([latest, torch.arange(len(kind))], 1)[latest >= 0]
    return Partners(sizes[kind] - 1, latest, pairs[:_CLOSEST])


@final
class _Closest:
    """The closest pairs, in none of which a sample comes twice.

    Args:
        n: How many samples there are.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._distance = torch.empty(0, dtype=torch.float64)
        self._place = torch.empty(0, 2, dtype=torch.int64)

    def update(self, distances: Tensor, row: int, column: int) -> None:
        """Looks at a block of pairs."""
        flat = distances.flatten()
        k = min(4 * _CLOSEST, len(flat))
        found = flat.topk(k, largest=False)
        width = distances.shape[1]
        place = torch.stack([found.indices // width + row, found.indices % width + column], 1)
        distance = torch.cat([self._distance, found.values])
        order = distance.argsort(stable=True)[: 4 * _CLOSEST]
        self._distance = distance[order]
        self._place = torch.cat([self._place, place])[order]

    @property
    def pairs(self) -> Tensor:
        """The closest pairs of different samples, shape ``(k, 2)``."""
        kept, seen = list[list[int]](), set[int]()
        known = self._place[self._distance.isfinite()].tolist()
        for pair in known:
            if not seen & set(pair):
                kept.append(pair)
                seen |= set(pair)
        return torch.tensor(kept[:_CLOSEST], dtype=torch.int64).reshape(-1, 2)


def _tiles(x: Points) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yields blocks of squared distances that cover each pair once."""
    for i in spans(len(x), ROWS):
        a = rows_of(x, i, torch.float64)
        for j in spans(len(x), COLUMNS, start=i.start):
            yield i, j, tile(a, rows_of(x, j, torch.float64))


def _later(i: slice, j: slice) -> Tensor:
    """Returns which pairs of a block have the later sample in the column."""
    return torch.arange(i.start, i.stop)[:, None] < torch.arange(j.start, j.stop)


# ----------------------------------------------------------------------------
# The birthday test as a metric.
# ----------------------------------------------------------------------------

# The reals that lie nearest to another one set the measure, all but the nearest of them.
_QUANTILE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Birthday(CountingMetric):
    """The support size of the model, estimated from near-duplicates among fakes (birthday test).

    Of ``S`` equally likely days of birth, ``m (m - 1) / 2`` pairs meet on the same one
    ``m (m - 1) / (2 S)`` times. Two fakes are near-duplicates if they are nearer to each other
    than ``closeness`` times the distance within which 5 % of the real samples have another one.
    The method states how many near-duplicates there are, and how many among the real samples. With
    none among the fakes there is no value, only a lower bound, in the method.

    Source: Arora and Zhang, 2017, https://arxiv.org/abs/1706.08224.

    Differs from the paper: there, people judge which of the closest pairs are duplicates; here
    the distances of the real samples do, so that features must see what people see. The count
    replaces the size at which a duplicate becomes as likely as not.

    Attributes:
        closeness: Largest distance of duplicates, over that of nearest neighbours among reals.
    """

    by_groups: ClassVar[bool] = False

    closeness: Annotated[float, Between(0, 1)] = 0.5

    @override
    def needs(self) -> Needs:
        return Needs(k_real=1, k_fake=1, least=3)

    @override
    def begin(self, scene: Neighbourhoods, folds: Folds) -> Counting:
        del folds  # nothing is random
        return Counting(partial(self._support, scene))

    def _support(self, scene: Neighbourhoods) -> Estimate:
        nearest = scene.near_real.distance[:, 0].sort().values
        limit = self.closeness**2 * float(nearest[int(_QUANTILE * len(nearest))])
        found = near_pairs(scene.fake, scene.near_fake, limit)
        real = int(near_pairs(scene.real, scene.near_real, limit).sum()) // 2
        among = f"{real} of {len(scene.real)} reals"
        return birthday_support(found, among=among)

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; draws nothing from ``rng``.

        Raises:
            UserError: If the features cannot be compared.
        """
        return estimate_of(measure_together([self], real, fake, [rng])[0])


def birthday_support(meetings: Tensor, *, among: str = "none known") -> Estimate:
    """Returns the effective support size: that of a uniform law with as many collisions.

    The interval is Poisson's, made wider where some samples meet more often than others, as they
    do where samples are not equally likely; the value then is that of as many likely ones as
    would meet as often.

    Args:
        meetings: With how many others each sample meets, shape ``(m,)``.
        among: What the same count gave for real samples, for the method.
    """
    found = Collisions.of(meetings)
    seen = f"{found.count} pairs of near-duplicates among {found.n} fakes, {among}"
    if not found.count:
        bound = found.pairs / -math.log(1 - LEVEL)
        return Estimate.missing(f"{seen}: at least {bound:.3g} different samples (95 %)")
    method = f"{seen}; Poisson interval, widened for unequal probabilities"
    return replace(effective_support(found), method=method, also={})
