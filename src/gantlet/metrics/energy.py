"""The energy distance."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.metrics.blocks import squared_distances
from gantlet.metrics.discrepancy import Discrepancy, KernelMetric, discrepancy, precision
from gantlet.metrics.inputs import centre_and_scale, standard
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
    def _compare(self, x: Tensor, y: Tensor, *, rng: torch.Generator) -> Detailed:
        return energy_distance(x, y, rng=rng).detail()


def energy_distance(x: Tensor, y: Tensor, *, rng: torch.Generator) -> Discrepancy:
    """Returns the energy distance of features, shapes ``(n, d)`` and ``(m, d)``."""
    (centre, scale), dtype = centre_and_scale(x, y), precision(x, y)
    x, y = (standard(z, centre, scale, dtype) for z in (x, y))
    return discrepancy(_closeness, x, y, rng=rng, unit=scale)


def _closeness(a: Tensor, b: Tensor) -> Tensor:
    return squared_distances(a, b).sqrt_().neg_()
