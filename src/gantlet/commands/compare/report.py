"""The report of a comparison: who wins on what, how surely, and at which cost."""

import math
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gantlet.commands import standings
from gantlet.commands.compare.claims import (
    MARK,
    RULE,
    Undertrained,
    estimated,
    seeds_needed,
    undertrained,
)
from gantlet.commands.compare.memorization import (
    memorization_section,
    memorization_tests,
    memorization_verdict,
)
from gantlet.commands.compare.network_report import copied_edges, network_sections
from gantlet.commands.compare.quality_coverage import (
    curve_scores,
    trade_off_section,
    trade_off_verdicts,
    trade_offs,
)
from gantlet.commands.compare.verdicts import Judged, judged, verdicts
from gantlet.commands.coverage import (
    BOUND,
    CONSTANT,
    DIVERGENCE,
    MODES,
    NEEDED,
    OWN_BOUND,
    QUALITY,
    bound_chart,
    conditions,
    coverage_of_truth,
    separated,
)
from gantlet.commands.exhibits import galleries
from gantlet.commands.standings import (
    SAMPLES,
    ModelResults,
    best_first,
    is_reference,
    measured_distances,
    model_results,
    on_ranking_features,
    rank,
    ranked_on,
    ranking_score,
)
from gantlet.commands.trained import ASYNCHRONY, MONITORED
from gantlet.core.data import Separated
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
from gantlet.core.spec import datasets, families
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
)
from gantlet.run.execute import facts_of
from gantlet.run.store import Run
from gantlet.run.trials import RunData

# ----------------------------------------------------------------------------
# How far each model is behind the best, and what may be claimed of that.
# ----------------------------------------------------------------------------


def gap_to_best(found: Judged) -> Iterator[Block]:
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


def _row(found: Judged, c: ModelResults, best: ModelResults, score: str) -> list[Cell]:
    trained, recipe = found.trained.of(c, best, score), found.recipes.of(c, best, score)
    row: list[Cell] = [c.label]
    for gap in (trained, recipe):
        row += ["–", "–"] if gap is None else [gap.estimate, "yes" if gap.is_sure else "no"]
    return [*row, None if recipe is None else seeds_needed(c, best, score, found.recipes)]


# ----------------------------------------------------------------------------
# The charts of a comparison.
# ----------------------------------------------------------------------------


def charts(everyone: Sequence[ModelResults], run: Run) -> Iterator[Block]:
    """Yields quality with intervals, likelihood with intervals, quality against cost, curves."""
    score = ranking_score(everyone)
    on = ranked_on(everyone)
    kind = "" if on == "pixels" else " features"
    yield from _forest(everyone, score, f"Energy distance to held-out data, on {on}{kind}")
    yield from _forest(everyone, standings.LIKELIHOOD, "Negative log-likelihood of held-out data")
    competing = [c for c in everyone if c.model != REAL and c.outcomes]
    yield from _pareto(competing, score, estimated(everyone, score))
    curves = list(_curves(competing, run))
    if curves:
        yield Section(title="Validation during training", blocks=curves)


def _forest(everyone: Sequence[ModelResults], score: str, title: str) -> Iterator[Block]:
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


def _pareto(
    competing: Sequence[ModelResults], score: str, found: Mapping[str, Estimate]
) -> Iterator[Block]:
    """Yields the chart of a score, with the intervals that tables give, against sampling cost."""
    cost = standings.SAMPLING
    known = [c for c in competing if c.values(score) and c.values(cost)]
    priced = [c for c in known if (c.estimate(cost).value or 0) > 0]
    if len(priced) < 2:
        return
    front = pareto([(_value(c, cost), _value(c, score)) for c in priced])
    points = [
        _point(c, _value(c, cost), found[c.model], front=i in front) for i, c in enumerate(priced)
    ]
    yield Scatter(
        title="Quality against the cost of a sample",
        x_label="FLOPs for one sample",
        y_label=score.replace("energy", "energy distance"),
        points=points,
        log_x=True,
        note="Down and to the left is better; the line joins the Pareto front. Bars are 95 % "
        "intervals over seeds and samples. Models whose samples cost no counted operation are "
        "left out.",
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


def _value(c: ModelResults, score: str) -> float:
    value = c.estimate(score).value
    return float("nan") if value is None else value


def _point(c: ModelResults, cost: float, found: Estimate, *, front: bool) -> Point:
    return Point(
        name=c.label,
        x=cost,
        y=float("nan") if found.value is None else found.value,
        y_low=found.low,
        y_high=found.high,
        front=front,
    )


def _curves(competing: Sequence[ModelResults], run: Run) -> Iterator[Lines]:
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
                note="One line for each model, first seed. The weights of the lowest point are "
                "judged.",
            )


