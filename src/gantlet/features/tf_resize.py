"""Resizing as the first version of TensorFlow did it, which the published FID rests on."""

import torch
from torch import Tensor


def tf_resize(x: Tensor, size: int) -> Tensor:
    """Returns images ``(n, c, h, w)`` at ``(size, size)``, in the arithmetic of TensorFlow 1.

    Bilinear between the four nearest pixels, whatever the scale: shrinking leaves pixels out. The
    left upper corners of both images fall together, so that there is a shift of half a pixel
    against other libraries.

    Source: Abadi et al., 2016, https://arxiv.org/abs/1605.08695, whose ``ResizeBilinear`` it
        follows, with ``align_corners`` and ``half_pixel_centers`` both false; Parmar et al., 2022,
        https://arxiv.org/abs/2104.11222, on what this does to FID.
    """
    low, high, share = _places(x.shape[3], size, x)
    left, right = x.index_select(3, low), x.index_select(3, high)
    rows = left + (right - left) * share
    low, high, share = _places(x.shape[2], size, x)
    top, bottom = rows.index_select(2, low), rows.index_select(2, high)
    return top + (bottom - top) * share[:, None]


def _places(old: int, new: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the two neighbours of each new place, and how far it lies towards the second."""
    # In single precision throughout: TensorFlow's rounding decides which neighbours are taken.
    scale = torch.tensor(old / new, dtype=torch.float32)
    at = torch.arange(new, dtype=torch.float32) * scale
    low = at.long()
    high = (low + 1).clamp(max=old - 1)
    return low.to(like.device), high.to(like.device), (at - low).to(like)
