"""The kernel two-sample statistic that KID and the energy distance share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gantlet.metrics.blocks import blocks
from gantlet.metrics.intervals import Variance

Kernel = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """An unbiased squared maximum mean discrepancy.

    Attributes:
        value: The U-statistic; below zero about half the time when the two are equal.
        variance: Its variance.
    """

    value: float
    variance: Variance


def discrepancy(kernel: Kernel, x: Tensor, y: Tensor) -> Discrepancy:
    """Returns ``E k(x, x') + E k(y, y') - 2 E k(x, y)`` over all pairs of different samples.

    The variance is that of Hoeffding's decomposition to second order. The spread of the
    first-order projections counts the second order twice, so that it is taken off once; what is
    left is right when the two are equal too, where the first order vanishes.

    Source: Gretton et al., 2012, https://jmlr.org/papers/v13/gretton12a.html, equation 3;
    Sutherland and Deka, 2019, https://arxiv.org/abs/1906.02104, for the variance.

    Args:
        kernel: Maps shapes ``(b, d)`` and ``(m, d)`` to ``(b, m)``; symmetric.
        x: Shape ``(n, d)``, ``n`` at least 2.
        y: Shape ``(m, d)``, ``m`` at least 2.
    """
    n, m = len(x), len(y)
    xx, yy, xy = _means(kernel, x, None), _means(kernel, y, None), _means(kernel, x, y)
    value = xx.mean + yy.mean - 2 * xy.mean
    h_x, h_y = xx.rows - xy.rows, yy.rows - xy.columns
    projections = 4 * h_x.var() / n + 4 * h_y.var() / m
    second = (
        2 * xx.interaction / (n * (n - 1))
        + 2 * yy.interaction / (m * (m - 1))
        + 4 * xy.interaction / (n * m)
    )
    variance = torch.maximum(projections - second, second)
    return Discrepancy(float(value), Variance.of_squares(float(variance), min(n, m) - 1))


@dataclass(frozen=True, slots=True)
class _Means:
    """Means of a kernel matrix: of its rows, its columns, all of it, and its squares."""

    rows: Tensor
    columns: Tensor
    mean: Tensor
    squares: Tensor

    @property
    def interaction(self) -> Tensor:
        """The mean square of the doubly centred matrix."""
        ends = (self.rows**2).mean() + (self.columns**2).mean()
        return (self.squares - ends + self.mean**2).clamp_min(0)


def _means(kernel: Kernel, x: Tensor, other: Tensor | None) -> _Means:
    """Goes once over all pairs of ``x`` and ``other``, or of ``x`` with itself but no twins."""
    y = x if other is None else other
    rows, columns, squares = [], x.new_zeros(len(y)), x.new_zeros(())
    for block in blocks(len(x), len(y)):
        k = kernel(x[block], y)
        if other is None:
            k.diagonal(block.start).zero_()
        rows.append(k.sum(1))
        columns += k.sum(0)
        squares += (k**2).sum()
    wide = len(y) - (other is None)
    tall = len(x) - (other is None)
    row_means = torch.cat(rows) / wide
    return _Means(row_means, columns / tall, row_means.mean(), squares / (len(x) * wide))
