"""Do other kinds of data need other training techniques, or better implicit priors? The study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

from gantlet import options
from gantlet.commands.compare.report import rows_of
from gantlet.commands.compare.study import Compare
from gantlet.commands.compare.trial import run_model
from gantlet.commands.standings import ModelResults
from gantlet.core.errors import UserError
from gantlet.core.estimate import Outcome, Spend, Trial
from gantlet.core.spec import datasets, families
from gantlet.report.blocks import Report, failed_trials
from gantlet.research.modalities.kind_claims import KindResults
from gantlet.research.modalities.kind_designs import (
    COURSES,
    DESIGNS,
    FITTED,
    SEEDS,
    WALKS,
    Place,
    Size,
    comparison,
    courses,
    designs_of,
)
from gantlet.research.modalities.report import StudyFindings, answers, blocks, caveats
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder
from gantlet.run.trials import RunData


@final
@dataclass(frozen=True, kw_only=True)
class Modalities:
    """Question 3: how can we scale GANs beyond image synthesis?

    The article, Odena (2019), https://distill.pub/2019/gan-open-problems/, asks whether success
    outside of images needs new training techniques or better implicit priors, as convolutions are
    for images. The study crosses priors (architectures, representations) with techniques (losses,
    estimators of gradients) on text, walks on a network, sets of graphs, sound and tables, each
    beside its likelihood and trivial baselines at one budget.

    Attributes:
        size: tiny: seconds, to see that all of it runs; small: a quarter of an hour of one core;
            full: for a GPU, or days.
        data: A data set in the place of the made one of its kind, which is then the only one; None
            for all kinds, each with made data.
        seeds: Repeats, or None for what the size says (2, 3 or 5).
        threads: Threads of each trial.
        device: Where models are trained.
    """

    size: Size = "small"
    data: str | None = None
    seeds: options.Seeds | None = None
    threads: options.Threads = 1
    device: str = "cpu"

    @cached_property
    def loaded(self) -> RunData:
        """The data of this run, loaded once for all its comparisons."""
        return RunData()

    def fresh(self) -> "Modalities":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "study modalities",
            "size": self.size,
            "data": self.data,
            "comparisons": [c.question() for c in self._all()],
        }

    def trials(self) -> Sequence[Trial]:
        """Lists the trials of all comparisons; those that they share are listed once.

        Seed by seed, so that a run that is stopped has whole repeats.
        """
        found = {t.key: t for c in self._all() for t in c.trials()}
        return sorted(found.values(), key=lambda t: t.seed)

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Trains or fits one model and measures it."""
        return run_model(trial, self.loaded, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Answers the question for every kind of data."""
        by_key = {o.trial.key: o for o in outcomes}
        kinds = [
            KindResults(d, self.comparisons[d.kind].results_among(by_key, run))
            for d in DESIGNS
            if d.kind in self.comparisons
        ]
        found = StudyFindings(kinds, self._courses_of(by_key, run))
        return Report(
            title="Beyond images: priors and techniques",
            command="study modalities",
            question=self.question(),
            spend=sum((o.spend for o in outcomes), Spend()),
            facts=facts_of(self._facts(), outcomes, run),
            verdicts=answers(found),
            caveats=caveats(self._place),
            rows=list(rows_of(outcomes)),
            blocks=[*blocks(found), *failed_trials(outcomes, column="model")],
        )

    @property
    def _place(self) -> Place:
        return Place(
            size=self.size,
            seeds=SEEDS[self.size] if self.seeds is None else self.seeds,
            threads=self.threads,
            device=self.device,
            data=self.data,
        )

    @cached_property
    def comparisons(self) -> dict[str, Compare]:
        """The comparison of all models of each kind of data, by kind."""
        kind = None
        if self.data is not None:
            kind = self.loaded.load(datasets.resolve(self.data), 0)[0].kind
        found = {d.kind: comparison(d, self._place, self.loaded) for d in designs_of(kind)}
        if not found:
            known = ", ".join(d.kind for d in DESIGNS)
            raise UserError(
                f"The study modalities needs data of one of the kinds {known}. Got {self.data}, "
                f"of kind {kind}."
            )
        return found

    @cached_property
    def _courses(self) -> dict[float, Compare]:
        return courses(self._place, self.loaded) if WALKS.kind in self.comparisons else {}

    def _all(self) -> list[Compare]:
        return [*self.comparisons.values(), *self._courses.values()]

    def _courses_of(
        self, by_key: Mapping[str, Outcome], run: Run
    ) -> dict[str, list[ModelResults]]:
        """Returns the results of each walk model at every part of the budget."""
        if WALKS.kind not in self.comparisons:
            return {}
        places = [*self._courses.values(), self.comparisons[WALKS.kind]]
        everyone = [m for c in places for m in c.results_among(by_key, run)]
        named = {name: (course.model,) for name, course in COURSES.items()} | dict(FITTED)
        return {
            name: [m for m in everyone if m.model in set(map(families.resolve, models))]
            for name, models in named.items()
        }

    def _facts(self) -> Mapping[str, str]:
        place = self._place
        return {
            "Size": self.size,
            "Data": ", ".join(datasets.short(c.data) for c in self.comparisons.values()),
            "Training FLOPs": ", ".join(
                f"{d.title} {d.extents[self.size].flops:.1e}"
                for d in DESIGNS
                if d.kind in self.comparisons
            ),
            "Seeds": str(place.seeds),
        }
