"""Execution of pending trials, in this process or in worker processes."""

import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from threading import RLock, get_ident
from types import ModuleType
from typing import Any, Generic, Literal, Protocol, TypeVar, final, runtime_checkable

from gantlet import __version__
from gantlet.compute.machine import Shared, machine, measure_peak
from gantlet.compute.machine import threads as using
from gantlet.core.errors import UserError
from gantlet.core.estimate import REAL, Failure, Outcome, Trial
from gantlet.core.rng import StorageError
from gantlet.options import Retry
from gantlet.report import format as fmt
from gantlet.report.blocks import Caveat, Fact, Facts, Report, Verdict
from gantlet.report.documents import render
from gantlet.report.json import as_json, from_json
from gantlet.run import worker
from gantlet.run.store import (
    DamagedError,
    Run,
    TrialFolder,
    read_sealed,
    write_bytes,
    write_sealed,
)
from gantlet.run.train import DivergedError, RestartWarning

# ----------------------------------------------------------------------------
# Writes the report of a run into its folder, and reads it back.
# ----------------------------------------------------------------------------


def write_report(report: Report, run: Run) -> Path:
    """Writes ``report.json`` and ``report.html`` and returns the path of the page."""
    page = run.path / "report.html"
    write_sealed(run.path / "report.json", as_json(report, str(page)))
    write_bytes(page, render(report, "html").encode())
    return page


def read_report(path: Path) -> Report:
    """Returns the report of a run directory, or of a report.json.

    Raises:
        UserError: If it has no report, or the file was changed.
    """
    file = path / "report.json" if path.is_dir() else path
    if not file.exists():
        raise UserError(f"{path} has no report.json yet. Run its command again to resume.")
    try:
        return from_json(read_sealed(file))
    except DamagedError as error:
        raise DamagedError(f"{error} Run the command of that run again to rebuild it.") from error


# ----------------------------------------------------------------------------
# Studies: a list of trials, how to run one, and how to report on all.
# ----------------------------------------------------------------------------

Watch = Callable[[float, str], None]
"""Progress callback of a trial: finished fraction in [0, 1], and current activity."""


class Study(Protocol):
    """The specification of a command; a frozen dataclass. Trials may run in any process."""

    def question(self) -> dict[str, object]:
        """Returns the configuration as plain data with every default written out."""
        ...

    def trials(self) -> Sequence[Trial]:
        """Lists the trials. Pure: the same settings give the same trials."""
        ...

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Runs one trial; large results are saved in ``folder``."""
        ...

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Builds a report from outcomes, possibly incomplete; writes nothing."""
        ...


@runtime_checkable
class Stateful(Protocol):
    """A study that holds what it has read, such as its sets of samples."""

    def fresh(self) -> Study:
        """Returns the same study, which has read nothing yet."""
        ...


@runtime_checkable
class InTime(Protocol):
    """A study that may be given a time in place of a budget.

    The time is turned into FLOPs once, by a measurement; these are part of the question, and a
    run that resumes finds them in its folder.
    """

    def in_time(self) -> dict[str, object] | None:
        """Returns the question as it is before the measurement; None without a time."""
        ...

    def recalled(self, question: Mapping[str, Any]) -> "Study":
        """Returns the study with the FLOPs that its recorded question has."""
        ...

    def measured(self) -> "Study":
        """Returns the study with FLOPs that are measured now."""
        ...


@runtime_checkable
class HasNotes(Protocol):
    """A study with notes on its input files."""

    def notes(self) -> Sequence[str]:
        """Returns notes on what was skipped, converted or inferred, one clause each."""
        ...


@runtime_checkable
class HasPlan(Protocol):
    """A study that can predict the cost of its trials from a few steps of each."""

    def plan(self) -> Sequence[str]:
        """Returns one sentence on the data, and one on each model."""
        ...


@runtime_checkable
class HasForecast(Protocol):
    """A study that can report the power of its samples in advance."""

    def forecast(self) -> Sequence[str]:
        """Returns one sentence for each set of samples."""
        ...


