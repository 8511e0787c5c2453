"""One attempt at one trial: what is the user's mistake, what is a failed trial."""

import traceback
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import final

from gantlet.core.errors import UserError
from gantlet.core.places import StorageError
from gantlet.core.trial import REAL, Failure, Outcome, Trial
from gantlet.store.run import Run, TrialFolder
from gantlet.studies.base import Study, Watch
from gantlet.train.loop import DivergedError, RestartWarning

# Distinct warnings of one trial that go into the log.
_WARNINGS = 50


@final
class Remark(str):
    """News that stays on the screen and in the log, not only until the next comes."""

    __slots__ = ()


def attempt(study: Study, trial: Trial, run: Run, watch: Watch) -> Outcome:
    """Runs and records a trial; a failure becomes an outcome with its error.

    Warnings of libraries go into the log of the run.

    Raises:
        UserError: If the question itself cannot be asked, which the trial of real data shows, or
            if results cannot be written; nothing is recorded.
    """
    name = trial.parts.get("model", trial.key)

    def remark(text: str) -> None:
        run.log("remark", trial=trial.key, text=text)
        watch(0.0, Remark(f"{name}, seed {trial.seed}: {text}."))

    folder = run.folder(trial, remark)
    with _logged_warnings(run, trial) as restarts:
        outcome = _outcome(study, trial, run, folder, watch)
    for text in restarts:
        remark(text)
    outcome = _recorded(folder, outcome, run)
    if outcome.failure != "failed":
        # What may pass goes on from the last checkpoint when it is tried again.
        folder.drop_state()
    return outcome


def _outcome(study: Study, trial: Trial, run: Run, folder: TrialFolder, watch: Watch) -> Outcome:
    try:
        return study.run(trial, folder, watch)
    except StorageError:
        raise
    except UserError as error:
        if trial.parts.get("model") == REAL:
            raise
        return _failed(trial, str(error), "cannot")
    except DivergedError as error:
        return _failed(trial, str(error), "diverged")
    except Exception as error:  # noqa: BLE001  (one bad trial must not end the others)
        run.log("failed", trial=trial.key, traceback=traceback.format_exc())
        return _failed(trial, f"{type(error).__name__}: {error}", "failed")


def _failed(trial: Trial, error: str, failure: Failure) -> Outcome:
    return Outcome(trial=trial, error=" ".join(error.split()), failure=failure)


def _recorded(folder: TrialFolder, outcome: Outcome, run: Run) -> Outcome:
    """Records an outcome; one that cannot be written, for it holds NaN, is a failed trial."""
    try:
        folder.record(outcome)
    except (ValueError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        run.log("failed", trial=outcome.trial.key, traceback=traceback.format_exc())
        outcome = _failed(outcome.trial, f"{type(error).__name__}: {error}", "failed")
        folder.record(outcome)
    return outcome


@contextmanager
def _logged_warnings(run: Run, trial: Trial) -> Generator[list[str]]:
    """Writes warnings to the log in place of the screen; yields those that a user must see."""
    told: list[str] = []
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", RestartWarning)
        try:
            yield told
        finally:
            for text in list(dict.fromkeys(_line(w) for w in seen))[:_WARNINGS]:
                run.log("warning", trial=trial.key, text=text)
            told += [str(w.message) for w in seen if issubclass(w.category, RestartWarning)]


def _line(warning: warnings.WarningMessage) -> str:
    return f"{warning.category.__name__}: {warning.message} ({warning.filename}:{warning.lineno})"
