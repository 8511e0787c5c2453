"""The report of a comparison: who wins on what, how surely, and at which cost."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from gantlet.commands import standings
from gantlet.commands.compare.claims import (
    AXES,
    LEVEL,
    MARK,
    RULE,
    Claims,
    Gap,
    Gate,
    Undertrained,
    estimated,
    gate,
    recipe_claims,
    seeds_needed,
    trained_claims,
    trained_gap,
    undertrained,
)
from gantlet.commands.exhibits import galleries
from gantlet.commands.standings import (
    Contestant,
    best_first,
    contestants,
    is_reference,
    measured_distances,
    on_ranking_features,
    rank,
    ranked_on,
    ranking_score,
)
from gantlet.commands.trained import RunData
from gantlet.core.estimate import (
    CONTROL,
    KINDS_IN_WORDS,
    REAL,
    Better,
    Estimate,
    Kind,
    Outcome,
    Spend,
)
from gantlet.core.spec import datasets
from gantlet.report import format as fmt
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
    Row,
    Scatter,
    Section,
    Series,
    Table,
    Verdict,
)
from gantlet.report.format import text as shown
from gantlet.run.execute import facts_of
from gantlet.run.store import Run
from gantlet.stats.intervals import holm, p_value

# ----------------------------------------------------------------------------
# The answers of a comparison, in sentences.
# ----------------------------------------------------------------------------

_SHOWN = 5
_PAIRS = 6


@final
@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Models that compete, with what may be claimed of them.

    Attributes:
        everyone: All models, references among them.
        competing: Those that compete and gave numbers.
        trained: Which trained models differ.
        recipes: Which recipes differ.
        gate: Who may be called best.
    """

    everyone: Sequence[Contestant]
    competing: Sequence[Contestant]
    trained: Claims
    recipes: Claims
    gate: Gate

    @property
    def quality(self) -> str:
        """The score by which models are ranked."""
        return ranking_score(self.everyone)

    def best(self, score: str) -> Contestant | None:
        """Returns the model that is significantly better than every other, if one is.

        By the tests of the trained models; only scores by which models are ranked have them. A
        model that cannot be called best for its precision or recall is not.
        """
        ranked = rank(self.competing, score, "lower")
        if len(ranked) < 2 or (score == self.quality and self.gate.bars(ranked[0])):
            return None
        sure = (self.trained.is_sure(ranked[0], c, score) for c in ranked[1:])
        return ranked[0] if all(sure) else None


def judged(everyone: Sequence[Contestant]) -> Judged:
    """Tests everything that verdicts speak of."""
    competing = [c for c in everyone if not is_reference(c) and c.outcomes]
    scores = (ranking_score(everyone), standings.LIKELIHOOD)
    return Judged(
        everyone,
        competing,
        trained_claims(competing, scores),
        recipe_claims(competing, scores),
        gate(everyone, competing),
    )


def verdicts(found: Judged, under: Sequence[Undertrained] = ()) -> list[Verdict]:
    """Returns what was found, most important first."""
    where = _features(ranked_on(found.everyone))
    samples = _Ranking(
        found, found.quality, "samples", f"energy distance on {where}", gate=found.gate
    )
    density = _Ranking(
        found, standings.LIKELIHOOD, "held-out likelihood", "negative log-likelihood"
    )
    return [
        *_begun(list(samples.verdicts()), under, found),
        *density.verdicts(),
        *_gan_against_mixture(found),
        *_floor(found),
        *_sampling(found.competing),
        *_failures(found.everyone),
    ]


def _features(name: str) -> str:
    return "the raw numbers" if name == "pixels" else f"{name} features"


def _begun(
    ranking: list[Verdict], under: Sequence[Undertrained], found: Judged
) -> Iterator[Verdict]:
    """Yields what can be distinguished, after a word on models that were not trained enough."""
    if under and ranking:
        first, *rest = ranking
        who = _listed([u.contestant for u in under])
        yield replace(first, claim=f"Undertrained at this budget: {who}. {first.claim}")
        yield from _undertrained(under, found)
        yield from rest
    else:
        yield from _undertrained(under, found)
        yield from ranking


