"""Kernel distances: KID, MMD, CMMD, the energy distance."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Groups, Sees
from gantlet.core.spec import Between
from gantlet.metrics.checks import (
    Standard,
    centre_and_scale,
    checked,
    checked_groups,
    too_few,
    too_few_groups,
)
from gantlet.metrics.kernel_sums import (
    GroupedKernel,
    Kernel,
    OfDistance,
    SharedKernel,
    Sums,
    across_groups,
    kernel_sums,
    shared_kernel_sums,
    within_groups,
)
from gantlet.stats.intervals import (
    LEVEL,
    SOME,
    Curvature,
    Drawn,
    Variance,
    drawn_by_size,
    drawn_evenly,
    products_of,
)
from gantlet.stats.jackknife import ClusteredPaired, Detailed, Influence, detailed
from gantlet.stats.moments import products, squared_distances

# ----------------------------------------------------------------------------
# The kernel two-sample statistic that KID, MMD, CMMD and the energy distance share.
# ----------------------------------------------------------------------------

METHOD = (
    "unbiased U-statistic; interval by inverting a test, with both orders of Hoeffding's "
    "decomposition and a skewness correction"
)
_BY_GROUPS = "; {} real and {} fake groups, pairs within a group excluded"

PERMUTATIONS = 99
"""Permutations of the samples that the test of equality draws."""

EXACT_PRODUCTS = 2**34
"""Beyond this many products the kernel matrices are taken in float32, their sums in float64."""

GROUP_SIZE, GROUPED_FROM = 8, 2000
"""Permutations of sets of this many samples and more move groups of so many samples, which takes
a 64th of the products."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Discrepancy:
    """An unbiased squared maximum mean discrepancy.

    Attributes:
        value: The U-statistic; below zero about half the time when the two are equal.
        real: What each sample of the first set adds.
        fake: What each sample of the second set adds.
        p: The probability of so large a value if the two are equal, by permutation.
        within: The mean of the kernel as it was given over two different samples, for the first
            set and for the second.
        bent: How the distribution changes with the true value.
        note: What the method says besides.
    """

    value: float
    real: Influence
    fake: Influence
    p: float
    within: tuple[float, float]
    bent: Curvature
    note: str = ""

    def detail(
        self, *, method: str = METHOD, better: Better = "lower", level: float = LEVEL
    ) -> Detailed:
        """Returns the estimate, with the permutation's p in its method."""
        chance = f"p = {self.p:.2g} under equality, by {PERMUTATIONS} permutations"
        method = f"{method}{self.note}; {chance}"
        made = detailed(self.value, self.real, self.fake, self.bent, method=method, level=level)
        named = made.estimate.named(unit="1", better=better).beside(p=self.p)
        return Detailed(named, made.real, made.rest)


