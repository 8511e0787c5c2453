"""Spaces, data sets and their splits."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias, final, runtime_checkable

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng

# ----------------------------------------------------------------------------
# What one sample is.
# ----------------------------------------------------------------------------

Kind: TypeAlias = str
"""What a sample stands for: "vector", "image", "tokens", "audio", "graph", "table", or the kind of
a plug-in."""


@final
@dataclass(frozen=True, slots=True)
class Space:
    """The kind and shape of one sample.

    A sample of a discrete space is a floating point tensor of whole numbers ``0 .. levels - 1``:
    a grey image with 256 levels holds 0., 1., ..., 255. A continuous space (``levels`` None)
    holds any finite numbers. What samples are conditioned on has a space too: classes are
    ``Space("vector", (), levels)``, one number for each sample.

    Attributes:
        kind: What a sample stands for.
        shape: The shape of one sample, without the batch; that of an image is
            ``(channels, height, width)``.
        levels: How many values a component can take, or None where it is continuous.
    """

    kind: Kind
    shape: tuple[int, ...]
    levels: int | None = None

    @property
    def size(self) -> int:
        """How many components one sample has."""
        return math.prod(self.shape)

    @property
    def label(self) -> str:
        """The space in words, for messages.

        Example:
            >>> Space("image", (1, 8, 8), 17).label
            'image 1x8x8 with 17 levels'
        """
        shape = "x".join(map(str, self.shape)) or "of one number"
        return f"{self.kind} {shape}" + (f" with {self.levels} levels" if self.levels else "")

    def check(self, x: Tensor, name: str = "x") -> Tensor:
        """Returns ``x``, shape ``(n, *shape)``, having checked it.

        Raises:
            UserError: If ``x`` is of another shape, is not floating point, holds NaN or infinity,
                or leaves the levels of a discrete space.
        """
        if tuple(x.shape[1:]) != self.shape or x.ndim != len(self.shape) + 1:
            wanted = ", ".join(("n", *map(str, self.shape)))
            wanted += "" if self.shape else ","
            raise UserError(f"{name} must have shape ({wanted}). Got {tuple(x.shape)}.")
        if not x.is_floating_point():
            raise UserError(f"{name} must be floating point. Got {x.dtype}; call .float() first.")
        bad = int((~x.isfinite()).unsqueeze(-1).flatten(1).any(1).sum())
        if bad:
            raise UserError(f"{bad} of the {len(x)} samples of {name} hold NaN or infinity.")
        if self.levels is not None:
            self._check_levels(x, name)
        return x

    def _check_levels(self, x: Tensor, name: str) -> None:
        top = (self.levels or 1) - 1
        if len(x) and bool(((x < 0) | (x > top) | (x != x.round())).any()):
            raise UserError(
                f"{name} must hold whole numbers from 0 to {top}. "
                f"Got values from {float(x.min()):g} to {float(x.max()):g}."
            )

    def unit(self, x: Tensor) -> Tensor:
        """Returns ``x`` as metrics and eyes want it: levels scaled to [0, 1], else unchanged."""
        return x if self.levels is None else x / max(self.levels - 1, 1)


# ----------------------------------------------------------------------------
# What a data set is: three fixed splits of samples of one space.
# ----------------------------------------------------------------------------


@runtime_checkable
class Source(Protocol):
    """One split: samples that can be taken by index, from memory or from disk."""

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample as integers, shape ``(n,)``, or None where there is none."""
        ...

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index``, shape ``(len(index), *space.shape)``, as float32."""
        ...


@runtime_checkable
class Grouped(Protocol):
    """A source whose samples come in groups, such as several of one subject."""

    @property
    def groups(self) -> Tensor | None:
        """The group of each sample as integers, shape ``(n,)``, or None where there is none."""
        ...


@runtime_checkable
class Noted(Protocol):
    """A source that has something to say of the files behind it."""

    @property
    def notes(self) -> Sequence[str]:
        """What was left out, converted or guessed, in words: a clause each, without full stop."""
        ...


@runtime_checkable
class Named(Protocol):
    """A source each of whose samples has a name in the files behind it."""

    @property
    def names(self) -> Sequence[str]:
        """The name of each sample, such as that of its file below its folder, without ending."""
        ...


def notes_of(*sources: Source) -> tuple[str, ...]:
    """Returns what sources have to say of the files behind them, each thing once."""
    told = (note for source in sources if isinstance(source, Noted) for note in source.notes)
    return tuple(dict.fromkeys(told))


@final
class InMemory:
    """A split that is held as one tensor.

    Args:
        x: The samples, shape ``(n, *space.shape)``; bytes are converted when they are taken.
        labels: The class of each sample, shape ``(n,)``.
        groups: The group of each sample as integers, shape ``(n,)``.
    """

    def __init__(
        self, x: Tensor, labels: Tensor | None = None, groups: Tensor | None = None
    ) -> None:
        self._x = x
        self._labels = labels
        self._groups = groups

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, shape ``(n,)``."""
        return self._labels

    @property
    def groups(self) -> Tensor | None:
        """The group of each sample, shape ``(n,)``."""
        return self._groups

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._x)

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index`` as float32."""
        return self._x[index].float()


@final
@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples with what belongs to each: rows that are never torn apart.

    Attributes:
        x: The samples, shape ``(n, *space.shape)``.
        context: What each is conditioned on or labelled with, shape ``(n, ...)``, or None.
        groups: The group of each as integers, shape ``(n,)``, or None: samples of one group, such
            as those of one subject, are not independent.

    Raises:
        UserError: If lengths differ, or groups are not one integer for each sample.

    Example:
        >>> both = Samples(torch.eye(3), context=torch.tensor([0.0, 1.0, 2.0]))
        >>> both[torch.tensor([2, 0])].context
        tensor([2., 0.])
    """

    x: Tensor
    context: Tensor | None = None
    groups: Tensor | None = None

    def __post_init__(self) -> None:
        """Checks that there is one row of each kind for each sample."""
        for name, rows in (("context", self.context), ("groups", self.groups)):
            if rows is not None and (not rows.ndim or len(rows) != len(self.x)):
                raise UserError(
                    f"{name} must have one row for each of {len(self.x)} samples. "
                    f"Got shape {tuple(rows.shape)}."
                )
        groups = self.groups
        if groups is not None and (groups.ndim != 1 or groups.is_floating_point()):
            raise UserError(
                "groups must be one integer for each sample, shape (n,). "
                f"Got {groups.dtype} of shape {tuple(groups.shape)}."
            )

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.x)

    def __getitem__(self, index: Tensor | slice) -> "Samples":
        """Returns the rows at ``index``: integers, a mask, or a slice."""
        context, groups = (None if t is None else t[index] for t in (self.context, self.groups))
        return Samples(self.x[index], context, groups)


