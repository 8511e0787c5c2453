"""Nearest-neighbour metrics: precision, recall, density, coverage, realism and others."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar, TypeAlias, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Groups, Sees
from gantlet.core.spec import Between
from gantlet.metrics.checks import (
    IGNORED,
    checked,
    checked_groups,
    independent_count,
    too_few,
    too_few_groups,
    without_interval,
)
from gantlet.metrics.neighbour_search import (
    COLUMNS,
    ROWS,
    Accumulator,
    BallCounts,
    BallMinimum,
    BallSide,
    Folds,
    Nearest,
    Points,
    TrimmedBallCounts,
    centre,
    centres_without,
    edge,
    enough,
    filled,
    filled_balls,
    for_each_pair,
    from_centres,
    knn_within,
    points,
    reserve,
    rows_of,
    smallest_sample,
    spans,
    tile,
    working_dtype,
)
from gantlet.metrics.neighbour_sharing import Searches
from gantlet.stats.intervals import Variance, around, fraction
from gantlet.stats.jackknife import (
    ClusteredPaired,
    Detailed,
    VarianceParts,
    over_balls,
    over_fakes,
    over_reals,
)

# ----------------------------------------------------------------------------
# What the metrics of nearest neighbours share: one search, one pass over all pairs.
# ----------------------------------------------------------------------------

# Fewer groups of a set say too little of how groups vary.
_GROUPS = 4
# From so many on they say enough of it: in simulations, with 100 and more.
_SURE = 50
_FEW_GROUPS = (
    "; caution: few groups, empirical coverage 80-96 % with 20 groups per set in simulations"
)

KEPT_NEIGHBOURS = 2**23
"""So many neighbours of all samples of a set may be kept: 128 MB with their distances."""

SPARE_NEIGHBOURS = 128
"""The first search keeps so many more for one large group among small ones."""

TOO_LARGE = "no interval: groups too large: leave-one-group-out must leave at least {} neighbours"
"""Why balls have no interval where a group is nearly all that is near."""


@dataclass(frozen=True, slots=True)
@final
class Neighbourhoods:
    """Both sets and the nearest neighbours of their samples.

    Attributes:
        real: The real samples.
        fake: The fake samples.
        near_real: The nearest real samples of each real one; empty where none were asked for.
        near_fake: The nearest fake samples of each fake one; likewise.
        groups: Which samples belong together, numbered without gaps, if any do.
    """

    real: Points
    fake: Points
    near_real: Nearest
    near_fake: Nearest
    groups: Groups | None = None

    def of(self, folds: Folds) -> tuple[Tensor, Tensor]:
        """The folds of the real and of the fake samples."""
        return folds.of(self.real, self.fake, self.groups)

    @property
    def drawn_reals(self) -> int:
        """How many real samples were drawn independently: groups, where there are some."""
        return independent_count((self.groups or Groups()).real, len(self.real))

    @property
    def drawn_fakes(self) -> int:
        """How many fake samples were drawn independently."""
        return independent_count((self.groups or Groups()).fake, len(self.fake))

    @property
    def of_groups(self) -> str:
        """What a method says of the groups; nothing where there are none."""
        if self.groups is None:
            return ""
        few = _FEW_GROUPS * (min(self.drawn_reals, self.drawn_fakes) < _SURE)
        return (
            f"; {self.drawn_reals} real and {self.drawn_fakes} fake groups, "
            f"leave-one-group-out{few}"
        )


@final
@dataclass(frozen=True, slots=True)
class Needs:
    """The neighbours and samples that a metric needs.

    Attributes:
        k_real: Real neighbours of each real sample.
        k_fake: Fake neighbours of each fake sample.
        least: The smallest size of each set.
    """

    k_real: int = 0
    k_fake: int = 0
    least: int = 2


@final
@dataclass(frozen=True, slots=True)
class Counting:
    """What one metric does in the pass over all pairs.

    Attributes:
        finish: Computes the number once all pairs have been seen.
        real_balls: Watchers of the neighbourhoods of real samples.
        fake_balls: Watchers of the neighbourhoods of fake samples.
    """

    finish: Callable[[], Detailed | Estimate]
    real_balls: Sequence[Accumulator] = ()
    fake_balls: Sequence[Accumulator] = ()


class CountingMetric(ABC):
    """A metric of nearest neighbours, measured in a pass over all pairs that others share.

    Attributes:
        by_groups: Whether its interval accounts for groups of samples.
    """

    __slots__ = ()

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True
    by_groups: ClassVar[bool] = True

    @abstractmethod
    def needs(self) -> Needs:
        """The neighbours and samples needed."""

    @abstractmethod
    def begin(self, scene: Neighbourhoods, folds: Folds) -> Counting:
        """Starts counting; ``folds`` are what the jackknife leaves out."""


class NeighbourMetric(CountingMetric, ClusteredPaired):
    """A paired metric that is measured in that pass."""

    __slots__ = ()

    @final
    @override
    def detail(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Detailed:
        found = measure_together([self], real, fake, [rng], groups=groups)[0]
        if isinstance(found, Detailed):
            return found
        return Detailed(found, torch.zeros(0, dtype=torch.float64), Variance(0.0))


def measure_together(
    metrics: Sequence[CountingMetric],
    real: Tensor,
    fake: Tensor,
    rngs: Sequence[torch.Generator],
    *,
    groups: Groups | None = None,
    searches: Searches | None = None,
    across: bool = False,
) -> list[Detailed | Estimate]:
    """Measures several metrics in one pass, shapes ``(n, d)`` and ``(m, d)``.

    An estimate alone where there are too few samples, or where nothing more is known. Groups
    change no value, only intervals; there is none where a metric does not account for them, where
    a set has fewer than 4, or where they are so large that too few neighbours are left without
    one.

    Args:
        metrics: What to measure.
        real: Features of real samples.
        fake: Features of fake samples.
        rngs: Each metric has its own generator.
        groups: Which samples belong together.
        searches: Where neighbours within each set are looked up, and kept.
        across: Whether to keep the real sample nearest to each fake one there too.

    Raises:
        UserError: If the features cannot be compared.
    """
    x, y = checked(real, fake)
    reasons = [too_few(x, y, m.needs().least) for m in metrics]
    able = [
        (m, Folds(rng))
        for m, rng, reason in zip(metrics, rngs, reasons, strict=True)
        if reason is None
    ]
    known = checked_groups(groups, len(x), len(y))
    found = iter(_measured(x, y, able, known, searches, across=across))
    return [
        _named(next(found) if reason is None else Estimate.missing(reason), m)
        for m, reason in zip(metrics, reasons, strict=True)
    ]


_Jobs: TypeAlias = Sequence[tuple[CountingMetric, Folds]]


def _measured(
    x: Tensor,
    y: Tensor,
    jobs: _Jobs,
    groups: Groups | None,
    searches: Searches | None,
    *,
    across: bool,
) -> list[Detailed | Estimate]:
    if not jobs:
        return []
    few = too_few_groups(groups, _GROUPS)
    scene = _scene(x, y, jobs, None if few else groups, searches)
    counting = [metric.begin(scene, folds) for metric, folds in jobs]
    sides = (
        BallSide(scene.real, scene.near_real, [w for c in counting for w in c.real_balls]),
        BallSide(scene.fake, scene.near_fake, [w for c in counting for w in c.fake_balls]),
    )
    nearest = for_each_pair(*sides, nearest=across and searches is not None)
    if searches is not None and nearest is not None:
        searches.keep_across(scene.fake, scene.real, nearest)
    few = few and f"no interval: {few}"
    return [
        _without(c.finish(), few or (_unheeded(*job, scene) if groups else None))
        for c, job in zip(counting, jobs, strict=True)
    ]


def _unheeded(metric: CountingMetric, folds: Folds, scene: Neighbourhoods) -> str | None:
    """Returns why a metric has no interval for samples in groups, or None if it has one."""
    if not metric.by_groups:
        return IGNORED
    needs = metric.needs()
    if _has_enough(metric, folds, scene):
        return None
    return TOO_LARGE.format(max(needs.k_real, needs.k_fake))


def _has_enough(metric: CountingMetric, folds: Folds, scene: Neighbourhoods) -> bool:
    """Returns whether enough neighbours were kept for whole groups to be left out."""
    if not metric.by_groups:
        return True
    needs, (real, fake) = metric.needs(), scene.of(folds)
    return (needs.k_real == 0 or enough(scene.near_real, needs.k_real, real)) and (
        needs.k_fake == 0 or enough(scene.near_fake, needs.k_fake, fake)
    )


def _without(found: Detailed | Estimate, reason: str | None) -> Detailed | Estimate:
    if reason is None:
        return found
    if isinstance(found, Estimate):
        return without_interval(found, reason)
    return replace(found, estimate=without_interval(found.estimate, reason))


def _named(found: Detailed | Estimate, metric: CountingMetric) -> Detailed | Estimate:
    if isinstance(found, Estimate):
        return found.named(unit=metric.unit, better=metric.better)
    return replace(found, estimate=found.estimate.named(unit=metric.unit, better=metric.better))


def _scene(
    x: Tensor, y: Tensor, jobs: _Jobs, groups: Groups | None, searches: Searches | None
) -> Neighbourhoods:
    a, b = points(x, y)
    of, needs = groups or Groups(), [metric.needs() for metric, _ in jobs]
    k_real, k_fake = max(n.k_real for n in needs), max(n.k_fake for n in needs)
    near = (
        _near(a, k_real, _first(of.real, k_real), searches),
        _near(b, k_fake, _first(of.fake, k_fake), searches),
    )
    scene = Neighbourhoods(a, b, *near, groups)
    while groups is not None and not all(_has_enough(*job, scene) for job in jobs):
        kept = [z.index.shape[1] for z in (scene.near_real, scene.near_fake)]
        near = (
            _near(a, k_real, 2 * kept[0], searches),
            _near(b, k_fake, 2 * kept[1], searches),
        )
        if [z.index.shape[1] for z in near] == kept:
            break
        scene = Neighbourhoods(a, b, *near, groups)
    return scene


def _first(group: Tensor | None, k: int) -> int:
    """Returns the number of neighbours kept at first: mostly enough to leave out whole groups."""
    if group is None:
        return reserve(k)
    sizes = group.bincount().to(torch.float64)
    usual = round(float(sizes.square().sum() / sizes.sum()))
    return reserve(k, usual) + min(int(sizes.max()), SPARE_NEIGHBOURS)


def _near(x: Points, k: int, kept: int, searches: Searches | None) -> Nearest:
    if k > 0:
        kept = min(kept, max(reserve(k), KEPT_NEIGHBOURS // len(x)))
        return searches.within(x, k, kept) if searches else knn_within(x, k, kept=kept)
    nobody = torch.empty(len(x), 0, device=x.device)
    return Nearest(nobody.to(torch.float64), nobody.to(torch.int64))


@final
class Curve:
    """The share of numbers that are at most ``t``, as a function of ``t`` in [0, 1].

    Args:
        u: The numbers, shape ``(n,)``; those above 1 are never reached.
    """

    def __init__(self, u: Tensor) -> None:
        inner = u.sort().values.clamp(0, 1)
        self.places = torch.cat([u.new_zeros(1), inner, u.new_ones(1)])
        self.heights = torch.arange(len(u) + 1, device=u.device, dtype=u.dtype) / len(u)

    def agreement(self) -> float:
        """Returns 1 less twice the area between the curve and the diagonal, exactly.

        1 where the numbers are uniform, 0 where all are 0 or never reached, 0.5 where all are
        in the middle.
        """
        above, below = self.places[1:] - self.heights, self.places[:-1] - self.heights
        return 1 - float((above * above.abs() - below * below.abs()).sum())

    def influence(self, u: Tensor) -> Tensor:
        """Returns the first-order influence of single numbers on the agreement, shape as ``u``.

        With ``s(t)`` the sign of the curve less the diagonal, ``-2 int_u^1 s(t) dt``: more mass at
        ``u`` lifts the curve from there on, which is good only where it lies below.
        """
        signs = (self.places[:-1] - self.heights).abs() - (self.places[1:] - self.heights).abs()
        tail = torch.cat([signs.flip(0).cumsum(0).flip(0), signs.new_zeros(1)])
        inside = u.clamp(0, 1).contiguous()
        piece = torch.searchsorted(self.places, inside, right=True).sub_(1)
        piece = piece.clamp_(0, len(signs) - 1)
        c = self.heights[piece]
        rest = (inside - c).abs() - (self.places[piece + 1] - c).abs()
        return -2 * (tail[piece + 1] + rest)


# ----------------------------------------------------------------------------
# Alpha-precision and beta-recall: are fakes typical, are typical reals covered?
# ----------------------------------------------------------------------------

_ALPHA = (
    "1 - 2 int |P(alpha) - alpha|; for these sample sizes; first-order interval over fakes "
    "and, by block jackknife, over shared reals; approximate near 1, where sampling noise "
    "adds to the distance; empirical coverage 88-100 % in simulations"
)
_BETA = (
    "1 - 2 int |R(beta) - beta|; k = {}; for these sample sizes; first-order interval over "
    "reals and, by block jackknife, over shared balls and fakes; empirical coverage 90-100 % "
    "in simulations"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class AlphaPrecision(NeighbourMetric):
    """Alpha-precision: whether fake samples are as typical as real ones (1 if so).

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
    def needs(self) -> Needs:
        return Needs(least=smallest_sample(1))

    @override
    def begin(self, scene: Neighbourhoods, folds: Folds) -> Counting:
        return Counting(partial(self._agreement, scene, folds))

    def _agreement(self, scene: Neighbourhoods, folds: Folds) -> Detailed:
        x, y = scene.real, scene.fake
        fold = scene.of(folds)[0]
        centres = torch.stack([centre(x), *centres_without(x, fold)])
        from_x, from_y = from_centres(x, centres), from_centres(y, centres)
        u = ranks(from_y[0], from_x[0])
        changed = [ranks(from_y[1 + f], from_x[1 + f, fold != f]) for f in range(len(centres) - 1)]
        curve = Curve(u)
        terms = curve.influence(u)
        by_real = torch.stack([curve.influence(v) for v in changed]) - terms
        spread = over_fakes(terms, by_real, scene.groups)
        return _agreement(curve, spread, scene.drawn_fakes, _ALPHA + scene.of_groups)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class BetaRecall(NeighbourMetric):
    """Beta-recall: whether real samples are covered by equally typical fakes (1 if so).

    A real sample is covered at ``beta`` if its ball, which reaches to its ``k``-th nearest real
    neighbour, holds a fake of the ``beta`` most typical: those nearest to the mean of the fakes.
    With ``R(beta)`` the share that is, this is ``1 - 2 int |R(beta) - beta|``. Where the two are
    equal it is below 1, as a ball holds several fakes: see the noise floor.

    Source: Alaa et al., 2022, https://arxiv.org/abs/2102.08921, section 4 and appendix.

    Differs from the paper: features are taken as they are, with no learned map; the integral is
    exact. Differs from the authors' program: how typical a fake is, is judged among all fakes, as
    the paper has it, not among those that are nearest to a real sample.

    Attributes:
        k: Number of nearest neighbours, which sets the radius of a ball.
    """

    k: Annotated[int, Between(1, 1024)] = 5

    @override
    def needs(self) -> Needs:
        return Needs(k_real=self.k, least=smallest_sample(self.k))

    @override
    def begin(self, scene: Neighbourhoods, folds: Folds) -> Counting:
        real, fake = scene.of(folds)
        depth = from_centres(scene.fake, centre(scene.fake)[None])[0]
        nearest = BallMinimum(scene.near_real, self.k, real, depth, fake)

        def finish() -> Detailed:
            u, by_real, by_fake = (ranks(z, depth) for z in nearest.leaving_out())
            curve = Curve(u)
            held = (curve.influence(u), curve.influence(by_real), curve.influence(by_fake))
            spread = over_balls(held, real, scene.groups)
            method = _BETA.format(self.k) + scene.of_groups
            return _agreement(curve, spread, scene.drawn_reals, method)

        return Counting(finish, real_balls=[nearest])


