"""The protocol of a strategy of the study: trials, how to run one, conclusions."""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gantlet.core.estimate import Outcome, Trial
from gantlet.report.blocks import Block, Caveat, Verdict
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


class Strategy(abc.ABC):
    """One of the three ways to attack the question that the article names."""

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
    def trials(self, size: Size) -> Sequence[StrategyTrial]:
        """Lists the work. Pure: the same size gives the same trials."""

    @abc.abstractmethod
    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Does one trial; its threads are set already."""

    @abc.abstractmethod
    def blocks(self, outcomes: Sequence[Outcome]) -> Iterator[Block]:
        """Yields tables and charts of its own outcomes, perhaps not all of them."""

    @abc.abstractmethod
    def verdicts(self, outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
        """Yields its answers, the most important first, whichever way they fell."""
