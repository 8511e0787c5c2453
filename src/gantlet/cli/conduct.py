"""Runs a study for a command: progress, and what is printed at the end."""

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from gantlet.cli.options import Printing
from gantlet.core.errors import printable
from gantlet.options import Running

if TYPE_CHECKING:
    from gantlet.api import Job
    from gantlet.store.run import Run

# Failed trials that are named on standard error; a report names all.
_LINES = 10


def conduct(asked: Running, printing: Printing) -> int:
    """Runs what a command asks for and prints its report; returns the exit code."""
    from gantlet.api import Job, study_of

    job = Job.of(study_of(asked), asked)
    _remark(job)
    if printing.dry_run:
        return _rehearse(job, printing)
    from gantlet.cli.progress import progress
    from gantlet.report.json import dumps
    from gantlet.report.terminal import show

    report, run = job.run(
        ["gantlet", *sys.argv[1:]],
        lambda trials, folder: progress(trials, folder, enabled=not printing.json),
    )
    page = str(run.path / "report.html")
    if printing.json:
        print(dumps(report, page, blocks=False))
    else:
        show(report, path=page)
    return _tell_failures(run)


def _remark(job: "Job") -> None:
    """Says what of the files was left out, and what the samples let be found."""
    for line in job.remarks():
        with suppress(OSError):
            print(line, file=sys.stderr)


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


def _rehearse(job: "Job", printing: Printing) -> int:
    """Prints what would be done."""
    plan = job.plan()
    if printing.json:
        print(json.dumps(plan, indent=2))
        return 0
    left, n = job.missing(), len(job.trials)
    expected = plan.get("expected", [])
    lines = (
        f"Folder: {job.folder} ({n - len(left)} of {n} trials done)",
        *(f"  seed {trial.seed}  {trial.parts['model']}" for trial in left),
        *(expected if isinstance(expected, list) else []),
    )
    print(*map(printable, lines), sep="\n")
    return 0
