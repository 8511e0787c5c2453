"""Which metric detects which corruption, and at which sample size?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import final

from gantlet import options
from gantlet.commands.trained import RunData
from gantlet.core.data import Source
from gantlet.core.errors import UserError
from gantlet.core.estimate import Outcome, Trial
from gantlet.core.spec import datasets, extractors, metrics
from gantlet.domains.corruptions import applicable_corruptions
from gantlet.report.blocks import Report
from gantlet.research.sensitivity.report import answer
from gantlet.research.sensitivity.trial import (
    NOTHING,
    SCALES,
    SensitivitySize,
    SensitivityTrial,
    Size,
    check_size,
    measure,
    pool_of,
)
from gantlet.run.execute import Watch
from gantlet.run.store import Run, TrialFolder


@final
@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Known corruptions of graded severity on real samples: which metric detects them?

    Three sets of real samples are drawn: reference, control and one to corrupt. A metric detects a
    corruption if its interval separates the corrupted set from the control, both compared with the
    reference. Without a corruption that is a false positive.

    Attributes:
        size: small: minutes; full: hours, and larger data than the digits.
        data: The data set: images, or vectors, for which fewer corruptions make sense.
        seeds: Draws of each corruption, or None for what the size says.
        metrics: Which metrics; empty means every metric, but for the two slowest ones if small.
        features: What they look at; empty means pixels, and for images with labels the classifier,
            without labels random-conv.
        ns: Samples of each set; empty for those of the size.
        data_seed: Seed of the train/validation/test split, and so of the extractors.
        threads: Threads of each trial.
        device: Where extractors and metrics are computed.
    """

    size: Size = "small"
    data: str = "digits"
    seeds: options.Seeds | None = None
    metrics: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    ns: tuple[int, ...] = ()
    data_seed: options.Seed = 0
    threads: options.Threads = 1
    device: str = "cpu"

    @cached_property
    def loaded(self) -> RunData:
        """The data of this run, loaded once."""
        return RunData()

    def fresh(self) -> "Sensitivity":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        scale, data = self._scale, datasets.resolve(self.data)
        return {
            "command": "study sensitivity",
            "size": self.size,
            "n": list(scale.ns),
            "strengths": list(scale.strengths),
            "draws": scale.draws,
            "controls": scale.controls,
            "damages": self._damages,
            "data": data,
            "data_seed": str(self.data_seed),
            "metrics": list(self._metrics),
            "features": list(self._features),
            "threads": str(self.threads),
            "device": self.device,
            "data fingerprint": self.loaded.fingerprint(data, self.data_seed),
        }

    def trials(self) -> Sequence[Trial]:
        """One for each damage, sample size and draw; more draws without damage.

        Raises:
            UserError: If the data cannot be used, or hold too few samples.
        """
        scale = self._scale
        if scale.draws < 1:
            raise UserError(f"seeds must be at least 1. Got {scale.draws}.")
        for n in scale.ns:
            check_size(datasets.resolve(self.data), len(self._pool), n)
        damaged = product(range(scale.draws), scale.ns, self._damages)
        alone = product(range(scale.controls), scale.ns, [NOTHING])
        return [self._trial(*which) for which in (*damaged, *alone)]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Draws, damages and measures."""
        del folder  # samples can be drawn again
        return measure(trial, self.loaded, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says who notices what."""
        return answer(self.question(), outcomes, run)

    @property
    def _scale(self) -> SensitivitySize:
        scale = SCALES[self.size]
        return SensitivitySize(
            ns=self.ns or scale.ns,
            strengths=scale.strengths,
            draws=scale.draws if self.seeds is None else self.seeds,
            controls=scale.controls,
        )

    @property
    def _metrics(self) -> tuple[str, ...]:
        without = SCALES[self.size].without
        wanted = self.metrics or [m for m in metrics.names() if m not in without]
        return tuple(metrics.resolve(m) for m in wanted)

    @property
    def _damages(self) -> list[str]:
        space = datasets.make(self.data).space
        return applicable_corruptions(space, labelled=self._pool.labels is not None)

    @property
    def _pool(self) -> Source:
        _, splits = self.loaded.load(datasets.resolve(self.data), self.data_seed)
        return pool_of(splits)

    @property
    def _features(self) -> tuple[str, ...]:
        return tuple(extractors.resolve(f) for f in self.features or self._default_features)

    @property
    def _default_features(self) -> tuple[str, ...]:
        if datasets.make(self.data).space.kind != "image":
            return ("pixels",)
        return ("pixels", "random-conv" if self._pool.labels is None else "classifier")

    def _trial(self, seed: int, n: int, damage: str) -> Trial:
        # Labels are not seen by any metric, so that their strength makes no difference.
        strengths = (1.0,) if damage in (NOTHING, "swapped labels") else self._scale.strengths
        return SensitivityTrial(
            model=damage,
            n=n,
            strengths=strengths,
            data=datasets.resolve(self.data),
            data_seed=self.data_seed,
            metrics=self._metrics,
            features=self._features,
            threads=self.threads,
            device=self.device,
            seed=seed,
        ).written()