def _undertrained(under: Sequence[Undertrained], found: Judged) -> Iterator[Verdict]:
    """Says before any ranking which models had not been trained enough."""
    if not under:
        return
    competing = [c for c in found.competing if c.values(standings.STEPS)]
    trained = [c for c in competing if any(c.values(standings.STEPS).values())]
    every = len(under) == len(trained) and len(under) > 1
    who = "Every trained model" if every else _listed([u.contestant for u in under])
    be = "is" if every or len(under) == 1 else "are"
    told = "; ".join(f"{u.contestant.label}: {', '.join(u.signs)}{_far(u, found)}" for u in under)
    yield Verdict(
        claim=f"{who} {be} undertrained at this budget: rankings are about the budget, not "
        "about what these models can reach.",
        because=f"{told}.",
    )


def _far(u: Undertrained, found: Judged) -> str:
    grave = [x for x in found.gate.losses.get(u.contestant.model, ()) if x.is_grave]
    return f", samples far from the data ({grave[0].words})" if grave else ""


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Ranking:
    """Who is best by one score."""

    found: Judged
    score: str
    what: str
    measure: str
    gate: Gate | None = None

    def verdicts(self) -> Iterator[Verdict]:
        """Yields what is said of the trained models, and of the recipes."""
        ranked = rank(self.found.competing, self.score, "lower")
        if len(ranked) < 2:
            return
        fit = [c for c in ranked if self.gate is None or not self.gate.bars(c)]
        if not fit:
            yield self._nobody(ranked)
            return
        best = fit[0]
        rest = [c for c in ranked if c is not best]
        yield self._trained(best, rest, ranked)
        yield self._recipes(best, rest)

    def _nobody(self, ranked: Sequence[Contestant]) -> Verdict:
        told = "; ".join(f"{c.label}: {self._bars(c)}" for c in ranked[:_SHOWN])
        return Verdict(
            claim=f"No model can be called best: {ranked[0].label} has the lowest {self.measure}, "
            f"{self._value(ranked[0])}, but each model has less than half of real "
            "data's precision or recall, where another has more.",
            because=f"{told}.",
        )

    def _bars(self, c: Contestant) -> str:
        return "; ".join(x.words for x in self.gate.bars(c)) if self.gate else ""

    def _trained(
        self, best: Contestant, rest: Sequence[Contestant], ranked: Sequence[Contestant]
    ) -> Verdict:
        barred = [c for c in rest if self.gate and self.gate.bars(c)]
        against = [c for c in rest if c not in barred]
        level = [c for c in against if not self.found.trained.is_sure(best, c, self.score)]
        claim = self._claim(best, level, [c for c in against if c not in level])
        ahead = ranked[: ranked.index(best)]
        if ahead:
            claim = f"{self._ahead(ahead)} {self._of_the_others(best, level, against)}"
        return Verdict(claim=claim, because=self._because(best, rest, barred))

    def _claim(
        self, best: Contestant, level: Sequence[Contestant], beaten: Sequence[Contestant]
    ) -> str:
        value = self._value(best)
        if not beaten and level:
            return (
                f"Which of these trained models has the best {self.what} cannot be said: "
                f"{_listed([best, *level])} are not significantly different."
            )
        if level:
            return (
                f"Not significantly different: {_listed([best, *level])}; {best.label} has the "
                f"lowest {self.measure}, {value}, significantly lower than {_listed(beaten)}."
            )
        return (
            f"Of these trained models {best.label} has the best {self.what}: {self.measure} "
            f"{value}, significantly lower than that of every other."
        )

    def _ahead(self, ahead: Sequence[Contestant]) -> str:
        first, *rest = ahead
        also = f" {_listed(rest)}, too." if rest else ""
        return (
            f"{first.label} has the lowest {self.measure}, {self._value(first)}, but cannot be "
            f"called best: {self._bars(first)}.{also}"
        )

    def _of_the_others(
        self, best: Contestant, level: Sequence[Contestant], against: Sequence[Contestant]
    ) -> str:
        if not against:
            return f"{best.label} is the only one that can."
        if not level:
            return f"Of those that can, {best.label} is significantly better than every other."
        return f"Of those that can, {_listed([best, *level])} are not significantly different."

    def _value(self, c: Contestant) -> str:
        return shown(estimated(self.found.everyone, self.score)[c.model])

    def _because(
        self, best: Contestant, rest: Sequence[Contestant], barred: Sequence[Contestant]
    ) -> str:
        gaps = [self.found.trained.of(c, best, self.score) for c in rest[:_SHOWN]]
        told = "; ".join(f"{g.a.label} {_signed(g.estimate)}" for g in gaps if g is not None)
        open_ = [
            g
            for g in self.found.trained.open_pairs(self.score)
            if best is not g.a and best is not g.b
        ]
        text = f"Behind {best.label}, on the same held-out samples: {told}."
        if open_:
            text += f" Not significantly different among the others: {_pairs(open_)}."
        if barred and self.gate:
            text += f" Significantly below real data, so not best: {_axes(self.gate, barred)}."
        return f"{text} {_method(self.found.trained)}"

    def _recipes(self, best: Contestant, rest: Sequence[Contestant]) -> Verdict:
        seeds = len(best.values(self.score))
        if seeds < 2:
            return Verdict(
                claim=f"Whether {best.label} would be ahead with another seed is not known: one "
                "seed says nothing of recipes. Give --seeds 3.",
                because="Other seeds train other models of the same recipe.",
            )
        claims = self.found.recipes
        known = [g for c in rest if (g := claims.of(c, best, self.score)) is not None]
        sure = [g.a for g in known if g.is_sure and (g.estimate.value or 0) > 0]
        level = [g.a for g in known if not g.is_sure]
        told = "; ".join(f"{g.a.label} {_signed(g.estimate)}" for g in known[:_SHOWN])
        return Verdict(
            claim=_recipe_claim(best, sure, level, seeds, self.measure),
            because=f"Behind {best.label}, over seeds: {told}. {_method(claims)}",
        )


