"""The nearest training samples of fake and of held-out real ones."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Groups
from gantlet.metrics.groups import checked_groups, without_interval
from gantlet.metrics.inputs import checked
from gantlet.metrics.neighbour.points import Points, points
from gantlet.metrics.neighbour.search import Nearest, nearest_among


@final
class TrainScene:
    """All three sets; neighbours are looked for when first asked for, and once.

    Args:
        real: Held-out features, shape ``(n, d)``.
        fake: Features of the model, shape ``(m, d)``.
        train: Features of the training, shape ``(t, d)``.
        groups: Which real and which fake samples belong together, if any do.

    Raises:
        UserError: If they cannot be compared.
    """

    def __init__(
        self, real: Tensor, fake: Tensor, train: Tensor, *, groups: Groups | None = None
    ) -> None:
        self.real, self.fake = checked(real, fake)
        self.groups = checked_groups(groups, len(real), len(fake))
        self.train = checked(train, self.fake, names=("train", "fake"))[0]

    def too_few(self, least: int) -> str | None:
        """Returns why the sets are too small, or None if each has ``least`` samples."""
        sizes = [len(x) for x in (self.real, self.fake, self.train)]
        if min(sizes) >= least:
            return None
        return (
            f"needs at least {least} real, fake and training samples, "
            f"got {sizes[0]}, {sizes[1]} and {sizes[2]}"
        )

    @cached_property
    def base(self) -> Points:
        """The training samples."""
        return points(self.train)[0]

    @cached_property
    def near_fake(self) -> Nearest:
        """The nearest training samples of each fake one."""
        return self._near(self.fake)

    @cached_property
    def near_real(self) -> Nearest:
        """The nearest training samples of each real one."""
        return self._near(self.real)

    def _near(self, x: Tensor) -> Nearest:
        train, queries = points(self.train, x)
        return nearest_among(queries, train)


class TrainPlan(ABC):
    """How one number is found from the neighbours of the training samples.

    Attributes:
        by_groups: Whether its interval heeds the groups of the scene.
    """

    by_groups: ClassVar[bool] = False

    @abstractmethod
    def judge(self, scene: TrainScene) -> Estimate:
        """Returns the number."""


@runtime_checkable
class SharesTrain(Protocol):
    """A metric that uses the neighbours among the training samples that others use too."""

    better: ClassVar[Better]
    unit: ClassVar[str]

    def plan_train(self, rng: torch.Generator) -> TrainPlan:
        """Returns how it is found; ``rng`` draws what is random."""
        ...


def judged(metric: SharesTrain, scene: TrainScene, rng: torch.Generator) -> Estimate:
    """Returns the number of one metric; without its interval if it heeds no groups there are."""
    plan = metric.plan_train(rng)
    found = plan.judge(scene).named(unit=metric.unit, better=metric.better)
    return found if scene.groups is None or plan.by_groups else without_interval(found)


def nearest_training(fake: Tensor, train: Tensor, *, k: int = 1) -> tuple[Tensor, Tensor]:
    """Returns the ``k`` nearest training samples of each fake one, the nearest first.

    Memory grows with the samples, not with their pairs.

    Args:
        fake: Features, shape ``(m, d)``.
        train: Features of the training, shape ``(t, d)``.
        k: How many for each.

    Returns:
        Which they are and how far, both of shape ``(m, k)``; distances in float64.

    Raises:
        UserError: If they cannot be compared or there are fewer than ``k`` of the training.
    """
    y = checked(fake, fake)[0]
    base = checked(train, y, names=("train", "fake"))[0]
    if not 1 <= k <= len(base):
        raise UserError(f"k must be from 1 to the {len(base)} training samples. Got {k}.")
    if not len(y):
        nobody = torch.empty(0, k, dtype=torch.float64, device=y.device)
        return nobody.to(torch.int64), nobody
    samples, queries = points(base, y)
    near = nearest_among(queries, samples, k)
    return near.index[:, :k], near.distance[:, :k].sqrt()
