"""Bias and variance of any statistic, from leaving out one fold of the samples at a time."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.metrics.intervals import Variance

FOLDS = 20


def folds(
    n: int,
    *,
    rng: torch.Generator,
    device: torch.device,
    most: int = FOLDS,
    group: Tensor | None = None,
) -> Tensor:
    """Returns the fold of each of ``n`` samples, shape ``(n,)``.

    There are 20 folds of equal size to within one, or ``n`` or ``most`` if that is fewer. They are
    drawn at random, so that samples in sorted order do no harm. Where samples come in groups,
    numbered from 0 without gaps, whole groups are dealt.
    """
    if group is not None:
        return folds(int(group.max()) + 1, rng=rng, device=device, most=most)[group]
    order = torch.randperm(n, generator=rng, device=rng.device)
    return (order % min(FOLDS, n, most)).to(device)


@final
@dataclass(frozen=True, slots=True)
class Jackknifed:
    """What leaving out folds says of a statistic.

    Attributes:
        bias: How far the statistic lies above its value for an infinite sample, to first order.
        variance: Its variance.
    """

    bias: float
    variance: Variance


def jackknife(whole: Tensor, left_out: Tensor, fold: Tensor) -> Jackknifed:
    """Returns bias and variance of the statistic ``whole``, a scalar.

    Source: Busing, Meijer and van der Leeden, 1999, https://doi.org/10.1023/A:1008800423698,
    who allow folds of unequal size.

    Args:
        whole: The statistic of all samples.
        left_out: The statistic without each fold, shape ``(folds,)``.
        fold: The fold of each sample, shape ``(n,)``.
    """
    g, n = len(left_out), len(fold)
    m = fold.bincount(minlength=g).to(left_out)
    h = n / m
    corrected = g * whole - ((1 - m / n) * left_out).sum()
    pseudo = h * whole - (h - 1) * left_out
    variance = ((pseudo - corrected) ** 2 / (h - 1)).mean()
    return Jackknifed(float(whole - corrected), Variance.of_squares(float(variance), g - 1))


def shared(changes: Tensor) -> Variance:
    """Returns the part of the variance of a mean that comes from what its terms share.

    The terms ``z_j`` of a mean depend on each other through samples that they share, such as the
    centres of balls. When a fold of those is left out, the products of the changes of *different*
    terms estimate the covariance of the terms. Products of a change with itself are left out: they
    are what makes the jackknife too wide here, and ``var(z) / J`` holds their part already. May
    be negative.

    Args:
        changes: How leaving out each fold changes each term, over ``J``, shape ``(folds, J)``.
    """
    g = len(changes)
    centred = changes - changes.mean(0)
    everything = float(centred.sum(1).square().sum()) * (g - 1) / g
    own = float(centred.square().sum()) * (g - 1) / g
    return Variance(everything - own, Variance.of_squares(everything, g - 1).noise)
