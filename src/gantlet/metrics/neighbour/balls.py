"""Balls that reach from each sample to its k-th nearest fellow, and who lies inside them.

Everything is counted once with all samples and once without each fold of them, so that the
jackknife costs no second pass over the pairs.
"""

from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.measure import Groups
from gantlet.metrics.jackknife import FOLDS, folds
from gantlet.metrics.neighbour.pairs import Watcher
from gantlet.metrics.neighbour.points import Points
from gantlet.metrics.neighbour.search import Nearest


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


def least(k: int) -> int:
    """Returns how many samples are needed for ``k`` neighbours when a fold of them is left out.

    Example:
        >>> least(3), least(19)
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
class Held(Watcher):
    """Counts how many balls hold each sample.

    Args:
        near: The nearest fellows of the centres.
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
    def see(self, centre: Tensor, other: Tensor, rank: Tensor) -> None:
        if self.kept is not None:
            kept = self.kept[centre]
            centre, other, rank = centre[kept], other[kept], rank[kept]
        inside = rank < self.k
        _count(self.by_fold, self.fold[centre[inside]], other[inside])
        f, which = gained(self.ends, centre[~inside], rank[~inside])
        _count(self.gained, f, other[~inside][which])

    def counts(self) -> Tensor:
        """Returns how many of all balls hold each sample, then without each fold of them.

        Shape ``(1 + folds, m)``.
        """
        whole = self.by_fold.sum(0)
        return torch.cat([whole[None], whole - self.by_fold + self.gained])


@final
class Usual(Watcher):
    """Counts by how many balls each is held, but the largest hundredth of them, or largest one.

    Args:
        near: The nearest fellows of the centres.
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
    def see(self, centre: Tensor, other: Tensor, rank: Tensor) -> None:
        held = other[(rank < self.k) & self._usual[centre]]
        self.counts.index_add_(0, held, torch.ones_like(held))


@final
class Holding(Watcher):
    """Keeps for each ball the least weight of those that it holds.

    Args:
        near: The nearest fellows of the centres.
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
    def see(self, centre: Tensor, other: Tensor, rank: Tensor) -> None:
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
