"""The kernel of two sets whose samples come in groups, summed over groups."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.metrics.blocks import blocks, products
from gantlet.metrics.kernel_sums import Kernel


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
        sums: The kernel summed over groups, without the diagonal if of one set, shape ``(G, H)``.
        pairs: How many pairs of samples are in the mean.
    """

    mean: Tensor
    rows: Tensor
    columns: Tensor
    variance: Tensor
    left: Tensor
    sums: Tensor
    pairs: float


def within_groups(kernel: Kernel, x: Tensor, group: Tensor, some: Tensor) -> GroupedKernel:
    """Takes apart the kernel of a set with itself, over pairs of different groups.

    Where all groups have one sample this is the decomposition of a U-statistic. Others weigh as
    many as they have: the mean is that over samples, not over groups.

    Args:
        kernel: Of two samples.
        x: Shape ``(n, d)``.
        group: The group of each, from 0 without gaps, at least 4 of them.
        some: Of which groups the rest is wanted.
    """
    sums = _sums(kernel, (x, x), (group, group))
    sums.fill_diagonal_(0)
    size = group.bincount().to(torch.float64)
    n, g, others = len(x), len(size), len(x) - size
    pairs = float(n * n - size.square().sum())
    rows = sums.sum(1, dtype=torch.float64)
    mean = rows.sum() / pairs
    # What a group adds to the mean of a row that it takes no part in itself.
    effect = (rows - mean * size * others) / others * ((g - 1) / (g - 2))
    squares, left = _rest(sums, mean, (size, size), (effect, effect), (some, some), same=True)
    variance = 2 * squares / pairs**2 * ((g - 1) / (g - 3))
    return GroupedKernel(
        mean, effect * (g / n), effect * (g / n), variance, left * (g / n) ** 2, sums, pairs
    )


def across_groups(
    kernel: Kernel,
    sets: tuple[Tensor, Tensor],
    groups: tuple[Tensor, Tensor],
    some: tuple[Tensor, Tensor],
) -> GroupedKernel:
    """Takes apart the kernel of one set with another."""
    sums = _sums(kernel, sets, groups)
    of_x, of_y = (group.bincount().to(torch.float64) for group in groups)
    (n, m), (g, h) = map(len, sets), (len(of_x), len(of_y))
    rows, columns = (sums.sum(axis, dtype=torch.float64) for axis in (1, 0))
    mean = rows.sum() / (n * m)
    added = (rows / m - mean * of_x, columns / n - mean * of_y)
    squares, left = _rest(sums, mean, (of_x, of_y), added, some, same=False)
    variance = squares / (n * m) ** 2 * (g * h / ((g - 1) * (h - 1)))
    left = left * (g / n) * (h / m)
    return GroupedKernel(
        mean, added[0] * (g / n), added[1] * (h / m), variance, left, sums, float(n * m)
    )


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
