"""Symmetric precision and recall, which see errors on either side in high dimensions."""

from dataclasses import dataclass, replace
from typing import Annotated, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Estimate
from gantlet.core.metric import Groups
from gantlet.core.spec import Between
from gantlet.metrics.neighbour_search import (
    Accumulator,
    BallCounts,
    BallMinimum,
    Folds,
    Nearest,
    TrimmedBallCounts,
    smallest_sample,
)
from gantlet.metrics.neighbours import (
    Counting,
    Needs,
    Neighbourhoods,
    NeighbourMetric,
    in_real_balls,
    outlying,
    share,
)
from gantlet.stats.intervals import Variance
from gantlet.stats.jackknife import (
    Detailed,
    VarianceParts,
    over_fakes,
    over_reals,
    without_own_fold,
)

_METHOD = (
    "k = {}; the smaller of {} {:.4f} and {} {:.4f}; for these sample sizes; interval from the "
    "lower ends to the upper ends of both, each from binomial variance and, by block jackknife, "
    "the dependence through shared balls"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class SymmetricPrecision(NeighbourMetric):
    """The smaller of precision and its complement: sample quality that no dimension inverts.

    Precision asks whether a fake lies in the ball of a real sample; its complement whether the
    ball of the fake, which reaches to its ``k``-th nearest fake neighbour, holds a real one. In
    high dimensions precision alone is near 1 for fakes that lie a little further inside than real
    samples and near 0 for those that lie as far outside; of the two fractions one is small in
    either case.

    Source: Khayatkhoei and AbdAlmageed, 2023, https://arxiv.org/abs/2306.09618.

    Differs from the paper: the edge of a ball counts as inside, as for precision.

    Attributes:
        k: Number of nearest neighbours, which sets the radius of a ball.
    """

    k: Annotated[int, Between(1, 1024)] = 3

    @override
    def needs(self) -> Needs:
        return Needs(k_real=self.k, k_fake=self.k, least=smallest_sample(self.k))

    @override
    def begin(self, scene: Neighbourhoods, folds: Folds) -> Counting:
        real, fake = scene.of(folds)
        held, usual = in_real_balls(scene, self.k, folds)
        filled = _filled(scene.near_fake, self.k, fake, real)

        def finish() -> Detailed:
            inside = (held.counts() > 0).double()
            first = over_fakes(inside[0], inside[1:] - inside[0], scene.groups)
            second, full = _complement(scene, filled, fake)
            found = (
                share(inside[0], first, "", scene.drawn_fakes),
                share(full, second, "", scene.drawn_fakes),
            )
            return _smaller(
                found,
                ("precision", "complement"),
                self.k,
                scene.of_groups + outlying(inside[0], usual, "real"),
            )

        return Counting(finish, real_balls=[held, usual], fake_balls=[filled])


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class SymmetricRecall(NeighbourMetric):
    """The smaller of recall and coverage with the same ``k``: diversity that no dimension inverts.

    Symmetric precision with the roles swapped: the complement of recall is coverage, the fraction
    of real balls that contain a fake.

    Source: Khayatkhoei and AbdAlmageed, 2023, https://arxiv.org/abs/2306.09618.

    Differs from the paper: the edge of a ball counts as inside, as for recall.

    Attributes:
        k: Number of nearest neighbours, which sets the radius of a ball.
    """

    k: Annotated[int, Between(1, 1024)] = 3

    @override
    def needs(self) -> Needs:
        return Needs(k_real=self.k, k_fake=self.k, least=smallest_sample(self.k))

    @override
    def begin(self, scene: Neighbourhoods, folds: Folds) -> Counting:
        real, fake = scene.of(folds)
        held = BallCounts(scene.near_fake, self.k, fake, len(scene.real))
        usual = TrimmedBallCounts(scene.near_fake, self.k, len(scene.real))
        filled = _filled(scene.near_real, self.k, real, fake)

        def finish() -> Detailed:
            inside = (held.counts() > 0).double()
            first = over_reals(inside[0], [inside[1:] - inside[0]], scene.groups)
            full, by_own, by_other = (z.isfinite().double() for z in filled.leaving_out())
            changes = [without_own_fold(full, by_own, real), by_other - full]
            second = over_reals(full, changes, scene.groups)
            found = (
                share(inside[0], first, "", scene.drawn_reals),
                share(full, second, "", scene.drawn_reals),
            )
            return _smaller(
                found,
                ("recall", "coverage"),
                self.k,
                scene.of_groups + outlying(inside[0], usual, "fake"),
            )

        watchers: list[Accumulator] = [held, usual]
        return Counting(finish, real_balls=[filled], fake_balls=watchers)


def _filled(near: Nearest, k: int, fold: Tensor, other: Tensor) -> BallMinimum:
    """Watches which balls hold any sample of the other set."""
    return BallMinimum(near, k, fold, torch.zeros(len(other), device=other.device), other)


def _complement(
    scene: Neighbourhoods, filled: BallMinimum, fold: Tensor
) -> tuple[VarianceParts, Tensor]:
    """Returns the uncertainty of the share of fake balls that hold a real sample, and which do.

    It is coverage with the roles swapped, and so is its variance; what real samples add to it is
    taken from the folds of them.
    """
    full, by_own, by_real = (z.isfinite().double() for z in filled.leaving_out())
    groups = scene.groups
    swapped = None if groups is None else Groups(real=groups.fake, fake=groups.real)
    changes = [without_own_fold(full, by_own, fold), by_real - full]
    whole = over_reals(full, changes, swapped).whole
    of_real = over_fakes(full, changes[1], groups).real
    rest = max(whole.value - float(of_real.var()) / len(of_real), 0.0)
    return VarianceParts(of_real, Variance(rest, whole.noise), whole), full


def _smaller(
    found: tuple[Detailed, Detailed], names: tuple[str, str], k: int, note: str
) -> Detailed:
    """Returns the smaller of two fractions, with an interval that holds whichever is the smaller.

    Of two intervals that hold their own number, the smaller of the lower ends and the smaller of
    the upper ones are the ends of one that holds the smaller number.
    """
    a, b = (f.estimate for f in found)
    first = (a.value or 0.0) <= (b.value or 0.0)
    chosen = found[0] if first else found[1]
    method = _METHOD.format(k, names[0], a.value, names[1], b.value) + note
    ends = [e for e in (_least(a.low, b.low), _least(a.high, b.high)) if e is not None]
    made: Estimate = replace(chosen.estimate, method=method)
    if len(ends) == 2:
        made = replace(made, low=ends[0], high=ends[1])
    return replace(chosen, estimate=made)


def _least(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else min(a, b)
