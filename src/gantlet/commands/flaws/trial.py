"""The list of flaws of one set of samples, from data to result."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import NamedTuple, final

import torch
from torch import Tensor

from gantlet.commands.evaluate.inputs import EvaluationSpec, SetTrial, named
from gantlet.commands.evaluate.sets import EvaluationSets, SampleSet
from gantlet.compute.machine import threads
from gantlet.core.data import Source, Space, Splits
from gantlet.core.estimate import Estimate, Note, Outcome, Trial
from gantlet.core.metric import Features
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors
from gantlet.data.splits import Subset, random_split
from gantlet.domains.attributes import AttributeTable
from gantlet.domains.domains import attributes_of, domain_of
from gantlet.features.base import (
    FeatureCache,
    block_of,
    feature_set,
    full_precision,
    subsample_indices,
)
from gantlet.flaws.explain import Causes
from gantlet.flaws.search import flaw_in_other_set, list_flaws
from gantlet.flaws.split import (
    DiscoveryValidation,
    Flaw,
    FlawList,
    Representation,
    check_number,
    split_halves,
)
from gantlet.options import Search
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.stats.intervals import detectable_accuracy, fewest_correct
from gantlet.stats.permutation import score_of

# ----------------------------------------------------------------------------
# What a trial is.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FlawsTrial(SetTrial):
    """The list of flaws of one set. Its written form is a ``Trial``, whose key names it.

    Attributes:
        model: The set as it was asked for.
        extractor: The feature extractor, in written form.
        sets: What decides the sets.
        search: How flaws are searched for.
        threads: Threads of the trial; part of what decides the last digits.
        device: Where features are computed.
    """

    model: str
    extractor: str
    sets: EvaluationSpec
    search: Search
    threads: int
    device: str


# ----------------------------------------------------------------------------
# What is measured of the sets, by what the discovery half of the real samples let learn.
# ----------------------------------------------------------------------------

# Splits of a data set that may have been learned from.
_USED = ("@train", "@all", "@validation")


@final
class FrozenExtractor:
    """Extractor and code of a list, neither of which has seen a judged sample.

    Args:
        spec: The list.
        sets: The sets.
    """

    def __init__(self, spec: FlawsTrial, sets: EvaluationSets) -> None:
        self._spec, self._sets = spec, sets
        self.real = sets.real
        self.places, _ = split_halves(self.real.n, "real", rng=Rng(spec.seed))
        samples = self.real.samples
        self.code = domain_of(samples.space).relearned(
            samples.code, samples.space, samples.source, self.places
        )

    @cached_property
    def extractor(self) -> Features:
        """The extractor, ready for use."""
        name, device = self._spec.extractor, self._spec.device
        made = extractors.make(name)
        if not made.learns and self.code is None:
            return self._sets.extractor(name, device)
        samples = self.real.samples
        space, code = (
            (samples.space, samples.code)
            if self.code is None
            else (self.code.space, self.code.code)
        )
        rng = Rng(self._spec.sets.data_seed, device)
        return made.fit(space, replace(self._splits(), code=code), rng=rng)

    def seen(self, chosen: SampleSet, watch: Watch) -> Representation:
        """Returns the representation of a set, in the space of the real samples."""
        chosen = self._written(chosen)
        space, source, code = chosen.samples.space, chosen.samples.source, chosen.samples.code
        name = self._spec.extractor.partition(":")[0]
        made = feature_set(
            self.extractor,
            source,
            block=block_of(space),
            device=self._spec.device,
            cache=FeatureCache.usual(),
            tell=lambda share: watch(0.5 * share, f"{name} of {chosen.samples.name}"),
        )
        found: list[AttributeTable] = []
        # What depends on the whole set is not measured in blocks.
        block = chosen.n if domain_of(space).depends_on_set(code) else block_of(space)
        for index in torch.split(torch.arange(chosen.n), block):
            classes = None if made.probabilities is None else made.probabilities[index]
            found.append(attributes_of(space, source.take(index), classes, code))
        values = torch.cat([p.values for p in found])
        probes = AttributeTable(words=found[0].words, values=values)
        return Representation(probes=probes, features=made.rows, learned=self._learned)

    def _written(self, chosen: SampleSet) -> SampleSet:
        if self.code is None:
            return chosen
        own = self.places if chosen is self.real else None
        source = self.code.rewritten(chosen.samples.source, own)
        samples = replace(
            chosen.samples, space=self.code.space, source=source, code=self.code.code
        )
        return replace(chosen, samples=samples)

    @property
    def _learned(self) -> bool:
        """Whether the discovery half of the reference decides how samples are represented."""
        of_features = extractors.make(self._spec.extractor).learns and _apart(self._sets) is None
        return self.code is not None or of_features

    def _splits(self) -> Splits:
        apart = _apart(self._sets)
        if apart is None:
            own = Subset(self._written(self.real).samples.source, self.places)
            return _by_share(self._sets.asked, own)
        splits = apart[0]
        if self.code is None:
            return splits
        train, validation, test = (
            self.code.rewritten(s) for s in (splits.train, splits.validation, splits.test)
        )
        return replace(splits, train=train, validation=validation, test=test)


def learned_from(sets: EvaluationSets) -> str:
    """Returns from what features learn, in words."""
    apart = _apart(sets)
    if apart is not None:
        return apart[1]
    return f"{sets.real.n // 2:,} samples of {sets.asked.real}, the discovery half"


def _apart(sets: EvaluationSets) -> tuple[Splits, str] | None:
    """Returns real samples beside the reference and what they are, or None where there are none.

    They are a training set that is another one, or the rest of the data set of which the
    reference is the test.
    """
    real, train = sets.real, sets.train
    if train is not None and sets.asked.train is not None and not _is_reference(sets, train):
        if train.samples.splits is not None:
            return train.samples.splits, f"the training split of {sets.asked.train}"
        splits = _by_share(sets.asked, train.samples.source)
        return splits, f"{len(splits.train):,} samples of {sets.asked.train}"
    if real.samples.splits is not None and not sets.asked.real.endswith(_USED):
        return real.samples.splits, f"the training split of {sets.asked.real}"
    return None


def _is_reference(sets: EvaluationSets, train: SampleSet) -> bool:
    """Returns whether a training set holds the reference, as far as their names and files tell."""
    if sets.asked.train is None or sets.asked.train == sets.asked.real:
        return True
    head, at, _ = sets.asked.real.rpartition("@")
    if train.samples.splits is not None and at and sets.asked.real.endswith(_USED):
        return head == sets.asked.train.partition("@")[0]
    own = sets.fingerprint(sets.asked.real, "real")
    return sets.fingerprint(sets.asked.train, "train") == own


def _by_share(asked: EvaluationSpec, source: Source) -> Splits:
    rng = Rng(asked.data_seed)
    return random_split(source, validation=0.1, test=0.1, limit=None, rng=rng)


# ----------------------------------------------------------------------------
# What a report shows of each flaw: the samples that have it most and least, and what differs.
# ----------------------------------------------------------------------------

_SHOWN = 16
SIDES = ("fake", "real")
"""Of which sets samples are shown."""

ENDS = (("most", "least"), ("low end", "high end"))
"""Which samples of a flaw with a name are shown, and of one without."""

# The difference is between the third of the fakes that have a flaw most and that which has least.
_SHARE = 3
_MOST = 3000  # samples that are looked at for it


def exhibits(found: FlawList, real: SampleSet, fake: SampleSet) -> dict[str, Tensor]:
    """Returns places of samples for each flaw, by its number, and its difference and spectrum.

    Of a flaw with a name they are those that have it most and least; of one without, those at
    both ends of its direction. Also some held-out samples of each set as they come.
    """
    shown = {f"{side}": getattr(found.places, side)[:_SHOWN].contiguous() for side in SIDES}
    for k, flaw in enumerate(found.flaws, 1):
        ranked = {s: ranking(flaw, getattr(flaw.judge, s)) for s in SIDES}
        first, last = ENDS[flaw.naming is None]
        for side, by_score in ranked.items():
            values: Tensor = getattr(flaw.judge, side)
            order = by_score if flaw.naming is not None else values.argsort(stable=True)
            places = getattr(found.places, side)[order]
            shown[f"{k}/{side} {first}"] = places[:_SHOWN].contiguous()
            shown[f"{k}/{side} {last}"] = places.flip(0)[:_SHOWN].contiguous()
        shown |= _difference(k, found.places.fake[ranked["fake"]], real, fake, found)
    return shown


def ranking(flaw: Flaw, values: Tensor) -> Tensor:
    """Returns the order of samples, those that look most fake by this flaw alone first."""
    score = score_of(flaw.seek.real, flaw.seek.fake)(values)
    # Scores are of bins: within one, what lies farther on the side of the fakes goes first.
    side = 1.0 if flaw.shift >= 0 else -1.0
    rank = values.argsort().argsort().to(score) / max(len(values), 1)
    within = (rank - 0.5).abs() if flaw.kind != "location" else side * rank
    return (score + 1e-3 * within).argsort(descending=True, stable=True)


def spectrum(x: Tensor) -> Tensor:
    """Returns the mean amplitude of images at each whole frequency, shape ``(size // 2 + 1,)``.

    Args:
        x: Images, shape ``(n, c, h, w)``.
    """
    h, w = x.shape[2:]
    power = torch.fft.fft2(x.mean(1)).abs() / (h * w) ** 0.5
    fy, fx = torch.fft.fftfreq(h), torch.fft.fftfreq(w)
    ring = ((fy[:, None] ** 2 + fx**2).sqrt() * min(h, w)).round().long().flatten()
    last = min(h, w) // 2
    kept = ring <= last
    flat = power.mean(0).flatten()[kept]
    total = torch.zeros(last + 1, dtype=flat.dtype).index_add_(0, ring[kept], flat)
    return total / torch.bincount(ring[kept], minlength=last + 1)


def _difference(
    k: int, order: Tensor, real: SampleSet, fake: SampleSet, found: FlawList
) -> dict[str, Tensor]:
    space = fake.samples.space
    if not domain_of(space).is_spatial:
        return {}
    third = min(max(len(order) // _SHARE, 1), _MOST)
    unit, take = space.unit, fake.samples.source.take
    most, least = unit(take(order[:third])).float(), unit(take(order[-third:])).float()
    reals = unit(real.samples.source.take(found.places.real[:third])).float()
    spectra = [spectrum(x) for x in (most, least, reals)]
    return {f"{k}/difference": most.mean(0) - least.mean(0), f"{k}/spectra": torch.stack(spectra)}


# ----------------------------------------------------------------------------
# Real samples on which known damages are tried, to see what each does to all measurements.
# ----------------------------------------------------------------------------


@final
class Quantity(Enum):
    """What is measured of a flaw; the value is its name in reports."""

    SIZE = "size"
    ALONE = "accuracy, this flaw only"
    P = "p"
    RESIDUAL = "residual accuracy"


class ListKey(NamedTuple):
    """Which number of a list it is.

    Attributes:
        rank: The place of the flaw, counted from 1; 0 where no flaw is removed yet.
        what: What is measured.
        other: In which other set, by name, or None for the set whose list it is.
    """

    rank: int
    what: Quantity
    other: str | None = None

    @property
    def name(self) -> str:
        """What outcomes and reports call it.

        Example:
            >>> ListKey(1, Quantity.SIZE).name, ListKey(2, Quantity.SIZE, "B").name
            ('1: size', '2: size in B')
        """
        if self.rank == 0:
            return CRITIC
        return f"{self.rank}: {self.measured}"

    @property
    def measured(self) -> str:
        """What is measured, in words, and where."""
        return self.what.value if self.other is None else f"{self.what.value} in {self.other}"


CRITIC = "accuracy of a linear critic"
"""The name of the accuracy before any flaw is removed."""

BEFORE = ListKey(0, Quantity.RESIDUAL)
"""The accuracy before any flaw is removed."""

# Samples on which each damage is tried in each strength: what it does is seen on the same ones
# before and after, so that few are enough.
_TRIED = 128


def causes_for(
    real: SampleSet, features: Features, *, among: Tensor, device: str, rng: torch.Generator
) -> Causes | None:
    """Returns the damages that samples may have suffered, tried on real ones; None without any.

    Args:
        real: Real samples.
        features: The extractor of the list.
        among: The places of those on which damages are tried: none of them is judged.
        device: Where it works.
        rng: Draws on which samples they are tried; on the CPU.
    """
    space, source = real.samples.space, real.samples.source
    known = domain_of(space).causes(space)
    if space.levels is None or not known:
        return None
    seen = _Seen(space, features, device)
    return Causes(
        known,
        space.unit(source.take(among[subsample_indices(len(among), _TRIED, rng=rng)])).float(),
        measure=seen.attributes,
        extract=seen.features_of,
        every=lambda places: space.unit(source.take(places)).float(),
    )


@final
@dataclass(frozen=True, slots=True)
class _Seen:
    """What a list of flaws knows of images with pixels in [0, 1], block by block."""

    space: Space
    features: Features
    device: str

    def attributes(self, x: Tensor) -> AttributeTable:
        """Returns their named measurements."""
        parts = [attributes_of(self.space, b, self._classes(b)) for b in self._blocks(x)]
        return AttributeTable(words=parts[0].words, values=torch.cat([p.values for p in parts]))

    def features_of(self, x: Tensor) -> Tensor:
        """Returns their features, shape ``(n, d)``."""
        blocks = (b.to(self.device) for b in self._blocks(x))
        return torch.cat([self.features.extract(b).cpu() for b in blocks])

    def _blocks(self, x: Tensor) -> Iterator[Tensor]:
        top = (self.space.levels or 2) - 1
        return ((b * top).round() for b in torch.split(x, block_of(self.space)))

    def _classes(self, x: Tensor) -> Tensor | None:
        classify = self.features.classify
        return None if classify is None else classify(x.to(self.device)).cpu()


# ----------------------------------------------------------------------------
# What the sizes of the sets let be found, before anything is looked for.
# ----------------------------------------------------------------------------

_POWER = 0.8


def forecasts(sets: EvaluationSets, level: float) -> list[str]:
    """Returns a sentence for each set: the accuracy that its held-out samples let be found."""
    found: list[str] = []
    for fake in sets.asked.fakes:
        judged = 2 * (min(sets.real.n, sets.fake(fake).n) // 2)
        if fewest_correct(judged, level=level) > judged:
            found.append(f"{named(fake)[0]}: {judged} held-out samples cannot tell anything")
            continue
        least = detectable_accuracy(judged, level=level, power=_POWER)
        found.append(
            f"{named(fake)[0]}: with {judged:,} held-out samples you can detect an accuracy of at "
            f"least {least:.3f} (probability {_POWER:g}, level {level:g})"
        )
    return found


# ----------------------------------------------------------------------------
# Lists the flaws of one set of samples.
# ----------------------------------------------------------------------------


def run_trial(trial: Trial, sets: EvaluationSets, folder: TrialFolder, watch: Watch) -> Outcome:
    """Finds the flaws of a set and saves what pictures need.

    Args:
        trial: A ``FlawsTrial`` in written form.
        sets: The sets.
        folder: Where what is large is saved.
        watch: Is told how far it is.
    """
    spec = FlawsTrial.of(trial)
    with threads(spec.threads), full_precision():
        sight, fake = FrozenExtractor(spec, sets), sets.fake(spec.model)
        real = sight.real
        check_number(real.n, fake.n)
        seen_real, seen = sight.seen(real, watch), sight.seen(fake, watch)
        watch(0.6, "looking for flaws")
        rng = Rng(spec.seed)
        causes = _causes(sight, spec) if spec.search.mode == "guided" else None
        found = list_flaws(seen_real, seen, spec.search, rng=rng, causes=causes)
        watch(0.9, "choosing samples to show")
        folder.save("exhibits", exhibits(found, real, fake))
        others = {
            named(text)[0]: sight.seen(sets.fake(text), watch)
            for text in spec.sets.fakes
            if text != spec.model
        }
        shared = _shared(seen_real, others, found.flaws, rng)
    return Outcome(
        trial=trial,
        scores={**_scores(found), **shared},
        notes=(Note(sight.extractor.note, "features"),),
        details={
            "flaws": list(map(_told, found.flaws)),
            "stop": found.ending.stop.value,
            "examined": found.ending.examined,
            "detectable": found.detectable,
        },
    )


def _causes(sight: FrozenExtractor, spec: FlawsTrial) -> Causes | None:
    return causes_for(
        sight.real,
        sight.extractor,
        among=sight.places,
        device=spec.device,
        rng=Rng(spec.seed).stream("causes"),
    )


def _scores(found: FlawList) -> dict[str, Estimate]:
    scores = {BEFORE.name: found.total}
    for k, (flaw, left) in enumerate(zip(found.flaws, found.left, strict=True), 1):
        p = Estimate(value=flaw.p, method="p-value by permutation, corrected: no interval")
        scores |= {
            ListKey(k, Quantity.SIZE).name: flaw.size,
            ListKey(k, Quantity.ALONE).name: flaw.accuracy,
            ListKey(k, Quantity.P).name: p,
            ListKey(k, Quantity.RESIDUAL).name: left,
        }
    return scores


def _shared(
    real: Representation, others: Mapping[str, Representation], flaws: Sequence[Flaw], rng: Rng
) -> dict[str, Estimate]:
    """Returns the size of each flaw in the other sets, where it can be measured there."""
    scores: dict[str, Estimate] = {}
    for name, seen in others.items():
        halves = DiscoveryValidation.of(real, seen, rng=rng)
        for k, flaw in enumerate(flaws, 1):
            apart = flaw_in_other_set(flaw, halves, rng=rng.stream(f"shared/{name}/{k}"))
            if apart is not None:
                size = apart.size
                opposite = flaw.kind == "location" and apart.shift * flaw.shift < 0
                scores[ListKey(k, Quantity.SIZE, name).name] = (
                    _opposite(size) if opposite else size
                )
    return scores


def _opposite(size: Estimate) -> Estimate:
    if size.value is None or size.low is None or size.high is None:
        return size
    method = f"{size.method}; negative: the means differ the other way"
    return Estimate(value=-size.value, low=-size.high, high=-size.low, n=size.n, method=method)


def _told(flaw: Flaw) -> dict[str, str | float]:
    entry: dict[str, str | float] = {"title": flaw.title, "kind": flaw.kind, "shift": flaw.shift}
    if flaw.cause is not None:
        entry["cause"] = flaw.cause
    if flaw.naming is None:
        return entry
    agreement = flaw.naming.agreement.value or 0.0
    return {**entry, "probe": flaw.naming.probe, "agreement": agreement}
