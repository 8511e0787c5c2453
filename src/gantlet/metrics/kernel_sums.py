"""Sums over the kernel of all pairs of two sets, in one pass and in bounded memory."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from gantlet.metrics.blocks import products

TILE, STRIP = {"cpu": 1280}, {"cpu": 128}
"""Rows and columns of a piece of the kernel matrix on a kind of device: large, as products of
large matrices are the fastest. What is done to each number comes strip by strip, which on a CPU
stays in the cache."""

_LARGE_TILE = 4096


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
    most = TILE.get(device.type, _LARGE_TILE)
    for i in _even(0, n, most, size):
        for j in _even(0, m, most, size):
            if not same or i.start <= j.start:
                yield i, j


def _strips(rows: slice, device: torch.device, size: int) -> list[slice]:
    """Returns slices that cover the rows of a piece and cut no group."""
    return _even(rows.start, rows.stop, STRIP.get(device.type, _LARGE_TILE), size)


def _even(start: int, stop: int, most: int, size: int) -> list[slice]:
    """Returns slices that cover ``range(start, stop)``, of about equal length, ``most`` or less.

    All but the last have a multiple of ``size``.
    """
    n = stop - start
    count = -(-n // (most - size + 1))
    ends = [start + n * k // count // size * size for k in range(count)]
    return [slice(a, b) for a, b in pairwise([*ends, stop])]
