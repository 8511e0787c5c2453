"""How often the verdicts of ``gantlet evaluate`` are false, and how often flaws are found.

Every run goes the way of the command: sets on disk, its trials, its report. Nothing is measured
by hand.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

from gantlet.commands.evaluate.inputs import EvaluationSpec
from gantlet.commands.evaluate.study import Evaluate
from gantlet.compute.machine import threads
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.rng import Rng
from gantlet.report.blocks import Caveat, Cell, Column, Facts, Report, Row, Table, Verdict
from gantlet.report.format import text as shown
from gantlet.research.calibration.trial import TIME
from gantlet.research.calibration.worlds import CLAIMS, COPIES, WORLDS, Files
from gantlet.run.execute import Watch, facts, facts_of, no_progress
from gantlet.run.store import Run
from gantlet.run.trials import TypedTrial
from gantlet.stats.intervals import percentage

BLOCK = 10
"""Runs of one trial: what is lost when the study is interrupted is at most so much."""

TOLD = "told"
"""The detail of an outcome that holds what each run said: for each claim true, false or None."""

SKIPPED = "skipped"
"""The detail of an outcome that says why nothing was run."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictTrial(TypedTrial):
    """A block of runs of one world.

    Attributes:
        model: The world.
        size: Always the same: the size of the study that judges verdicts.
        runs: How often the world is drawn.
        threads: Threads of the trial.
        device: Where the command computes.
        seed: The number of the block.
    """

    model: str
    size: str = "verdicts"
    runs: int
    threads: int
    device: str
    seed: int


def verdict_question(runs: int | None, threads_: int, device: str) -> dict[str, object]:
    """Returns the question with every default written out."""
    return {
        "command": "study calibration",
        "size": "verdicts",
        "worlds": runs_of(runs),
        "threads": threads_,
        "device": device,
    }


def runs_of(runs: int | None) -> dict[str, int]:
    """Returns the number of runs of each world: its own, or ``runs``."""
    return {name: runs or world.runs for name, world in WORLDS.items()}


def verdict_trials(runs: int | None, threads_: int, device: str) -> list[Trial]:
    """Returns the blocks of runs of all worlds."""
    return [
        VerdictTrial(
            model=name,
            runs=min(BLOCK, n - start),
            threads=threads_,
            device=device,
            seed=start // BLOCK,
        ).written()
        for name, n in runs_of(runs).items()
        for start in range(0, n, BLOCK)
    ]


def judge_block(trial: Trial, watch: Watch) -> Outcome:
    """Draws a world again and again, evaluates each draw, and keeps what was claimed."""
    start, asked = time.process_time(), VerdictTrial.of(trial)
    by_claim: dict[str, list[bool | None]] = {claim: [] for claim in CLAIMS}
    where = facts(asked.device, asked.threads, ["gantlet", "evaluate"])
    with threads(asked.threads):
        for i in range(asked.runs):
            watch(i / asked.runs, asked.model)
            try:
                claimed = judged_once(asked, asked.seed * BLOCK + i, where)
            except UserError as error:
                return Outcome(trial=trial, details={SKIPPED: str(error)})
            for claim in CLAIMS:
                by_claim[claim].append(claimed[claim])
    took = Estimate.exact(time.process_time() - start, unit="s", method="of this trial")
    return Outcome(trial=trial, details={TOLD: by_claim}, clock={TIME: took})


def judged_once(
    trial: VerdictTrial, seed: int, where: Mapping[str, Any]
) -> Mapping[str, bool | None]:
    """Returns the claims of the command about one draw.

    Args:
        trial: Which world, and how it is judged.
        seed: Draws it.
        where: The machine and the versions, for the head of the report.
    """
    world = WORLDS[trial.model]
    with TemporaryDirectory(prefix="gantlet-verdicts-") as name:
        folder = Path(name)
        files = world.write(folder, Rng(seed).stream(trial.model))
        study = Evaluate(
            asked=_asked(files, seed),
            features=world.features(),
            metrics=world.metrics,
            threads=trial.threads,
            device=trial.device,
        )
        return _claims(study, folder / "run", where)


def _asked(files: Files, seed: int) -> EvaluationSpec:
    train = files.get("train")
    return EvaluationSpec(
        real=str(files["real"]),
        fakes=(f"fake={files['fake']}",),
        train=None if train is None else str(train),
        seed=seed,
    )


def _claims(study: Evaluate, folder: Path, where: Mapping[str, Any]) -> Mapping[str, bool | None]:
    run = Run.create(folder, study.question(), where)
    outcomes: list[Outcome] = []
    for trial in study.trials():
        outcome = study.run(trial, run.folder(trial), partial(no_progress, trial.key))
        run.record(outcome)
        outcomes.append(outcome)
    claimed: Mapping[str, bool | None] = study.conclude(outcomes, run).extra["claims"]["fake"]
    return claimed


def found_in(outcomes: Sequence[Outcome]) -> dict[str, dict[str, list[bool | None]]]:
    """Returns the claims of all runs of each world, by claim."""
    found: dict[str, dict[str, list[bool | None]]] = {}
    for o in sorted(outcomes, key=lambda o: o.trial.seed):
        by_claim: Mapping[str, Any] = o.details.get(TOLD, {})
        for claim, some in by_claim.items():
            found.setdefault(o.trial.model, {}).setdefault(claim, []).extend(some)
    return found


MOST, UPPER = 5.0, 8.0
"""How many per cent of the verdicts may be false, and how many the upper limit may reach."""

Found = Mapping[str, Mapping[str, Sequence[bool | None]]]
"""What was claimed in all runs of each world, by claim."""


def verdict_answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report from what has been run so far."""
    found = found_in(outcomes)
    return Report(
        title="Error rates of the verdicts of gantlet evaluate",
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
        "Total CPU time": shown(seconds, "s"),
    }
    return facts_of(setting, outcomes, run, trains=False)


def _share(told: Sequence[bool | None]) -> Estimate:
    """Returns the share of runs that make a claim, of those that could."""
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
    summary = ", ".join(f"{n} {e.value:g} % of {e.n}" for n, e in known.items())
    yield Verdict(
        claim=f"{len(full)} of {len(known)} flaws are detected in every run.",
        because=f"{summary}.",
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
        note=(
            "Type I error rates with Clopper-Pearson intervals. A dash where no training set "
            "is given."
        ),
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
        note=(
            "Power: share of runs in which each claim is made. Copies of training samples may "
            "also differ from other real samples and lack diversity."
        ),
    )


def _worlds() -> Table:
    return Table(
        title="Worlds",
        columns=[Column(name="world"), Column(name="what is drawn")],
        rows=[[name, world.says] for name, world in WORLDS.items()],
    )


def _caveats(outcomes: Sequence[Outcome]) -> Iterator[Caveat]:
    skipped = {o.trial.model: o.details[SKIPPED] for o in outcomes if SKIPPED in o.details}
    for name, why in skipped.items():
        yield Caveat(text=f"{name} was not run: {why}.")
    yield Caveat(text=f"{COPIES[0].upper()}{COPIES[1:]} need a training set.")


def _rows(found: Found) -> Iterator[Row]:
    for name, by_claim in found.items():
        for claim, some in by_claim.items():
            yield Row(data=name, model="fake", seed=None, name=claim, estimate=_share(some))