def _axes(found: Gate, barred: Sequence[Contestant]) -> str:
    """Returns which models lose on what: "precision of gan and vae; recall of histogram"."""
    by_axis = {a: [c for c in barred if a in {x.axis for x in found.bars(c)}] for a in AXES}
    return "; ".join(f"{axis} of {_listed(group)}" for axis, group in by_axis.items() if group)


def _recipe_claim(
    best: Contestant,
    sure: Sequence[Contestant],
    level: Sequence[Contestant],
    seeds: int,
    measure: str,
) -> str:
    start = f"As recipes, over {seeds} seeds, the {measure} of {best.label}"
    if level and not sure:
        return f"{start} is not significantly different from that of {_listed(level)}."
    if level:
        return (
            f"{start} is not significantly different from that of {_listed(level)}, and "
            f"significantly lower than that of {_listed(sure)}."
        )
    if sure:
        return f"{start} is significantly lower than that of {_listed(sure)}."
    return f"{start} can be compared with no other: they have fewer than two seeds."


def _method(claims: Claims) -> str:
    n = len(claims.gaps)
    scores = len({g.score for g in claims.gaps})
    over = f"{n} pairs of models and scores" if scores > 1 else f"{n} pair{'s' if n > 1 else ''}"
    return f"Holm's procedure over {over}, {LEVEL:.0%} in all.".replace("%", " %")


def _signed(e: Estimate) -> str:
    text = shown(e)
    return f"+{text}" if (e.value or 0) > 0 else text


def _pairs(gaps: Sequence[Gap]) -> str:
    told = ", ".join(f"{g.a.label} / {g.b.label}" for g in gaps[:_PAIRS])
    return told + (f" and {len(gaps) - _PAIRS} more" if len(gaps) > _PAIRS else "")


def _gan_against_mixture(found: Judged) -> Iterator[Verdict]:
    """Says whether a GAN reaches what a Gaussian mixture gets for almost nothing."""
    mixtures = [c for c in found.competing if _name(c) == "gmm"]
    for gan in (c for c in found.competing if _name(c) == "gan"):
        for mixture in mixtures:
            gap = found.trained.of(gan, mixture, found.quality)
            if gap is None or gap.estimate.value is None:
                continue
            said = "is not significantly different from"
            if gap.is_sure:
                said = "beats" if gap.estimate.value < 0 else "does not reach"
            yield Verdict(
                claim=f"{gan.label} {said} {mixture.label}, a baseline that costs almost nothing, "
                "in energy distance.",
                because=f"Difference {_signed(gap.estimate)}.",
            )


def _name(c: Contestant) -> str:
    return c.model.partition(":")[0]


