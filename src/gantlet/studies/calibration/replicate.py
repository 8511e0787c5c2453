"""One trial: the same two distributions drawn and measured again and again."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from torch import Tensor

from gantlet.compute.machine import threads
from gantlet.core.components import metrics
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.measure import Groups, Metric, Sees, TrainMetric
from gantlet.core.rng import Rng
from gantlet.core.trial import Outcome, Trial
from gantlet.features.frozen import exactly
from gantlet.metrics import c2st
from gantlet.metrics.c2st import C2st
from gantlet.metrics.max_sliced import MaxSlicedWasserstein
from gantlet.metrics.paired import Detailed
from gantlet.metrics.together import detail_all
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.calibration.estimand import estimand, population
from gantlet.studies.calibration.plan import BLOCK
from gantlet.studies.calibration.scenarios import SCENARIOS, World
from gantlet.studies.calibration.truth import along
from gantlet.studies.calibration.views import view

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
    start = time.process_time()
    with threads(int(trial.parts["threads"])), exactly():
        try:
            found = list(_replicates(trial, watch))
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
    def of(cls, parts: Mapping[str, str]) -> "_Experiment":
        scenario, n, d = parts["scenario"], int(parts["n"]), int(parts["d"])
        real, fake = SCENARIOS[scenario].draw(d)
        wanted: list[str] = json.loads(parts["metrics"])
        return cls(
            wanted={m: metrics.make(m) for m in wanted},
            known={m: population(m, scenario, d) for m in wanted},
            place=parts["model"],
            real=real,
            fake=fake,
            # What a model learned from is given: the same in all replicates.
            train=real.sample(n, Rng(0).stream("train")).to(parts["device"]),
            n=n,
            device=parts["device"],
        )

    def once(self, seed: int) -> Replicate:
        """Returns what one replicate gave."""
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
            found |= {m: (_estimate(e), self.known[m]) for m, e in measured.items()}
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
        """Returns what was measured, and the distance of the distributions along the direction."""
        detailed, u = made
        if u is None or estimand(metric) != "direction":
            return detailed.estimate, math.nan
        return detailed.estimate, float(along(self.real, self.fake, u[:, None].cpu()))

    def _pair(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = self.real.sample(n, rng), self.fake.sample(n, rng)
        return drawn[0].to(self.device), drawn[1].to(self.device)


def _replicates(trial: Trial, watch: Watch) -> Iterator[Replicate]:
    experiment, count = _Experiment.of(trial.parts), int(trial.parts["replicates"])
    for i in range(count):
        watch(i / count, experiment.place)
        yield experiment.once(trial.seed * BLOCK + i)


def _estimate(found: Detailed | Estimate) -> Estimate:
    return found.estimate if isinstance(found, Detailed) else found


def measure_c2st(
    metric: C2st, known: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], rng: Rng
) -> tuple[Estimate, float]:
    """Returns what the metric measures, and how often its classifier is right on new samples."""
    real, fake = (z.double() for z in known)
    judge, *test = c2st.train(real, fake, metric.classifier, rng=rng.stream("c2st"))

    def by_parts(x: Tensor) -> Tensor:
        return torch.cat([judge(part) for part in torch.split(x, _AT_ONCE)])

    found = c2st.rate(by_parts, *(z.double() for z in new)).value
    return c2st.rate(judge, *test), math.nan if found is None else found


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
