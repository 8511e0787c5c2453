"""The energy distance."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Sees
from gantlet.metrics.blocks import squared_distances
from gantlet.metrics.discrepancy import Discrepancy, discrepancy
from gantlet.metrics.inputs import about_zero, pair, too_few
from gantlet.metrics.intervals import around

_METHOD = (
    "unbiased, over all pairs; interval from both orders of Hoeffding's decomposition, "
    "as if normal, which is a little wide where the two are equal"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Energy:
    """The energy distance ``2 E|x - y| - E|x - x'| - E|y - y'|``.

    It has no setting, is zero only when the two distributions are equal, and is unbiased here, so
    that it may be negative when they are close. Some libraries report its root.

    Source: Szekely and Rizzo, 2013, https://doi.org/10.1016/j.jspi.2013.03.018.

    Differs from the paper: the U-statistic, which leaves out each sample's distance to itself.
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
        found = energy_distance(x, y)
        made = around(found.value, found.variance, n=min(len(x), len(y)), method=_METHOD)
        return made.named(unit=self.unit, better=self.better)


def energy_distance(x: Tensor, y: Tensor) -> Discrepancy:
    """Returns the energy distance of float64 features, ``(n, d)`` and ``(m, d)``."""
    return discrepancy(_closeness, *about_zero(x, y))


def _closeness(a: Tensor, b: Tensor) -> Tensor:
    return -squared_distances(a, b).sqrt_()
