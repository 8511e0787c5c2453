"""The noise floor: held-out real samples in the place of fakes, of the same number.

Three roles that share no sample: the reference, which all are judged against; the fakes; and the
floor, real samples that are neither in the reference nor in the training set. Fakes and floor are
of one size and are judged against the very same reference, so that whatever a metric owes to the
number of samples is the same for both, and samples as good as real ones cannot be distinguished
from the floor but by chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

import torch
from torch import Tensor

from gantlet.core.dataset import Source
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.data.splits import Joined, Subset
from gantlet.features.frozen import some
from gantlet.studies.evaluation.chosen import (
    Asked,
    Chosen,
    Part,
    drawn_apart,
    other_set,
    real_set,
    train_set,
)
from gantlet.studies.evaluation.equal import (
    digests,
    duplicates,
    is_by_descent,
    occurs,
    one_of_each,
)

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
