"""One pass over all pairs of a real and a fake sample, shared by all who count neighbours.

What is passed on of a pair is a whole number: how many fellows of the one lie nearer to it than
the other does. That is all that balls to the k-th neighbour need, with all samples or without a
fold of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.metrics.neighbour.points import Points
from gantlet.metrics.neighbour.search import Nearest
from gantlet.metrics.neighbour.tiles import (
    COLUMNS,
    ROWS,
    edge,
    rows_of,
    slack,
    spans,
    tile,
    working_dtype,
)

PAIRS_AT_ONCE = 2**17
"""Pairs handled at a time: their ranks need a row of neighbours each, and so fewer where many
more neighbours are kept than usual."""

_USUAL = 32

MANY_NEAR = 1 / 64
"""If a larger share of the pairs of a block lies near an edge, it is done again in float64."""


class Watcher(ABC):
    """Someone who wants to know of pairs where the one lies near the other.

    Attributes:
        reach: How many neighbours its balls may reach to, for each of their centres, ``(n,)``.
    """

    reach: Tensor

    @abstractmethod
    def see(self, centre: Tensor, other: Tensor, rank: Tensor) -> None:
        """Learns of some pairs.

        Args:
            centre: The centres of the balls.
            other: The samples of the other set.
            rank: How many fellows of the centre lie nearer to it than the other sample.
        """


@dataclass(frozen=True, slots=True)
@final
class Side:
    """Centres of balls and who watches them.

    Attributes:
        points: The centres.
        near: Their nearest fellows.
        watchers: Those who count.
    """

    points: Points
    near: Nearest
    watchers: Sequence[Watcher]

    def edges(self) -> Tensor:
        """Returns the squared distance of each neighbour, made safe for ties, ``(n, t)``."""
        return edge(self.near.distance, self.points)

    def reach(self) -> Tensor:
        """Returns the squared distance up to which any watcher wants to know, ``(n,)``."""
        widest = torch.stack([w.reach for w in self.watchers]).amax(0)
        return self.edges().gather(1, (widest - 1)[:, None])[:, 0]


def go_over(real: Side, fake: Side) -> None:
    """Tells the watchers of both sides of all pairs within their reach."""
    dtype = working_dtype(real.points)
    sides = [
        _Ready(side, other.points, transposed)
        for side, other, transposed in ((real, fake, False), (fake, real, True))
        if side.watchers
    ]
    for i in spans(len(real.points), ROWS) if sides else ():
        a = rows_of(real.points, i, dtype)
        for j in spans(len(fake.points), COLUMNS):
            distances = tile(a, rows_of(fake.points, j, dtype))
            for side in sides:
                side.look(distances, i, j)


@final
class _Ready:
    """One side with its edges at hand."""

    def __init__(self, side: Side, other: Points, transposed: bool) -> None:
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
        # Nearer than this, the other is surely nearer than all fellows.
        self.surely_first = self.edges[:, 0] - margin

    def look(self, distances: Tensor, i: slice, j: slice) -> None:
        """Tells of the pairs of a block; rows are real, columns fake."""
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
                watcher.see(*((c, o, rank) if whole else (c[seen], o[seen], rank[seen])))

    def _rank(self, apart: Tensor, centre: Tensor) -> Tensor:
        """Returns how many fellows of each centre are nearer."""
        rank = torch.zeros_like(centre)
        for some in torch.split(self._not_first(apart, centre), self.at_once):
            rank[some] = (self.edges[centre[some]] < apart[some, None]).sum(1)
        return rank

    def _not_first(self, apart: Tensor, centre: Tensor) -> Tensor:
        """Returns which pairs may have a fellow between them."""
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