def rows(source: Source, index: Tensor) -> Samples:
    """Returns the samples at ``index`` with their class as context, and their group.

    Classes are float32, as a model's context is.
    """
    labels = source.labels
    groups = groups_of(source)
    return Samples(
        x=source.take(index),
        context=None if labels is None else labels[index].float(),
        groups=None if groups is None else groups[index],
    )


def groups_of(source: Source) -> Tensor | None:
    """Returns the group of each sample of ``source``, shape ``(n,)``, or None."""
    return source.groups if isinstance(source, Grouped) else None


def everything(source: Source, limit: int | None = None) -> Tensor:
    """Returns all samples of a split, or its first ``limit``."""
    n = len(source) if limit is None else min(limit, len(source))
    return source.take(torch.arange(n))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The three splits, which never share a sample.

    Attributes:
        train: What models learn from.
        validation: What stopping and selection look at.
        test: What reports are made from; touched by nothing else.
        note: How the splits were made, in one sentence for the report.
        notes: What was left out of the files, converted or guessed: a clause each.
    """

    train: Source
    validation: Source
    test: Source
    note: str = ""
    notes: Sequence[str] = ()


@runtime_checkable
class Dataset(Protocol):
    """Settings of one source of real samples; a frozen dataclass."""

    @property
    def space(self) -> Space:
        """What one sample is."""
        ...

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits; the same ``rng`` seed always gives the same splits.

        Raises:
            UserError: If the data cannot be found or used.
        """
        ...


@runtime_checkable
class OwnFile(Dataset, Protocol):
    """Samples in the user's own files, which may be wanted whole and in their order."""

    def whole(self) -> Source:
        """Returns all samples in the order of the files.

        Raises:
            UserError: If the files cannot be found or used.
        """
        ...


@runtime_checkable
class Known(Dataset, Protocol):
    """A data set whose true density is known."""

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the true log-density of ``x`` in nats, shape ``(n,)``, normalised."""
        ...


# ----------------------------------------------------------------------------
# How samples that are no numbers in their files become numbers, and are read again.
# ----------------------------------------------------------------------------


class Code(ABC):
    """What the numbers of a sample stand for.

    Sets can be compared where they are written in one code: that of the real samples.
    """

    @property
    @abstractmethod
    def space(self) -> Space:
        """What one sample is."""

    def relearned(self, x: Tensor) -> Self:
        """Returns the code with all that it knows of a distribution learned from ``x`` alone.

        What the numbers of a sample stand for stays, so that ``x``, shape ``(n, *space.shape)``,
        and all others are samples of the new code too. A code that knows nothing of a distribution
        is returned as it is.
        """
        del x
        return self


class Readable(Code):
    """A code whose samples people read as text."""

    @abstractmethod
    def read(self, x: Tensor) -> Sequence[str]:
        """Returns samples, shape ``(n, *space.shape)``, as one line of text each."""


@runtime_checkable
class Roomy(Protocol):
    """Files whose code has a size, that of the largest sample."""

    def roomy(self) -> Self:
        """Returns the same files with room for larger samples: those of other sets may be."""
        ...


@runtime_checkable
class Coded(OwnFile, Protocol):
    """Samples in the user's own files that only a code makes comparable."""

    def code(self, rows: Tensor | None = None) -> Code | None:
        """Returns the code that these files ask for, or None where they hold plain numbers.

        Args:
            rows: The samples that it is learned from, by their places in the files; None for all.

        Raises:
            UserError: If the files cannot be found or used.
        """
        ...

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[Source, str]:
        """Returns all samples in a code, in their order, and what was lost, in words.

        Args:
            code: The code, of these files or of others.
            own: The places of the samples that it was learned from, where they are of these files.
                Each of them is written by what the others teach, as a fresh sample is: so both
                are alike if they come from one source.

        Raises:
            UserError: If the files do not hold what the code is for.
        """
        ...
