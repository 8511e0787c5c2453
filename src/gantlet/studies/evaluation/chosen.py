"""The sets of samples that an evaluation names: found, made alike, thinned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from gantlet.core.dataset import Source
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Spec
from gantlet.data.splits import Subset
from gantlet.features.frozen import some
from gantlet.studies.evaluation.alike import alike
from gantlet.studies.evaluation.equal import digests, duplicates, joined
from gantlet.studies.evaluation.grouping import column_of, labels_of
from gantlet.studies.evaluation.inputs import Role, Samples, find_samples, named

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
        control: Other real samples, for the noise floor, or None to take them from the reference.
        groups: Which samples belong together: ``WHAT`` or ``NAME=WHAT``.
        skip_bad: How many files of a folder that cannot be read may be left out.
        divides: Whether a part of the reference may be needed for the noise floor, so that
            extractors must not learn from that part.
    """

    real: str
    train: str | None
    fakes: tuple[str, ...]
    samples: int | None = 10_000
    seed: int = 0
    data_seed: int = 0
    pairs: str | None = None
    outputs: int = 1
    control: str | None = None
    groups: tuple[str, ...] = ()
    skip_bad: int = 0
    divides: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A set, ready to be measured.

    Attributes:
        samples: The samples that are used.
        found: How many there were.
        note: What was done to them, in words, or nothing.
        rest: Those that were found and are not used, or None.
        labels: The groups that the user gave, shape ``(n,)``, or None.
    """

    samples: Samples
    found: int
    note: str = ""
    rest: Source | None = None
    labels: Tensor | None = None

    @property
    def n(self) -> int:
        """How many samples are used."""
        return len(self.samples.source)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some samples of a set, or all.

    Attributes:
        whole: The set.
        places: Which of its samples, shape ``(n,)``, or None for all in their order.
    """

    whole: Chosen
    places: Tensor | None = None

    @property
    def n(self) -> int:
        """How many samples there are."""
        return self.whole.n if self.places is None else len(self.places)

    @property
    def source(self) -> Source:
        """The samples."""
        source = self.whole.samples.source
        return source if self.places is None else Subset(source, self.places)

    @property
    def space(self) -> Space:
        """What one sample is."""
        return self.whole.samples.space

    @property
    def labels(self) -> Tensor | None:
        """The groups that the user gave, shape ``(n,)``, or None."""
        labels = self.whole.labels
        return labels if labels is None or self.places is None else labels[self.places]

    def digests(self) -> Tensor:
        """Returns a number for each sample, equal where samples are, shape ``(n,)``."""
        return digests(self.source, self.space)

    def groups(self, others: Sequence[Tensor]) -> Tensor | None:
        """Returns which samples belong together, shape ``(n,)``; None where none do.

        Those that the user grouped, and those that are one sample twice.

        Args:
            others: The digests of sets that were drawn apart from this one.
        """
        return joined(self.labels, duplicates(self.digests(), others))


@lru_cache(maxsize=64)
def real_set(asked: Asked) -> Chosen:
    """Returns the reference."""
    samples = _found(asked, asked.real, "real")
    return _chosen(asked, asked.real, samples, "real", samples.note)


@lru_cache(maxsize=64)
def other_set(asked: Asked, text: str, role: Role) -> Chosen:
    """Returns another set, as samples of the space of the reference.

    Of fakes, of the training and of the control, which is of the role ``real``.

    Raises:
        UserError: If they cannot be found or compared with the reference.
    """
    samples, note = alike(_found(asked, text, role), real_set(asked).samples)
    return _chosen(asked, text, samples, role, note)


def whole_set(asked: Asked, text: str) -> Samples:
    """Returns all samples of a set in their order, as samples of the space of the reference."""
    return alike(found_samples(asked, text, "fake"), real_set(asked).samples)[0]


def found_samples(asked: Asked, text: str, role: Role) -> Samples:
    """Returns all samples that a word means, as they are in their files."""
    return find_samples(text, role, data_seed=asked.data_seed, skip_bad=asked.skip_bad)


def train_set(asked: Asked) -> Chosen | None:
    """Returns what the models learned from, where it is known."""
    return None if asked.train is None else other_set(asked, asked.train, "train")


def drawn_apart(asked: Asked, *, from_fakes: bool) -> list[Tensor]:
    """Returns the digests of the sets that fakes, or real samples, were drawn apart from."""
    if from_fakes:
        return [Part(whole=other_set(asked, f, "fake")).digests() for f in asked.fakes]
    return [Part(whole=real_set(asked)).digests()]


def fake_sizes(asked: Asked) -> list[int]:
    """Returns the sizes of the sets to judge, each once, in ascending order."""
    return sorted({other_set(asked, f, "fake").n for f in asked.fakes})


def _found(asked: Asked, text: str, role: Role) -> Samples:
    """Returns the samples of a set; a column that names groups is no part of them."""
    name, where = named(text)
    column = column_of(asked.groups, text, role)
    if column is None:
        return found_samples(asked, text, role)
    spec = Spec.parse(where) if ":path=" in where else Spec("table", {"path": where})
    apart = str(Spec(spec.name, {**spec.options, "label": column}))
    found = found_samples(asked, apart, role)
    called = Path(where).name if name == where and ":path=" not in where else name
    return replace(found, name=called)


def _chosen(asked: Asked, text: str, samples: Samples, role: Role, note: str = "") -> Chosen:
    most = _TRAINING if role == "train" and asked.samples is not None else asked.samples
    n = len(samples.source)
    if n == 0:
        raise UserError(f"{samples.name} holds no samples.")
    kind = "control" if role == "real" and text != asked.real else role
    labels = labels_of(asked.groups, text, kind, n) if asked.groups else None
    if most is None or n <= most:
        return Chosen(samples=samples, found=n, note=note, labels=labels)
    kept = some(n, most, rng=Rng(asked.seed).stream(f"thin/{kind}"))
    left = torch.ones(n, dtype=torch.bool).index_fill(0, kept, value=False)
    return Chosen(
        samples=replace(samples, source=Subset(samples.source, kept)),
        found=n,
        note=note,
        rest=Subset(samples.source, left.nonzero()[:, 0]),
        labels=None if labels is None else labels[kept],
    )
