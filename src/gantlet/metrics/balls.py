"""Balls that reach from each sample to its k-th nearest fellow, and who lies inside them.

Everything is counted once with all centres and once without each fold of them, so that the
jackknife costs no second pass over the pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gantlet.metrics.blocks import blocks, squared_distances


def radii(x: Tensor, ks: Sequence[int], fold: Tensor) -> list[Tensor]:
    """Returns for each ``k`` the squared radius of the ball around each row of ``x``.

    Shape ``(1 + folds, n)``: with all centres, then without each fold; the balls of the fold that
    is left out have radius -1 and hold nothing. A ball is made larger by what rounding may have
    taken from it, so that twins and ties lie inside.

    Args:
        x: The centres, shape ``(n, d)``.
        ks: To which neighbours the balls reach; the sample itself does not count.
        fold: The fold of each centre.
    """
    count = int(fold.max()) + 1
    found = [x.new_empty(1 + count, len(x)) for _ in ks]
    for block in blocks(len(x), len(x)):
        nearest = _nearest_without_each_fold(x, block, max(ks), fold)
        for k, out in zip(ks, found, strict=True):
            out[:, block] = nearest[:, :, k - 1]
    rounding = 1e-12 * (x**2).sum(1)
    left_out = torch.arange(-1, count, device=x.device)[:, None] == fold
    return [(r * (1 + 1e-9) + rounding).masked_fill(left_out, -1) for r in found]


def _nearest_without_each_fold(x: Tensor, block: slice, k: int, fold: Tensor) -> Tensor:
    """Returns squared distances to the ``k`` nearest, ascending, shape ``(1 + folds, b, k)``."""
    distances = squared_distances(x[block], x)
    distances.diagonal(block.start).fill_(torch.inf)
    by_fold = _split(distances, fold)
    near = by_fold.topk(min(k, by_fold.shape[2]), dim=2, largest=False).values
    found = []
    for f in range(-1, near.shape[1]):
        others = near if f < 0 else near.index_fill(1, torch.tensor(f, device=x.device), torch.inf)
        found.append(others.flatten(1).topk(k, dim=1, largest=False).values)
    return torch.stack(found)


def _split(distances: Tensor, fold: Tensor) -> Tensor:
    """Returns columns grouped by fold, ``(b, folds, width)``, short folds padded with infinity."""
    sizes = fold.bincount()
    order = fold.argsort(stable=True)
    within = torch.arange(len(fold), device=fold.device) - (sizes.cumsum(0) - sizes)[fold[order]]
    out = distances.new_full((len(distances), len(sizes), int(sizes.max())), torch.inf)
    out[:, fold[order], within] = distances[:, order]
    return out


@dataclass(frozen=True, slots=True)
class Inside:
    """Who lies in whose ball.

    Attributes:
        fake: For each set of real balls, how many hold each fake sample, ``(1 + folds, m)``.
        real: For each set of fake balls, how many hold each real sample, ``(1 + folds, n)``.
        nearest: Squared distance of each real sample to the nearest fake one of each fold of
            fakes, ``(n, folds)``.
    """

    fake: dict[str, Tensor]
    real: dict[str, Tensor]
    nearest: Tensor


def inside(
    real: Tensor,
    fake: Tensor,
    *,
    real_balls: Mapping[str, Tensor],
    fake_balls: Mapping[str, Tensor],
    fake_fold: Tensor,
) -> Inside:
    """Goes once over all pairs of a real and a fake sample, shapes ``(n, d)`` and ``(m, d)``.

    Args:
        real: The real samples.
        fake: The fake samples.
        real_balls: Radii around the real samples, by the name of what is counted.
        fake_balls: Radii around the fake samples, likewise.
        fake_fold: The fold of each fake sample.
    """
    held = {name: real.new_zeros(len(r), len(fake)) for name, r in real_balls.items()}
    holding = {name: real.new_zeros(len(r), len(real)) for name, r in fake_balls.items()}
    nearest: list[Tensor] = []
    for block in blocks(len(real), len(fake)):
        distances = squared_distances(real[block], fake)
        for name, radius in real_balls.items():
            _count(distances, radius[:, block], held[name])
        for name, radius in fake_balls.items():
            _count(distances.T, radius, holding[name][:, block])
        nearest.append(_split(distances, fake_fold).amin(2))
    return Inside(held, holding, torch.cat(nearest))


def _count(distances: Tensor, radius: Tensor, count: Tensor) -> None:
    """Adds to each row of ``count`` how many balls, one a row, hold each column's sample."""
    # A product with ones adds zeros and ones exactly, and several times faster than sum.
    ones = torch.ones(len(distances), device=distances.device)
    for i, r in enumerate(radius):
        count[i] += ones @ (distances <= r[:, None]).float()
