"""What the metrics of nearest neighbours share: one search, one pass over all pairs."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.measure import Groups
from gantlet.metrics.groups import (
    IGNORED,
    checked_groups,
    drawn,
    too_few_groups,
    without_interval,
)
from gantlet.metrics.inputs import checked, too_few
from gantlet.metrics.neighbour.pairs import Side, Watcher, go_over
from gantlet.metrics.neighbour.points import Points, points
from gantlet.metrics.neighbour.search import Nearest, nearest_fellows, reserve
from gantlet.metrics.paired import Detailed

# Fewer groups of a set say too little of how groups vary.
_GROUPS = 4
# From so many on they say enough of it: in simulations, with 100 and more.
_SURE = 50
_FEW_GROUPS = "; caution: few groups, with 20 of a set it held 80 to 96 % in simulations"

KEPT_NEIGHBOURS = 2**23
"""So many neighbours of all samples of a set may be kept: 128 MB with their distances."""

SPARE_NEIGHBOURS = 128
"""The first search keeps so many more for one large group among small ones."""

TOO_LARGE = (
    "no interval: the groups are so large that too few neighbours are left without them: at least "
    "{} of other groups are needed"
)
"""Why balls have no interval where a group is nearly all that is near."""


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

    @property
    def drawn_reals(self) -> int:
        """How many real samples were drawn independently: groups, where there are some."""
        return drawn((self.groups or Groups()).real, len(self.real))

    @property
    def drawn_fakes(self) -> int:
        """How many fake samples were drawn independently."""
        return drawn((self.groups or Groups()).fake, len(self.fake))

    @property
    def of_groups(self) -> str:
        """What a method says of the groups; nothing where there are none."""
        if self.groups is None:
            return ""
        few = _FEW_GROUPS * (min(self.drawn_reals, self.drawn_fakes) < _SURE)
        return f"; {self.drawn_reals} real and {self.drawn_fakes} fake groups left out whole{few}"


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

    def has_enough(self, scene: Scene) -> bool:
        """Returns whether enough neighbours were kept for whole groups to be left out."""
        del scene
        return True


def look(
    real: Tensor, fake: Tensor, plans: Sequence[Plan], groups: Groups | None = None
) -> list[Detailed | Estimate]:
    """Returns the numbers of all plans, shapes ``(n, d)`` and ``(m, d)``, from one pass.

    An estimate alone where there are too few samples, or where nothing more is known. Groups
    change no number, only intervals; there is none where the plan does not heed them, where a set
    has fewer than 4, or where they are so large that too few neighbours are left without one.

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
    few = too_few_groups(groups, _GROUPS)
    scene = _scene(x, y, plans, None if few else groups)
    watchers = [(plan.real_balls(scene), plan.fake_balls(scene)) for plan in plans]
    go_over(
        Side(scene.real, scene.near_real, [w for reals, _ in watchers for w in reals]),
        Side(scene.fake, scene.near_fake, [w for _, fakes in watchers for w in fakes]),
    )
    few = few and f"no interval: {few}"
    return [
        _without(plan.judge(scene), few or (_unheeded(plan, scene) if groups else None))
        for plan in plans
    ]


def _unheeded(plan: Plan, scene: Scene) -> str | None:
    """Returns why a plan has no interval for samples in groups, or None if it has one."""
    if not plan.by_groups:
        return IGNORED
    return None if plan.has_enough(scene) else TOO_LARGE.format(max(plan.k_real, plan.k_fake))


def _without(found: Detailed | Estimate, reason: str | None) -> Detailed | Estimate:
    if reason is None:
        return found
    if isinstance(found, Estimate):
        return without_interval(found, reason)
    return replace(found, estimate=without_interval(found.estimate, reason))


def _scene(x: Tensor, y: Tensor, plans: Sequence[Plan], groups: Groups | None) -> Scene:
    a, b = points(x, y)
    of = groups or Groups()
    k_real, k_fake = max(p.k_real for p in plans), max(p.k_fake for p in plans)
    near = (_near(a, k_real, _first(of.real, k_real)), _near(b, k_fake, _first(of.fake, k_fake)))
    scene = Scene(a, b, *near, groups)
    while groups is not None and not all(plan.has_enough(scene) for plan in plans):
        kept = [z.index.shape[1] for z in (scene.near_real, scene.near_fake)]
        near = (_near(a, k_real, 2 * kept[0]), _near(b, k_fake, 2 * kept[1]))
        if [z.index.shape[1] for z in near] == kept:
            break
        scene = Scene(a, b, *near, groups)
    return scene


def _first(group: Tensor | None, k: int) -> int:
    """Returns how many neighbours are kept at first: mostly enough to leave out whole groups."""
    if group is None:
        return reserve(k)
    sizes = group.bincount().to(torch.float64)
    usual = round(float(sizes.square().sum() / sizes.sum()))
    return reserve(k, usual) + min(int(sizes.max()), SPARE_NEIGHBOURS)


def _near(x: Points, k: int, kept: int) -> Nearest:
    if k > 0:
        most = max(reserve(k), KEPT_NEIGHBOURS // len(x))
        return nearest_fellows(x, k, kept=min(kept, most))
    nobody = torch.empty(len(x), 0, device=x.device)
    return Nearest(nobody.to(torch.float64), nobody.to(torch.int64))
