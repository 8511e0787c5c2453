"""Spaces, data sets and their splits."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, TypeAlias, final, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng

# ----------------------------------------------------------------------------
# Sample spaces.
# ----------------------------------------------------------------------------

Kind: TypeAlias = str
"""What a sample stands for: "vector", "image", "tokens", "audio", "graph", "table", or the kind of
a plug-in."""


@final
@dataclass(frozen=True, slots=True)
class Part:
    """Components of a sample, side by side, that stand for one thing.

    Attributes:
        kind: "number" is any real number, "flag" a number that is 0 or 1, "category" the
            indicators of a category: one of them is 1, the others are 0.
        width: How many components it has; 1 but for categories.
    """

    kind: Literal["number", "flag", "category"]
    width: int = 1


@final
@dataclass(frozen=True, slots=True)
class Space:
    """The kind and shape of one sample.

    A sample of a discrete space is a floating point tensor of integers ``0 .. levels - 1``:
    a grey image with 256 levels holds 0., 1., ..., 255. A continuous space (``levels`` None)
    holds any finite numbers. Conditions have a space too: classes are
    ``Space("vector", (), levels)``, one number per sample.

    Attributes:
        kind: Kind of data.
        shape: The shape of one sample, without the batch; that of an image is
            ``(channels, height, width)``.
        levels: Number of values of a component, or None for continuous spaces.
        parts: What the components of a vector of mixed kinds stand for, in their order; empty
            where all are alike.
    """

    kind: Kind
    shape: tuple[int, ...]
    levels: int | None = None
    parts: tuple[Part, ...] = ()

    @property
    def size(self) -> int:
        """Number of components of a sample."""
        return math.prod(self.shape)

    @property
    def label(self) -> str:
        """The space as text, for messages.

        Example:
            >>> Space("image", (1, 8, 8), 17).label
            'image 1x8x8 with 17 levels'
        """
        shape = "x".join(map(str, self.shape)) or "of one number"
        return f"{self.kind} {shape}" + (f" with {self.levels} levels" if self.levels else "")

    def check(self, x: Tensor, name: str = "x") -> Tensor:
        """Returns ``x``, shape ``(n, *shape)``, validated.

        Raises:
            UserError: If ``x`` has another shape, is not floating point, holds NaN or infinity,
                or has values outside the levels of a discrete space.
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
        """Returns ``x`` for metrics and display: levels scaled to [0, 1], else unchanged."""
        return x if self.levels is None else x / max(self.levels - 1, 1)

    def raw(self, x: Tensor) -> Tensor:
        """Returns ``x`` before ``unit``: whole levels again, else unchanged."""
        return x if self.levels is None else (x * max(self.levels - 1, 1)).round()


# ----------------------------------------------------------------------------
# Data sets: three fixed splits of samples of one space.
# ----------------------------------------------------------------------------


@runtime_checkable
class Source(Protocol):
    """One split: samples that can be taken by index, from memory or from disk."""

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample as integers, shape ``(n,)``, or None."""
        ...

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index``, shape ``(len(index), *space.shape)``, as float32."""
        ...


@runtime_checkable
class Grouped(Protocol):
    """A source whose samples come in groups, such as several of one subject."""

    @property
    def groups(self) -> Tensor | None:
        """The group of each sample as integers, shape ``(n,)``, or None."""
        ...


@runtime_checkable
class Noted(Protocol):
    """A source with notes on its files."""

    @property
    def notes(self) -> Sequence[str]:
        """What was skipped, converted or inferred: one clause each, without full stop."""
        ...


@runtime_checkable
class Named(Protocol):
    """A source with named samples."""

    @property
    def names(self) -> Sequence[str]:
        """The name of each sample, such as its relative file path without suffix."""
        ...


def notes_of(*sources: Source) -> tuple[str, ...]:
    """Returns the notes of several sources, without duplicates."""
    notes = (note for source in sources if isinstance(source, Noted) for note in source.notes)
    return tuple(dict.fromkeys(notes))


@final
class InMemory:
    """A split held in memory as one tensor.

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
        """Number of samples."""
        return len(self._x)

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index`` as float32."""
        return self._x[index].float()


@final
@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples with their context and groups, kept row by row.

    Attributes:
        x: The samples, shape ``(n, *space.shape)``.
        context: Condition or label of each sample, shape ``(n, ...)``, or None.
        groups: Group of each sample as integers, shape ``(n,)``, or None: samples of one group,
            such as those of one subject, are not independent.

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
        """Checks that there is one row of each kind per sample."""
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
        """Number of samples."""
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


