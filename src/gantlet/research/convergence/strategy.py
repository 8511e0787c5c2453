"""The protocol of a strategy of the study: its trials, and how to run one."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gantlet.core.estimate import Outcome, Trial
from gantlet.research.study_part import StudyPart
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.trials import TypedTrial

Size = Literal["small", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyTrial(TypedTrial):
    """What the trials of all strategies say.

    Attributes:
        strategy: The name of the strategy.
        model: What is played.
        data: What is learned.
        threads: Threads of the trial, which the study sets.
        device: Where games are played, which the study sets.
    """

    strategy: str
    model: str
    data: str
    threads: int = 1
    device: str = "cpu"


class Strategy(StudyPart):
    """One of the three ways to attack the question that the article names."""

    @abc.abstractmethod
    def trials(self, size: Size) -> Sequence[StrategyTrial]:
        """Lists the work. Pure: the same size gives the same trials."""

    @abc.abstractmethod
    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Does one trial; its threads are set already."""
