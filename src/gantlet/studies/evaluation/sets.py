"""The sets of samples behind an evaluation: found, made alike, thinned, turned to features."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, cast, final

import torch
from torch import Tensor

from gantlet.core.components import extractors
from gantlet.core.dataset import Source, Splits
from gantlet.core.errors import UserError
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.trial import Trial
from gantlet.data.splits import Joined, Subset, by_share
from gantlet.features.cache import Cache, digest_of
from gantlet.features.frozen import block_of, some
from gantlet.features.sets import FeatureSet, feature_set
from gantlet.studies.base import Watch
from gantlet.studies.evaluation.alike import alike
from gantlet.studies.evaluation.inputs import Role, Samples, find_samples, named

FLOOR = "real against real"
"""What the noise floor is called."""

# So many training samples are searched for copies at most.
_TRAINING = 50_000


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What decides the sets; all of it is part of the question.

    Attributes:
        real: The reference.
        train: What the models learned from, or None.
        fakes: The sets to judge.
        samples: Most samples of a set; None for all.
        seed: Draws the samples that are kept, and all else that is random.
        data_seed: From which the splits of data sets follow.
        pairs: What each output should have been, in order, or None.
        outputs: How many outputs there are for each of these.
        skip_bad: How many files of a folder that cannot be read may be left out.
    """

    real: str
    train: str | None
    fakes: tuple[str, ...]
    samples: int | None = 10_000
    seed: int = 0
    data_seed: int = 0
    pairs: str | None = None
    outputs: int = 1
    skip_bad: int = 0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A set, ready to be measured.

    Attributes:
        samples: The samples that are used.
        found: How many there were.
        note: What was done to them, in words, or nothing.
    """

    samples: Samples
    found: int
    note: str = ""

    @property
    def n(self) -> int:
        """How many samples are used."""
        return len(self.samples.source)


@lru_cache(maxsize=64)
def real_set(asked: Asked) -> Chosen:
    """Returns the reference."""
    samples = found_samples(asked, asked.real, "real")
    return _chosen(asked, samples, asked.samples, "real", samples.note)


def found_samples(asked: Asked, text: str, role: Role) -> Samples:
    """Returns all samples that a word means, as they are in their files."""
    return find_samples(text, role, data_seed=asked.data_seed, skip_bad=asked.skip_bad)


@lru_cache(maxsize=64)
def other_set(asked: Asked, text: str, role: Role) -> Chosen:
    """Returns a set of fakes, or that of the training, as samples of the space of the reference.

    Raises:
        UserError: If they cannot be found or compared with the reference.
    """
    samples, note = alike(found_samples(asked, text, role), real_set(asked).samples)
    most = asked.samples if role == "fake" or asked.samples is None else _TRAINING
    return _chosen(asked, samples, most, role, note)


def whole_set(asked: Asked, text: str) -> Samples:
    """Returns all samples of a set in their order, as samples of the space of the reference."""
    return alike(found_samples(asked, text, "fake"), real_set(asked).samples)[0]


def train_set(asked: Asked) -> Chosen | None:
    """Returns what the models learned from, where it is known."""
    return None if asked.train is None else other_set(asked, asked.train, "train")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Two sets of real samples that share none.

    Attributes:
        real: Takes the place of the reference: the reference itself, or a part of it.
        other: Takes the place of the fakes.
        words: What it is, in words.
        places: Where in the reference the two sets are, ``real`` first, if both are parts of it.
    """

    real: Chosen
    other: Chosen
    words: str
    places: tuple[Tensor, Tensor] | None = None


