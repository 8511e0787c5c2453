"""The sets behind an evaluation: fakes, reference, training set, noise floor; their features."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, cast, final

import torch
from torch import Tensor

from gantlet.commands.evaluate.inputs import (
    Asked,
    Chosen,
    Part,
    Role,
    check_groups,
    digests,
    drawn_apart,
    duplicates,
    fake_sizes,
    is_by_descent,
    named,
    occurs,
    one_of_each,
    other_set,
    real_set,
    train_set,
    whole_set,
)
from gantlet.core.data import Source, Splits
from gantlet.core.errors import UserError
from gantlet.core.estimate import Trial
from gantlet.core.metric import Features
from gantlet.core.rng import Rng
from gantlet.core.spec import extractors
from gantlet.data.splits import Joined, Subset, by_share
from gantlet.features.base import Cache, FeatureSet, block_of, digest_of, feature_set, some
from gantlet.metrics.checks import checked
from gantlet.run.execute import Watch

# ----------------------------------------------------------------------------
# What is to be said of the files behind an evaluation.
# ----------------------------------------------------------------------------


def notes_on(asked: Asked) -> tuple[str, ...]:
    """Returns what of the files of all sets was left out, converted or guessed: a clause each."""
    texts: tuple[tuple[str | None, Role], ...] = (
        *((fake, "fake") for fake in asked.fakes),
        (asked.train, "train"),
        (asked.pairs, "fake"),
    )
    others = (other_set(asked, text, role) for text, role in texts if text is not None)
    return tuple(dict.fromkeys(c.note for c in (real_set(asked), *others) if c.note))


# ----------------------------------------------------------------------------
# Whether fakes and the whole reference differ, by dealing out again which is which.
# ----------------------------------------------------------------------------

ENERGY = "energy"
"""The metric that is tested by permutation too."""

PERMUTED = "p by permutation"
"""The detail of an outcome that holds the p-value."""

# So many samples of each set, and so many times.
_MOST, _TIMES = 1_000, 999
# So many numbers are held of the labels and of their products at a time.
_AT_ONCE = 2**22


def energy_p(real: Tensor, fake: Tensor, *, rng: torch.Generator) -> float:
    """Returns the p-value of the energy distance of two sets if their samples were exchangeable.

    Exact, and on whole sets: it needs no noise floor. At most 1,000 samples of each.
    Source: Szekely and Rizzo, 2004, http://interstat.statjournals.net/YEAR/2004/articles/0411005.pdf.

    Args:
        real: Features, shape ``(n, d)``.
        fake: Features, shape ``(m, d)``.
        rng: Deals out, on the CPU.
    """
    real, fake = checked(real, fake)
    x, y = (z[some(len(z), _MOST, rng=rng)].double() for z in (real, fake))
    n, both = len(x), torch.cat([x, y])
    if min(n, len(y)) < 2:
        return 1.0
    apart = torch.cdist(both, both).to(both.dtype)
    total = len(both)
    orders = torch.stack([torch.randperm(total, generator=rng)[:n] for _ in range(_TIMES)])
    orders = torch.cat([torch.arange(n)[None], orders]).to(both.device)
    step = max(1, _AT_ONCE // total)
    found = torch.cat([_energies(apart, o) for o in torch.split(orders, step)])
    # Equal sums differ by rounding.
    slack = 1e-9 * float(apart.mean())
    return float((found[1:] >= found[0] - slack).sum() + 1) / (_TIMES + 1)


def _energies(apart: Tensor, chosen: Tensor) -> Tensor:
    """Returns the energy distance between some samples and the others, for each row of places."""
    total, n = len(apart), chosen.shape[1]
    labels = apart.new_zeros(len(chosen), total).scatter_(1, chosen, 1.0)
    sums = labels @ apart
    within, among_all = (sums * labels).sum(1), sums.sum(1)
    between = among_all - within
    others = apart.sum() - within - 2 * between
    m = total - n
    return 2 * between / (n * m) - within / (n * (n - 1)) - others / (m * (m - 1))


# ----------------------------------------------------------------------------
# The noise floor: held-out real samples in the place of fakes, of the same number.
#
# Three roles that share no sample: the reference, which all are judged against; the fakes; and the
# floor, real samples that are neither in the reference nor in the training set. Fakes and floor
# are
# of one size and are judged against the very same reference, so that whatever a metric owes to the
# number of samples is the same for both, and samples as good as real ones cannot be distinguished
# from the floor but by chance.
# ----------------------------------------------------------------------------

FLOOR = "real against real"
"""What the noise floor is called."""

LEAST = 10
"""With fewer real samples than this there is no floor."""

# Sets that share more than this with the training set or with fakes share it by descent; what is
# less may be chance, as in tables with few different rows.
_SHARED = 0.05


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The sets of a fair comparison with real data.

    Attributes:
        real: The reference: the whole of it, or what the floor leaves of it.
        other: The real samples that take the place of the fakes.
        words: What the floor is, in words.
    """

    real: Part
    other: Part
    words: str

    @property
    def is_divided(self) -> bool:
        """Whether the floor was taken from the reference."""
        return self.real.places is not None


