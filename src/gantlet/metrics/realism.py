"""Realism: how deep inside the real set each fake sample lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.spec import Between
from gantlet.metrics.inputs import checked
from gantlet.metrics.neighbour.balls import Folds, Held
from gantlet.metrics.neighbour.look import Plan, Scene
from gantlet.metrics.neighbour.pairs import Watcher
from gantlet.metrics.neighbour.plan import BallPlan, NeighbourMetric
from gantlet.metrics.neighbour.points import Points, points
from gantlet.metrics.neighbour.search import nearest_fellows
from gantlet.metrics.neighbour.terms import over_fakes
from gantlet.metrics.neighbour.tiles import (
    COLUMNS,
    ROWS,
    edge,
    rows_of,
    spans,
    tile,
    working_dtype,
)
from gantlet.metrics.neighbours import share
from gantlet.metrics.paired import Detailed

_METHOD = (
    "share of fakes of realism 1 or more, in the smaller half of the balls to neighbour {}; for "
    "these sample sizes; interval from the count and, by block jackknife, from the balls that the "
    "counted share; which balls are the smaller half is taken as given; held 94 to 100 % in "
    "simulations"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Realism(NeighbourMetric):
    """The share of fake samples with a realism of at least 1.

    The realism of a fake sample is ``max_i r_i / |y - x_i|``, where the ball of the real sample
    ``x_i`` reaches to its ``k``-th nearest real neighbour at ``r_i``. Only the smaller half of the
    balls counts, so that outliers do not make everything real. It is at least 1 where the sample
    lies in such a ball. ``realism`` returns it for each sample.

    Source: Kynkaanniemi et al., 2019, https://arxiv.org/abs/1904.06991, equation 3.

    Differs from the paper: they rate single samples; the share says it of all of them.

    Attributes:
        k: The neighbour to which a ball reaches.
    """

    k: Annotated[int, Between(1, 1024)] = 3

    @override
    def plan(self, rng: torch.Generator) -> Plan:
        return RealismPlan(self.k, Folds(rng))


@final
class RealismPlan(BallPlan):
    """Counts which fake samples one of the smaller real balls holds."""

    @override
    def real_balls(self, scene: Scene) -> Sequence[Watcher]:
        kept = smaller_half(scene.near_real.distance[:, self.k - 1])
        fold, m = self.drawn(scene)[0], len(scene.fake)
        self._held = Held(scene.near_real, self.k, fold, m, kept)
        return (self._held,)

    @override
    def judge(self, scene: Scene) -> Detailed:
        held = (self._held.counts() > 0).double()
        spread = over_fakes(held[0], held[1:] - held[0], scene.groups)
        return share(held[0], spread, _METHOD.format(self.k) + scene.of_groups, scene.drawn_fakes)


def realism(real: Tensor, fake: Tensor, *, k: int = 3) -> Tensor:
    """Returns the realism of each fake sample, shape ``(m,)``, in float64.

    Infinite for a copy of a real sample.

    Args:
        real: Features, shape ``(n, d)``, at least ``k + 1`` of them.
        fake: Features, shape ``(m, d)``.
        k: The neighbour to which a ball reaches.

    Raises:
        UserError: If the features cannot be compared or are too few.
    """
    x, y = checked(real, fake)
    if len(x) <= k:
        raise UserError(f"realism needs at least {k + 1} real samples for k={k}. Got {len(x)}.")
    if not len(y):
        return torch.zeros(0, dtype=torch.float64, device=y.device)
    a, b = points(x, y)
    radii = edge(nearest_fellows(a, k).distance[:, k - 1], a)
    kept = smaller_half(radii).nonzero()[:, 0]
    return _scores(Points(x[kept], a.centre, a.scale), b, radii[kept])


def smaller_half(radii: Tensor) -> Tensor:
    """Returns which radii are at most the median."""
    return radii <= radii.median()


def _scores(a: Points, b: Points, radii: Tensor) -> Tensor:
    """Returns the score of each of ``b``; the best ball is found quickly, measured in float64."""
    dtype = working_dtype(b)
    best = torch.full((len(b),), torch.inf, dtype=dtype, device=b.device)
    ball = torch.zeros(len(b), dtype=torch.int64, device=b.device)
    for i in spans(len(a), ROWS):
        rows, inverse = rows_of(a, i, dtype), 1 / radii[i, None].clamp_min(1e-30).to(dtype)
        for j in spans(len(b), COLUMNS):
            lowest = tile(rows, rows_of(b, j, dtype)).clamp_min_(0).mul_(inverse).min(0)
            ball[j] = torch.where(lowest.values < best[j], lowest.indices + i.start, ball[j])
            best[j] = torch.minimum(best[j], lowest.values)
    everyone = torch.arange(len(b), device=b.device)
    apart = b.apart(everyone, a, ball)
    return torch.where(apart > 0, radii[ball] / apart, torch.inf).sqrt()
