"""The uncertainty of a mean whose terms share samples with each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.measure import Groups
from gantlet.metrics.grouped_means import by_group, variance_of_mean
from gantlet.metrics.intervals import Variance
from gantlet.metrics.jackknife import FOLDS, shared


@dataclass(frozen=True, slots=True)
@final
class Spread:
    """Where the uncertainty of a number comes from.

    Attributes:
        real: What each real sample, group or fold of them adds to the number, centred.
        rest: The variance that does not come from ``real``.
        whole: The whole variance.
    """

    real: Tensor
    rest: Variance
    whole: Variance


def over_fakes(terms: Tensor, by_real: Tensor, groups: Groups | None = None) -> Spread:
    """Returns the spread of a mean over fake samples, whose terms share the real ones.

    Args:
        terms: The terms, shape ``(m,)``.
        by_real: How they change without each fold of real samples, shape ``(folds, m)``.
        groups: Which samples belong together, numbered from 0, if any do.
    """
    g, group = len(by_real), None if groups is None else groups.fake
    own = _own(terms, group)
    share = shared(_added(by_real, group))
    moved = by_real.mean(1)
    influence = (g - 1) * (moved.mean() - moved)
    everything = float(influence.var()) / g
    # Of what a fold changes, only the part that different terms have in common is variance of
    # the mean. The influences are made smaller to that part, so that differences can be paired.
    common = max(share.value, 0.0)
    shrunk = influence * (math.sqrt(common / everything) if everything > 0 else 0.0)
    whole = _limited(own.value + common, own.noise + share.noise, _df(groups, group, g))
    return Spread(shrunk, own, whole)


def over_reals(terms: Tensor, changes: Sequence[Tensor], groups: Groups | None = None) -> Spread:
    """Returns the spread of a mean over real samples, whose terms share samples.

    Args:
        terms: The terms, shape ``(n,)``.
        changes: How they change without each fold of the real and of the fake samples, each of
            shape ``(folds, n)``.
        groups: Which samples belong together, numbered from 0, if any do.
    """
    group = None if groups is None else groups.real
    own = _own(terms, group)
    shares = [shared(_added(change, group)) for change in changes]
    common = max(math.fsum(s.value for s in shares), 0.0)
    noise = math.fsum(s.noise for s in shares)
    df = _df(groups, group, *(len(change) for change in changes))
    whole = _limited(own.value + common, own.noise + noise, df)
    return Spread(by_group(terms - terms.mean(), group), _limited(common, noise, df), whole)


def _own(terms: Tensor, group: Tensor | None) -> Variance:
    """Returns the variance of the mean of the terms if groups of them shared nothing."""
    if group is None:
        return Variance(float(terms.var()) / len(terms))
    return variance_of_mean(terms, group)


def _added(changes: Tensor, group: Tensor | None) -> Tensor:
    """Returns the changes of the mean by each term, or group of terms, ``(folds, groups)``."""
    added = by_group(changes, group)
    return added / added.shape[1]


def _df(groups: Groups | None, group: Tensor | None, *folds: int) -> int:
    """Returns the fewest degrees of freedom that any part of a variance has."""
    if groups is None:
        return FOLDS - 1
    terms = FOLDS if group is None else int(group.max()) + 1
    return min(FOLDS, terms, *folds) - 1


def _limited(value: float, noise: float, df: int) -> Variance:
    """Returns a variance with no fewer degrees of freedom than the folds of one side have."""
    return Variance(value, min(noise, 2 * value * value / df))


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
