"""Runs the trials of a study that have no outcome yet."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol, final

from gantlet.core.trial import Outcome, Trial
from gantlet.exec.attempt import attempt
from gantlet.report.blocks import Report
from gantlet.store.run import Run
from gantlet.studies.base import Study

Tell = Callable[[str, float, str], None]
"""Told a trial's key, its finished share in [0, 1] and what is being done."""


class Executor(Protocol):
    """A place to run trials: this process, or a pool of processes."""

    def map(
        self, study: Study, trials: Sequence[Trial], run: Run, tell: Tell
    ) -> Iterator[Outcome]:
        """Runs and records each trial, and yields its outcome as soon as it is known."""
        ...


@final
class Here:
    """Runs trials one after the other in this process."""

    def map(
        self, study: Study, trials: Sequence[Trial], run: Run, tell: Tell
    ) -> Iterator[Outcome]:
        """Yields outcomes in order."""
        for trial in trials:
            outcome = attempt(study, trial, run, partial(tell, trial.key))
            tell(trial.key, 1.0, "done")
            yield outcome


def missing(study: Study, run: Run) -> list[Trial]:
    """Returns the trials that have no outcome yet; equal trials are listed once.

    A trial whose recorded outcome is an error counts as done: it would fail again.
    """
    wanted = {t.key: t for t in study.trials()}
    return [t for t in wanted.values() if run.outcome(t) is None]


def silent(key: str, share: float, what: str) -> None:
    """Tells nobody."""


def carry_out(study: Study, run: Run, executor: Executor, tell: Tell = silent) -> Report:
    """Runs what is missing, records it, and concludes. Calling it again resumes."""
    for outcome in executor.map(study, missing(study, run), run, tell):
        run.log("finished", trial=outcome.trial.key, error=outcome.error)
    found = (run.outcome(trial) for trial in {t.key: t for t in study.trials()}.values())
    return study.conclude([o for o in found if o is not None], run)
