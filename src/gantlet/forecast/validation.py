"""How good a predictor is: on configurations that it has not seen, and on real sets.

All intervals are bootstrap intervals over worlds: budgets and seeds of one world are not
independent.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from gantlet.core.estimate import Estimate
from gantlet.forecast.candidates import BASELINES, OutOfFold, out_of_fold, predicted, summed
from gantlet.forecast.estimators import Array
from gantlet.forecast.experiment import Cells, Experiment
from gantlet.forecast.models import quantile
from gantlet.forecast.predictor import LEVEL, SIGNIFICANT, Predictor

PROFILE = "profile"
"""The name of the predictor itself, beside the baselines."""

CAUTIOUS = "profile, if significant"
"""The rule of the report: the family that is best on average, unless another is predicted to be
significantly better."""

_REPLICATES = 2000


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well the errors of one family are predicted.

    Attributes:
        r2: Share of the variance over worlds and budgets that is predicted.
        spearman: Rank correlation; its interval keeps the ranks among all worlds.
        mae: Mean absolute error, in log10.
    """

    r2: Estimate
    spearman: Estimate
    mae: Estimate


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The quality of a predictor and of the baselines.

    Attributes:
        scores: By predictor ("profile", "constant", "dimension", "non-Gaussianity") and family.
        regrets: By predictor: mean log10 error of the family with the lowest predicted error,
            above that of the best family of the world.
        gain: Regret of always taking the family that is best on average, minus that of the
            predictor, paired by world.
        coverage: Share of trainings inside their nominal 90 % interval, by family.
        inside: Share of the worlds on which a prediction applies.
        worlds: Number of worlds.
        families: The families.
    """

    scores: Mapping[str, Mapping[str, Score]]
    regrets: Mapping[str, Estimate]
    gain: Estimate
    coverage: Mapping[str, Estimate]
    inside: float
    worlds: int
    families: Sequence[str]


def leave_out(table: Experiment, found: OutOfFold | None = None) -> Validation:
    """Returns how good predictions are for configurations that were left out.

    Real sets are not used.

    Args:
        table: The experiment.
        found: Predictions out of fold, if they were made already.

    Raises:
        UserError: If there are fewer than four configurations.
    """
    cells = table.only(real=False).cells
    found = out_of_fold(cells) if found is None else found
    predictions = {PROFILE: found.chosen, **found.baselines}
    covered = np.full(cells.seeds.shape, np.nan)
    for f in np.unique(found.fold):
        own = found.fold == f
        for i in range(len(cells.families)):
            others = np.abs(found.residuals[~own, i].ravel())
            half = quantile(others[~np.isnan(others)].tolist(), LEVEL)
            covered[own, i] = _within(found.residuals[own, i], half)
    limits = np.zeros((len(cells.families),) * 2)
    for i, j in np.ndindex(limits.shape):
        gaps = np.abs(found.residuals[:, i] - found.residuals[:, j]).ravel()
        limits[i, j] = quantile(gaps[~np.isnan(gaps)].tolist(), 1 - SIGNIFICANT)
    return _validation(cells, predictions, covered, 1.0, limits)


def held_out(
    table: Experiment, predictor: Predictor | None = None, *, only_inside: bool = False
) -> Validation:
    """Returns how good a predictor is on the real sets, none of which it has seen.

    Args:
        table: The experiment.
        predictor: One that was fitted to the worlds of this table; None to fit it.
        only_inside: Whether to leave out sets on which the predictor abstains.

    Raises:
        UserError: If there are too few configurations to fit.
    """
    predictor = Predictor.fit(table) if predictor is None else predictor
    real = table.only(real=True)
    inside = [
        predictor.applicability(w.profile, max(predictor.flops)).is_inside for w in real.worlds
    ]
    cells = real.cells
    if only_inside:
        cells = cells.take(np.array(inside, dtype=bool)[cells.world])
    predictions = {PROFILE: _predicted(predictor, cells), **_baselines(table, cells)}
    covered = np.full(cells.seeds.shape, np.nan)
    for i, family in enumerate(cells.families):
        half = quantile(predictor.residuals[family], LEVEL)
        covered[:, i] = _within(cells.seeds[:, i] - predictions[PROFILE][:, i, None], half)
    limits = np.array(
        [[predictor.least_gap(a, b) for b in cells.families] for a in cells.families]
    )
    share = float(np.mean(inside)) if inside else 0.0
    return _validation(cells, predictions, covered, share, limits)


def _predicted(predictor: Predictor, cells: Cells) -> Array:
    found = np.full((len(cells), len(cells.families)), np.nan)
    for row, flops in enumerate(cells.flops.tolist()):
        values = predictor.values(cells.features[row][None], flops)[0]
        found[row] = [values.get(f, math.nan) for f in cells.families]
    return found


def _baselines(table: Experiment, cells: Cells) -> dict[str, Array]:
    """Returns predictions of the baselines, fitted to the worlds that are not real."""
    own = table.only(real=False).cells
    unknown = np.full(len(cells), np.nan)
    found = {}
    for name, fit in BASELINES.items():
        errors = summed(predicted([fit] * (1 + len(own.families)), own, cells))
        by_family = dict(zip(own.families, errors.T, strict=True))
        found[name] = np.column_stack([by_family.get(f, unknown) for f in cells.families])
    return found


def _within(residuals: Array, half: float) -> Array:
    found: Array = np.where(np.isnan(residuals), np.nan, (np.abs(residuals) <= half).astype(float))
    return found


def _validation(
    cells: Cells,
    predictions: Mapping[str, Array],
    covered: Array,
    inside: float,
    limits: Array,
) -> Validation:
    groups = _groups(cells)
    families = cells.families
    regrets = {name: _regret(cells, p) for name, p in predictions.items()}
    cautious = _if_significant(predictions[PROFILE], predictions["constant"], limits)
    regrets[CAUTIOUS] = _regret(cells, cautious)
    return Validation(
        scores={
            name: {f: _score(cells.errors[:, i], p[:, i], groups) for i, f in enumerate(families)}
            for name, p in predictions.items()
        },
        regrets={name: _mean(r, groups) for name, r in regrets.items()},
        gain=_mean(regrets["constant"] - regrets[PROFILE], groups),
        coverage={f: _mean(covered[:, i], groups) for i, f in enumerate(families)},
        inside=inside,
        worlds=len(groups),
        families=families,
    )


Groups = Sequence[NDArray[np.int64]]


def _groups(cells: Cells) -> Groups:
    """Returns the rows of each world."""
    return [np.flatnonzero(cells.world == w) for w in np.unique(cells.world)]


def _score(y: Array, predicted: Array, groups: Groups) -> Score:
    known = ~np.isnan(y) & ~np.isnan(predicted)
    groups = [g[known[g]] for g in groups if known[g].any()]
    a, b = np.where(known, y, 0), np.where(known, predicted, 0)
    ranks = np.zeros((2, len(y)))
    if known.any():
        ranks[:, known] = [rankdata(y[known]), rankdata(predicted[known])]
    r, q = ranks
    return Score(
        r2=_bootstrapped(_r2, [a, a * a, (a - b) ** 2], groups, "R2"),
        spearman=_bootstrapped(
            _correlation, [r, q, r * r, q * q, r * q], groups, "correlation of ranks"
        ),
        mae=_bootstrapped(_ratio, [np.abs(a - b)], groups, "mean absolute error in log10"),
    )


def _r2(n: Array, total: Array, squares: Array, gaps: Array) -> Array:
    spread = squares - total**2 / n
    found: Array = np.where(spread > 1e-12, 1 - gaps / np.maximum(spread, 1e-12), np.nan)
    return found


def _correlation(n: Array, *sums: Array) -> Array:
    a, b, aa, bb, ab = sums
    spread = (aa - a**2 / n) * (bb - b**2 / n)
    found: Array = np.where(
        spread > 1e-9, (ab - a * b / n) / np.sqrt(np.maximum(spread, 1e-9)), np.nan
    )
    return found


def _ratio(n: Array, total: Array) -> Array:
    return total / n


def _if_significant(predicted: Array, usual: Array, limits: Array) -> Array:
    """Returns predictions by which the usual family is best unless another is significantly so.

    Args:
        predicted: By the profile, shape ``(m, families)``.
        usual: By the budget alone.
        limits: The least significant difference of two families, shape ``(families, families)``.
    """
    rows = np.arange(len(predicted))
    own, first = (np.where(np.isnan(p), np.inf, p).argmin(1) for p in (predicted, usual))
    gap = predicted[rows, first] - predicted[rows, own]
    return np.where((gap > limits[first, own])[:, None], predicted, usual)


def _regret(cells: Cells, predicted: Array) -> Array:
    """Returns the log10 error of the chosen family above that of the best, shape ``(m,)``."""
    known = ~np.isnan(cells.errors) & ~np.isnan(predicted)
    guess = np.where(known, predicted, np.inf)
    truth = np.where(known, cells.errors, np.inf)
    chosen = np.take_along_axis(truth, guess.argmin(1)[:, None], 1)[:, 0]
    found: Array = np.where(known.any(1), chosen - truth.min(1), np.nan)
    return found


def _mean(values: Array, groups: Groups) -> Estimate:
    """Returns the mean over rows and seeds, shape ``(m, ...)``, without NaN."""
    flat = values.reshape(len(values), -1)
    counts, totals = (~np.isnan(flat)).sum(1).astype(np.float64), np.nansum(flat, axis=1)
    groups = [g for g in groups if counts[g].sum() > 0]

    def ratio(_rows: Array, total: Array, count: Array) -> Array:
        return total / count

    return _bootstrapped(ratio, [totals, counts], groups, "mean")


def _bootstrapped(
    statistic: Callable[..., Array], columns: Sequence[Array], groups: Groups, what: str
) -> Estimate:
    """Returns a function of sums over rows with a 95 % bootstrap interval over worlds.

    Args:
        statistic: Called with the number of rows and the sum of each column, arrays over
            replicates.
        columns: What is summed, each of shape ``(m,)``.
        groups: The rows of each world.
        what: Its name.
    """
    if not groups:
        return Estimate.missing("no world has results")
    sums = np.array([[len(g), *(c[g].sum() for c in columns)] for g in groups])
    value = float(statistic(*sums.sum(0)))
    if math.isnan(value):
        return Estimate.missing(f"{what}: the values do not vary")
    if len(groups) < 3:
        return Estimate(value=value, n=len(groups), method=f"{what}; fewer than three worlds")
    chosen = np.random.default_rng(0).multinomial(
        len(groups), np.full(len(groups), 1 / len(groups)), size=_REPLICATES
    )
    low, high = np.nanquantile(statistic(*(chosen @ sums).T), [0.025, 0.975])
    return Estimate(
        value=value,
        low=float(min(low, value)),
        high=float(max(high, value)),
        n=len(groups),
        method=f"{what}; percentile bootstrap over worlds",
    )
