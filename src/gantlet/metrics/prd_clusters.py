"""k-means on the leading principal components."""

import torch
from torch import Tensor

from gantlet.metrics.blocks import blocks, squared_distances

_ROUNDS = 25


def principal(z: Tensor, width: int, *, rng: torch.Generator) -> Tensor:
    """Returns the coordinates of ``z`` along its ``width`` leading principal axes.

    All of ``z``, centred, where it has no more columns than that. The axes are found by subspace
    iteration, close enough to tell clusters apart.

    Source: Halko, Martinsson and Tropp, 2011, https://arxiv.org/abs/0909.4061, Algorithm 4.4.

    Args:
        z: Samples, shape ``(n, d)``.
        width: How many axes.
        rng: Draws the start of the iteration.
    """
    z = z - z.mean(0)
    if z.shape[1] <= width:
        return z
    drawn = torch.randn(
        z.shape[1], width + 8, generator=rng, device=rng.device, dtype=torch.float64
    )
    basis = drawn.to(z)
    for _ in range(3):
        basis = torch.linalg.qr(z.T @ (z @ basis)).Q
    seen = z @ basis
    turn = torch.linalg.eigh(seen.T @ seen).eigenvectors.flip(1)
    coordinates: Tensor = seen @ turn[:, :width]
    return coordinates


def cluster(z: Tensor, count: int, *, rng: torch.Generator) -> Tensor:
    """Returns the cluster of each of ``z``, shape ``(n,)``, whole numbers below ``count``.

    Source: Lloyd, 1982, https://doi.org/10.1109/TIT.1982.1056489, from the start of Arthur and
    Vassilvitskii, 2007 (k-means++).

    Args:
        z: Samples, shape ``(n, d)``.
        count: How many clusters; fewer are found where there are fewer different samples.
        rng: Draws the start.
    """
    centres = _spread_out(z, count, rng)
    label = _nearest(z, centres)
    for _ in range(_ROUNDS):
        size = label.bincount(minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, label, z)
        # An empty cluster stays where it was.
        centres = torch.where(size[:, None] > 0, sums / size.clamp_min(1)[:, None], centres)
        before, label = label, _nearest(z, centres)
        if torch.equal(before, label):
            break
    return label


def _spread_out(z: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Returns centres among the samples, each drawn by its squared distance to the others."""
    first = torch.randint(len(z), (1,), generator=rng, device=rng.device).to(z.device)
    centres = [z[first]]
    gap = squared_distances(z, centres[0])[:, 0]
    for _ in range(count - 1):
        at = torch.rand(1, generator=rng, device=rng.device, dtype=z.dtype).to(z.device)
        reached = gap.cumsum(0)
        drawn = torch.searchsorted(reached, at * reached[-1]).clamp_max(len(z) - 1)
        centres.append(z[drawn])
        gap = gap.minimum(squared_distances(z, centres[-1])[:, 0])
    return torch.cat(centres)


def _nearest(z: Tensor, centres: Tensor) -> Tensor:
    return torch.cat(
        [squared_distances(z[block], centres).argmin(1) for block in blocks(len(z), len(centres))]
    )
