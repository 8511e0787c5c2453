"""How often the verdicts of ``gantlet evaluate`` are false, and how often flaws are found.

Every run goes the way of the command: sets on disk, its trials, its report. Nothing is measured
by hand.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gantlet.compute.machine import threads
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.core.trial import Outcome, Trial
from gantlet.store.run import Run
from gantlet.studies.base import Watch
from gantlet.studies.calibration.replicate import TIME
from gantlet.studies.calibration.worlds import CLAIMS, WORLDS, Files
from gantlet.studies.evaluation import Evaluate
from gantlet.studies.evaluation.chosen import Asked
from gantlet.studies.evaluation.sets import forget
from gantlet.studies.facts import facts

BLOCK = 10
"""Runs of one trial: what is lost when the study is interrupted is at most so much."""

TOLD = "told"
"""The detail of an outcome that holds what each run said: for each claim true, false or None."""

SKIPPED = "skipped"
"""The detail of an outcome that says why nothing was run."""


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
    """Returns how often each world is drawn: as it says, or ``runs`` times."""
    return {name: runs or world.runs for name, world in WORLDS.items()}


def verdict_trials(runs: int | None, threads_: int, device: str) -> list[Trial]:
    """Returns the blocks of runs of all worlds."""
    return [
        Trial(
            parts={
                "model": name,
                "size": "verdicts",
                "runs": str(min(BLOCK, n - start)),
                "threads": str(threads_),
                "device": device,
            },
            seed=start // BLOCK,
        )
        for name, n in runs_of(runs).items()
        for start in range(0, n, BLOCK)
    ]


def judge_block(trial: Trial, watch: Watch) -> Outcome:
    """Draws a world again and again, evaluates each draw, and keeps what was claimed."""
    start, count = time.process_time(), int(trial.parts["runs"])
    told: dict[str, list[bool | None]] = {claim: [] for claim in CLAIMS}
    where = facts(trial.parts["device"], int(trial.parts["threads"]), ["gantlet", "evaluate"])
    with threads(int(trial.parts["threads"])):
        for i in range(count):
            watch(i / count, trial.parts["model"])
            try:
                claimed = judged_once(trial, trial.seed * BLOCK + i, where)
            except UserError as error:
                return Outcome(trial=trial, details={SKIPPED: str(error)})
            for claim in CLAIMS:
                told[claim].append(claimed[claim])
    took = Estimate.exact(time.process_time() - start, unit="s", method="of this trial")
    return Outcome(trial=trial, details={TOLD: told}, clock={TIME: took})


def judged_once(trial: Trial, seed: int, where: Mapping[str, Any]) -> Mapping[str, bool | None]:
    """Returns what the command claims of one draw.

    Args:
        trial: Which world, and how it is judged.
        seed: Draws it.
        where: The machine and the versions, for the head of the report.
    """
    world = WORLDS[trial.parts["model"]]
    with TemporaryDirectory(prefix="gantlet-verdicts-") as name:
        folder = Path(name)
        files = world.write(folder, Rng(seed).stream(trial.parts["model"]))
        study = Evaluate(
            asked=_asked(files, seed),
            features=world.features(),
            metrics=world.metrics,
            threads=int(trial.parts["threads"]),
            device=trial.parts["device"],
        )
        return _claims(study, folder / "run", where)


def _asked(files: Files, seed: int) -> Asked:
    train = files.get("train")
    return Asked(
        real=str(files["real"]),
        fakes=(f"fake={files['fake']}",),
        train=None if train is None else str(train),
        seed=seed,
    )


def _claims(study: Evaluate, folder: Path, where: Mapping[str, Any]) -> Mapping[str, bool | None]:
    forget()
    run = Run.create(folder, study.question(), where)
    outcomes: list[Outcome] = []
    for trial in study.trials():
        outcome = study.run(trial, run.folder(trial), _silent)
        run.record(outcome)
        outcomes.append(outcome)
    claimed: Mapping[str, bool | None] = study.conclude(outcomes, run).extra["claims"]["fake"]
    return claimed


def _silent(share: float, what: str) -> None:
    """Tells nobody."""


def found_in(outcomes: Sequence[Outcome]) -> dict[str, dict[str, list[bool | None]]]:
    """Returns what was claimed in all runs of each world, by claim."""
    found: dict[str, dict[str, list[bool | None]]] = {}
    for o in sorted(outcomes, key=lambda o: o.trial.seed):
        told: Mapping[str, Any] = o.details.get(TOLD, {})
        for claim, some in told.items():
            found.setdefault(o.trial.parts["model"], {}).setdefault(claim, []).extend(some)
    return found
