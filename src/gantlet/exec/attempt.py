"""One attempt at one trial: what is the user's mistake, what is a failed trial."""

import traceback

from gantlet.core.errors import UserError
from gantlet.core.trial import Outcome, Trial
from gantlet.store.run import Run
from gantlet.studies.base import Study, Watch
from gantlet.train.loop import DivergedError


def attempt(study: Study, trial: Trial, run: Run, watch: Watch) -> Outcome:
    """Runs and records a trial; a failure becomes an outcome with its error.

    Raises:
        UserError: If the question itself cannot be asked; nothing is recorded.
    """
    folder = run.folder(trial)
    try:
        outcome = study.run(trial, folder, watch)
    except UserError:
        raise
    except DivergedError as error:
        outcome = Outcome(trial=trial, error=str(error))
    except Exception as error:  # noqa: BLE001  (one bad trial must not end the others)
        run.log("failed", trial=trial.key, traceback=traceback.format_exc())
        outcome = Outcome(trial=trial, error=f"{type(error).__name__}: {error}")
    folder.record(outcome)
    folder.drop_state()
    return outcome
