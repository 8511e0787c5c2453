"""Nearest neighbours and balls: exact, blocked, one pass for many metrics."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.metric import Groups
from gantlet.stats.jackknife import FOLDS, folds
from gantlet.stats.moments import products

# Numbers that are turned into double precision at a time: half a MB, which stays in a cache.
_NUMBERS = 2**16
# Rows from which the centre is computed; it need not be exact.
_FOR_CENTRE = 256
# Squares of numbers in this range neither vanish nor overflow in float32.
_SMALL, _LARGE = 1e-12, 1e12


@final
class Points:
    """Samples and the vector that is subtracted from them before products are taken.

    Distances do not see the move, but without it a large mean costs digits. No moved copy is
    kept: rows are moved as they are read, so that sets mapped from disk stay there.

    Attributes:
        x: The samples as they came, shape ``(n, d)``.
        centre: What is subtracted, shape ``(d,)``, float32 numbers in float64.
        scale: What the difference is multiplied by, a power of two.
    """

    def __init__(self, x: Tensor, centre: Tensor, scale: float) -> None:
        self.x = x
        self.centre = centre
        self.scale = scale
        self._lengths: dict[torch.dtype, Tensor] = {}

    def __len__(self) -> int:
        """Returns the number of samples."""
        return len(self.x)

    @property
    def device(self) -> torch.device:
        """Where the samples lie."""
        return self.x.device

    @property
    def width(self) -> int:
        """The number of features."""
        return int(self.x.shape[1])

    def rows(self, part: slice | Tensor, dtype: torch.dtype) -> Tensor:
        """Returns moved and scaled rows."""
        if dtype == torch.float32 and self.x.dtype != torch.float64 and self.scale == 1:
            return self.x[part].to(dtype) - self.centre.to(dtype)
        return ((self.x[part].to(torch.float64) - self.centre) * self.scale).to(dtype)

    def lengths(self, dtype: torch.dtype) -> Tensor:
        """Returns the squared lengths of the rows as they are in ``dtype``, in float64."""
        if dtype not in self._lengths:
            parts = [_squares(self.rows(part, dtype)) for part in row_blocks(self.x)]
            self._lengths[dtype] = torch.cat(parts)
        return self._lengths[dtype]

    def apart(self, i: Tensor, other: "Points", j: Tensor) -> Tensor:
        """Returns the squared distances of pairs of rows, from differences in float64."""
        parts: list[Tensor] = []
        step = max(1, _NUMBERS // self.width)
        for a, b in zip(torch.split(i, step), torch.split(j, step), strict=True):
            parts.append(_squares(_wide(self.x[a]) - _wide(other.x[b])))
        return torch.cat(parts) * self.scale**2

    def apart_from_each(self, i: Tensor, other: "Points", j: Tensor) -> Tensor:
        """Returns the same of each row ``i`` and several of the other set, shapes ``(b, t)``.

        Args:
            i: Rows of this set, shape ``(b,)``.
            other: The other set.
            j: Rows of it, shape ``(b, t)``, ``t`` at least 1.
        """
        parts: list[Tensor] = []
        step = max(1, _NUMBERS // (self.width * j.shape[1]))
        for a, b in zip(torch.split(i, step), torch.split(j, step), strict=True):
            moved = _wide(other.x[b.flatten()]).view(*b.shape, self.width)
            moved = moved - _wide(self.x[a])[:, None]
            parts.append(_squares(moved.flatten(0, 1)))
        return torch.cat(parts).view(j.shape) * self.scale**2

    @cached_property
    def content(self) -> tuple[object, ...]:
        """What tells these samples, and how they are moved, from others."""
        found = hashlib.blake2b(digest_size=16)
        for part in row_blocks(self.x):
            found.update(self.x[part].contiguous().cpu().numpy().data)
        centre = self.centre.cpu().numpy().tobytes()
        return (found.digest(), self.x.dtype, tuple(self.x.shape), centre, self.scale)


def points(*sets: Tensor) -> list[Points]:
    """Returns the sets with the median of the first as their common centre, and one scale.

    The median of each feature, over some of the rows: an outlier would move the mean so far that
    the digits of all others were lost. The sets must have been checked and not be empty.
    """
    first = sets[0]
    some = first[:: max(1, len(first) // _FOR_CENTRE)]
    # A centre of float32 numbers is subtracted alike in both precisions.
    centre = _wide(some).median(0).values.to(torch.float32).to(torch.float64)
    largest = max(_largest(x, centre) for x in sets)
    fits = _SMALL < largest < _LARGE or largest == 0
    scale = 1.0 if fits else 2.0 ** -math.frexp(largest)[1]
    return [Points(x, centre, scale) for x in sets]


def row_blocks(x: Tensor) -> Iterator[slice]:
    """Yields slices of rows of ``x`` whose double precision copies stay within half a MB."""
    step = max(1, _NUMBERS // max(1, x.shape[1]))
    for start in range(0, len(x), step):
        yield slice(start, min(start + step, len(x)))


def _largest(x: Tensor, centre: Tensor) -> float:
    found = (float((_wide(x[part]) - centre).abs().max()) for part in row_blocks(x))
    return max(found, default=0.0)


def _squares(rows: Tensor) -> Tensor:
    wide = _wide(rows)
    squares: Tensor = torch.linalg.vecdot(wide, wide)
    return squares


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.float64)


ROWS, COLUMNS = 1024, 2048
"""The size of one block of pairs."""

# From this many features on, products in float32 take most of the time.
_WIDE = 64


def working_dtype(x: Points) -> torch.dtype:
    """Returns in what precision products are taken.

    Float32, whose decisions near an edge are then taken again in float64, unless there are few
    features, or products in float32 have been allowed to be worse than that.
    """
    exact = torch.get_float32_matmul_precision() == "highest"
    return torch.float32 if exact and x.width > _WIDE else torch.float64


def spans(n: int, step: int, start: int = 0) -> Iterator[slice]:
    """Yields slices of ``step`` that cover ``range(start, n)``."""
    for begin in range(start, n, step):
        yield slice(begin, min(begin + step, n))


@final
@dataclass(frozen=True, slots=True)
class PreparedRows:
    """Some rows of a set, ready for products.

    Attributes:
        values: The moved rows, shape ``(b, d)``.
        lengths: Their squared lengths, shape ``(b,)``.
    """

    values: Tensor
    lengths: Tensor


def rows_of(x: Points, part: slice | Tensor, dtype: torch.dtype) -> PreparedRows:
    """Returns rows of ``x`` in ``dtype``."""
    return PreparedRows(x.rows(part, dtype), x.lengths(dtype)[part].to(dtype))


def tile(a: PreparedRows, b: PreparedRows) -> Tensor:
    """Returns the squared distances of each row of ``a`` to each of ``b``; may be below 0."""
    found = products(a.values, b.values)
    lengths = a.lengths[:, None] + b.lengths
    return torch.sub(lengths, found, alpha=2, out=found)


def slack(dtype: torch.dtype, width: int) -> float:
    """Returns the largest error of a distance, relative to the sum of both squared lengths.

    The rounding of a product of ``width`` terms grows with the root of their number; this is
    several times that.
    """
    unit = torch.finfo(dtype).eps / 2
    return unit * (8 + 2 * math.sqrt(width))


def edge(distance: Tensor, x: Points, part: slice | Tensor = slice(None)) -> Tensor:
    """Returns squared radii around rows of ``x``, made larger by what rounding may take away.

    So twins and ties lie inside, in whichever way their distance was computed.

    Args:
        distance: Squared distances, shape ``(b, ...)``.
        x: The centres.
        part: Which rows of them.
    """
    lengths = x.lengths(torch.float64)[part].reshape(-1, *[1] * (distance.ndim - 1))
    return distance * (1 + 1e-9) + 4 * slack(torch.float64, x.width) * lengths


# ----------------------------------------------------------------------------
# The nearest neighbours of each sample: found in float32, measured and confirmed in float64.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Nearest:
    """Neighbours of each sample, the nearest first.

    Attributes:
        distance: Their squared distances in the units of ``Points``, shape ``(n, t)``.
        index: Which they are, shape ``(n, t)``.
    """

    distance: Tensor
    index: Tensor


def knn_within(x: Points, k: int, *, kept: int | None = None) -> Nearest:
    """Returns the ``k`` nearest other samples of each, and some more, so that a fold may go.

    Each pair is looked at once: a block of distances serves its rows and its columns.

    Args:
        x: The samples.
        k: How many are needed.
        kept: How many to return, at least ``k``; as many as ``reserve`` says if not given.
    """
    t = min(len(x) - 1, kept or reserve(k))
    best = _Best(x, x, t, k)
    dtype = working_dtype(x)
    for i in spans(len(x), ROWS):
        a = rows_of(x, i, dtype)
        for j in spans(len(x), COLUMNS, start=i.start):
            distances = tile(a, rows_of(x, j, dtype))
            if j.start == i.start:
                distances.diagonal().fill_(torch.inf)
            best.update(i, distances, j.start)
            # Within the block on the diagonal the rows have seen all pairs both ways.
            later = max(i.stop, j.start)
            if later < j.stop:
                others = distances[:, later - j.start :].T.contiguous()
                best.update(slice(later, j.stop), others, i.start)
    return best.measured(dtype)


def knn(queries: Points, base: Points, k: int = 1) -> Nearest:
    """Returns the ``k`` nearest samples of ``base`` to each of ``queries``."""
    best = _best_of_others(queries, base, k)
    dtype = working_dtype(base)
    for j in spans(len(base), COLUMNS):
        b = rows_of(base, j, dtype)
        for i in spans(len(queries), ROWS):
            best.update(i, tile(rows_of(queries, i, dtype), b), j.start)
    return best.measured(dtype)


def _best_of_others(queries: Points, base: Points, k: int) -> "_Best":
    return _Best(queries, base, min(len(base), k + 3), k)


def nearest_distance_within(some: Tensor, x: Points) -> Tensor:
    """Returns the squared distances of the samples ``some`` to their nearest other sample."""
    chosen = Points(x.x[some], x.centre, x.scale)
    found = knn(chosen, x, 2)
    is_other = found.index != some[:, None]
    # With many twins the sample itself may not be among those found; all of them are at zero.
    return found.distance.masked_fill(~is_other, torch.inf).amin(1)


def reserve(k: int, together: int = 1) -> int:
    """Returns the number of neighbours to keep so that ``k`` are left without any one fold.

    Folds are drawn at random and hold a twentieth of the samples: that more than the reserve fall
    into one has a probability below 1e-11.

    Args:
        k: How many are needed.
        together: How many neighbours may be in one group, which is in one fold as a whole.
    """
    return k + (k // 8 + 12) * together


@final
class _Best:
    """The nearest samples that have been seen so far."""

    def __init__(self, queries: Points, base: Points, t: int, k: int) -> None:
        self.queries = queries
        self.base = base
        self.k = min(k, t)
        size, device = (len(queries), t), base.device
        self.distance = torch.full(size, torch.inf, dtype=working_dtype(base), device=device)
        self.index = torch.zeros(size, dtype=torch.int64, device=device)

    def update(self, part: slice, distances: Tensor, offset: int) -> None:
        """Looks at the distances of some rows to the samples from ``offset`` on."""
        t = self.distance.shape[1]
        near = distances.topk(min(t, distances.shape[1]), dim=1, largest=False)
        both = torch.cat([self.distance[part], near.values], 1)
        which = torch.cat([self.index[part], near.indices + offset], 1)
        kept = both.topk(t, dim=1, largest=False)
        self.distance[part] = kept.values
        self.index[part] = which.gather(1, kept.indices)

    def measured(self, dtype: torch.dtype) -> Nearest:
        """Returns the neighbours with distances in float64; doubtful rows are searched again."""
        farthest = self.distance.amax(1).to(torch.float64)
        found = self._measure(torch.arange(len(self.queries), device=self.base.device), self.index)
        doubtful = self._doubtful(found, farthest, dtype)
        for some in torch.split(doubtful, ROWS):
            again = self._measure(some, self._search_again(some))
            found.distance[some], found.index[some] = again.distance, again.index
        return found

    def _doubtful(self, found: Nearest, farthest: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns the rows of which rounding may have hidden a neighbour that counts."""
        t, n = found.index.shape[1], len(self.base)
        if dtype == torch.float64 or t >= n - (self.queries is self.base):
            return torch.empty(0, dtype=torch.int64, device=self.base.device)
        last = found.distance[:, self.k - 1]
        # A hidden neighbour is within reach, so its length is at most that of the row plus it.
        lengths = self.queries.lengths(dtype)
        off = slack(dtype, self.base.width) * (
            lengths + (lengths.sqrt() + last.clamp_min(0).sqrt()) ** 2
        )
        return ((last > 0) & (last > farthest - off)).nonzero()[:, 0]

    def _search_again(self, some: Tensor) -> Tensor:
        a = rows_of(self.queries, some, torch.float64)
        parts = [self._distances_again(a, some, j) for j in spans(len(self.base), COLUMNS)]
        return torch.cat(parts, 1).topk(self.index.shape[1], dim=1, largest=False).indices

    def _distances_again(self, a: PreparedRows, some: Tensor, j: slice) -> Tensor:
        distances = tile(a, rows_of(self.base, j, torch.float64))
        if self.queries is self.base:
            columns = torch.arange(j.start, j.stop, device=some.device)
            distances.masked_fill_(some[:, None] == columns, torch.inf)
        return distances

    def _measure(self, some: Tensor, index: Tensor) -> Nearest:
        apart = self.queries.apart_from_each(some, self.base, index)
        # By index first, so that ties are in one order.
        ordered, order = index.sort(1)
        by_index = apart.gather(1, order)
        distance, order = torch.sort(by_index, dim=1, stable=True)
        return Nearest(distance, ordered.gather(1, order))


