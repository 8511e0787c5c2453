"""What can be said about the global convergence of training? Three strategies, one report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from gantlet import options
from gantlet.commands.compare.report import rows_of
from gantlet.compute.machine import threads
from gantlet.core.estimate import Outcome, Spend, Trial
from gantlet.report.blocks import Report, Section, failed_trials
from gantlet.research.convergence.assumptions import Assumptions
from gantlet.research.convergence.game_theory import Equilibria
from gantlet.research.convergence.landscape import Landscape
from gantlet.research.convergence.strategy import Size, Strategy, StrategyTrial
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder

STRATEGIES: tuple[Strategy, ...] = (Assumptions(), Landscape(), Equilibria())
"""The strategies of the article, in its order."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """Question 4: what can we say about the global convergence of the training dynamics?

    The article, Odena (2019), https://distill.pub/2019/gan-open-problems/, names three strategies:
    simplifying assumptions, tools from ordinary networks, and game theory. Each is carried out on
    games small enough to be judged exactly, and then on larger ones.

    Attributes:
        size: small: minutes on two cores; full: hours.
        threads: Threads of each trial.
        device: Where games are played.
    """

    size: Size = "small"
    threads: options.Threads = 1
    device: str = "cpu"

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "study convergence",
            "size": self.size,
            "threads": self.threads,
            "device": self.device,
            "strategies": [s.name for s in STRATEGIES],
        }

    def trials(self) -> Sequence[Trial]:
        """Lists the trials of all strategies."""
        return [
            replace(t, threads=self.threads, device=self.device).written()
            for s in STRATEGIES
            for t in s.trials(self.size)
        ]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Does one trial of one strategy."""
        asked = StrategyTrial.of(trial)
        strategy = next(s for s in STRATEGIES if s.name == asked.strategy)
        with threads(asked.threads):
            return strategy.run(trial, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Answers the question, strategy by strategy."""
        found = {s: [o for o in outcomes if _belongs(o, s)] for s in STRATEGIES}
        good = {s: [o for o in of if o.error is None] for s, of in found.items()}
        setting = {"Size": self.size, "Strategies": ", ".join(s.name for s in found)}
        return Report(
            title="Convergence of the training dynamics",
            command="study convergence",
            question=self.question(),
            spend=sum((o.spend for o in outcomes), Spend()),
            facts=facts_of(setting, outcomes, run),
            verdicts=[v for s, of in good.items() for v in s.verdicts(of)],
            caveats=[c for s in found for c in s.caveats],
            rows=list(rows_of(outcomes)),
            blocks=[
                *(
                    Section(title=s.title, blocks=list(s.blocks(of)), open=True)
                    for s, of in good.items()
                ),
                *failed_trials(outcomes, column="game"),
            ],
        )


def _belongs(outcome: Outcome, strategy: Strategy) -> bool:
    return StrategyTrial.of(outcome.trial).strategy == strategy.name
