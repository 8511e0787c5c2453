"""Shows simulated features to metrics that look at probabilities or at samples."""

import math

import torch
from torch import Tensor

from gantlet.core.measure import Sees
from gantlet.core.rng import Rng

_CLASSES, _SIDE, _WAVES = 10, 16, 4


def view(features: Tensor, sees: Sees) -> Tensor:
    """Returns features, shape ``(n, d)``, as a metric wants them.

    Probabilities are those of a fixed linear classifier of ten classes, shape ``(n, 10)``; samples
    are grey images in [0, 1] made of low waves whose heights are fixed sums of the features, shape
    ``(n, 1, 16, 16)``. Neither depends on the replicate.
    """
    if sees == "features":
        return features
    shown = features @ _fixed(
        features.shape[1], _CLASSES if sees == "probabilities" else _WAVES**2
    )
    if sees == "probabilities":
        return shown.softmax(1)
    return (shown @ _waves()).sigmoid().view(-1, 1, _SIDE, _SIDE)


def _fixed(d: int, columns: int) -> Tensor:
    """Returns a matrix that keeps the spread of standard normal features."""
    drawn = torch.randn(d, columns, generator=Rng(0).stream("view"))
    return drawn / math.sqrt(d)


def _waves() -> Tensor:
    """Returns the lowest cosines of a square, one for each row, shape ``(16, 256)``."""
    place = (torch.arange(_SIDE) + 0.5) * math.pi / _SIDE
    along = torch.cos(torch.arange(_WAVES)[:, None] * place)
    return torch.einsum("ix,jy->ijxy", along, along).reshape(_WAVES**2, -1)
