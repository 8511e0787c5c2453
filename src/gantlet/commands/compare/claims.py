"""Significance of differences between models: of trained ones and of their recipes.

*These trained models differ* asks whether fresh samples of the same networks, against fresh real
ones, would show the difference again. One seed is enough. The numbers of both rest on the same
held-out samples, whose part cancels (``gantlet.stats.jackknife``).

*The recipes differ* asks whether training again, with other seeds, would. With ``k`` seeds of each
of ``M`` models, the variance of a seed is taken from the model itself and from all of them,

    s~_i^2 = max(s_i^2, (d s_i^2 + c mean_j s_j^2) / (d + c)),
    d = k - 1,  c = min((M - 2) d / 6, 4),

with ``d + c`` degrees of freedom, and never below what drawing the samples alone gives. A
difference of two means has the variance ``(s~_a^2 + s~_b^2) / k`` and that of the held-out samples
on top, the degrees of freedom of Satterthwaite (1946), for two models alone those of one of them,
and is compared with Student's t. The arithmetic mean and the maximum make it cautious where the
models' variances differ. Simulated for 2 to 14 models and 2 to
5 seeds, with variances that are equal, that differ up to 25 times, and that are log-normal with a
standard deviation of up to 1.5 of the logarithm, some pair of equal models is called different by
Holm's procedure over all pairs in at most 4.7 % of comparisons (``benchmarks/recipe_claims.py``);
with 9 models and 3 seeds a difference of six standard deviations is found in 87 %, by Student's t
on paired differences in 7 %.

Source: for borrowing variance, Smyth, 2004, https://doi.org/10.2202/1544-6115.1027.
Differs from the paper: a fixed weight and an arithmetic mean in place of an estimated prior, which
here makes false claims in up to 15 % where variances differ.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, median, variance
from typing import final

from gantlet.commands import standings
from gantlet.commands.cost import nearest
from gantlet.commands.standings import (
    ModelResults,
    is_reference,
    measured_distances,
    on_ranking_features,
)
from gantlet.commands.trained import ModelTrial
from gantlet.core.estimate import REAL, Estimate
from gantlet.report.format import text as shown
from gantlet.run.store import Run
from gantlet.run.trials import space_of
from gantlet.stats.intervals import Variance, around, holm, p_value, t_quantile, total
from gantlet.stats.jackknife import Detailed, difference, unpaired

# ----------------------------------------------------------------------------
# Which models the budget left undertrained: no ranking is read without knowing that.
# ----------------------------------------------------------------------------

MARK = "†"
"""What stands beside an undertrained model in tables."""

RULE = (
    "Undertrained: the validation loss still falls over the last third of training (Mann-Kendall "
    "test over all seeds at 5 %, and by at least a quarter of what it fell in the third before), "
    "or fewer steps than such a family needed on the nearest published data, or fewer than 200."
)

_LEAST = 4  # points in a third
_Z = 1.645
_LOSING = 0.25
FEW_STEPS = 200
"""So many steps are few for any family where no published run can be compared with."""


@final
@dataclass(frozen=True, slots=True)
class Undertrained:
    """A model that had not been trained enough when its budget was spent.

    Attributes:
        contestant: The model.
        signs: What shows it, one phrase each.
    """

    contestant: ModelResults
    signs: tuple[str, ...]


def undertrained(everyone: Sequence[ModelResults], run: Run | None) -> list[Undertrained]:
    """Returns those models that are undertrained, with the signs."""
    found = [Undertrained(c, _signs(c, run)) for c in everyone if c.values(standings.STEPS)]
    return [u for u in found if u.signs]


def _signs(c: ModelResults, run: Run | None) -> tuple[str, ...]:
    steps = fmean(c.values(standings.STEPS).values())
    if steps == 0:  # fitted directly
        return ()
    signs = []
    if run is not None and still_falls(_curves(c, run)):
        signs.append("validation loss still falling at the end")
    if few := _few(c, steps):
        signs.append(few)
    return tuple(signs)


def _curves(c: ModelResults, run: Run) -> list[list[float]]:
    loaded = (run.folder(o.trial).load_curve() for o in c.outcomes.values())
    return [[float(p["validation"]) for p in x if p["validation"] is not None] for x in loaded]


def still_falls(curves: Sequence[Sequence[float]]) -> bool:
    """Returns whether validation losses still fall at their ends, by trend and by size.

    The trend is Mann and Kendall's over the last third of each curve, at 5 %, summed over curves.
    It knows no size, and a smooth curve has one whatever its slope; so the median fall over the
    last third, by the slope of Theil and Sen, must also be a quarter of that in the third before.

    Source: Mann, 1945, https://doi.org/10.2307/1907187; Sen, 1968,
    https://doi.org/10.1080/01621459.1968.10480934.

    Example:
        >>> still_falls([[9 - i for i in range(9)] + [0.9 - 0.3 * i for i in range(9)]])
        True
        >>> still_falls([[9 - i for i in range(9)] + [0, 0.01, 0, -0.01, 0, 0.01, 0, 0, 0.01]])
        False
    """
    thirds = [(_third(c, 1), _third(c, 2)) for c in curves if len(c) >= 2 * _LEAST]
    if not thirds:
        return False
    trend = sum(_kendall(last) for _, last in thirds)
    n = [len(last) for _, last in thirds]
    spread = math.sqrt(sum(k * (k - 1) * (2 * k + 5) / 18 for k in n))
    if trend > 0 or (-trend - 1) / spread < _Z:
        return False
    last = median(slope(last) for _, last in thirds)
    before = median(slope(before) for before, _ in thirds)
    return last < min(_LOSING * before, 0.0)


def _third(curve: Sequence[float], which: int) -> Sequence[float]:
    """Returns the middle (1) or the last (2) third, of at least four points."""
    size = max(_LEAST, len(curve) // 3)
    end = len(curve) - (2 - which) * size
    return curve[max(end - size, 0) : end]


def _kendall(y: Sequence[float]) -> int:
    return sum((y[j] > y[i]) - (y[j] < y[i]) for i in range(len(y)) for j in range(i + 1, len(y)))


def slope(y: Sequence[float]) -> float:
    """Returns the median of all slopes between two points."""
    n = len(y)
    return median((y[j] - y[i]) / (j - i) for i in range(n) for j in range(i + 1, n))


def _few(c: ModelResults, steps: float) -> str:
    """Returns in words that a model made few steps, or nothing."""
    trial = next(iter(c.outcomes.values())).trial
    known = nearest(c.model, space_of(ModelTrial.of(trial).data))
    if known is None:
        return f"only {_steps(steps)}" if steps < FEW_STEPS else ""
    if steps >= (known.steps or known.most):
        return ""
    return f"{_steps(steps)}, and {known.text()}"


def _steps(steps: float) -> str:
    """Returns a number of steps in words.

    Example:
        >>> _steps(1.0), _steps(1234.5)
        ('1 step', '1,234 steps')
    """
    number = f"{steps:,.0f}"
    return f"{number} step{'' if number == '1' else 's'}"


# ----------------------------------------------------------------------------
# What may be said of two models: that these trained ones differ, and that their recipes do.
# ----------------------------------------------------------------------------

LEVEL = 0.05
_MOST_BORROWED = 4.0
_MOST_SEEDS = 10_000


@final
@dataclass(frozen=True, slots=True, eq=False)
class ScoreGap:
    """How much of a score one model has more than another, and whether that is sure.

    Attributes:
        a: The one.
        b: The other.
        score: The name of the score.
        estimate: The score of ``a`` minus that of ``b``, with its interval alone.
        p: The chance of so large a difference between equals.
        is_sure: Whether Holm's procedure over all pairs and scores rejects equality.
    """

    a: ModelResults
    b: ModelResults
    score: str
    estimate: Estimate
    p: float
    is_sure: bool = False


@final
@dataclass(frozen=True, slots=True, eq=False)
class Claims:
    """All pairs of some models, on some scores, tested together.

    Attributes:
        gaps: The pairs.
    """

    gaps: tuple[ScoreGap, ...]

    def of(self, a: ModelResults, b: ModelResults, score: str) -> ScoreGap | None:
        """Returns the gap of ``a`` to ``b``, or None where it was not tested."""
        for gap in self.gaps:
            if gap.score == score and gap.a is a and gap.b is b:
                return gap
            if gap.score == score and gap.a is b and gap.b is a:
                return ScoreGap(a, b, score, _turned(gap.estimate), gap.p, gap.is_sure)
        return None

    def is_sure(self, a: ModelResults, b: ModelResults, score: str) -> bool:
        """Returns whether two models surely differ."""
        gap = self.of(a, b, score)
        return gap is not None and gap.is_sure

    def open_pairs(self, score: str) -> list[ScoreGap]:
        """Returns the pairs that are not significantly different."""
        return [g for g in self.gaps if g.score == score and not g.is_sure]


def trained_claims(group: Sequence[ModelResults], scores: Sequence[str]) -> Claims:
    """Tests which of these trained models differ."""
    found = []
    for score in scores:
        for a, b in combinations(_with(group, score, 1), 2):
            apart = trained_gap(a, b, score)
            found.append(ScoreGap(a, b, score, apart, p_value(apart)))
    return _decided(found)


def recipe_claims(group: Sequence[ModelResults], scores: Sequence[str]) -> Claims:
    """Tests which of the recipes differ; models of one seed are left out."""
    found = []
    for score in scores:
        known = _with(group, score, 2)
        spread = seed_variances(known, score)
        found += [
            _recipe_gap(a, b, score, spread, alone=sum(v.value > 0 for v in spread.values()) < 3)
            for a, b in combinations(known, 2)
        ]
    return _decided(found)


def trained_gap(a: ModelResults, b: ModelResults, score: str) -> Estimate:
    """Returns the difference of the trained models of two recipes, by sampling error alone."""
    first, second = a.detailed(score), b.detailed(score)
    if first and second:
        x, y = averaged(first), averaged(second)
        if x is not None and y is not None and x.real.shape == y.real.shape:
            return difference(x, y)
    return unpaired(a.sampled(score), b.sampled(score))


def averaged(seeds: Sequence[Detailed]) -> Detailed | None:
    """Returns the mean over the trained models of one recipe, with its sampling error.

    None where they were not taken against the same real samples.
    """
    if len(seeds) == 1:
        return seeds[0]
    first, k = seeds[0], len(seeds)
    values = [d.estimate.value for d in seeds if d.estimate.half_width is not None]
    if len({d.real.shape for d in seeds}) > 1 or len(values) < k:
        return None
    real = sum((d.real for d in seeds[1:]), first.real) / k
    rest = total(Variance(d.rest.value / k**2, d.rest.noise / k**4) for d in seeds)
    n = len(real)
    own = Variance.of_squares(float(real.var()) / n, n - 1)
    known = fmean(v for v in values if v is not None)
    found = around(known, total((own, rest)), n=first.estimate.n, method=_METHOD.format(k))
    return Detailed(
        found.named(unit=first.estimate.unit, better=first.estimate.better), real, rest
    )


_METHOD = "mean of {} trained models; the interval is for fresh samples of the same models"


@final
@dataclass(frozen=True, slots=True)
class SeedVariance:
    """The variance of one training, and with how many degrees of freedom it is known."""

    value: float
    df: float


def seed_variances(group: Sequence[ModelResults], score: str) -> dict[str, SeedVariance]:
    """Returns the variance of a score over seeds for each model, by its written form."""
    values = {c.model: list(c.values(score).values()) for c in group}
    own = {m: variance(v) for m, v in values.items() if len(v) > 1}
    freedom = {m: len(values[m]) - 1 for m in own}
    # What does not vary at all, such as the likelihood of a histogram, says nothing of the others.
    vary = [m for m in own if own[m] > 0]
    pool = fmean(own[m] for m in vary) if vary else 0.0
    each = fmean(freedom[m] for m in vary) if vary else 0.0
    c = max(0.0, min((len(vary) - 2) * each / 6, _MOST_BORROWED))
    floors = {c.model: _drawing(c, score) for c in group}
    found = {}
    for m, s in own.items():
        d = freedom[m]
        found[m] = SeedVariance(max(s, (d * s + c * pool) / (d + c), floors[m]), d + c)
    return found


def estimated(everyone: Sequence[ModelResults], score: str) -> dict[str, Estimate]:
    """Returns a score of each model over its seeds, by written form.

    The interval adds, in quadrature, that of the mean over seeds, with the variance of a seed
    partly shared as in the claims, and that which one trial gives for its finite samples. What is
    counted, and what references repeat, keeps its own variance.
    """
    is_measured = score in {standings.LIKELIHOOD, *measured_distances(everyone)}
    shares = [c for c in everyone if not is_reference(c)] if is_measured else []
    spread = seed_variances(shares, score)
    return {
        c.model: _over_seeds(c, score, spread[c.model])
        if c.model in spread and len(set(c.values(score).values())) > 1
        else c.estimate(score)
        for c in everyone
    }


def _over_seeds(c: ModelResults, score: str, spread: SeedVariance) -> Estimate:
    values = list(c.values(score).values())
    one = c.sampled(score)
    k, value = len(values), fmean(values)
    seeds = t_quantile(0.975, spread.df) * math.sqrt(spread.value / k)
    half = math.hypot(seeds, one.half_width or 0.0)
    made = replace(
        one,
        value=value,
        low=value - half,
        high=value + half,
        n=k,
        method=f"mean of {k} seeds, Student's t with a variance of a seed that models share in "
        f"part, in quadrature with: {c.estimates(score)[0].method}",
    )
    return made.possible()


def _drawing(c: ModelResults, score: str) -> float:
    """The variance that drawing the judged samples alone gives to a number, 0 if not known."""
    known = [d.rest.value for d in c.detailed(score) or ()]
    return fmean(known) if known else 0.0


def _recipe_gap(
    a: ModelResults,
    b: ModelResults,
    score: str,
    spread: Mapping[str, SeedVariance],
    *,
    alone: bool,
) -> ScoreGap:
    value, parts, held_out = _parts(a, b, score, spread)
    variance_, df = _satterthwaite([*parts, held_out])
    if alone:
        df = min(df, *(p.df for p in parts))
    first = next(iter(a.estimates(score)))
    half = t_quantile(0.975, df) * math.sqrt(variance_)
    estimate = Estimate(
        value=value,
        low=value - half,
        high=value + half,
        n=min(len(a.values(score)), len(b.values(score))),
        unit=first.unit,
        better=first.better,
        method="difference of means over seeds; variance of a seed partly shared by all models, "
        "and that of the held-out samples; Student's t",
    )
    return ScoreGap(a, b, score, estimate, _tail(value, variance_, df))


def _parts(
    a: ModelResults, b: ModelResults, score: str, spread: Mapping[str, SeedVariance]
) -> tuple[float, list[SeedVariance], SeedVariance]:
    """Returns the difference of two means, the variances of both, and that of the real side."""
    x, y = list(a.values(score).values()), list(b.values(score).values())
    parts = [
        SeedVariance(spread[c.model].value / len(v), spread[c.model].df)
        for c, v in ((a, x), (b, y))
    ]
    return fmean(x) - fmean(y), parts, _held_out(a, b, score)


def _held_out(a: ModelResults, b: ModelResults, score: str) -> SeedVariance:
    """The variance that other held-out samples would give to a difference of two recipes."""
    first, second = a.detailed(score), b.detailed(score)
    if first and second:
        x, y = averaged(first), averaged(second)
        if x is not None and y is not None and x.real.shape == y.real.shape:
            shared = x.real - y.real
            return SeedVariance(float(shared.var()) / len(shared), len(shared) - 1)
    halves = [c.sampled(score).half_width or 0.0 for c in (a, b)]
    return SeedVariance(math.fsum((h / 1.96) ** 2 for h in halves), math.inf)


def _satterthwaite(parts: Sequence[SeedVariance]) -> tuple[float, float]:
    whole = math.fsum(p.value for p in parts)
    noise = math.fsum(p.value**2 / p.df for p in parts)
    return whole, whole**2 / noise if noise > 0 else math.inf


def _tail(value: float, variance_: float, df: float) -> float:
    """The two-sided p-value of Student's t."""
    if variance_ <= 0:
        return 1.0 if value == 0 else 0.0
    from scipy.special import ndtr, stdtr

    t = -abs(value) / math.sqrt(variance_)
    return float(2 * (stdtr(df, t) if math.isfinite(df) else ndtr(t)))


