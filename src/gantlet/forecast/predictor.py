"""Predicts the error of a family on a data set from its profile, without training.

The logarithm of the error is the sum of two functions of the profile and the budget: what all
families have in common on a world, and the deviation of the family from it. For each, the
regression model with the least error on configurations that were left out is chosen among a
constant, ridge regression, kernel ridge regression and randomized trees, one for the deviations of
all families; deviations that cannot be predicted become constants, so that the family that is
best on average is advised. Intervals are split-conformal, from the residuals on configurations
that were left out.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import combinations, pairwise
from typing import Any, final

import numpy as np

from gantlet.core.errors import UserError, unknown
from gantlet.core.estimate import Estimate
from gantlet.forecast.estimators import Array
from gantlet.forecast.experiment import VERSION, Cells, Experiment, features_of, mean_of_known
from gantlet.forecast.models import (
    Fit,
    Mean,
    Regression,
    extra_trees,
    from_plain,
    kernel_ridge,
    quantile,
    ridge,
    rounded,
)
from gantlet.forecast.profile import FEATURES
from gantlet.stats.intervals import holm_adjusted

LEVEL = 0.9
"""Coverage of the intervals."""

SHIPPED = "predictor.json"

NAMES = tuple(FEATURES)

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

COMMON = "common"
"""The target that all families share."""

GROUPS: Mapping[str, Sequence[str]] = {
    "sample size": ("n", "samples_per_dimension", "coverage", "duplicates"),
    "dimension": (
        "ambient",
        "id_mle",
        "id_twonn",
        "codimension",
        "effective_rank",
        "spectral_decay",
    ),
    "connectedness": ("mst_gap", "mst_count", "lambda2", "soft_components", "bottleneck"),
    "modes": ("dip", "components", "modes", "separation", "imbalance"),
    "tails": ("hill", "kurtosis", "density_spread"),
    "shape": ("non_gaussianity", "roughness", "complexity"),
}
"""Features that say similar things, and move a prediction together."""

_FOLDS, _NEAR, _KEPT_RESIDUALS = 64, 3, 400
# Kernels see the budget as so many features: it changes errors more than any single one.
_BUDGET_WEIGHT = 4.0
_STEEP = 0.1
"""A training is on the steep part of its curve while three times the budget improves the error by
more than this, in log10: a fifth."""


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
    fold: "np.ndarray[Any, np.dtype[np.int64]]"
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


def folds_of(cells: Cells) -> "np.ndarray[Any, np.dtype[np.int64]]":
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
    shape = (len(cells), 1 + len(cells.families))
    single = {name: np.full(shape, np.nan) for name in FITS}
    baselines = {name: np.full(shape, np.nan) for name in BASELINES}
    for f in np.unique(fold):
        inside, outside = cells.take(fold != f), cells.take(fold == f)
        scaler = Scaler.of(inside)
        x, targets = scaler.inputs(inside.features, inside.flops), targets_of(inside)
        new = scaler.inputs(outside.features, outside.flops)
        for fits, kept in ((FITS, single), (BASELINES, baselines)):
            for name, fit in fits.items():
                for t in range(shape[1]):
                    kept[name][fold == f, t] = _fitted(fit, x, targets[:, t]).predict(new)
    found = {
        name: np.mean([single[part] for part in parts], axis=0) for name, parts in BLENDS.items()
    }
    return OutOfFold(
        cells=cells,
        fold=fold,
        by_candidate=found,
        chosen=_chosen_elsewhere(found, targets_of(cells), fold),
        baselines={name: _summed(p) for name, p in baselines.items()},
    )


def _fitted(fit: Fit, x: Array, y: Array) -> Regression:
    known = ~np.isnan(y)
    return fit(x[known], y[known]) if known.any() else ridge(1.0, ())(x, np.zeros(len(x)))


def _summed(targets: Array) -> Array:
    """Returns the errors of families, shape ``(m, families)``, from predicted targets."""
    return targets[:, :1] + targets[:, 1:]


def _chosen_elsewhere(
    by_candidate: Mapping[str, Array],
    targets: Array,
    fold: "np.ndarray[Any, np.dtype[np.int64]]",
) -> Array:
    """Returns predictions of the candidate that is best on all folds but the cell's own."""
    found = np.full(targets.shape, np.nan)
    for f in np.unique(fold):
        own = fold == f
        for t, name in enumerate(best_candidates(by_candidate, targets, fold, ~own)):
            found[own, t] = by_candidate[name][own, t]
    return _summed(found)