def _series(c: ModelResults, run: Run) -> Iterator[Series]:
    first: Outcome = next(iter(c.outcomes.values()))
    curve = [p for p in run.folder(first.trial).load_curve() if p["validation"] is not None]
    if curve:
        x, y = [float(p["flops"]) for p in curve], [float(p["validation"]) for p in curve]
        yield Series(name=c.label, x=x, y=y)


def monitored(everyone: Sequence[ModelResults]) -> Iterator[Section]:
    """Yields the curves of monitors, of the first seed of each model."""
    lines = [
        _monitored_lines(chart, c.label, named=len(everyone) > 2)
        for c in everyone
        for o in list(c.outcomes.values())[:1]
        for chart in o.details.get(MONITORED, ())
    ]
    if lines:
        yield Section(title="Monitored during training", blocks=lines)


def _monitored_lines(chart: Mapping[str, Any], label: str, *, named: bool) -> Lines:
    return Lines(
        title=f"{label}: {chart['title']}" if named else chart["title"],
        x_label=chart["x_label"],
        y_label=chart["y_label"],
        log_y=chart["log_y"],
        note=chart["note"],
        series=[
            Series(name=one["name"], **{k: _numbers(one[k]) for k in _ROWS if one.get(k)})
            for one in chart["series"]
        ],
    )


_ROWS = ("x", "y", "low", "high")


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [math.nan if v is None else v for v in values]


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
    notes: Sequence[str] = (),
) -> Report:
    """Returns the report of a comparison from its outcomes.

    Args:
        command: Which command asks.
        question: What was asked, with every default written out.
        outcomes: What the trials gave.
        run: Where they kept samples and curves.
        data: The data of the run.
        notes: What else a reader must know, one clause each.
    """
    everyone = model_results(outcomes, run)
    rivals = [c for c in everyone if c.model != REAL]
    found, under = judged(everyone), undertrained(everyone, run)
    shown, traded = best_first(everyone), trade_offs(best_first(everyone))
    memory = memorization_tests(shown, run)
    return Report(
        title=f"{_title(command, rivals, _equal(question))} on {datasets.short(question['data'])}",
        command=command,
        question=question,
        spend=sum((o.spend for o in outcomes), Spend()),
        facts=facts_of(_setting(question, data), outcomes, run),
        verdicts=[
            *verdicts(found, under),
            *memorization_verdict(memory),
            *copied_edges(shown),
            *trade_off_verdicts(traded),
        ],
        caveats=[
            *(Caveat(text=f"{n[0].upper()}{n[1:]}.") for n in notes),
            *_caveats(question, everyone),
        ],
        rows=list(rows_of(outcomes)),
        blocks=[
            table_of_models(shown, under, found),
            *charts(shown, run),
            *trade_off_section(traded),
            *memorization_section(shown, memory),
            *mode_coverage(shown, question["data"]),
            *network_sections(shown),
            *galleries(shown, run, data),
            *monitored(shown),
            *gap_to_best(found),
            *staleness(shown),
            *_details(shown, without=curve_scores(traded)),
        ],
    )


