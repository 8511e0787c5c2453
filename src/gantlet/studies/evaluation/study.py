"""Question 5: how good are these samples, and how sure is that?"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import final

from gantlet.core.components import extractors, metrics
from gantlet.core.errors import UserError
from gantlet.core.trial import Outcome, Trial
from gantlet.report.blocks import Report
from gantlet.store.run import Run, TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.contest import REAL
from gantlet.studies.evaluation.answer import answer
from gantlet.studies.evaluation.measuring import SAMPLES, run_trial
from gantlet.studies.evaluation.pairing import PAIRS, matched
from gantlet.studies.evaluation.sets import (
    Asked,
    extractor_of,
    fingerprint_of,
    known_splits,
    other_set,
    real_set,
    train_set,
)

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

OF_IMAGES = ("ms-ssim",)
"""What is measured besides on images."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Sets of samples, each against the same real ones.

    Attributes:
        fakes: The sets to judge: a folder of images, a file, ``RUN@MODEL`` or a data set.
        real: The reference, likewise; of a data set the test split.
        train: What the models learned from, or None; it shows copies.
        features: What distances are measured on; empty for what suits the data.
        metrics: What is measured; empty for the usual.
        rank: The metric by which several sets are ranked.
        samples: Most samples of a set; None for all.
        pairs: What each output should have been, in order, for translation, infilling and edits.
        outputs: How many outputs there are for each of these, one after the other.
        seed: Draws the samples that are kept, and all else that is random.
        data_seed: From which the splits of data sets follow.
        threads: Threads of each trial; part of what decides the last digits.
        device: Where features are computed and compared.
    """

    fakes: tuple[str, ...]
    real: str
    train: str | None = None
    features: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    rank: str = "kid"
    samples: int | None = 10_000
    pairs: str | None = None
    outputs: int = 1
    seed: int = 0
    data_seed: int = 0
    threads: int = 1
    device: str = "cpu"

    @property
    def asked(self) -> Asked:
        """What decides the sets."""
        return Asked(
            real=self.real,
            train=self.train,
            fakes=self.fakes,
            samples=self.samples,
            seed=self.seed,
            data_seed=self.data_seed,
            pairs=self.pairs,
            outputs=self.outputs,
        )

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        asked = self.asked
        prints = {f: fingerprint_of(asked, f, "fake") for f in self.fakes}
        prints[self.real] = fingerprint_of(asked, self.real, "real")
        if self.train is not None:
            prints[self.train] = fingerprint_of(asked, self.train, "train")
        if self.pairs is not None:
            prints[self.pairs] = fingerprint_of(asked, self.pairs, "fake")
        return {
            "command": "evaluate",
            **asdict(asked),
            "fakes": list(self.fakes),
            "features": list(self._features()),
            "metrics": list(self._metrics()),
            "rank": metrics.resolve(self.rank),
            "threads": self.threads,
            "device": self.device,
            "fingerprints": prints,
        }

    def trials(self) -> Sequence[Trial]:
        """One for each set and extractor, and one for each extractor on real data alone."""
        self._check()
        paired = self.fakes if self.pairs is not None else ()
        return [
            *(self._trial(fake, PAIRS) for fake in paired),
            *(self._trial(m, e) for e in self._seen() for m in (*self.fakes, REAL)),
        ]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Measures one set on one extractor."""
        return run_trial(trial, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says what the numbers mean, and how sure they are."""
        return answer(self.question(), self.asked, outcomes, run)

    def _check(self) -> None:
        if not self.fakes:
            raise UserError("Name samples to judge: a folder, a file, RUN@MODEL or a data set.")
        if len(set(self.fakes)) < len(self.fakes):
            raise UserError("The same samples were named twice.")
        if self.samples is not None and self.samples < 2:
            raise UserError(f"--samples must be at least 2. Got {self.samples}.")
        real_set(self.asked)
        train_set(self.asked)
        for fake in self.fakes:
            other_set(self.asked, fake, "fake")
            if self.pairs is not None:
                matched(self.asked, fake)
        if self.outputs < 1:
            raise UserError(f"--outputs must be at least 1. Got {self.outputs}.")
        for metric in (*self.metrics, self.rank):
            metrics.make(metric)
        for extractor in self._features():
            if not extractors.make(extractor).learns:
                extractor_of(self.asked, extractor, self.device)

    def _trial(self, model: str, extractor: str) -> Trial:
        sees_samples = extractor == SAMPLES
        wanted = [
            m for m in self._metrics() if (metrics.make(m).sees == "samples") == sees_samples
        ]
        wanted = [] if extractor == PAIRS else wanted
        return Trial(
            parts={
                "model": model,
                "extractor": extractor,
                "extractors": json.dumps(self._features()),
                "metrics": json.dumps(wanted),
                "sets": json.dumps(asdict(self.asked)),
                "threads": str(self.threads),
                "device": self.device,
            },
            seed=self.seed,
        )

    def _metrics(self) -> tuple[str, ...]:
        usual = self.metrics or (
            *METRICS,
            *(WITH_TRAINING if self.train is not None else ()),
            *(OF_IMAGES if real_set(self.asked).samples.space.kind == "image" else ()),
        )
        ranking = metrics.resolve(self.rank)
        resolved = tuple(metrics.resolve(m) for m in usual)
        return resolved if ranking in resolved or len(self.fakes) < 2 else (*resolved, ranking)

    def _features(self) -> tuple[str, ...]:
        return tuple(extractors.resolve(f) for f in self.features or self._usual_features())

    def _usual_features(self) -> tuple[str, ...]:
        if real_set(self.asked).samples.space.kind != "image":
            return ("pixels",)
        splits, _ = known_splits(self.asked)
        labels = splits.train.labels
        has_classes = labels is not None and bool((labels != labels[:1]).any())
        return ("classifier:steps=1000" if has_classes else "random-conv", "pixels")

    def _seen(self) -> tuple[str, ...]:
        """Returns the extractors, and that of the samples themselves where it is needed."""
        needed = any(metrics.make(m).sees == "samples" for m in self._metrics())
        return (*self._features(), *([SAMPLES] if needed else []))
