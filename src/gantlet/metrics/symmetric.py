"""Symmetric precision and recall, which see errors on either side in high dimensions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias, final

from torch import Tensor
from typing_extensions import override

from gantlet.core.metric import Groups
from gantlet.core.spec import Between
from gantlet.metrics.neighbour_search import (
    BallMinimum,
    Folds,
    filled,
    filled_balls,
    smallest_sample,
)
from gantlet.metrics.neighbours import (
    Counting,
    Needs,
    Neighbourhoods,
    NeighbourMetric,
    in_fake_balls,
    in_real_balls,
    outlying,
    share,
)
from gantlet.stats.intervals import Variance
from gantlet.stats.jackknife import (
    Detailed,
    VarianceParts,
    over_balls,
    over_fakes,
    over_reals,
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

    Differs from the authors' program: the edge of a ball counts as inside, as for precision; the
    default of ``k`` is 3, that of ``precision``, not 5.

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
        balls = filled_balls(scene.near_fake, self.k, fake, real)

        def finish() -> Detailed:
            inside = (held.counts() > 0).double()
            spread = over_fakes(inside[0], inside[1:] - inside[0], scene.groups)
            pair = {
                "precision": (inside[0], spread),
                "complement": _complement(scene, balls, fake),
            }
            note = scene.of_groups + outlying(inside[0], usual, "real")
            return _smaller(pair, self.k, scene.drawn_fakes, note)

        return Counting(finish, real_balls=[held, usual], fake_balls=[balls])


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class SymmetricRecall(NeighbourMetric):
    """The smaller of recall and coverage with the same ``k``: diversity that no dimension inverts.

    Symmetric precision with the roles swapped: the complement of recall is coverage, the fraction
    of real balls that contain a fake.

    Source: Khayatkhoei and AbdAlmageed, 2023, https://arxiv.org/abs/2306.09618.

    Differs from the authors' program: the edge of a ball counts as inside, as for recall; the
    default of ``k`` is 3, that of ``recall``, not 5.

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
        held, usual = in_fake_balls(scene, self.k, folds)
        balls = filled_balls(scene.near_real, self.k, real, fake)

        def finish() -> Detailed:
            inside, covered = (held.counts() > 0).double(), filled(balls)
            spread = over_reals(inside[0], [inside[1:] - inside[0]], scene.groups)
            pair = {
                "recall": (inside[0], spread),
                "coverage": (covered[0], over_balls(covered, real, scene.groups)),
            }
            note = scene.of_groups + outlying(inside[0], usual, "fake")
            return _smaller(pair, self.k, scene.drawn_reals, note)

        return Counting(finish, real_balls=[balls], fake_balls=[held, usual])


_Share: TypeAlias = tuple[Tensor, VarianceParts]
"""Which samples count, shape ``(n,)``, and the uncertainty of their mean."""


def _complement(scene: Neighbourhoods, balls: BallMinimum, fold: Tensor) -> _Share:
    """Returns which fake balls hold a real sample, and the uncertainty of their share.

    It is coverage with the roles swapped, and so is its variance; what real samples add to it is
    taken from the folds of them.
    """
    full, by_fake, by_real = filled(balls)
    groups = scene.groups
    swapped = None if groups is None else Groups(real=groups.fake, fake=groups.real)
    whole = over_balls((full, by_fake, by_real), fold, swapped).whole
    of_real = over_fakes(full, by_real - full, groups).real
    rest = max(whole.value - float(of_real.var()) / len(of_real), 0.0)
    return full, VarianceParts(of_real, Variance(rest, whole.noise), whole)


def _smaller(pair: Mapping[str, _Share], k: int, n: int, note: str) -> Detailed:
    """Returns the smaller of two fractions, with an interval that holds whichever is the smaller.

    Of two intervals that hold their own number, the smaller of the lower ends and the smaller of
    the upper ones are the ends of one that holds the smaller number.

    Args:
        pair: The two by name.
        k: The neighbour to which a ball reaches, for the method.
        n: How many samples, or groups of them, were drawn independently.
        note: What the method says besides.
    """
    first, second = (share(held, spread, "", n) for held, spread in pair.values())
    a, b = first.estimate, second.estimate
    one, other = pair
    chosen = first if (a.value or 0.0) <= (b.value or 0.0) else second
    made = replace(
        chosen.estimate,
        low=_least(a.low, b.low),
        high=_least(a.high, b.high),
        method=_METHOD.format(k, one, a.value, other, b.value) + note,
    )
    return replace(chosen, estimate=made)


def _least(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else min(a, b)
