"""Measures one set of samples on one extractor."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor

from gantlet.compute.machine import threads
from gantlet.core.components import metrics
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.measure import Groups, Metric, Sees, TrainMetric
from gantlet.core.rng import Rng
from gantlet.core.trial import REAL, Note, Outcome, Trial
from gantlet.features.cache import Cache, digest_of
from gantlet.features.frozen import block_of, exactly, some
from gantlet.metrics.paired import Detailed
from gantlet.metrics.together import detail_all
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.evaluation.chosen import (
    Asked,
    Part,
    drawn_apart,
    other_set,
    real_set,
    train_set,
)
from gantlet.studies.evaluation.copying import nearest, repeats
from gantlet.studies.evaluation.curves import curve_of
from gantlet.studies.evaluation.equal import one_of_each
from gantlet.studies.evaluation.exhibits import exhibits
from gantlet.studies.evaluation.floor import fair_part, floor_of, is_fair
from gantlet.studies.evaluation.pairing import FINGERPRINT, PAIRS, run_pairs
from gantlet.studies.evaluation.permuting import ENERGY, PERMUTED, energy_p
from gantlet.studies.evaluation.sets import (
    asked_of,
    extractor_of,
    features_in,
    learns_from_reference,
)
from gantlet.studies.influences import influences

SAMPLES = "samples"
"""The extractor of trials whose metrics see the samples themselves."""

Against = Literal["all", "part"]
"""Whether fakes meet the whole reference, or are compared with the floor on equal terms."""

# A metric whose work grows with the square of the samples sees so many of them at most, and one
# that sees the samples themselves so many.
_QUADRATIC = 20_000
_LOOKED_AT = 2_000
# So many samples are searched for repeats and copies.
_SEARCHED = 10_000
# So many numbers are copied in memory at most, and so many rows at a time.
_IN_MEMORY = 2**24
_BLOCK = 4096

_NO_CLASSES = "needs class probabilities: --features classifier, or another that has some"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What metrics are given of one set.

    Attributes:
        features: Vectors, shape ``(n, d)``.
        probabilities: Of classes, shape ``(n, classes)``, or None.
        samples: The samples themselves, or None.
        groups: Which of them belong together, shape ``(n,)``; None where each is on its own.
        labels: Those that the user gave alone.
    """

    features: Tensor
    probabilities: Tensor | None = None
    samples: Tensor | None = None
    groups: Tensor | None = None
    labels: Tensor | None = None

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

    def one_of_each(self, groups: Tensor | None) -> Tensor:
        """Returns the features of one sample of each group, of at most 10,000."""
        places = one_of_each(groups, len(self.features))
        # Every so many, as their order may say something.
        step = -(-len(places) // _SEARCHED)
        return self.features[places[::step]]


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
            folder.save("nearest", {})
            return run_pairs(trial, asked_of(trial), watch)
        sets = _sets(trial, watch)
        wanted = {text: metrics.make(text) for text in json.loads(parts["metrics"])}
        found = _measure(trial, wanted, sets, watch)
        if sees_first(trial):
            watch(0.95, "choosing samples to show")
            folder.save("exhibits", _exhibits(trial, sets, wanted))
        folder.save("nearest", _nearest(trial, sets))
        permuted = _permuted(trial, sets, watch)
    scores = {t: f.estimate if isinstance(f, Detailed) else f for t, f in found.items()}
    folder.save("influence", influences(found))
    note, fingerprint = _seen_as(trial)
    details = {FINGERPRINT: fingerprint, **permuted}
    return Outcome(trial=trial, scores=scores, notes=(Note(note, "features"),), details=details)


def sees_first(trial: Trial) -> bool:
    """Returns whether a trial decides what is shown: all of a set, through the first extractor."""
    first: str = json.loads(trial.parts["extractors"])[0]
    return trial.parts["extractor"] == first and trial.parts["against"] == "all"


def _exhibits(trial: Trial, sets: Sets, wanted: Wanted) -> dict[str, Tensor]:
    real, fake = sets.real.features, sets.fake.features
    train = None if sets.train is None else sets.train.features
    found = exhibits(real, fake, train, rng=Rng(trial.seed).stream("exhibits"))
    if any(_name(metric) == "prd" for metric in wanted):
        found |= curve_of(real, fake, rng=Rng(trial.seed).stream("curve"))
    return found


def _nearest(trial: Trial, sets: Sets) -> dict[str, Tensor]:
    """Returns what tells whether samples repeat one another, or copy training samples."""
    parts, asked = trial.parts, asked_of(trial)
    is_compared = parts["against"] == "part" or is_fair(asked, parts["model"])
    if parts["extractor"] == SAMPLES or not is_compared:
        return {}
    real, fake, train = sets.real, sets.fake, sets.train
    reference, rng = real.features, Rng(trial.seed).stream("nearest")
    reference = reference[some(len(reference), _SEARCHED, rng=rng)]
    try:
        found = {"repeats": repeats(reference, fake.one_of_each(fake.labels))}
        if train is not None:
            found |= nearest(reference, fake.one_of_each(fake.groups), train.features)
    except UserError:
        # Features that cannot be compared, which the metrics say.
        return {}
    return found


def _permuted(trial: Trial, sets: Sets, watch: Watch) -> dict[str, float]:
    """Returns the p-value of the energy distance by permutation, where it was asked for.

    There is none where samples come in groups, and so are not exchangeable one by one.
    """
    parts, fake = trial.parts, sets.fake
    wanted = any(_name(m) == ENERGY for m in json.loads(parts["metrics"]))
    if not wanted or parts["against"] != "all" or parts["model"] == REAL:
        return {}
    real = _unlearned(trial, sets.real, watch)
    if real is None or real.groups is not None or fake.groups is not None:
        return {}
    try:
        drawn = Rng(trial.seed).stream("permutations")
        return {PERMUTED: energy_p(real.features, fake.features, rng=drawn)}
    except UserError:
        # Features that cannot be compared, which the metrics say.
        return {}


def _unlearned(trial: Trial, real: Seen, watch: Watch) -> Seen | None:
    """Returns real samples from which the extractor has learned no more than from fakes."""
    asked, extractor = asked_of(trial), trial.parts["extractor"]
    if extractor == SAMPLES or not learns_from_reference(asked, extractor):
        return real
    floor = floor_of(asked, int(trial.parts["size"]))
    if floor is None:
        return None
    return _featured(trial, floor.other, drawn_apart(asked, from_fakes=True), watch)


def parts_of(asked: Asked, model: str, against: Against, size: int) -> tuple[Part, Part]:
    """Returns the reference of a trial, and the samples that are judged against it."""
    if model != REAL and against == "all":
        return Part(whole=real_set(asked)), Part(whole=other_set(asked, model, "fake"))
    floor = floor_of(asked, size)
    if floor is None:
        raise ValueError(f"no floor of {size} samples")
    return floor.real, floor.other if model == REAL else fair_part(asked, model)


def _sets(trial: Trial, watch: Watch) -> Sets:
    """Returns what metrics are given of each set."""
    asked, parts = asked_of(trial), trial.parts
    against: Against = "all" if parts["against"] == "all" else "part"
    real, fake = parts_of(asked, parts["model"], against, int(parts["size"]))
    train = train_set(asked)
    see = _looked_at if parts["extractor"] == SAMPLES else _featured
    apart, of_real = drawn_apart(asked, from_fakes=True), drawn_apart(asked, from_fakes=False)
    return Sets(
        real=see(trial, real, apart, watch),
        fake=see(trial, fake, apart if parts["model"] == REAL else of_real, watch),
        train=None if train is None else see(trial, Part(whole=train), None, watch),
    )


Apart = Sequence[Tensor] | None
"""The sets from which one was drawn apart, or None where nobody asks for its groups."""


def _looked_at(trial: Trial, part: Part, apart: Apart, watch: Watch) -> Seen:
    """Returns the samples of a set themselves, scaled to [0, 1]."""
    watch(0.1, f"reading {part.whole.samples.name}")
    index = some(part.n, _LOOKED_AT, rng=Rng(trial.seed).stream("looked at"))
    groups = None if apart is None else part.groups(apart)
    x = part.space.unit(part.source.take(index)).to(trial.parts["device"])
    return Seen(features=x.flatten(1), samples=x, groups=None if groups is None else groups[index])


def _featured(trial: Trial, part: Part, apart: Apart, watch: Watch) -> Seen:
    asked, device, extractor = asked_of(trial), trial.parts["device"], trial.parts["extractor"]
    wanted = (metrics.make(text).sees for text in json.loads(trial.parts["metrics"]))
    made = features_in(
        asked, part.whole, extractor, watch, device=device, classes="probabilities" in wanted
    )
    seen = Seen(features=made.rows, probabilities=made.probabilities)
    if part.places is not None:
        is_large = part.n * made.rows.shape[1] > _IN_MEMORY
        rows = digest_of(part.source, block_of(part.space)) if is_large else ""
        seen = seen.at(part.places, f"{made.fingerprint}/{rows}")
    groups = None if apart is None else part.groups(apart)
    return replace(seen, groups=groups, labels=part.labels)


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
    (x, a), (y, b), (z, _) = (
        _thinned(s, sees, most, trial) for s in (sets.real, sets.fake, sets.train)
    )
    if x is None or y is None:
        return {t: Estimate.missing(_NO_CLASSES, better=m.better) for t, m in group.items()}
    groups = None if a is None and b is None else Groups(a, b)
    return detail_all(group, x, y, train=z, groups=groups, rng=Rng(trial.seed, x.device))


def _thinned(
    seen: Seen | None, sees: Sees, most: int | None, trial: Trial
) -> tuple[Tensor | None, Tensor | None]:
    """Returns what a metric sees of a set, and its groups; no more than ``most`` samples."""
    x = None if seen is None else seen.of(sees)
    if seen is None or x is None:
        return None, None
    groups = seen.groups
    if most is not None and len(x) > most:
        kept = some(len(x), most, rng=Rng(trial.seed).stream("thin/quadratic"))
        x, groups = x[kept], None if groups is None else groups[kept]
    return x.to(trial.parts["device"]), groups


def _seen_as(trial: Trial) -> tuple[str, str]:
    """Returns what was looked at in words, and its fingerprint."""
    extractor = trial.parts["extractor"]
    if extractor == SAMPLES:
        return (f"{SAMPLES}: at most {_LOOKED_AT:,} samples of each set, as they are", SAMPLES)
    features = extractor_of(asked_of(trial), extractor, trial.parts["device"])
    return (f"{_name(extractor)}: {features.note}", features.fingerprint)
