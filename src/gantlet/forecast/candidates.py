"""Candidate models of the error, and what they predict for configurations that were left out.

The logarithm of the error is the sum of what all families have in common on a world, and the
deviation of the family from it: the targets, predicted from the profile and the budget. For the
first, and for all deviations together, the candidate with the least error on configurations that
were left out is chosen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from gantlet.core.errors import UserError
from gantlet.forecast.estimators import Array
from gantlet.forecast.experiment import NAMES, Cells, mean_of_known
from gantlet.forecast.models import (
    Fit,
    Mean,
    Regression,
    extra_trees,
    kernel_ridge,
    ridge,
    rounded,
)
from gantlet.forecast.profile import FEATURES

FITS: Mapping[str, Fit] = {
    "constant": ridge(1.0, ()),
    "ridge": ridge(10.0),
    "strong ridge": ridge(100.0),
    "kernel": kernel_ridge(1.0, 0.3),
    "smooth kernel": kernel_ridge(2.0, 0.3),
    "trees": extra_trees(),
}
"""The regression models that are tried."""

BLENDS: Mapping[str, Sequence[str]] = {
    **{name: (name,) for name in FITS},
    "kernel and trees": ("kernel", "trees"),
    "all": ("ridge", "kernel", "smooth kernel", "trees"),
}
"""Candidates: each a model, or the mean of several."""

BASELINES: Mapping[str, Fit] = {
    "constant": FITS["constant"],
    "dimension": ridge(1.0, [NAMES.index(n) for n in ("ambient", "id_mle", "id_twonn")]),
    "non-Gaussianity": ridge(1.0, [NAMES.index("non_gaussianity")]),
}
"""What a predictor must beat; all of them know the budget."""

_FOLDS = 64
# Kernels see the budget as so many features: it changes errors more than any single one.
_BUDGET_WEIGHT = 4.0


# ----------------------------------------------------------------------------
# Features on a common scale.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """Means and scales of coded features and of the log budget, from the worlds of a fit.

    Attributes:
        mean: Shape ``(p,)``.
        scale: Shape ``(p,)``.
        low: Smallest standardized value, shape ``(p,)``.
        high: Largest standardized value, shape ``(p,)``.
        budget: Mean and scale of the log10 budget.
    """

    mean: Array
    scale: Array
    low: Array
    high: Array
    budget: tuple[float, float]

    @classmethod
    def of(cls, cells: Cells) -> "Scaler":
        """Returns the scaler of some cells; each world counts once."""
        _, first = np.unique(cells.world, return_index=True)
        x = cells.features[first]
        mean = np.nan_to_num(mean_of_known(x.T))
        gaps = np.where(np.isnan(x), 0, x - mean)
        scale = np.sqrt((gaps**2).mean(0))
        scale = np.where(scale > 1e-9, scale, 1.0)
        logs = np.log10(cells.flops)
        spread = float(logs.std()) or 1.0
        z = gaps / scale
        return cls(mean, scale, z.min(0), z.max(0), (float(logs.mean()), spread))

    def standard(self, features: Array) -> Array:
        """Returns standardized features, shape ``(m, p)``; a missing one has the mean."""
        found: Array = np.nan_to_num((features - self.mean) / self.scale)
        return found

    def inputs(self, features: Array, flops: Array) -> Array:
        """Returns what models see, shape ``(m, p + 1)``.

        That is features, moved into the range of the fit, and the budget.
        """
        inside = np.clip(self.standard(features), self.low, self.high)
        budget = _BUDGET_WEIGHT * (np.log10(flops) - self.budget[0]) / self.budget[1]
        return np.column_stack([inside, budget])

    def ends(self, name: str) -> tuple[float, float]:
        """Returns the smallest and the largest value of a feature in the fit, on its own scale."""
        i, feature = NAMES.index(name), FEATURES[name]
        low, high = (self.mean[i] + self.scale[i] * end[i] for end in (self.low, self.high))
        return feature.decoded(float(low)), feature.decoded(float(high))

    def plain(self) -> dict[str, Any]:
        """Returns plain data."""
        names = ("mean", "scale", "low", "high")
        return {n: rounded(getattr(self, n)) for n in names} | {"budget": list(self.budget)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Scaler":
        """Returns the scaler of plain data."""
        mean, scale, low, high = (np.array(plain[n]) for n in ("mean", "scale", "low", "high"))
        return cls(mean, scale, low, high, (plain["budget"][0], plain["budget"][1]))


# ----------------------------------------------------------------------------
# Predictions for configurations that were left out.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """Predictions of each cell by models that have not seen its configuration.

    Attributes:
        cells: The cells.
        fold: The fold of each, shape ``(m,)``.
        by_candidate: Predictions of the targets by each candidate, shape ``(m, 1 + families)``.
        chosen: Those of the candidate that is best on the other folds, shape ``(m, families)``.
        baselines: Predictions by each baseline, shape ``(m, families)``.
    """

    cells: Cells
    fold: NDArray[np.int64]
    by_candidate: Mapping[str, Array]
    chosen: Array
    baselines: Mapping[str, Array]

    @property
    def residuals(self) -> Array:
        """Error of each seed minus the prediction, shape ``(m, families, seeds)``."""
        return self.cells.seeds - self.chosen[:, :, None]


def targets_of(cells: Cells) -> Array:
    """Returns what is common to all families, and the deviations, shape ``(m, 1 + families)``."""
    means = mean_of_known(cells.errors.T)
    common = mean_of_known(cells.errors - means) + np.nanmean(means)
    return np.column_stack([common, cells.errors - common[:, None]])


def folds_of(cells: Cells) -> NDArray[np.int64]:
    """Returns the fold of each cell: its block, or several where there are many blocks."""
    _, number = np.unique(cells.block, return_inverse=True)
    return np.asarray(number, dtype=np.int64) % _FOLDS


def out_of_fold(cells: Cells) -> OutOfFold:
    """Predicts each configuration by models that were fitted to the others.

    Raises:
        UserError: If there are fewer than four configurations.
    """
    fold = folds_of(cells)
    if len(np.unique(fold)) < 4:
        raise UserError(
            f"A predictor needs results on at least 4 configurations. Got "
            f"{len(np.unique(fold))}. Run gantlet study distributions longer."
        )
    single = {name: _by_fold(fit, cells, fold) for name, fit in FITS.items()}
    found = {
        name: np.mean([single[part] for part in parts], axis=0) for name, parts in BLENDS.items()
    }
    return OutOfFold(
        cells=cells,
        fold=fold,
        by_candidate=found,
        chosen=_chosen_elsewhere(found, targets_of(cells), fold),
        baselines={n: summed(_by_fold(fit, cells, fold)) for n, fit in BASELINES.items()},
    )


def _by_fold(fit: Fit, cells: Cells, fold: NDArray[np.int64]) -> Array:
    """Returns predictions of the targets out of fold, shape ``(m, 1 + families)``."""
    found = np.full((len(cells), 1 + len(cells.families)), np.nan)
    for f in np.unique(fold):
        own = fold == f
        found[own] = predicted([fit] * found.shape[1], cells.take(~own), cells.take(own))
    return found


def predicted(fits: Sequence[Fit], inside: Cells, outside: Cells) -> Array:
    """Returns what models that were fitted to some cells predict for others.

    Args:
        fits: How each target is fitted.
        inside: The cells of the fit.
        outside: The others.

    Returns:
        The targets, shape ``(len(outside), 1 + families)``.
    """
    scaler = Scaler.of(inside)
    x = scaler.inputs(inside.features, inside.flops)
    new = scaler.inputs(outside.features, outside.flops)
    targets = targets_of(inside)
    return np.column_stack(
        [fitted(fit, x, y).predict(new) for fit, y in zip(fits, targets.T, strict=True)]
    )


def fitted(fit: Fit, x: Array, y: Array) -> Regression:
    """Returns the fit to the targets that are known, or zero where none is.

    Args:
        fit: How it is fitted.
        x: Standardized features with the budget, shape ``(m, p + 1)``.
        y: One target, NaN where nothing was measured, shape ``(m,)``.
    """
    known = ~np.isnan(y)
    return fit(x[known], y[known]) if known.any() else FITS["constant"](x, np.zeros(len(x)))


def fit_of(candidate: str) -> Fit:
    """Returns how a candidate is fitted."""
    parts = [FITS[name] for name in BLENDS[candidate]]
    if len(parts) == 1:
        return parts[0]
    return lambda x, y: Mean([part(x, y) for part in parts])


def summed(targets: Array) -> Array:
    """Returns the errors of families, shape ``(m, families)``, from predicted targets."""
    return targets[:, :1] + targets[:, 1:]


def _chosen_elsewhere(
    by_candidate: Mapping[str, Array],
    targets: Array,
    fold: NDArray[np.int64],
) -> Array:
    """Returns predictions of the candidate that is best on all folds but the cell's own."""
    found = np.full(targets.shape, np.nan)
    for f in np.unique(fold):
        own = fold == f
        for t, name in enumerate(best_candidates(by_candidate, targets, fold, ~own)):
            found[own, t] = by_candidate[name][own, t]
    return summed(found)


