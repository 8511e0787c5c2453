"""Runs the trials of a study that have no outcome yet, or one that may be mended."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol, final

from gantlet.core.errors import UserError
from gantlet.core.trial import REAL, Outcome, Trial
from gantlet.exec.attempt import Remark, attempt
from gantlet.options import Retry
from gantlet.report.blocks import Caveat, Report, Verdict
from gantlet.store.files import DamagedError
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


@final
@dataclass(frozen=True, slots=True)
class Todo:
    """A trial that is to be run.

    Attributes:
        trial: The trial.
        why: Whether it is new, its results are damaged, or it failed before.
        detail: What is damaged, or how it failed.
    """

    trial: Trial
    why: Literal["new", "damaged", "failed"] = "new"
    detail: str = ""


def pending(trials: Sequence[Trial], run: Run, retry: Retry = "failed") -> list[Todo]:
    """Returns the trials that are to be run; equal trials are listed once.

    The files of all finished trials are read and compared with their checksums.

    Args:
        trials: Those of a study.
        run: What is there already.
        retry: Which of the failed trials to run again.
    """
    wanted = {t.key: t for t in trials}
    return [todo for t in wanted.values() if (todo := _todo(t, run, retry)) is not None]


def _todo(trial: Trial, run: Run, retry: Retry) -> Todo | None:
    try:
        outcome = run.outcome(trial)
        if outcome is None:
            return Todo(trial)
        run.folder(trial).check()
    except DamagedError as error:
        return Todo(trial, "damaged", str(error))
    if outcome.error is None or retry not in {"all", outcome.failure}:
        return None
    return Todo(trial, "failed", outcome.error)


def missing(trials: Sequence[Trial], run: Run, retry: Retry = "failed") -> list[Trial]:
    """Returns the trials that are to be run; see ``pending``."""
    return [todo.trial for todo in pending(trials, run, retry)]


def silent(key: str, share: float, what: str) -> None:
    """Tells nobody."""


def carry_out(
    study: Study,
    run: Run,
    executor: Executor,
    tell: Tell = silent,
    *,
    trials: Sequence[Trial] | None = None,
    todo: Sequence[Todo] | None = None,
) -> Report:
    """Runs what is missing, records it, and concludes. Calling it again resumes.

    Args:
        study: The question.
        run: Where outcomes are recorded.
        executor: Where trials run.
        tell: Told of progress.
        trials: Those of the study, where they are known: to list them is to check the question.
        todo: What to run; ``pending`` if None.

    Raises:
        UserError: If the question cannot be asked: no model can be trained or measured.
    """
    trials = study.trials() if trials is None else trials
    todo = pending(trials, run) if todo is None else todo
    for one in todo:
        _prepare(one, run, tell)
    mistakes: list[Trial] = []
    try:
        for outcome in executor.map(study, [one.trial for one in todo], run, tell):
            run.log("finished", trial=outcome.trial.key, error=outcome.error)
            mistakes += [outcome.trial] if outcome.failure == "cannot" else []
    except UserError:
        # The question was wrong: what models could not do with it is no result.
        _forget(mistakes, run)
        raise
    found = (run.outcome(trial) for trial in {t.key: t for t in trials}.values())
    return _concluded(study, [o for o in found if o is not None], run)


def _prepare(todo: Todo, run: Run, tell: Tell) -> None:
    """Clears what an earlier attempt left, and says so where something is lost by that."""
    if todo.why == "new":
        return
    run.log("again", trial=todo.trial.key, why=todo.why, detail=todo.detail)
    run.folder(todo.trial).clear(keep_state=todo.why == "failed")
    if todo.why == "damaged":
        text = f"{todo.detail} The trial runs again now."
    else:
        text = f"{_name(todo.trial)} failed before ({todo.detail}) and is tried again."
    tell(todo.trial.key, 0.0, Remark(text))


def _forget(trials: Sequence[Trial], run: Run) -> None:
    for trial in trials:
        run.folder(trial).clear(keep_state=False)


def _concluded(study: Study, outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report, with a note on every failure that it does not tell of itself."""
    reasons = [o.error for o in outcomes if o.error]
    failed = failures(outcomes)
    models = [o for o in outcomes if o.trial.parts.get("model") != REAL]
    if models and all(o.failure == "cannot" for o in models):
        # A mistake in the question leaves no result: where it can be mended, it is asked again.
        _forget([o.trial for o in models], run)
        raise UserError(str(models[0].error))
    try:
        report = study.conclude(outcomes, run)
    except Exception as error:
        if not failed or isinstance(error, UserError):
            raise
        run.log("failed", traceback=traceback.format_exc())
        raise UserError(
            f"There is no report, for {failed[0]} Its traceback is in {run.path / 'log.jsonl'}; "
            "run the same command again to try once more."
        ) from error
    if failed and not report.verdicts:
        count = f"{len(failed)} of {len(outcomes)} trials failed"
        claim = f"Nothing can be said: {count}."
        report = replace(report, verdicts=[Verdict(claim=claim, because=failed[0])])
    said = " ".join([*(c.text for c in report.caveats), *(v.because for v in report.verdicts)])
    told = zip(failed, reasons, strict=True)
    new = [Caveat(text=line) for line, why in told if _sentence(why) not in said]
    return replace(report, caveats=[*new, *report.caveats]) if new else report


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """Returns a sentence for each trial that failed: which, and why."""
    return [f"{_name(o.trial)} failed: {_sentence(o.error)}" for o in outcomes if o.error]


def _name(trial: Trial) -> str:
    looks = trial.parts.get("extractor", "").partition(":")[0]
    return ", ".join(
        [trial.parts.get("model", trial.key), *([looks] if looks else []), f"seed {trial.seed}"]
    )


def _sentence(error: str) -> str:
    return error if error.endswith((".", "!", "?")) else f"{error}."
