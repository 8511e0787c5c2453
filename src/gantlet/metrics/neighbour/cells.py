"""Cells of the space, by k-means."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.metrics.neighbour.points import row_blocks

# So many samples are enough to place a few cells.
_SAMPLES = 2000
_ROUNDS = 50


@dataclass(frozen=True, slots=True)
@final
class Cells:
    """The centres of cells; a place belongs to the nearest.

    Attributes:
        centres: Shape ``(cells, d)``, in float64.
    """

    centres: Tensor

    @classmethod
    def fit(cls, x: Tensor, count: int, *, rng: torch.Generator) -> "Cells":
        """Returns ``count`` cells of the samples ``x``, shape ``(n, d)``, or fewer.

        At most 2000 samples, drawn at random, place the cells.

        Source: Lloyd, 1982, https://doi.org/10.1109/TIT.1982.1056489; started as by Arthur and
        Vassilvitskii, 2007, https://theory.stanford.edu/~sergei/papers/kMeansPP-soda.pdf.
        """
        order = torch.randperm(len(x), generator=rng, device=rng.device)[:_SAMPLES]
        some = x[order.to(x.device)].to(torch.float64)
        centres = _start(some, count, rng)
        for _ in range(_ROUNDS):
            moved = _moved(some, centres)
            if torch.equal(moved, centres):
                break
            centres = moved
        return cls(centres)


def cells_of(x: Tensor, cells: Cells) -> Tensor:
    """Returns the cell of each sample, shape ``(n,)``."""
    parts = [_nearest(x[part].to(torch.float64), cells.centres) for part in row_blocks(x)]
    return torch.cat(parts)


def _start(x: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Returns samples far from each other: each drawn with odds of its squared distance."""
    chosen = [x[0]]
    apart = (x - x[0]).square().sum(1)
    while len(chosen) < count and float(apart.max()) > 0:
        odds = (apart / apart.max()).to(rng.device)
        chosen.append(x[int(torch.multinomial(odds, 1, generator=rng))])
        apart = torch.minimum(apart, (x - chosen[-1]).square().sum(1))
    return torch.stack(chosen)


def _moved(x: Tensor, centres: Tensor) -> Tensor:
    cell = _nearest(x, centres)
    sums = torch.zeros_like(centres).index_add_(0, cell, x)
    counts = cell.bincount(minlength=len(centres))[:, None]
    return torch.where(counts > 0, sums / counts.clamp_min(1), centres)


def _nearest(x: Tensor, centres: Tensor) -> Tensor:
    middle = centres.mean(0)
    y, c = x - middle, centres - middle
    return torch.addmm((c**2).sum(1)[None], y, c.T, alpha=-2).argmin(1)