def all_samples(source: Source, limit: int | None = None) -> Tensor:
    """Returns all samples of a split, or its first ``limit``."""
    n = len(source) if limit is None else min(limit, len(source))
    return source.take(torch.arange(n))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The three disjoint splits.

    Attributes:
        train: Training samples.
        validation: Samples for early stopping and model selection.
        test: Samples for the report; used for nothing else.
        note: How the splits were made, in one sentence for the report.
        notes: What was skipped, converted or inferred from the files: one clause each.
        code: What the numbers of a sample stand for, where they are not plain numbers and it is
            known; an extractor may read samples by it.
    """

    train: Source
    validation: Source
    test: Source
    note: str = ""
    notes: Sequence[str] = ()
    code: "Code | None" = None


@runtime_checkable
class Dataset(Protocol):
    """Settings of a source of real samples; a frozen dataclass."""

    @property
    def space(self) -> Space:
        """Space of a sample."""
        ...

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits; the same ``rng`` seed always gives the same splits.

        Raises:
            UserError: If the data cannot be found or used.
        """
        ...


@runtime_checkable
class OwnFile(Dataset, Protocol):
    """Samples in files of the user, which can also be read unsplit and in order."""

    def whole(self) -> Source:
        """Returns all samples in file order.

        Raises:
            UserError: If the files cannot be found or used.
        """
        ...


@runtime_checkable
class KnownDensity(Dataset, Protocol):
    """A data set with known density."""

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the true normalized log-density of ``x`` in nats, shape ``(n,)``."""
        ...


@runtime_checkable
class KnownSupport(Dataset, Protocol):
    """A data set whose modes and support are known.

    Metrics of mode coverage follow from it: a sample is of high quality if it is on the support,
    and a mode is found if a sample of high quality belongs to it.
    """

    def modes_of(self, x: Tensor) -> Tensor:
        """Returns the nearest mode of each point of ``x``, int64, shape ``(n,)``."""
        ...

    def on_support(self, x: Tensor) -> Tensor:
        """Returns whether each point of ``x`` is on the support, bool, shape ``(n,)``.

        Of a Gaussian mode in the plane that is within three standard deviations of its centre.
        """
        ...

    @property
    def weights(self) -> Tensor:
        """True probability of each mode, shape ``(modes,)``, float64; they sum to 1."""
        ...

    @property
    def ceiling(self) -> float:
        """Share of the samples of the true distribution that ``on_support`` accepts."""
        ...


@runtime_checkable
class Separated(KnownSupport, Protocol):
    """A known support whose modes are apart, so that bounds for Lipschitz generators are known."""

    @property
    def gap(self) -> float:
        """Distance between points that ``on_support`` accepts of two modes, at least; 0 if none.

        Infinite for a single mode.
        """
        ...


# ----------------------------------------------------------------------------
# Encoding of samples that are not numeric in their files.
# ----------------------------------------------------------------------------


class Code(ABC):
    """An encoding of samples as numbers.

    Sets are comparable if they are encoded with the same code: that of the real samples.
    """

    @property
    @abstractmethod
    def space(self) -> Space:
        """Space of a sample."""

    def relearned(self, x: Tensor) -> Self:
        """Returns the code with its statistics re-estimated from ``x`` alone.

        The meaning of the numbers does not change: ``x``, shape ``(n, *space.shape)``, and all
        other samples remain samples of the new code. A code without statistics is returned
        unchanged.
        """
        del x
        return self


class Readable(Code):
    """A code whose samples can be decoded to text."""

    @abstractmethod
    def read(self, x: Tensor) -> Sequence[str]:
        """Decodes samples, shape ``(n, *space.shape)``, to one line of text each."""


@runtime_checkable
class PaddedEncoded(Protocol):
    """Files whose code is padded to the largest sample."""

    def roomy(self) -> Self:
        """Returns the same files with padding for larger samples, as other sets may hold."""
        ...


@runtime_checkable
class Encoded(OwnFile, Protocol):
    """Samples in files of the user that need an encoding."""

    def code(self, rows: Tensor | None = None) -> Code | None:
        """Returns the code for these files, or None if they are numeric.

        Args:
            rows: Indices of the samples from which it is estimated; None for all.

        Raises:
            UserError: If the files cannot be found or used.
        """
        ...

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[Source, str]:
        """Encodes all samples in file order; also returns a note on losses.

        Args:
            code: The code, of these files or of others.
            own: Indices of the samples from which it was estimated, if they are of these files.
                Each of them is encoded by a leave-one-out estimate, like a fresh sample, so that
                both are exchangeable if they come from one source.

        Raises:
            UserError: If the files do not match the code.
        """
        ...


# ----------------------------------------------------------------------------
# Smaller versions of large images.
# ----------------------------------------------------------------------------


def block_side(sides: Sequence[int], most: int) -> int:
    """Returns the side of square blocks of pixels whose averages are at most ``most`` a side.

    Example:
        >>> block_side((128, 100), 64), block_side((64, 64), 64), block_side((65, 20), 64)
        (2, 1, 2)
    """
    return -(-max(sides) // most)


def averaged(x: Tensor, most: int) -> Tensor:
    """Returns images with sides of at most ``most``, as averages of square blocks of pixels.

    Blocks at the right and lower edge may be smaller. Images that are small enough are unchanged.

    Args:
        x: Images, shape ``(n, c, h, w)``.
        most: The largest side.
    """
    side = block_side(x.shape[2:], most)
    if side == 1:
        return x
    return avg_pool2d(x, side, ceil_mode=True, count_include_pad=False)
