"""The sets of samples behind an evaluation: checked, named, turned to features."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any, cast

from gantlet.core.components import extractors
from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.trial import Trial
from gantlet.data.splits import by_share
from gantlet.features.cache import Cache, digest_of
from gantlet.features.frozen import block_of
from gantlet.features.sets import FeatureSet, feature_set
from gantlet.studies.base import Watch
from gantlet.studies.evaluation.chosen import (
    Asked,
    Chosen,
    Part,
    fake_sizes,
    other_set,
    real_set,
    train_set,
    whole_set,
)
from gantlet.studies.evaluation.floor import FLOOR, check_floor, floor_of
from gantlet.studies.evaluation.grouping import check_groups
from gantlet.studies.evaluation.inputs import Role, named

__all__ = [
    "FLOOR",
    "Asked",
    "Chosen",
    "asked_of",
    "check_sets",
    "extractor_of",
    "features_in",
    "fingerprint_of",
    "forget",
    "has_classes",
    "known_splits",
    "learns_from_reference",
    "other_set",
    "real_set",
    "train_set",
    "whole_set",
    "written_sets",
]


def known_splits(asked: Asked) -> tuple[Splits, str]:
    """Returns what extractors may learn from, and what that is, in words.

    The training set that was given; else the training split of a data set whose other splits are
    the reference; else the part of the reference that neither fakes nor floor are.
    """
    train = train_set(asked)
    chosen, text = (real_set(asked), asked.real) if train is None else (train, asked.train or "")
    name = named(text)[0]
    splits = chosen.samples.splits
    if splits is not None and not text.endswith(_OTHERS if train is not None else _ALL):
        return splits, f"the training split of {name}"
    source = chosen.samples.source if train is not None else _seen_by_all(asked).source
    if len(source) < 10:
        raise UserError(f"{name} holds {len(source)} samples. At least 10 are needed.")
    made = by_share(source, validation=0.1, test=0.1, limit=None, rng=Rng(asked.data_seed))
    own = "" if train is not None else ", the reference itself"
    return made, f"{len(made.train)} samples of {name}{own}"


def learns_from_reference(asked: Asked, extractor: str) -> bool:
    """Returns whether an extractor learns from the very samples that fakes are compared with."""
    has_splits = real_set(asked).samples.splits is not None and not asked.real.endswith(_ALL)
    return extractors.make(extractor).learns and asked.train is None and not has_splits


# All splits together: the training split is a part of the reference, and of its floor.
_ALL = "@all"
# Given as a training set, these are not the training split.
_OTHERS = ("@validation", "@test", _ALL)


def _seen_by_all(asked: Asked) -> Part:
    """Returns the part of the reference that no noise floor takes: an extractor may learn from it.

    One that had learned from real samples of the floor, but from no fakes, would favour them.
    """
    floor = floor_of(asked, fake_sizes(asked)[-1]) if asked.divides else None
    return Part(whole=real_set(asked)) if floor is None else floor.real


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
    is_reference = role == "real" and text == asked.real
    chosen = real_set(asked) if is_reference else other_set(asked, text, role)
    return digest_of(chosen.samples.source, block_of(chosen.samples.space))[:12]


def asked_of(trial: Trial) -> Asked:
    """Returns what decides the sets of a trial."""
    found: dict[str, Any] = json.loads(trial.parts["sets"])
    found |= {name: tuple(found[name]) for name in ("fakes", "groups")}
    return Asked(**found)


def written_sets(asked: Asked) -> dict[str, object]:
    """Returns what decides the sets as plain data, and what they hold."""
    prints = {f: fingerprint_of(asked, f, "fake") for f in asked.fakes}
    prints[asked.real] = fingerprint_of(asked, asked.real, "real")
    others = ((asked.train, "train"), (asked.pairs, "fake"), (asked.control, "real"))
    for text, role in others:
        if text is not None:
            prints[text] = fingerprint_of(asked, text, cast("Role", role))
    lists = {"fakes": list(asked.fakes), "groups": list(asked.groups)}
    return {**asdict(asked), **lists, "fingerprints": prints}


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
    train = train_set(asked)
    sets = [(asked.real, "real", real_set(asked).found)]
    sets += [] if train is None else [(str(asked.train), "train", train.found)]
    sets += [(fake, "fake", other_set(asked, fake, "fake").found) for fake in asked.fakes]
    check_groups(asked.groups, sets)
    check_floor(asked)
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
