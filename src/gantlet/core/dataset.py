"""What a data set is: three fixed splits of samples of one space."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor

from gantlet.core.rng import Rng
from gantlet.core.space import Space


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
    """

    def __init__(self, x: Tensor, labels: Tensor | None = None) -> None:
        self._x = x
        self._labels = labels

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, shape ``(n,)``."""
        return self._labels

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._x)

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index`` as float32."""
        return self._x[index].float()


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
