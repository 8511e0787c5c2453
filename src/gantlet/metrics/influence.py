"""From what each sample adds to a number to the variance of the number."""

import math
from dataclasses import dataclass
from typing import final

from torch import Tensor

from gantlet.metrics.intervals import Variance, around, total
from gantlet.metrics.paired import Detailed


def spread(influence: Tensor) -> Variance:
    """Returns the variance of a number from each sample's influence on it, all samples' together.

    Args:
        influence: By how much each sample moves the number, times ``n``, shape ``(n,)``.
    """
    n = len(influence)
    value = float(influence.var()) / n
    if not value > 0:
        return Variance(value)
    # Fourth powers of unit numbers, so that large features do not overflow.
    unit = (influence - influence.mean()) / math.sqrt(value * n)
    noise = max(float(unit.pow(4).mean()) - 1, 0.0) / n
    return Variance(value, noise * value * value)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What the samples of one set add to a number.

    Attributes:
        influence: By how much each sample moves the number, times ``n``, shape ``(n,)``.
        twice: The part of second order, which the variance of ``influence`` holds twice.
    """

    influence: Tensor
    twice: float = 0.0


def detailed(value: float, real: Side, fake: Side, *, method: str) -> Detailed:
    """Returns the estimate of a number whose two sides vary independently, with its detail.

    The part of second order is taken off once, and always left once: near equality the rest is
    nothing but noise around zero.
    """
    n, second = min(len(real.influence), len(fake.influence)), real.twice + fake.twice
    of_real, of_fake = spread(real.influence), spread(fake.influence)
    both = total((of_real, of_fake))
    variance = Variance(max(both.value - second, second), both.noise)
    share = variance.value / both.value if both.value > 0 else 1.0
    centred = real.influence - real.influence.mean()
    return Detailed(
        around(value, variance, n=n, method=method),
        centred * math.sqrt(share),
        Variance(of_fake.value * share, of_fake.noise * share * share),
    )
