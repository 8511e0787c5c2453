"""Random changes of images that both players of a GAN see, so that few images last longer."""

import torch
from torch import Tensor
from torch.nn.functional import pad

_SHADE = 0.5
_MOVE = 8
_HOLE = 4


def augmented(x: Tensor, *, rng: torch.Generator) -> Tensor:
    """Returns images of another brightness, moved, and with a hole; differentiable.

    To each image a number within +-0.5 is added, it is moved by up to an eighth of its sides,
    zeros following, and a rectangle of a quarter of its sides is set to 0. Real and generated
    images are changed in the same way, so that a generator is not taught the changes: it must
    agree with the data once both are changed.

    Source: Zhao et al., 2020 (DiffAugment), https://arxiv.org/abs/2006.10738.
    Differs from the paper: brightness alone of the changes of colour; a hole of a quarter of the
    sides in place of a half.

    Args:
        x: Images of about unit size, shape ``(n, c, h, w)``.
        rng: Draws the changes.
    """
    n, _, height, width = x.shape
    shade, down, across, top, left = torch.rand(5, n, generator=rng, device=x.device).to(x.dtype)
    x = x + _SHADE * (2 * shade - 1)[:, None, None, None]
    most = -(-height // _MOVE), -(-width // _MOVE)
    rows, columns = (
        (u * (2 * m + 1)).long()[:, None] + torch.arange(size, device=x.device)
        for u, m, size in ((down, most[0], height), (across, most[1], width))
    )
    moved = pad(x, (most[1], most[1], most[0], most[0]))
    each = torch.arange(n, device=x.device)[:, None, None]
    # Axes of numbers come first, so channels are last: put them back.
    moved = moved[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    inside = _between(top, height)[:, :, None] & _between(left, width)[:, None, :]
    return torch.where(inside[:, None], torch.zeros_like(moved), moved)


def _between(start: Tensor, size: int) -> Tensor:
    """Returns which of ``size`` places lie in a stretch of a quarter of them, shape (n, size)."""
    hole = max(1, size // _HOLE)
    first = (start * (size - hole + 1)).long()[:, None]
    places = torch.arange(size, device=start.device)
    return (places >= first) & (places < first + hole)
