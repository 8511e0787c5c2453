"""Whether ratings agree with another measure of the same players."""

import math
from collections.abc import Sequence

import torch

from gantlet.core.estimate import Estimate
from gantlet.critics.calibration import ranks

_Z = 1.959963984540054
_FEW = 4


def spearman(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """Returns Spearman's rank correlation, ties at their mean rank.

    The interval is Fisher's, on the scale of ``atanh``, with the variance
    ``(1 + rho^2 / 2) / (n - 3)``; pairs count as independent.

    Source: Bonett and Wright, 2000, https://doi.org/10.1007/BF02294183.

    Raises:
        ValueError: If the lengths differ.

    Example:
        >>> e = spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])
        >>> round(e.value, 3), round(e.low, 2), round(e.high, 2)
        (0.8, -0.46, 0.99)
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values beside {len(b)}.")
    n = len(a)
    if n < _FEW:
        return Estimate.missing(f"a correlation needs at least {_FEW} pairs, here are {n}")
    x, y = (torch.tensor(v, dtype=torch.float64) for v in (a, b))
    x, y = (ranks(v, v) for v in (x, y))
    if float(x.var()) == 0 or float(y.var()) == 0:
        return Estimate.missing("all values are equal")
    rho = float(torch.corrcoef(torch.stack([x, y]))[0, 1])
    bound = max(-1.0, min(1.0, rho))
    if abs(bound) > 1 - 1e-12:
        return Estimate(value=bound, n=n, method="the same order throughout: no Fisher interval")
    half = _Z * math.sqrt((1 + rho * rho / 2) / (n - 3))
    return Estimate(
        value=rho,
        low=math.tanh(math.atanh(rho) - half),
        high=math.tanh(math.atanh(rho) + half),
        n=n,
        method=f"Spearman over {n} players, Fisher interval as if they were independent",
    )
