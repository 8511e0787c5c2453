"""Plans that count in balls, and what they have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Protocol, final, runtime_checkable

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Groups, Sees
from gantlet.metrics.intervals import Variance
from gantlet.metrics.neighbour.balls import Folds, enough, least
from gantlet.metrics.neighbour.look import Plan, Scene, look
from gantlet.metrics.paired import ClusteredPaired, Detailed


class BallPlan(Plan, ABC):
    """A plan that counts in balls to the ``k``-th neighbour.

    Args:
        k: The neighbour to which a ball reaches.
        folds: What is left out for the interval.

    Attributes:
        centres: Around which samples the balls are.
    """

    centres: ClassVar[Literal["real", "fake"]] = "real"
    by_groups = True

    def __init__(self, k: int, folds: Folds) -> None:
        self.k = k
        self.k_real, self.k_fake = (k, 0) if self.centres == "real" else (0, k)
        self.folds = folds
        self.least = least(k)

    def drawn(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """Returns the folds of the real and of the fake samples."""
        return self.folds.of(scene.real, scene.fake, scene.groups)

    @final
    @override
    def has_enough(self, scene: Scene) -> bool:
        real, fake = self.drawn(scene)
        if self.centres == "real":
            return enough(scene.near_real, self.k, real)
        return enough(scene.near_fake, self.k, fake)


@runtime_checkable
class Shares(Protocol):
    """A metric that can be measured in the pass over all pairs that others make too."""

    better: ClassVar[Better]
    unit: ClassVar[str]

    def plan(self, rng: torch.Generator) -> Plan:
        """Returns how it is found; ``rng`` draws what is random."""
        ...


class NeighbourMetric(ClusteredPaired):
    """A paired metric that is found in that pass, higher where samples are better."""

    __slots__ = ()

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    @abstractmethod
    def plan(self, rng: torch.Generator) -> Plan:
        """Returns how it is found in the shared pass; ``rng`` draws the folds."""

    @final
    @override
    def detail(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Detailed:
        return alone(self, real, fake, rng, groups)


def alone(
    metric: Shares,
    real: Tensor,
    fake: Tensor,
    rng: torch.Generator,
    groups: Groups | None = None,
) -> Detailed:
    """Returns the number of one metric, and where its uncertainty comes from if that is known.

    Raises:
        UserError: If the features cannot be compared.
    """
    found = at_once([metric], real, fake, [rng], groups=groups)[0]
    if isinstance(found, Detailed):
        return found
    return Detailed(found, torch.zeros(0, dtype=torch.float64), Variance(0.0))


def at_once(
    metrics: Sequence[Shares],
    real: Tensor,
    fake: Tensor,
    rngs: Sequence[torch.Generator],
    *,
    groups: Groups | None = None,
) -> list[Detailed | Estimate]:
    """Returns the numbers of several metrics from one pass; each has its own generator.

    Raises:
        UserError: If the features cannot be compared.
    """
    plans = [m.plan(rng) for m, rng in zip(metrics, rngs, strict=True)]
    found = look(real, fake, plans, groups)
    return [_named(one, m) for m, one in zip(metrics, found, strict=True)]


def _named(found: Detailed | Estimate, metric: Shares) -> Detailed | Estimate:
    if isinstance(found, Estimate):
        return found.named(unit=metric.unit, better=metric.better)
    return replace(found, estimate=found.estimate.named(unit=metric.unit, better=metric.better))