def best_candidates(
    by_candidate: Mapping[str, Array],
    targets: Array,
    fold: NDArray[np.int64],
    kept: NDArray[np.bool_],
) -> Sequence[str]:
    """Returns the name of the candidate with the least squared error, for each target.

    All deviations have the same, so that differences between families are smoothed alike. The
    constant is kept unless the gain over it exceeds its standard error over folds.

    Args:
        by_candidate: Predictions out of fold, each of shape ``(m, targets)``.
        targets: What was measured, NaN where nothing was, shape ``(m, targets)``.
        fold: The fold of each row, shape ``(m,)``.
        kept: The rows that decide, shape ``(m,)``.
    """
    names, folds = list(by_candidate), np.unique(fold[kept])
    losses = np.array(
        [
            [
                mean_of_known(((by_candidate[n] - targets)[kept & (fold == f)] ** 2).T)
                for f in folds
            ]
            for n in names
        ]
    )
    common = _best(names, losses[:, :, 0])
    deviation = _best(names, mean_of_known(losses[:, :, 1:]))
    return [common, *[deviation] * (targets.shape[1] - 1)]


def _best(names: Sequence[str], losses: Array) -> str:
    """Returns the candidate with the least loss, or the constant.

    Args:
        names: The candidates.
        losses: Their losses, NaN where unknown, shape ``(candidates, folds)``.
    """
    losses = losses[:, ~np.isnan(losses).any(0)]
    winner = int(losses.mean(1).argmin()) if losses.size else 0
    gain = losses[names.index("constant")] - losses[winner]
    is_clear = len(gain) > 1 and gain.mean() > gain.std(ddof=1) / math.sqrt(len(gain))
    return names[winner] if is_clear else "constant"


