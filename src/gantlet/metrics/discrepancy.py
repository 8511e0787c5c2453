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

    The variance is that of Hoeffding's decomposition, both orders: of what single samples
    contribute, freed of the noise of finite means, and of what only pairs contribute. The second
    keeps it right where the two distributions are equal and the first vanishes.

    Source: Gretton et al., 2012, https://jmlr.org/papers/v13/gretton12a.html, Lemma 6;
    for the variance, after Sutherland and Deka, 2019, https://arxiv.org/abs/1906.02104.

    Args:
        kernel: Maps shapes ``(b, d)`` and ``(m, d)`` to ``(b, m)``; symmetric.
        x: Shape ``(n, d)``, ``n`` at least 4.
        y: Shape ``(m, d)``, ``m`` at least 4.
    """
    n, m = len(x), len(y)
    xx, yy, xy = _within(kernel, x), _within(kernel, y), _across(kernel, x, y)
    h_x, h_y = xx.rows - xy.rows, yy.rows - xy.columns
    noise_x = xx.interaction / (n - 2) + xy.interaction / m
    noise_y = yy.interaction / (m - 2) + xy.interaction / n
    first = 4 * (h_x.var() - noise_x) / n + 4 * (h_y.var() - noise_y) / m
    second = (
        2 * xx.interaction / (n * (n - 1))
        + 2 * yy.interaction / (m * (m - 1))
        + 4 * xy.interaction / (n * m)
    )
    return Discrepancy(
        float(xx.mean + yy.mean - 2 * xy.mean),
        Variance.of_squares(float(first.clamp_min(0) + second), min(n, m) - 1),
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """A kernel matrix as mean + row effect + column effect + interaction.

    The effects have mean zero; ``interaction`` is the mean square of what they do not explain.
    """

    mean: Tensor
    rows: Tensor
    columns: Tensor
    interaction: Tensor


def _within(kernel: Kernel, x: Tensor) -> _Parts:
    """Takes apart the kernel of ``x`` with itself, without the diagonal."""
    n = len(x)
    rows, _, squares = _sums(kernel, x, x, diagonal=False)
    mean = rows.sum() / (n * (n - 1))
    # Without the diagonal a row's mean has only n - 2 parts in n - 1 of its own effect.
    effect = (rows / (n - 1) - mean) * (n - 1) / (n - 2)
    left = squares - n * (n - 1) * mean**2 - 2 * (n - 2) * (effect**2).sum()
    return _Parts(mean, effect, effect, left.clamp_min(0) / (n * (n - 3)))


def _across(kernel: Kernel, x: Tensor, y: Tensor) -> _Parts:
    """Takes apart the kernel of ``x`` with ``y``."""
    n, m = len(x), len(y)
    rows, columns, squares = _sums(kernel, x, y, diagonal=True)
    mean = rows.sum() / (n * m)
    of_x, of_y = rows / m - mean, columns / n - mean
    left = squares - n * m * mean**2 - m * (of_x**2).sum() - n * (of_y**2).sum()
    return _Parts(mean, of_x, of_y, left.clamp_min(0) / ((n - 1) * (m - 1)))


def _sums(
    kernel: Kernel, x: Tensor, y: Tensor, *, diagonal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the sums of rows, of columns and of all squares of the kernel matrix."""
    rows: list[Tensor] = []
    columns, squares = x.new_zeros(len(y)), x.new_zeros(())
    for block in blocks(len(x), len(y)):
        k = kernel(x[block], y)
        if not diagonal:
            k.diagonal(block.start).zero_()
        rows.append(k.sum(1))
        columns += k.sum(0)
        squares += (k**2).sum()
    return torch.cat(rows), columns, squares
