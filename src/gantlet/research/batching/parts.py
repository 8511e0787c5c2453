"""The protocol of a part of the study: its trials, and how to run one."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gantlet.core.estimate import Outcome, Trial
from gantlet.research.study_part import StudyPart
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
