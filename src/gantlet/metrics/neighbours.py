"""Precision, recall, density and coverage: four counts of who lies in whose neighbourhood."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.spec import Between
from gantlet.metrics.intervals import around, fraction
from gantlet.metrics.neighbour.balls import Folds, Held, Holding, Usual
from gantlet.metrics.neighbour.look import Plan, Scene
from gantlet.metrics.neighbour.pairs import Watcher
from gantlet.metrics.neighbour.plan import BallPlan, NeighbourMetric
from gantlet.metrics.neighbour.terms import Spread, over_fakes, over_reals, without_own_fold
from gantlet.metrics.paired import Detailed

_METHOD = (
    "balls to neighbour {}; for these sample sizes; interval from the count and, by block "
    "jackknife, from the balls that the counted share; held 91 to 100 % in simulations"
)

OUTLYING = "caution: balls of outlying"
"""How the warning begins that a few large balls decide a number."""

# What the largest hundredth of the balls may hold alone without a warning: simulations without
# outliers stay below.
_ALONE = 0.1


class HeldPlan(BallPlan):
    """Counts how many real balls hold each fake sample."""

    @final
    @override
    def real_balls(self, scene: Scene) -> Sequence[Watcher]:
        self._held = Held(scene.near_real, self.k, self.drawn(scene)[0], len(scene.fake))
        self._usual = Usual(scene.near_real, self.k, len(scene.fake))
        return (self._held, self._usual)


@final
class PrecisionPlan(HeldPlan):
    """Judges the share of fake samples that some real ball holds."""

    @override
    def judge(self, scene: Scene) -> Detailed:
        held = (self._held.counts() > 0).double()
        method = _METHOD.format(self.k) + scene.of_groups + outlying(held[0], self._usual, "real")
        spread = over_fakes(held[0], held[1:] - held[0], scene.groups)
        return share(held[0], spread, method, scene.drawn_fakes)


@final
class RecallPlan(BallPlan):
    """Counts which real samples some fake ball holds."""

    centres = "fake"

    @override
    def fake_balls(self, scene: Scene) -> Sequence[Watcher]:
        self._held = Held(scene.near_fake, self.k, self.drawn(scene)[1], len(scene.real))
        self._usual = Usual(scene.near_fake, self.k, len(scene.real))
        return (self._held, self._usual)

    @override
    def judge(self, scene: Scene) -> Detailed:
        held = (self._held.counts() > 0).double()
        method = _METHOD.format(self.k) + scene.of_groups + outlying(held[0], self._usual, "fake")
        spread = over_reals(held[0], [held[1:] - held[0]], scene.groups)
        return share(held[0], spread, method, scene.drawn_reals)


@final
class DensityPlan(HeldPlan):
    """Judges the mean number of real balls that hold a fake sample."""

    @override
    def judge(self, scene: Scene) -> Detailed:
        held = self._held.counts().double() / self.k
        spread = over_fakes(held[0], held[1:] - held[0], scene.groups)
        value = float(held[0].mean())
        method = (
            _METHOD.format(self.k)
            + scene.of_groups
            + crowding(value, float(self._usual.counts.double().mean()) / self.k)
        )
        made = around(value, spread.whole, n=scene.drawn_fakes, method=method)
        return Detailed(made, spread.real, spread.rest)


@final
class CoveragePlan(BallPlan):
    """Counts which real balls hold a fake sample."""

    @override
    def real_balls(self, scene: Scene) -> Sequence[Watcher]:
        real, fake = self.drawn(scene)
        weight = torch.zeros(len(scene.fake), device=fake.device)
        self._holding = Holding(scene.near_real, self.k, real, weight, fake)
        return (self._holding,)

    @override
    def judge(self, scene: Scene) -> Detailed:
        covered, by_real, by_fake = (
            z.isfinite().double()
            for z in (
                self._holding.whole(),
                self._holding.without_centres(),
                self._holding.without_others(),
            )
        )
        fold = self.drawn(scene)[0]
        changes = [without_own_fold(covered, by_real, fold), by_fake - covered]
        spread = over_reals(covered, changes, scene.groups)
        return share(covered, spread, _METHOD.format(self.k) + scene.of_groups, scene.drawn_reals)


def outlying(held: Tensor, usual: Usual, kind: str) -> str:
    """Returns a warning where the largest balls alone hold much, or nothing.

    The ball of an outlier reaches from where it is to everywhere, and all inside it counts (Naeem
    et al., 2020, https://arxiv.org/abs/2002.09797, section 3).

    Args:
        held: Above 0 for each sample that is in any ball, shape ``(m,)``.
        usual: Which are in any of the smaller balls.
        kind: Around which samples the balls are.
    """
    whole, rest = float((held > 0).double().mean()), float((usual.counts > 0).double().mean())
    if whole - rest < _ALONE:
        return ""
    return (
        f"; {OUTLYING} {kind} samples alone, the largest {usual.large} of all balls, hold "
        f"{whole - rest:.3f} of the samples: without them {rest:.3f} are held"
    )


def crowding(density: float, usual: float) -> str:
    """Returns a warning where the largest balls make up much of the density, or nothing."""
    if density - usual < _ALONE * density:
        return ""
    return (
        f"; {OUTLYING} real samples, the largest hundredth of all balls, add "
        f"{density - usual:.3f} to it: without them it is {usual:.3f}"
    )


def share(held: Tensor, spread: Spread, method: str, n: int) -> Detailed:
    """Returns a share of samples with its interval and where its uncertainty comes from.

    Args:
        held: 1 for each sample that counts, 0 for the others, float64.
        spread: The uncertainty of their mean.
        method: How it was found.
        n: How many of the samples, or groups of them, were drawn independently.
    """
    made = fraction(float(held.mean()), spread.whole, n=n, method=method)
    return Detailed(made, spread.real, spread.rest)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Precision(NeighbourMetric):
    """The share of fake samples inside the real set: are they good?

    A fake sample is inside if it lies in the ball of a real one, which reaches to the real one's
    ``k``-th nearest real neighbour; on the edge counts as inside. The value depends on the sample
    sizes: compare equal sizes only.

    Source: Kynkaanniemi et al., 2019, https://arxiv.org/abs/1904.06991, equations 1 and 2.

    Attributes:
        k: The neighbour to which a ball reaches.
    """

    k: Annotated[int, Between(1, 1024)] = 3

    @override
    def plan(self, rng: torch.Generator) -> Plan:
        return PrecisionPlan(self.k, Folds(rng))


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Recall(NeighbourMetric):
    """The share of real samples inside the fake set: are all kinds made?

    Precision with the roles swapped.

    Source: Kynkaanniemi et al., 2019, https://arxiv.org/abs/1904.06991, equations 1 and 2.

    Attributes:
        k: The neighbour to which a ball reaches.
    """

    k: Annotated[int, Between(1, 1024)] = 3

    @override
    def plan(self, rng: torch.Generator) -> Plan:
        return RecallPlan(self.k, Folds(rng))


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Density(NeighbourMetric):
    """How many real balls hold a fake sample, over ``k``: are fakes where reals are dense?

    1 on average where the two are equal; above 1 where fakes crowd the densest places.

    Source: Naeem et al., 2020, https://arxiv.org/abs/2002.09797.

    Differs from the paper: the edge of a ball counts as inside, as for precision, so that sets
    of equal samples score as what they are.

    Attributes:
        k: The neighbour to which a ball reaches.
    """

    k: Annotated[int, Between(1, 1024)] = 5

    @override
    def plan(self, rng: torch.Generator) -> Plan:
        return DensityPlan(self.k, Folds(rng))


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Coverage(NeighbourMetric):
    """The share of real balls that hold a fake sample: are all kinds made?

    Where the two are equal it is ``1 - prod_{i<k} (n - 1 - i) / (n + m - 1 - i)`` on average,
    about ``1 - 2^-k`` for sets of equal size.

    Source: Naeem et al., 2020, https://arxiv.org/abs/2002.09797.

    Differs from the paper: the edge of a ball counts as inside, as for precision.

    Attributes:
        k: The neighbour to which a ball reaches.
    """

    k: Annotated[int, Between(1, 1024)] = 5

    @override
    def plan(self, rng: torch.Generator) -> Plan:
        return CoveragePlan(self.k, Folds(rng))