@lru_cache(maxsize=8)
def floor_of(asked: Asked) -> Floor:
    """Returns the noise floor: as many real samples as there are fakes, against the reference."""
    real, n = real_set(asked), max(other_set(asked, f, "fake").n for f in asked.fakes)
    unused = _unused(asked, real)
    if unused is not None and len(unused) >= min(n, real.n) // 2:
        kept = some(len(unused), n, rng=Rng(asked.seed).stream("thin/floor"))
        other = _of(real, Subset(unused, kept))
        return Floor(real=real, other=other, words=f"{other.n:,} other real samples")
    order = torch.randperm(real.n, generator=Rng(asked.seed).stream("thin/floor"))
    n = min(n, real.n // 2)
    other, rest = (_of(real, Subset(real.samples.source, i)) for i in (order[:n], order[n:]))
    return Floor(
        real=rest,
        other=other,
        words=f"{n:,} samples of the reference against the {rest.n:,} others",
        places=(order[n:], order[:n]),
    )


def _unused(asked: Asked, real: Chosen) -> Source | None:
    """Returns real samples that are not in the reference, where any are known."""
    splits = real.samples.splits
    if splits is not None and not asked.real.endswith(("@train", "@all", "@validation")):
        return Joined(splits.validation, splits.train)
    train = train_set(asked)
    return None if train is None or asked.train == asked.real else train.samples.source


def _of(real: Chosen, source: Source) -> Chosen:
    return Chosen(samples=replace(real.samples, source=source), found=len(source))


def _chosen(asked: Asked, samples: Samples, most: int | None, role: str, note: str) -> Chosen:
    n = len(samples.source)
    if n == 0:
        raise UserError(f"{samples.name} holds no samples.")
    if most is not None and n > most:
        kept = some(n, most, rng=Rng(asked.seed).stream(f"thin/{role}"))
        samples = replace(samples, source=Subset(samples.source, kept))
    return Chosen(samples=samples, found=n, note=note)


def known_splits(asked: Asked) -> tuple[Splits, str]:
    """Returns what extractors may learn from, and what that is, in words."""
    real, train = real_set(asked), train_set(asked)
    for known, text in ((train, asked.train), (real, asked.real)):
        if known is not None and known.samples.splits is not None:
            return known.samples.splits, f"the training split of {named(text or '')[0]}"
    chosen, text = (real, asked.real) if train is None else (train, asked.train)
    name, rng = named(text or "")[0], Rng(asked.data_seed)
    source = chosen.samples.source
    if len(source) < 10:
        raise UserError(f"{name} holds {len(source)} samples. At least 10 are needed.")
    splits = by_share(source, validation=0.1, test=0.1, limit=None, rng=rng)
    own = "" if train is not None else ", the reference itself"
    return splits, f"{len(splits.train)} samples of {name}{own}"


@lru_cache(maxsize=8)
def extractor_of(asked: Asked, extractor: str, device: str) -> Features:
    """Returns an extractor fitted to what is known of the real data."""
    splits, _ = known_splits(asked)
    space = real_set(asked).samples.space
    return extractors.make(extractor).fit(space, splits, rng=Rng(asked.data_seed, device))


def features_in(
    asked: Asked, chosen: Chosen, extractor: str, watch: Watch, *, device: str, classes: bool
) -> FeatureSet:
    """Returns the features of a set, from the cache where they are there.

    Args:
        asked: What decides the sets.
        chosen: The set.
        extractor: In written form.
        watch: Is told how far it is.
        device: Where the extractor works.
        classes: Whether class probabilities are wanted too.
    """
    name = extractor.partition(":")[0]
    return feature_set(
        extractor_of(asked, extractor, device),
        chosen.samples.source,
        block=block_of(chosen.samples.space),
        device=device,
        cache=Cache.usual(),
        classes=classes,
        tell=lambda share: watch(0.5 * share, f"{name} of {chosen.samples.name}"),
    )


@lru_cache(maxsize=64)
def fingerprint_of(asked: Asked, text: str, role: Role) -> str:
    """Returns a short name for the samples that are used of a set."""
    chosen = real_set(asked) if role == "real" else other_set(asked, text, role)
    return digest_of(chosen.samples.source, block_of(chosen.samples.space))[:12]


def asked_of(trial: Trial) -> Asked:
    """Returns what decides the sets of a trial."""
    found: dict[str, Any] = json.loads(trial.parts["sets"])
    found["fakes"] = tuple(found["fakes"])
    return Asked(**found)


def written_sets(asked: Asked) -> dict[str, object]:
    """Returns what decides the sets as plain data, and what they hold."""
    prints = {f: fingerprint_of(asked, f, "fake") for f in asked.fakes}
    prints[asked.real] = fingerprint_of(asked, asked.real, "real")
    for text, role in ((asked.train, "train"), (asked.pairs, "fake")):
        if text is not None:
            prints[text] = fingerprint_of(asked, text, cast("Role", role))
    return {**asdict(asked), "fakes": list(asked.fakes), "fingerprints": prints}


def check_sets(asked: Asked, used: Sequence[str], device: str) -> None:
    """Finds all sets, and makes those of the extractors ready that learn nothing.

    Raises:
        UserError: If that cannot be done, or the sets make no sense.
    """
    if not asked.fakes:
        raise UserError("Name samples to judge: a folder, a file, RUN@MODEL or a data set.")
    if len(set(asked.fakes)) < len(asked.fakes):
        raise UserError("The same samples were named twice.")
    names = [named(fake)[0] for fake in asked.fakes]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"Two sets are called {name!r}. Give each a name: NAME=WHERE.")
    if asked.samples is not None and asked.samples < 2:
        raise UserError(f"--samples must be at least 2. Got {asked.samples}.")
    train_set(asked)
    for fake in asked.fakes:
        other_set(asked, fake, "fake")
    for extractor in used:
        if not extractors.make(extractor).learns:
            extractor_of(asked, extractor, device)


def has_classes(asked: Asked) -> bool:
    """Returns whether a classifier can be trained on what is known of the real data."""
    labels = known_splits(asked)[0].train.labels
    return labels is not None and bool((labels != labels[:1]).any())


def forget() -> None:
    """Forgets all sets, so that files which have changed since are read again."""
    for kept in (real_set, other_set, floor_of, extractor_of, fingerprint_of):
        kept.cache_clear()