def _floor(found: Judged) -> Iterator[Verdict]:
    """Says which models differ from held-out real data, by any metric on any features."""
    real = next((c for c in found.everyone if c.model == REAL), None)
    if real is None or not found.competing:
        return
    tested = {c.model: _against(c, real) for c in found.competing}
    every = [(m, score, gap) for m, of in tested.items() for score, gap in of.items()]
    sure = holm([p_value(gap) for *_, gap in every], level=LEVEL)
    apart: dict[str, dict[str, Estimate]] = {c.model: {} for c in found.competing}
    for (model, score, gap), is_sure in zip(every, sure, strict=True):
        if is_sure:
            apart[model][score] = gap
    measured = [c for c in found.competing if tested[c.model]]
    same = [c for c in measured if not apart[c.model]]
    told = [c for c in measured if apart[c.model]]
    n = len(every)
    how = f"By Holm's procedure over all {n} comparisons, {LEVEL:.0%} in all".replace("%", " %")
    because = f"{how}{_sizes(real)}."
    if told:
        clear = "; ".join(
            f"{c.label} by {len(apart[c.model])} of {len(tested[c.model])} metrics, most clearly "
            f"{_clearest(apart[c.model], c, real)}"
            for c in told[:_SHOWN]
        )
        because = f"{clear}. {because}"
    if same:
        claim = f"Not distinguishable from held-out real data by any metric: {_listed(same)}"
        tail = f"; {_listed(told)} {_differ(told)} significantly from it." if told else "."
        yield Verdict(claim=claim + tail, because=because)
    elif told:
        who = "Every model differs" if len(told) > 1 else f"{told[0].label} differs"
        yield Verdict(claim=f"{who} significantly from held-out real data.", because=because)


def _against(c: Contestant, real: Contestant) -> dict[str, Estimate]:
    """Returns the difference from real data by every metric on every measured features."""
    thin = c.as_control()
    (of_real,) = real.outcomes.values()
    scores = [s for s in of_real.scores if thin.values(s) and real.values(s)]
    gaps = {s: trained_gap(thin, real, s) for s in scores}
    return {s: g for s, g in gaps.items() if g.half_width is not None}


def _sizes(real: Contestant) -> str:
    sizes = {e.n for o in real.outcomes.values() for e in o.scores.values() if e.n}
    return f", {min(sizes):,} samples of each against the same held-out ones" if sizes else ""


def _clearest(gaps: dict[str, Estimate], c: Contestant, real: Contestant) -> str:
    score = max(gaps, key=lambda s: abs(gaps[s].value or 0) / (gaps[s].half_width or 1e-12))
    ours, theirs = shown(c.as_control().sampled(score)), shown(real.sampled(score))
    return f"{score} {ours} against {theirs}"


def _sampling(competing: Sequence[Contestant]) -> Iterator[Verdict]:
    trained = [c for c in competing if c.values(standings.DEPTH)]
    ranked = rank(trained, standings.SAMPLING, "lower")
    ranked = [c for c in ranked if (c.estimate(standings.SAMPLING).value or 0) > 0]
    if len(ranked) < 2:
        return
    cheap, dear = ranked[0], ranked[-1]
    low, high = cheap.estimate(standings.SAMPLING), dear.estimate(standings.SAMPLING)
    ratio = (high.value or 0) / (low.value or 1)
    yield Verdict(
        claim=f"A sample of {dear.label} costs {ratio:,.0f} times one of {cheap.label}.",
        because=f"{shown(high)} against {shown(low)}, counted.",
    )


def _failures(everyone: Sequence[Contestant]) -> Iterator[Verdict]:
    for c in everyone:
        if c.failures:
            yield Verdict(
                claim=f"{c.label} failed in {len(c.failures)} of "
                f"{len(c.failures) + len(c.outcomes)} trials.",
                because="; ".join(c.failures),
            )


def _listed(group: Sequence[Contestant]) -> str:
    labels = [c.label for c in group]
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def _differ(group: Sequence[Contestant]) -> str:
    return "differs" if len(group) == 1 else "differ"


# ----------------------------------------------------------------------------
# How far each model is behind the best, and what may be claimed of that.
# ----------------------------------------------------------------------------


def behind_the_best(found: Judged) -> Iterator[Block]:
    """Yields one section with a chart and a table for each score that ranks models."""
    scores = ((found.quality, found.quality.replace("energy", "energy distance")),)
    blocks = [
        b
        for score, what in (*scores, (standings.LIKELIHOOD, "likelihood"))
        for b in _behind(found, score, what)
    ]
    if blocks:
        yield Section(title="Gap to the best model", blocks=blocks)


