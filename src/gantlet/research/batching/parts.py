"""The protocol of a part of the study: its trials, and how to run one."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.report.format import text
from gantlet.research.parts import StudyPart
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


class Part(StudyPart):
    """One part of the study of batch size."""

    @abc.abstractmethod
    def trials(self, size: Size) -> Sequence[PartTrial]:
        """Lists the work. Pure: the same size gives the same trials."""

    @abc.abstractmethod
    def run(self, trial: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Outcome:
        """Does one trial; its threads are set already."""


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
