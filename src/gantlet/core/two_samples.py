"""Exact and rank tests of two independent samples, each against one side."""

import math
import statistics

import torch
from torch import Tensor


def more_often(count: int, n: int, other: int, m: int) -> float:
    """Returns the p-value against "``count`` of ``n`` is no more often than ``other`` of ``m``".

    Exact where the ``n`` and the ``m`` are exchangeable: how often a random ``n`` of all would
    hold as many. Source: Fisher, 1935, https://doi.org/10.2307/2342435.

    Example:
        >>> round(more_often(8, 10, 2, 10), 4)
        0.0115
    """
    both, most = count + other, min(n, count + other)
    ways = _log_choose(n + m, n)
    terms = (
        _log_choose(both, k) + _log_choose(n + m - both, n - k) - ways
        for k in range(count, most + 1)
        if n - k <= n + m - both
    )
    return min(math.fsum(math.exp(t) for t in terms), 1.0)


def smaller(x: Tensor, y: Tensor) -> float:
    """Returns the p-value against "``x`` is not smaller than ``y``" from ranks, ties counted half.

    The normal limit with the correction for ties and continuity; 1 where one of them is empty.
    Source: Mann and Whitney, 1947, https://doi.org/10.1214/aoms/1177730491.

    Args:
        x: Numbers, shape ``(n,)``.
        y: Numbers, shape ``(m,)``.
    """
    n, m = len(x), len(y)
    if not n or not m:
        return 1.0
    _, places, counts = torch.unique(torch.cat([x, y]), return_inverse=True, return_counts=True)
    ends = counts.cumsum(0)
    ranks = (2 * ends - counts + 1).double() / 2
    above = float(ranks[places[:n]].sum()) - n * (n + 1) / 2 - n * m / 2
    total = n + m
    ties = float((counts.double() ** 3 - counts).sum()) / (total * max(total - 1, 1))
    variance = n * m / 12 * (total + 1 - ties)
    if variance <= 0:
        return 1.0
    return statistics.NormalDist().cdf((above + 0.5) / math.sqrt(variance))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