def _behind(found: Judged, score: str, what: str) -> Iterator[Block]:
    ranked = rank(found.competing, score, "lower")
    fit = [c for c in ranked if score != found.quality or not found.gate.bars(c)]
    if len(ranked) < 2 or not fit:
        return
    best = fit[0]
    gaps = [(c, g) for c in ranked if (g := found.trained.of(c, best, score)) is not None]
    title = f"{what.capitalize()}: minus that of {best.label}"
    unit = best.estimate(score).unit
    yield Forest(
        title=title,
        unit=unit,
        groups=[Group(name="", dots=[Dot(name=c.label, estimate=g.estimate) for c, g in gaps])],
        reference=0.0,
        better="lower",
        note="Of the trained models; bars are 95 % intervals for fresh samples, paired on the "
        "same held-out ones.",
    )
    yield Table(
        title=f"{title}, and how sure that is",
        columns=[
            Column(name="model"),
            Column(name="trained models", unit=unit, help="Difference, for fresh samples."),
            Column(name="significant?"),
            Column(name="recipes", unit=unit, help="Difference, for other seeds too."),
            Column(name="significant? "),
            Column(name="seeds needed", help="Seeds that would show the recipes to differ."),
        ],
        rows=[_row(found, c, best, score) for c, _ in gaps],
        note="Intervals are of one difference each; significance is by Holm's procedure over all "
        "pairs of models and both scores, 5 % in all. Seeds needed: if mean and spread stay; a "
        "dash where more held-out samples would be needed.",
    )


def _row(found: Judged, c: Contestant, best: Contestant, score: str) -> list[Cell]:
    trained, recipe = found.trained.of(c, best, score), found.recipes.of(c, best, score)
    row: list[Cell] = [c.label]
    for gap in (trained, recipe):
        row += ["–", "–"] if gap is None else [gap.estimate, "yes" if gap.is_sure else "no"]
    return [*row, None if recipe is None else seeds_needed(c, best, score, found.recipes)]


# ----------------------------------------------------------------------------
# The charts of a comparison.
# ----------------------------------------------------------------------------


def charts(everyone: Sequence[Contestant], run: Run) -> Iterator[Block]:
    """Yields quality with intervals, likelihood with intervals, quality against cost, curves."""
    score = ranking_score(everyone)
    on = ranked_on(everyone)
    kind = "" if on == "pixels" else " features"
    yield from _forest(everyone, score, f"Energy distance to held-out data, on {on}{kind}")
    yield from _forest(everyone, standings.LIKELIHOOD, "Negative log-likelihood of held-out data")
    competing = [c for c in everyone if c.model != REAL and c.outcomes]
    yield from _pareto(competing, score, standings.SAMPLING, "FLOPs for one sample")
    curves = list(_curves(competing, run))
    if curves:
        yield Section(title="Validation during training", blocks=curves)


def _forest(everyone: Sequence[Contestant], score: str, title: str) -> Iterator[Block]:
    found = estimated(everyone, score)
    dots = [Dot(name=c.label, estimate=found[c.model]) for c in everyone if c.values(score)]
    if len(dots) > 1:
        first = dots[0].estimate
        yield Forest(
            title=title,
            unit=first.unit,
            groups=[Group(name="", dots=dots)],
            better=first.better,
            references=[c.label for c in everyone if is_reference(c)],
            note="Dots are means over seeds, bars 95 % intervals over seeds and samples.",
        )


def _pareto(competing: Sequence[Contestant], score: str, cost: str, label: str) -> Iterator[Block]:
    known = [c for c in competing if c.values(score) and c.values(cost)]
    priced = [c for c in known if (c.estimate(cost).value or 0) > 0]
    if len(priced) < 2:
        return
    front = pareto([(_value(c, cost), _value(c, score)) for c in priced])
    points = [_point(c, score, cost, front=i in front) for i, c in enumerate(priced)]
    yield Scatter(
        title="Quality against the cost of a sample",
        x_label=label,
        y_label=score.replace("energy", "energy distance"),
        points=points,
        log_x=True,
        note="Down and to the left is better; the line joins what nothing beats on both. "
        "Models whose samples cost no counted operation are left out.",
    )


def pareto(points: Sequence[tuple[float, float]]) -> set[int]:
    """Returns the indices of the points that no other point beats in both coordinates.

    Lower is better in both.

    Example:
        >>> sorted(pareto([(1, 3), (2, 2), (3, 3), (4, 1)]))
        [0, 1, 3]
    """

    def beaten(i: int) -> bool:
        x, y = points[i]
        return any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)

    return {i for i in range(len(points)) if not beaten(i)}