# ----------------------------------------------------------------------------
# One pass over all pairs of a real and a fake sample, shared by all metrics that count neighbours.
#
# What is passed on of a pair is a whole number: how many of its own set lie nearer to the one than
# the other does. That is all that balls to the k-th neighbour need, with all samples or without a
# fold of them.
# ----------------------------------------------------------------------------

PAIRS_AT_ONCE = 2**17
"""Pairs handled at a time: their ranks need a row of neighbours each, and so fewer where many
more neighbours are kept than usual."""

_USUAL = 32

MANY_NEAR = 1 / 64
"""If a larger share of the pairs of a block lies near an edge, it is done again in float64."""


class Accumulator(ABC):
    """An accumulator over the pairs of a centre and a sample inside its reach.

    Attributes:
        reach: How many neighbours its balls may reach to, for each of their centres, ``(n,)``.
    """

    reach: Tensor

    @abstractmethod
    def update(self, centre: Tensor, other: Tensor, rank: Tensor) -> None:
        """Adds some pairs.

        Args:
            centre: The centres of the balls.
            other: The samples of the other set.
            rank: How many samples of its own set are nearer to the centre than the other sample.
        """


@dataclass(frozen=True, slots=True)
@final
class BallSide:
    """Centres of balls and the accumulators of their pairs.

    Attributes:
        points: The centres.
        near: Their nearest neighbours.
        watchers: The accumulators.
    """

    points: Points
    near: Nearest
    watchers: Sequence[Accumulator]

    def edges(self) -> Tensor:
        """Returns the squared distance of each neighbour, made safe for ties, ``(n, t)``."""
        return edge(self.near.distance, self.points)

    def reach(self) -> Tensor:
        """Returns the largest squared distance that any watcher needs, ``(n,)``."""
        widest = torch.stack([w.reach for w in self.watchers]).amax(0)
        return self.edges().gather(1, (widest - 1)[:, None])[:, 0]


