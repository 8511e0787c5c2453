"""The kernel distance of features: squared MMD with a cubic kernel."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Sees
from gantlet.metrics.discrepancy import Discrepancy, discrepancy
from gantlet.metrics.inputs import pair, too_few
from gantlet.metrics.intervals import around

_METHOD = (
    "unbiased, over all pairs; interval from both orders of Hoeffding's decomposition, "
    "as if normal, which is a little wide where the two are equal"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Kid:
    """The squared maximum mean discrepancy with the kernel ``(x.y / d + 1)^3``.

    It is unbiased, and so may be negative when the two are close. The kernel sees where the
    features lie, not only their differences: moving both sets alike changes it.

    Source: Binkowski et al., 2018, https://arxiv.org/abs/1801.01401.

    Differs from the paper: one U-statistic over all pairs instead of the mean over random
    subsets of 1000, which is the same on average and varies less; the interval is that of the
    samples, where the usual spread over subsets depends on the subset size.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; draws nothing from ``rng``.

        Raises:
            UserError: If the features cannot be compared.
        """
        del rng  # nothing is random
        x, y = pair(real, fake)
        if reason := too_few(x, y, 4):
            return Estimate.missing(reason, better=self.better)
        found = kernel_distance(x, y)
        made = around(found.value, found.variance, n=min(len(x), len(y)), method=_METHOD)
        return made.named(unit=self.unit, better=self.better)


def kernel_distance(x: Tensor, y: Tensor) -> Discrepancy:
    """Returns the squared discrepancy of float64 features, ``(n, d)`` and ``(m, d)``."""
    d = x.shape[1]
    # A constant added to a kernel cancels in the statistic; this one takes the bulk off features
    # with a large mean, whose cubes would leave no digits for the variance.
    bulk = (x.mean(0) @ y.mean(0) / d + 1) ** 3

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / d + 1) ** 3 - bulk

    return discrepancy(kernel, x, y)
