"""Strategy 3: game theory. Mixed equilibria, and what it costs to come near one."""

from collections.abc import Iterator, Sequence
from typing import final

from typing_extensions import override

from gantlet.core.trial import Outcome, Trial
from gantlet.report.blocks import Block, Caveat, Verdict
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.convergence import equilibria_plan, equilibria_views, equilibria_words
from gantlet.studies.convergence.equilibria_trial import run_trial
from gantlet.studies.convergence.strategy import Size, Strategy


@final
class Equilibria(Strategy):
    """Methods with guarantees for mixed equilibria, held to plain training at equal operations.

    The article says that they converge to approximate equilibria "but using unreasonably large
    resource constraints" and that the obvious next step is to reduce those; so what each method
    reaches stands beside what it took.
    """

    @property
    @override
    def name(self) -> str:
        return "equilibria"

    @property
    @override
    def title(self) -> str:
        return "Strategy 3: game theory"

    @property
    @override
    def caveats(self) -> Sequence[Caveat]:
        return (
            Caveat(
                text="Game theory: one data set, the ring of eight Gaussians, and networks of two "
                "hidden layers. Plain training converges there, which leaves little to gain."
            ),
            Caveat(
                text="A duality gap is a lower bound: best responses are searched for by a fixed "
                "number of steps. Each comparison is made at 95 %: of twenty equal methods one "
                "would seem to differ. The linear programme's own work is not counted."
            ),
        )

    @override
    def trials(self, size: Size) -> Sequence[Trial]:
        return equilibria_plan.trials(size)

    @override
    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        return run_trial(trial, folder, watch)

    @override
    def blocks(self, outcomes: Sequence[Outcome]) -> Iterator[Block]:
        return equilibria_views.blocks(outcomes)

    @override
    def verdicts(self, outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
        return equilibria_words.verdicts(outcomes)
