"""Can a model be parallel, efficient and reversible at once?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

from gantlet import options
from gantlet.commands.compare.report import rows_of
from gantlet.commands.compare.study import Compare
from gantlet.commands.compare.trial import run_model
from gantlet.commands.standings import ModelResults, model_results
from gantlet.commands.trained import RunData
from gantlet.core.estimate import Outcome, Spend, Trial
from gantlet.report.blocks import Caveat, Report, Section, Verdict
from gantlet.research.tradeoffs.plan import (
    SCALES,
    Place,
    Size,
    TradeoffSize,
    comparisons,
    expressivity,
    sweep,
)
from gantlet.research.tradeoffs.report import (
    article_table,
    expressive,
    flow_gan_sweep,
    quality_against_cost,
)
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder


@final
@dataclass(frozen=True, kw_only=True)
class Tradeoffs:
    """Question 1: what are the trade-offs between GANs and other generative models?

    Trains six families on equal compute at three budgets or more, sweeps Flow-GAN from adversarial
    to likelihood, and measures error per parameter; then answers the article's question from what
    was measured. The suspicion that some models must give up one of parallel, efficient and
    reversible is Odena's (2019), https://distill.pub/2019/gan-open-problems/.

    Attributes:
        size: small: about half an hour on two cores; full: for a GPU.
        data: The data set of the comparison.
        seeds: Repeats, or None for what the size says.
        threads: Threads of each trial.
        device: Where models are trained.
    """

    size: Size = "small"
    data: str = "digits"
    seeds: options.Seeds | None = None
    threads: options.Threads = 1
    device: str = "cpu"

    @cached_property
    def loaded(self) -> RunData:
        """The data of this run, loaded once for all its comparisons."""
        return RunData()

    def fresh(self) -> "Tradeoffs":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "study tradeoffs",
            "size": self.size,
            "data": self.data,
            "comparisons": [c.question() for c in self._all()],
        }

    def trials(self) -> Sequence[Trial]:
        """Lists the trials of all parts; those that parts share are listed once."""
        return list({t.key: t for c in self._all() for t in c.trials()}.values())

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Trains one model and measures it."""
        return run_model(trial, self.loaded, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Answers the question, part by part."""
        found = {o.trial.key: o for o in outcomes}
        budgets = {b: _of(c, found, run) for b, c in comparisons(self._scale, self._place).items()}
        sizes = {d: _of(c, found, run) for d, c in expressivity(self._scale, self._place).items()}
        parts = (
            article_table(budgets),
            quality_against_cost(budgets),
            flow_gan_sweep(_of(sweep(self._scale, self._place), found, run)),
            expressive(sizes),
        )
        verdicts: list[Verdict] = [v for part in parts for v in part.verdicts]
        return Report(
            title="Trade-offs between model families",
            command="study tradeoffs",
            question=self.question(),
            spend=sum((o.spend for o in outcomes), Spend()),
            facts=facts_of(self._facts(), outcomes, run),
            verdicts=verdicts,
            caveats=[*_CAVEATS, *(c for part in parts for c in part.caveats)],
            rows=list(rows_of(outcomes)),
            blocks=[
                parts[0].blocks[0],
                *(Section(title=p.title, blocks=p.blocks, open=True) for p in parts[1:]),
            ],
        )

    @property
    def _scale(self) -> TradeoffSize:
        scale = SCALES[self.size]
        return scale if self.seeds is None else replace(scale, seeds=self.seeds)

    @property
    def _place(self) -> Place:
        return Place(data=self.data, threads=self.threads, device=self.device)

    def _all(self) -> list[Compare]:
        scale, place = self._scale, self._place
        found = [
            *comparisons(scale, place).values(),
            sweep(scale, place),
            *expressivity(scale, place).values(),
        ]
        return [replace(c, loaded=self.loaded) for c in found]

    def _facts(self) -> Mapping[str, str]:
        budgets = ", ".join(f"{b:.0e}" for b in self._scale.budgets)
        return {
            "Size": self.size,
            "Data": f"{self.data}, and the four energies of the plane",
            "Training FLOPs": budgets,
            "Seeds": f"{self._scale.seeds} (expressivity: {self._scale.expressivity_seeds})",
        }


_CAVEATS = (
    Caveat(
        text=(
            "Small models on small data: results may not transfer to published scales; "
            "gantlet cost --published counts the cost of published models."
        )
    ),
    Caveat(text="Each family uses one set of defaults, chosen on training and validation data."),
)


def _of(comparison: Compare, found: Mapping[str, Outcome], run: Run) -> list[ModelResults]:
    """Returns the models of one comparison."""
    keys = dict.fromkeys(t.key for t in comparison.trials())
    return model_results([found[key] for key in keys if key in found], run)
