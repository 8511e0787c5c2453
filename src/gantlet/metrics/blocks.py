"""Distances between all pairs, a block of rows at a time, so that memory stays bounded."""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK_NUMBERS = 2**22
"""Numbers in one block: 32 MB in float64."""


def blocks(n: int, width: int) -> Iterator[slice]:
    """Yields slices that cover ``range(n)``; a block of rows of ``width`` stays within 32 MB.

    Example:
        >>> list(blocks(3, 2**21))
        [slice(0, 2, None), slice(2, 3, None)]
    """
    step = max(1, BLOCK_NUMBERS // max(width, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Returns the squared Euclidean distance of each row of ``x`` to each of ``y``.

    Shape ``(len(x), len(y))``; never negative. Twins come out at about 1e-16 of their squared
    length rather than at 0.
    """
    lengths = (x**2).sum(1)[:, None] + (y**2).sum(1)
    return torch.addmm(lengths, x, y.T, alpha=-2).clamp_min_(0)


def products(a: Tensor, b: Tensor) -> Tensor:
    """Returns ``a b^T``; on a CPU by NumPy, which needs half the work where ``a`` is ``b``."""
    if a.device.type != "cpu":
        return a @ b.T
    return torch.from_numpy(a.numpy() @ b.numpy().T)
