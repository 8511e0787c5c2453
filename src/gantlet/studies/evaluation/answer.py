"""The report of an evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gantlet.core.trial import REAL, Outcome
from gantlet.report.blocks import Block, Caveat, Column, Report, Row, Section, Table, Verdict
from gantlet.store.run import Run
from gantlet.studies.evaluation.chosen import (
    Asked,
    Chosen,
    fake_sizes,
    other_set,
    real_set,
    train_set,
)
from gantlet.studies.evaluation.comparing import gaps
from gantlet.studies.evaluation.curves import curves
from gantlet.studies.evaluation.floor import floor_of, why_none
from gantlet.studies.evaluation.inputs import named
from gantlet.studies.evaluation.notes import notes_on
from gantlet.studies.evaluation.pictures import exhibits_of, galleries
from gantlet.studies.evaluation.ranking import ranking_section
from gantlet.studies.evaluation.results import (
    Result,
    extractor_name,
    floors_of,
    on,
    results_of,
    short,
)
from gantlet.studies.evaluation.sets import known_splits
from gantlet.studies.evaluation.sharing import Same, same_samples, shared_words
from gantlet.studies.evaluation.tables import (
    comparisons,
    copying_table,
    further_tables,
    main_table,
    methods,
    scores_beside,
)
from gantlet.studies.evaluation.verdicts import claims, verdicts
from gantlet.studies.facts import facts_of


def answer(
    question: Mapping[str, Any], asked: Asked, outcomes: Sequence[Outcome], run: Run
) -> Report:
    """Returns the report of an evaluation from its outcomes."""
    results = results_of(outcomes, run)
    same = same_samples(asked)
    why = {n: why_none(asked, n) for n in fake_sizes(asked) if floor_of(asked, n) is None}
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
        verdicts=[
            *_nothing(results, first, outcomes),
            *verdicts(results, first, rank, same=same, why_no_floor=why),
        ],
        caveats=list(_caveats(asked, results, same, why)),
        rows=list(_rows(asked, results)),
        blocks=[
            *([main_table(results, first, rank)] if on(results, first) else []),
            *ranking_section(results, first, rank),
            *copying_table(results),
            *curves(exhibits_of(outcomes, run)),
            *galleries(asked, outcomes, run, scores_beside(results, first, rank)),
            *further_tables(results, first),
            *comparisons(results),
            *([methods(results)] if results else []),
            *_failed(outcomes),
        ],
        extra={
            "fingerprints": {r.extractor: r.fingerprint for r in results},
            "comparisons": _comparisons(results),
            "claims": claims(results, first, same),
        },
    )


def _rows(asked: Asked, results: Sequence[Result]) -> Iterator[Row]:
    """Yields the numbers of all sets, and those of the noise floors."""
    for extractor in dict.fromkeys(r.extractor for r in results):
        judged = on(results, extractor)
        floors = floors_of(judged)
        for r in [*(j.value for j in judged), *floors]:
            size = f", n = {r.size:,}" if r.model == REAL and len(floors) > 1 else ""
            for m, e in r.scores.items():
                name = f"{short(m)} ({extractor_name(extractor)}){size}"
                yield Row(data=asked.real, model=r.model, seed=asked.seed, name=name, estimate=e)


def _comparisons(results: Sequence[Result]) -> list[dict[str, object]]:
    """Returns each set beside the noise floor, at equal sizes, as plain data."""
    found: list[dict[str, object]] = []
    for extractor in dict.fromkeys(r.extractor for r in results):
        for one in gaps(on(results, extractor)):
            floor = one.judged.floor
            found.append(
                {
                    "model": one.judged.value.model,
                    "name": f"{short(one.metric)} ({extractor_name(extractor)})",
                    "value": one.judged.fair.scores[one.metric].value,
                    "floor": None if floor is None else floor.scores[one.metric].value,
                    "difference": one.apart.value,
                    "low": one.apart.low,
                    "high": one.apart.high,
                    "n": one.apart.n,
                    "p": one.p,
                    "significant": one.is_significant,
                }
            )
    return found


def _setting(question: Mapping[str, Any], asked: Asked) -> dict[str, str]:
    real, train = real_set(asked), train_set(asked)
    known = {
        "Judged": "; ".join(_told(named(f)[0], other_set(asked, f, "fake")) for f in asked.fakes),
        "Reference": _told(named(asked.real)[0], real),
        "Samples": real.samples.space.label,
        "Training samples": "not given"
        if train is None
        else _told(named(str(asked.train))[0], train),
        "Noise floor": _floors(asked),
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


def _floors(asked: Asked) -> str:
    found = {n: floor_of(asked, n) for n in fake_sizes(asked)}
    words = {n: "none" if f is None else f.words for n, f in found.items()}
    if len(words) == 1:
        return next(iter(words.values()))
    return "; ".join(f"for n = {n:,}: {text}" for n, text in words.items())


def _caveats(
    asked: Asked, results: Sequence[Result], same: list[Same], why: Mapping[int, str]
) -> Iterator[Caveat]:
    for note in notes_on(asked):
        yield Caveat(text=f"{note}.")
    for words in shared_words(asked, same):
        yield Caveat(text=words)
    for n, reason in why.items():
        yield Caveat(text=f"No noise floor for n = {n:,}: {reason}.")
    notes = dict.fromkeys(r.notes[0].text for r in results if r.notes)
    for note in notes:
        yield Caveat(text=f"{note[0].upper()}{note[1:]}.")
    yield Caveat(
        text="Intervals are for fresh samples of the same generator and of the real data; how far "
        "another training run would land is not in them."
    )


def _nothing(
    results: Sequence[Result], first: str, outcomes: Sequence[Outcome]
) -> Iterator[Verdict]:
    """Says that nothing was measured on the features to speak of, and why."""
    if on(results, first):
        return
    errors = [o.error for o in outcomes if o.error and o.trial.parts["extractor"] == first]
    where = f" on {extractor_name(first)}" if results else ""
    yield Verdict(
        claim=f"Nothing could be measured{where}: every trial failed.",
        because=" ".join(dict.fromkeys(errors)) or "No trial has ended.",
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
