"""Damages of images that only tests need; the others are those of ``gantlet.data.damage``."""

import torch
from torch import Tensor


def brightened(x: Tensor, top: float, amount: float) -> Tensor:
    """Returns images, shape ``(n, c, h, w)``, brighter by a share of the range."""
    return _whole(x + top * amount, top)


def paler(x: Tensor, top: float, amount: float) -> Tensor:
    """Returns images drawn towards their own mean; at ``amount`` 1 nothing else is left."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return _whole(mean + (x - mean) * (1 - amount), top)


def checkered(x: Tensor, top: float, amount: float) -> Tensor:
    """Returns images with a checkerboard of single pixels, its amplitude a share of the range.

    The range of the image is narrowed first, so that nothing is cut off.
    """
    h, w = x.shape[2:]
    rows, columns = (torch.tensor([1.0, -1.0], device=x.device).repeat(k)[:k] for k in (h, w))
    board = rows[:, None] * columns
    return x * (1 - 2 * amount) + top * amount * (1 + board.to(x))


def halves_swapped(x: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Returns images of which a share has the right half of another one: a lost correlation."""
    made, count, half = x.clone(), round(share * len(x)), x.shape[3] // 2
    places = torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)
    made[:count, :, :, half:] = x[places[:count], :, :, half:]
    return made


def _whole(x: Tensor, top: float) -> Tensor:
    return x.round().clamp(0, top)
