"""Two generators judged by the same real samples: the difference of their numbers."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Estimate
from gantlet.core.measure import Clustered, Groups
from gantlet.metrics.intervals import Variance, around, total


@final
@dataclass(frozen=True, slots=True)
class Detailed:
    """An estimate and where its uncertainty comes from.

    Attributes:
        estimate: The number.
        real: What each real sample, group or fold of them adds to the number, centred, so that
            ``real.var() / len(real)`` is the part of the variance that comes from the real side.
        rest: The other part of the variance: from the fake side, and of second order.
    """

    estimate: Estimate
    real: Tensor
    rest: Variance


class Paired(ABC):
    """A metric that can tell where its uncertainty comes from."""

    __slots__ = ()

    @abstractmethod
    def detail(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Detailed:
        """Compares as ``measure`` does, and tells what each real sample adds.

        The real samples must come in the same order, and ``rng`` must be in the same state, for
        all generators that are to be compared.

        Raises:
            UserError: If the two sets cannot be compared.
        """

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares what the metric sees of both, for features shapes ``(n, d)`` and ``(m, d)``.

        Args:
            real: Of the real samples.
            fake: Of the fake samples.
            rng: Draws all that is random.

        Raises:
            UserError: If the two sets cannot be compared.
        """
        return self.detail(real, fake, rng=rng).estimate


class ClusteredPaired(Paired, Clustered):
    """A paired metric whose interval holds for samples that come in groups, too."""

    __slots__ = ()

    @abstractmethod
    @override
    def detail(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Detailed:
        """Compares as ``measure`` does, and tells what each real sample or group of them adds.

        The real samples must come in the same order, in the same groups, and ``rng`` must be in
        the same state, for all generators that are to be compared.

        Raises:
            UserError: If the two sets cannot be compared.
        """

    @final
    @override
    def measure(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Estimate:
        """Compares what the metric sees of both, for features shapes ``(n, d)`` and ``(m, d)``.

        Args:
            real: Of the real samples.
            fake: Of the fake samples.
            rng: Draws all that is random.
            groups: Which samples belong together.

        Raises:
            UserError: If the two sets cannot be compared.
        """
        return self.detail(real, fake, rng=rng, groups=groups).estimate


def difference(a: Detailed, b: Detailed) -> Estimate:
    """Returns the number of ``a`` minus that of ``b``, both taken against the same real samples.

    What the real samples add to both cancels, as in a paired t-test.

    Raises:
        ValueError: If the two were not taken against equally many real samples or folds.
    """
    if a.real.shape != b.real.shape:
        raise ValueError(f"Different real sides: {tuple(a.real.shape)}, {tuple(b.real.shape)}.")
    rough = unpaired(a.estimate, b.estimate)
    if rough.value is None or rough.half_width is None:
        # Where one has no interval, its influences are not to be trusted either.
        return rough
    shared, k = a.real - b.real, len(a.real)
    own = Variance.of_squares(float(shared.var()) / k, k - 1)
    found = around(
        rough.value,
        total((own, a.rest, b.rest)),
        n=min(a.estimate.n, b.estimate.n),
        method="paired on the same real samples, Student's t",
    )
    return found.named(unit=a.estimate.unit, better=a.estimate.better)


def unpaired(a: Estimate, b: Estimate) -> Estimate:
    """Returns ``a`` minus ``b`` as if they rested on different real samples, which is cautious.

    Each interval keeps its own sides, which may differ: those of counts and of shares do.

    Source: Zou and Donner, 2008, https://doi.org/10.1002/sim.3095, equation 4.
    """
    if a.value is None or b.value is None:
        return Estimate.missing("one of the two could not be measured", unit=a.unit)
    value = a.value - b.value
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Estimate(value=value, unit=a.unit, better=a.better, method="no interval of one")
    return Estimate(
        value=value,
        low=value - math.hypot(a.value - a.low, b.high - b.value),
        high=value + math.hypot(a.high - a.value, b.value - b.low),
        n=min(a.n, b.n),
        unit=a.unit,
        better=a.better,
        method="as if of independent samples; the sides of both intervals in quadrature",
    )
