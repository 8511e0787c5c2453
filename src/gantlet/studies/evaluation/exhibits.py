"""Which samples a report shows besides the first ones."""

import torch
from torch import Tensor

from gantlet.metrics.blocks import blocks, squared_distances

# How many of each kind.
_EXTREMES = 32
_COPIES = 16


def exhibits(real: Tensor, fake: Tensor, train: Tensor | None) -> dict[str, Tensor]:
    """Returns the places of samples worth seeing.

    Args:
        real: Features of the reference, shape ``(n, d)``.
        fake: Features of the samples to judge, shape ``(m, d)``.
        train: Features of the training samples, or None.

    Returns:
        ``most`` and ``least`` realistic fakes; where the training is known, the fakes nearest to
        it, ``copies``, and the training samples they are nearest to, ``originals``.
    """
    distance, _ = nearest(fake, real)
    order = distance.argsort(stable=True)
    found = {"most": order[:_EXTREMES], "least": order.flip(0)[:_EXTREMES]}
    if train is not None:
        close, original = nearest(fake, train)
        copies = close.argsort(stable=True)[:_COPIES]
        found |= {"copies": copies, "originals": original[copies]}
    return found


def nearest(x: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """Returns squared distance and place of the nearest of ``among`` for each row of ``x``."""
    found = [squared_distances(x[block], among).min(1) for block in blocks(len(x), len(among))]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