def staleness(everyone: Sequence[ModelResults]) -> Iterator[Block]:
    """Yields the staleness of updates of the models that were trained asynchronously."""
    counts = {c.label: found for c in everyone if (found := _staleness(c))}
    if not counts:
        return
    yield Table(
        title="Staleness of updates",
        columns=[
            Column(name="steps late", unit="steps"),
            *(Column(name=name, unit="updates") for name in counts),
        ],
        rows=[
            [late, *(found[late] for found in counts.values())]
            for late in sorted(set().union(*counts.values()))
        ],
        note="Updates by the number of other updates that were applied between the reading of the "
        "parameters and the gradient, over all seeds. The file staleness.csv of each trial holds "
        "them in order; --solver stale:delays=replay,path=FILE repeats them in one process.",
    )


def _staleness(c: ModelResults) -> Counter[int]:
    total = Counter[int]()
    for found in _asynchronies(c):
        total.update({int(late): n for late, n in found["staleness"].items()})
    return total


def _asynchronies(c: ModelResults) -> list[Mapping[str, Any]]:
    details = [o.details.get(ASYNCHRONY) for o in c.outcomes.values()]
    return [found for found in details if found is not None]


def _title(command: str, rivals: Sequence[ModelResults], equal: str) -> str:
    if command == "train":
        return rivals[0].label if rivals else "Training"
    return f"{len(rivals)} model{'s' if len(rivals) > 1 else ''} on equal {equal}"


_UNITS = {"flops": "FLOP", "seconds": "s"}


def _equal(question: Mapping[str, Any]) -> str:
    return "time" if "time" in question else "compute"


def _budget(question: Mapping[str, Any]) -> str:
    limits: Mapping[str, float] = question["budget"]
    budget = ", ".join(fmt.text(v, _UNITS.get(k, k)) for k, v in limits.items())
    if "time" not in question:
        return budget
    pairs = zip(question["models"], question["budgets"], strict=True)
    each = [f"{fmt.text(f, 'FLOP')} of {families.short(m)}" for m, f in pairs if f is not None]
    measured = budget or ", ".join(each) or "none is trained"
    return f"{fmt.text(question['time'], 's')} of training, measured as {measured}"


