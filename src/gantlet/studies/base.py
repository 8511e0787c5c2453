"""What a study is: trials to run, how to run one, and what they say together."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from gantlet.core.trial import Outcome, Trial
from gantlet.report.blocks import Report
from gantlet.store.run import Run, TrialFolder

Watch = Callable[[float, str], None]
"""Told the finished share of a trial, in [0, 1], and what is being done."""


class Study(Protocol):
    """One question; a frozen dataclass of its settings. Trials may run in any process."""

    def question(self) -> dict[str, object]:
        """Returns the question as plain data with every default written out."""
        ...

    def trials(self) -> Sequence[Trial]:
        """Lists the work. Pure: the same settings give the same trials."""
        ...

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Does one trial, saving what is large into ``folder``."""
        ...

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Turns outcomes, perhaps not all of them, into a report; writes nothing."""
        ...


@runtime_checkable
class Noting(Protocol):
    """A study that has something to say of the files that it reads."""

    def notes(self) -> Sequence[str]:
        """Returns what was left out, converted or guessed: a clause each, without full stop."""
        ...


@runtime_checkable
class Planning(Protocol):
    """A study that can say what its trials will take, by trying a few steps of each."""

    def plan(self) -> Sequence[str]:
        """Returns one sentence on the data, and one on each model."""
        ...


@runtime_checkable
class Forecasting(Protocol):
    """A study that can say beforehand how much its samples let be found."""

    def forecast(self) -> Sequence[str]:
        """Returns one sentence for each set of samples."""
        ...
