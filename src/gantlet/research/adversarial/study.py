"""What is the relationship between GANs and adversarial examples? The study."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import final

from gantlet import options
from gantlet.commands.compare.report import rows_of
from gantlet.core.estimate import Outcome, Spend, Trial
from gantlet.core.spec import datasets
from gantlet.report.blocks import Report, failed_trials
from gantlet.research.adversarial.arms import (
    ARMS,
    SCALES,
    WAYS,
    Scale,
    Size,
    trials_of,
    worlds_of,
)
from gantlet.research.adversarial.report import blocks, caveats, decided, verdicts
from gantlet.research.adversarial.topics import Results
from gantlet.research.adversarial.trial import run_trial
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder
from gantlet.run.trials import RunData


@final
@dataclass(frozen=True, kw_only=True)
class Adversarial:
    """Question 7: what is the relationship between GANs and adversarial examples?

    The article, Odena (2019), https://distill.pub/2019/gan-open-problems/, worries that a
    generator's update may be an accidental attack on its critic: a small change of its samples
    that looks real to this critic alone. The study trains GANs with critics of many kinds,
    measures how small a change suffices (A), how much of actual updates is confirmed by fresh
    critics (B), and whether critics that are harder to fool train better generators (C).

    Attributes:
        size: small: at most 15 minutes of one core; full: days, with MNIST and CIFAR-10.
        seeds: Repeats of each training, or None for what the size says (5 or 10).
        threads: Threads of each trial.
        device: Where GANs are trained.
    """

    size: Size = "small"
    seeds: options.Seeds | None = None
    threads: options.Threads = 1
    device: str = "cpu"

    @cached_property
    def loaded(self) -> RunData:
        """The data of this run, loaded once."""
        return RunData()

    def fresh(self) -> "Adversarial":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "study adversarial",
            "size": self.size,
            "seeds": self._seeds,
            "threads": self.threads,
            "device": self.device,
            "data": {d: self.loaded.fingerprint(d, 0) for d in worlds_of(self._scale)},
            "arms": {name: asdict(arm) for name, arm in ARMS.items()},
            "ways": list(WAYS),
            "probe": asdict(self._scale.probe),
        }

    def trials(self) -> Sequence[Trial]:
        """Lists one trial for each data set, arm and seed; all arms of one seed first."""
        asked = trials_of(self._scale, seeds=self._seeds, threads=self.threads, device=self.device)
        return [t.written() for t in asked]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Trains one GAN and attacks it."""
        del folder
        return run_trial(trial, self.loaded, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Answers the three parts of the question, and says what of a pilot replicates."""
        results = Results(outcomes)
        tested = decided(results)
        sets = ", ".join(datasets.short(d) for d in worlds_of(self._scale))
        setting = {"Size": self.size, "Data": sets, "Seeds": str(self._seeds)}
        return Report(
            title="GANs and adversarial examples",
            command="study adversarial",
            question=self.question(),
            spend=sum((o.spend for o in outcomes), Spend()),
            facts=facts_of(setting, outcomes, run),
            verdicts=verdicts(tested),
            caveats=caveats(self._seeds),
            rows=list(rows_of(outcomes)),
            blocks=[*blocks(results, tested), *failed_trials(outcomes, column="GAN")],
        )

    @property
    def _scale(self) -> Scale:
        return SCALES[self.size]

    @property
    def _seeds(self) -> int:
        return self._scale.seeds if self.seeds is None else self.seeds
