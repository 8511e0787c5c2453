"""From what each sample adds to a number to the variance of the number."""

import math
from dataclasses import dataclass

from torch import Tensor

from gantlet.metrics.intervals import Variance, around, total
from gantlet.metrics.paired import Detailed


def spread(influence: Tensor, twice: float = 0.0) -> Variance:
    """Returns the variance of a number of which each sample's influence is known.

    Args:
        influence: By how much each sample moves the number, times ``n``, shape ``(n,)``.
        twice: The part of second order, which ``influence.var() / n`` holds twice: it is taken off
            once, and never more than leaves it once.
    """
    n = len(influence)
    raw = float(influence.var()) / n
    if not raw > 0:
        return Variance(max(raw, twice))
    # Fourth powers of unit numbers, so that large features do not overflow.
    unit = (influence - influence.mean()) / math.sqrt(raw * n)
    noise = max(float(unit.pow(4).mean()) - 1, 0.0) / n
    return Variance(max(raw - twice, twice), noise * raw * raw)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What the samples of one set add to a number.

    Attributes:
        influence: By how much each sample moves the number, times ``n``, shape ``(n,)``.
        twice: The part of second order, which the variance of ``influence`` holds twice.
    """

    influence: Tensor
    twice: float = 0.0

    @property
    def variance(self) -> Variance:
        """The part of the number's variance that comes from this set."""
        return spread(self.influence, self.twice)

    def centred(self) -> Tensor:
        """Returns the influences, centred and so scaled that they have the right variance."""
        raw = float(self.influence.var()) / len(self.influence)
        factor = math.sqrt(self.variance.value / raw) if raw > 0 else 1.0
        centred: Tensor = (self.influence - self.influence.mean()) * factor
        return centred


def detailed(value: float, real: Side, fake: Side, *, method: str) -> Detailed:
    """Returns the estimate of a number whose two sides vary independently, with its detail."""
    n = min(len(real.influence), len(fake.influence))
    variance = total((real.variance, fake.variance))
    return Detailed(
        around(value, variance, n=n, method=method),
        real.centred(),
        fake.variance,
    )