def for_each_pair(real: BallSide, fake: BallSide, *, nearest: bool = False) -> Nearest | None:
    """Passes all pairs within reach to the watchers of both sides.

    Args:
        real: The real samples.
        fake: The fake samples.
        nearest: Whether to return the real sample nearest to each fake one, as ``knn`` finds it,
            and some more.
    """
    dtype = working_dtype(real.points)
    best = _best_of_others(fake.points, real.points, 1) if nearest else None
    sides = [
        _Ready(side, other.points, transposed)
        for side, other, transposed in ((real, fake, False), (fake, real, True))
        if side.watchers
    ]
    for i in spans(len(real.points), ROWS) if sides or best else ():
        a = rows_of(real.points, i, dtype)
        for j in spans(len(fake.points), COLUMNS):
            distances = tile(a, rows_of(fake.points, j, dtype))
            for side in sides:
                side.look(distances, i, j)
            if best is not None:
                best.update(j, distances.T.contiguous(), i.start)
    return best and best.measured(dtype)


@final
class _Ready:
    """One side with its edges at hand."""

    def __init__(self, side: BallSide, other: Points, transposed: bool) -> None:
        self.side = side
        self.other = other
        self.transposed = transposed
        self.edges = side.edges()
        self.at_once = max(1, PAIRS_AT_ONCE * _USUAL // max(_USUAL, self.edges.shape[1]))
        self.dtype = working_dtype(side.points)
        self.off = slack(self.dtype, other.width)
        self.reach = side.reach()
        longest = other.lengths(self.dtype).max() if len(other) else 0
        lengths = side.points.lengths(self.dtype)
        # Others within reach are no longer than the centre and the reach together.
        bound = torch.minimum((lengths.sqrt() + self.reach.sqrt()) ** 2, lengths * 0 + longest)
        margin = self.off * (lengths + bound)
        self.safe_reach = (self.reach + margin).to(self.dtype)
        # Nearer than this, the other is surely nearer than all neighbours.
        self.surely_first = self.edges[:, 0] - margin

    def look(self, distances: Tensor, i: slice, j: slice) -> None:
        """Passes on the pairs of a block; rows are real, columns fake."""
        reach = self.safe_reach[j] if self.transposed else self.safe_reach[i, None]
        rows, columns = (distances <= reach).nonzero(as_tuple=True)
        if not len(rows):
            return
        apart = distances[rows, columns].to(torch.float64)
        centre, other = rows + i.start, columns + j.start
        if self.transposed:
            centre, other = other, centre
        near = self._near_an_edge(apart, centre, other)
        if len(near) > distances.numel() * MANY_NEAR:
            apart = self._again(i, j)[rows, columns]
        elif len(near):
            apart[near] = self.side.points.apart(centre[near], self.other, other[near])
        parts = (torch.split(z, self.at_once) for z in (centre, other, self._rank(apart, centre)))
        for c, o, rank in zip(*parts, strict=True):
            for watcher in self.side.watchers:
                seen = rank < watcher.reach[c]
                whole = bool(seen.all())  # to leave none out costs no copies
                watcher.update(*((c, o, rank) if whole else (c[seen], o[seen], rank[seen])))

    def _rank(self, apart: Tensor, centre: Tensor) -> Tensor:
        """Returns the number of samples of its own set that are nearer to each centre."""
        rank = torch.zeros_like(centre)
        for some in torch.split(self._not_first(apart, centre), self.at_once):
            rank[some] = (self.edges[centre[some]] < apart[some, None]).sum(1)
        return rank

    def _not_first(self, apart: Tensor, centre: Tensor) -> Tensor:
        """Returns which pairs may have a neighbour between them."""
        return (apart >= self.surely_first[centre]).nonzero()[:, 0]

    def _near_an_edge(self, apart: Tensor, centre: Tensor, other: Tensor) -> Tensor:
        """Returns which pairs are so near an edge that rounding in float32 may decide."""
        found = [centre[:0]]
        doubtful = self._not_first(apart, centre) if self.dtype == torch.float32 else centre[:0]
        for some in torch.split(doubtful, self.at_once):
            c, o = centre[some], other[some]
            lengths = self.side.points.lengths(self.dtype)[c]
            off = self.off * (lengths + self.other.lengths(self.dtype)[o])
            gap = (self.edges[c] - apart[some, None]).abs()
            found.append(some[(gap <= off[:, None]).any(1)])
        return torch.cat(found)

    def _again(self, i: slice, j: slice) -> Tensor:
        """Returns the distances of a block in float64."""
        mine, theirs = (j, i) if self.transposed else (i, j)
        a = rows_of(self.side.points, mine, torch.float64)
        b = rows_of(self.other, theirs, torch.float64)
        return tile(b, a) if self.transposed else tile(a, b)


# ----------------------------------------------------------------------------
# Balls that reach from each sample to its k-th nearest neighbour, and what lies inside them.
#
# Everything is counted once with all samples and once without each fold of them, so that the
# jackknife costs no second pass over the pairs.
# ----------------------------------------------------------------------------


@final
class Folds:
    """The fold of each sample of both sets, drawn when their sizes are known."""

    def __init__(self, rng: torch.Generator) -> None:
        self._rng = rng
        self._drawn: tuple[Tensor, Tensor] | None = None

    def of(self, real: Points, fake: Points, groups: Groups | None) -> tuple[Tensor, Tensor]:
        """Returns the folds of the real samples and of the fake ones, ``(n,)`` and ``(m,)``.

        They are drawn once: all that share them are left out of the same folds. Samples of one
        group are in one fold.
        """
        if self._drawn is None:
            of = groups or Groups()
            first, second = (
                folds(len(z), rng=self._rng, device=z.device, group=group)
                for z, group in ((real, of.real), (fake, of.fake))
            )
            self._drawn = first, second
        return self._drawn


def smallest_sample(k: int) -> int:
    """Returns the number of samples needed for ``k`` neighbours when one fold is left out.

    Example:
        >>> smallest_sample(3), smallest_sample(19)
        (5, 22)
    """
    return k + 1 + -(-(k + 1) // (FOLDS - 1))


def ends(near: Nearest, k: int, fold: Tensor) -> Tensor:
    """Returns which neighbour the balls without each fold reach to, counted from 0.

    Shape ``(folds, n)``; -1 for the balls of the fold that is left out, which hold nothing.
    """
    neighbours = fold[near.index]
    found: list[Tensor] = []
    for f in range(int(fold.max()) + 1):
        left = (neighbours != f).to(torch.int32).cumsum(1)
        end = (left < k).sum(1).clamp_max(near.index.shape[1] - 1)
        found.append(end.masked_fill(fold == f, -1))
    return torch.stack(found)


def enough(near: Nearest, k: int, fold: Tensor) -> bool:
    """Returns whether ``k`` of the neighbours of each sample are left without any other fold."""
    n, t = near.index.shape
    lost = torch.zeros(n, int(fold.max()) + 1, dtype=torch.int64, device=fold.device)
    lost.scatter_add_(1, fold[near.index], torch.ones_like(near.index))
    # Without its own fold a sample has no ball.
    lost.scatter_(1, fold[:, None], 0)
    return int(lost.max()) <= t - k


@final
class BallCounts(Accumulator):
    """Counts how many balls hold each sample.

    Args:
        near: The nearest neighbours of the centres.
        k: The neighbour to which a ball reaches.
        fold: The fold of each centre.
        others: How many samples there are to be held.
        kept: Which balls count, shape ``(n,)``; all if not given.
    """

    def __init__(
        self, near: Nearest, k: int, fold: Tensor, others: int, kept: Tensor | None = None
    ) -> None:
        self.k = k
        self.fold = fold
        self.kept = kept
        self.ends = ends(near, k, fold)
        self.reach = (self.ends.amax(0) + 1).clamp_min(k)
        self.by_fold = fold.new_zeros(len(self.ends), others)
        self.gained = fold.new_zeros(len(self.ends), others)

    @override
    def update(self, centre: Tensor, other: Tensor, rank: Tensor) -> None:
        if self.kept is not None:
            kept = self.kept[centre]
            centre, other, rank = centre[kept], other[kept], rank[kept]
        inside = rank < self.k
        _count(self.by_fold, self.fold[centre[inside]], other[inside])
        f, which = gained(self.ends, centre[~inside], rank[~inside])
        _count(self.gained, f, other[~inside][which])

    def counts(self) -> Tensor:
        """Returns the number of balls that hold each sample, then without each fold of them.

        Shape ``(1 + folds, m)``.
        """
        whole = self.by_fold.sum(0)
        return torch.cat([whole[None], whole - self.by_fold + self.gained])


@final
class TrimmedBallCounts(Accumulator):
    """Counts by how many balls each is held, but the largest hundredth of them, or largest one.

    Args:
        near: The nearest neighbours of the centres.
        k: The neighbour to which a ball reaches.
        others: How many samples there are to be held.
    """

    def __init__(self, near: Nearest, k: int, others: int) -> None:
        radii = near.distance[:, k - 1]
        self.k = k
        self.large = -(-len(radii) // 100)
        self._usual = torch.ones_like(radii, dtype=torch.bool)
        self._usual[radii.topk(self.large).indices] = False
        self.reach = torch.full_like(near.index[:, 0], k)
        self.counts = near.index.new_zeros(others)

    @override
    def update(self, centre: Tensor, other: Tensor, rank: Tensor) -> None:
        held = other[(rank < self.k) & self._usual[centre]]
        self.counts.index_add_(0, held, torch.ones_like(held))


@final
class BallMinimum(Accumulator):
    """Keeps for each ball the least weight of those that it holds.

    Args:
        near: The nearest neighbours of the centres.
        k: The neighbour to which a ball reaches.
        fold: The fold of each centre.
        weight: The weight of each sample that may be held, shape ``(m,)``.
        other_fold: The fold of each of those, shape ``(m,)``.
    """

    def __init__(
        self, near: Nearest, k: int, fold: Tensor, weight: Tensor, other_fold: Tensor
    ) -> None:
        self.k = k
        self.fold = fold
        self.weight = weight
        self.other_fold = other_fold
        self.ends = ends(near, k, fold)
        self.reach = (self.ends.amax(0) + 1).clamp_min(k)
        size = (int(other_fold.max()) + 1, len(fold))
        self.by_fold = weight.new_full(size, torch.inf)
        self.gained = weight.new_full((len(self.ends), len(fold)), torch.inf)

    @override
    def update(self, centre: Tensor, other: Tensor, rank: Tensor) -> None:
        inside = rank < self.k
        held = other[inside]
        _lower(self.by_fold, self.other_fold[held], centre[inside], self.weight[held])
        f, which = gained(self.ends, centre[~inside], rank[~inside])
        weight = self.weight[other[~inside][which]]
        _lower(self.gained, f, centre[~inside][which], weight)

    def whole(self) -> Tensor:
        """Returns the least weight in each ball, infinite where it holds nothing, ``(n,)``."""
        return self.by_fold.amin(0)

    def without_centres(self) -> Tensor:
        """Returns the same when the balls reach past each fold of centres, ``(folds, n)``."""
        return torch.minimum(self.whole(), self.gained)

    def without_others(self) -> Tensor:
        """Returns the same without each fold of those that are held, ``(folds, n)``."""
        lowest = self.by_fold.topk(min(2, len(self.by_fold)), dim=0, largest=False)
        first, second = lowest.values[0], lowest.values[-1]
        fold = torch.arange(len(self.by_fold), device=first.device)[:, None]
        return torch.where(lowest.indices[0] == fold, second, first)

    def leaving_out(self) -> tuple[Tensor, Tensor, Tensor]:
        """The least weights: of all, without each fold of centres, of others."""
        return self.whole(), self.without_centres(), self.without_others()


def filled_balls(near: Nearest, k: int, fold: Tensor, other: Tensor) -> BallMinimum:
    """Watches which balls hold any sample of the other set: those whose minimum is finite.

    Args:
        near: The nearest neighbours of the centres.
        k: The neighbour to which a ball reaches.
        fold: The fold of each centre.
        other: The fold of each sample of the other set.
    """
    return BallMinimum(near, k, fold, torch.zeros(len(other), device=other.device), other)


def filled(balls: BallMinimum) -> tuple[Tensor, Tensor, Tensor]:
    """Returns 1 for each ball that is filled: with all, without folds of centres, of others."""
    full, by_own, by_other = (z.isfinite().double() for z in balls.leaving_out())
    return full, by_own, by_other


@final
class BallMembers(Accumulator):
    """Counts how many samples each ball holds.

    Args:
        near: The nearest neighbours of the centres.
        k: The neighbour to which a ball reaches.
        fold: The fold of each centre.
        other_fold: The fold of each sample that may be held.
    """

    def __init__(self, near: Nearest, k: int, fold: Tensor, other_fold: Tensor) -> None:
        self.k = k
        self.other_fold = other_fold
        self.ends = ends(near, k, fold)
        self.reach = (self.ends.amax(0) + 1).clamp_min(k)
        self.by_fold = fold.new_zeros(int(other_fold.max()) + 1, len(fold))
        self.gained = fold.new_zeros(len(self.ends), len(fold))

    @override
    def update(self, centre: Tensor, other: Tensor, rank: Tensor) -> None:
        inside = rank < self.k
        _count(self.by_fold, self.other_fold[other[inside]], centre[inside])
        f, which = gained(self.ends, centre[~inside], rank[~inside])
        _count(self.gained, f, centre[~inside][which])

    def leaving_out(self) -> tuple[Tensor, Tensor, Tensor]:
        """The counts: of all ``(n,)``, without each fold of centres, of others ``(folds, n)``."""
        whole = self.by_fold.sum(0)
        return whole, whole + self.gained, whole - self.by_fold


def gained(ends: Tensor, centre: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
    """Returns which pairs outside a ball lie inside without which fold: folds and pairs."""
    f, which = (rank <= ends[:, centre]).nonzero(as_tuple=True)
    return f, which


def _count(counts: Tensor, row: Tensor, column: Tensor) -> None:
    flat = row * counts.shape[1] + column
    counts.view(-1).index_add_(0, flat, torch.ones_like(flat))


def _lower(values: Tensor, row: Tensor, column: Tensor, weight: Tensor) -> None:
    flat = row * values.shape[1] + column
    values.view(-1).scatter_reduce_(0, flat, weight, "amin")


def near_pairs(x: Points, near: Nearest, limit: float) -> Tensor:
    """Returns the number of others within the squared distance ``limit`` of each, ``(n,)``."""
    edges = edge(torch.full((len(x),), limit, dtype=torch.float64, device=x.device), x)
    found = (near.distance <= edges[:, None]).sum(1)
    full = (found == near.distance.shape[1]) & (found < len(x) - 1)
    for some in torch.split(full.nonzero()[:, 0], ROWS):
        rows = rows_of(x, some, torch.float64)
        counts = [
            (tile(rows, rows_of(x, j, torch.float64)) <= edges[some, None]).sum(1)
            for j in spans(len(x), COLUMNS)
        ]
        found[some] = torch.stack(counts).sum(0) - 1  # the sample itself
    return found


def centre(x: Points) -> Tensor:
    """Returns the mean, shape ``(d,)``."""
    rows = (x.rows(part, torch.float64).sum(0) for part in row_blocks(x.x))
    return torch.stack(list(rows)).sum(0) / len(x)


def centres_without(x: Points, fold: Tensor) -> list[Tensor]:
    """Returns the mean without each fold, each of shape ``(d,)``.

    Args:
        x: The samples.
        fold: The number of the fold of each, shape ``(n,)``.
    """
    count = int(fold.max()) + 1
    sums = torch.zeros(count, x.width, dtype=torch.float64, device=x.device)
    for part in row_blocks(x.x):
        sums.index_add_(0, fold[part], x.rows(part, torch.float64))
    left = len(x) - fold.bincount(minlength=count)
    return list((sums.sum(0) - sums) / left[:, None])


def from_centres(x: Points, centres: Tensor) -> Tensor:
    """Returns squared distances from each centre, shape ``(len(centres), n)``."""
    parts: list[Tensor] = []
    for part in row_blocks(x.x):
        rows = x.rows(part, torch.float64)
        # From differences, so that equal samples are at equal distances to the last digit.
        each = [torch.linalg.vecdot(moved, moved) for moved in (rows - c for c in centres)]
        parts.append(torch.stack(each))
    return torch.cat(parts, 1)
