"""Samples that sets share and should not: what was judged is what it is judged by."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from gantlet.core.intervals import holm
from gantlet.core.two_samples import more_often
from gantlet.studies.evaluation.chosen import (
    Asked,
    Part,
    drawn_apart,
    other_set,
    real_set,
    train_set,
)
from gantlet.studies.evaluation.comparing import LEVEL
from gantlet.studies.evaluation.equal import duplicates, occurs, repeated
from gantlet.studies.evaluation.floor import fair_part, floor_of, leaked
from gantlet.studies.evaluation.inputs import named


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Same:
    """How many samples of a set are samples of the reference.

    Attributes:
        name: What the report calls the set.
        count: How many.
        n: Of how many.
        is_beyond_chance: Whether held-out real samples occur in the reference less often.
    """

    name: str
    count: int
    n: int
    is_beyond_chance: bool

    @property
    def is_reference(self) -> bool:
        """Whether most of the set was taken from the reference, so that it tests nothing."""
        return self.is_beyond_chance and 2 * self.count > self.n


def same_samples(asked: Asked) -> list[Same]:
    """Returns for each set how many of its samples the reference holds too."""
    reference = Part(whole=real_set(asked)).digests()
    found: list[tuple[str, int, int, float]] = []
    for fake in asked.fakes:
        part = Part(whole=other_set(asked, fake, "fake"))
        count = int(occurs(part.digests(), reference).sum())
        p = _by_chance(asked, fake, count, part.n) if count else 1.0
        found.append((named(fake)[0], count, part.n, p))
    sure = holm([p for *_, p in found], level=LEVEL)
    return [
        Same(name=name, count=count, n=n, is_beyond_chance=s)
        for (name, count, n, _), s in zip(found, sure, strict=True)
    ]


def _by_chance(asked: Asked, fake: str, count: int, n: int) -> float:
    """Returns the p-value against "held-out real samples occur in the reference as often"."""
    floor = floor_of(asked, n)
    if floor is None:
        # Nothing to compare with: only what is all the same is called so.
        return 0.0 if count == n else 1.0
    reference, ours = floor.real.digests(), fair_part(asked, fake).digests()
    shared, chance = (int(occurs(x, reference).sum()) for x in (ours, floor.other.digests()))
    return more_often(shared, len(ours), chance, floor.other.n)


def shared_words(asked: Asked, same: list[Same]) -> Iterator[str]:
    """Yields in words which sets share samples, or hold some twice."""
    for one in same:
        if one.count == one.n:
            yield (
                f"All {one.n:,} samples of {one.name} are the same as samples of the reference: "
                "distances between them tell nothing of a model."
            )
        elif one.count:
            yield (
                f"{one.count:,} of {one.n:,} samples of {one.name} are the same as samples of the "
                "reference."
            )
    trained = int(leaked(asked).sum())
    if trained:
        yield (
            f"{trained:,} of {real_set(asked).n:,} samples of the reference are training samples "
            "too. Give a reference that the models have not seen."
        )
    yield from _twice(asked)


def _twice(asked: Asked) -> Iterator[str]:
    train = train_set(asked)
    sets = [("the reference", real_set(asked), True)]
    sets += [(named(f)[0], other_set(asked, f, "fake"), False) for f in asked.fakes]
    for name, chosen, is_real in sets:
        x = Part(whole=chosen).digests()
        count = repeated(x)
        if count:
            is_copied = duplicates(x, drawn_apart(asked, from_fakes=is_real)) is not None
            how = (
                "More than by chance: equal samples count as one group in intervals and splits."
                if is_copied
                else "So do samples of other sets: they count as independent."
            )
            yield (
                f"{count:,} of {chosen.n:,} samples of {name} repeat another one of it exactly. "
                f"{how}"
            )
    count = 0 if train is None else repeated(Part(whole=train).digests())
    if train is not None and count:
        yield f"{count:,} of {train.n:,} training samples repeat another one exactly."
