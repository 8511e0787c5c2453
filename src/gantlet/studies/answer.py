"""The report of a comparison: who wins on what, how surely, and at which cost."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from gantlet.core.budget import Spend
from gantlet.core.components import datasets
from gantlet.core.estimate import Better
from gantlet.core.trial import Outcome
from gantlet.report import numbers
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Fact,
    Facts,
    Report,
    Row,
    Section,
    Table,
)
from gantlet.store.run import Run
from gantlet.studies import names
from gantlet.studies.charts import charts
from gantlet.studies.contest import REAL
from gantlet.studies.gallery import galleries
from gantlet.studies.pairs import behind_the_best
from gantlet.studies.sources import load
from gantlet.studies.summary import Contestant, contestants, is_reference
from gantlet.studies.verdicts import verdicts


def answer(
    command: str, question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run
) -> Report:
    """Returns the report of a comparison from its outcomes."""
    everyone = contestants(outcomes)
    rivals = [c for c in everyone if c.model != REAL]
    return Report(
        title=f"{_title(command, rivals)} on {datasets.short(question['data'])}",
        command=command,
        question=question,
        spend=sum((o.spend for o in outcomes), Spend()),
        facts=facts_of(_setting(question), outcomes, run),
        verdicts=verdicts(everyone),
        caveats=list(_caveats(question, everyone)),
        rows=list(rows_of(outcomes)),
        blocks=[
            _main_table(everyone),
            *charts(everyone, run),
            *behind_the_best(everyone),
            *_details(everyone, run),
        ],
    )


def _title(command: str, rivals: Sequence[Contestant]) -> str:
    if command == "train":
        return rivals[0].label if rivals else "Training"
    return f"{len(rivals)} model{'s' if len(rivals) > 1 else ''} on equal compute"


_UNITS = {"flops": "FLOP", "seconds": "s"}


def _setting(question: Mapping[str, Any]) -> dict[str, str]:
    limits: Mapping[str, float] = question["budget"]
    budget = ", ".join(numbers.text(v, _UNITS.get(k, k)) for k, v in limits.items())
    _, splits = load(question["data"], int(question["data_seed"]))
    return {
        "Budget of each contestant": budget,
        "Data": str(question["data"]),
        "Splits": splits.note,
        "Seeds": ", ".join(map(str, question["seeds"])),
        "Samples judged": f"{question['samples']} against as many held out",
    }


def facts_of(setting: Mapping[str, str], outcomes: Sequence[Outcome], run: Run) -> Facts:
    """Returns the head of a report: what was asked, what it took, where it ran."""
    was = run.facts
    seconds = sum(o.spend.seconds for o in outcomes)
    machine = was["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''} a trial"
    peak = numbers.text(machine["peak"], "FLOP/s")
    known = {
        **setting,
        **({"Training, all together": str(timedelta(seconds=round(seconds)))} if seconds else {}),
        "Machine": f"{machine['device']}, {threads}, measured peak {peak} in fp32",
        "Versions": f"gantlet {was['gantlet']}, torch {was['packages']['torch']}",
        "Commit": was["commit"] or "not in a git repository",
        "Started": was["started"],
        "Command": was["command"],
    }
    return Facts(items=[Fact(name=name, value=value) for name, value in known.items()])


# So many distances, or fewer, are all shown in the main table.
_FEW = 5

# A column: score, title, direction, unit, what it means.
_Wanted = tuple[str, str, Better | None, str, str]

_DISTANCES: tuple[_Wanted, ...] = (
    (names.QUALITY, "energy distance", "lower", "1", "Samples against held-out data, on pixels."),
    ("frechet (classifier)", "Frechet distance", "lower", "1", "On a classifier's features."),
    ("frechet (random-conv)", "Frechet distance", "lower", "1", "On features of random weights."),
    ("precision (pixels)", "precision", "higher", "1", "Share of samples that look real."),
    ("recall (pixels)", "recall", "higher", "1", "Share of real data that samples reach."),
)
_OTHERS: tuple[_Wanted, ...] = (
    (names.LIKELIHOOD, "likelihood", "lower", "bits/dim", "Negative log-likelihood, held out."),
    (names.TRAINING, "training", "lower", "FLOP", "Operations in training and validation."),
    (names.SAMPLING, "per sample", "lower", "FLOP", "Operations for one sample."),
    (names.SAMPLING_CPU, "per sample", "lower", "s", "CPU time for one sample, batch of 64."),
    (names.DEPTH, "depth", "lower", "1", "Network evaluations that wait for one another."),
)


def _main_table(everyone: Sequence[Contestant]) -> Table:
    return _table("Who is good at what", everyone, [*_distances(everyone), *_OTHERS])


def _distances(everyone: Sequence[Contestant]) -> Sequence[_Wanted]:
    """Returns all distances where few were asked for, else a choice of them."""
    outcomes = [o for c in everyone for o in c.outcomes.values()]
    found = {name: e for o in outcomes for name, e in o.scores.items() if name.endswith(")")}
    if len(found) > _FEW:
        return _DISTANCES
    chosen = {wanted[0]: wanted for wanted in _DISTANCES}
    return [chosen.get(name, (name, name, e.better, e.unit, "")) for name, e in found.items()]


def _table(
    title: str,
    everyone: Sequence[Contestant],
    wanted: Sequence[_Wanted],
) -> Table:
    """Returns a table of those columns that anyone has a value in, references last."""
    shown = [c for c in wanted if any(who.values(c[0]) for who in everyone)]
    columns = [Column(name="model")]
    columns += [
        Column(name=n, better=b, unit=_unit(everyone, s) or u, help=h) for s, n, b, u, h in shown
    ]
    rows: list[list[Cell]] = [
        [who.label, *(who.estimate(score) for score, *_ in shown)] for who in everyone
    ]
    references = [who.label for who in everyone if is_reference(who)]
    return Table(
        title=title,
        columns=columns,
        rows=rows,
        references=references,
        note="Mean over seeds ± half the 95 % interval. Set apart: real data (the noise floor) "
        "and copies of the training data.",
    )


def _unit(everyone: Sequence[Contestant], score: str) -> str:
    """Returns in what a score was measured here: nats or bits, for one."""
    units = [e.unit for who in everyone if (e := who.estimate(score)).value is not None]
    return units[0] if units else ""


def _details(everyone: Sequence[Contestant], run: Run) -> Iterator[Block]:
    yield from galleries(everyone, run)
    found = {
        name: e for c in everyone for o in c.outcomes.values() for name, e in o.scores.items()
    }
    clock = {name: e for c in everyone for o in c.outcomes.values() for name, e in o.clock.items()}
    for title, group in (("Every score", found), ("Times of this machine", clock)):
        wanted: list[_Wanted] = [(n, n, e.better, e.unit, "") for n, e in group.items()]
        yield Section(title=title, blocks=[_table(title, everyone, wanted)])
    failed = [[c.label, text] for c in everyone for text in c.failures]
    if failed:
        columns = [Column(name="model"), Column(name="what happened")]
        yield Table(title="Trials that failed", columns=columns, rows=failed)


def _caveats(question: Mapping[str, Any], everyone: Sequence[Contestant]) -> Iterator[Caveat]:
    seeds = len(question["seeds"])
    if question["command"] == "train":
        yield Caveat(
            text="One model, one seed: how far another seed would end is not known. Several tell: "
            "gantlet compare, with --seeds."
        )
    elif seeds < 3:
        yield Caveat(
            text=f"{seeds} seed{'s' if seeds > 1 else ''} only: Student's t is wide, and small "
            "differences cannot be told apart. Give more --seeds."
        )
    yield Caveat(
        text=f"All numbers are for one split of the data (data seed {question['data_seed']}) and "
        f"{question['samples']} held-out samples; paired differences speak of these samples."
    )
    yield Caveat(
        text="FLOPs count matrix products, convolutions and attention; element-wise work and "
        "memory traffic are left out. CPU times are of one busy or idle machine."
    )
    yield from _kinds(everyone)
    notes = {note for c in everyone for o in c.outcomes.values() for note in o.notes}
    for note in sorted(n for n in notes if n.startswith(("features", "the meter", "the noise"))):
        yield Caveat(text=note[0].upper() + note[1:] + ".")


def _kinds(everyone: Sequence[Contestant]) -> Iterator[Caveat]:
    """Says which likelihoods are exact and which are not, where both are ranked."""
    kinds: dict[str, list[str]] = {}
    for c in everyone:
        if c.values(names.LIKELIHOOD):
            (first, *_) = c.outcomes.values()
            kind = first.scores[names.LIKELIHOOD].method.partition(",")[0]
            kinds.setdefault(kind, []).append(c.label)
    if len(kinds) > 1:
        told = "; ".join(f"{kind}: {', '.join(labels)}" for kind, labels in kinds.items())
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
