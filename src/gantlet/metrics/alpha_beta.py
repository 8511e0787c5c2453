"""Alpha-precision and beta-recall: are fakes typical, are typical reals covered?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.spec import Between
from gantlet.metrics.intervals import around
from gantlet.metrics.neighbour.balls import Folds, Holding, least
from gantlet.metrics.neighbour.curves import Curve
from gantlet.metrics.neighbour.look import Plan, Scene
from gantlet.metrics.neighbour.pairs import Watcher
from gantlet.metrics.neighbour.plan import BallPlan, NeighbourMetric
from gantlet.metrics.neighbour.points import Points, row_blocks
from gantlet.metrics.neighbour.terms import Spread, over_fakes, over_reals, without_own_fold
from gantlet.metrics.paired import Detailed

_ALPHA = (
    "1 - 2 int |P(alpha) - alpha|; for these sample sizes; interval to first order, from fakes "
    "and, by block jackknife, from the reals that they share; rough near 1, where noise counts "
    "as distance; held 88 to 100 % in simulations"
)
_BETA = (
    "1 - 2 int |R(beta) - beta|; balls to neighbour {}; for these sample sizes; interval to first "
    "order, from reals and, by block jackknife, from the balls and fakes that they share; held 90 "
    "to 100 % in simulations"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class AlphaPrecision(NeighbourMetric):
    """Whether fake samples are as typical as real ones, 1 if so.

    The ball around the mean of the real samples that holds the share ``alpha`` of them should hold
    the share ``alpha`` of the fakes. With ``P(alpha)`` what it holds, this is
    ``1 - 2 int |P(alpha) - alpha|``: 0 where all fakes lie outside of everything, and also where
    all sit at the centre.

    Source: Alaa et al., 2022, https://arxiv.org/abs/2102.08921, section 4 and appendix.

    Differs from the paper: features are taken as they are, with no learned map into a sphere, so
    that only the distance from the mean is seen; the integral is exact, where the authors' program
    sums 30 steps.
    """

    quadratic: ClassVar[bool] = False

    @override
    def plan(self, rng: torch.Generator) -> Plan:
        return AlphaPlan(Folds(rng))


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class BetaRecall(NeighbourMetric):
    """Whether real samples are covered by fakes as typical as they are, 1 if so.

    A real sample is covered at ``beta`` if its ball, which reaches to its ``k``-th nearest real
    neighbour, holds a fake of the ``beta`` most typical: those nearest to the mean of the fakes.
    With ``R(beta)`` the share that is, this is ``1 - 2 int |R(beta) - beta|``. Where the two are
    equal it is below 1, as a ball holds several fakes: see the noise floor.

    Source: Alaa et al., 2022, https://arxiv.org/abs/2102.08921, section 4 and appendix.

    Differs from the paper: features are taken as they are, with no learned map; the integral is
    exact. Differs from the authors' program: how typical a fake is, is judged among all fakes, as
    the paper has it, not among those that are nearest to a real sample.

    Attributes:
        k: The neighbour to which a ball reaches.
    """

    k: Annotated[int, Between(1, 1024)] = 5

    @override
    def plan(self, rng: torch.Generator) -> Plan:
        return BetaPlan(self.k, Folds(rng))


@final
class AlphaPlan(Plan):
    """Compares distances from the centre of the real samples."""

    least = least(1)
    by_groups = True

    def __init__(self, folds: Folds) -> None:
        self.folds = folds

    @override
    def judge(self, scene: Scene) -> Detailed:
        x, y = scene.real, scene.fake
        fold = self.folds.of(x, y, scene.groups)[0]
        centres = torch.stack([_centre(x), *_centres_without(x, fold)])
        from_x, from_y = _from_centres(x, centres), _from_centres(y, centres)
        u = ranks(from_y[0], from_x[0])
        changed = [ranks(from_y[1 + f], from_x[1 + f, fold != f]) for f in range(len(centres) - 1)]
        curve = Curve(u)
        terms = curve.influence(u)
        by_real = torch.stack([curve.influence(v) for v in changed]) - terms
        spread = over_fakes(terms, by_real, scene.groups)
        return _agreement(curve, spread, scene.drawn_fakes, _ALPHA + scene.of_groups)


@final
class BetaPlan(BallPlan):
    """Looks for the most typical fake in each real ball."""

    @override
    def real_balls(self, scene: Scene) -> Sequence[Watcher]:
        real, fake = self.drawn(scene)
        self._depth = _from_centres(scene.fake, _centre(scene.fake)[None])[0]
        self._holding = Holding(scene.near_real, self.k, real, self._depth, fake)
        return (self._holding,)

    @override
    def judge(self, scene: Scene) -> Detailed:
        fold = self.drawn(scene)[0]
        u, by_real, by_fake = (
            ranks(depth, self._depth)
            for depth in (
                self._holding.whole(),
                self._holding.without_centres(),
                self._holding.without_others(),
            )
        )
        curve = Curve(u)
        terms = curve.influence(u)
        real = without_own_fold(terms, curve.influence(by_real), fold)
        spread = over_reals(terms, [real, curve.influence(by_fake) - terms], scene.groups)
        method = _BETA.format(self.k) + scene.of_groups
        return _agreement(curve, spread, scene.drawn_reals, method)


def ranks(distance: Tensor, among: Tensor) -> Tensor:
    """Returns the share of ``among`` that are below ``distance``, shape as ``distance``.

    The smallest ball that holds at least a share ``t`` of them holds the distance from ``t`` just
    above this rank on; never where it is 1. Where several of them are at one distance, no ball
    tells them apart: distances that are equal to it are spread evenly over their share, so that
    equal sets agree even where all samples are equal.

    Example:
        >>> ranks(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0])).tolist()
        [0.5, 1.0]
        >>> ranks(torch.zeros(2), torch.zeros(5)).tolist()
        [0.25, 0.75]
    """
    ordered, n = among.sort().values, len(among)
    below, upto = (
        torch.searchsorted(ordered, distance.contiguous(), right=side).to(torch.float64) / n
        for side in (False, True)
    )
    tied = upto - below > 1.5 / n
    if not bool(tied.any()):
        return below
    mine, order = distance.sort(dim=-1, stable=True)
    first, last = (
        torch.searchsorted(mine, distance.contiguous(), right=side) for side in (False, True)
    )
    place = (order.argsort(dim=-1) - first + 0.5) / (last - first)
    return torch.where(tied, below + (upto - below) * place, below)


def _agreement(curve: Curve, spread: Spread, n: int, method: str) -> Detailed:
    made = around(curve.agreement(), spread.whole, n=n, method=method)
    if made.high is not None and made.high > 1:
        made = replace(made, high=1.0)
    return Detailed(made, spread.real, spread.rest)


def _centre(x: Points) -> Tensor:
    rows = (x.rows(part, torch.float64).sum(0) for part in row_blocks(x.x))
    return torch.stack(list(rows)).sum(0) / len(x)


def _centres_without(x: Points, fold: Tensor) -> list[Tensor]:
    """Returns the mean without each fold."""
    count = int(fold.max()) + 1
    sums = torch.zeros(count, x.width, dtype=torch.float64, device=x.device)
    for part in row_blocks(x.x):
        sums.index_add_(0, fold[part], x.rows(part, torch.float64))
    left = len(x) - fold.bincount(minlength=count)
    return list((sums.sum(0) - sums) / left[:, None])


def _from_centres(x: Points, centres: Tensor) -> Tensor:
    """Returns squared distances from each centre, shape ``(len(centres), n)``."""
    parts: list[Tensor] = []
    for part in row_blocks(x.x):
        rows = x.rows(part, torch.float64)
        # From differences, so that equal samples are at equal distances to the last digit.
        each = [torch.linalg.vecdot(moved, moved) for moved in (rows - c for c in centres)]
        parts.append(torch.stack(each))
    return torch.cat(parts, 1)
