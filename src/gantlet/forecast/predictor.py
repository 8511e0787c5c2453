"""Predicts the error of a family on a data set from its profile, without training.

The models are those of ``candidates``. Deviations of families that cannot be predicted become
constants, so that the family that is best on average is advised. Intervals are split-conformal,
from the residuals on configurations that were left out.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations, pairwise
from typing import final

import numpy as np

from gantlet.core.errors import UserError, unknown
from gantlet.core.estimate import Estimate
from gantlet.forecast.candidates import (
    OutOfFold,
    Scaler,
    best_candidates,
    fit_of,
    fitted,
    foreign_residuals,
    kind_of,
    out_of_fold,
    targets_of,
)
from gantlet.forecast.estimators import Array
from gantlet.forecast.experiment import (
    NAMES,
    VERSION,
    Cells,
    Experiment,
    features_of,
    text_of_shipped,
)
from gantlet.forecast.models import Regression, from_plain, quantile, rounded
from gantlet.forecast.profile import FEATURES
from gantlet.stats.intervals import holm_adjusted

LEVEL = 0.9
"""Coverage of the intervals."""

SIGNIFICANT = 0.05
"""Level of the tests of differences."""

SHIPPED = "predictor.json"

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

_NEAR, _KEPT_RESIDUALS = 3, 400
_STEEP = 0.1
"""A training is on the steep part of its curve while three times the budget improves the error by
more than this, in log10: a fifth."""


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
    point: Sequence[float]
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
            models={
                name: fitted(fit_of(b), x, y)
                for name, b, y in zip(names, best, targets.T, strict=True)
            },
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
        check_families(families, self.families)

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
        value = float(self.values(features_of(profile)[None], flops)[0][family])
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

    def values(self, features: Array, flops: float) -> list[dict[str, float]]:
        """Returns the predicted log10 errors by family of each row of coded features, ``(k, p)``.

        They are also predicted where the predictor does not apply.
        """
        x = self.scaler.inputs(features, np.full(len(features), flops))
        common = self.models[COMMON].predict(x)
        parts = {f: common + self.models[f].predict(x) for f in self.families}
        return [{f: float(p[i]) for f, p in parts.items()} for i in range(len(features))]

    def gaps(
        self, profile: Mapping[str, float], flops: float, families: Sequence[str]
    ) -> list[Gap]:
        """Returns the differences of the best family to each other, Holm-adjusted."""
        values = self.values(features_of(profile)[None], flops)[0]
        order = sorted(families, key=lambda f: values[f])
        raw = [self._gap(order[0], other, values) for other in order[1:]]
        adjusted = holm_adjusted([g.p for g in raw])
        return [replace(g, p=p) for g, p in zip(raw, adjusted, strict=True)]

    def gan_or_not(
        self, profile: Mapping[str, float], flops: float, families: Sequence[str]
    ) -> Gap | None:
        """Returns the difference of the best adversarial family and the best other one.

        None if there is none of one side.
        """
        values = self.values(features_of(profile)[None], flops)[0]
        sides = [[f for f in families if is_adversarial(f) == side] for side in (True, False)]
        if not all(sides):
            return None
        gan, other = (min(side, key=lambda f: values[f]) for side in sides)
        better, worse = sorted((gan, other), key=lambda f: values[f])
        return self._gap(better, worse, values)

    def least_gap(self, a: str, b: str) -> float:
        """Returns the predicted difference from which two families differ at the 5 % level."""
        if a == b or not {a, b} <= set(self.families):
            return math.inf
        return quantile(self._pair(a, b), 1 - SIGNIFICANT)

    def nearest_budget(self, flops: float) -> int:
        """Returns the index of the budget of the experiment with the nearest logarithm."""
        return min(range(len(self.flops)), key=lambda i: abs(math.log(self.flops[i] / flops)))

    def best_on_average(self, flops: float, families: Sequence[str]) -> str:
        """Returns the family with the lowest mean error over the known worlds.

        Args:
            flops: Budget; errors are those at the nearest budget of the experiment.
            families: The families to choose from.
        """
        at = self.nearest_budget(flops)

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
        values = [v[family] for v in self.values(np.array(rows), flops)]
        moved = [(group, values[0] - v) for group, v in zip(GROUPS, values[1:], strict=True)]
        return sorted(moved, key=lambda m: -abs(m[1]))

    # ------------------------------------------------------------------------
    # Known worlds, and whether the data are like them.
    # ------------------------------------------------------------------------

    @cached_property
    def _points(self) -> Array:
        return np.array([w.point for w in self.worlds])

    def _distances(self, point: Array) -> Array:
        """Returns how far standardized features are from each known world, shape ``(worlds,)``."""
        apart: Array = _apart(point[None], self._points)[0]
        return apart

    def nearest(self, profile: Mapping[str, float], count: int = 5) -> list[Neighbour]:
        """Returns the known worlds whose profiles are most like this one."""
        apart = self._distances(self.scaler.standard(features_of(profile)[None])[0])
        order = np.argsort(apart, kind="stable")[:count]
        return [Neighbour(world=self.worlds[i], distance=float(apart[i])) for i in order]

    def applicability(self, profile: Mapping[str, float], flops: float) -> Applicability:
        """Returns whether the data and the budget are like those of the fit."""
        point = self.scaler.standard(features_of(profile)[None])[0]
        apart = float(np.sort(self._distances(point))[:_NEAR].mean())
        beyond = np.maximum(self.scaler.low - point, point - self.scaler.high)
        score = max(apart / self.limits[0], float(beyond.max()) / self.limits[1])
        reasons = list(self._reasons(profile, flops, apart, beyond))
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
                label, value = FEATURES[NAMES[i]].label, profile[NAMES[i]]
                label = label[0].lower() + label[1:]
                yield f"{label} is {shown(value)}, and the fit has {self.range_of(NAMES[i])}"
        if apart > self.limits[0]:
            yield (
                f"its profile is {apart / self.limits[0]:.1f} times as far from the nearest known "
                "worlds as 95 % of these are from each other"
            )

    def range_of(self, name: str) -> str:
        """Returns the smallest and largest value of a feature among the known worlds, in words."""
        ends = self.scaler.ends(name)
        # What is zero but for rounding is written as zero.
        tiny = 1e-4 * max(map(abs, ends))
        low, high = (shown(0.0 if abs(v) < tiny else v) for v in ends)
        return f"{low} to {high}"

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
            "worlds": [asdict(w) for w in self.worlds],
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
            worlds=[KnownWorld(**w) for w in plain["worlds"]],
            limits=(plain["limits"][0], plain["limits"][1]),
            scores=plain["scores"],
        )


def shipped() -> Predictor:
    """Returns the predictor that comes with Gantlet.

    Raises:
        UserError: If this installation has none.
    """
    return Predictor.from_json(text_of_shipped(SHIPPED, "fitted predictor"))


def check_families(asked: Sequence[str], known: Sequence[str]) -> None:
    """Checks the names of families.

    Raises:
        UserError: If one is not among those of the experiment.
    """
    for name in asked:
        if name not in known:
            raise unknown("family of the experiment", name, known)


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


def _thinned(residuals: Array) -> list[float]:
    """Returns sorted absolute values, at most 400 of them, evenly in rank."""
    known = np.sort(np.abs(residuals[~np.isnan(residuals)]))
    if len(known) > _KEPT_RESIDUALS:
        known = known[np.linspace(0, len(known) - 1, _KEPT_RESIDUALS).round().astype(int)]
    return rounded(known, 4)


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
            point=rounded(point, 4),
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


def _apart(a: Array, b: Array) -> Array:
    """Returns root mean squared differences of standardized features, shape ``(m, worlds)``."""
    found: Array = np.sqrt(((a[:, None] - b[None]) ** 2).mean(2))
    return found


def _limits(cells: Cells) -> tuple[float, float]:
    """Returns 95th percentiles of distance and range of each block to the others."""
    _, first = np.unique(cells.world, return_index=True)
    worlds = cells.take(first)
    near, beyond = [], []
    for block in np.unique(worlds.block):
        inside, outside = worlds.take(worlds.block != block), worlds.take(worlds.block == block)
        scaler = Scaler.of(inside)
        others, own = scaler.standard(inside.features), scaler.standard(outside.features)
        near += np.sort(_apart(own, others), axis=1)[:, :_NEAR].mean(1).tolist()
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