@lru_cache(maxsize=64)
def floor_of(asked: Asked, n: int) -> Floor | None:
    """Returns the noise floor for fakes of one size, or None where there are too few real samples.

    Taken from the first of these that holds enough: ``--control``; what ``--samples`` leaves of
    the reference; the other splits of a data set but the one that is trained on; the reference.

    Args:
        asked: What decides the sets.
        n: How many fakes there are.
    """
    if n < LEAST:
        return None
    real = real_set(asked)
    for held, words, least in _outside(asked, real, n):
        other = _drawn(asked, real, held, n)
        if other is not None and other.n >= least:
            told = f"{other.n:,} {words}, against the same {real.n:,} real samples as the fakes"
            return Floor(real=Part(whole=real), other=Part(whole=other), words=told)
    return _divided(asked, real, n)


def fair_part(asked: Asked, fake: str) -> Part:
    """Returns the fakes that are compared with the floor: as many as it has."""
    chosen = other_set(asked, fake, "fake")
    floor = floor_of(asked, chosen.n)
    if floor is None or floor.other.n == chosen.n:
        return Part(whole=chosen)
    part = Part(whole=chosen)
    groups = part.groups(drawn_apart(asked, from_fakes=False))
    order = _in_groups(groups, chosen.n, Rng(asked.seed).stream("thin/matched"))
    return Part(whole=chosen, places=order[: floor.other.n].sort().values)


def is_fair(asked: Asked, fake: str) -> bool:
    """Returns whether all fakes meet the whole reference in the comparison with the floor."""
    floor = floor_of(asked, other_set(asked, fake, "fake").n)
    return floor is None or (not floor.is_divided and fair_part(asked, fake).places is None)


def why_none(asked: Asked, n: int) -> str:
    """Returns why there is no floor for fakes of one size, and what to do."""
    if n < LEAST:
        return (
            f"{n} samples are too few for a comparison with real data; at least {LEAST} are needed"
        )
    real = real_set(asked)
    if real.n >= 2 * LEAST:
        return (
            "all real samples are training samples too, so that none is left for a noise floor: "
            "give held-out ones as --against, or as --control"
        )
    return (
        f"{real.n} real samples are too few to be divided for a noise floor: give {2 * LEAST}, or "
        "others as --control"
    )