def _value(c: Contestant, score: str) -> float:
    value = c.estimate(score).value
    return float("nan") if value is None else value


def _point(c: Contestant, score: str, cost: str, *, front: bool) -> Point:
    found = c.estimate(score)
    return Point(
        name=c.label,
        x=_value(c, cost),
        y=_value(c, score),
        y_low=found.low,
        y_high=found.high,
        front=front,
    )


def _curves(competing: Sequence[Contestant], run: Run) -> Iterator[Lines]:
    """Yields one chart for those selected by likelihood and one for those by distance."""
    densities = [c for c in competing if c.values(standings.LIKELIHOOD)]
    others = [c for c in competing if not c.values(standings.LIKELIHOOD)]
    for group, what in ((densities, "negative log-likelihood"), (others, "energy distance")):
        series = [s for c in group for s in _series(c, run)]
        if series:
            yield Lines(
                title=f"Selected by {what}",
                x_label="training FLOPs",
                y_label=f"validation: {what}",
                series=series,
                note="One line for each model, first seed. The best point is what is judged.",
            )


def _series(c: Contestant, run: Run) -> Iterator[Series]:
    first: Outcome = next(iter(c.outcomes.values()))
    curve = [p for p in run.folder(first.trial).load_curve() if p["validation"] is not None]
    if curve:
        x, y = [float(p["flops"]) for p in curve], [float(p["validation"]) for p in curve]
        yield Series(name=c.label, x=x, y=y)


# ----------------------------------------------------------------------------
# The report of a comparison: who wins on what, how surely, and at which cost.
# ----------------------------------------------------------------------------


def answer(
    command: str,
    question: Mapping[str, Any],
    outcomes: Sequence[Outcome],
    run: Run,
    *,
    data: RunData,
) -> Report:
    """Returns the report of a comparison from its outcomes.

    Args:
        command: Which command asks.
        question: What was asked, with every default written out.
        outcomes: What the trials gave.
        run: Where they kept samples and curves.
        data: The data of the run.
    """
    everyone = contestants(outcomes, run)
    rivals = [c for c in everyone if c.model != REAL]
    found, under = judged(everyone), undertrained(everyone, run)
    shown = best_first(everyone)
    return Report(
        title=f"{_title(command, rivals)} on {datasets.short(question['data'])}",
        command=command,
        question=question,
        spend=sum((o.spend for o in outcomes), Spend()),
        facts=facts_of(_setting(question, data), outcomes, run),
        verdicts=verdicts(found, under),
        caveats=list(_caveats(question, everyone)),
        rows=list(rows_of(outcomes)),
        blocks=[
            table_of_models(shown, under, found),
            *charts(shown, run),
            *galleries(shown, run, data),
            *behind_the_best(found),
            *_details(shown),
        ],
    )


def _title(command: str, rivals: Sequence[Contestant]) -> str:
    if command == "train":
        return rivals[0].label if rivals else "Training"
    return f"{len(rivals)} model{'s' if len(rivals) > 1 else ''} on equal compute"


_UNITS = {"flops": "FLOP", "seconds": "s"}


def _setting(question: Mapping[str, Any], data: RunData) -> dict[str, str]:
    limits: Mapping[str, float] = question["budget"]
    budget = ", ".join(fmt.text(v, _UNITS.get(k, k)) for k, v in limits.items())
    _, splits = data.load(question["data"], int(question["data_seed"]))
    return {
        "Compute budget per model": budget,
        "Data": str(question["data"]),
        "Splits": splits.note,
        "Seeds": ", ".join(map(str, question["seeds"])),
        "Samples judged": f"{question['samples']} against as many held out",
    }


# So many distances, or fewer, are all shown in the main table.
_FEW = 5

# A column: score, title, direction, unit, what it means, common head.
_Wanted = tuple[str, str, Better | None, str, str, str]

