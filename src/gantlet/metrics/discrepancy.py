"""The kernel two-sample statistic that KID, MMD, CMMD and the energy distance share."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Sees
from gantlet.metrics.influence import Side, detailed
from gantlet.metrics.inputs import Standard, checked, too_few
from gantlet.metrics.intervals import Variance
from gantlet.metrics.kernel_sums import Kernel, Sums, kernel_sums
from gantlet.metrics.paired import Detailed, Paired

METHOD = (
    "unbiased, over all pairs; interval from both orders of Hoeffding's decomposition, as if "
    "normal, which is a little wide where the two are equal"
)
_PERMUTATIONS = 99
# Beyond this many products the kernel matrices are taken in float32, their sums in float64.
_EXACT = 2**34
# Permutations of large sets deal groups of so many samples, which takes a 64th of the products.
_GROUP, _GROUPED = 8, 2000


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
    """

    value: float
    real: Side
    fake: Side
    p: float
    within: tuple[float, float]

    def detail(self, *, method: str = METHOD, better: Better = "lower") -> Detailed:
        """Returns the estimate, with the permutation's p in its method."""
        method = f"{method}; p = {self.p:.2g} under equality, by {_PERMUTATIONS} permutations"
        made = detailed(self.value, self.real, self.fake, method=method)
        named = made.estimate.named(unit="1", better=better)
        return Detailed(named, made.real, made.rest)


class KernelMetric(Paired):
    """A paired metric that is such a statistic."""

    __slots__ = ()

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    @abstractmethod
    def _compare(self, x: Tensor, y: Tensor, *, rng: torch.Generator) -> Detailed:
        """Compares checked features, shapes ``(n, d)`` and ``(m, d)``, at least 4 of each.

        ``rng`` draws permutations, and samples where a bandwidth is wanted.
        """

    @final
    @override
    def detail(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Detailed:
        x, y = checked(real, fake)
        if reason := too_few(x, y, 4):
            missing = Estimate.missing(reason, better=self.better)
            return Detailed(missing, x.new_zeros(len(x)), Variance(0.0))
        return self._compare(x, y, rng=rng)


def precision(x: Tensor, y: Tensor) -> torch.dtype:
    """Returns in which precision the kernel matrices of two sets are to be taken.

    Single where double would take minutes. Centre and scale the features before.
    """
    work = (len(x) + len(y)) ** 2 * x.shape[1]
    return torch.float64 if work <= _EXACT else torch.float32


def discrepancy(
    kernel: Kernel,
    x: Tensor,
    y: Tensor,
    standard: Standard,
    *,
    rng: torch.Generator,
    unit: float = 1.0,
) -> Discrepancy:
    """Returns ``E k(x, x') + E k(y, y') - 2 E k(x, y)`` over all pairs of different samples.

    The variance is that of Hoeffding's decomposition, both orders: of what single samples
    contribute, freed of the noise of finite means, and of what only pairs contribute. The second
    keeps it right where the two distributions are equal and the first vanishes.

    The same pass over the kernel matrix serves the permutations: with ``g`` the indicator of the
    samples that a permutation calls the first set, all it needs is ``g^T K g`` and ``g^T K 1``.
    Where both sets are large, groups of 8 samples, drawn at random, change sides together, which
    is a test of the same level.

    Source: Gretton et al., 2012, https://jmlr.org/papers/v13/gretton12a.html, Lemma 6;
    for the variance, after Sutherland and Deka, 2019, https://arxiv.org/abs/1906.02104.

    Args:
        kernel: Of two samples.
        x: Shape ``(n, d)``, ``n`` at least 4.
        y: Shape ``(m, d)``, ``m`` at least 4.
        standard: What the kernel is to see of them.
        rng: Draws the permutations.
        unit: What the kernel is to be multiplied with.
    """
    n, m = len(x), len(y)
    size = _GROUP if min(n, m) >= _GROUPED else 1
    # Groups must not depend on the order in which samples came, such as class by class.
    places = _orders(n, m, rng, x.device, shuffled=size > 1)
    x, y = (standard.of(z, place) for z, place in zip((x, y), places, strict=True))
    first, second = (g.to(x) for g in _labels(n, m, size, rng))
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
        (1 + as_large) / (1 + _PERMUTATIONS),
        (unit * float(of_xx.mean), unit * float(of_yy.mean)),
    )


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


def _orders(
    n: int, m: int, rng: torch.Generator, device: torch.device, *, shuffled: bool
) -> tuple[Tensor, Tensor]:
    """Returns an order of each set: drawn at random, or as they are."""
    if not shuffled:
        return torch.arange(n, device=device), torch.arange(m, device=device)
    x, y = (torch.randperm(k, generator=rng, device=rng.device).to(device) for k in (n, m))
    return x, y


def _labels(n: int, m: int, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns a column for each permutation, 1 at the groups that it calls the first set.

    For the groups of both sets; what does not fill a group keeps its side.
    """
    a, b = n // size, m // size
    labels = torch.zeros(a + b, _PERMUTATIONS, device=rng.device)
    for column in labels.T:
        column[torch.randperm(a + b, generator=rng, device=rng.device)[:a]] = 1
    first = torch.ones(-(-n // size), _PERMUTATIONS, device=rng.device)
    second = torch.zeros(-(-m // size), _PERMUTATIONS, device=rng.device)
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
