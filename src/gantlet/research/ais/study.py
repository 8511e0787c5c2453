"""Is annealed importance sampling biased for flows, and why?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import final

from gantlet import options
from gantlet.commands.compare.report import rows_of
from gantlet.commands.trained import RunData
from gantlet.core.estimate import Outcome, Spend, Trial
from gantlet.core.spec import datasets
from gantlet.report.blocks import Report
from gantlet.research.ais.report import CAVEATS, FlowResult, blocks, findings, verdicts
from gantlet.research.ais.trial import DataPart, Size, parts, run_trial, trials
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder


@final
@dataclass(frozen=True, kw_only=True)
class AisStudy:
    """Annealed importance sampling on models whose likelihood is known exactly: flows.

    Wu et al. (2017) measure the likelihood of a GAN by putting noise on its output and annealing.
    Odena (2019), https://distill.pub/2019/gan-open-problems/, objects that Grover et al. (2018)
    found such estimates inaccurate where the generator is a flow, so that the truth is known. The
    study trains flows, anneals them at several widths of noise and numbers of temperatures, and
    splits what is missing into its two causes: noise makes another density, and chains that end
    too early make a loose bound.

    Attributes:
        size: small: about seven minutes of one core; full: hours.
        data: The data set of the second part, beside points of the plane.
        seeds: Repeats of each flow.
        data_seed: Seed of the train/validation/test split.
        threads: Threads of each trial.
        device: Where flows are trained and annealed.
    """

    size: Size = "small"
    data: str = "digits"
    seeds: options.Seeds = 1
    data_seed: options.Seed = 0
    threads: options.Threads = 1
    device: str = "cpu"

    @cached_property
    def loaded(self) -> RunData:
        """The data of this run, loaded once."""
        return RunData()

    def fresh(self) -> "AisStudy":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "study ais",
            "size": self.size,
            "data": datasets.resolve(self.data),
            "data fingerprint": self.loaded.fingerprint(
                datasets.resolve(self.data), self.data_seed
            ),
            "seeds": self.seeds,
            "data_seed": self.data_seed,
            "threads": self.threads,
            "device": self.device,
            "parts": {where: asdict(part) for where, part in self._parts().items()},
        }

    def trials(self) -> Sequence[Trial]:
        """Lists one trial for each flow and seed."""
        return trials(
            self._parts(),
            seeds=self.seeds,
            data_seed=self.data_seed,
            threads=self.threads,
            device=self.device,
        )

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Trains one flow and anneals it."""
        return run_trial(trial, self.loaded, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says by how much annealing misses the exact likelihood, and which cause it has."""
        found: list[FlowResult] = findings(outcomes)
        setting = {"Size": self.size, "Data": f"{self.data}, and points of the plane"}
        return Report(
            title="Annealed importance sampling on flows",
            command="study ais",
            question=self.question(),
            spend=sum((o.spend for o in outcomes), Spend()),
            facts=facts_of(setting, outcomes, run),
            verdicts=verdicts(found),
            caveats=CAVEATS,
            rows=list(rows_of(outcomes)),
            blocks=blocks(found, outcomes),
        )

    def _parts(self) -> dict[str, DataPart]:
        return parts(self.size, self.data)
