"""Measures one set of samples on one extractor."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.components import metrics
from gantlet.core.estimate import Estimate
from gantlet.core.measure import Metric, Sees, TrainMetric
from gantlet.core.rng import Rng
from gantlet.core.trial import Outcome, Trial
from gantlet.features.cache import Cache
from gantlet.features.frozen import exactly, some
from gantlet.metrics.paired import Detailed
from gantlet.metrics.together import detail_all
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.contest import REAL, threads
from gantlet.studies.evaluation.curves import curve_of
from gantlet.studies.evaluation.exhibits import exhibits
from gantlet.studies.evaluation.pairing import FINGERPRINT, PAIRS, run_pairs
from gantlet.studies.evaluation.sets import (
    Chosen,
    asked_of,
    extractor_of,
    features_in,
    fingerprint_of,
    floor_of,
    other_set,
    real_set,
    train_set,
)

SAMPLES = "samples"
"""The extractor of trials whose metrics see the samples themselves."""

# A metric whose work grows with the square of the samples sees so many of them at most, and one
# that sees the samples themselves so many.
_QUADRATIC = 20_000
_LOOKED_AT = 2_000
# So many numbers are copied in memory at most, and so many rows at a time.
_IN_MEMORY = 2**24
_BLOCK = 4096

_NO_CLASSES = "needs class probabilities: --features classifier, or another that has some"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What metrics are given of one set."""

    features: Tensor
    probabilities: Tensor | None = None
    samples: Tensor | None = None

    def of(self, sees: Sees) -> Tensor | None:
        """Returns what a metric wants to see, or None where there is none."""
        known = {"features": self.features, "probabilities": self.probabilities}
        return known.get(sees, self.samples)

    def at(self, places: Tensor, name: str) -> "Seen":
        """Returns the same of some samples; what is large is kept on disk under ``name``."""
        known = self.probabilities
        return Seen(
            features=_rows_at(self.features, places, f"features/{name}"),
            probabilities=None if known is None else _rows_at(known, places, f"classes/{name}"),
        )


def _rows_at(rows: Tensor, places: Tensor, name: str) -> Tensor:
    if len(places) * rows.shape[1] <= _IN_MEMORY:
        return rows[places]

    def parts() -> Iterator[Tensor]:
        for part in torch.split(places, _BLOCK):
            yield rows[part]

    return Cache.usual().rows(name, len(places), parts)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sets:
    """The reference, the set to judge, and that of the training where it is known."""

    real: Seen
    fake: Seen
    train: Seen | None


Wanted = Mapping[str, Metric | TrainMetric]


