"""What the metrics of nearest neighbours share: one search, one pass over all pairs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.measure import Groups
from gantlet.metrics.groups import checked_groups, without_interval
from gantlet.metrics.inputs import checked, too_few
from gantlet.metrics.neighbour.pairs import Side, Watcher, go_over
from gantlet.metrics.neighbour.points import Points, points
from gantlet.metrics.neighbour.search import Nearest, nearest_fellows
from gantlet.metrics.paired import Detailed


@dataclass(frozen=True, slots=True)
@final
class Scene:
    """Both sets and the nearest fellows of their samples.

    Attributes:
        real: The real samples.
        fake: The fake samples.
        near_real: The nearest real samples of each real one; nobody where none were asked for.
        near_fake: The nearest fake samples of each fake one; likewise.
        groups: Which samples belong together, numbered without gaps, if any do.
    """

    real: Points
    fake: Points
    near_real: Nearest
    near_fake: Nearest
    groups: Groups | None = None


class Plan(ABC):
    """How one number is found in the shared pass.

    Attributes:
        k_real: How many real neighbours of the real samples it needs.
        k_fake: How many fake neighbours of the fake samples it needs.
        least: How many samples of each set it needs.
        by_groups: Whether its interval heeds the groups of the scene.
    """

    k_real: int = 0
    k_fake: int = 0
    least: int = 2
    by_groups: bool = False

    def real_balls(self, scene: Scene) -> Sequence[Watcher]:
        """Returns who watches the neighbourhoods of real samples."""
        del scene
        return ()

    def fake_balls(self, scene: Scene) -> Sequence[Watcher]:
        """Returns who watches the neighbourhoods of fake samples."""
        del scene
        return ()

    @abstractmethod
    def judge(self, scene: Scene) -> Detailed | Estimate:
        """Returns the number once all pairs have been seen."""


def look(
    real: Tensor, fake: Tensor, plans: Sequence[Plan], groups: Groups | None = None
) -> list[Detailed | Estimate]:
    """Returns the numbers of all plans, shapes ``(n, d)`` and ``(m, d)``, from one pass.

    An estimate alone where there are too few samples, or where nothing more is known. Without an
    interval where there are groups that the plan does not heed.

    Raises:
        UserError: If the features cannot be compared.
    """
    x, y = checked(real, fake)
    reasons = [too_few(x, y, plan.least) for plan in plans]
    able = [plan for plan, reason in zip(plans, reasons, strict=True) if reason is None]
    found = iter(_judged(x, y, able, checked_groups(groups, len(x), len(y))))
    return [next(found) if reason is None else Estimate.missing(reason) for reason in reasons]


def _judged(
    x: Tensor, y: Tensor, plans: Sequence[Plan], groups: Groups | None
) -> list[Detailed | Estimate]:
    if not plans:
        return []
    scene = replace(_scene(x, y, plans), groups=groups)
    watchers = [(plan.real_balls(scene), plan.fake_balls(scene)) for plan in plans]
    go_over(
        Side(scene.real, scene.near_real, [w for reals, _ in watchers for w in reals]),
        Side(scene.fake, scene.near_fake, [w for _, fakes in watchers for w in fakes]),
    )
    return [_heeded(plan.judge(scene), plan, groups) for plan in plans]


def _heeded(found: Detailed | Estimate, plan: Plan, groups: Groups | None) -> Detailed | Estimate:
    if groups is None or plan.by_groups:
        return found
    if isinstance(found, Estimate):
        return without_interval(found)
    return replace(found, estimate=without_interval(found.estimate))


def _scene(x: Tensor, y: Tensor, plans: Sequence[Plan]) -> Scene:
    a, b = points(x, y)
    k_real, k_fake = max(p.k_real for p in plans), max(p.k_fake for p in plans)
    return Scene(a, b, _near(a, k_real), _near(b, k_fake))


def _near(x: Points, k: int) -> Nearest:
    if k > 0:
        return nearest_fellows(x, k)
    nobody = torch.empty(len(x), 0, device=x.device)
    return Nearest(nobody.to(torch.float64), nobody.to(torch.int64))
