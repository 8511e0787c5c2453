"""The energy distance."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.measure import Groups
from gantlet.metrics.discrepancy import Discrepancy, KernelMetric, discrepancy, precision
from gantlet.metrics.inputs import Standard, centre_and_scale
from gantlet.metrics.kernel_sums import OfDistance
from gantlet.metrics.paired import Detailed


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Energy(KernelMetric):
    """The energy distance ``2 E|x - y| - E|x - x'| - E|y - y'|``.

    It has no setting, is zero only when the two distributions are equal, and is unbiased here, so
    that it may be negative when they are close. Some libraries report its root.

    Source: Szekely and Rizzo, 2013, https://doi.org/10.1016/j.jspi.2013.03.018.

    Differs from the paper: the U-statistic, which leaves out each sample's distance to itself.
    """

    @override
    def _compare(
        self, x: Tensor, y: Tensor, *, rng: torch.Generator, groups: Groups | None
    ) -> Detailed:
        return energy_distance(x, y, rng=rng, groups=groups).detail()


def energy_distance(
    x: Tensor, y: Tensor, *, rng: torch.Generator, groups: Groups | None = None
) -> Discrepancy:
    """Returns the energy distance of features, shapes ``(n, d)`` and ``(m, d)``."""
    centre, scale = centre_and_scale(x, y)
    standard = Standard(centre, scale, precision(x, y))
    kernel = _Closeness(round(math.sqrt(2 * x.shape[1])))
    return discrepancy(kernel, x, y, standard, rng=rng, unit=scale, groups=groups)


@final
class _Closeness(OfDistance):
    """``c - |a - b|``.

    A constant cancels in the statistic. About as large as the usual distance, it saves the
    digits of sums in float32; a whole number, sums of it are exact.
    """

    def __init__(self, usual: int) -> None:
        """Takes ``c``."""
        self._usual = usual

    @override
    def of_squares(self, squares: Tensor) -> Tensor:
        return squares.sqrt_().neg_().add_(self._usual)