def _outside(asked: Asked, real: Chosen, n: int) -> Iterator[tuple[Chosen, str, int]]:
    """Yields sets of real samples that are not in the reference, and how many they must hold."""
    if asked.control is not None:
        yield other_set(asked, asked.control, "real"), f"samples of {asked.control}", LEAST
        return
    enough = max(LEAST, min(n, real.n // 2))
    if real.rest is not None:
        yield _of(real, real.rest), "samples of the reference that --samples left out", enough
    splits, (_, _, split) = real.samples.splits, asked.real.rpartition("@")
    if splits is not None and split != "all":
        names = [s for s in ("validation", "test") if s != (split if split in _SPLITS else "test")]
        source = Joined(*(getattr(splits, name) for name in names))
        yield _of(real, source), f"samples of the {' and '.join(names)} split", enough


_SPLITS = ("train", "validation", "test")


def _drawn(asked: Asked, real: Chosen, held: Chosen, n: int) -> Chosen | None:
    """Returns at most ``n`` samples of a set that are neither trained on nor judged."""
    rng = Rng(asked.seed).stream("thin/floor")
    kept = some(held.n, n, rng=rng)
    source: Source = Subset(held.samples.source, kept)
    labels = held.labels
    if bool(_known(asked, source).any()):
        known = _known(asked, held.samples.source)
        free = (~known).nonzero()[:, 0]
        if not len(free):
            return None
        kept = free[some(len(free), n, rng=rng)]
        source = Subset(held.samples.source, kept)
    apart = [Part(whole=real).digests(), *drawn_apart(asked, from_fakes=True)]
    distinct = one_of_each(duplicates(digests(source, real.samples.space), apart), len(kept))
    kept = kept[distinct]
    source = Subset(held.samples.source, kept)
    found = replace(_of(real, source), labels=None if labels is None else labels[kept])
    return replace(found, found=held.n)


def _known(asked: Asked, source: Source) -> Tensor:
    """Returns which samples are in the training set or are fakes, by more than chance."""
    space = real_set(asked).samples.space
    ours = digests(source, space)
    found = torch.zeros(len(ours), dtype=torch.bool)
    train = train_set(asked)
    others = [other_set(asked, f, "fake") for f in asked.fakes]
    for other in [*([] if train is None else [train]), *others]:
        theirs = digests(other.samples.source, space)
        shared = occurs(ours, theirs)
        if float(shared.double().mean()) > _SHARED and is_by_descent(ours, theirs):
            found |= shared
    return found


def leaked(asked: Asked) -> Tensor:
    """Returns which samples of the reference are in the training set too, shape ``(n,)``."""
    real, train = real_set(asked), train_set(asked)
    if train is None:
        return torch.zeros(real.n, dtype=torch.bool)
    ours, theirs = Part(whole=real).digests(), Part(whole=train).digests()
    shared = occurs(ours, theirs)
    return shared if is_by_descent(ours, theirs) else torch.zeros_like(shared)


def _divided(asked: Asked, real: Chosen, n: int) -> Floor | None:
    """Returns two parts of the reference; groups stay together, training samples in the first."""
    trained = leaked(asked)
    if float(trained.double().mean()) <= _SHARED:
        trained = torch.zeros_like(trained)
    apart = drawn_apart(asked, from_fakes=True)
    distinct = one_of_each(duplicates(Part(whole=real).digests(), apart), real.n)
    size = min(n, len(distinct) // 2, int((~trained[distinct]).sum()))
    if size < LEAST:
        return None
    groups = Part(whole=real).groups(apart)
    if groups is not None and bool(trained.any()):
        # A group with a training sample is known to the models.
        trained = torch.isin(groups, groups[trained])
    order = _in_groups(groups, real.n, Rng(asked.seed).stream("thin/floor"))
    # Of a sample that is there twice one is enough: fakes are not there twice.
    order = order[torch.isin(order, distinct)]
    order = torch.cat([order[~trained[order]], order[trained[order]]])
    other, rest = order[:size], order[size:]
    if groups is not None:
        rest = rest[~torch.isin(groups[rest], groups[other])]
    if bool(trained[other].any()) or len(rest) < LEAST:
        return None
    parts = [Part(whole=real, places=p.sort().values) for p in (rest, other)]
    words = (
        f"{size:,} samples of the reference, and as many fakes, both against {len(rest):,} others "
        "of the reference"
    )
    return Floor(real=parts[0], other=parts[1], words=words)


def _in_groups(groups: Tensor | None, n: int, rng: torch.Generator) -> Tensor:
    """Returns a random order of ``n`` samples in which those of a group follow one another."""
    if groups is None:
        return torch.randperm(n, generator=rng)
    places = torch.randperm(int(groups.max()) + 1, generator=rng)
    return places[groups].argsort(stable=True)


def _of(real: Chosen, source: Source) -> Chosen:
    return Chosen(samples=replace(real.samples, source=source), found=len(source))


def check_floor(asked: Asked) -> None:
    """Refuses a control that cannot be one.

    Raises:
        UserError: If it holds too few samples, or is the reference or what was trained on.
    """
    if asked.control is None:
        return
    control = other_set(asked, asked.control, "real")
    if control.n < LEAST:
        raise UserError(
            f"--control {asked.control} holds {control.n} samples. At least {LEAST} are needed."
        )
    space, ours = control.samples.space, digests(control.samples.source, control.samples.space)
    reference = occurs(ours, digests(real_set(asked).samples.source, space))
    for shared, what in (
        (reference, "the reference"),
        (_known(asked, control.samples.source), ""),
    ):
        share = float(shared.double().mean())
        if share > _SHARED:
            which = what or "the training set or the sets that are judged"
            raise UserError(
                f"--control {asked.control}: {int(shared.sum())} of {control.n} samples are in "
                f"{which} too. Give real samples that nothing else has seen."
            )


# ----------------------------------------------------------------------------
# The sets of samples behind an evaluation: checked, named, turned to features.
# ----------------------------------------------------------------------------

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
