"""Initialization of a worker process, which binds it to its parent before torch loads."""

import ctypes
import os
import signal
import sys
import time
from multiprocessing.queues import Queue
from threading import Thread

News = tuple[str, float, str]

_news: "Queue[News] | None" = None
_packed: bytes = b""

_PR_SET_PDEATHSIG = 1


def initialize_worker(news: "Queue[News]", threads: int, parent: int) -> None:
    """Readies this process for trials.

    Args:
        news: Where to report to.
        threads: How many threads a trial may use.
        parent: The process that this one works for, as that process knows itself: asked here, the
            answer would be whoever adopts the orphan of a parent that is gone already.
    """
    global _news  # noqa: PLW0603  (a worker process has one parent to report to)
    end_with(parent)
    # Ctrl-C reaches every process of the terminal; the parent alone decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A worker never waits at its end for a parent that does not listen any more.
    news.cancel_join_thread()
    _news = news
    import torch

    torch.set_num_threads(threads)


def begin(packed: bytes, news: "Queue[News]", threads: int, parent: int) -> None:
    """Readies this process for the trials of one run; see ``initialize_worker``.

    Args:
        packed: The run, pickled: to unpickle it loads torch, which comes after all this.
        news: Where to report to.
        threads: How many threads a trial may use.
        parent: The process that this one works for.
    """
    global _packed  # noqa: PLW0603  (a worker process has one run)
    initialize_worker(news, threads, parent)
    _packed = packed


def packed() -> bytes:
    """Returns the run that this process works for, pickled."""
    return _packed


def tell(key: str, share: float, what: str) -> None:
    """Reports to the parent."""
    if _news is not None:
        _news.put((key, share, what))


def end_with(parent: int) -> None:
    """Ends this process when its parent is gone, even by kill -9: nobody waits for its work."""
    if sys.platform == "linux":
        # The kernel does it, without delay, when the thread that started this process is gone.
        # Where the C library does not know the call, the watch below is enough.
        prctl = getattr(ctypes.CDLL(None), "prctl", None)
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    # The parent may have gone before that; from here on no moment is left out.
    if os.getppid() != parent:
        os._exit(1)
    Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
