"""The kernel distance of features: squared MMD with a cubic kernel."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.measure import Groups
from gantlet.metrics.discrepancy import Discrepancy, KernelMetric, discrepancy, precision
from gantlet.metrics.inputs import Standard, centre_and_scale
from gantlet.metrics.paired import Detailed


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Kid(KernelMetric):
    """The squared maximum mean discrepancy with the kernel ``(x.y / d + 1)^3``.

    It is unbiased, and so may be negative when the two are close. The kernel sees where the
    features lie, not only their differences: moving both sets alike changes it.

    Source: Binkowski et al., 2018, https://arxiv.org/abs/1801.01401.

    Differs from the paper: one U-statistic over all pairs instead of the mean over random
    subsets of 1000, which is the same on average and varies less; the interval is that of the
    samples, where the usual spread over subsets depends on the subset size.
    """

    @override
    def _compare(
        self, x: Tensor, y: Tensor, *, rng: torch.Generator, groups: Groups | None
    ) -> Detailed:
        return kernel_distance(x, y, rng=rng, groups=groups).detail()


def kernel_distance(
    x: Tensor, y: Tensor, *, rng: torch.Generator, groups: Groups | None = None
) -> Discrepancy:
    """Returns the squared discrepancy of features, shapes ``(n, d)`` and ``(m, d)``."""
    d, dtype = x.shape[1], precision(x, y)
    centre, scale = centre_and_scale(x, y)
    level = float(centre @ centre) / d + 1
    unit = level + scale**2
    scale = math.sqrt(d * unit)
    kernel = _Cubic((centre / scale).to(dtype), level / unit)
    standard = Standard(centre, scale, dtype)
    return discrepancy(kernel, x, y, standard, rng=rng, unit=unit**3, groups=groups)


@final
class _Cubic:
    """``(a.b + c)^3`` of vectors ``a + mean`` and ``b + mean``, but for what cancels.

    What depends on ``a`` alone or on ``b`` alone cancels in the statistic. Left out are ``c^3``
    and ``3 c^2 (a + b).mean``, beside which the rest would lose its digits.
    """

    def __init__(self, mean: Tensor, level: float) -> None:
        """Takes the mean of both sets and ``c``, ``mean.mean`` included."""
        self._mean, self._level = mean, level

    def of_each(self, z: Tensor) -> Tensor:
        return z @ self._mean

    def __call__(self, product: Tensor, of_a: Tensor, of_b: Tensor) -> Tensor:
        change = (product + of_a[:, None]).add_(of_b)
        cube = change.square().add_(change, alpha=3 * self._level)
        return product.mul_(3 * self._level**2).addcmul_(cube, change)
