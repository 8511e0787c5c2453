"""The uncertainty of a mean whose terms share samples with each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.metrics.intervals import Variance
from gantlet.metrics.jackknife import FOLDS, shared


@dataclass(frozen=True, slots=True)
@final
class Spread:
    """Where the uncertainty of a number comes from.

    Attributes:
        real: What each real sample, or each fold of them, adds to the number, centred.
        rest: The variance that does not come from ``real``.
        whole: The whole variance.
    """

    real: Tensor
    rest: Variance
    whole: Variance


def over_fakes(terms: Tensor, by_real: Tensor) -> Spread:
    """Returns the spread of a mean over fake samples, whose terms share the real ones.

    Args:
        terms: The terms, shape ``(m,)``.
        by_real: How they change without each fold of real samples, shape ``(folds, m)``.
    """
    m, g = len(terms), len(by_real)
    own = float(terms.var()) / m
    share = shared(by_real / m)
    moved = by_real.mean(1)
    influence = (g - 1) * (moved.mean() - moved)
    everything = float(influence.var()) / g
    # Of what a fold changes, only the part that different terms have in common is variance of
    # the mean. The influences are made smaller to that part, so that differences can be paired.
    common = max(share.value, 0.0)
    shrunk = influence * (math.sqrt(common / everything) if everything > 0 else 0.0)
    whole = _limited(own + common, share.noise)
    return Spread(shrunk, Variance(own), whole)


def over_reals(terms: Tensor, changes: Sequence[Tensor]) -> Spread:
    """Returns the spread of a mean over real samples, whose terms share samples.

    Args:
        terms: The terms, shape ``(n,)``.
        changes: How they change without each fold of the real and of the fake samples, each of
            shape ``(folds, n)``.
    """
    n = len(terms)
    own = float(terms.var()) / n
    shares = [shared(change / n) for change in changes]
    common = max(math.fsum(s.value for s in shares), 0.0)
    noise = math.fsum(s.noise for s in shares)
    whole = _limited(own + common, noise)
    return Spread(terms - terms.mean(), _limited(common, noise), whole)


def _limited(value: float, noise: float) -> Variance:
    """Returns a variance with no fewer degrees of freedom than the folds of one side have."""
    return Variance(value, min(noise, 2 * value * value / (FOLDS - 1)))


def without_own_fold(terms: Tensor, changed: Tensor, fold: Tensor) -> Tensor:
    """Returns how terms of a mean change without each fold of the samples they belong to.

    A term that is left out takes itself with it, and fewer terms share the mean.

    Args:
        terms: The terms, shape ``(n,)``.
        changed: The terms without each fold, shape ``(folds, n)``; those left out are not used.
        fold: The fold of each, shape ``(n,)``.
    """
    left_out = fold == torch.arange(len(changed), device=fold.device)[:, None]
    fewer = len(terms) / (~left_out).sum(1, keepdim=True)
    return torch.where(left_out, terms.mean() - terms, changed - terms) * fewer