def run_trial(trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
    """Measures all metrics of a trial and saves what paired differences and pictures need."""
    parts = trial.parts
    with threads(int(parts["threads"])), exactly():
        if parts["extractor"] == PAIRS:
            folder.save("influence", {})
            return run_pairs(trial, asked_of(trial), watch)
        sets = _sets(trial, watch)
        wanted = {text: metrics.make(text) for text in json.loads(parts["metrics"])}
        found = _measure(trial, wanted, sets, watch)
        if sees_first(trial):
            watch(0.95, "choosing samples to show")
            folder.save("exhibits", _exhibits(trial, sets, wanted))
    scores = {t: f.estimate if isinstance(f, Detailed) else f for t, f in found.items()}
    # A part of the reference is not the reference: differences from it are not paired.
    is_whole = parts["model"] != REAL or floor_of(asked_of(trial)).places is None
    folder.save("influence", influences(found) if is_whole else {})
    note, fingerprint = _seen_as(trial)
    return Outcome(trial=trial, scores=scores, notes=(note,), details={FINGERPRINT: fingerprint})


def sees_first(trial: Trial) -> bool:
    """Returns whether a trial looks through the first extractor, which decides what is shown."""
    first: str = json.loads(trial.parts["extractors"])[0]
    return trial.parts["extractor"] == first


def _exhibits(trial: Trial, sets: Sets, wanted: Wanted) -> dict[str, Tensor]:
    real, fake = sets.real.features, sets.fake.features
    train = None if sets.train is None else sets.train.features
    found = exhibits(real, fake, train, rng=Rng(trial.seed).stream("exhibits"))
    if any(_name(metric) == "prd" for metric in wanted):
        found |= curve_of(real, fake, rng=Rng(trial.seed).stream("curve"))
    return found


def _sets(trial: Trial, watch: Watch) -> Sets:
    """Returns what metrics are given of each set."""
    asked = asked_of(trial)
    if trial.parts["model"] == REAL:
        floor = floor_of(asked)
        real, fake, places = floor.real, floor.other, floor.places
    else:
        real, fake = real_set(asked), other_set(asked, trial.parts["model"], "fake")
        places = None
    train = train_set(asked)
    see = _looked_at if trial.parts["extractor"] == SAMPLES else _featured
    z = None if train is None else see(trial, train, watch)
    if places is not None and see is _featured:
        whole = _featured(trial, real_set(asked), watch)
        extractor = trial.parts["extractor"]
        name = f"{extractor}/{fingerprint_of(asked, asked.real, 'real')}/{trial.seed}"
        x, y = (whole.at(p, f"{name}/{len(p)}/{i}") for i, p in enumerate(places))
        return Sets(real=x, fake=y, train=z)
    return Sets(real=see(trial, real, watch), fake=see(trial, fake, watch), train=z)


def _looked_at(trial: Trial, chosen: Chosen, watch: Watch) -> Seen:
    """Returns the samples of a set themselves, scaled to [0, 1]."""
    watch(0.1, f"reading {chosen.samples.name}")
    index = some(chosen.n, _LOOKED_AT, rng=Rng(trial.seed).stream("looked at"))
    x = chosen.samples.space.unit(chosen.samples.source.take(index))
    x = x.to(trial.parts["device"])
    return Seen(features=x.flatten(1), samples=x)


def _featured(trial: Trial, chosen: Chosen, watch: Watch) -> Seen:
    device, extractor = trial.parts["device"], trial.parts["extractor"]
    wanted = (metrics.make(text).sees for text in json.loads(trial.parts["metrics"]))
    made = features_in(
        asked_of(trial),
        chosen,
        extractor,
        watch,
        device=device,
        classes="probabilities" in wanted,
    )
    return Seen(features=made.rows, probabilities=made.probabilities)


def _measure(
    trial: Trial, wanted: Wanted, sets: Sets, watch: Watch
) -> dict[str, Detailed | Estimate]:
    """Measures metrics that see the same together, quadratic ones on fewer samples."""
    groups: dict[tuple[Sees, bool], dict[str, Metric | TrainMetric]] = {}
    for text, metric in wanted.items():
        groups.setdefault((metric.sees, metric.quadratic), {})[text] = metric
    found: dict[str, Detailed | Estimate] = {}
    for i, ((sees, quadratic), group) in enumerate(groups.items()):
        watch(0.5 + 0.4 * i / len(groups), f"measuring {', '.join(map(_name, group))}")
        found |= _group(trial, group, sets, sees, _QUADRATIC if quadratic else None)
    return {text: found[text] for text in wanted}


def _name(metric: str) -> str:
    return metric.partition(":")[0]


def _group(
    trial: Trial, group: Wanted, sets: Sets, sees: Sees, most: int | None
) -> dict[str, Detailed | Estimate]:
    x, y, z = (_thinned(s, sees, most, trial) for s in (sets.real, sets.fake, sets.train))
    if x is None or y is None:
        return {t: Estimate.missing(_NO_CLASSES, better=m.better) for t, m in group.items()}
    return detail_all(group, x, y, train=z, rng=Rng(trial.seed, x.device))


def _thinned(seen: Seen | None, sees: Sees, most: int | None, trial: Trial) -> Tensor | None:
    x = None if seen is None else seen.of(sees)
    if x is None:
        return None
    if most is not None and len(x) > most:
        x = x[some(len(x), most, rng=Rng(trial.seed).stream("thin/quadratic"))]
    return x.to(trial.parts["device"])


def influences(found: Mapping[str, Detailed | Estimate]) -> dict[str, Tensor]:
    """Returns what paired differences need, as tensors by name."""
    kept: dict[str, Tensor] = {}
    for text, one in found.items():
        if isinstance(one, Detailed):
            rest = torch.tensor([one.rest.value, one.rest.noise], dtype=torch.float64)
            kept |= {f"{text}/real": one.real.double(), f"{text}/rest": rest}
    return kept


def _seen_as(trial: Trial) -> tuple[str, str]:
    """Returns what was looked at in words, and its fingerprint."""
    extractor = trial.parts["extractor"]
    if extractor == SAMPLES:
        return (f"{SAMPLES}: at most {_LOOKED_AT:,} samples of each set, as they are", SAMPLES)
    features = extractor_of(asked_of(trial), extractor, trial.parts["device"])
    return (f"{_name(extractor)}: {features.note}", features.fingerprint)
