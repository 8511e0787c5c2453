"""What the parts of a study have in common, whatever their trials are."""

import abc
from collections.abc import Iterator, Sequence

from gantlet.core.estimate import Outcome
from gantlet.report.blocks import Block, Caveat, Verdict


class StudyPart(abc.ABC):
    """A part of a study: a heading, and what follows from the outcomes of its trials."""

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
    def blocks(self, outcomes: Sequence[Outcome]) -> Iterator[Block]:
        """Yields tables and charts of its own outcomes, perhaps not all of them."""

    @abc.abstractmethod
    def verdicts(self, outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
        """Yields its answers, whichever way they fell, the most important first.

        What cannot be distinguished comes before what can.
        """
