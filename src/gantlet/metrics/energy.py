"""The energy distance."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Sees
from gantlet.metrics.blocks import squared_distances
from gantlet.metrics.discrepancy import Discrepancy, discrepancy, precision, unmeasured
from gantlet.metrics.inputs import centre_and_scale, checked, standard, too_few
from gantlet.metrics.paired import Detailed


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
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` draws permutations.

        Raises:
            UserError: If the features cannot be compared.
        """
        return self.detail(real, fake, rng=rng).estimate

    def detail(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Detailed:
        """Compares as ``measure`` does, and tells what each real sample adds.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = checked(real, fake)
        if reason := too_few(x, y, 4):
            return unmeasured(reason, x)
        return energy_distance(x, y, rng=rng).detail()


def energy_distance(x: Tensor, y: Tensor, *, rng: torch.Generator) -> Discrepancy:
    """Returns the energy distance of features, shapes ``(n, d)`` and ``(m, d)``."""
    (centre, scale), dtype = centre_and_scale(x, y), precision(x, y)
    x, y = (standard(z, centre, scale, dtype) for z in (x, y))
    return discrepancy(_closeness, x, y, rng=rng, unit=scale)


def _closeness(a: Tensor, b: Tensor) -> Tensor:
    return squared_distances(a, b).sqrt_().neg_()
