"""The birthday test: how many different samples a model can make, from its near-duplicates."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Sees
from gantlet.core.spec import Between
from gantlet.metrics.intervals import LEVEL
from gantlet.metrics.neighbour.look import Plan, Scene
from gantlet.metrics.neighbour.plan import alone
from gantlet.metrics.neighbour.points import Points
from gantlet.metrics.neighbour.search import Nearest
from gantlet.metrics.neighbour.tiles import COLUMNS, ROWS, edge, rows_of, spans, tile

# The reals that lie nearest to another one set the measure, all but the nearest of them.
_QUANTILE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Birthday:
    """About how many different samples the model can make, from near-duplicates among fakes.

    Of ``S`` equally likely days of birth, ``m (m - 1) / 2`` pairs meet on the same one
    ``m (m - 1) / (2 S)`` times. Two fakes are near-duplicates if they are nearer to each other
    than ``closeness`` times the distance within which 5 % of the real samples have another one.
    The method tells how many near-duplicates there are, and how many among the real samples. With
    none among the fakes there is no value, only a lower bound, in the method.

    Source: Arora and Zhang, 2017, https://arxiv.org/abs/1706.08224.

    Differs from the paper: there, people judge which of the closest pairs are duplicates; here
    the distances of the real samples do, so that features must see what people see. The count
    replaces the size at which a duplicate becomes as likely as not.

    Attributes:
        closeness: How near two samples must be, over how near real ones are.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    closeness: Annotated[float, Between(0, 1)] = 0.5

    def plan(self, rng: torch.Generator) -> Plan:
        """Returns how it is found in the shared pass; draws nothing from ``rng``."""
        del rng  # nothing is random
        return BirthdayPlan(self.closeness)

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; draws nothing from ``rng``.

        Raises:
            UserError: If the features cannot be compared.
        """
        return alone(self, real, fake, rng).estimate


@final
class BirthdayPlan(Plan):
    """Counts near-duplicates among the fakes."""

    k_real = 1
    k_fake = 1
    least = 3

    def __init__(self, closeness: float) -> None:
        self.closeness = closeness

    @override
    def judge(self, scene: Scene) -> Estimate:
        nearest = scene.near_real.distance[:, 0].sort().values
        limit = self.closeness**2 * float(nearest[int(_QUANTILE * len(nearest))])
        found = meetings(scene.fake, scene.near_fake, limit)
        real = int(meetings(scene.real, scene.near_real, limit).sum()) // 2
        among = f"{real} of {len(scene.real)} reals"
        return support(found, among=among)


def support(meetings: Tensor, *, among: str = "none known") -> Estimate:
    """Returns how many equally likely samples would meet as often, with its interval.

    The interval is Poisson's, made wider where some samples meet more often than others, as they
    do where samples are not equally likely; the value then is that of as many likely ones as
    would meet as often.

    Args:
        meetings: With how many others each sample meets, shape ``(m,)``.
        among: What the same count gave for real samples, for the method.
    """
    from scipy.special import gammaincinv

    m, count = len(meetings), float(meetings.sum()) / 2
    pairs, tail = m * (m - 1) / 2, (1 - LEVEL) / 2
    seen = f"{count:.0f} pairs of near-duplicates among {m} fakes, {among}"
    if count == 0:
        bound = pairs / -math.log(1 - LEVEL)
        return Estimate.missing(f"{seen}: at least {bound:.3g} different samples (95 %)")
    uneven = float(meetings.double().var()) - 2 * count / m
    wider = 1 + m * max(uneven, 0.0) / count
    low = wider * float(gammaincinv(count / wider, tail))
    high = wider * float(gammaincinv(count / wider + 1, 1 - tail))
    return Estimate(
        value=pairs / count,
        low=max(pairs / high, 1.0),
        high=pairs / low,
        n=m,
        level=LEVEL,
        method=f"{seen}; interval as of a Poisson count, wider where meetings are uneven",
    )


def meetings(x: Points, near: Nearest, limit: float) -> Tensor:
    """Returns how many others lie within the squared distance ``limit`` of each, ``(n,)``."""
    edges = edge(torch.full((len(x),), limit, dtype=torch.float64, device=x.device), x)
    found = (near.distance <= edges[:, None]).sum(1)
    full = (found == near.distance.shape[1]) & (found < len(x) - 1)
    for some in torch.split(full.nonzero()[:, 0], ROWS):
        rows = rows_of(x, some, torch.float64)
        counts = [
            (tile(rows, rows_of(x, j, torch.float64)) <= edges[some, None]).sum(1)
            for j in spans(len(x), COLUMNS)
        ]
        found[some] = torch.stack(counts).sum(0) - 1  # the sample itself
    return found
