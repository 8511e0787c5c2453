"""The report of a comparison: who wins on what, how surely, and at which cost."""

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from gantlet.core.budget import Spend
from gantlet.core.components import datasets
from gantlet.core.estimate import KINDS_IN_WORDS, Better, Estimate, Kind
from gantlet.core.trial import CONTROL, REAL, Outcome
from gantlet.report import format as fmt
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Report,
    Row,
    Section,
    Table,
)
from gantlet.store.run import Run
from gantlet.studies import names
from gantlet.studies.charts import charts
from gantlet.studies.claims import estimated
from gantlet.studies.facts import facts_of
from gantlet.studies.gallery import galleries
from gantlet.studies.pairs import behind_the_best
from gantlet.studies.sources import load
from gantlet.studies.summary import (
    Contestant,
    best_first,
    contestants,
    distances,
    is_reference,
    on_ranking_features,
    ranked_on,
)
from gantlet.studies.undertrained import MARK, RULE, Undertrained, undertrained
from gantlet.studies.verdicts import Judged, judged, verdicts


def answer(
    command: str, question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run
) -> Report:
    """Returns the report of a comparison from its outcomes."""
    everyone = contestants(outcomes, run)
    rivals = [c for c in everyone if c.model != REAL]
    found, under = judged(everyone), undertrained(everyone, run)
    shown = best_first(everyone)
    return Report(
        title=f"{_title(command, rivals)} on {datasets.short(question['data'])}",
        command=command,
        question=question,
        spend=sum((o.spend for o in outcomes), Spend()),
        facts=facts_of(_setting(question), outcomes, run),
        verdicts=verdicts(found, under),
        caveats=list(_caveats(question, everyone)),
        rows=list(rows_of(outcomes)),
        blocks=[
            table_of_models(shown, under, found),
            *charts(shown, run),
            *galleries(shown, run),
            *behind_the_best(found),
            *_details(shown),
        ],
    )


def _title(command: str, rivals: Sequence[Contestant]) -> str:
    if command == "train":
        return rivals[0].label if rivals else "Training"
    return f"{len(rivals)} model{'s' if len(rivals) > 1 else ''} on equal compute"


_UNITS = {"flops": "FLOP", "seconds": "s"}


def _setting(question: Mapping[str, Any]) -> dict[str, str]:
    limits: Mapping[str, float] = question["budget"]
    budget = ", ".join(fmt.text(v, _UNITS.get(k, k)) for k, v in limits.items())
    _, splits = load(question["data"], int(question["data_seed"]))
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
    (names.LIKELIHOOD, "negative log-likelihood", "lower", "bits/dim", "Held out.", _DENSITY),
    (names.STEPS, "training steps", None, "1", "Those that the budget paid for.", _COST),
    (names.TRAINING, "training", "lower", "FLOP", "Operations, with validation.", _COST),
    (names.SAMPLING, "one sample", "lower", "FLOP", "Operations.", _COST),
    (names.SAMPLING_CPU, "one sample, CPU", "lower", "s", "CPU time, batch of 64.", _COST),
    (names.DEPTH, "depth", "lower", "1", "Network evaluations that wait for one another.", _COST),
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
    measured = distances(everyone)
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
    pairs = {name: pair for t in trials for name, pair in names.distances(t.parts).items()}
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
        kind = c.estimate(names.LIKELIHOOD).kind
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