def seeds_needed(a: ModelResults, b: ModelResults, score: str, claims: Claims) -> int | None:
    """Returns the number of seeds that would separate two recipes, if mean and spread stay.

    At the level that each of the pairs gets where none is rejected yet. None if more than 10,000
    would be needed, or if more held-out samples would be.
    """
    known = list(
        {c.model: c for g in claims.gaps if g.score == score for c in (g.a, g.b)}.values()
    )
    spread = seed_variances(known, score)
    if not {a.model, b.model} <= spread.keys():
        return None
    value, _, held_out = _parts(a, b, score, spread)
    each = spread[a.model].value + spread[b.model].value
    level = LEVEL / len(claims.gaps)

    def enough(k: int) -> bool:
        seeds = SeedVariance(each / k, 2 * (k - 1))
        return _tail(value, *_satterthwaite([seeds, held_out])) <= level

    if not enough(_MOST_SEEDS):
        return None
    low, high = 1, _MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _with(group: Sequence[ModelResults], score: str, least: int) -> list[ModelResults]:
    return [c for c in group if len(c.values(score)) >= least]


def _turned(e: Estimate) -> Estimate:
    if e.value is None or e.low is None or e.high is None:
        return e
    return replace(e, value=-e.value, low=-e.high, high=-e.low)


