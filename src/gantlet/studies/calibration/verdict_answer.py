"""The report of the verdicts: how often they are false, and what is found."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import percentage
from gantlet.core.trial import Outcome
from gantlet.report.blocks import Caveat, Cell, Column, Facts, Report, Row, Table, Verdict
from gantlet.report.format import text as shown
from gantlet.store.run import Run
from gantlet.studies.calibration.replicate import TIME
from gantlet.studies.calibration.verdicts import SKIPPED, found_in
from gantlet.studies.calibration.worlds import CLAIMS, COPIES, WORLDS
from gantlet.studies.facts import facts_of

MOST, UPPER = 5.0, 8.0
"""How many per cent of the verdicts may be false, and how many the upper limit may reach."""

Found = Mapping[str, Mapping[str, Sequence[bool | None]]]
"""What was claimed in all runs of each world, by claim."""


def verdict_answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report from what has been run so far."""
    found = found_in(outcomes)
    return Report(
        title="How often are the verdicts of gantlet evaluate right?",
        command="study calibration",
        question=question,
        facts=_facts(question, outcomes, run),
        verdicts=[*_false(found), *_power(found)],
        caveats=list(_caveats(outcomes)),
        rows=list(_rows(found)),
        blocks=[_honest_table(found), _flawed_table(found), _worlds()],
    )


def _facts(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Facts:
    seconds = sum(o.clock[TIME].value or 0.0 for o in outcomes if TIME in o.clock)
    setting = {
        "Size": str(question["size"]),
        "Runs": f"{sum(question['worlds'].values()):,} of the command, seeds from 0 in each world",
        "Metrics and features": "the defaults of gantlet evaluate",
        "CPU time, all together": shown(seconds, "s"),
    }
    return facts_of(setting, outcomes, run, trains=False)


def _share(told: Sequence[bool | None]) -> Estimate:
    """Returns how often a claim was made, over the runs in which it could be."""
    tested = [t for t in told if t is not None]
    return percentage(sum(tested), len(tested), of="runs", why="not tested")


def _honest(found: Found) -> list[str]:
    return [name for name in WORLDS if WORLDS[name].flaw is None and name in found]


def _false(found: Found) -> Iterator[Verdict]:
    """Says of each claim how often it is made of fakes that are as good as real samples."""
    for claim in CLAIMS:
        cells = {n: _share(found[n][claim]) for n in _honest(found)}
        known = {n: e for n, e in cells.items() if e.value is not None}
        if not known:
            continue
        all_ = _share([t for n in known for t in found[n][claim]])
        good = [n for n, e in known.items() if _holds(e)]
        worst = max(known, key=lambda n: known[n].value or 0.0)
        over = "and in each" if len(good) == len(known) else f"in {len(good)} of {len(known)}"
        yield Verdict(
            claim=f"False '{claim}': {shown(all_)} over all {len(known)} worlds; at most "
            f"{MOST:g} %, upper limit at most {UPPER:g} %, {over}.",
            because=f"Most often in {worst}: {shown(known[worst])}, {known[worst].method}.",
        )


def _holds(share: Estimate) -> bool:
    return (share.value or 0.0) <= MOST and (share.high or 0.0) <= UPPER


def _power(found: Found) -> Iterator[Verdict]:
    """Says of each flaw how often it was found."""
    flawed = {n: w.flaw for n, w in WORLDS.items() if w.flaw is not None and n in found}
    counts = {n: _share(found[n][f]) for n, f in flawed.items()}
    known = {n: e for n, e in counts.items() if e.value is not None}
    if not known:
        return
    full = [n for n, e in known.items() if e.value == 100]
    told = ", ".join(f"{n} {e.value:g} % of {e.n}" for n, e in known.items())
    yield Verdict(
        claim=f"{len(full)} of {len(known)} flaws are found in every run.", because=f"{told}."
    )


def _honest_table(found: Found) -> Table:
    rows: list[Sequence[Cell]] = [
        [name, *(_share(found[name][claim]) for claim in CLAIMS)] for name in _honest(found)
    ]
    pooled = [_share([t for n in _honest(found) for t in found[n][claim]]) for claim in CLAIMS]
    return Table(
        title="False verdicts",
        columns=[Column(name="world"), *(Column(name=c, unit="%") for c in CLAIMS)],
        rows=[*rows, ["all of them", *pooled]] if rows else [],
        references=["all of them"],
        note="How often samples drawn like the real ones are said to be otherwise, with the exact "
        "binomial interval (Clopper and Pearson). A dash where no training set is given.",
    )


def _flawed_table(found: Found) -> Table:
    rows: list[Sequence[Cell]] = [
        [name, *(_share(found[name][claim]) for claim in CLAIMS), world.flaw]
        for name, world in WORLDS.items()
        if world.flaw is not None and name in found
    ]
    return Table(
        title="Flaws",
        columns=[
            Column(name="world"),
            *(Column(name=c, unit="%") for c in CLAIMS),
            Column(name="what is true"),
        ],
        rows=rows,
        note="How often each claim is made. Copies of training samples may well differ from "
        "other real samples, and lack their variety.",
    )


def _worlds() -> Table:
    return Table(
        title="Worlds",
        columns=[Column(name="world"), Column(name="what is drawn")],
        rows=[[name, world.says] for name, world in WORLDS.items()],
    )


def _caveats(outcomes: Sequence[Outcome]) -> Iterator[Caveat]:
    skipped = {
        o.trial.parts["model"]: o.details[SKIPPED] for o in outcomes if SKIPPED in o.details
    }
    for name, why in skipped.items():
        yield Caveat(text=f"{name} was not run: {why}.")
    yield Caveat(
        text=f"{COPIES[0].upper()}{COPIES[1:]} are claimed only where a training set is given."
    )


def _rows(found: Found) -> Iterator[Row]:
    for name, told in found.items():
        for claim, some in told.items():
            yield Row(data=name, model="fake", seed=None, name=claim, estimate=_share(some))
