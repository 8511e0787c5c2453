"""Question 5: what is wrong with these samples, the largest flaw first?"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import final

from gantlet.core.components import extractors
from gantlet.core.errors import UserError
from gantlet.core.trial import Outcome, Trial
from gantlet.critics.listing import Search
from gantlet.report.blocks import Report
from gantlet.store.run import Run, TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.evaluation.sets import (
    Asked,
    extractor_of,
    fingerprint_of,
    known_splits,
    other_set,
    real_set,
    train_set,
)
from gantlet.studies.flaws.answer import answer
from gantlet.studies.flaws.trial import run_trial

MODES = ("guided", "linear", "transport", "pca")
"""How flaws may be looked for."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FindFlaws:
    """Sets of samples, each with its list of flaws.

    Attributes:
        fakes: The sets to judge: a folder of images, a file, ``RUN@MODEL`` or a data set.
        real: The reference, likewise; of a data set the test split.
        train: What extractors may learn from, or None.
        features: In what directions are looked for; empty for what suits the data.
        search: How flaws are looked for.
        samples: Most samples of a set; None for all.
        seed: Draws the samples that are kept, and all else that is random.
        data_seed: From which the splits of data sets follow.
        threads: Threads to use.
        device: Where features are computed.
    """

    fakes: tuple[str, ...]
    real: str
    train: str | None = None
    features: str = ""
    search: Search = field(default_factory=Search)
    samples: int | None = 10_000
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
        )

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        asked = self.asked
        prints = {f: fingerprint_of(asked, f, "fake") for f in self.fakes}
        prints[self.real] = fingerprint_of(asked, self.real, "real")
        if self.train is not None:
            prints[self.train] = fingerprint_of(asked, self.train, "train")
        return {
            "command": "flaws",
            **asdict(asked),
            "fakes": list(self.fakes),
            "features": self._features(),
            "search": asdict(self.search),
            "threads": self.threads,
            "device": self.device,
            "fingerprints": prints,
        }

    def trials(self) -> Sequence[Trial]:
        """One for each set."""
        self._check()
        return [self._trial(fake) for fake in self.fakes]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Lists the flaws of one set."""
        return run_trial(trial, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says what is wrong, and what is not."""
        return answer(self.question(), self.asked, outcomes, run)

    def _check(self) -> None:
        if not self.fakes:
            raise UserError("Name samples to judge: a folder, a file, RUN@MODEL or a data set.")
        if len(set(self.fakes)) < len(self.fakes):
            raise UserError("The same samples were named twice.")
        if self.samples is not None and self.samples < 2:
            raise UserError(f"--samples must be at least 2. Got {self.samples}.")
        _check_search(self.search)
        real_set(self.asked)
        train_set(self.asked)
        for fake in self.fakes:
            other_set(self.asked, fake, "fake")
        if not extractors.make(self._features()).learns:
            extractor_of(self.asked, self._features(), self.device)

    def _trial(self, fake: str) -> Trial:
        return Trial(
            parts={
                "model": fake,
                "extractor": self._features(),
                "sets": json.dumps(asdict(self.asked)),
                "search": json.dumps(asdict(self.search)),
                "threads": str(self.threads),
                "device": self.device,
            },
            seed=self.seed,
        )

    def _features(self) -> str:
        if self.features:
            return extractors.resolve(self.features)
        if real_set(self.asked).samples.space.kind != "image":
            return extractors.resolve("pixels")
        labels = known_splits(self.asked)[0].train.labels
        has_classes = labels is not None and bool((labels != labels[:1]).any())
        return extractors.resolve("classifier" if has_classes else "random-conv")


def _check_search(search: Search) -> None:
    if search.mode not in MODES:
        raise UserError(f"--mode must be one of {', '.join(MODES)}. Got {search.mode!r}.")
    if not 0 < search.level < 1:
        raise UserError(f"--level must lie between 0 and 1. Got {search.level:g}.")
    if search.smallest < 0:
        raise UserError(f"--smallest must not be negative. Got {search.smallest:g}.")
    if search.most < 1:
        raise UserError(f"--most must be at least 1. Got {search.most}.")
    if search.permutations < 19:
        raise UserError(f"--permutations must be at least 19. Got {search.permutations}.")
    if search.mode == "pca" and (search.permutations + 1) * search.level < search.most:
        raise UserError(
            f"{search.permutations} permutations cannot certify any of {search.most} components: "
            "raise --permutations or lower --most."
        )
