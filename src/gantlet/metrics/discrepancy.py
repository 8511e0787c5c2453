"""The kernel two-sample statistic that KID, MMD, CMMD and the energy distance share."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from gantlet.core.estimate import Better, Estimate
from gantlet.metrics.influence import Side, detailed
from gantlet.metrics.intervals import Variance
from gantlet.metrics.paired import Detailed

METHOD = (
    "unbiased, over all pairs; interval from both orders of Hoeffding's decomposition, as if "
    "normal, which is a little wide where the two are equal"
)
_PERMUTATIONS = 99
# Beyond this many products the kernel matrices are taken in float32, their sums in float64.
_EXACT = 2**34
# Rows and columns of a piece of the kernel matrix: on a CPU it should stay in the cache.
_TILE = {"cpu": 768}
_LARGE_TILE = 4096


class Kernel(Protocol):
    """A symmetric function of two vectors."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Maps shapes ``(b, d)`` and ``(m, d)`` to a new tensor ``(b, m)``."""
        ...


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


def unmeasured(reason: str, real: Tensor) -> Detailed:
    """Returns the detail of what could not be measured."""
    return Detailed(
        Estimate.missing(reason, better="lower"), real.new_zeros(len(real)), Variance(0.0)
    )


def precision(x: Tensor, y: Tensor) -> torch.dtype:
    """Returns in which precision the kernel matrices of two sets are to be taken.

    Single where double would take minutes. Centre and scale the features before.
    """
    work = (len(x) + len(y)) ** 2 * x.shape[1]
    return torch.float64 if work <= _EXACT else torch.float32


