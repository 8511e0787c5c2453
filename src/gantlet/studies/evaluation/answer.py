"""The report of an evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gantlet.core.trial import Outcome
from gantlet.report.blocks import Block, Caveat, Column, Report, Row, Section, Table
from gantlet.store.run import Run
from gantlet.studies.answer import facts_of
from gantlet.studies.evaluation.curves import curves
from gantlet.studies.evaluation.inputs import named
from gantlet.studies.evaluation.notes import notes_on
from gantlet.studies.evaluation.pictures import exhibits_of, galleries
from gantlet.studies.evaluation.ranking import ranking_section
from gantlet.studies.evaluation.results import Result, extractor_name, results_of, short
from gantlet.studies.evaluation.sets import (
    Asked,
    Chosen,
    floor_of,
    known_splits,
    other_set,
    real_set,
    train_set,
)
from gantlet.studies.evaluation.tables import further_tables, main_table, methods
from gantlet.studies.evaluation.verdicts import verdicts


def answer(
    question: Mapping[str, Any], asked: Asked, outcomes: Sequence[Outcome], run: Run
) -> Report:
    """Returns the report of an evaluation from its outcomes."""
    results = results_of(outcomes, run)
    first, rank = question["features"][0], question["rank"]
    who = (
        named(asked.fakes[0])[0]
        if len(asked.fakes) == 1
        else f"{len(asked.fakes)} sets of samples"
    )
    return Report(
        title=f"{who} against {real_set(asked).samples.name}",
        command="evaluate",
        question=question,
        facts=facts_of(_setting(question, asked), outcomes, run),
        verdicts=verdicts(results, first, rank),
        caveats=list(_caveats(asked, results)),
        rows=[
            Row(
                data=named(asked.real)[0],
                model=r.model,
                seed=asked.seed,
                name=f"{short(m)} ({extractor_name(r.extractor)})",
                estimate=e,
            )
            for r in results
            for m, e in r.scores.items()
        ],
        blocks=[
            main_table(results, first),
            *ranking_section(results, first, rank),
            *curves(exhibits_of(outcomes, run)),
            *galleries(asked, outcomes, run),
            *further_tables(results, first),
            methods(results),
            *_failed(outcomes),
        ],
        extra={"fingerprints": {r.extractor: r.fingerprint for r in results}},
    )


def _setting(question: Mapping[str, Any], asked: Asked) -> dict[str, str]:
    real, train = real_set(asked), train_set(asked)
    known = {
        "Judged": "; ".join(_told(named(f)[0], other_set(asked, f, "fake")) for f in asked.fakes),
        "Reference": _told(named(asked.real)[0], real),
        "Samples": real.samples.space.label,
        "Training samples": "not given"
        if train is None
        else _told(named(str(asked.train))[0], train),
        "Noise floor": floor_of(asked).words,
        "Features": ", ".join(question["features"]),
        "Features learned from": known_splits(asked)[1],
        "Seed": str(asked.seed),
    }
    if train is None:
        known["Not run"] = "whether training samples were copied: give --train"
    return known


def _told(text: str, chosen: Chosen) -> str:
    of = f" of {chosen.found:,}" if chosen.found != chosen.n else ""
    return f"{text} ({chosen.n:,}{of} samples)"


def _caveats(asked: Asked, results: Sequence[Result]) -> Iterator[Caveat]:
    everyone = [(f, other_set(asked, f, "fake")) for f in asked.fakes]
    for note in notes_on(asked):
        yield Caveat(text=f"{note}.")
    sizes = {c.n for _, c in everyone}
    n = floor_of(asked).other.n
    if sizes != {n}:
        told = ", ".join(f"{s:,}" for s in sorted(sizes))
        yield Caveat(
            text=f"The noise floor rests on {n:,} samples, the sets judged on {told}: precision, "
            "recall, density, coverage and other metrics depend on that number."
        )
    notes = dict.fromkeys(r.notes[0] for r in results if r.notes)
    for note in notes:
        yield Caveat(text=f"{note[0].upper()}{note[1:]}.")
    yield Caveat(
        text="Intervals are for fresh samples of the same generator and of the real data; how far "
        "another training run would land is not in them."
    )


def _failed(outcomes: Sequence[Outcome]) -> Iterator[Block]:
    failed = [[o.trial.parts["model"], o.error or ""] for o in outcomes if o.error is not None]
    if failed:
        columns = [Column(name="samples"), Column(name="what happened")]
        yield Section(
            title="What failed",
            blocks=[Table(title="Failures", columns=columns, rows=failed)],
            open=True,
        )
