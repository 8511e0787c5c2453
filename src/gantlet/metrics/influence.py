"""From what each sample adds to a number to the variance of the number."""

import math
from dataclasses import dataclass
from typing import final

from torch import Tensor

from gantlet.metrics.intervals import Variance, total
from gantlet.metrics.near_equality import Bend, squared_distance
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


def by_group(influence: Tensor, group: Tensor | None) -> Tensor:
    """Returns what each group moves the number, times their number, so that they can be spread.

    Args:
        influence: By how much each sample moves the number, times ``n``, shape ``(n,)``.
        group: The group of each sample, from 0 without gaps; None where no two share one.
    """
    if group is None:
        return influence
    count = int(group.max()) + 1
    sums = influence.new_zeros(count).index_add_(0, group, influence - influence.mean())
    return sums * (count / len(influence))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """What the samples of one set add to a number.

    Attributes:
        influence: By how much each sample moves the number, times ``n``, shape ``(n,)``; or each
            group, times the number of groups.
        twice: The part of second order, which the variance of ``influence`` holds twice.
    """

    influence: Tensor
    twice: float = 0.0


def detailed(value: float, real: Side, fake: Side, bent: Bend, *, method: str) -> Detailed:
    """Returns the estimate of a squared distance of two independent sides, with its detail.

    The part of second order is taken off once, and always left once: near equality the rest is
    nothing but noise around zero.

    Args:
        value: The squared distance, without bias.
        real: What the real samples add.
        fake: What the fake samples add.
        bent: How its distribution changes with the true distance.
        method: How it was obtained.
    """
    n, second = min(len(real.influence), len(fake.influence)), real.twice + fake.twice
    of_real, of_fake = spread(real.influence), spread(fake.influence)
    both = total((of_real, of_fake))
    variance = Variance(max(both.value - second, second), both.noise)
    share = variance.value / both.value if both.value > 0 else 1.0
    centred = real.influence - real.influence.mean()
    return Detailed(
        squared_distance(value, both, second, bent, n=n, method=method),
        centred * math.sqrt(share),
        Variance(of_fake.value * share, of_fake.noise * share * share),
    )
