"""Can a model be parallel, efficient and reversible at once? The study and its report."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from statistics import fmean, geometric_mean, median
from typing import NamedTuple, final

from gantlet import options
from gantlet.commands import standings
from gantlet.commands.compare.claims import recipe_claims
from gantlet.commands.compare.report import pareto, rows_of
from gantlet.commands.compare.study import Compare
from gantlet.commands.compare.trial import run_model
from gantlet.commands.compare.verdicts import judged
from gantlet.commands.standings import (
    ModelResults,
    on_ranking_features,
    rank,
    ranking_score,
)
from gantlet.core.data import KnownDensity, all_samples
from gantlet.core.estimate import REAL, Estimate, Outcome, Spend, Trial
from gantlet.core.spec import Spec, datasets, families
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Dot,
    Forest,
    Group,
    Lines,
    Point,
    Report,
    Scatter,
    Section,
    Series,
    Table,
    Verdict,
)
from gantlet.report.format import text as shown
from gantlet.research.tradeoffs.comparisons import (
    FAMILIES,
    SCALES,
    VARIANTS,
    Place,
    ReportPart,
    Size,
    TradeoffSize,
    comparisons,
    expressivity,
    sweep,
)
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder
from gantlet.run.trials import RunData, load
from gantlet.stats.intervals import mean, t_quantile

# ----------------------------------------------------------------------------
# The report: quality against cost, the Pareto front, crossings.
# ----------------------------------------------------------------------------


# ----------------------------------------------------------------------------
# Error per parameter: are flows less expressive than decoders of the same size?
# ----------------------------------------------------------------------------


class SizedModel(NamedTuple):
    """One trial: whose, how many parameters it needs to sample, and its error."""

    label: str
    size: float
    error: float


DISTANCE = "sliced-wasserstein"
"""How far samples are from held-out data; every model has it, GANs too."""

Values = Mapping[int, float]
Measure = Callable[[ModelResults], Values]
"""The error of each trial of a contestant, by seed."""


def expressive(found: Mapping[str, Sequence[ModelResults]]) -> ReportPart:
    """Returns error against parameters for each data set, with fitted slopes and best models."""
    blocks: list[Block] = []
    groups: list[Group] = []
    verdicts: list[Verdict] = []
    for data, group in found.items():
        variants = _by_variant(group)
        for what, measure in _measures(data).items():
            points = {v: _points(members, measure) for v, members in variants.items()}
            known = {v: p for v, p in points.items() if p}
            if not known:
                continue
            blocks.append(_chart(data, what, known))
            groups.append(_slopes(data, what, known))
            verdicts.append(_error_verdict(data, what, variants, measure))
    if groups:
        blocks.append(_forest(groups))
    return ReportPart(
        title="Expressivity per parameter", verdicts=verdicts, blocks=blocks, caveats=[_CAVEAT]
    )


_CAVEAT = Caveat(
    text=(
        "Error per parameter is that of trained models at equal FLOPs, not of optimal "
        "weights: larger models take fewer steps. Slopes rest on few sizes and seeds. Errors "
        "not above zero, at the noise floor of the held-out samples, have no logarithm and "
        "are excluded."
    )
)


def _measures(data: str) -> dict[str, Measure]:
    """Returns the errors that can be had: distance for all, and for densities the excess nats.

    The excess is the negative log-likelihood of held-out samples less that of the true density on
    the same samples: an estimate of the Kullback-Leibler divergence.
    """
    found: dict[str, Measure] = {"sliced Wasserstein distance": _distance}
    truth = datasets.make(data)
    if isinstance(truth, KnownDensity):
        _, splits = load(datasets.resolve(data), 0)
        entropy = -float(truth.log_density(all_samples(splits.test)).double().mean())
        found["excess nats over the true density"] = lambda c: {
            seed: nats - entropy for seed, nats in c.values(standings.LIKELIHOOD).items()
        }
    return found


def _distance(c: ModelResults) -> Values:
    return c.values(on_ranking_features([c], DISTANCE))


def slope(points: Sequence[tuple[float, float]]) -> Estimate:
    """Returns the slope of log error against log parameters, by least squares with t interval.

    Args:
        points: Parameters and error of each trial, all above 0.

    Example:
        >>> e = slope([(10, 1.0), (100, 0.1), (1000, 0.01), (10, 1.0), (100, 0.1)])
        >>> round(e.value, 6)
        -1.0
    """
    unit = "per factor of e"
    x = [math.log(p) for p, _ in points]
    y = [math.log(e) for _, e in points]
    n = len(points)
    if n < 4 or len(set(x)) < 2:
        return Estimate.missing("a slope needs four trials of two sizes", unit=unit)
    mx, my = math.fsum(x) / n, math.fsum(y) / n
    sxx = math.fsum((a - mx) ** 2 for a in x)
    value = math.fsum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sxx
    left = [b - my - value * (a - mx) for a, b in zip(x, y, strict=True)]
    error = math.sqrt(math.fsum(r * r for r in left) / (n - 2) / sxx)
    half = t_quantile(0.975, n - 2) * error
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        n=n,
        unit=unit,
        better="lower",
        method="least squares of log error on log parameters, Student's t",
    )


def _by_variant(group: Sequence[ModelResults]) -> dict[str, list[ModelResults]]:
    """Returns the contestants of each variant, which differ in size alone."""
    by_label = {c.label: c for c in group if c.model != REAL and c.outcomes}
    found: dict[str, list[ModelResults]] = {}
    for variant, models in VARIANTS.items():
        members = [by_label[m] for m in map(_label, models) if m in by_label]
        if members:
            found[variant] = members
    return found


def _label(model: str) -> str:
    return families.short(model)


def _points(members: Sequence[ModelResults], measure: Measure) -> list[SizedModel]:
    """Returns parameters and error of every trial whose error is above the noise floor."""
    found = []
    for c in members:
        size = c.estimate(standings.PARAMETERS).value
        found += [SizedModel(c.label, size, e) for e in measure(c).values() if size and e > 0]
    return found


def _chart(data: str, what: str, known: Mapping[str, Sequence[SizedModel]]) -> Lines:
    return Lines(
        title=f"{data}: {what}",
        x_label="parameters needed to sample",
        y_label=what,
        series=[_size_series(v, points) for v, points in known.items()],
        log_x=True,
        log_y=True,
        note="Geometric means over seeds, equal training FLOPs for every point.",
    )


def _size_series(variant: str, points: Sequence[SizedModel]) -> Series:
    sizes = sorted({p.size for p in points})
    errors = [geometric_mean([p.error for p in points if p.size == size]) for size in sizes]
    return Series(name=variant, x=sizes, y=errors)


def _slopes(data: str, what: str, known: Mapping[str, Sequence[SizedModel]]) -> Group:
    dots = [
        Dot(name=v, estimate=slope([(p.size, p.error) for p in points]))
        for v, points in known.items()
    ]
    return Group(name=f"{data}: {what}", dots=dots)


def _forest(groups: Sequence[Group]) -> Forest:
    return Forest(
        title="Slope of error against parameters",
        unit="1",
        groups=groups,
        reference=0.0,
        better="lower",
        note="A slope of −1: ten times the parameters, a tenth of the error. Bars are 95 % "
        "intervals.",
    )


def _error_verdict(
    data: str, what: str, variants: Mapping[str, Sequence[ModelResults]], measure: Measure
) -> Verdict:
    """Says whose error is least on one data set, noise floor included, and where flows stand."""
    everyone = [c for members in variants.values() for c in members if measure(c)]
    best = sorted(everyone, key=lambda c: fmean(measure(c).values()))
    summary = _told(best[0], measure)
    flow = next((c for c in best if Spec.parse(c.model).name == "flow"), None)
    if flow is not None and flow is not best[0]:
        summary += f". The best flow, {flow.label}: {_told(flow, measure)}"
    return Verdict(
        claim=f"{data}: {best[0].label} has the lowest mean {what}.",
        because=f"{summary}. Differences are not tested.",
    )


def _told(c: ModelResults, measure: Measure) -> str:
    size = c.estimate(standings.PARAMETERS).value or 0.0
    return f"{shown(mean(list(measure(c).values())))} with {size:,.0f} parameters"


Budgets = Mapping[float, Sequence[ModelResults]]
"""The contestants of the comparison at each training budget."""


def of_family(group: Sequence[ModelResults], family: str) -> ModelResults | None:
    """Returns the contestant of a family, or None where all its trials are missing."""
    return next((c for c in group if c.model.partition(":")[0] == family), None)


def distance(budgets: Budgets) -> str:
    """Returns the score by which samples are judged."""
    return standings.ranking_score([c for group in budgets.values() for c in group])


def distance_of(group: Sequence[ModelResults], family: str) -> float | None:
    """Returns the mean energy distance of a family, or None."""
    contestant = of_family(group, family)
    return (
        None if contestant is None else contestant.estimate(standings.ranking_score(group)).value
    )


def target(budgets: Budgets) -> float | None:
    """Returns the quality that half of the families reach: the median of their best means."""
    best = [b for f in FAMILIES if (b := _best_distance(budgets, f)) is not None]
    return median(best) if best else None


def cost_to_reach(budgets: Budgets, family: str, wanted: float) -> float | None:
    """Returns the training FLOPs of the smallest budget that reaches ``wanted``, or None."""
    for budget in sorted(budgets):
        contestant = of_family(budgets[budget], family)
        if contestant is None:
            continue
        value = contestant.estimate(standings.ranking_score(budgets[budget])).value
        if value is not None and value <= wanted:
            return contestant.estimate(standings.TRAINING).value
    return None


def _best_distance(budgets: Budgets, family: str) -> float | None:
    values = [q for group in budgets.values() if (q := distance_of(group, family)) is not None]
    return min(values, default=None)


# ----------------------------------------------------------------------------
# The article's table, measured: which family is parallel, efficient, reversible?
# ----------------------------------------------------------------------------

MOST_DEPTH = 4
"""A family is parallel if a sample needs at most so many dependent network evaluations."""

MOST_RATIO = 3.5
"""It is efficient if it reaches the target within so many times the cheapest family's FLOPs."""

