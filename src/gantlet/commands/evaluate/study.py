"""Question 5: how good are these samples, and how sure is that?"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import final

from gantlet import options
from gantlet.commands.evaluate.inputs import Asked, fake_sizes, other_set, real_set
from gantlet.commands.evaluate.report import answer
from gantlet.commands.evaluate.sets import (
    check_sets,
    floor_of,
    has_classes,
    is_fair,
    notes_on,
    written_sets,
)
from gantlet.commands.evaluate.trial import PAIRS, SAMPLES, Reference, matched, run_trial
from gantlet.core.arguments import check_fields
from gantlet.core.estimate import REAL, Outcome, Trial
from gantlet.core.spec import extractors, metrics
from gantlet.domains.domains import domain_of
from gantlet.features.base import refuse_partisans
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
@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Sets of samples, each against the same real ones.

    Attributes:
        asked: The sets.
        features: What distances are measured on; empty for what suits the data.
        metrics: What is measured; empty for the usual.
        rank: The metric by which several sets are ranked.
        threads: Threads of each trial; part of what decides the last digits.
        device: Where features are computed and compared.
    """

    asked: Asked
    features: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    rank: str = options.Evaluate.rank
    threads: options.Threads = options.Evaluate.threads
    device: str = options.Evaluate.device

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "evaluate",
            **written_sets(self._asked),
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
        return run_trial(trial, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says what the numbers mean, and how sure they are."""
        return answer(self.question(), self._asked, outcomes, run)

    def notes(self) -> Sequence[str]:
        """Says what of the files was left out, converted or guessed."""
        return notes_on(self.asked)

    def _check(self) -> None:
        for metric in (*self.metrics, self.rank):
            metrics.make(metric)
        check_fields(self)
        refuse_partisans(self._features())
        check_sets(self._asked, self._features(), self.device)
        if self.asked.pairs is not None:
            for fake in self.asked.fakes:
                matched(self._asked, fake)

    @property
    def _asked(self) -> Asked:
        """What decides the sets: extractors leave the noise floor alone."""
        return replace(self.asked, divides=True)

    def _on(self, extractor: str) -> Iterator[Trial]:
        """Yields the trials of one extractor."""
        asked = self._asked
        for fake in asked.fakes:
            yield self._trial(fake, extractor)
        for size in fake_sizes(asked):
            if floor_of(asked, size) is not None:
                yield self._trial(REAL, extractor, "part", size)
        for fake in asked.fakes:
            if not is_fair(asked, fake):
                yield self._trial(fake, extractor, "part")

    def _trial(
        self, model: str, extractor: str, against: Reference = "all", size: int | None = None
    ) -> Trial:
        asked = self._asked
        seen = {PAIRS: (), SAMPLES: ("samples",)}.get(extractor, ("features", "probabilities"))
        wanted = [m for m in self._metrics() if metrics.make(m).sees in seen]
        n = other_set(asked, model, "fake").n if size is None else size
        return Trial(
            parts={
                "model": model,
                "against": against,
                "size": str(n),
                "extractor": extractor,
                "extractors": json.dumps(self._features()),
                "metrics": json.dumps(wanted),
                "sets": json.dumps(asdict(asked)),
                "threads": str(self.threads),
                "device": self.device,
            },
            seed=self.asked.seed,
        )

    def _metrics(self) -> tuple[str, ...]:
        usual = self.metrics or (
            *METRICS,
            *(WITH_TRAINING if self.asked.train is not None else ()),
            *domain_of(real_set(self._asked).samples.space).metrics,
        )
        ranking = metrics.resolve(self.rank)
        resolved = tuple(metrics.resolve(m) for m in usual)
        return (
            resolved if ranking in resolved or len(self.asked.fakes) < 2 else (*resolved, ranking)
        )

    def _features(self) -> tuple[str, ...]:
        return tuple(extractors.resolve(f) for f in self.features or self._usual_features())

    def _usual_features(self) -> tuple[str, ...]:
        samples = real_set(self._asked).samples
        usual = domain_of(samples.space).features(samples.code, labelled=has_classes(self._asked))
        # Trained for as long as features of real samples alone ask for.
        return tuple("classifier:steps=1000" if f == "classifier" else f for f in usual)

    def _seen(self) -> tuple[str, ...]:
        """Returns the extractors, and that of the samples themselves where it is needed."""
        needed = any(metrics.make(m).sees == "samples" for m in self._metrics())
        return (*self._features(), *([SAMPLES] if needed else []))
