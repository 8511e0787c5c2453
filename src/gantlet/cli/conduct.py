"""Runs a study for a command: folder, workers, progress, and what is printed at the end."""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gantlet.cli.options import BudgetOptions, RunOptions
from gantlet.core.arguments import check_fields
from gantlet.core.budget import Budget
from gantlet.core.errors import UserError, printable

if TYPE_CHECKING:
    from gantlet.exec.base import Executor
    from gantlet.store.run import Run
    from gantlet.studies.base import Study

DEFAULT_FLOPS = 2e11
# Failed trials that are named on standard error; a report names all.
_LINES = 10


def budget_of(options: BudgetOptions | None) -> Budget:
    """Returns the budget that was asked for, or the default of 2e11 FLOPs."""
    if options is None or options == BudgetOptions():
        return Budget(flops=DEFAULT_FLOPS)
    return Budget(
        flops=options.flops,
        examples=whole(options.examples, "examples"),
        steps=whole(options.steps, "steps"),
        seconds=options.seconds,
    )


def conduct(study: "Study", options: RunOptions | None, name: str) -> int:
    """Runs a study and prints its report; returns the exit code.

    Args:
        study: What to run.
        options: How and where to run it.
        name: Names the run folder where none is given.
    """
    from gantlet.studies.sources import forget

    options = options or RunOptions()
    _check(options)
    check_fields(study)
    forget()
    study.trials()  # a question that cannot be asked is told before anything is written
    _note(study)
    _foretell(study)
    question = study.question()
    from gantlet.store.run import folder_of

    folder = options.out or folder_of(name, question)
    if options.dry_run:
        return _rehearse(study, question, folder, options)
    from gantlet.cli.progress import progress
    from gantlet.exec.base import carry_out, pending
    from gantlet.exec.publish import publish
    from gantlet.report.json import dumps
    from gantlet.report.terminal import show
    from gantlet.store.run import Run
    from gantlet.studies.facts import facts

    run = Run.create(
        folder, question, facts(options.device, options.threads, ["gantlet", *sys.argv[1:]])
    )
    with run.lock():
        todo = pending(study, run, options.retry)
        with progress(len(todo), folder, enabled=not options.json) as tell:
            report = carry_out(study, run, _executor(options, len(todo)), tell, todo=todo)
        page = publish(report, run)
    if options.json:
        print(dumps(report, str(page), blocks=False))
    else:
        show(report, path=str(page))
    return _tell_failures(run)


def _tell_failures(run: "Run") -> int:
    """Says on standard error which trials failed, and why; returns the exit code."""
    from gantlet.cli.progress import say
    from gantlet.exec.base import failures

    failed = [o for o in run.outcomes() if o.error is not None]
    if not failed:
        return 0
    lines = failures(failed)
    for line in lines[:_LINES]:
        say(line)
    if len(lines) > _LINES:
        say(f"{len(lines) - _LINES} more trials failed; all are in the report.")
    if any(o.failure == "failed" for o in failed):
        say(f"The same command tries again what failed. Tracebacks: {run.path / 'log.jsonl'}.")
    if any(o.failure != "failed" for o in failed):
        say("What diverged or cannot be run is kept as a result; --retry all runs it again.")
    return 1


def _note(study: "Study") -> None:
    """Says what of the files was left out, converted or guessed."""
    from gantlet.studies.base import Noting

    if isinstance(study, Noting):
        for note in study.notes():
            print(f"Note: {printable(note)}.", file=sys.stderr)


def _foretell(study: "Study") -> None:
    """Says what the samples let be found, before anything is run."""
    from gantlet.studies.base import Forecasting

    if isinstance(study, Forecasting):
        with suppress(OSError):
            print(*map(printable, study.forecast()), sep="\n", file=sys.stderr)


def _check(options: RunOptions) -> None:
    from gantlet.core.devices import check_device

    if options.threads < 1 or (options.workers is not None and options.workers < 1):
        raise UserError("--threads and --workers must be at least 1.")
    check_device(options.device)


def _rehearse(
    study: "Study", question: dict[str, object], folder: Path, options: RunOptions
) -> int:
    """Prints what would be done."""
    from gantlet.exec.base import missing
    from gantlet.store.run import Run
    from gantlet.studies.base import Planning

    trials = study.trials()
    left = missing(study, Run(folder), options.retry)
    plan: dict[str, object] = {
        "question": question,
        "out": str(folder),
        "trials": len(trials),
        "to do": len(left),
    }
    expected = list(study.plan()) if isinstance(study, Planning) else []
    if expected:
        plan["expected"] = expected
    if options.json:
        print(json.dumps(plan, indent=2))
        return 0
    lines = (
        f"Folder: {folder} ({len(trials) - len(left)} of {len(trials)} trials done)",
        *(f"  seed {trial.seed}  {trial.parts['model']}" for trial in left),
        *expected,
    )
    print(*map(printable, lines), sep="\n")
    return 0


def _executor(options: RunOptions, trials: int) -> "Executor":
    from gantlet.exec.base import Here
    from gantlet.exec.pool import Pool, fitting

    workers = options.workers or fitting(options.threads, options.device)
    if min(workers, trials) <= 1:
        return Here()
    return Pool(workers, options.threads)


def whole(value: float | None, name: str) -> int | None:
    """Returns a number such as 1e6 as an integer.

    Raises:
        UserError: If it is not whole.
    """
    if value is None:
        return None
    if not value.is_integer():
        raise UserError(f"--{name} must be a whole number. Got {value:g}.")
    return int(value)