MOST_ERROR = 1e-3
"""It is reversible if the code of a sample gives it back, in fp32, to this share of its size."""

# The article's own classification (Odena 2019, question 1), for the families that it names.
_ARTICLE = {
    "gan": "parallel, efficient",
    "flow": "parallel, reversible",
    "ar": "efficient, reversible",
}


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a family has a property, and the number behind it."""

    holds: bool
    because: str

    @property
    def cell(self) -> str:
        """The answer as a table shows it."""
        return f"{'yes' if self.holds else 'no'}: {self.because}"


def article_table(budgets: Budgets) -> ReportPart:
    """Returns the table, and whether any family has all three properties."""
    wanted = target(budgets)
    answers = {f: _answers(budgets, f, wanted) for f in FAMILIES}
    found = {f: a for f, a in answers.items() if a is not None}
    rows: list[Sequence[Cell]] = [
        [family, *(a.cell for a in three), _ARTICLE.get(family, "not named")]
        for family, three in found.items()
    ]
    table = Table(
        title="Parallel, efficient, reversible",
        columns=[
            Column(name="family"),
            Column(name="parallel", help="Sequential network evaluations per sample."),
            Column(name="efficient", help="Training FLOPs to reach the common target."),
            Column(name="reversible", help="Error of sample to code to sample in fp32."),
            Column(name="the article says"),
        ],
        rows=rows,
        note=_rules(wanted),
    )
    return ReportPart(
        title="The article's table, measured",
        verdicts=[_verdict(found)],
        caveats=[
            Caveat(
                text=(
                    "Whether a family reaches the target is decided by its mean over seeds; "
                    "the thresholds of the three properties are choices."
                )
            )
        ],
        blocks=[table],
    )


def _rules(wanted: float | None) -> str:
    reach = "no family gave samples" if wanted is None else f"energy distance {wanted:.3g}"
    return (
        f"Parallel: at most {MOST_DEPTH} dependent network evaluations a sample. Efficient: "
        f"reaches the target ({reach}: reached by half of the families) within "
        f"{MOST_RATIO:g} times the FLOPs of the cheapest family that does. Reversible: a code "
        f"that gives the sample back to {MOST_ERROR:g} of its size, or an exact probability."
    )


def _answers(
    budgets: Budgets, family: str, wanted: float | None
) -> tuple[Answer, Answer, Answer] | None:
    contestant = of_family(budgets[max(budgets)], family)
    if contestant is None or not contestant.outcomes or wanted is None:
        return None
    return (
        _parallel(contestant),
        _efficient(budgets, family, wanted),
        _reversible(contestant),
    )


def _parallel(c: ModelResults) -> Answer:
    depth = c.estimate(standings.DEPTH).value or 0.0
    return Answer(depth <= MOST_DEPTH, f"{depth:.0f} evaluation{'' if depth == 1 else 's'}")


def _efficient(budgets: Budgets, family: str, wanted: float) -> Answer:
    costs = {f: cost_to_reach(budgets, f, wanted) for f in FAMILIES}
    known = [c for c in costs.values() if c is not None]
    cost = costs[family]
    if cost is None:
        return Answer(holds=False, because=f"not within {shown(max(budgets), 'FLOP')}")
    return Answer(cost <= MOST_RATIO * min(known), shown(cost, "FLOP"))


def _reversible(c: ModelResults) -> Answer:
    error, likelihood = c.estimate(standings.INVERSE), c.estimate(standings.LIKELIHOOD)
    if error.value is not None:
        return Answer(error.value <= MOST_ERROR, f"round trip {error.value:.1g}")
    if likelihood.value is not None and likelihood.kind == "exact":
        return Answer(holds=True, because="exact probability")
    why = "bound only" if likelihood.value is not None else "no likelihood"
    return Answer(holds=False, because=why)


def _verdict(found: dict[str, tuple[Answer, Answer, Answer]]) -> Verdict:
    every = [f for f, three in found.items() if all(a.holds for a in three)]
    because = "; ".join(
        f"{f}: " + (", ".join(_held(three)) or "none of the three") for f, three in found.items()
    )
    if every:
        be = "is" if len(every) == 1 else "are"
        claim = (
            f"Yes, by these criteria and at these scales: {' and '.join(every)} {be} parallel, "
            "efficient and reversible."
        )
    else:
        claim = "No family is parallel, efficient and reversible here."
    return Verdict(claim=claim, because=because + ".")


def _held(three: tuple[Answer, Answer, Answer]) -> list[str]:
    properties = ("parallel", "efficient", "reversible")
    return [name for name, a in zip(properties, three, strict=True) if a.holds]


def _columns(group: Sequence[ModelResults]) -> Sequence[tuple[str, str]]:
    """Returns the scores of the table, and what they are called."""
    return (
        (standings.LIKELIHOOD, "likelihood"),
        (ranking_score(group), "energy distance"),
        *((on_ranking_features(group, axis), axis) for axis in ("precision", "recall")),
        (standings.INVERSE, "round-trip error"),
    )


def flow_gan_sweep(group: Sequence[ModelResults]) -> ReportPart:
    """Returns the sweep as a table, and what the two ends say of both ways to train."""
    by_weight = {_weight(c): c for c in group if c.model != REAL and c.outcomes}
    return ReportPart(
        title="Flow-GAN: from adversarial to likelihood",
        verdicts=[*_best_weight(by_weight), *_both_ways(by_weight)],
        blocks=list(_tables(by_weight)),
    )


def _weight(c: ModelResults) -> float:
    return float(Spec.parse(c.model).options["weight"])


def _tables(by_weight: dict[float, ModelResults]) -> Iterator[Block]:
    columns = _columns(list(by_weight.values()))
    rows: list[Sequence[Cell]] = [
        [f"{weight:g}", *(c.estimate(score) for score, _ in columns)]
        for weight, c in sorted(by_weight.items())
    ]
    if not rows:
        return
    sample = next(iter(by_weight.values()))
    samples_of = {score: sample.estimate(score) for score, _ in columns}
    yield Table(
        title="Weight of the likelihood",
        columns=[
            Column(name="weight"),
            *(
                Column(name=n, unit=samples_of[s].unit, better=samples_of[s].better)
                for s, n in columns
            ),
        ],
        rows=rows,
        note="0 is purely adversarial, inf is maximum likelihood; all are the same flow, trained "
        "with the same FLOPs.",
    )


def _best_weight(by_weight: dict[float, ModelResults]) -> Iterator[Verdict]:
    values = {w: c.estimate(standings.LIKELIHOOD) for w, c in by_weight.items()}
    known = {w: e for w, e in values.items() if e.value is not None}
    if 0.0 not in known or len(known) < 2:
        return
    best = min(known, key=lambda w: known[w].value or 0.0)
    if best == 0.0:
        return
    yield Verdict(
        claim=f"Trained against a critic alone, the flow's likelihood is {shown(known[0.0])}; "
        f"with weight {best:g} it is {shown(known[best])}.",
        because="Held-out data; the same flow, the same FLOPs.",
    )


def _both_ways(by_weight: dict[float, ModelResults]) -> Iterator[Verdict]:
    """Answers whether maximum likelihood is harder than adversarial training, for one flow."""
    adversarial, likelihood = by_weight.get(0.0), by_weight.get(float("inf"))
    if adversarial is None or likelihood is None:
        return
    both = [likelihood, adversarial]
    claims = recipe_claims(both, (ranking_score(both), on_ranking_features(both, "recall")))
    gaps = [claims.of(likelihood, adversarial, g.score) for g in claims.gaps]
    gap = next((g for g in gaps if g is not None and g.score == ranking_score(both)), None)
    if gap is None or gap.estimate.value is None:
        return
    if not gap.is_sure:
        said = "neither gives significantly better samples"
    elif gap.estimate.value < 0:
        said = "maximum likelihood gives the better samples: it is not the harder way here"
    else:
        said = "adversarial training gives the better samples"
    summary = ", ".join(f"{g.score} {shown(g.estimate)}" for g in gaps if g is not None)
    yield Verdict(
        claim=f"The same flow trained both ways: {said}.",
        because=f"Maximum likelihood minus adversarial, over seeds: {summary}.",
    )


# ----------------------------------------------------------------------------
# Quality against training cost, the Pareto front, and where one family overtakes another.
# ----------------------------------------------------------------------------


def quality_against_cost(budgets: Budgets) -> ReportPart:
    """Returns curves of quality and likelihood over budgets, the front, and break-even counts."""
    score = distance(budgets)
    blocks: list[Block] = [
        _curves(budgets, score, "Quality against training cost", "energy distance"),
        _curves(budgets, standings.LIKELIHOOD, "Likelihood against training cost", "bits/dim"),
        _front(budgets),
        *_break_even(budgets),
    ]
    return ReportPart(
        title="Equal compute at several budgets", verdicts=list(_winners(budgets)), blocks=blocks
    )


class Costs(NamedTuple):
    """What a family costs.

    Attributes:
        family: The family.
        training: FLOPs of training to the common target.
        sample: FLOPs of one sample.
    """

    family: str
    training: float
    sample: float


def break_even(a: Costs, b: Costs) -> float | None:
    """Returns the number of samples from which on the other family is cheaper in total.

    Training and sampling FLOPs together; None where one family is cheaper for any number.

    Example:
        >>> break_even(Costs("gan", 100.0, 1.0), Costs("ar", 10.0, 4.0))
        30.0
    """
    if (a.training - b.training) * (b.sample - a.sample) <= 0:
        return None
    return (a.training - b.training) / (b.sample - a.sample)


def _curves(budgets: Budgets, score: str, title: str, what: str) -> Lines:
    return Lines(
        title=title,
        x_label="training FLOPs",
        y_label=what,
        series=[s for f in FAMILIES for s in _series(budgets, f, score)],
        log_x=True,
        log_y=score != standings.LIKELIHOOD,
        note="Means over seeds; the band is the 95 % interval over seeds and samples.",
    )


def _series(budgets: Budgets, family: str, score: str) -> Iterator[Series]:
    found = [
        (budget, e)
        for budget in sorted(budgets)
        if (c := of_family(budgets[budget], family)) is not None
        and (e := c.estimate(score)).value is not None
    ]
    if found:
        nan = float("nan")
        yield Series(
            name=family,
            x=[budget for budget, _ in found],
            y=[nan if e.value is None else e.value for _, e in found],
            low=[nan if e.low is None else e.low for _, e in found],
            high=[nan if e.high is None else e.high for _, e in found],
        )


def _front(budgets: Budgets) -> Scatter:
    known: list[tuple[str, float, float]] = []
    score = distance(budgets)
    for budget, group in budgets.items():
        for family in FAMILIES:
            c = of_family(group, family)
            value = None if c is None else c.estimate(score).value
            if value is not None:
                known.append((family, budget, value))
    front = pareto([(cost, value) for _, cost, value in known])
    return Scatter(
        title="Pareto front of quality and training cost",
        x_label="training FLOPs",
        y_label=score.replace("energy", "energy distance"),
        points=[
            Point(name=name, x=cost, y=value, front=i in front)
            for i, (name, cost, value) in enumerate(known)
        ],
        log_x=True,
        log_y=True,
    )


def _break_even(budgets: Budgets) -> Iterator[Block]:
    wanted = target(budgets)
    costs = [] if wanted is None else [c for f in FAMILIES for c in _costs(budgets, f, wanted)]
    if len(costs) < 2:
        return
    rows: list[Sequence[Cell]] = [_row(a, b) for a, b in combinations(costs, 2)]
    yield Table(
        title="Break-even number of samples",
        columns=[
            Column(name="pair"),
            Column(name="to train", group="Cheaper"),
            Column(name="to sample", group="Cheaper"),
            Column(name="break-even", unit="samples"),
        ],
        rows=rows,
        note=f"Among families that reach energy distance {wanted:.3g}, each trained with the "
        "smallest budget that does. From the break-even on, what is cheaper to sample is cheaper "
        "altogether; a dash means that one is cheaper for any number of samples.",
    )


def _costs(budgets: Budgets, family: str, wanted: float) -> Iterator[Costs]:
    training = cost_to_reach(budgets, family, wanted)
    contestant = of_family(budgets[max(budgets)], family)
    sample = None if contestant is None else contestant.estimate(standings.SAMPLING).value
    if training is not None and sample is not None:
        yield Costs(family, training, sample)


def _row(a: Costs, b: Costs) -> list[Cell]:
    train = a.family if a.training < b.training else b.family
    if a.training == b.training:
        train = "equal"
    sample = a.family if a.sample < b.sample else b.family
    return [f"{a.family}, {b.family}", train, sample, break_even(a, b)]


def _winners(budgets: Budgets) -> Iterator[Verdict]:
    """Says for each budget which recipes are not significantly different from the best."""
    for budget in sorted(budgets):
        group = [c for f in FAMILIES if (c := of_family(budgets[budget], f)) is not None]
        found = judged([*group, *(c for c in budgets[budget] if c.model == REAL)])
        ranked = [c for c in rank(group, found.quality, "lower") if not found.gate.bars(c)]
        if len(ranked) < 2:
            continue
        best, rest = ranked[0], [c for c in group if c is not ranked[0]]
        level = [c.label for c in rest if not found.recipes.is_sure(best, c, found.quality)]
        at = f"At {shown(budget, 'FLOP')}"
        claim = (
            f"{at} not significantly different as recipes: {', '.join([best.label, *level])}."
            if level
            else f"{at} {best.label} has significantly better samples than every other recipe."
        )
        summary = "; ".join(f"{c.label} {shown(c.estimate(found.quality))}" for c in ranked)
        yield Verdict(
            claim=claim,
            because=f"{found.quality.replace('energy', 'Energy distance')}: {summary}. Holm's "
            f"procedure over {len(found.recipes.gaps)} pairs of recipes and scores, 5 % in all.",
        )


# ----------------------------------------------------------------------------
# The study: its question, its trials, its answer.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, kw_only=True)
class Tradeoffs:
    """Question 1: what are the trade-offs between GANs and other generative models?

    Trains six families on equal compute at three budgets or more, sweeps Flow-GAN from adversarial
    to likelihood, and measures error per parameter; then answers the article's question from what
    was measured. The suspicion that some models must give up one of parallel, efficient and
    reversible is Odena's (2019), https://distill.pub/2019/gan-open-problems/.

    Attributes:
        size: small: about half an hour on two cores; full: for a GPU.
        data: The data set of the comparison.
        seeds: Repeats, or None for what the size says.
        threads: Threads of each trial.
        device: Where models are trained.
    """

    size: Size = "small"
    data: str = "digits"
    seeds: options.Seeds | None = None
    threads: options.Threads = 1
    device: str = "cpu"

    @cached_property
    def loaded(self) -> RunData:
        """The data of this run, loaded once for all its comparisons."""
        return RunData()

    def fresh(self) -> "Tradeoffs":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "study tradeoffs",
            "size": self.size,
            "data": self.data,
            "comparisons": [c.question() for c in self._all()],
        }

    def trials(self) -> Sequence[Trial]:
        """Lists the trials of all parts; those that parts share are listed once."""
        return list({t.key: t for c in self._all() for t in c.trials()}.values())

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Trains one model and measures it."""
        return run_model(trial, self.loaded, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Answers the question, part by part."""
        found = {o.trial.key: o for o in outcomes}
        budgets = {
            b: c.results_among(found, run)
            for b, c in comparisons(self._scale, self._place).items()
        }
        sizes = {
            d: c.results_among(found, run)
            for d, c in expressivity(self._scale, self._place).items()
        }
        parts = (
            article_table(budgets),
            quality_against_cost(budgets),
            flow_gan_sweep(sweep(self._scale, self._place).results_among(found, run)),
            expressive(sizes),
        )
        verdicts: list[Verdict] = [v for part in parts for v in part.verdicts]
        return Report(
            title="Trade-offs between model families",
            command="study tradeoffs",
            question=self.question(),
            spend=sum((o.spend for o in outcomes), Spend()),
            facts=facts_of(self._facts(), outcomes, run),
            verdicts=verdicts,
            caveats=[*_CAVEATS, *(c for part in parts for c in part.caveats)],
            rows=list(rows_of(outcomes)),
            blocks=[
                parts[0].blocks[0],
                *(Section(title=p.title, blocks=p.blocks, open=True) for p in parts[1:]),
            ],
        )

    @property
    def _scale(self) -> TradeoffSize:
        scale = SCALES[self.size]
        return scale if self.seeds is None else replace(scale, seeds=self.seeds)

    @property
    def _place(self) -> Place:
        return Place(data=self.data, threads=self.threads, device=self.device)

    def _all(self) -> list[Compare]:
        scale, place = self._scale, self._place
        found = [
            *comparisons(scale, place).values(),
            sweep(scale, place),
            *expressivity(scale, place).values(),
        ]
        return [replace(c, loaded=self.loaded) for c in found]

    def _facts(self) -> Mapping[str, str]:
        budgets = ", ".join(f"{b:.0e}" for b in self._scale.budgets)
        return {
            "Size": self.size,
            "Data": f"{self.data}, and the four energies of the plane",
            "Training FLOPs": budgets,
            "Seeds": f"{self._scale.seeds} (expressivity: {self._scale.expressivity_seeds})",
        }


_CAVEATS = (
    Caveat(
        text=(
            "Small models on small data: results may not transfer to published scales; "
            "gantlet cost --published counts the cost of published models."
        )
    ),
    Caveat(text="Each family uses one set of defaults, chosen on training and validation data."),
)
