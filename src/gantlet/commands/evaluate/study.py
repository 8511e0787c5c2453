"""Question 5: how good are these samples, and how sure is that?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

from gantlet import options
from gantlet.commands.evaluate.inputs import EvaluationSpec
from gantlet.commands.evaluate.report import answer
from gantlet.commands.evaluate.sets import EvaluationSets
from gantlet.commands.evaluate.trial import (
    PAIRS,
    SAMPLES,
    EvaluationTrial,
    Reference,
    matched,
    run_trial,
)
from gantlet.core.arguments import check_fields
from gantlet.core.estimate import REAL, Outcome, Trial
from gantlet.core.spec import extractors, metrics
from gantlet.domains.domains import domain_of
from gantlet.features.base import check_ranking_features
from gantlet.report.blocks import Report
from gantlet.run.execute import Watch
from gantlet.run.store import Run, TrialFolder

METRICS = (
    "frechet",
    "kid",
    "energy",
    "sliced-wasserstein:directions=128",
    "precision",
    "recall",
    "density",
    "coverage",
    "realism",
    "c2st",
    "vendi",
    "birthday",
)
"""What is measured by default."""

WITH_TRAINING = ("authenticity", "ct")
"""What is measured besides where the training samples are known."""

"""What is measured besides on images."""


@final
@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Sets of samples, each against the same real ones.

    One object is one run: the sets that it has resolved are held by it. ``dataclasses.replace``
    returns one that has resolved nothing.

    Attributes:
        asked: The sets.
        features: What distances are measured on; empty for what suits the data.
        metrics: What is measured; empty for the usual.
        rank: The metric by which several sets are ranked.
        threads: Threads of each trial; part of what decides the last digits.
        device: Where features are computed and compared.
    """

    asked: EvaluationSpec
    features: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    rank: str = options.Evaluate.rank
    threads: options.Threads = options.Evaluate.threads
    device: str = options.Evaluate.device

    @cached_property
    def sets(self) -> EvaluationSets:
        """The sets, resolved once; extractors leave the noise floor alone."""
        return EvaluationSets(replace(self.asked, divides=True))

    def fresh(self) -> "Evaluate":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "evaluate",
            **self.sets.written(),
            "features": list(self._features()),
            "metrics": list(self._metrics()),
            "rank": metrics.resolve(self.rank),
            "threads": self.threads,
            "device": self.device,
        }

    def trials(self) -> Sequence[Trial]:
        """For each extractor: each set, the noise floor, and each set on equal terms with it."""
        self._check()
        paired = self.asked.fakes if self.asked.pairs is not None else ()
        return [
            *(self._trial(fake, PAIRS) for fake in paired),
            *(t for e in self._seen() for t in self._on(e)),
        ]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Measures one set on one extractor."""
        return run_trial(trial, self.sets, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says what the numbers mean, and how sure they are."""
        return answer(self.question(), self.sets, outcomes, run)

    def notes(self) -> Sequence[str]:
        """Says what of the files was left out, converted or guessed."""
        return self.sets.notes()

    def _check(self) -> None:
        for metric in (*self.metrics, self.rank):
            metrics.make(metric)
        check_fields(self)
        check_ranking_features(self._features())
        self.sets.check(self._features(), self.device)
        if self.asked.pairs is not None:
            for fake in self.asked.fakes:
                matched(self.sets, fake)

    def _on(self, extractor: str) -> Iterator[Trial]:
        """Yields the trials of one extractor."""
        fakes, sets = self.asked.fakes, self.sets
        for fake in fakes:
            yield self._trial(fake, extractor)
        for size in sets.sizes():
            if sets.floor(size) is not None:
                yield self._trial(REAL, extractor, "part", size)
        for fake in fakes:
            if not sets.is_fair(fake):
                yield self._trial(fake, extractor, "part")

    def _trial(
        self, model: str, extractor: str, against: Reference = "all", size: int | None = None
    ) -> Trial:
        seen = {PAIRS: (), SAMPLES: ("samples",)}.get(extractor, ("features", "probabilities"))
        return EvaluationTrial(
            model=model,
            against=against,
            size=self.sets.fake(model).n if size is None else size,
            extractor=extractor,
            extractors=self._features(),
            metrics=tuple(m for m in self._metrics() if metrics.make(m).sees in seen),
            sets=self.sets.asked,
            threads=self.threads,
            device=self.device,
        ).written()

    def _metrics(self) -> tuple[str, ...]:
        usual = self.metrics or (
            *METRICS,
            *(WITH_TRAINING if self.asked.train is not None else ()),
            *domain_of(self.sets.real.samples.space).metrics,
        )
        ranking = metrics.resolve(self.rank)
        resolved = tuple(metrics.resolve(m) for m in usual)
        return (
            resolved if ranking in resolved or len(self.asked.fakes) < 2 else (*resolved, ranking)
        )

    def _features(self) -> tuple[str, ...]:
        return tuple(extractors.resolve(f) for f in self.features or self._usual_features())

    def _usual_features(self) -> tuple[str, ...]:
        samples = self.sets.real.samples
        usual = domain_of(samples.space).features(samples.code, labelled=self.sets.has_classes())
        # Trained for as long as features of real samples alone ask for.
        return tuple("classifier:steps=1000" if f == "classifier" else f for f in usual)

    def _seen(self) -> tuple[str, ...]:
        """Returns the extractors, and that of the samples themselves where it is needed."""
        needed = any(metrics.make(m).sees == "samples" for m in self._metrics())
        return (*self._features(), *([SAMPLES] if needed else []))