def best_candidates(
    by_candidate: Mapping[str, Array],
    targets: Array,
    fold: "np.ndarray[Any, np.dtype[np.int64]]",
    kept: "np.ndarray[Any, np.dtype[np.bool_]]",
) -> Sequence[str]:
    """Returns the name of the candidate with the least squared error, for each target.

    All deviations have the same: differences between families are then smoothed alike, which
    chooses better families than the best model for each. The constant is kept unless the gain over
    it exceeds its standard error over folds.

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


# ----------------------------------------------------------------------------
# What is known of each world of the fit.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class KnownWorld:
    """A world of the experiment, as the nearest to a new set is shown.

    Attributes:
        form: The data set in written form.
        point: Its standardized features.
        errors: Log10 errors by family, at the budgets of the experiment; None where unknown.
        steps: Training steps by family, at the budgets of the experiment.
    """

    form: str
    point: tuple[float, ...]
    errors: Mapping[str, Sequence[float | None]]
    steps: Mapping[str, Sequence[float | None]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A known world with its distance, in standard deviations of a feature."""

    world: KnownWorld
    distance: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Applicability:
    """Whether a data set is like those that a predictor was fitted to.

    Attributes:
        score: Distance to the known worlds over the 95th percentile of what known worlds have to
            the others; above 1 is outside.
        reasons: Why it is outside; empty if it is inside.
    """

    score: float
    reasons: Sequence[str]

    @property
    def is_inside(self) -> bool:
        """Whether a prediction is made."""
        return not self.reasons


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The predicted log10 error of one training, with its interval, whether or not it applies."""

    value: float
    low: float
    high: float
    applicability: Applicability


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The predicted difference of log10 errors of two families.

    Attributes:
        better: The family with the lower predicted error.
        worse: The other.
        value: The difference, positive.
        low: Lower end of its 90 % interval.
        high: Upper end of its 90 % interval.
        p: Conformal p-value of no difference, adjusted by Holm's procedure where several are made.
    """

    better: str
    worse: str
    value: float
    low: float
    high: float
    p: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Steepness:
    """After how many steps the nearest worlds left the steep part of their curve.

    Attributes:
        left: Steps of each of the nearest worlds that left it, ascending.
        steep: How many were still on it at the largest budget.
        most: The largest number of steps that was trained.
    """

    left: Sequence[float]
    steep: int
    most: float


