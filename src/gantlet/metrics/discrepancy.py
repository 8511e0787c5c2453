"""The kernel two-sample statistic that KID, MMD, CMMD and the energy distance share."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Groups, Sees
from gantlet.metrics.blocks import products
from gantlet.metrics.groups import checked_groups, too_few_groups
from gantlet.metrics.influence import Side, detailed
from gantlet.metrics.inputs import Standard, checked, too_few
from gantlet.metrics.intervals import Variance
from gantlet.metrics.kernel_groups import GroupedKernel, across_groups, within_groups
from gantlet.metrics.kernel_sums import Kernel, Sums, kernel_sums
from gantlet.metrics.near_equality import SOME, Bend, products_of
from gantlet.metrics.paired import ClusteredPaired, Detailed

METHOD = (
    "unbiased, over all pairs; interval of all true values under which this one is not too far "
    "out, from both orders of Hoeffding's decomposition and three moments"
)
_BY_GROUPS = "; over pairs of different groups, {} real and {} fake ones"

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
    real: Side
    fake: Side
    p: float
    within: tuple[float, float]
    bent: Bend
    note: str = ""

    def detail(self, *, method: str = METHOD, better: Better = "lower") -> Detailed:
        """Returns the estimate, with the permutation's p in its method."""
        chance = f"p = {self.p:.2g} under equality, by {PERMUTATIONS} permutations"
        method = f"{method}{self.note}; {chance}"
        made = detailed(self.value, self.real, self.fake, self.bent, method=method)
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
    n, m = len(x), len(y)
    size = GROUP_SIZE if min(n, m) >= GROUPED_FROM else 1
    # Groups must not depend on the order in which samples came, such as class by class.
    places = sample_orders(n, m, rng, x.device, shuffled=size > 1)
    x, y = (standard.of(z, place) for z, place in zip((x, y), places, strict=True))
    first, second = (g.to(x) for g in permutation_labels(n, m, size, rng))
    xx = kernel_sums(kernel, (x, x), (first, first), size)
    yy = kernel_sums(kernel, (y, y), (second, second), size)
    xy = kernel_sums(kernel, (x, y), (first, second), size)
    of_xx, of_yy, of_xy = _within(xx), _within(yy), _across(xy)
    shared = 2 * of_xy.interaction / (n * m)
    real, fake = (
        Side(
            2 * unit * effect[place.argsort()],
            unit * unit * float(2 * own.interaction / (k * (k - 1)) + shared),
        )
        for effect, place, own, k in (
            (of_xx.rows - of_xy.rows, places[0], of_xx, n),
            (of_yy.rows - of_xy.columns, places[1], of_yy, m),
        )
    )
    value = of_xx.mean + of_yy.mean - 2 * of_xy.mean
    labels = torch.cat([g.repeat_interleave(size, 0)[:k] for g, k in ((first, n), (second, m))])
    chance = _permuted(xx, yy, xy, labels)
    as_large = int((chance >= value - 1e-6 * value.abs()).sum())
    return Discrepancy(
        unit * float(value),
        real,
        fake,
        (1 + as_large) / (1 + PERMUTATIONS),
        (unit * float(of_xx.mean), unit * float(of_yy.mean)),
        _bend(kernel, (x, y), (of_xx, of_yy, of_xy), unit, rng),
    )


def _bend(
    kernel: Kernel,
    sets: tuple[Tensor, Tensor],
    parts: tuple["_Parts", "_Parts", "_Parts"],
    unit: float,
    rng: torch.Generator,
) -> Bend:
    """Returns how the distribution bends, from some samples of each set."""
    of_xx, of_yy, of_xy = parts
    (i, j), ((x, y), n, m) = (_some(len(z), rng, z.device) for z in sets), (sets, *map(len, sets))

    def left(a: Tensor, b: Tensor, mean: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        k = kernel(products(a, b), kernel.of_each(a), kernel.of_each(b))
        return unit * (k.to(torch.float64) - mean - rows[:, None] - columns)

    blocks = (
        left(x[i], x[i], of_xx.mean, of_xx.rows[i], of_xx.rows[i]),
        left(y[j], y[j], of_yy.mean, of_yy.rows[j], of_yy.rows[j]),
        left(x[i], y[j], of_xy.mean, of_xy.rows[i], of_xy.columns[j]),
    )
    adds = ((of_xx.rows - of_xy.rows)[i], (of_yy.rows - of_xy.columns)[j])
    return products_of((n, m), blocks, (2 * unit * adds[0], 2 * unit * adds[1]))


def _some(n: int, rng: torch.Generator, device: torch.device) -> Tensor:
    return torch.randperm(n, generator=rng, device=rng.device)[:SOME].to(device)


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
    some = (_some(a, rng, x.device), _some(b, rng, x.device))
    xx = within_groups(kernel, x, of[0], some[0])
    yy = within_groups(kernel, y, of[1], some[1])
    xy = across_groups(kernel, (x, y), (of[0], of[1]), some)
    adds = (2 * unit * (xx.rows - xy.rows), 2 * unit * (yy.rows - xy.columns))
    value = xx.mean + yy.mean - 2 * xy.mean
    real, fake = (
        Side(effect, unit * unit * float(own.variance + 2 * xy.variance))
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
        products_of((a, b), left, (adds[0][some[0]], adds[1][some[1]])),
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
