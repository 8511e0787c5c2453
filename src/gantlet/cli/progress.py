"""Progress of trials that run side by side: bars on a terminal, a line a minute in a log."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, final

from gantlet.exec.attempt import Remark

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Tell = Callable[[str, float, str], None]

FIRST_LINE_AFTER = 5.0
"""Seconds before the first line of a log, which a command that is over by then does without."""

LINE_EVERY = 60.0
"""Seconds from one line of a log to the next."""

# Running trials that a line names.
_NAMED = 4


@contextmanager
def progress(trials: int, folder: Path, *, enabled: bool = True) -> Generator[Tell]:
    """Yields a function that is told a trial's key, its finished share and what it is doing.

    On a terminal it draws a bar for all trials and one for each that runs. Where standard error
    goes elsewhere it writes a line a minute, the run folder first. Remarks are always written.

    Args:
        trials: How many trials are to be run.
        folder: The run folder.
        enabled: Whether anything but remarks is wanted.
    """
    from gantlet.report import terminal

    course = _Course(trials)
    if not enabled or trials == 0:
        yield _quiet
    elif not sys.stderr.isatty():
        with _log(course, folder):
            yield course.tell
    else:
        with terminal.progress() as bar:
            yield _Bars(bar, course).tell


def say(text: str) -> None:
    """Writes a line to standard error, whatever names it holds."""
    from gantlet.report.format import clean

    with suppress(OSError):  # nobody reads it: no reason to end a run
        print(f"gantlet: {clean(text)}", file=sys.stderr, flush=True)


def _quiet(_key: str, _share: float, what: str) -> None:
    if isinstance(what, Remark):
        say(what)


@final
@dataclass(slots=True)
class _Course:
    """What is known of all trials."""

    trials: int
    shares: dict[str, float] = field(default_factory=dict[str, float])
    doing: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def done(self) -> int:
        """How many trials are finished."""
        return sum(s >= 1 for s in self.shares.values())

    def tell(self, key: str, share: float, what: str) -> None:
        """Takes in news of a trial."""
        if isinstance(what, Remark):
            say(what)
            return
        self.shares[key] = share
        if share < 1:
            self.doing[key] = what
        else:
            self.doing.pop(key, None)

    def line(self) -> str:
        """Returns where all trials are, in words."""
        running = list(self.doing.items())
        named = [_with_share(what, self.shares[key]) for key, what in running[:_NAMED]]
        rest = [f"{len(running) - _NAMED} more"] if len(running) > _NAMED else []
        told = f"; running: {'; '.join([*named, *rest])}" if running else ""
        return f"{self.done} of {self.trials} trials done{told}"


def _with_share(what: str, share: float) -> str:
    return what if "%" in what else f"{what} ({share:.0%} of the trial)"


@contextmanager
def _log(course: _Course, folder: Path) -> Generator[None]:
    """Writes a line a minute while the block runs."""
    over, start = Event(), time.monotonic()

    def write() -> None:
        if over.wait(FIRST_LINE_AFTER):
            return
        say(f"run folder {folder}, {course.trials} trials to run")
        while True:
            minutes = (time.monotonic() - start) / 60
            say(f"{minutes:.0f} min: {course.line()}")
            if over.wait(LINE_EVERY):
                return

    writer = Thread(target=write, daemon=True)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


@final
class _Bars:
    """A bar for all trials, and one for each that runs."""

    def __init__(self, bar: "Progress", course: _Course) -> None:
        self._bar = bar
        self._course = course
        self._all = bar.add_task("starting", total=course.trials)
        self._each: dict[str, TaskID] = {}

    def tell(self, key: str, share: float, what: str) -> None:
        """Takes in news of a trial."""
        self._course.tell(key, share, what)
        if isinstance(what, Remark):
            return
        if share >= 1 and key in self._each:
            self._bar.remove_task(self._each.pop(key))
        elif share < 1:
            if key not in self._each:
                self._each[key] = self._bar.add_task(what, total=1.0)
            self._bar.update(self._each[key], completed=share, description=what)
        course = self._course
        self._bar.update(
            self._all,
            completed=sum(course.shares.values()),
            description=f"{course.done} of {course.trials} trials done",
        )