_QUALITY, _DENSITY, _COST = "Samples against held-out data", "Density", "Cost"
_DISTANCES: tuple[_Wanted, ...] = (
    ("energy", "energy distance", "lower", "1", "Ranks the models.", _QUALITY),
    ("frechet", "Frechet distance", "lower", "1", "Between Gaussians fitted to both.", _QUALITY),
    ("precision", "precision", "higher", "1", "Share of samples that look real.", _QUALITY),
    ("recall", "recall", "higher", "1", "Share of real data that samples reach.", _QUALITY),
)
_OTHERS: tuple[_Wanted, ...] = (
    (standings.LIKELIHOOD, "negative log-likelihood", "lower", "bits/dim", "Held out.", _DENSITY),
    (standings.STEPS, "training steps", None, "1", "Those that the budget paid for.", _COST),
    (standings.TRAINING, "training", "lower", "FLOP", "Operations, with validation.", _COST),
    (standings.SAMPLING, "one sample", "lower", "FLOP", "Operations.", _COST),
    (standings.SAMPLING_CPU, "one sample, CPU", "lower", "s", "CPU time, batch of 64.", _COST),
    (
        standings.DEPTH,
        "depth",
        "lower",
        "1",
        "Network evaluations that wait for one another.",
        _COST,
    ),
)


def table_of_models(
    everyone: Sequence[Contestant], under: Sequence[Undertrained], found: Judged | None = None
) -> Table:
    """Returns the main table: a row for each model, those that learn on in ``under`` marked."""
    note = (
        "Mean over seeds ± half the 95 % interval, over seeds and samples. Best energy distance "
        "first. Set apart: real data (the noise floor) and copies of the training data. "
        "Whether differences are significant is tested for the energy distance and for the "
        "likelihood, in pairs on the same held-out samples, which intervals of one model do not "
        "show: see the answer and the gap to the best model."
    )
    marked = {u.contestant.model for u in under}
    return _table(
        "Who is good at what",
        everyone,
        [*distance_columns(everyone), *_OTHERS],
        marked=marked,
        found=found,
        note=f"{note} {MARK} {RULE}" if marked else note,
    )


def distance_columns(everyone: Sequence[Contestant]) -> Sequence[_Wanted]:
    """Returns all distances where few were asked for, else a choice of them."""
    outcomes = [o for c in everyone for o in c.outcomes.values()]
    measured = measured_distances(everyone)
    found = {name: e for o in outcomes for name, e in o.scores.items() if name in measured}
    where = ranked_on(everyone)
    chosen: list[_Wanted] = [
        (on_ranking_features(everyone, m), f"{n} ({where})", b, u, h, g)
        for m, n, b, u, h, g in _DISTANCES
    ]
    if len(found) > _FEW:
        return chosen
    named = {wanted[0]: wanted for wanted in chosen}
    return [
        named.get(name, (name, name, e.better, e.unit, "", _QUALITY)) for name, e in found.items()
    ]


def _table(
    title: str,
    everyone: Sequence[Contestant],
    wanted: Sequence[_Wanted],
    *,
    marked: Container[str] = (),
    found: Judged | None = None,
    note: str = "Mean over seeds ± half the 95 % interval.",
) -> Table:
    """Returns a table of those columns that anyone has a value in, references last."""
    shown = [c for c in wanted if any(who.values(c[0]) for who in everyone)]
    called = {c.model: f"{c.label} {MARK}" if c.model in marked else c.label for c in everyone}
    columns = [Column(name="model")]
    for score, name, better, unit, means, group in shown:
        best = None if found is None else found.best(score)
        columns.append(
            Column(
                name=name,
                better=better,
                unit=_unit_of(everyone, score, name) or unit,
                help=means,
                group=group,
                best=() if best is None else (called[best.model],),
            )
        )
    numbers = {score: estimated(everyone, score) for score, *_ in shown}
    rows: list[list[Cell]] = [
        [called[who.model], *(numbers[score][who.model] for score, *_ in shown)]
        for who in everyone
    ]
    references = [who.label for who in everyone if is_reference(who)]
    return Table(title=title, columns=columns, rows=rows, references=references, note=note)


def _unit_of(everyone: Sequence[Contestant], score: str, title: str) -> str:
    """Returns the unit of a column, where its title does not say it."""
    unit = _unit(everyone, score)
    return "1" if unit in title.split() else unit


def _unit(everyone: Sequence[Contestant], score: str) -> str:
    """Returns in what a score was measured here: nats or bits, for one."""
    units = [e.unit for who in everyone if (e := who.estimate(score)).value is not None]
    return units[0] if units else ""


