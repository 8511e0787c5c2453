"""The protocol of a part of the study: trials, how to run one, conclusions."""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.report.blocks import Block, Caveat, Verdict
from gantlet.report.format import text
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.trials import RunData, TypedTrial

Size = Literal["small", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTrial(TypedTrial):
    """What the trials of all parts say.

    Attributes:
        part: The name of the part.
        model: What is trained.
        data: What it is trained on.
        data_seed: Seed of the train/validation/test split.
        threads: Threads of the trial, which the study sets.
        device: Where models are trained, which the study sets.
    """

    part: str
    model: str
    data: str
    data_seed: int = 0
    threads: int = 1
    device: str = "cpu"


class Part(abc.ABC):
    """One part of the study."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """One word, which identifies its trials."""

    @property
    @abc.abstractmethod
    def title(self) -> str:
        """The heading of its part of the report."""

    @property
    @abc.abstractmethod
    def caveats(self) -> Sequence[Caveat]:
        """What limits its answers."""

    @abc.abstractmethod
    def trials(self, size: Size) -> Sequence[PartTrial]:
        """Lists the work. Pure: the same size gives the same trials."""

    @abc.abstractmethod
    def run(self, trial: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Outcome:
        """Does one trial; its threads are set already."""

    @abc.abstractmethod
    def blocks(self, outcomes: Sequence[Outcome]) -> Iterator[Block]:
        """Yields tables and charts of its own outcomes, perhaps not all of them."""

    @abc.abstractmethod
    def verdicts(self, outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
        """Yields its answers: what cannot be distinguished first, then the most important."""


def in_words(e: Estimate) -> str:
    """Returns a number with its interval, as a sentence holds it.

    Example:
        >>> in_words(Estimate(value=0.5, low=0.25, high=1.0, n=3))
        '0.500 (0.250 to 1)'
    """
    if e.value is None:
        return "not measured"
    if e.low is None:
        return f"at least {text(e.value)}" if e.kind == "lower" else text(e.value)
    return f"{text(e.value)} ({text(e.low)} to {text(e.high)})"