def kind_of(form: str) -> str:
    """Returns the kind of a world: the name of its data set, and its kind where that has several.

    Example:
        >>> kind_of("process:kind=leaves,size=9"), kind_of("manifolds:modes=2")
        ('process leaves', 'manifolds')
    """
    name, _, options = form.partition(":")
    kinds = [o.partition("=")[2] for o in options.split(",") if o.startswith("kind=")]
    return " ".join([name, *kinds])


def foreign_residuals(cells: Cells, kinds: Sequence[str], best: Sequence[str]) -> Array:
    """Returns residuals on each kind of world by models that have seen none of that kind.

    A user's data are of no kind of the experiment, so these are what to expect of them. Kinds of
    more than half of all rows are not left out.

    Args:
        cells: The cells.
        kinds: Kind of each world.
        best: The candidate for each target.

    Returns:
        Shape ``(m, families, seeds)``, NaN where a kind was not left out.
    """
    residuals = np.full_like(cells.seeds, np.nan)
    of_row = np.array([kinds[w] for w in cells.world])
    for kind in sorted(set(of_row)):
        own = of_row == kind
        if own.mean() > 0.5:
            continue
        outside = cells.take(own)
        targets = predicted([fit_of(b) for b in best], cells.take(~own), outside)
        residuals[own] = outside.seeds - summed(targets)[:, :, None]
    return residuals