class KernelMetric(ClusteredPaired):
    """A paired metric that is such a statistic."""

    __slots__ = ()

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    @abstractmethod
    def _compare(
        self, x: Tensor, y: Tensor, *, rng: torch.Generator, groups: Groups | None
    ) -> Detailed:
        """Compares checked features, shapes ``(n, d)`` and ``(m, d)``, at least 4 of each.

        ``rng`` draws permutations, and samples where a bandwidth is wanted. At least 4 groups of
        each, numbered from 0 without gaps; None where no samples share one.
        """

    @final
    @override
    def detail(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Detailed:
        x, y = checked(real, fake)
        groups = checked_groups(groups, len(x), len(y))
        if reason := too_few(x, y, 4) or too_few_groups(groups, 4):
            missing = Estimate.missing(reason, better=self.better)
            return Detailed(missing, x.new_zeros(len(x)), Variance(0.0))
        return self._compare(x, y, rng=rng, groups=groups)


class PlainKernelMetric(KernelMetric):
    """A kernel metric of features as they are, which others of its kind share products with."""

    __slots__ = ()

    @abstractmethod
    def statistic(self, x: Tensor, y: Tensor, *, rng: torch.Generator) -> "KernelStatistic":
        """Returns what decides the discrepancy of checked features; about the mean of both sets.

        ``rng`` draws samples where a bandwidth is wanted.
        """

    @final
    @override
    def _compare(
        self, x: Tensor, y: Tensor, *, rng: torch.Generator, groups: Groups | None
    ) -> Detailed:
        asked = self.statistic(x, y, rng=rng)
        found = _discrepancy(asked, x, y, rng=rng, groups=groups)
        return found.detail(method=asked.method)


def precision(x: Tensor, y: Tensor) -> torch.dtype:
    """Returns in which precision the kernel matrices of two sets are to be taken.

    Single where double would take minutes. Centre and scale the features before.
    """
    work = (len(x) + len(y)) ** 2 * x.shape[1]
    return torch.float64 if work <= EXACT_PRODUCTS else torch.float32


def discrepancy(
    kernel: Kernel,
    x: Tensor,
    y: Tensor,
    standard: Standard,
    *,
    rng: torch.Generator,
    unit: float = 1.0,
    groups: Groups | None = None,
) -> Discrepancy:
    """Returns ``E k(x, x') + E k(y, y') - 2 E k(x, y)`` over all pairs of different samples.

    The variance is that of Hoeffding's decomposition, both orders: of what single samples
    contribute, freed of the noise of finite means, and of what only pairs contribute. The second
    keeps it right where the two distributions are equal and the first vanishes.

    The same pass over the kernel matrix serves the permutations: with ``g`` the indicator of the
    samples that a permutation calls the first set, all it needs is ``g^T K g`` and ``g^T K 1``.
    Where both sets are large, groups of 8 samples, drawn at random, change sides together, which
    is a test of the same level. Where samples come in groups, pairs of one group are left out
    and whole groups vary and change sides.

    Source: Gretton et al., 2012, https://jmlr.org/papers/v13/gretton12a.html, Lemma 6;
    for the variance, after Sutherland and Deka, 2019, https://arxiv.org/abs/1906.02104.

    Args:
        kernel: Of two samples.
        x: Shape ``(n, d)``, ``n`` at least 4.
        y: Shape ``(m, d)``, ``m`` at least 4.
        standard: What the kernel is to see of them.
        rng: Draws the permutations.
        unit: What the kernel is to be multiplied with.
        groups: Which samples belong together, from 0 without gaps, at least 4 groups of each.
    """
    if groups is not None:
        return _by_groups(kernel, (x, y), standard, groups, rng=rng, unit=unit)
    dealt = _Dealt.of(len(x), len(y), rng, x.device)
    x, y = (standard.of(z, place) for z, place in zip((x, y), dealt.places, strict=True))
    first, second = (g.to(x) for g in dealt.labels)
    size = dealt.size
    xx = kernel_sums(kernel, (x, x), (first, first), size)
    yy = kernel_sums(kernel, (y, y), (second, second), size)
    xy = kernel_sums(kernel, (x, y), (first, second), size)
    return _concluded(KernelStatistic(kernel, standard, unit), (x, y), dealt, (xx, yy, xy), rng)


@final
@dataclass(frozen=True, slots=True, eq=False)
class KernelStatistic:
    """What decides a discrepancy.

    Attributes:
        kernel: Of two samples.
        standard: What the kernel is to see of them.
        unit: What the kernel is to be multiplied with.
        method: How the number is described.
    """

    kernel: Kernel
    standard: Standard
    unit: float = 1.0
    method: str = METHOD


def _discrepancy(
    asked: KernelStatistic,
    x: Tensor,
    y: Tensor,
    *,
    rng: torch.Generator,
    groups: Groups | None,
) -> Discrepancy:
    return discrepancy(asked.kernel, x, y, asked.standard, rng=rng, unit=asked.unit, groups=groups)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Dealt:
    """The permutations of a test: an order of each set, and which groups change sides.

    Attributes:
        places: The order of each set, shapes ``(n,)`` and ``(m,)``.
        labels: Which groups of ``size`` samples in that order each permutation calls the first
            set, shapes ``(groups, permutations)``.
        size: Samples of a group.
    """

    places: tuple[Tensor, Tensor]
    labels: tuple[Tensor, Tensor]
    size: int

    @classmethod
    def of(cls, n: int, m: int, rng: torch.Generator, device: torch.device) -> "_Dealt":
        """Draws them for sets of ``n`` and ``m`` samples."""
        size = GROUP_SIZE if min(n, m) >= GROUPED_FROM else 1
        # Groups must not depend on the order in which samples came, such as class by class.
        places = sample_orders(n, m, rng, device, shuffled=size > 1)
        return cls(places, permutation_labels(n, m, size, rng), size)

    def of_each(self, side: int) -> Tensor:
        """Returns the labels of each sample in the order of its set, ``(n, permutations)``."""
        place = self.places[side]
        spread = self.labels[side].to(place.device).repeat_interleave(self.size, 0)[: len(place)]
        return spread[place.argsort()]


def _concluded(
    asked: KernelStatistic,
    sets: tuple[Tensor, Tensor],
    dealt: _Dealt,
    sums: tuple[Sums, Sums, Sums],
    rng: torch.Generator,
) -> Discrepancy:
    """Returns the discrepancy that follows from sums over the kernel.

    Args:
        asked: What is wanted.
        sets: The sets as the kernel sees them, in the order of the permutations.
        dealt: The permutations.
        sums: Over the kernel within each set and across, in that order.
        rng: Draws the samples that tell the skewness.
    """
    (xx, yy, xy), unit, places = sums, asked.unit, dealt.places
    n, m = map(len, sets)
    first, second = (g.to(sets[0]) for g in dealt.labels)
    of_xx, of_yy, of_xy = _within(xx), _within(yy), _across(xy)
    shared = 2 * of_xy.interaction / (n * m)
    real, fake = (
        Influence(
            2 * unit * effect[place.argsort()],
            unit * unit * float(2 * own.interaction / (k * (k - 1)) + shared),
        )
        for effect, place, own, k in (
            (of_xx.rows - of_xy.rows, places[0], of_xx, n),
            (of_yy.rows - of_xy.columns, places[1], of_yy, m),
        )
    )
    value = of_xx.mean + of_yy.mean - 2 * of_xy.mean
    size = dealt.size
    labels = torch.cat([g.repeat_interleave(size, 0)[:k] for g, k in ((first, n), (second, m))])
    chance = _permuted(xx, yy, xy, labels)
    as_large = int((chance >= value - 1e-6 * value.abs()).sum())
    return Discrepancy(
        unit * float(value),
        real,
        fake,
        (1 + as_large) / (1 + PERMUTATIONS),
        (unit * float(of_xx.mean), unit * float(of_yy.mean)),
        _bend(asked.kernel, sets, (of_xx, of_yy, of_xy), unit, rng),
    )


def _bend(
    kernel: Kernel,
    sets: tuple[Tensor, Tensor],
    parts: tuple["_Parts", "_Parts", "_Parts"],
    unit: float,
    rng: torch.Generator,
) -> Curvature:
    """Returns the skewness of the statistic's distribution, from some samples of each set."""
    of_xx, of_yy, of_xy = parts
    (x, y), n, m = sets, *map(len, sets)
    some = (_drawn(kernel, x, of_xx, rng), _drawn(kernel, y, of_yy, rng))
    i, j = (drawn.places for drawn in some)

    def left(a: Tensor, b: Tensor, mean: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        k = kernel(products(a, b), kernel.of_each(a), kernel.of_each(b))
        return unit * (k.to(torch.float64) - mean - rows[:, None] - columns)

    blocks = (
        left(x[i], x[i], of_xx.mean, of_xx.rows[i], of_xx.rows[i]),
        left(y[j], y[j], of_yy.mean, of_yy.rows[j], of_yy.rows[j]),
        left(x[i], y[j], of_xy.mean, of_xy.rows[i], of_xy.columns[j]),
    )
    adds = ((of_xx.rows - of_xy.rows)[i], (of_yy.rows - of_xy.columns)[j])
    return products_of((n, m), some, blocks, (2 * unit * adds[0], 2 * unit * adds[1]))


def _drawn(kernel: Kernel, x: Tensor, parts: "_Parts", rng: torch.Generator) -> Drawn:
    """Draws samples by the squared length of what they add, the kernel with themselves."""
    if len(x) <= SOME:
        return drawn_evenly(len(x), rng, x.device)
    own = []
    for part in torch.split(x, SOME):
        each = kernel.of_each(part)
        own.append(kernel(part @ part.T, each, each).diagonal().to(torch.float64))
    return drawn_by_size(torch.cat(own) - parts.mean - 2 * parts.rows, rng)


# ----------------------------------------------------------------------------
# Several kernels of the same two sets: the products of all pairs are taken once.
# ----------------------------------------------------------------------------

WORTH_SHARING = 512
"""From this many features on, products cost more than what each kernel adds in a shared pass.

There the samples are in one order for all kernels, so that those that change sides together do
not follow one another, and each permutation sums over samples, not over groups of them."""


def measured_together(
    metrics: Sequence[PlainKernelMetric], x: Tensor, y: Tensor, rngs: Sequence[torch.Generator]
) -> list[Detailed] | None:
    """Returns what each metric would return alone, but for rounding, from products taken once.

    Memory is that of both sets once more and of blocks of pairs, however many metrics there are.

    Args:
        metrics: What to measure.
        x: Features of real samples, shape ``(n, d)``.
        y: Features of fake samples, shape ``(m, d)``.
        rngs: Each metric has its own generator; none is used where the answer is None.

    Returns:
        None where nothing would be saved: of a single metric, or of few features or samples.

    Raises:
        UserError: If the features cannot be compared.
    """
    x, y = checked(x, y)
    if x.shape[1] < WORTH_SHARING or too_few(x, y, 4) or len(metrics) < 2:
        return None
    asked = [m.statistic(x, y, rng=rng) for m, rng in zip(metrics, rngs, strict=True)]
    found = _discrepancies(asked, (x, y), rngs)
    return [f.detail(method=a.method) for f, a in zip(found, asked, strict=True)]


def _discrepancies(
    asked: Sequence[KernelStatistic], sets: tuple[Tensor, Tensor], rngs: Sequence[torch.Generator]
) -> list[Discrepancy]:
    """Returns the discrepancy of each kernel; all see the features about one centre."""
    n, m = map(len, sets)
    dealt = [_Dealt.of(n, m, rng, sets[0].device) for rng in rngs]
    views = [
        SharedKernel(a.kernel, a.standard, d.places, (d.of_each(0), d.of_each(1)))
        for a, d in zip(asked, dealt, strict=True)
    ]
    sums = shared_kernel_sums(views, sets)
    found: list[Discrepancy] = []
    for one, own, three, rng in zip(asked, dealt, sums, rngs, strict=True):
        x, y = (one.standard.of(z, place) for z, place in zip(sets, own.places, strict=True))
        found.append(_concluded(one, (x, y), own, three, rng))
    return found


def _by_groups(
    kernel: Kernel,
    sets: tuple[Tensor, Tensor],
    standard: Standard,
    groups: Groups,
    *,
    rng: torch.Generator,
    unit: float,
) -> Discrepancy:
    """Returns the same where samples come in groups."""
    whole = [torch.arange(len(z), device=z.device) for z in sets]
    x, y = (standard.of(z, place) for z, place in zip(sets, whole, strict=True))
    of = [
        own if g is None else g for g, own in zip((groups.real, groups.fake), whole, strict=True)
    ]
    sizes = [group.bincount() for group in of]
    a, b = map(len, sizes)
    xx, yy = (within_groups(kernel, z, g, rng) for z, g in zip((x, y), of, strict=True))
    some = (xx.some[0], yy.some[0])
    xy = across_groups(kernel, (x, y), (of[0], of[1]), some)
    adds = (2 * unit * (xx.rows - xy.rows), 2 * unit * (yy.rows - xy.columns))
    value = xx.mean + yy.mean - 2 * xy.mean
    real, fake = (
        Influence(effect, unit * unit * float(own.variance + 2 * xy.variance))
        for effect, own in zip(adds, (xx, yy), strict=True)
    )
    left = (unit * xx.left, unit * yy.left, unit * xy.left)
    chance = _groups_permuted(xx, yy, xy, torch.cat(sizes), rng)
    as_large = int((chance >= value - 1e-6 * value.abs()).sum())
    return Discrepancy(
        unit * float(value),
        real,
        fake,
        (1 + as_large) / (1 + PERMUTATIONS),
        (unit * float(xx.mean), unit * float(yy.mean)),
        products_of((a, b), some, left, (adds[0][some[0].places], adds[1][some[1].places])),
        _BY_GROUPS.format(a, b),
    )


def _groups_permuted(
    xx: GroupedKernel, yy: GroupedKernel, xy: GroupedKernel, size: Tensor, rng: torch.Generator
) -> Tensor:
    """Returns the statistic of each permutation of whole groups."""
    a, b = xy.sums.shape
    first, second = permutation_labels(a, b, 1, rng)
    labels = torch.cat([first, second]).to(xy.sums)
    g, h = labels[:a], labels[a:]
    called = [(g, xx.sums, g), (h, yy.sums, h), (g, xy.sums, h), (g, xy.sums, h)]
    both = sum(
        (torch.linalg.vecdot(p, k @ q, dim=0).double() for p, k, q in called),
        size.new_zeros(()).double(),
    )
    rows = [xx.sums.sum(1) + xy.sums.sum(1), yy.sums.sum(1) + xy.sums.sum(0)]
    row = torch.cat(rows).double()
    one = row @ labels.double()
    neither = row.sum() - 2 * one + both
    of_first = torch.stack([size.double(), size.double() ** 2]) @ labels.double()
    total_, squares = size.double().sum(), size.double().square().sum()
    n, m = of_first[0], total_ - of_first[0]
    pairs = n * n - of_first[1], m * m - (squares - of_first[1])
    return both / pairs[0] + neither / pairs[1] - 2 * (one - both) / (n * m)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """A kernel matrix as mean + row effect + column effect + interaction.

    The effects have mean zero; ``interaction`` is the mean square of what they do not explain.
    """

    mean: Tensor
    rows: Tensor
    columns: Tensor
    interaction: Tensor


def _within(sums: Sums) -> _Parts:
    """Takes apart the kernel of a set with itself, without the diagonal."""
    n = len(sums.rows)
    mean = sums.rows.sum() / (n * (n - 1))
    # Without the diagonal a row's mean has only n - 2 parts in n - 1 of its own effect.
    effect = (sums.rows / (n - 1) - mean) * (n - 1) / (n - 2)
    left = sums.squares - n * (n - 1) * mean**2 - 2 * (n - 2) * (effect**2).sum()
    return _Parts(mean, effect, effect, left.clamp_min(0) / (n * (n - 3)))


def _across(sums: Sums) -> _Parts:
    """Takes apart the kernel of one set with the other."""
    n, m = len(sums.rows), len(sums.columns)
    mean = sums.rows.sum() / (n * m)
    of_x, of_y = sums.rows / m - mean, sums.columns / n - mean
    left = sums.squares - n * m * mean**2 - m * (of_x**2).sum() - n * (of_y**2).sum()
    return _Parts(mean, of_x, of_y, left.clamp_min(0) / ((n - 1) * (m - 1)))


def sample_orders(
    n: int, m: int, rng: torch.Generator, device: torch.device, *, shuffled: bool
) -> tuple[Tensor, Tensor]:
    """Returns an order of each set: drawn at random, or as they are."""
    if not shuffled:
        return torch.arange(n, device=device), torch.arange(m, device=device)
    x, y = (torch.randperm(k, generator=rng, device=rng.device).to(device) for k in (n, m))
    return x, y


def permutation_labels(n: int, m: int, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns a column for each permutation, 1 at the groups that it calls the first set.

    For the groups of both sets; what does not fill a group keeps its side.
    """
    a, b = n // size, m // size
    labels = torch.zeros(a + b, PERMUTATIONS, device=rng.device)
    for column in labels.T:
        column[torch.randperm(a + b, generator=rng, device=rng.device)[:a]] = 1
    first = torch.ones(-(-n // size), PERMUTATIONS, device=rng.device)
    second = torch.zeros(-(-m // size), PERMUTATIONS, device=rng.device)
    first[:a], second[:b] = labels[:a], labels[a:]
    return first, second


def _permuted(xx: Sums, yy: Sums, xy: Sums, labels: Tensor) -> Tensor:
    """Returns the statistic of each permutation."""
    n, m = len(xy.rows), len(xy.columns)
    rows = torch.cat([xx.rows + xy.rows, yy.rows + xy.columns])
    both = xx.called + yy.called + 2 * xy.called
    one = rows @ labels.to(rows)
    neither = rows.sum() - 2 * one + both
    return both / (n * (n - 1)) + neither / (m * (m - 1)) - 2 * (one - both) / (n * m)


# From how many samples of each set the median distance is taken.
_MEDIAN = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Mmd(PlainKernelMetric):
    """The squared maximum mean discrepancy with the kernel ``exp(-|x - y|^2 / (2 s^2))``.

    It is zero only when the two distributions are equal, lies below 2, and is unbiased here, so
    that it may be negative when they are close.

    Source: Gretton et al., 2012, https://jmlr.org/papers/v13/gretton12a.html, Lemma 6.

    Attributes:
        bandwidth: Bandwidth ``s`` in units of the features; default: the median distance over the
            pooled samples (median heuristic). Values with different bandwidths are not comparable;
            the method states it.
    """

    bandwidth: Annotated[float, Between(1e-30, 1e30)] | None = None

    @override
    def statistic(self, x: Tensor, y: Tensor, *, rng: torch.Generator) -> KernelStatistic:
        s = self.bandwidth or median_distance(x, y, rng=rng)
        return replace(_gaussian(x, y, s), method=f"bandwidth {s:.4g}; {METHOD}")


def median_distance(x: Tensor, y: Tensor, *, rng: torch.Generator) -> float:
    """Returns the median distance between two samples of the union, or 1 where that is 0.

    At most 1000 samples of each set, drawn at random, take part.
    """
    drawn = []
    for z in (x, y):
        order = torch.randperm(len(z), generator=rng, device=rng.device)[:_MEDIAN]
        drawn.append(z[order.to(z.device)].to(torch.float64))
    both = torch.cat(drawn)
    # Distances do not see a common move, but lose digits to a large mean.
    both -= both.mean(0)
    distances = squared_distances(both, both)
    i, j = torch.triu_indices(len(both), len(both), 1)
    return float(distances[i, j].median().sqrt()) or 1.0


def gaussian_discrepancy(
    x: Tensor,
    y: Tensor,
    bandwidth: float,
    *,
    rng: torch.Generator,
    unit: float = 1.0,
    groups: Groups | None = None,
) -> Discrepancy:
    """Returns the discrepancy with the Gaussian kernel, times ``unit``.

    Args:
        x: Features, shape ``(n, d)``.
        y: Features, shape ``(m, d)``.
        bandwidth: The standard deviation of the kernel.
        rng: Draws permutations.
        unit: What the kernel is multiplied with.
        groups: Which samples belong together, as `discrepancy` takes them.
    """
    asked = replace(_gaussian(x, y, bandwidth), unit=unit)
    return _discrepancy(asked, x, y, rng=rng, groups=groups)


def _gaussian(x: Tensor, y: Tensor, bandwidth: float) -> KernelStatistic:
    centre, scale = centre_and_scale(x, y)
    return KernelStatistic(_Gaussian(bandwidth / scale), Standard(centre, scale, precision(x, y)))


@final
class _Gaussian(OfDistance):
    """``exp(-|a - b|^2 / (2 s^2))``, less 1.

    Which cancels in the statistic, and would cost digits where all are near.
    """

    def __init__(self, bandwidth: float) -> None:
        """Takes ``s``."""
        self._bandwidth = bandwidth

    @override
    def of_squares(self, squares: Tensor) -> Tensor:
        return squares.mul_(-0.5 / self._bandwidth**2).expm1_()


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Energy(PlainKernelMetric):
    """The energy distance ``2 E|x - y| - E|x - x'| - E|y - y'|``.

    It has no setting, is zero only when the two distributions are equal, and is unbiased here, so
    that it may be negative when they are close. Some libraries report its root.

    Source: Szekely and Rizzo, 2013, https://doi.org/10.1016/j.jspi.2013.03.018.

    Differs from the paper: the U-statistic, which leaves out each sample's distance to itself.
    """

    @override
    def statistic(self, x: Tensor, y: Tensor, *, rng: torch.Generator) -> KernelStatistic:
        return _closeness(x, y)


def energy_distance(
    x: Tensor, y: Tensor, *, rng: torch.Generator, groups: Groups | None = None
) -> Discrepancy:
    """Returns the energy distance of features, shapes ``(n, d)`` and ``(m, d)``."""
    return _discrepancy(_closeness(x, y), x, y, rng=rng, groups=groups)


def _closeness(x: Tensor, y: Tensor) -> KernelStatistic:
    centre, scale = centre_and_scale(x, y)
    kernel = _Closeness(round(math.sqrt(2 * x.shape[1])))
    return KernelStatistic(kernel, Standard(centre, scale, precision(x, y)), scale)


@final
class _Closeness(OfDistance):
    """``c - |a - b|``.

    A constant cancels in the statistic. About as large as the usual distance, it saves the
    digits of sums in float32; a whole number, sums of it are exact.
    """

    def __init__(self, usual: int) -> None:
        """Takes ``c``."""
        self._usual = usual

    @override
    def of_squares(self, squares: Tensor) -> Tensor:
        return squares.sqrt_().neg_().add_(self._usual)


_BANDWIDTH = 10.0
_UNIT = 1000.0
_PAPER = "{:.6g} biased V-statistic of the paper's code; a CMMD on CLIP embeddings only; {}"


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Cmmd(KernelMetric):
    """1000 times the squared MMD of unit vectors, with a Gaussian kernel of bandwidth 10.

    The features are divided by their length first. It may be called CMMD only on the embeddings
    that CLIP ViT-L/14 at 336 pixels makes; on other features it is a kernel distance all the
    same, of what direction they have.

    Source: Jayasumana et al., 2024, https://arxiv.org/abs/2401.09603, section 4.

    Differs from the paper: unbiased, where the published code lets each sample meet itself; the
    method states the number of that code too. On unit vectors a bandwidth of 10 makes the kernel
    nearly linear, so that it mostly sees the means.
    """

    @override
    def _compare(
        self, x: Tensor, y: Tensor, *, rng: torch.Generator, groups: Groups | None
    ) -> Detailed:
        x, y = (normalize(z.to(torch.float64)) for z in (x, y))
        found = gaussian_discrepancy(x, y, _BANDWIDTH, rng=rng, unit=_UNIT, groups=groups)
        if groups is not None:
            return found.detail(method=METHOD)
        published = _with_itself(found)
        made = found.detail(method=_PAPER.format(published, METHOD))
        return replace(made, estimate=made.estimate.beside(published=published))


def _with_itself(found: Discrepancy) -> float:
    """Returns the V-statistic: a sample's kernel with itself is 0 here, the largest there is."""
    n, m = len(found.real.influence), len(found.fake.influence)
    return found.value - found.within[0] / n - found.within[1] / m


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Kid(PlainKernelMetric):
    """The squared maximum mean discrepancy with the kernel ``(x.y / d + 1)^3``.

    It is unbiased, and so may be negative when the two are close. The kernel sees where the
    features lie, not only their differences: moving both sets alike changes it.

    Source: Binkowski et al., 2018, https://arxiv.org/abs/1801.01401.

    Differs from the paper: one U-statistic over all pairs instead of the mean over random
    subsets of 1000, which is the same on average and varies less; the interval is that of the
    samples, where the usual spread over subsets depends on the subset size.
    """

    @override
    def statistic(self, x: Tensor, y: Tensor, *, rng: torch.Generator) -> KernelStatistic:
        return _cubic(x, y)


def kernel_distance(
    x: Tensor, y: Tensor, *, rng: torch.Generator, groups: Groups | None = None
) -> Discrepancy:
    """Returns the squared discrepancy of features, shapes ``(n, d)`` and ``(m, d)``."""
    return _discrepancy(_cubic(x, y), x, y, rng=rng, groups=groups)


def kernel_matrix(x: Tensor, y: Tensor) -> Tensor:
    """Returns the kernel of KID over both sets together, without its diagonal.

    Up to a factor, and to what depends on one sample alone, which cancels in the discrepancy of
    any two parts of the sets.

    Args:
        x: Features, shape ``(n, d)``.
        y: Features, shape ``(m, d)``.

    Returns:
        Shape ``(n + m, n + m)``.
    """
    asked = _cubic(x, y)
    kernel, standard = asked.kernel, asked.standard
    z = torch.cat([standard.of(s, torch.arange(len(s), device=s.device)) for s in (x, y)])
    each = kernel.of_each(z)
    return kernel(products(z, z), each, each).fill_diagonal_(0)


def _cubic(x: Tensor, y: Tensor) -> KernelStatistic:
    """Returns the kernel of KID, what it is to see of the features, and its unit."""
    d, dtype = x.shape[1], precision(x, y)
    centre, scale = centre_and_scale(x, y)
    level = float(centre @ centre) / d + 1
    unit = level + scale**2
    scale = math.sqrt(d * unit)
    kernel = _Cubic((centre / scale).to(dtype), level / unit)
    return KernelStatistic(kernel, Standard(centre, scale, dtype), unit**3)


@final
class _Cubic:
    """``(a.b + c)^3`` of vectors ``a + mean`` and ``b + mean``, but for what cancels.

    What depends on ``a`` alone or on ``b`` alone cancels in the statistic. Left out are ``c^3``
    and ``3 c^2 (a + b).mean``, beside which the rest would lose its digits.
    """

    def __init__(self, mean: Tensor, level: float) -> None:
        """Takes the mean of both sets and ``c``, ``mean.mean`` included."""
        self._mean, self._level = mean, level

    def of_each(self, z: Tensor) -> Tensor:
        return z @ self._mean

    def __call__(self, product: Tensor, of_a: Tensor, of_b: Tensor) -> Tensor:
        change = (product + of_a[:, None]).add_(of_b)
        cube = change.square().add_(change, alpha=3 * self._level)
        return product.mul_(3 * self._level**2).addcmul_(cube, change)
