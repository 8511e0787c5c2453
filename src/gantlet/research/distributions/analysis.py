"""Statistics of the experiment: families side by side, effects of factors, correlations."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gantlet.core.estimate import Better, Estimate
from gantlet.core.spec import Spec
from gantlet.report.blocks import Series
from gantlet.research.distributions.design import FACTORS
from gantlet.research.distributions.table import Experiment
from gantlet.stats.intervals import LEVEL, holm_adjusted, mean, t_quantile

Array: TypeAlias = NDArray[np.float64]

RESAMPLES = 2_000
"""Bootstrap samples of the worlds behind each interval of a correlation."""

# ----------------------------------------------------------------------------
# The errors as a table of worlds and families.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Errors at one budget, means over seeds, of the worlds on which every family was trained.

    Attributes:
        worlds: Numbers of these worlds in the table.
        families: Short names.
        values: Errors, shape ``(worlds, families)``.
    """

    worlds: tuple[int, ...]
    families: tuple[str, ...]
    values: Array

    @classmethod
    def of(cls, table: Experiment, flops: float, *, real: bool) -> "Errors":
        """Returns the errors at a budget, of real sets or of worlds of the design."""
        found: dict[tuple[int, str], list[float]] = {}
        for row in table["results"]:
            if row["flops"] == flops and table["worlds"][row["world"]]["real"] == real:
                found.setdefault((row["world"], row["family"]), []).append(row["error"])
        names = [n for n in table["families"] if any(n == family for _, family in found)]
        numbers = sorted({world for world, _ in found})
        whole = [w for w in numbers if all((w, n) in found for n in names)]
        values = [[float(np.mean(found[w, n])) for n in names] for w in whole]
        shape = (len(whole), len(names))
        return cls(tuple(whole), tuple(names), np.array(values, dtype=float).reshape(shape))

    def only(self, worlds: Sequence[int]) -> "Errors":
        """Returns the errors on some of the worlds."""
        kept = [i for i, w in enumerate(self.worlds) if w in set(worlds)]
        return Errors(tuple(self.worlds[i] for i in kept), self.families, self.values[kept])

    def __getitem__(self, family: str) -> Array:
        """Returns the errors of a family, shape ``(worlds,)``."""
        values: Array = self.values[:, self.families.index(family)]
        return values


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response beside the error.

    Attributes:
        name: In the table of the experiment.
        label: In reports.
        help: What it is.
        better: Which way is better; None where neither is.
        unit: Unit in reports.
        scale: What the number of the table is multiplied by for that unit.
    """

    name: str
    label: str
    help: str
    better: Better | None = None
    unit: str = "1"
    scale: float = 1.0


RESPONSES = (
    Response(
        name="c2st_auc",
        label="C2ST AUC",
        help="area under the curve of telling real from fake by nearest neighbours; .5 is best",
        better="lower",
    ),
    Response(
        name="precision",
        label="precision",
        help="share of fake samples within the balls of real ones",
        better="higher",
    ),
    Response(
        name="recall",
        label="recall",
        help="share of real samples within the balls of fake ones",
        better="higher",
    ),
    Response(
        name="support_ratio",
        label="effective support",
        help="over that of real samples, by collisions; above 1 where samples leave the support",
    ),
    Response(
        name="off_support",
        label="off support",
        help="share of samples off the support, where it is known",
        better="lower",
    ),
    Response(
        name="sampling_ms",
        label="sampling",
        help="CPU time of a sample, many drawn at once",
        better="lower",
        unit="s",
        scale=1e-3,
    ),
)


def means_of(table: Experiment, errors: Errors, of: Response) -> dict[str, Estimate]:
    """Returns the mean of a response over the worlds of ``errors`` at the largest budget.

    Args:
        table: The experiment.
        errors: The worlds and families.
        of: The response.

    Returns:
        By family; only those of which it was measured on a world.
    """
    found: dict[tuple[str, int], list[float]] = {}
    for row in table["results"]:
        if row["flops"] == table["flops"][-1] and of.name in row["more"]:
            value = of.scale * row["more"][of.name]
            found.setdefault((row["family"], row["world"]), []).append(value)
    made: dict[str, Estimate] = {}
    for family in errors.families:
        values = [float(np.mean(found[family, w])) for w in errors.worlds if (family, w) in found]
        if values:
            made[family] = mean(values, of="worlds", better=of.better, unit=of.unit)
    return made


# ----------------------------------------------------------------------------
# Which family has the lowest error.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Standing:
    """The families on a group of worlds.

    Attributes:
        group: Its name.
        count: Number of worlds.
        means: Mean error of each family.
        best: The family with the lowest mean.
        gaps: Paired difference of each other family to the best.
    """

    group: str
    count: int
    means: Mapping[str, Estimate]
    best: str
    gaps: Mapping[str, Estimate]


def standing(group: str, errors: Errors) -> Standing:
    """Returns how the families do on these worlds."""
    means = {f: mean(list(errors[f]), of="worlds", better="lower") for f in errors.families}
    best = min(means, key=lambda f: means[f].value or 0.0)
    gaps = {
        f: mean(list(errors[f] - errors[best]), of="worlds, paired")
        for f in errors.families
        if f != best
    }
    return Standing(group, len(errors.worlds), means, best, gaps)


def student_p(e: Estimate, free: int) -> float:
    """Returns the exact two-sided p-value of "it is 0" behind an interval of Student's t.

    ``gantlet.stats.intervals.p_value`` takes every interval for a normal one. That is near enough
    at 5 %, but Holm's procedure asks for p-values of a thousandth, which ten worlds give far more
    rarely than a normal distribution would say.

    Args:
        e: A mean, a paired difference or a regression coefficient with its interval.
        free: Degrees of freedom of the interval.

    Example:
        >>> from gantlet.stats.intervals import mean
        >>> round(student_p(mean([1.0, 2.0, 3.0]), 2), 3)
        0.074
    """
    from scipy.special import stdtr

    if e.value is None or e.high is None or free < 1 or e.value == 0:
        return 1.0
    error = (e.high - e.value) / t_quantile((1 + e.level) / 2, free)
    return 2 * float(stdtr(free, -abs(e.value) / error)) if error > 0 else 0.0


def ties(standings: Sequence[Standing], *, level: float = 0.05) -> list[list[str]]:
    """Returns for each group the families that are not significantly worse than its best.

    Paired t tests over worlds; all comparisons of all groups are one family of tests, by Holm's
    procedure. The best was chosen on the same worlds, so that the test is of a difference that
    was looked for.
    """
    tests = [(i, f, gap) for i, s in enumerate(standings) for f, gap in s.gaps.items()]
    adjusted = holm_adjusted([student_p(gap, gap.n - 1) for _, _, gap in tests])
    found: list[list[str]] = [[] for _ in standings]
    for (i, family, _), p in zip(tests, adjusted, strict=True):
        if p > level:
            found[i].append(family)
    return found


def groups(table: Experiment, errors: Errors) -> Iterator[tuple[tuple[str, str], Errors]]:
    """Yields each factor and level, ``process`` and each kind of these, with the worlds in it."""
    specs = {w: Spec.parse(table["worlds"][w]["form"]) for w in errors.worlds}
    for factor, levels in FACTORS.items():
        for level in dict.fromkeys(levels):
            held = [
                w
                for w, spec in specs.items()
                if spec.name == "manifolds" and _same(spec.options[factor], level)
            ]
            if held:
                yield (factor, str(level)), errors.only(held)
    kinds = dict.fromkeys(s.options["kind"] for s in specs.values() if s.name == "process")
    for kind in kinds:
        held = [w for w, s in specs.items() if s.options.get("kind") == kind]
        yield ("process", str(kind)), errors.only(held)


def _same(a: str, b: str) -> bool:
    try:
        return float(a) == float(b)
    except ValueError:
        return a == b


# ----------------------------------------------------------------------------
# Main effects of the factors by least squares.
# ----------------------------------------------------------------------------

CATEGORIES = ("edges", "topology", "balance")
"""Factors without an order: each level has an effect of its own, against the first."""


def coded(form: str) -> dict[str, float]:
    """Returns the factors of a union of manifolds as regressors.

    An ordered factor goes from 0 at its first level to 1 at its last in equal steps, so that its
    coefficient is the effect of going from the first to the last.
    """
    options = Spec.parse(form).options
    found: dict[str, float] = {}
    for factor, levels in FACTORS.items():
        distinct = list(dict.fromkeys(levels))
        place = next(i for i, level in enumerate(distinct) if _same(options[factor], level))
        if factor in CATEGORIES:
            found |= {f"{factor} {k}": float(i + 1 == place) for i, k in enumerate(distinct[1:])}
        else:
            name = f"{factor} {distinct[0]} to {distinct[-1]}"
            found[name] = place / (len(distinct) - 1)
    return found


def main_effects(forms: Sequence[str], y: Array) -> dict[str, Estimate]:
    """Returns the effect of each factor on ``y`` with all others held, by least squares.

    The variance is estimated without the assumption that it is the same everywhere (HC3;
    MacKinnon and White, 1985, https://doi.org/10.1016/0304-4076(85)90158-7).

    Args:
        forms: The unions of manifolds.
        y: One number for each, shape ``(n,)``.
    """
    factors = [coded(form) for form in forms]
    names = [n for n in factors[0] if len({f[n] for f in factors}) > 1] if factors else []
    x = np.array([[1.0, *(f[n] for n in names)] for f in factors])
    free = len(y) - len(names) - 1
    if free < 2 or np.linalg.matrix_rank(x) < x.shape[1]:
        return {n: Estimate.missing("too few worlds") for n in names}
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ y
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    weight = ((y - x @ beta) / np.maximum(1 - leverage, 1e-6)) ** 2
    covariance = inverse @ (x.T * weight) @ x @ inverse
    half = t_quantile((1 + LEVEL) / 2, free) * np.sqrt(np.diag(covariance))
    method = f"least squares over {len(y)} worlds, HC3, t with {free} degrees of freedom"
    return {
        name: Estimate(
            value=float(beta[i]),
            low=float(beta[i] - half[i]),
            high=float(beta[i] + half[i]),
            n=len(y),
            method=method,
        )
        for i, name in enumerate(names, start=1)
    }


def effect_p(effect: Estimate, effects: int) -> float:
    """Returns the p-value of one of so many effects of one regression."""
    return student_p(effect, effect.n - effects - 1)


def shown(e: Estimate, form: str = "+.2f") -> str:
    """Returns an estimate with its interval for a sentence, or why there is no number.

    Example:
        >>> shown(Estimate(value=1.0, low=0.5, high=1.5)), shown(Estimate.missing("too few"))
        ('+1.00 [+0.50, +1.50]', 'too few')
    """
    if e.value is None:
        return e.method
    if e.low is None or e.high is None:
        return f"{e.value:{form}}"
    return f"{e.value:{form}} [{e.low:{form}}, {e.high:{form}}]"


def curve(name: str, x: Sequence[float], means: Sequence[Estimate]) -> Series:
    """Returns estimates, one for each position, as a line with a band; a missing one breaks it."""

    def known(values: Iterable[float | None]) -> list[float]:
        return [math.nan if v is None else v for v in values]

    return Series(
        name=name,
        x=[float(v) for v in x],
        y=known(e.value for e in means),
        low=known(e.low for e in means),
        high=known(e.high for e in means),
    )


# ----------------------------------------------------------------------------
# Rank correlations.
# ----------------------------------------------------------------------------


def spearman(x: Array, y: Array) -> Array:
    """Returns the rank correlation along the last axis; 0 where one side is constant."""
    from scipy.stats import rankdata

    a, b = (rankdata(values, axis=-1).astype(float) for values in (x, y))
    a = a - a.mean(-1, keepdims=True)
    b = b - b.mean(-1, keepdims=True)
    norm = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    found: Array = (a * b).sum(-1) / np.where(norm > 0, norm, np.inf)
    return found


def correlation(x: Array, y: Array, *, against: Array | None = None) -> Estimate:
    """Returns the rank correlation of ``x`` and ``y`` with a bootstrap interval.

    Args:
        x: One number for each world, shape ``(n,)``.
        y: Another one.
        against: Where given, the result is the difference of the correlations of ``x`` with ``y``
            and with this.
    """
    n = len(x)
    if n < 8:
        return Estimate.missing(f"a correlation of {n} worlds says nothing")
    index = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    drawn = spearman(x[index], y[index])
    value = float(spearman(x, y))
    if against is not None:
        drawn = drawn - spearman(x[index], against[index])
        value -= float(spearman(x, against))
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Estimate(
        value=value,
        low=float(min(low, value)),
        high=float(max(high, value)),
        n=n,
        method=f"Spearman over {n} worlds, bootstrap of {RESAMPLES} resamples",
    )


def feature(table: Experiment, worlds: Sequence[int], name: str) -> Array:
    """Returns a feature of the profiles of worlds; NaN where a world has none."""
    return np.array([table["worlds"][w]["profile"].get(name, math.nan) for w in worlds])