def _details(everyone: Sequence[Contestant]) -> Iterator[Block]:
    found = {
        name: e for c in everyone for o in c.outcomes.values() for name, e in o.scores.items()
    }
    clock = {name: e for c in everyone for o in c.outcomes.values() for name, e in o.clock.items()}
    heads = _heads(everyone)
    for title, group in (("Every score", found), ("Times of this machine", clock)):
        wanted: list[_Wanted] = [
            (n, n, e.better, e.unit, "", heads.get(n, ""))
            for n, e in _by_head(group, heads).items()
        ]
        yield Section(title=title, blocks=[_table(title, everyone, wanted)])
    failed = [[c.label, text] for c in everyone for text in c.failures]
    if failed:
        columns = [Column(name="model"), Column(name="what happened")]
        yield Table(title="Trials that failed", columns=columns, rows=failed)


def _heads(everyone: Sequence[Contestant]) -> dict[str, str]:
    """Returns under which head each distance stands: the features that it was measured on."""
    trials = (o.trial for c in everyone for o in c.outcomes.values())
    pairs = {name: pair for t in trials for name, pair in standings.distances(t.parts).items()}
    return {name: f"on {features.partition(':')[0]}" for name, (_, features) in pairs.items()}


def _by_head(scores: Mapping[str, Estimate], heads: Mapping[str, str]) -> dict[str, Estimate]:
    """Returns scores with those on the same features side by side, in their order otherwise."""
    order = list(dict.fromkeys(heads.get(n, "") for n in scores))
    return dict(sorted(scores.items(), key=lambda item: order.index(heads.get(item[0], ""))))


def _caveats(
    question: Mapping[str, Any],
    everyone: Sequence[Contestant],
) -> Iterator[Caveat]:
    seeds = len(question["seeds"])
    if question["command"] == "train":
        yield Caveat(
            text="One model, one seed: how far another seed would end is not known. Several tell: "
            "gantlet compare, with --seeds."
        )
    elif seeds < 3:
        yield Caveat(
            text=f"{seeds} seed{'s' if seeds > 1 else ''} only: what is said of these trained "
            "models need not hold of their recipes. Give --seeds 3 or more."
        )
    yield Caveat(
        text=f"All numbers are for one split of the data (data seed {question['data_seed']}) and "
        f"{question['samples']} held-out samples."
    )
    yield from _floor_size(everyone)
    yield Caveat(
        text="FLOPs count matrix products, convolutions and attention; element-wise work and "
        "memory traffic are left out. CPU times are of one busy or idle machine."
    )
    yield from likelihood_kinds(everyone)
    notes = {note for c in everyone for o in c.outcomes.values() for note in o.notes}
    for text in sorted(n.text for n in notes if n.about in {"features", "meter"}):
        yield Caveat(text=f"{text[0].upper()}{text[1:]}.")


def _floor_size(everyone: Sequence[Contestant]) -> Iterator[Caveat]:
    """Says on how many samples models and real data are compared, where that is not all."""
    thinned = [e for c in everyone for o in c.outcomes.values() for e in _control(o)]
    real = [e for c in everyone if c.model == REAL for o in c.outcomes.values() for e in _n(o)]
    if thinned and real:
        yield Caveat(
            text=f"The row of real data rests on {min(real):,} validation samples, which stand in "
            "for a model's. Models are compared with it by as many of their own, since precision, "
            "recall, density and coverage depend on that number. Validation samples only selected "
            "which weights are judged; no model learned from them."
        )


def _control(outcome: Outcome) -> Sequence[str]:
    return list(outcome.details.get(CONTROL, ()))


def _n(outcome: Outcome) -> Iterator[int]:
    return (e.n for e in outcome.scores.values() if e.n)


def likelihood_kinds(everyone: Sequence[Contestant]) -> Iterator[Caveat]:
    """Says which likelihoods are exact and which are not, where both are ranked."""
    kinds: dict[Kind, list[str]] = {}
    for c in everyone:
        kind = c.estimate(standings.LIKELIHOOD).kind
        if kind is not None:
            kinds.setdefault(kind, []).append(c.label)
    if len(kinds) > 1:
        told = "; ".join(f"{KINDS_IN_WORDS[k]}: {', '.join(who)}" for k, who in kinds.items())
        yield Caveat(
            text=f"Likelihoods are of different kinds ({told}). A bound may be loose: the model "
            "behind it may be better than it looks."
        )


def rows_of(outcomes: Sequence[Outcome]) -> Iterator[Row]:
    """Yields every estimate of every trial."""
    for o in outcomes:
        for name, estimate in (*o.scores.items(), *o.clock.items()):
            yield Row(
                data=o.trial.parts["data"],
                model=o.trial.parts["model"],
                seed=o.trial.seed,
                name=name,
                estimate=estimate,
            )
