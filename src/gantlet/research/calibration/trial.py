"""The trials of the study of intervals, at each size."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor

from gantlet.compute.machine import threads
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.metric import Groups, Metric, Sees, TrainMetric
from gantlet.core.rng import Rng
from gantlet.core.spec import metrics
from gantlet.features.base import full_precision
from gantlet.metrics import classifier
from gantlet.metrics.classifier import C2st
from gantlet.metrics.measure import detail_all
from gantlet.metrics.transport import MaxSlicedWasserstein
from gantlet.research.calibration.truth import SCENARIOS, World, along, estimand, population
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.trials import TypedTrial
from gantlet.stats.jackknife import Detailed, estimate_of

_CLASSES, _SIDE, _WAVES = 10, 16, 4


def view(features: Tensor, sees: Sees) -> Tensor:
    """Returns features, shape ``(n, d)``, as a metric wants them.

    Probabilities are those of a fixed linear classifier of ten classes, shape ``(n, 10)``; samples
    are grey images in [0, 1] made of low waves whose heights are fixed sums of the features, shape
    ``(n, 1, 16, 16)``. Neither depends on the replicate.
    """
    if sees == "features":
        return features
    shown = features @ _fixed(
        features.shape[1], _CLASSES if sees == "probabilities" else _WAVES**2
    )
    if sees == "probabilities":
        return shown.softmax(1)
    return (shown @ _waves()).sigmoid().view(-1, 1, _SIDE, _SIDE)


def _fixed(d: int, columns: int) -> Tensor:
    """Returns a matrix that keeps the spread of standard normal features."""
    drawn = torch.randn(d, columns, generator=Rng(0).stream("view"))
    return drawn / math.sqrt(d)


def _waves() -> Tensor:
    """Returns the lowest cosines of a square, one for each row, shape ``(16, 256)``."""
    place = (torch.arange(_SIDE) + 0.5) * math.pi / _SIDE
    along = torch.cos(torch.arange(_WAVES)[:, None] * place)
    return torch.einsum("ix,jy->ijxy", along, along).reshape(_WAVES**2, -1)


Size = Literal["small", "gate", "frechet", "near", "wide", "recent", "full", "verdicts"]

BLOCK = 25
"""Replicates of one trial: what is lost when the study is interrupted is at most so much."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSize:
    """What is simulated.

    Attributes:
        ns: Sizes of either sample.
        ds: Numbers of features.
        scenarios: Which pairs of distributions.
        replicates: How often each is drawn.
        only: The only numbers of features of some scenarios.
        rarer: How often those of a sample size are drawn instead, where time asks for fewer.
        metrics: Which metrics; empty means every metric that there is.
        without: Those that are left out of every metric, as they would take most of the time.
    """

    ns: tuple[int, ...]
    ds: tuple[int, ...]
    scenarios: tuple[str, ...]
    replicates: int
    metrics: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    rarer: Mapping[int, int] = field(default_factory=dict)
    only: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def wants(self, scenario: str, d: int) -> bool:
        """Returns whether the scenario is simulated with so many features."""
        return d in self.only.get(scenario, (d,))

    def replicates_at(self, n: int) -> int:
        """Returns the number of replicates at this sample size."""
        return self.rarer.get(n, self.replicates)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationTrial(TypedTrial):
    """A block of replicates of one cell.

    Attributes:
        model: The cell, by which reports group trials.
        metrics: What is measured, in written form.
        scenario: The pair of distributions.
        n: Samples of either.
        d: Numbers of features.
        replicates: How often they are drawn.
        threads: Threads of the trial.
        device: Where metrics are computed.
        seed: The number of the block.
    """

    model: str
    metrics: tuple[str, ...]
    scenario: str
    n: int
    d: int
    replicates: int
    threads: int
    device: str
    seed: int


PLAIN = ("equal", "shift", "spread", "clusters")
"""The pairs that suit any number of features."""

GATE = ("frechet", "kid", "precision", "recall", "density", "coverage", "c2st", "energy")

