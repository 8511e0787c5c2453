"""How far apart two sets of samples are."""

import torch
from torch import Tensor


def energy_distance(x: Tensor, y: Tensor, *, block: int = 1024) -> Tensor:
    """Returns ``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` from samples, a scalar in fp64.

    The estimate is unbiased, pairs of a sample with itself left out, and so can fall below zero
    where the distributions agree. It is in the units of the samples (their Euclidean norm over
    all components), not squared and not under a root.

    Source: Szekely and Rizzo, 2013, https://doi.org/10.1016/j.jspi.2013.03.018.

    Args:
        x: Samples, shape ``(n, ...)``, at least two.
        y: Samples, shape ``(m, ...)``, at least two.
        block: Rows of the table of distances that are held at once.
    """
    # Near pairs lose their digits to cancellation in fp32.
    x, y = x.flatten(1).double(), y.flatten(1).double()
    n, m = len(x), len(y)
    across = _sum(x, y, block) / (n * m)
    within = _sum(x, x, block) / (n * (n - 1)) + _sum(y, y, block) / (m * (m - 1))
    return 2 * across - within


def _sum(x: Tensor, y: Tensor, block: int) -> Tensor:
    return torch.stack([_distances(part, y).sum() for part in torch.split(x, block)]).sum()


def _distances(x: Tensor, y: Tensor) -> Tensor:
    square = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return square.clamp(min=0).sqrt()
