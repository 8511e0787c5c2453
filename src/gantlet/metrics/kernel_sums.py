"""Sums over a kernel of all pairs of two sets, by one kernel or by several at once."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from gantlet.metrics.checks import Standard
from gantlet.stats.intervals import Drawn, drawn_by_size
from gantlet.stats.moments import blocks, products

# ----------------------------------------------------------------------------
# Sums over the kernel of all pairs of two sets, in one pass and in bounded memory.
# ----------------------------------------------------------------------------

TILE, STRIP = {"cpu": 1280}, {"cpu": 128}
"""Rows and columns of a piece of the kernel matrix on a kind of device: large, as products of
large matrices are the fastest. What is done to each number comes strip by strip, which on a CPU
stays in the cache."""

LARGE_TILE = 4096
"""The same on other devices, and so many rows are looked at at a time."""


class Kernel(Protocol):
    """A symmetric function of two vectors, by their product and a number of each."""

    def of_each(self, z: Tensor) -> Tensor:
        """Returns the number of each vector, shape ``(b, d)`` to ``(b,)``."""
        ...

    def __call__(self, product: Tensor, of_a: Tensor, of_b: Tensor) -> Tensor:
        """Maps products ``(b, m)`` and numbers ``(b,)`` and ``(m,)`` to ``(b, m)``.

        It may write over the products.
        """
        ...


class OfDistance(ABC):
    """A kernel that sees the distance of two vectors alone."""

    @abstractmethod
    def of_squares(self, squares: Tensor) -> Tensor:
        """Maps squared distances to the kernel; it may write over them."""

    @final
    def of_each(self, z: Tensor) -> Tensor:
        """Returns squared lengths."""
        return z.square().sum(1)

    @final
    def __call__(self, product: Tensor, of_a: Tensor, of_b: Tensor) -> Tensor:
        """Returns the kernel of what is this far apart; never below zero by rounding."""
        squares = product.mul_(-2).add_(of_a[:, None]).add_(of_b).clamp_min_(0)
        return self.of_squares(squares)


@dataclass(frozen=True, slots=True, eq=False)
@final
class Sums:
    """Sums over a kernel matrix, which is without its diagonal if it is of one set.

    Attributes:
        rows: Of each row, shape ``(n,)``, float64 as all of them.
        columns: Of each column, shape ``(m,)``.
        squares: Of the squares of all entries.
        called: Of the entries that a permutation calls both of the first set, one for each.
    """

    rows: Tensor
    columns: Tensor
    squares: Tensor
    called: Tensor


def kernel_sums(
    kernel: Kernel, sets: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor], size: int
) -> Sums:
    """Sums over the kernel of two sets; if they are one, over half of it.

    Args:
        kernel: Of two samples.
        sets: Shapes ``(n, d)`` and ``(m, d)``, of one type.
        labels: Which permutations call which groups of samples the first set, of the same type,
            shapes ``(groups, permutations)``.
        size: Samples of a group; the last may be short.
    """
    (x, y), (g, h) = sets, labels
    same = x is y
    of_x = kernel.of_each(x)
    of_y = of_x if same else kernel.of_each(y)
    rows = x.new_zeros(len(x), dtype=torch.float64)
    columns = rows if same else rows.new_zeros(len(y))
    squares, called = rows.new_zeros(()), rows.new_zeros(g.shape[1])
    for i, j in _tiles(len(x), len(y), x.device, size, same=same):
        once = same and i == j
        times = 2 if same and not once else 1
        tile, tall = products(x[i], y[j]), []
        for strip in _strips(i, x.device, size):
            first = strip.start - i.start
            k = kernel(tile[first : strip.stop - i.start], of_x[strip], of_y[j])
            if once:
                k.diagonal(first).zero_()
            rows[strip] += k.sum(1)
            squares += times * k.flatten().dot(k.flatten())
            tall.append(_grouped(k, size))
        groups = torch.cat(tall)
        if not once:
            columns[j] += groups.sum(0, dtype=torch.float64)
        a, b = (slice(s.start // size, -(-s.stop // size)) for s in (i, j))
        both = _grouped(groups.T, size).T @ h[b]
        called += times * torch.linalg.vecdot(g[a], both, dim=0)
    return Sums(rows, columns, squares, called)


def _grouped(k: Tensor, size: int) -> Tensor:
    """Returns the sums of ``k`` over groups of rows; the last may be short."""
    if size == 1:
        return k
    short = -len(k) % size
    whole = pad(k, (0, 0, 0, short)) if short else k
    return whole.reshape(-1, size, k.shape[1]).sum(1)


def _tiles(
    n: int, m: int, device: torch.device, size: int, *, same: bool
) -> Iterator[tuple[slice, slice]]:
    """Yields pieces that cover a matrix, or its upper half, and cut no group."""
    most = TILE.get(device.type, LARGE_TILE)
    for i in _even(0, n, most, size):
        for j in _even(0, m, most, size):
            if not same or i.start <= j.start:
                yield i, j


def _strips(rows: slice, device: torch.device, size: int) -> list[slice]:
    """Returns slices that cover the rows of a piece and cut no group."""
    return _even(rows.start, rows.stop, STRIP.get(device.type, LARGE_TILE), size)


def _even(start: int, stop: int, most: int, size: int) -> list[slice]:
    """Returns slices that cover ``range(start, stop)``, of about equal length, ``most`` or less.

    All but the last have a multiple of ``size``.
    """
    n = stop - start
    count = -(-n // (most - size + 1))
    ends = [start + n * k // count // size * size for k in range(count)]
    return [slice(a, b) for a, b in pairwise([*ends, stop])]


# ----------------------------------------------------------------------------
# The same for several kernels of the same two sets: the products of all pairs are taken once.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, eq=False)
class SharedKernel:
    """A kernel that shares products with others.

    Attributes:
        kernel: Of two samples.
        standard: What it is to see of them; all that share have one centre and type.
        places: The order in which sums are wanted, of each set, shapes ``(n,)`` and ``(m,)``.
        labels: Which permutations call which samples the first set, in the order in which the
            samples come, shapes ``(n, permutations)`` and ``(m, permutations)``.
    """

    kernel: Kernel
    standard: Standard
    places: tuple[Tensor, Tensor]
    labels: tuple[Tensor, Tensor]


def shared_kernel_sums(
    views: Sequence[SharedKernel], sets: tuple[Tensor, Tensor]
) -> list[tuple[Sums, Sums, Sums]]:
    """Returns for each kernel the sums within the first set, within the second, and across.

    As ``kernel_sums`` does but for rounding. Its memory is that of both sets as the kernels see
    them and of one piece of the matrix, however many kernels there are.

    Args:
        views: The kernels.
        sets: Features as they came, shapes ``(n, d)`` and ``(m, d)``.
    """
    common = views[0].standard
    seen = [common.of(z, torch.arange(len(z), device=z.device)) for z in sets]
    sides = [tuple(_Side.of(view, z, k) for k, z in enumerate(sets)) for view in views]
    found: list[list[Sums]] = [[] for _ in views]
    for a, b in ((0, 0), (1, 1), (0, 1)):
        running = [
            _Running(view.kernel, (own[a], own[b]), (common.scale / view.standard.scale) ** 2)
            for view, own in zip(views, sides, strict=True)
        ]
        _add_products(running, seen[a], seen[b])
        for sums, one in zip(found, running, strict=True):
            sums.append(one.sums())
    return [(xx, yy, xy) for xx, yy, xy in found]


def _add_products(running: Sequence["_Running"], x: Tensor, y: Tensor) -> None:
    """Adds the products of all pairs of two sets, of one set those at and above the diagonal."""
    same = x is y
    for i, j in _tiles(len(x), len(y), x.device, 1, same=same):
        tile = products(x[i], y[j])
        for strip in _strips(i, x.device, 1):
            part = tile[strip.start - i.start : strip.stop - i.start]
            for one in running:
                one.add(part, strip, j, same=same, once=same and i == j)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """A set as one kernel sees it.

    Attributes:
        each: The kernel's number of each sample, shape ``(n,)``.
        labels: The permutations' labels of each, and a column of ones, ``(n, permutations + 1)``.
        place: The order in which sums are wanted.
    """

    each: Tensor
    labels: Tensor
    place: Tensor

    @classmethod
    def of(cls, view: SharedKernel, z: Tensor, side: int) -> "_Side":
        """Looks at the set ``z``, which is that side, in blocks."""
        parts = torch.split(torch.arange(len(z), device=z.device), LARGE_TILE)
        each = torch.cat([view.kernel.of_each(view.standard.of(z, part)) for part in parts])
        labels = pad(view.labels[side].to(each), (0, 1), value=1.0)
        return cls(each, labels, view.places[side])


@final
class _Running:
    """Sums over one kernel matrix, to which strips of products are added.

    Args:
        kernel: The kernel.
        sides: Its rows and its columns; the same object if it is of one set.
        factor: What turns the products that all kernels share into its own.
    """

    def __init__(self, kernel: Kernel, sides: tuple[_Side, _Side], factor: float) -> None:
        self._kernel, self._factor = kernel, factor
        self._a, self._b = a, b = sides
        self._rows = a.each.new_zeros(len(a.each), dtype=torch.float64)
        self._columns = self._rows if a is b else self._rows.new_zeros(len(b.each))
        self._squares = self._rows.new_zeros(())
        self._called = self._rows.new_zeros(a.labels.shape[1] - 1)

    def add(self, part: Tensor, rows: slice, columns: slice, *, same: bool, once: bool) -> None:
        """Adds products of some rows and columns, which are left as they are.

        Args:
            part: The products.
            rows: Which rows.
            columns: Which columns.
            same: Whether both are of one set.
            once: Whether the products lie in a piece that holds the diagonal, and each pair twice.
        """
        k = self._kernel(part * self._factor, self._a.each[rows], self._b.each[columns])
        if once:
            k.diagonal(rows.start - columns.start).zero_()
        else:
            self._columns[columns] += k.sum(0)
        times = 2 if same and not once else 1
        summed = k @ self._b.labels[columns]
        self._rows[rows] += summed[:, -1]
        self._squares += times * k.flatten().dot(k.flatten())
        called = torch.linalg.vecdot(self._a.labels[rows, :-1], summed[:, :-1], dim=0)
        self._called += times * called

    def sums(self) -> Sums:
        """Returns the sums, in the order in which they are wanted."""
        rows, columns = self._rows[self._a.place], self._columns[self._b.place]
        return Sums(rows, columns, self._squares, self._called)


# ----------------------------------------------------------------------------
# Sums over a kernel of groups of samples, taken apart.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, eq=False)
class GroupedKernel:
    """A kernel summed over groups, as its mean, what each group adds to it, and the rest.

    Attributes:
        mean: The mean of the kernel over pairs of samples, of different groups if of one set.
        rows: By how much each group of rows moves the mean, times the number of such groups; of
            mean zero, shape ``(G,)``.
        columns: The same for columns, shape ``(H,)``; the same tensor if of one set.
        variance: The part of the mean's variance that only pairs of groups account for.
        left: Of some groups, what mean and effects do not explain of the summed kernel, times
            the numbers of groups over those of samples.
        some: Which groups these are, of rows and of columns.
        sums: The kernel summed over groups, without the diagonal if of one set, shape ``(G, H)``.
        pairs: How many pairs of samples are in the mean.
    """

    mean: Tensor
    rows: Tensor
    columns: Tensor
    variance: Tensor
    left: Tensor
    some: tuple[Drawn, Drawn]
    sums: Tensor
    pairs: float


def within_groups(kernel: Kernel, x: Tensor, group: Tensor, rng: torch.Generator) -> GroupedKernel:
    """Takes apart the kernel of a set with itself, over pairs of different groups.

    Where all groups have one sample this is the decomposition of a U-statistic. Others weigh as
    many as they have: the mean is that over samples, not over groups.

    Args:
        kernel: Of two samples.
        x: Shape ``(n, d)``.
        group: The group of each, from 0 without gaps, at least 4 of them.
        rng: Draws the groups of which the rest is kept.
    """
    sums = _sums(kernel, (x, x), (group, group))
    own = sums.diagonal().to(torch.float64)
    sums.fill_diagonal_(0)
    size = group.bincount().to(torch.float64)
    n, g, others = len(x), len(size), len(x) - size
    pairs = float(n * n - size.square().sum())
    rows = sums.sum(1, dtype=torch.float64)
    mean = rows.sum() / pairs
    # What a group adds to the mean of a row that it takes no part in itself.
    effect = (rows - mean * size * others) / others * ((g - 1) / (g - 2))
    some = drawn_by_size(own - mean * size.square() - 2 * effect * size, rng)
    places = (some.places, some.places)
    squares, left = _rest(sums, mean, (size, size), (effect, effect), places, same=True)
    variance = 2 * squares / pairs**2 * ((g - 1) / (g - 3))
    left, effect = left * (g / n) ** 2, effect * (g / n)
    return GroupedKernel(mean, effect, effect, variance, left, (some, some), sums, pairs)


def across_groups(
    kernel: Kernel,
    sets: tuple[Tensor, Tensor],
    groups: tuple[Tensor, Tensor],
    some: tuple[Drawn, Drawn],
) -> GroupedKernel:
    """Takes apart the kernel of one set with another, and keeps the rest of ``some`` groups."""
    sums = _sums(kernel, sets, groups)
    of_x, of_y = (group.bincount().to(torch.float64) for group in groups)
    (n, m), (g, h) = map(len, sets), (len(of_x), len(of_y))
    rows, columns = (sums.sum(axis, dtype=torch.float64) for axis in (1, 0))
    mean = rows.sum() / (n * m)
    added = (rows / m - mean * of_x, columns / n - mean * of_y)
    places = (some[0].places, some[1].places)
    squares, left = _rest(sums, mean, (of_x, of_y), added, places, same=False)
    variance = squares / (n * m) ** 2 * (g * h / ((g - 1) * (h - 1)))
    left = left * (g / n) * (h / m)
    effects = (added[0] * (g / n), added[1] * (h / m))
    return GroupedKernel(mean, *effects, variance, left, some, sums, float(n * m))


def _sums(kernel: Kernel, sets: tuple[Tensor, Tensor], groups: tuple[Tensor, Tensor]) -> Tensor:
    """Returns the sums of the kernel over all pairs of groups."""
    (x, y), (of_x, of_y) = sets, groups
    each = kernel.of_each(y)
    rows, columns = (int(group.max()) + 1 for group in groups)
    sums = x.new_zeros(rows, columns)
    for block in blocks(len(x), len(y)):
        k = kernel(products(x[block], y), kernel.of_each(x[block]), each)
        across = k.new_zeros(len(k), columns).index_add_(1, of_y, k)
        sums.index_add_(0, of_x[block], across)
    return sums


def _rest(
    sums: Tensor,
    mean: Tensor,
    sizes: tuple[Tensor, Tensor],
    effects: tuple[Tensor, Tensor],
    some: tuple[Tensor, Tensor],
    *,
    same: bool,
) -> tuple[Tensor, Tensor]:
    """Returns the sum of squares of what mean and effects leave, and what they leave of some."""
    (n, m), (a, b) = sizes, effects

    def left(rows: Tensor, columns: Tensor) -> Tensor:
        whole = mean * n[rows, None] * m[columns]
        whole += a[rows, None] * m[columns] + n[rows, None] * b[columns]
        rest = sums[rows][:, columns].to(torch.float64) - whole
        return rest.masked_fill_(rows[:, None] == columns, 0) if same else rest

    everyone = torch.arange(sums.shape[1], device=sums.device)
    squares = sums.new_zeros((), dtype=torch.float64)
    for block in blocks(*sums.shape):
        rows = torch.arange(block.start, block.stop, device=sums.device)
        squares += left(rows, everyone).square().sum()
    return squares, left(*some)