RECENT = (
    "clipped-density",
    "clipped-coverage",
    "symmetric-precision",
    "symmetric-recall",
    "pqmass",
    "mifid",
)

SCALES: Mapping[Size, CalibrationSize] = {
    "small": CalibrationSize(
        ns=(250, 1000),
        ds=(8, 64),
        scenarios=("equal", "clusters"),
        replicates=100,
        without=("frechet-infinity", "geometry-score"),
    ),
    "gate": CalibrationSize(ns=(1000,), ds=(64,), scenarios=PLAIN, replicates=400, metrics=GATE),
    # Bias is small beside the spread of the values, so that it takes many replicates to see it.
    "frechet": CalibrationSize(
        ns=(1000,), ds=(64,), scenarios=PLAIN, replicates=2000, metrics=("frechet",)
    ),
    # Where the two are nearly equal, and where features are not as those of the others.
    "near": CalibrationSize(
        ns=(500,),
        ds=(1, 2, 16, 32),
        scenarios=("near", "chain", "atoms", "tails", "rare", "twice", "groups", "digits"),
        replicates=200,
        metrics=("energy", "kid", "frechet"),
        only={
            "near": (1, 2),
            "chain": (32,),
            "atoms": (1,),
            "tails": (2,),
            "rare": (2,),
            "twice": (2,),
            "groups": (2,),
            "digits": (16,),
        },
    ),
    "wide": CalibrationSize(
        ns=(250, 1000, 4000),
        ds=(8, 64, 512),
        scenarios=("equal", "clusters"),
        replicates=200,
        rarer={1000: 100, 4000: 50},
    ),
    # The metrics of papers since 2023, which the wide run that is published does not hold.
    "recent": CalibrationSize(
        ns=(500,), ds=(8, 64), scenarios=PLAIN, replicates=200, metrics=RECENT
    ),
    # Its sets are files, see worlds.py.
    "verdicts": CalibrationSize(ns=(), ds=(), scenarios=(), replicates=200),
    "full": CalibrationSize(
        ns=(250, 1000, 4000), ds=(8, 64, 512), scenarios=PLAIN, replicates=400
    ),
}
"""The sizes of the study."""


TIME = "CPU time"
"""The name of what a trial took."""

MISSING = "missing"
"""Under which name the details of a trial say why intervals are missing, by metric."""

COLUMNS = ("value", "low", "high", "truth")
"""What is saved of each metric, one number for each replicate, NaN where there is none."""

Replicate: TypeAlias = Mapping[str, tuple[Estimate, float]]
"""Estimate and truth of each metric."""

# What these find on the samples decides what they estimate.
_LEARNED = (C2st, MaxSlicedWasserstein)
# New samples of either kind that rate a trained classifier, and how many are rated at once.
_NEW, _AT_ONCE = 12_000, 250


