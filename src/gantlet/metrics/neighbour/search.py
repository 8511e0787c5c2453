"""The nearest fellows of each sample: found in float32, measured and confirmed in float64."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.metrics.neighbour.points import Points
from gantlet.metrics.neighbour.tiles import (
    COLUMNS,
    ROWS,
    Rows,
    rows_of,
    slack,
    spans,
    tile,
    working_dtype,
)


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


def nearest_fellows(x: Points, k: int, *, kept: int | None = None) -> Nearest:
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


def nearest_among(queries: Points, base: Points, k: int = 1) -> Nearest:
    """Returns the ``k`` nearest samples of ``base`` to each of ``queries``."""
    best = _Best(queries, base, min(len(base), k + 3), k)
    dtype = working_dtype(base)
    for j in spans(len(base), COLUMNS):
        b = rows_of(base, j, dtype)
        for i in spans(len(queries), ROWS):
            best.update(i, tile(rows_of(queries, i, dtype), b), j.start)
    return best.measured(dtype)


def nearest_fellow_of(some: Tensor, x: Points) -> Tensor:
    """Returns the squared distances of the samples ``some`` to their nearest other sample."""
    chosen = Points(x.x[some], x.centre, x.scale)
    found = nearest_among(chosen, x, 2)
    is_other = found.index != some[:, None]
    # With many twins the sample itself may not be among those found; all of them are at zero.
    return found.distance.masked_fill(~is_other, torch.inf).amin(1)


def reserve(k: int, together: int = 1) -> int:
    """Returns how many neighbours to keep so that ``k`` are left without any one fold.

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
        """Returns what was found, measured in float64, the doubtful rows searched again."""
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

    def _distances_again(self, a: Rows, some: Tensor, j: slice) -> Tensor:
        distances = tile(a, rows_of(self.base, j, torch.float64))
        if self.queries is self.base:
            columns = torch.arange(j.start, j.stop, device=some.device)
            distances.masked_fill_(some[:, None] == columns, torch.inf)
        return distances

    def _measure(self, some: Tensor, index: Tensor) -> Nearest:
        t = index.shape[1]
        apart = self.queries.apart(some.repeat_interleave(t), self.base, index.flatten())
        # By index first, so that ties are in one order.
        ordered, order = index.sort(1)
        by_index = apart.reshape(-1, t).gather(1, order)
        distance, order = torch.sort(by_index, dim=1, stable=True)
        return Nearest(distance, ordered.gather(1, order))