def discrepancy(
    kernel: Kernel, x: Tensor, y: Tensor, *, rng: torch.Generator, unit: float = 1.0
) -> Discrepancy:
    """Returns ``E k(x, x') + E k(y, y') - 2 E k(x, y)`` over all pairs of different samples.

    The variance is that of Hoeffding's decomposition, both orders: of what single samples
    contribute, freed of the noise of finite means, and of what only pairs contribute. The second
    keeps it right where the two distributions are equal and the first vanishes.

    The same pass over the kernel matrix serves the permutations: with ``g`` the indicator of the
    samples that a permutation calls the first set, all it needs is ``g^T K g`` and ``g^T K 1``.

    Source: Gretton et al., 2012, https://jmlr.org/papers/v13/gretton12a.html, Lemma 6;
    for the variance, after Sutherland and Deka, 2019, https://arxiv.org/abs/1906.02104.

    Args:
        kernel: Of two samples.
        x: Shape ``(n, d)``, ``n`` at least 4.
        y: Shape ``(m, d)``, ``m`` at least 4.
        rng: Draws the permutations.
        unit: What the kernel is to be multiplied with.
    """
    n, m = len(x), len(y)
    labels = _labels(n, n + m, rng).to(x)
    first, second = labels[:n], labels[n:]
    xx, yy = _sums(kernel, x, x, first, first), _sums(kernel, y, y, second, second)
    xy = _sums(kernel, x, y, first, second)
    of_xx, of_yy, of_xy = _within(xx), _within(yy), _across(xy)
    shared = 2 * of_xy.interaction / (n * m)
    real, fake = (
        Side(2 * unit * effect, unit * unit * float(2 * own.interaction / (k * (k - 1)) + shared))
        for effect, own, k in (
            (of_xx.rows - of_xy.rows, of_xx, n),
            (of_yy.rows - of_xy.columns, of_yy, m),
        )
    )
    value = of_xx.mean + of_yy.mean - 2 * of_xy.mean
    chance = _permuted(xx, yy, xy, labels)
    as_large = int((chance >= value - 1e-6 * value.abs()).sum())
    return Discrepancy(
        unit * float(value),
        real,
        fake,
        (1 + as_large) / (1 + _PERMUTATIONS),
        (unit * float(of_xx.mean), unit * float(of_yy.mean)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Sums over a kernel matrix, which is without its diagonal if it is of one set.

    Attributes:
        rows: Of each row, shape ``(n,)``.
        columns: Of each column, shape ``(m,)``.
        squares: Of the squares of all entries.
        called: Of the entries that a permutation calls both of the first set, one for each.
    """

    rows: Tensor
    columns: Tensor
    squares: Tensor
    called: Tensor


def _sums(kernel: Kernel, x: Tensor, y: Tensor, g: Tensor, h: Tensor) -> _Sums:
    """Sums over the kernel of ``x`` and ``y``; if they are one, over half of it."""
    same = x is y
    rows = x.new_zeros(len(x), dtype=torch.float64)
    columns = rows if same else rows.new_zeros(len(y))
    squares, called = rows.new_zeros(()), rows.new_zeros(g.shape[1])
    with_ones = torch.cat([h, h.new_ones(len(h), 1)], dim=1)
    for i, j in _tiles(len(x), len(y), x.device, same=same):
        once = same and i == j
        left = x[i]
        k = kernel(left, left if once else y[j])
        if once:
            k.diagonal().zero_()
        times = 2 if same and not once else 1
        products = k @ with_ones[j]
        rows[i] += products[:, -1]
        if not once:
            columns[j] += k.sum(0)
        squares += times * k.flatten().dot(k.flatten())
        called += times * torch.linalg.vecdot(g[i], products[:, :-1], dim=0)
    return _Sums(rows, columns, squares, called)


def _tiles(n: int, m: int, device: torch.device, *, same: bool) -> Iterator[tuple[slice, slice]]:
    """Yields pieces that cover a matrix, or its upper half."""
    most = _TILE.get(device.type, _LARGE_TILE)
    for i in _even(n, most):
        for j in _even(m, most):
            if not same or i.start <= j.start:
                yield i, j


def _even(n: int, most: int) -> list[slice]:
    """Returns slices that cover ``range(n)``, of about equal length, ``most`` or less."""
    count = -(-n // most)
    ends = [n * k // count for k in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(ends)]


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """A kernel matrix as mean + row effect + column effect + interaction.

    The effects have mean zero; ``interaction`` is the mean square of what they do not explain.
    """

    mean: Tensor
    rows: Tensor
    columns: Tensor
    interaction: Tensor


def _within(sums: _Sums) -> _Parts:
    """Takes apart the kernel of a set with itself, without the diagonal."""
    n = len(sums.rows)
    mean = sums.rows.sum() / (n * (n - 1))
    # Without the diagonal a row's mean has only n - 2 parts in n - 1 of its own effect.
    effect = (sums.rows / (n - 1) - mean) * (n - 1) / (n - 2)
    left = sums.squares - n * (n - 1) * mean**2 - 2 * (n - 2) * (effect**2).sum()
    return _Parts(mean, effect, effect, left.clamp_min(0) / (n * (n - 3)))


def _across(sums: _Sums) -> _Parts:
    """Takes apart the kernel of one set with the other."""
    n, m = len(sums.rows), len(sums.columns)
    mean = sums.rows.sum() / (n * m)
    of_x, of_y = sums.rows / m - mean, sums.columns / n - mean
    left = sums.squares - n * m * mean**2 - m * (of_x**2).sum() - n * (of_y**2).sum()
    return _Parts(mean, of_x, of_y, left.clamp_min(0) / ((n - 1) * (m - 1)))


def _labels(n: int, total: int, rng: torch.Generator) -> Tensor:
    """Returns a column for each permutation, 1 at the samples that it calls the first set."""
    labels = torch.zeros(total, _PERMUTATIONS, device=rng.device)
    for column in labels.T:
        column[torch.randperm(total, generator=rng, device=rng.device)[:n]] = 1
    return labels


def _permuted(xx: _Sums, yy: _Sums, xy: _Sums, labels: Tensor) -> Tensor:
    """Returns the statistic of each permutation."""
    n, m = len(xy.rows), len(xy.columns)
    rows = torch.cat([xx.rows + xy.rows, yy.rows + xy.columns])
    both = xx.called + yy.called + 2 * xy.called
    one = rows @ labels.to(rows)
    neither = rows.sum() - 2 * one + both
    return both / (n * (n - 1)) + neither / (m * (m - 1)) - 2 * (one - both) / (n * m)
