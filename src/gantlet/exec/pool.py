"""Runs trials in a pool of processes on this machine."""

import os
import signal
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.queues import Queue
from queue import Empty
from types import ModuleType
from typing import final

from gantlet.core.errors import UserError
from gantlet.core.trial import Outcome, Trial
from gantlet.exec import worker
from gantlet.exec.attempt import attempt
from gantlet.exec.base import Tell
from gantlet.exec.worker import News
from gantlet.store.run import Run
from gantlet.studies.base import Study

# Seconds that workers get to end after they were killed.
_PATIENCE = 5.0
# A signal for all processes of a group may end a worker before the parent has heard of it.
_SIGNAL = 0.3


@dataclass(frozen=True, slots=True)
@final
class Pool:
    """A pool of worker processes; the results are those of ``Here``, bit by bit.

    Attributes:
        workers: How many processes.
        threads: Threads of each; part of what decides the last digits of a result.
    """

    workers: int
    threads: int = 1

    def map(
        self, study: Study, trials: Sequence[Trial], run: Run, tell: Tell
    ) -> Iterator[Outcome]:
        """Yields outcomes in the order in which they are ready."""
        context = get_context("spawn")
        news: Queue[News] = context.Queue()
        with _environment(self.threads):
            pool = ProcessPoolExecutor(
                min(self.workers, max(len(trials), 1)),
                mp_context=context,
                initializer=worker.enter,
                initargs=(news, self.threads, os.getpid()),
            )
            try:
                with _deaf_to_interrupts(), _without_main(study):
                    waiting = {pool.submit(_work, study, trial, run) for trial in trials}
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


def fitting(threads: int, device: str) -> int:
    """Returns how many workers of so many threads fit this machine; one for a GPU."""
    if device != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // threads)


def _collect(waiting: set[Future[Outcome]], news: "Queue[News]", tell: Tell) -> Iterator[Outcome]:
    while waiting:
        done, waiting = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
        _pass_on(news, tell)
        for future in done:
            outcome = future.result()
            tell(outcome.trial.key, 1.0, "done")
            yield outcome


def _pass_on(news: "Queue[News]", tell: Tell) -> None:
    try:
        while True:
            tell(*news.get_nowait())
    except Empty:
        return


def _abandon(pool: ProcessPoolExecutor) -> None:
    """Ends the workers at once: what they have finished is recorded, the rest runs again."""
    # Shutting down forgets the processes, so they are listed first.
    processes = list((pool._processes or {}).values())  # noqa: SLF001  (public from 3.14)
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
    deadline = time.monotonic() + _PATIENCE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))


@contextmanager
def _deaf_to_interrupts() -> Generator[None]:
    """Starts processes that Ctrl-C does not reach; here it takes effect at the end of the block.

    A worker learns to ignore it only after it has started, which takes a while.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_main(study: Study) -> Generator[None]:
    """Starts processes that do not run the program of the user again, unless the study is there.

    A script without ``if __name__ == "__main__"`` would begin anew in every worker.
    """
    if type(study).__module__ == "__main__":
        yield
        return
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _environment(threads: int) -> Generator[None]:
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


def _work(study: Study, trial: Trial, run: Run) -> Outcome:
    return attempt(study, trial, run, partial(worker.tell, trial.key))