def ranks(distance: Tensor, among: Tensor) -> Tensor:
    """Returns the share of ``among`` that are below ``distance``, shape as ``distance``.

    The smallest ball that holds at least a share ``t`` of them holds the distance from ``t`` just
    above this rank on; never where it is 1. Where several of them are at one distance, no ball
    separates them: distances that are equal to it are spread evenly over their share, so that
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


def _agreement(curve: Curve, spread: VarianceParts, n: int, method: str) -> Detailed:
    made = around(curve.agreement(), spread.whole, n=n, method=method)
    high = None if made.high is None else min(made.high, 1.0)
    return Detailed(replace(made, high=high, is_proportion=True), spread.real, spread.rest)


# ----------------------------------------------------------------------------
# Precision, recall, density and coverage: four counts of who lies in whose neighbourhood.
# ----------------------------------------------------------------------------

_METHOD = (
    "k = {}; for these sample sizes; interval from binomial variance and, by block jackknife, "
    "the dependence through shared balls; empirical coverage 91-100 % in simulations"
)

OUTLYING = "caution: large balls of outlying"
"""How the warning begins that a few large balls decide a number."""

# What the largest hundredth of the balls may hold alone without a warning: simulations without
# outliers stay below.
_ALONE = 0.1


def in_real_balls(
    scene: Neighbourhoods, k: int, folds: Folds
) -> tuple[BallCounts, TrimmedBallCounts]:
    """Watchers that count how many real balls hold each fake sample."""
    size = len(scene.fake)
    held = BallCounts(scene.near_real, k, scene.of(folds)[0], size)
    return held, TrimmedBallCounts(scene.near_real, k, size)


def in_fake_balls(
    scene: Neighbourhoods, k: int, folds: Folds
) -> tuple[BallCounts, TrimmedBallCounts]:
    """Watchers that count how many fake balls hold each real sample."""
    size = len(scene.real)
    held = BallCounts(scene.near_fake, k, scene.of(folds)[1], size)
    return held, TrimmedBallCounts(scene.near_fake, k, size)


def outlying(held: Tensor, usual: TrimmedBallCounts, kind: str) -> str:
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
        f"; {OUTLYING} {kind} samples (the {usual.large} largest) alone cover "
        f"{whole - rest:.3f} of the samples: without them {rest:.3f} are covered"
    )


def crowding(density: float, usual: float) -> str:
    """Returns a warning where the largest balls make up much of the density, or nothing."""
    if density - usual < _ALONE * density:
        return ""
    return (
        f"; {OUTLYING} real samples (the largest 1 %) add {density - usual:.3f}: without them "
        f"{usual:.3f}"
    )


def share(held: Tensor, spread: VarianceParts, method: str, n: int) -> Detailed:
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
    """The fraction of fake samples inside the real manifold: sample quality.

    A fake sample is inside if it lies in the ball of a real one, which reaches to the real one's
    ``k``-th nearest real neighbour; on the edge counts as inside. The value depends on the sample
    sizes: compare equal sizes only.

    Source: Kynkaanniemi et al., 2019, https://arxiv.org/abs/1904.06991, equations 1 and 2.

    Attributes:
        k: Number of nearest neighbours, which sets the radius of a ball.
    """

    k: Annotated[int, Between(1, 1024)] = 3

    @override
    def needs(self) -> Needs:
        return Needs(k_real=self.k, least=smallest_sample(self.k))

    @override
    def begin(self, scene: Neighbourhoods, folds: Folds) -> Counting:
        held, usual = in_real_balls(scene, self.k, folds)

        def finish() -> Detailed:
            inside = (held.counts() > 0).double()
            method = _METHOD.format(self.k) + scene.of_groups + outlying(inside[0], usual, "real")
            spread = over_fakes(inside[0], inside[1:] - inside[0], scene.groups)
            return share(inside[0], spread, method, scene.drawn_fakes)

        return Counting(finish, real_balls=[held, usual])


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Recall(NeighbourMetric):
    """The fraction of real samples inside the fake manifold: diversity.

    Precision with the roles swapped.

    Source: Kynkaanniemi et al., 2019, https://arxiv.org/abs/1904.06991, equations 1 and 2.

    Attributes:
        k: Number of nearest neighbours, which sets the radius of a ball.
    """

    k: Annotated[int, Between(1, 1024)] = 3

    @override
    def needs(self) -> Needs:
        return Needs(k_fake=self.k, least=smallest_sample(self.k))

    @override
    def begin(self, scene: Neighbourhoods, folds: Folds) -> Counting:
        held, usual = in_fake_balls(scene, self.k, folds)

        def finish() -> Detailed:
            inside = (held.counts() > 0).double()
            method = _METHOD.format(self.k) + scene.of_groups + outlying(inside[0], usual, "fake")
            spread = over_reals(inside[0], [inside[1:] - inside[0]], scene.groups)
            return share(inside[0], spread, method, scene.drawn_reals)

        return Counting(finish, fake_balls=[held, usual])


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Density(NeighbourMetric):
    """The mean number of real balls around a fake, over ``k``: quality, robust to outliers.

    1 on average where the two are equal; above 1 where fakes crowd the densest places.

    Source: Naeem et al., 2020, https://arxiv.org/abs/2002.09797.

    Differs from the paper: the edge of a ball counts as inside, as for precision, so that sets
    of equal samples score as what they are.

    Attributes:
        k: Number of nearest neighbours, which sets the radius of a ball.
    """

    k: Annotated[int, Between(1, 1024)] = 5

    @override
    def needs(self) -> Needs:
        return Needs(k_real=self.k, least=smallest_sample(self.k))

    @override
    def begin(self, scene: Neighbourhoods, folds: Folds) -> Counting:
        held, usual = in_real_balls(scene, self.k, folds)

        def finish() -> Detailed:
            counts = held.counts().double() / self.k
            spread = over_fakes(counts[0], counts[1:] - counts[0], scene.groups)
            value, without = float(counts[0].mean()), float(usual.counts.double().mean()) / self.k
            method = _METHOD.format(self.k) + scene.of_groups + crowding(value, without)
            made = around(value, spread.whole, n=scene.drawn_fakes, method=method)
            return Detailed(made, spread.real, spread.rest)

        return Counting(finish, real_balls=[held, usual])


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Coverage(NeighbourMetric):
    """The fraction of real balls that contain a fake sample: diversity.

    Where the two are equal it is ``1 - prod_{i<k} (n - 1 - i) / (n + m - 1 - i)`` on average,
    about ``1 - 2^-k`` for sets of equal size.

    Source: Naeem et al., 2020, https://arxiv.org/abs/2002.09797.

    Differs from the paper: the edge of a ball counts as inside, as for precision.

    Attributes:
        k: Number of nearest neighbours, which sets the radius of a ball.
    """

    k: Annotated[int, Between(1, 1024)] = 5

    @override
    def needs(self) -> Needs:
        return Needs(k_real=self.k, least=smallest_sample(self.k))

    @override
    def begin(self, scene: Neighbourhoods, folds: Folds) -> Counting:
        real, fake = scene.of(folds)
        balls = filled_balls(scene.near_real, self.k, real, fake)

        def finish() -> Detailed:
            covered = filled(balls)
            spread = over_balls(covered, real, scene.groups)
            method = _METHOD.format(self.k) + scene.of_groups
            return share(covered[0], spread, method, scene.drawn_reals)

        return Counting(finish, real_balls=[balls])


_REALISM_METHOD = (
    "fraction of fakes with realism >= 1, k = {}, balls up to the median radius; for these "
    "sample sizes; interval from binomial variance and, by block jackknife, the dependence "
    "through shared balls, conditional on the median radius; empirical coverage 94-100 % in "
    "simulations"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Realism(NeighbourMetric):
    """The fraction of fake samples with a realism score of at least 1.

    The realism of a fake sample is ``max_i r_i / |y - x_i|``, where the ball of the real sample
    ``x_i`` reaches to its ``k``-th nearest real neighbour at ``r_i``. Only the smaller half of the
    balls counts, so that outliers do not make everything real. It is at least 1 where the sample
    lies in such a ball. ``realism`` returns it for each sample.

    Source: Kynkaanniemi et al., 2019, https://arxiv.org/abs/1904.06991, equation 3.

    Differs from the paper: they rate single samples; the share says it of all of them.

    Attributes:
        k: Number of nearest neighbours, which sets the radius of a ball.
    """

    k: Annotated[int, Between(1, 1024)] = 3

    @override
    def needs(self) -> Needs:
        return Needs(k_real=self.k, least=smallest_sample(self.k))

    @override
    def begin(self, scene: Neighbourhoods, folds: Folds) -> Counting:
        kept = smaller_half(scene.near_real.distance[:, self.k - 1])
        held = BallCounts(scene.near_real, self.k, scene.of(folds)[0], len(scene.fake), kept)

        def finish() -> Detailed:
            real = (held.counts() > 0).double()
            spread = over_fakes(real[0], real[1:] - real[0], scene.groups)
            method = _REALISM_METHOD.format(self.k) + scene.of_groups
            return share(real[0], spread, method, scene.drawn_fakes)

        return Counting(finish, real_balls=[held])


def realism(real: Tensor, fake: Tensor, *, k: int = 3) -> Tensor:
    """Returns the realism of each fake sample, shape ``(m,)``, in float64.

    Infinite for a copy of a real sample.

    Args:
        real: Features, shape ``(n, d)``, at least ``k + 1`` of them.
        fake: Features, shape ``(m, d)``.
        k: Number of nearest neighbours, which sets the radius of a ball.

    Raises:
        UserError: If the features cannot be compared or are too few.
    """
    x, y = checked(real, fake)
    if len(x) <= k:
        raise UserError(f"realism needs at least {k + 1} real samples for k={k}. Got {len(x)}.")
    if not len(y):
        return torch.zeros(0, dtype=torch.float64, device=y.device)
    a, b = points(x, y)
    radii = edge(knn_within(a, k).distance[:, k - 1], a)
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