# ----------------------------------------------------------------------------
# The predictor.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, kw_only=True)
class Predictor:
    """Predicts the error of families from a profile; plain numbers.

    Attributes:
        command: The command that made the table that it was fitted to.
        families: Families in the order of the table.
        flops: Budgets of the table, ascending.
        scaler: Scales of features.
        models: A model for each target: "common", and each family's deviation.
        chosen: The candidate that was chosen for each target.
        residuals: Absolute residuals of each family on configurations that were left out, inflated
            to those on kinds of worlds that were left out.
        pairs: The same for the difference of two families, by "a|b".
        worlds: The known worlds.
        limits: 95th percentiles of the distance of a known world to the others, and of how far it
            is outside their range.
        scores: R2 and mean absolute error of each family on configurations left out.
    """

    command: str
    families: Sequence[str]
    flops: Sequence[float]
    scaler: Scaler
    models: Mapping[str, Regression]
    chosen: Mapping[str, str]
    residuals: Mapping[str, Sequence[float]]
    pairs: Mapping[str, Sequence[float]]
    worlds: Sequence[KnownWorld]
    limits: tuple[float, float]
    scores: Mapping[str, Mapping[str, float]]

    # ------------------------------------------------------------------------
    # Fitting.
    # ------------------------------------------------------------------------

    @classmethod
    def fit(cls, table: Experiment, found: OutOfFold | None = None) -> "Predictor":
        """Fits a predictor to the worlds of a table that are not real sets.

        Args:
            table: The experiment.
            found: Predictions out of fold for these worlds, if they were made already.

        Raises:
            UserError: If there are too few configurations.
        """
        own = table.only(real=False)
        cells = own.cells
        found = out_of_fold(cells) if found is None else found
        scaler, targets = Scaler.of(cells), targets_of(cells)
        x = scaler.inputs(cells.features, cells.flops)
        names = [COMMON, *cells.families]
        every = np.ones(len(cells), dtype=bool)
        best = best_candidates(found.by_candidate, targets, found.fold, every)
        foreign = foreign_residuals(cells, [kind_of(w.form) for w in own.worlds], best)
        return cls(
            command=table.command,
            families=cells.families,
            flops=sorted(set(cells.flops.tolist())),
            scaler=scaler,
            models={name: _refitted(best[t], x, targets[:, t]) for t, name in enumerate(names)},
            chosen=dict(zip(names, best, strict=True)),
            residuals=dict(zip(cells.families, _residuals(found, foreign), strict=True)),
            pairs=dict(_pair_residuals(found, foreign)),
            worlds=list(_known_worlds(own, scaler)),
            limits=_limits(cells),
            scores=dict(_scores(found)),
        )

    # ------------------------------------------------------------------------
    # Predictions.
    # ------------------------------------------------------------------------

    def check(self, families: Sequence[str]) -> None:
        """Checks the names of families.

        Raises:
            UserError: If one was not measured.
        """
        for name in families:
            if name not in self.families:
                raise unknown("family of the experiment", name, self.families)

    def predict(
        self, profile: Mapping[str, float], family: str, flops: float, n: float | None = None
    ) -> Prediction:
        """Returns the predicted log10 error of one training, with a 90 % interval.

        Args:
            profile: Features of the data set.
            family: A family of the table.
            flops: Budget of the training.
            n: Number of training samples; default: that of the profile.

        Raises:
            UserError: If the family was not measured.
        """
        self.check([family])
        profile = profile if n is None else resized(profile, n)
        value = float(self._values(features_of(profile)[None], flops)[0][family])
        half = quantile(self.residuals[family], LEVEL)
        return Prediction(
            value=value,
            low=value - half,
            high=value + half,
            applicability=self.applicability(profile, flops),
        )

    def errors(
        self, profile: Mapping[str, float], flops: float, families: Sequence[str]
    ) -> dict[str, Estimate]:
        """Returns predicted errors on the scale of the data, lowest first, with intervals.

        Outside the data that the predictor was fitted to, each is missing with the reason.
        """
        found = {f: self.predict(profile, f, flops) for f in families}
        return {
            f: self._estimate(f, p) for f, p in sorted(found.items(), key=lambda i: i[1].value)
        }

    def _estimate(self, family: str, found: Prediction) -> Estimate:
        if not found.applicability.is_inside:
            reason = "; ".join(found.applicability.reasons)
            return Estimate.missing(f"outside the data of the fit: {reason}", better="lower")
        n = len(self.worlds)
        return Estimate(
            value=10**found.value,
            low=10**found.low,
            high=10**found.high,
            level=LEVEL,
            n=n,
            better="lower",
            method=f"{self.chosen[COMMON]} and {self.chosen[family]} on {n} worlds; "
            "split-conformal interval for one training",
        )

    def _values(self, features: Array, flops: float) -> list[dict[str, float]]:
        x = self.scaler.inputs(features, np.full(len(features), flops))
        common = self.models[COMMON].predict(x)
        parts = {f: common + self.models[f].predict(x) for f in self.families}
        return [{f: float(p[i]) for f, p in parts.items()} for i in range(len(features))]

    def gaps(
        self, profile: Mapping[str, float], flops: float, families: Sequence[str]
    ) -> list[Gap]:
        """Returns the differences of the best family to each other, Holm-adjusted."""
        values = self._values(features_of(profile)[None], flops)[0]
        order = sorted(families, key=lambda f: values[f])
        raw = [self._gap(order[0], other, values) for other in order[1:]]
        adjusted = holm_adjusted([g.p for g in raw])
        return [
            Gap(better=g.better, worse=g.worse, value=g.value, low=g.low, high=g.high, p=p)
            for g, p in zip(raw, adjusted, strict=True)
        ]

    def gan_or_not(
        self, profile: Mapping[str, float], flops: float, families: Sequence[str]
    ) -> Gap | None:
        """Returns the difference of the best adversarial family and the best other one.

        None if there is none of one side.
        """
        values = self._values(features_of(profile)[None], flops)[0]
        sides = [[f for f in families if is_adversarial(f) == side] for side in (True, False)]
        if not all(sides):
            return None
        gan, other = (min(side, key=lambda f: values[f]) for side in sides)
        better, worse = sorted((gan, other), key=lambda f: values[f])
        return self._gap(better, worse, values)

    def least_gap(self, a: str, b: str) -> float:
        """Returns the predicted difference from which two families differ significantly, 5 %."""
        if a == b or not {a, b} <= set(self.families):
            return math.inf
        return quantile(self._pair(a, b), 0.95)

    def best_on_average(self, flops: float, families: Sequence[str]) -> str:
        """Returns the family with the lowest mean error over the known worlds.

        Args:
            flops: Budget; errors are those at the nearest budget of the experiment.
            families: The families to choose from.
        """
        at = min(range(len(self.flops)), key=lambda i: abs(math.log(self.flops[i] / flops)))

        def mean(family: str) -> float:
            errors = [w.errors[family][at] for w in self.worlds if family in w.errors]
            known = [e for e in errors if e is not None]
            return sum(known) / len(known) if known else math.inf

        return min(families, key=mean)

    def _pair(self, a: str, b: str) -> Sequence[float]:
        return self.pairs[f"{a}|{b}" if f"{a}|{b}" in self.pairs else f"{b}|{a}"]

    def _gap(self, better: str, worse: str, values: Mapping[str, float]) -> Gap:
        residuals, value = self._pair(better, worse), values[worse] - values[better]
        half = quantile(residuals, LEVEL)
        p = (1 + sum(r >= value for r in residuals)) / (1 + len(residuals))
        return Gap(
            better=better, worse=worse, value=value, low=value - half, high=value + half, p=p
        )

    def drivers(
        self, profile: Mapping[str, float], family: str, flops: float
    ) -> list[tuple[str, float]]:
        """Returns by how much groups of features move the log10 error of a family.

        Each is the change of the prediction when the features of the group have their mean over
        the known worlds, with the sign of what the data's own values add; largest first.
        """
        own = features_of(profile)
        rows = [own]
        for names in GROUPS.values():
            changed = own.copy()
            changed[[NAMES.index(n) for n in names]] = math.nan
            rows.append(changed)
        values = [v[family] for v in self._values(np.array(rows), flops)]
        moved = [(group, values[0] - v) for group, v in zip(GROUPS, values[1:], strict=True)]
        return sorted(moved, key=lambda m: -abs(m[1]))

    # ------------------------------------------------------------------------
    # Known worlds, and whether the data are like them.
    # ------------------------------------------------------------------------

    @cached_property
    def _points(self) -> Array:
        return np.array([w.point for w in self.worlds])

    def nearest(self, profile: Mapping[str, float], count: int = 5) -> list[Neighbour]:
        """Returns the known worlds whose profiles are most like this one."""
        point = self.scaler.standard(features_of(profile)[None])[0]
        apart = np.sqrt(((self._points - point) ** 2).mean(1))
        order = np.argsort(apart, kind="stable")[:count]
        return [Neighbour(world=self.worlds[i], distance=float(apart[i])) for i in order]

    def applicability(self, profile: Mapping[str, float], flops: float) -> Applicability:
        """Returns whether the data and the budget are like those of the fit."""
        point = self.scaler.standard(features_of(profile)[None])[0]
        apart = np.sort(np.sqrt(((self._points - point) ** 2).mean(1)))[:_NEAR].mean()
        beyond = np.maximum(self.scaler.low - point, point - self.scaler.high)
        score = max(float(apart) / self.limits[0], float(beyond.max()) / self.limits[1])
        reasons = list(self._reasons(profile, flops, float(apart), beyond))
        return Applicability(score=score, reasons=reasons)

    def _reasons(
        self, profile: Mapping[str, float], flops: float, apart: float, beyond: Array
    ) -> Iterator[str]:
        least, most = min(self.flops), max(self.flops)
        if not least / 3 <= flops <= 3 * most:
            yield f"the budget is {flops:.2g} FLOPs, and the fit has {least:.2g} to {most:.2g}"
        lost = [n for n in NAMES if n not in profile]
        if len(lost) > len(NAMES) // 4:
            yield f"{len(lost)} of {len(NAMES)} features are missing"
        for i in np.argsort(-beyond, kind="stable")[:3]:
            if beyond[i] > self.limits[1]:
                yield self._range(NAMES[i], profile)
        if apart > self.limits[0]:
            yield (
                f"its profile is {apart / self.limits[0]:.1f} times as far from the nearest known "
                "worlds as 95 % of these are from each other"
            )

    def _range(self, name: str, profile: Mapping[str, float]) -> str:
        feature, i = FEATURES[name], NAMES.index(name)
        ends = [
            float(self.scaler.mean[i] + self.scaler.scale[i] * end[i])
            for end in (self.scaler.low, self.scaler.high)
        ]
        low, high = (math.exp(e) if feature.scale == "log" else e for e in ends)
        label = feature.label[0].lower() + feature.label[1:]
        return f"{label} is {shown(profile[name])}, and the fit has {shown(low)} to {shown(high)}"

    def steepness(self, profile: Mapping[str, float], family: str) -> Steepness | None:
        """Returns when the ten nearest worlds left the steep part; None without curves."""
        curves = [
            list(_curve(n.world.errors[family], n.world.steps[family]))
            for n in self.nearest(profile, 10)
            if family in n.world.errors
        ]
        curves = [c for c in curves if len(c) > 1]
        if not curves:
            return None
        ends = [_steep_end(c) for c in curves]
        return Steepness(
            left=sorted(e for e in ends if e is not None),
            steep=sum(e is None for e in ends),
            most=max(c[-1][0] for c in curves),
        )

    # ------------------------------------------------------------------------
    # Plain data.
    # ------------------------------------------------------------------------

    def to_json(self) -> str:
        """Returns the predictor as text."""
        plain = {
            "version": VERSION,
            "command": self.command,
            "features": list(NAMES),
            "families": list(self.families),
            "flops": list(self.flops),
            "chosen": dict(self.chosen),
            "scores": {f: {k: round(v, 4) for k, v in s.items()} for f, s in self.scores.items()},
            "limits": rounded(np.array(self.limits)),
            "scaler": self.scaler.plain(),
            "residuals": {f: list(r) for f, r in self.residuals.items()},
            "pairs": {f: list(r) for f, r in self.pairs.items()},
            "models": {name: m.plain() for name, m in self.models.items()},
            "worlds": [
                {
                    "form": w.form,
                    "point": list(w.point),
                    "errors": dict(w.errors),
                    "steps": dict(w.steps),
                }
                for w in self.worlds
            ],
        }
        lines = (f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in plain.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> "Predictor":
        """Returns the predictor that ``to_json`` wrote.

        Raises:
            UserError: If it was fitted to other features, or is of another version.
        """
        plain = json.loads(text)
        if plain.get("version") != VERSION or tuple(plain.get("features", ())) != NAMES:
            raise UserError(
                "The predictor was made by another version of Gantlet. Run gantlet forecast with "
                "--refit."
            )
        return cls(
            command=plain["command"],
            families=tuple(plain["families"]),
            flops=plain["flops"],
            scaler=Scaler.from_plain(plain["scaler"]),
            models={name: from_plain(m) for name, m in plain["models"].items()},
            chosen=plain["chosen"],
            residuals=plain["residuals"],
            pairs=plain["pairs"],
            worlds=[
                KnownWorld(
                    form=w["form"],
                    point=tuple(w["point"]),
                    errors=w["errors"],
                    steps=w["steps"],
                )
                for w in plain["worlds"]
            ],
            limits=(plain["limits"][0], plain["limits"][1]),
            scores=plain["scores"],
        )


def shipped() -> Predictor:
    """Returns the predictor that comes with Gantlet.

    Raises:
        UserError: If this installation has none.
    """
    file = files("gantlet.forecast").joinpath(SHIPPED)
    if not file.is_file():
        raise UserError(
            "This installation has no fitted predictor. Run gantlet study distributions, and give "
            "its run directory with --refit."
        )
    return Predictor.from_json(file.read_text(encoding="utf-8"))


def shown(value: float) -> str:
    """Returns a feature for a reader.

    Example:
        >>> shown(15999.7), shown(0.12345)
        ('16,000', '0.123')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def is_adversarial(family: str) -> bool:
    """Returns whether a family is trained against a critic.

    Example:
        >>> is_adversarial("wgan-gp"), is_adversarial("flow-gan"), is_adversarial("flow")
        (True, True, False)
    """
    return "gan" in family.partition(":")[0]


def resized(profile: Mapping[str, float], n: float) -> dict[str, float]:
    """Returns the profile as it would be with ``n`` training samples of the same distribution."""
    found = {**profile, "n": float(n)}
    if "id_mle" in found:
        found["samples_per_dimension"] = math.log(n) / found["id_mle"]
        found["coverage"] = math.log(n) - found["id_mle"]
    return found


# ----------------------------------------------------------------------------
# Parts of a fit.
# ----------------------------------------------------------------------------


def _refitted(candidate: str, x: Array, y: Array) -> Regression:
    parts = [_fitted(FITS[name], x, y) for name in BLENDS[candidate]]
    return parts[0] if len(parts) == 1 else Mean(parts)


def _thinned(residuals: Array) -> list[float]:
    """Returns sorted absolute values, at most 400 of them, evenly in rank."""
    known = np.sort(np.abs(residuals[~np.isnan(residuals)]))
    if len(known) > _KEPT_RESIDUALS:
        known = known[np.linspace(0, len(known) - 1, _KEPT_RESIDUALS).round().astype(int)]
    return rounded(known, 4)


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
        inside, outside = cells.take(~own), cells.take(own)
        scaler, targets = Scaler.of(inside), targets_of(inside)
        x = scaler.inputs(inside.features, inside.flops)
        new = scaler.inputs(outside.features, outside.flops)
        predicted = [_refitted(b, x, y).predict(new) for b, y in zip(best, targets.T, strict=True)]
        residuals[own] = outside.seeds - _summed(np.column_stack(predicted))[:, :, None]
    return residuals


def _inflated(own: Array, foreign: Array) -> list[float]:
    """Returns absolute residuals, multiplied so that their quantile is that of foreign ones."""
    known = [np.abs(r[~np.isnan(r)]).tolist() for r in (own, foreign)]
    near, far = (quantile(r, LEVEL) for r in known)
    factor = max(far / near, 1.0) if math.isfinite(far) and 0 < near < math.inf else 1.0
    return _thinned(factor * own)


def _residuals(found: OutOfFold, foreign: Array) -> Iterator[list[float]]:
    for i in range(len(found.cells.families)):
        yield _inflated(found.residuals[:, i].ravel(), foreign[:, i].ravel())


def _pair_residuals(found: OutOfFold, foreign: Array) -> Iterator[tuple[str, list[float]]]:
    families = found.cells.families
    for i, j in combinations(range(len(families)), 2):
        own, other = (r[:, i] - r[:, j] for r in (found.residuals, foreign))
        yield f"{families[i]}|{families[j]}", _inflated(own.ravel(), other.ravel())


def _known_worlds(table: Experiment, scaler: Scaler) -> Iterator[KnownWorld]:
    cells = table.cells
    budgets = sorted(set(cells.flops.tolist()))
    for i, world in enumerate(table.worlds):
        rows = {float(f): r for r, f in enumerate(cells.flops) if cells.world[r] == i}
        if not rows:
            continue
        point = scaler.standard(features_of(world.profile)[None])[0]
        yield KnownWorld(
            form=world.form,
            point=tuple(rounded(point, 4)),
            errors=_by_family(cells.errors, cells.families, rows, budgets),
            steps=_by_family(cells.steps, cells.families, rows, budgets),
        )


def _by_family(
    values: Array, families: Sequence[str], rows: Mapping[float, int], budgets: Sequence[float]
) -> dict[str, list[float | None]]:
    def at(budget: float, family: int) -> float | None:
        value = float(values[rows[budget], family]) if budget in rows else math.nan
        return None if math.isnan(value) else float(f"{value:.4g}")

    return {f: [at(b, i) for b in budgets] for i, f in enumerate(families)}


def _limits(cells: Cells) -> tuple[float, float]:
    """Returns 95th percentiles of distance and range of each block to the others."""
    _, first = np.unique(cells.world, return_index=True)
    worlds = cells.take(first)
    near, beyond = [], []
    for block in np.unique(worlds.block):
        inside, outside = worlds.take(worlds.block != block), worlds.take(worlds.block == block)
        scaler = Scaler.of(inside)
        others, own = scaler.standard(inside.features), scaler.standard(outside.features)
        apart = np.sqrt(((own[:, None] - others[None]) ** 2).mean(2))
        near += np.sort(apart, axis=1)[:, :_NEAR].mean(1).tolist()
        beyond += np.maximum(scaler.low - own, own - scaler.high).max(1).tolist()
    return float(np.quantile(near, 0.95)), max(float(np.quantile(beyond, 0.95)), 0.1)


def _scores(found: OutOfFold) -> Iterator[tuple[str, dict[str, float]]]:
    errors = found.cells.errors
    for i, family in enumerate(found.cells.families):
        known = ~np.isnan(errors[:, i])
        y, gap = errors[known, i], (errors - found.chosen)[known, i]
        spread = float(((y - y.mean()) ** 2).sum())
        r2 = 1 - float((gap**2).sum()) / spread if spread > 0 else 0.0
        yield family, {"r2": r2, "mae": float(np.abs(gap).mean())}


def _curve(
    errors: Sequence[float | None], steps: Sequence[float | None]
) -> Iterator[tuple[float, float]]:
    for s, e in zip(steps, errors, strict=True):
        if s is not None and e is not None:
            yield s, e


def _steep_end(curve: Sequence[tuple[float, float]]) -> float | None:
    """Returns the steps after which the next budget improves the error by less than a fifth."""
    for (steps, error), (_, after) in pairwise(curve):
        if error - after < _STEEP:
            return steps
    return None