# ----------------------------------------------------------------------------
# Cache of what a run makes once: an object of the run owns it.
# ----------------------------------------------------------------------------

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@final
class LruCache(Generic[K, V]):
    """A least-recently-used cache: each value is made when its key is first asked for.

    Made for the objects that hold the state of a run, such as its data, and never for a module:
    two runs of one process share nothing, and what a run has read goes when it ends. Several
    threads may ask for the same: one makes it and the others wait.

    Args:
        most: Maximum number of entries; beyond it the least recently used is dropped.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[K, V] = OrderedDict()
        self._lock = RLock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Returns the value of ``key``, made if missing; if that fails, nothing is stored."""
        with self._lock:
            if key not in self._held:
                self._held[key] = make()
                if len(self._held) > self._most:
                    self._held.popitem(last=False)
            self._held.move_to_end(key)
            return self._held[key]


# ----------------------------------------------------------------------------
# Execution of one trial: user errors and failed trials.
# ----------------------------------------------------------------------------

# Maximum number of distinct warnings of one trial in the log.
_WARNINGS = 50


@final
class Remark(str):
    """A message that stays on the screen and in the log, unlike progress."""

    __slots__ = ()


def run_and_record(study: Study, trial: Trial, run: Run, watch: Watch) -> Outcome:
    """Runs and records a trial; a failure becomes an outcome with its error.

    Warnings of libraries go into the log of the run.

    Raises:
        UserError: If the configuration is invalid, as the trial of real data shows, or results
            cannot be written; nothing is recorded.
    """
    name = trial.model

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
        # A transient failure resumes from the last checkpoint.
        folder.drop_state()
    return outcome