def simulate(trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
    """Draws and measures all replicates of ``trial`` and saves what each gave.

    Saved as ``replicates``: tensors named ``metric/column`` for each of ``COLUMNS``.
    """
    start, asked = time.process_time(), CalibrationTrial.of(trial)
    with threads(asked.threads), full_precision():
        try:
            found = list(_replicates(asked, watch))
        except UserError as error:
            return Outcome(trial=trial, error=str(error), failure="cannot")
    folder.save("replicates", _columns(found))
    took = Estimate.exact(time.process_time() - start, unit="s", method="of this trial")
    return Outcome(trial=trial, clock={TIME: took}, details={MISSING: _missing(found)})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Experiment:
    """What all replicates of a trial share."""

    wanted: Mapping[str, Metric | TrainMetric]
    known: Mapping[str, float]
    place: str
    real: World
    fake: World
    train: Tensor
    n: int
    device: str

    @classmethod
    def of(cls, trial: CalibrationTrial) -> "_Experiment":
        real, fake = SCENARIOS[trial.scenario].draw(trial.d)
        return cls(
            wanted={m: metrics.make(m) for m in trial.metrics},
            known={m: population(m, trial.scenario, trial.d) for m in trial.metrics},
            place=trial.model,
            real=real,
            fake=fake,
            # What a model learned from is given: the same in all replicates.
            train=real.sample(trial.n, Rng(0).stream("train")).to(trial.device),
            n=trial.n,
            device=trial.device,
        )

    def once(self, seed: int) -> Replicate:
        """Returns estimate and truth of each metric in one replicate."""
        rng = Rng(seed)
        real, fake = self._pair(self.n, rng.stream(self.place))
        found: dict[str, tuple[Estimate, float]] = {}
        sees: Sees
        for sees in ("features", "probabilities", "samples"):
            group = {m: made for m, made in self.wanted.items() if made.sees == sees}
            if not group:
                continue
            x, y, z = (view(s, sees) for s in (real, fake, self.train))
            others = {m: made for m, made in group.items() if not isinstance(made, _LEARNED)}
            groups = Groups(*(w.groups(self.n) for w in (self.real, self.fake)))
            measured = detail_all(others, x, y, train=z, rng=Rng(seed, self.device), groups=groups)
            found |= {m: (estimate_of(e), self.known[m]) for m, e in measured.items()}
        for m, made in self.wanted.items():
            if isinstance(made, C2st):
                new = self._pair(_NEW, rng.stream(f"{self.place}/new"))
                found[m] = measure_c2st(made, (real, fake), new, Rng(seed, self.device))
            elif isinstance(made, MaxSlicedWasserstein):
                drawn = Rng(seed, self.device).stream(m)
                found[m] = self._directed(m, made.directed(real, fake, rng=drawn))
        return {m: found[m] for m in self.wanted}

    def _directed(
        self, metric: str, made: tuple[Detailed, Tensor | None]
    ) -> tuple[Estimate, float]:
        """Returns the estimate, and the distance of the distributions along the direction."""
        detailed, u = made
        if u is None or estimand(metric) != "direction":
            return detailed.estimate, math.nan
        return detailed.estimate, float(along(self.real, self.fake, u[:, None].cpu()))

    def _pair(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = self.real.sample(n, rng), self.fake.sample(n, rng)
        return drawn[0].to(self.device), drawn[1].to(self.device)


def _replicates(trial: CalibrationTrial, watch: Watch) -> Iterator[Replicate]:
    experiment = _Experiment.of(trial)
    for i in range(trial.replicates):
        watch(i / trial.replicates, experiment.place)
        yield experiment.once(trial.seed * BLOCK + i)


def measure_c2st(
    metric: C2st, known: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], rng: Rng
) -> tuple[Estimate, float]:
    """Returns the estimate, and the accuracy of its classifier on new samples."""
    real, fake = (z.double() for z in known)
    judge, *test = classifier.train(real, fake, metric.classifier, rng=rng.stream("c2st"))

    def by_parts(x: Tensor) -> Tensor:
        return torch.cat([judge(part) for part in torch.split(x, _AT_ONCE)])

    found = classifier.rate(by_parts, *(z.double() for z in new)).value
    return classifier.rate(judge, *test), math.nan if found is None else found


def _columns(found: Sequence[Replicate]) -> dict[str, Tensor]:
    columns: dict[str, Tensor] = {}
    for metric in found[0]:
        rows = [_numbers(*replicate[metric]) for replicate in found]
        table = torch.tensor(rows, dtype=torch.float64)
        columns |= {f"{metric}/{name}": table[:, k] for k, name in enumerate(COLUMNS)}
    return columns


def _numbers(e: Estimate, truth: float) -> list[float]:
    return [math.nan if v is None else v for v in (e.value, e.low, e.high, truth)]


def _missing(found: Sequence[Replicate]) -> dict[str, str]:
    """Returns why intervals are missing: for each metric the first reason."""
    reasons: dict[str, str] = {}
    for replicate in found:
        for metric, (e, _) in replicate.items():
            if e.low is None:
                reasons.setdefault(metric, e.method)
    return reasons