def _setting(question: Mapping[str, Any], data: RunData) -> dict[str, str]:
    _, splits = data.load(question["data"], int(question["data_seed"]))
    return {
        "Compute budget per model": _budget(question),
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
_VALID: _Wanted = (
    "valid",
    "valid",
    "higher",
    "1",
    "Share of samples that obey the law of the data.",
    _QUALITY,
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
    everyone: Sequence[ModelResults], under: Sequence[Undertrained], found: Judged | None = None
) -> Table:
    """Returns the main table: a row for each model, undertrained ones in ``under`` marked."""
    note = (
        "Mean over seeds ± half the 95 % interval, over seeds and samples. Best energy distance "
        "first; real data (the noise floor) and copies of the training data last. Overlapping "
        "intervals do not decide: energy distance and likelihood are tested in pairs on the same "
        "held-out samples, see the answer and the gap to the best model."
    )
    marked = {u.contestant.model for u in under}
    return _table(
        "Models: quality and cost",
        everyone,
        [*distance_columns(everyone), _VALID, *_OTHERS],
        marked=marked,
        found=found,
        note=f"{note} {MARK} {RULE}" if marked else note,
    )


def distance_columns(everyone: Sequence[ModelResults]) -> Sequence[_Wanted]:
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
        own = {n for n, (_, on) in standings.measured_with(everyone).items() if on == SAMPLES}
        of_samples: list[_Wanted] = [
            (n, n, e.better, e.unit, "", _QUALITY) for n, e in found.items() if n in own
        ]
        return [*chosen, *of_samples]
    named = {wanted[0]: wanted for wanted in chosen}
    return [
        named.get(name, (name, name, e.better, e.unit, "", _QUALITY)) for name, e in found.items()
    ]


def _table(
    title: str,
    everyone: Sequence[ModelResults],
    wanted: Sequence[_Wanted],
    *,
    marked: Container[str] = (),
    found: Judged | None = None,
    note: str = "Mean over seeds ± half the 95 % interval.",
) -> Table:
    """Returns a table of those columns that any model has a value in, references last."""
    asked = [who for who in everyone if who.model != REAL and who.outcomes] or everyone
    shown = [c for c in wanted if any(who.values(c[0]) for who in asked)]
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


_SAMPLES, _THEORY = "Samples", "Theory"
_COVERAGE: tuple[_Wanted, ...] = (
    (MODES, MODES, "higher", "modes", "Modes with a sample on their support.", _SAMPLES),
    (QUALITY, QUALITY, "higher", "1", "Share of samples on the support.", _SAMPLES),
    (DIVERGENCE, DIVERGENCE, "lower", "nats", "Of the histogram over modes.", _SAMPLES),
    (CONSTANT, "Lipschitz constant", None, "1", "Largest slope found.", _THEORY),
    (BOUND, BOUND, None, "1", "Largest share possible with all modes.", _THEORY),
    (OWN_BOUND, "own proportions", None, "1", "Largest in the samples' proportions.", _THEORY),
    (NEEDED, "constant needed", None, "1", "Smallest with which the share is possible.", _THEORY),
)


def mode_coverage(everyone: Sequence[ModelResults], data: str) -> Iterator[Section]:
    """Yields how models cover modes that are apart, beside what theory allows them.

    Args:
        everyone: The models and references.
        data: The data set in written form.
    """
    world = separated(data)
    known = [c for c in everyone if c.values(QUALITY)]
    if world is None or not known:
        return
    found = [
        (c.label, c.estimate(CONSTANT), c.estimate(QUALITY)) for c in known if c.values(BOUND)
    ]
    yield Section(
        title="Mode coverage",
        blocks=[
            _coverage_table(known, world),
            *bound_chart(world.weights.tolist(), world.gap, found),
        ],
    )


def _coverage_table(known: Sequence[ModelResults], world: Separated) -> Table:
    """Returns the coverage of each model, and of as many samples of the truth."""
    table = _table("Mode coverage", known, _COVERAGE)
    n = max(e.n for c in known for e in c.estimates(MODES))
    truth = coverage_of_truth(world, n)
    row: list[Cell] = [f"a perfect sampler, {n:,}"]
    row += [truth.get(w[0]) for w in _COVERAGE if any(c.values(w[0]) for c in known)]
    note = f"Mean over seeds with 95 % interval. {conditions(len(world.weights), world.gap)}"
    references = [*table.references, str(row[0])]
    return replace(table, rows=[*table.rows, row], references=references, note=note)


def _unit_of(everyone: Sequence[ModelResults], score: str, title: str) -> str:
    """Returns the unit of a column, where its title does not say it."""
    unit = _unit(everyone, score)
    return "1" if unit in title.split() else unit


def _unit(everyone: Sequence[ModelResults], score: str) -> str:
    """Returns in what a score was measured here: nats or bits, for one."""
    units = [e.unit for who in everyone if (e := who.estimate(score)).value is not None]
    return units[0] if units else ""


def _details(everyone: Sequence[ModelResults], *, without: Container[str] = ()) -> Iterator[Block]:
    """Yields tables of all scores but those that have a section of their own."""
    found = {
        name: e
        for c in everyone
        for o in c.outcomes.values()
        for name, e in o.scores.items()
        if name not in without
    }
    clock = {name: e for c in everyone for o in c.outcomes.values() for name, e in o.clock.items()}
    heads = _heads(everyone)
    for title, group in (("Every score", found), ("Times on this machine", clock)):
        wanted: list[_Wanted] = [
            (n, n, e.better, e.unit, "", heads.get(n, ""))
            for n, e in _by_head(group, heads).items()
        ]
        yield Section(title=title, blocks=[_table(title, everyone, wanted)])
    failed = [[c.label, text] for c in everyone for text in c.failures]
    if failed:
        columns = [Column(name="model"), Column(name="error")]
        yield Table(title="Failed trials", columns=columns, rows=failed)


def _heads(everyone: Sequence[ModelResults]) -> dict[str, str]:
    """Returns under which head each distance stands: the features that it was measured on."""
    pairs = standings.measured_with(everyone)
    return {name: f"on {features.partition(':')[0]}" for name, (_, features) in pairs.items()}


def _by_head(scores: Mapping[str, Estimate], heads: Mapping[str, str]) -> dict[str, Estimate]:
    """Returns scores with those on the same features side by side, in their order otherwise."""
    order = list(dict.fromkeys(heads.get(n, "") for n in scores))
    return dict(sorted(scores.items(), key=lambda item: order.index(heads.get(item[0], ""))))


def _caveats(
    question: Mapping[str, Any],
    everyone: Sequence[ModelResults],
) -> Iterator[Caveat]:
    seeds = len(question["seeds"])
    if question["command"] == "train":
        yield Caveat(
            text="One model, one seed: the variation between seeds is not known. gantlet compare "
            "with --seeds 3 measures it."
        )
    elif seeds < 3:
        yield Caveat(
            text=f"Only {seeds} seed{'s' if seeds > 1 else ''}: what holds for these trained "
            "models need not hold for their recipes. Give --seeds 3 or more."
        )
    yield Caveat(
        text=f"All numbers are for one split of the data (data seed {question['data_seed']}) and "
        f"{question['samples']} held-out samples."
    )
    yield from _floor_size(everyone)
    yield Caveat(
        text="FLOPs count matrix products, convolutions and attention, not element-wise work or "
        "memory traffic. CPU times depend on this machine and its load."
    )
    yield from likelihood_kinds(everyone)
    yield from _timing(everyone)
    notes = {note for c in everyone for o in c.outcomes.values() for note in o.notes}
    for text in sorted(n.text for n in notes if n.about in {"features", "meter"}):
        yield Caveat(text=f"{text[0].upper()}{text[1:]}.")


def _timing(everyone: Sequence[ModelResults]) -> Iterator[Caveat]:
    """Says what asynchrony takes from a training, and how many workers died."""
    for c in everyone:
        found = _asynchronies(c)
        if not found:
            continue
        lost = sum(one["deaths"] + one["dropped"] for one in found)
        died = f" {lost} workers died: {_dropped(found)}." if lost else ""
        yield Caveat(
            text=f"{c.label} was trained asynchronously: which gradient meets which parameters "
            "depends on the timing of workers, so that a repetition gives another result."
            f"{died} What workers were computing when training ended is not applied; the budget "
            "counts it."
        )


def _dropped(found: Sequence[Mapping[str, Any]]) -> str:
    replaced, gone = sum(o["deaths"] for o in found), sum(o["dropped"] for o in found)
    return f"{replaced} were replaced and their batches computed again, {gone} were dropped"


def _floor_size(everyone: Sequence[ModelResults]) -> Iterator[Caveat]:
    """Says on how many samples models and real data are compared, where that is not all."""
    thinned = any(o.details.get(CONTROL) for c in everyone for o in c.outcomes.values())
    score = ranking_score(everyone)
    sizes = [c.estimate(score).n for c in everyone if c.model == REAL and c.values(score)]
    if thinned and sizes:
        yield Caveat(
            text=f"The row of real data uses {sizes[0]:,} validation samples in place of a "
            "model's. Models are compared with it on as many of their own, since precision, "
            "recall, density and coverage depend on that number. Validation samples selected "
            "which weights are judged; no model was trained on them."
        )


def likelihood_kinds(everyone: Sequence[ModelResults]) -> Iterator[Caveat]:
    """Says which likelihoods are exact and which are not, where both are ranked."""
    kinds: dict[Kind, list[str]] = {}
    for c in everyone:
        kind = None if c.model == REAL else c.estimate(standings.LIKELIHOOD).kind
        if kind is not None:
            kinds.setdefault(kind, []).append(c.label)
    if len(kinds) > 1:
        each = "; ".join(f"{KINDS_IN_WORDS[k]}: {', '.join(who)}" for k, who in kinds.items())
        yield Caveat(
            text=f"Likelihoods are of different kinds ({each}). A bound may be loose: the model "
            "may be better than its bound."
        )


def rows_of(outcomes: Sequence[Outcome]) -> Iterator[Row]:
    """Yields every estimate of every trial."""
    for o in outcomes:
        for name, estimate in (*o.scores.items(), *o.clock.items()):
            yield Row(
                data=o.trial.data,
                model=o.trial.model,
                seed=o.trial.seed,
                name=name,
                estimate=estimate,
            )
