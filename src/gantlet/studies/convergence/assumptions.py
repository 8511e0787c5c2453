"""The first strategy: assume until convergence can be proved, then give it up bit by bit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from gantlet.core.trial import Outcome, Trial
from gantlet.report.blocks import Block, Caveat, Verdict
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.convergence import assumptions_plan, assumptions_views, assumptions_words
from gantlet.studies.convergence.assumptions_trial import run_trial
from gantlet.studies.convergence.strategy import Size, Strategy


@final
@dataclass(frozen=True, slots=True)
class Assumptions(Strategy):
    """The LGQ GAN under every solver, its thresholds, its relatives, and the relaxation ladder."""

    @property
    @override
    def name(self) -> str:
        return "assumptions"

    @property
    @override
    def title(self) -> str:
        return "Strategy 1: simplifying assumptions"

    @property
    @override
    def caveats(self) -> Sequence[Caveat]:
        return _CAVEATS

    @override
    def trials(self, size: Size) -> Sequence[Trial]:
        return assumptions_plan.trials(size)

    @override
    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        del folder  # plays of toy games can be made again
        return run_trial(trial, watch)

    @override
    def blocks(self, outcomes: Sequence[Outcome]) -> Iterator[Block]:
        return assumptions_views.blocks(outcomes)

    @override
    def verdicts(self, outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
        return assumptions_words.verdicts(outcomes)


_CAVEATS = (
    Caveat(
        text="A start that did not converge within the steps may be slow and not lost; steps are "
        "of one length for each solver, none was tuned for a cell."
    ),
    Caveat(
        text="Starts share one covariance, drawn once for each table: intervals are over starts, "
        "not over games."
    ),
)
