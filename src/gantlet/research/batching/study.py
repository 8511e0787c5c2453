"""How does GAN training scale with batch size? Three parts, one report."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final

from gantlet import options
from gantlet.commands.compare.report import rows_of
from gantlet.compute.machine import threads
from gantlet.core.estimate import Outcome, Spend, Trial
from gantlet.features.base import full_precision
from gantlet.report.blocks import Report, Section, failed_trials
from gantlet.research.batching.matched import Transport
from gantlet.research.batching.parts import Part, PartTrial, Size
from gantlet.research.batching.staleness import Staleness
from gantlet.research.batching.sweep import BatchSweep
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder
from gantlet.run.trials import RunData

PARTS: tuple[Part, ...] = (BatchSweep(), Transport(), Staleness())
"""The parts of the question, in the order of the article."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """Question 6: how does GAN training scale with batch size?

    The article, Odena (2019), https://distill.pub/2019/gan-open-problems/, asks how large a role
    gradient noise plays, whether losses such as optimal transport, which need large batches, pay,
    and whether asynchronous training interacts with GANs in a special way.

    Attributes:
        size: small: minutes on two cores; full: hours.
        threads: Threads of each trial.
        device: Where models are trained.
        loaded: The data of this run, loaded once.
    """

    size: Size = "small"
    threads: options.Threads = 1
    device: str = "cpu"
    loaded: RunData = field(default_factory=RunData, repr=False, compare=False)

    def fresh(self) -> "Batching":
        """Returns the same study, which has read nothing yet."""
        return replace(self, loaded=RunData())

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "study batching",
            "size": self.size,
            "threads": self.threads,
            "device": self.device,
            "parts": [p.name for p in PARTS],
        }

    def trials(self) -> Sequence[Trial]:
        """Lists the trials of all parts, seed by seed."""
        found = [t for p in PARTS for t in p.trials(self.size)]
        return [replace(t, threads=self.threads, device=self.device).written() for t in found]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Does one trial of one part."""
        asked = PartTrial.of(trial)
        part = next(p for p in PARTS if p.name == asked.part)
        with threads(asked.threads), full_precision():
            return part.run(trial, self.loaded, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Answers the question, part by part."""
        found = {p: [o for o in outcomes if PartTrial.of(o.trial).part == p.name] for p in PARTS}
        good = {p: [o for o in of if o.error is None] for p, of in found.items()}
        setting = {"Size": self.size, "Parts": ", ".join(p.name for p in found)}
        return Report(
            title="Batch size, noise and staleness",
            command="study batching",
            question=self.question(),
            spend=sum((o.spend for o in outcomes), Spend()),
            facts=facts_of(setting, outcomes, run),
            verdicts=[v for p, of in good.items() for v in p.verdicts(of)],
            caveats=[c for p in found for c in p.caveats],
            rows=list(rows_of(outcomes)),
            blocks=[
                *(
                    Section(title=p.title, blocks=list(p.blocks(of)), open=True)
                    for p, of in good.items()
                    if of
                ),
                *failed_trials(outcomes, column="training"),
            ],
        )