def _decided(gaps: Sequence[ScoreGap]) -> Claims:
    sure = holm([g.p for g in gaps], level=LEVEL)
    return Claims(
        tuple(
            ScoreGap(g.a, g.b, g.score, g.estimate, g.p, s)
            for g, s in zip(gaps, sure, strict=True)
        )
    )


# ----------------------------------------------------------------------------
# Who may be called best: nobody who loses to real data where another does not.
# ----------------------------------------------------------------------------

AXES = ("precision", "recall")
_HALF = 0.5


@final
@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """A metric on which a model significantly loses to held-out real data.

    Attributes:
        axis: ``precision`` or ``recall``.
        model: The model's number.
        real: That of as many held-out real samples.
        is_grave: Whether the model surely has less than half of it.
    """

    axis: str
    model: Estimate
    real: Estimate
    is_grave: bool

    @property
    def words(self) -> str:
        """The loss in words."""
        return f"{self.axis} {shown(self.model)} against {shown(self.real)} of real data"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """The losses of all models.

    Attributes:
        losses: By the written form of the model; none for a model that loses on nothing.
        is_measured: Whether precision and recall were measured of real data and of models.
    """

    losses: dict[str, tuple[Loss, ...]]
    is_measured: bool

    def bars(self, c: ModelResults) -> list[Loss]:
        """Returns why a model cannot be best, or nothing where it can.

        Where some model loses on nothing, any loss bars. Where all lose on something, less than
        half of real data's precision or recall bars, unless all have that.
        """
        own = self.losses.get(c.model, ())
        if any(not of for of in self.losses.values()):
            return list(own)
        return [x for x in own if x.is_grave and not self._all_grave(x.axis)]

    def _all_grave(self, axis: str) -> bool:
        return all(any(x.is_grave and x.axis == axis for x in of) for of in self.losses.values())


def gate(everyone: Sequence[ModelResults], competing: Sequence[ModelResults]) -> Gate:
    """Compares precision and recall of all models with those of held-out real data.

    On the features that rank, with as many samples of both, by Holm's procedure over all models
    and both metrics.
    """
    real = next((c for c in everyone if c.model == REAL), None)
    scores = {axis: on_ranking_features(everyone, axis) for axis in AXES}
    if real is None or any(not real.values(s) for s in scores.values()):
        return Gate({}, is_measured=False)
    found = [
        (c, axis, thin.sampled(score), real.sampled(score), trained_gap(thin, real, score))
        for c in competing
        for thin in (c.as_control(),)
        for axis, score in scores.items()
        if thin.values(score)
    ]
    sure = holm([p_value(apart) for *_, apart in found], level=LEVEL)
    losses: dict[str, tuple[Loss, ...]] = {c.model: () for c, *_ in found}
    for (c, axis, ours, theirs, apart), is_sure in zip(found, sure, strict=True):
        if is_sure and (apart.value or 0.0) < 0:
            grave = (ours.high or 0.0) < _HALF * (theirs.low or 0.0)
            losses[c.model] += (Loss(axis, ours, theirs, grave),)
    return Gate(losses, is_measured=bool(found))
