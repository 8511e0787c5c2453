"""Runs trials in a pool of processes on this machine."""

import os
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.queues import Queue
from queue import Empty
from threading import Thread
from typing import final

from gantlet.core.errors import UserError
from gantlet.core.trial import Outcome, Trial
from gantlet.exec.attempt import attempt
from gantlet.exec.base import Tell
from gantlet.store.run import Run
from gantlet.studies.base import Study

News = tuple[str, float, str]

_news: "Queue[News] | None" = None


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
                initializer=_enter,
                initargs=(news, self.threads),
            )
            waiting = {pool.submit(_work, study, trial, run) for trial in trials}
            try:
                yield from _collect(waiting, news, tell)
            except BrokenProcessPool as error:
                raise UserError(
                    "A worker ended without a word, perhaps for lack of memory. Finished trials "
                    "are safe; run the same command again, with fewer --workers."
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
    pool.shutdown(wait=False, cancel_futures=True)
    for process in list((pool._processes or {}).values()):  # noqa: SLF001  (public from 3.14)
        process.terminate()


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


def _enter(news: "Queue[News]", threads: int) -> None:
    import signal

    import torch

    global _news  # noqa: PLW0603  (a worker process has one parent to report to)
    _news = news
    # Ctrl-C reaches every process of the terminal; the parent alone decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()


def _leave_with(parent: int) -> None:
    """Ends this worker when its parent is gone, even by kill -9: nobody waits for its work."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _work(study: Study, trial: Trial, run: Run) -> Outcome:
    def watch(share: float, what: str) -> None:
        if _news is not None:
            _news.put((trial.key, share, what))

    return attempt(study, trial, run, watch)
