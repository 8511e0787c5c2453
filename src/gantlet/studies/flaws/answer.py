"""The report of a list of flaws."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gantlet.core.components import extractors
from gantlet.core.errors import UserError
from gantlet.core.trial import Outcome
from gantlet.critics.flaw import Ending, Stop
from gantlet.report.blocks import Block, Caveat, Report, Row, Section
from gantlet.store.run import Run
from gantlet.studies.evaluation.inputs import named
from gantlet.studies.evaluation.notes import notes_on
from gantlet.studies.evaluation.sets import Asked, Chosen, asked_of, other_set, real_set
from gantlet.studies.facts import facts_of
from gantlet.studies.flaws.forecast import forecasts
from gantlet.studies.flaws.pages import pages
from gantlet.studies.flaws.seen import learned_from
from gantlet.studies.flaws.tables import Listed, keys, list_table, shared_table
from gantlet.studies.flaws.tried import BEFORE, Key
from gantlet.studies.flaws.verdicts import verdicts


def answer(
    question: Mapping[str, Any], asked: Asked, outcomes: Sequence[Outcome], run: Run
) -> Report:
    """Returns the report of lists of flaws from their outcomes."""
    lists = [listed(o) for o in outcomes if o.error is None]
    real = real_set(asked).samples.name
    who = named(asked.fakes[0])[0] if len(asked.fakes) == 1 else f"{len(asked.fakes)} sets"
    return Report(
        title=f"What is wrong with {who}, against {real}",
        command="flaws",
        question=question,
        facts=facts_of(_setting(question, asked), outcomes, run),
        verdicts=[v for found in lists for v in verdicts(found, question["search"])],
        caveats=list(_caveats(asked, lists)),
        rows=[row for o in outcomes if o.error is None for row in _rows(asked, o)],
        blocks=[*_blocks(asked, outcomes, lists, run)],
        extra={"lists": {found.name: found.flaws for found in lists}},
    )


def listed(outcome: Outcome) -> Listed:
    """Returns the list of an outcome.

    Raises:
        UserError: If another version of Gantlet made it.
    """
    if "stop" not in outcome.details:
        raise UserError(
            "This folder holds lists in the form of an earlier version. Choose another one with "
            "--out."
        )
    flaws: Sequence[Mapping[str, Any]] = outcome.details["flaws"]
    others = [named(fake)[0] for fake in asked_of(outcome.trial).fakes]
    found = outcome.scores
    return Listed(
        name=named(outcome.trial.parts["model"])[0],
        flaws=flaws,
        ending=Ending(Stop(outcome.details["stop"]), outcome.details["examined"]),
        scores={k: found[k.name] for k in keys(len(flaws), others) if k.name in found},
        note=outcome.notes[0].text,
        detectable=outcome.details.get("detectable"),
    )


def _blocks(
    asked: Asked, outcomes: Sequence[Outcome], lists: Sequence[Listed], run: Run
) -> Iterator[Block]:
    yield from (list_table(found) for found in lists)
    if len(lists) > 1:
        yield from shared_table(lists)
    good = [o for o in outcomes if o.error is None]
    for found, outcome in zip(lists, good, strict=True):
        shown = run.folder(outcome.trial).load("exhibits")
        fake = other_set(asked, outcome.trial.parts["model"], "fake")
        yield from pages(found, shown, real_set(asked), fake)
    failed = [Caveat(text=f"{o.trial.parts['model']}: {o.error}") for o in outcomes if o.error]
    if failed:
        yield Section(title="What failed", blocks=failed, open=True)


def _rows(asked: Asked, outcome: Outcome) -> Iterator[Row]:
    """Yields all numbers of a list, in the order in which they were measured."""
    found = listed(outcome)
    called = {k.name: _row_name(k, found) for k in found.scores}
    for name, e in outcome.scores.items():
        yield Row(
            data=named(asked.real)[0],
            model=outcome.trial.parts["model"],
            seed=outcome.trial.seed,
            name=called[name],
            estimate=e,
        )


def _row_name(key: Key, found: Listed) -> str:
    if key == BEFORE:
        return key.name
    return f"{key.rank}: {found.flaws[key.rank - 1]['title']}: {key.measured}"


def _setting(question: Mapping[str, Any], asked: Asked) -> dict[str, str]:
    return {
        "Judged": "; ".join(_told(named(f)[0], other_set(asked, f, "fake")) for f in asked.fakes),
        "Reference": _told(named(asked.real)[0], real_set(asked)),
        "Features": question["features"],
        "Features learned from": _learned(question, asked),
        "Mode": _mode(question["search"]),
        "Power": "; ".join(forecasts(asked, question["search"]["level"])),
        "Seed": str(asked.seed),
    }


def _learned(question: Mapping[str, Any], asked: Asked) -> str:
    learns = extractors.make(question["features"]).learns
    return learned_from(asked) if learns else "nothing: they are fixed"


def _mode(search: Mapping[str, Any]) -> str:
    mode = str(search["mode"])
    return f"{mode}, blinded by {search['blind']}" if mode == "neural" else mode


def _told(text: str, chosen: Chosen) -> str:
    of = f" of {chosen.found:,}" if chosen.found != chosen.n else ""
    return f"{text} ({chosen.n:,}{of} samples, {chosen.samples.space.label})"


def _caveats(asked: Asked, lists: Sequence[Listed]) -> Iterator[Caveat]:
    for note in notes_on(asked):
        yield Caveat(text=f"{note}.")
    yield Caveat(
        text="Where no damage explains a flaw its name is that of the measurement that shows it, "
        "not of its cause; a damage that explains one moves real samples as far, which does not "
        "prove that it happened. What neither the named measurements nor the "
        "features see is not in the list."
    )
    for note in dict.fromkeys(found.note for found in lists):
        yield Caveat(text=f"Features: {note}.")