def _outcome(study: Study, trial: Trial, run: Run, folder: TrialFolder, watch: Watch) -> Outcome:
    try:
        return study.run(trial, folder, watch)
    except StorageError:
        raise
    except UserError as error:
        if trial.model == REAL:
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
    """Records an outcome; one that cannot be written, since it holds NaN, is a failed trial."""
    try:
        folder.record(outcome)
    except (ValueError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        run.log("failed", trial=outcome.trial.key, traceback=traceback.format_exc())
        outcome = _failed(outcome.trial, f"{type(error).__name__}: {error}", "failed")
        folder.record(outcome)
    return outcome


@final
class _Warnings:
    """Warnings of this process, each given to the trial in whose thread it was raised.

    The module ``warnings`` has one place to which all warnings go: two trials in two threads that
    each put their own list there would leave it changed.
    """

    def __init__(self) -> None:
        self._seen: dict[int, list[warnings.WarningMessage]] = {}
        self._show = warnings.showwarning
        self._caught = Shared(self._catching)

    @contextmanager
    def recorded(self) -> Generator[list[warnings.WarningMessage]]:
        """Yields the list to which the warnings of this thread are added inside the block."""
        me, outer = get_ident(), self._seen.get(get_ident())
        with self._caught():
            seen = self._seen[me] = []
            try:
                yield seen
            finally:
                del self._seen[me]
                if outer is not None:
                    self._seen[me] = outer

    @contextmanager
    def _catching(self) -> Generator[None]:
        with warnings.catch_warnings():
            warnings.simplefilter("always", RestartWarning)
            self._show = warnings.showwarning
            # The rest of its arguments pass through.
            warnings.showwarning = self._take  # type: ignore[assignment]
            yield

    def _take(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        *more: Any,
    ) -> None:
        mine = self._seen.get(get_ident())
        if mine is None:
            # Of a thread that no trial has begun, such as one of a library.
            (mine,) = self._seen.values() if len(self._seen) == 1 else (None,)
        if mine is None:
            self._show(message, category, filename, lineno, *more)
        else:
            mine.append(warnings.WarningMessage(message, category, filename, lineno, *more))


# The module ``warnings`` is one for the process, and so is this; it holds nothing of a run.
_WARNED = _Warnings()


@contextmanager
def _logged_warnings(run: Run, trial: Trial) -> Generator[list[str]]:
    """Redirects warnings to the log; yields those that the user must see."""
    clauses: list[str] = []
    with _WARNED.recorded() as seen:
        try:
            yield clauses
        finally:
            for text in list(dict.fromkeys(_line(w) for w in seen))[:_WARNINGS]:
                run.log("warning", trial=trial.key, text=text)
            clauses += [str(w.message) for w in seen if issubclass(w.category, RestartWarning)]


def _line(warning: warnings.WarningMessage) -> str:
    return f"{warning.category.__name__}: {warning.message} ({warning.filename}:{warning.lineno})"


# ----------------------------------------------------------------------------
# Environment of a run, for ``run.json`` and the head of the report.
# ----------------------------------------------------------------------------

_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn")


def facts(device: str, threads: int, command: Sequence[str]) -> dict[str, Any]:
    """Returns versions, commit, machine, threads, command and time of the start."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(command),
        "gantlet": __version__,
        "commit": _commit(),
        "packages": {name: version(name) for name in _PACKAGES},
        "machine": {**machine(device).facts(), "threads": threads, "peak": _peak(device, threads)},
    }


def _peak(device: str, threads: int) -> float:
    """The measured fp32 peak, in FLOP/s, a reference for achieved rates."""
    with using(threads):
        return measure_peak(device, seconds=0.2).fp32


def _commit() -> str | None:
    """The git commit of the working directory, marked if it has uncommitted changes."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607  (git is found by PATH)
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def facts_of(
    setting: Mapping[str, str], outcomes: Sequence[Outcome], run: Run, *, trains: bool = True
) -> Facts:
    """Returns the run details of a report: settings, cost, environment.

    Args:
        setting: Settings, by name.
        outcomes: Outcomes of the trials.
        run: The run.
        trains: Whether the study trains models; else training is not mentioned.
    """
    was = run.facts
    seconds = sum(o.spend.seconds for o in outcomes) if trains else 0.0
    machine = was["machine"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''} per trial"
    peak = fmt.text(machine["peak"], "FLOP/s")
    known = {
        **setting,
        **({"Training, all together": str(timedelta(seconds=round(seconds)))} if seconds else {}),
        "Machine": f"{machine['device']}, {threads}, measured peak {peak} in fp32",
        "Versions": f"gantlet {was['gantlet']}, torch {was['packages']['torch']}",
        "Commit": was["commit"] or "not in a git repository",
        "Started": was["started"],
        "Command": was["command"],
    }
    return Facts(items=[Fact(name=name, value=value) for name, value in known.items()])


# ----------------------------------------------------------------------------
# Execution of pending trials, and of failed ones that may be retried.
# ----------------------------------------------------------------------------

ProgressCallback = Callable[[str, float, str], None]
"""Progress callback: trial key, finished fraction in [0, 1], and current activity."""


class Executor(Protocol):
    """Runs trials: in this process, or in a pool of processes."""

    def map(
        self, study: Study, trials: Sequence[Trial], run: Run, tell: ProgressCallback
    ) -> Iterator[Outcome]:
        """Runs and records each trial, and yields its outcome as soon as it is known."""
        ...


@final
class SerialExecutor:
    """Runs trials one after the other in this process."""

    def map(
        self, study: Study, trials: Sequence[Trial], run: Run, tell: ProgressCallback
    ) -> Iterator[Outcome]:
        """Yields outcomes in order."""
        for trial in trials:
            outcome = run_and_record(study, trial, run, partial(tell, trial.key))
            tell(trial.key, 1.0, "done")
            yield outcome


@final
@dataclass(frozen=True, slots=True)
class PendingTrial:
    """A pending trial.

    Attributes:
        trial: The trial.
        why: New, damaged, or failed before.
        detail: What is damaged, or the error.
    """

    trial: Trial
    why: Literal["new", "damaged", "failed"] = "new"
    detail: str = ""


def pending_with_reasons(
    trials: Sequence[Trial], run: Run, retry: Retry = "failed"
) -> list[PendingTrial]:
    """Returns the pending trials with reasons; equal trials are listed once.

    The files of all finished trials are verified against their checksums.

    Args:
        trials: The trials of a study.
        run: The run with existing outcomes.
        retry: Failed trials to run again.
    """
    wanted = {t.key: t for t in trials}
    return [todo for t in wanted.values() if (todo := _todo(t, run, retry)) is not None]


def _todo(trial: Trial, run: Run, retry: Retry) -> PendingTrial | None:
    try:
        outcome = run.outcome(trial)
        if outcome is None:
            return PendingTrial(trial)
        run.folder(trial).check()
    except DamagedError as error:
        return PendingTrial(trial, "damaged", str(error))
    if outcome.error is None or retry not in {"all", outcome.failure}:
        return None
    return PendingTrial(trial, "failed", outcome.error)


def pending_trials(trials: Sequence[Trial], run: Run, retry: Retry = "failed") -> list[Trial]:
    """Returns the pending trials; see ``pending_with_reasons``."""
    return [todo.trial for todo in pending_with_reasons(trials, run, retry)]


def no_progress(*_told: object) -> None:
    """Takes progress that nobody waits for: a ``ProgressCallback``, and a ``Watch``."""


def run_trials(
    study: Study,
    run: Run,
    executor: Executor,
    tell: ProgressCallback = no_progress,
    *,
    trials: Sequence[Trial] | None = None,
    todo: Sequence[PendingTrial] | None = None,
) -> Report:
    """Runs pending trials, records their outcomes and builds the report. Calling it again resumes.

    Args:
        study: The study.
        run: The run in which outcomes are recorded.
        executor: Where trials run.
        tell: Progress callback.
        trials: The trials of the study, if already listed.
        todo: The trials to run; ``pending_with_reasons`` if None.

    Raises:
        UserError: If the configuration is invalid: no model can be trained or measured.
    """
    trials = study.trials() if trials is None else trials
    todo = pending_with_reasons(trials, run) if todo is None else todo
    for one in todo:
        _prepare(one, run, tell)
    mistakes: list[Trial] = []
    try:
        for outcome in executor.map(study, [one.trial for one in todo], run, tell):
            run.log(
                "finished",
                trial=outcome.trial.key,
                error=outcome.error,
                failure=outcome.failure,
            )
            mistakes += [outcome.trial] if outcome.failure == "cannot" else []
    except UserError:
        # The configuration was invalid: failures of models are then not results.
        _forget(mistakes, run)
        raise
    found = (run.outcome(trial) for trial in {t.key: t for t in trials}.values())
    return _concluded(study, [o for o in found if o is not None], run)


def _prepare(todo: PendingTrial, run: Run, tell: ProgressCallback) -> None:
    """Removes the remains of an earlier attempt, with a remark if something is lost."""
    if todo.why == "new":
        return
    run.log("again", trial=todo.trial.key, why=todo.why, detail=todo.detail)
    run.folder(todo.trial).clear(keep_state=todo.why == "failed")
    if todo.why == "damaged":
        text = f"{todo.detail} The trial runs again now."
    else:
        text = f"{_name(todo.trial)} failed before ({todo.detail}) and is retried."
    tell(todo.trial.key, 0.0, Remark(text))


def _forget(trials: Sequence[Trial], run: Run) -> None:
    for trial in trials:
        run.folder(trial).clear(keep_state=False)


def _concluded(study: Study, outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report, with a note on every failure that it does not mention."""
    reasons = [o.error for o in outcomes if o.error]
    failed = failures(outcomes)
    models = [o for o in outcomes if o.trial.model != REAL]
    if models and all(o.failure == "cannot" for o in models):
        # An invalid configuration leaves no result.
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
            "run the same command again to retry."
        ) from error
    if failed and not report.verdicts:
        count = f"{len(failed)} of {len(outcomes)} trials failed"
        claim = f"No results: {count}."
        report = replace(report, verdicts=[Verdict(claim=claim, because=failed[0])])
    said = " ".join([*(c.text for c in report.caveats), *(v.because for v in report.verdicts)])
    both = zip(failed, reasons, strict=True)
    new = [Caveat(text=line) for line, why in both if _sentence(why) not in said]
    return replace(report, caveats=[*new, *report.caveats]) if new else report


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """Returns a sentence for each trial that failed: which, and why."""
    return [f"{_name(o.trial)} failed: {_sentence(o.error)}" for o in outcomes if o.error]


def _name(trial: Trial) -> str:
    looks = trial.parts.get("extractor", "").partition(":")[0]
    return ", ".join([trial.model, *([looks] if looks else []), f"seed {trial.seed}"])


def _sentence(error: str) -> str:
    return error if error.endswith((".", "!", "?")) else f"{error}."


# ----------------------------------------------------------------------------
# Runs trials in a pool of processes on this machine.
# ----------------------------------------------------------------------------

# Seconds to wait for killed workers.
_PATIENCE = 5.0
# A signal for all processes of a group may end a worker before the parent has heard of it.
_SIGNAL = 0.3


@dataclass(frozen=True, slots=True)
@final
class ProcessPool:
    """A pool of worker processes; the results are those of ``SerialExecutor``, bit by bit.

    Attributes:
        workers: Number of processes.
        threads: Threads per trial (changes rounding).
    """

    workers: int
    threads: int = 1

    def map(
        self, study: Study, trials: Sequence[Trial], run: Run, tell: ProgressCallback
    ) -> Iterator[Outcome]:
        """Yields outcomes in the order in which they are ready."""
        context = get_context("spawn")
        news: Queue[worker.News] = context.Queue()
        with environment(self.threads):
            pool = ProcessPoolExecutor(
                min(self.workers, max(len(trials), 1)),
                mp_context=context,
                initializer=worker.begin,
                initargs=(pickle.dumps((study, run)), news, self.threads, os.getpid()),
            )
            try:
                with deaf_to_interrupts(), without_main(type(study).__module__ != "__main__"):
                    waiting = {pool.submit(_work, trial) for trial in trials}
                yield from _collect(waiting, news, tell)
            except BrokenProcessPool as error:
                time.sleep(_SIGNAL)
                _abandon(pool)
                raise UserError(
                    "A worker process died (out of memory?). Finished trials are safe; run the "
                    "same command again, with fewer --workers."
                ) from error
            except BaseException:
                _abandon(pool)
                raise
            pool.shutdown()


def default_workers(threads: int, device: str) -> int:
    """Returns the default number of workers for this machine; one for a GPU."""
    if device != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // threads)


def _collect(
    waiting: set[Future[Outcome]], news: "Queue[worker.News]", tell: ProgressCallback
) -> Iterator[Outcome]:
    while waiting:
        done, waiting = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
        _pass_on(news, tell)
        for future in done:
            outcome = future.result()
            tell(outcome.trial.key, 1.0, "done")
            yield outcome


def _pass_on(news: "Queue[worker.News]", tell: ProgressCallback) -> None:
    try:
        while True:
            tell(*news.get_nowait())
    except Empty:
        return


def _abandon(pool: ProcessPoolExecutor) -> None:
    """Kills the workers at once: finished trials are recorded, others run again."""
    # Shutting down forgets the processes, so they are listed first.
    processes = list((pool._processes or {}).values())  # noqa: SLF001  (public from 3.14)
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
    deadline = time.monotonic() + _PATIENCE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))


@contextmanager
def deaf_to_interrupts() -> Generator[None]:
    """Starts processes that Ctrl-C does not reach; here it takes effect at the end of the block.

    A worker learns to ignore it only after it has started, which takes a while.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def without_main(is_free: bool = True) -> Generator[None]:
    """Starts processes that do not run the program of the user again.

    A script without ``if __name__ == "__main__"`` would begin anew in every worker.

    Args:
        is_free: Whether nothing that the process needs is defined there; else it is run.
    """
    if not is_free:
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def environment(threads: int) -> Generator[None]:
    """Sets what workers must find before torch loads, and puts it back."""
    wanted = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# What a worker works for, unpacked by its first trial. What the study resolves is held by it, and
# so by the worker for all its trials; a worker ends with its run.
_asked: tuple[Study, Run] | None = None


def _work(trial: Trial) -> Outcome:
    global _asked  # noqa: PLW0603  (a worker process has one run)
    asked = _asked
    if asked is None:
        # Here, so that a study that cannot be imported is the error of a trial, with its reason.
        _asked = asked = pickle.loads(worker.packed())  # noqa: S301  (of the parent)
    study, run = asked
    return run_and_record(study, trial, run, partial(worker.tell, trial.key))
