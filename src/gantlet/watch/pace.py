"""Keeps what watching costs below a share of the loop's own CPU time."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, final

# So much of the share is planned for: costs vary, and calls without a look cost a little too.
_SLACK = 0.9


@final
class Pace:
    """The CPU time of the loop, and of what watches it.

    CPU time is that of the whole process, all its threads: it does not grow while others use the
    machine. What the loop does between two calls is the loop's.

    Args:
        share: The largest share of the loop's CPU time that may be spent, or None for no limit.
    """

    def __init__(self, share: float | None) -> None:
        self.share = share
        self.own = 0.0
        self.setup = 0.0
        self.largest: dict[str, float] = {}
        self._loop = 0.0
        self._left: float | None = None
        self._entered = 0.0

    @contextmanager
    def watching(self) -> Generator[None]:
        """Takes the time of the block as spent on watching, that since the last block as loop."""
        self._entered = time.process_time()
        if self._left is not None:
            self._loop += self._entered - self._left
        try:
            yield
        finally:
            self._left = time.process_time()
            self.own += self._left - self._entered

    @contextmanager
    def setting_up(self) -> Generator[None]:
        """Takes the time of the block as set-up, which is spent once."""
        start = time.process_time()
        try:
            yield
        finally:
            spent = time.process_time() - start
            self.setup += spent
            self.own += spent

    @contextmanager
    def taking(self, what: str) -> Generator[None]:
        """Remembers what the block takes as the cost of ``what``."""
        start = time.process_time()
        try:
            yield
        finally:
            spent = time.process_time() - start
            # The last one counts for most: costs change slowly, and a first one is slow.
            known = self.largest.get(what, spent)
            self.largest[what] = 0.5 * known + 0.5 * spent

    @property
    def loop(self) -> float:
        """CPU seconds of the loop so far."""
        return self._loop

    @property
    def spent(self) -> float:
        """The share of the loop's CPU time that watching has taken so far, set-up included."""
        return self.own / self._loop if self._loop > 0 else 0.0

    def affords(self, *costs: str, times: float = 1.0) -> bool:
        """Returns whether things that cost as much as last time fit into the share now.

        Args:
            costs: What is to be done.
            times: How many times as much it will cost.
        """
        if self.share is None:
            return True
        expected = times * sum(self.largest.get(c, 0.0) for c in costs)
        since = time.process_time() - self._entered
        return self.own + since + expected <= _SLACK * self.share * self._loop

    def state(self) -> dict[str, Any]:
        """Returns plain values for ``load``."""
        return {"own": self.own, "setup": self.setup, "loop": self._loop, "cost": self.largest}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from what ``state`` returned; the set-up of this process comes on top."""
        self.own += float(state["own"])
        self.setup += float(state["setup"])
        self._loop += float(state["loop"])
        self.largest = dict(state["cost"])
