"""Train, validation and test splits, disjoint and determined by a seed."""

import csv
import os
import stat
import struct
import tarfile
import tokenize
import wave
import zipfile
import zlib
from collections.abc import Callable, Generator, Hashable, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantlet.compute.machine import memory
from gantlet.core.data import InMemory, Kind, Source, Space, Splits, groups_of, notes_of
from gantlet.core.errors import UserError, input_errors
from gantlet.core.rng import Rng

# ----------------------------------------------------------------------------
# Common checks of file readers.
# ----------------------------------------------------------------------------

Array = NDArray[Any]

K = TypeVar("K", bound=Hashable)
P = ParamSpec("P")
T = TypeVar("T")

_ROWS = 4096

PARSER_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    MemoryError,
    EOFError,
    OverflowError,
    RecursionError,
    SyntaxError,
    UnicodeError,
    csv.Error,
    struct.error,
    tarfile.TarError,
    tokenize.TokenError,
    wave.Error,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions raised by file parsers, and rarely by programming errors."""


def finite(array: Array, where: Path | str) -> Array:
    """Returns ``array``, shape ``(n, ...)``, checked for NaN and infinity.

    Raises:
        UserError: If there are any; it says how many, and where the first is.
    """
    if array.dtype.kind != "f":
        return array
    bad, first = 0, ""
    for start in range(0, len(array), _ROWS):
        wrong = np.argwhere(~np.isfinite(array[start : start + _ROWS]))
        if len(wrong) and not bad:
            sample, *place = wrong[0].tolist()
            first = f"sample {start + sample}, component {tuple(place)}"
        bad += len(wrong)
    if bad:
        raise UserError(
            f"{where} holds {bad} NaN or infinite values of {array.size}, the first in {first} "
            "(counted from 0). Remove or fill them."
        )
    return array


@contextmanager
def readable(path: Path, kind: str, errors: tuple[type[Exception], ...] = ()) -> Generator[None]:
    """Converts errors caused by a damaged or foreign file at ``path`` to one ``UserError``.

    Args:
        path: The file.
        kind: What it should be, in words.
        errors: Not needed: every exception that a parser raises is meant.

    Raises:
        UserError: In place of any exception.
    """
    del errors
    with input_errors(path, kind):
        yield


def path_exists(path: Path) -> bool:
    """Returns whether a file or folder exists.

    Raises:
        UserError: If it cannot be accessed, or is a pipe, a socket or a device.
    """
    with input_errors(path):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
        except ValueError:  # a name with a null byte
            return False
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return True
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    what = next((name for test, name in kinds if test(mode)), "a device")
    raise UserError(f"{path} is {what}. Samples are read from files and folders; save it as one.")


def is_file(path: Path) -> Path:
    """Returns ``path``, checked to be an existing file.

    Raises:
        UserError: If there is none, or it is a pipe or a device.
    """
    if not path_exists(path):
        raise UserError(f"No file {path}. Check the path.")
    if path.is_dir():
        raise UserError(f"{path} is a folder. A file is needed.")
    return path


def stamp_of(path: Path) -> tuple[int, int]:
    """Returns when a file was last changed, and its size.

    Raises:
        UserError: If there is no such file.
    """
    found = is_file(path).stat()
    return found.st_mtime_ns, found.st_size


def read_once(
    most: int, stamp: Callable[[K], Hashable]
) -> Callable[[Callable[Concatenate[K, P], T]], Callable[Concatenate[K, P], T]]:
    """Decorates a function that reads files: it reads them again only once they have changed.

    Args:
        most: How many results are kept, those used last.
        stamp: Returns what changes with the files that the first argument names.
    """

    def decorated(read: Callable[Concatenate[K, P], T]) -> Callable[Concatenate[K, P], T]:
        def stamped(where: K, _stamp: Hashable, *args: P.args, **kwargs: P.kwargs) -> T:
            return read(where, *args, **kwargs)

        kept: Callable[..., T] = lru_cache(maxsize=most)(stamped)

        @wraps(read)
        def found(where: K, /, *args: P.args, **kwargs: P.kwargs) -> T:
            return kept(where, stamp(where), *args, **kwargs)

        return found

    return decorated


def is_folder(path: Path) -> Path:
    """Returns ``path``, checked to be an existing folder.

    Raises:
        UserError: If there is none, or it may not be listed.
    """
    if not path_exists(path) or not path.is_dir():
        raise UserError(f"No folder {path}. Check the path.")
    with input_errors(path, "a folder"):
        os.scandir(path).close()
    return path


def most_bytes() -> int:
    """Returns the maximum size of one unpacked input: half of the memory, in bytes."""
    return memory() // 2


def check_size(path: Path | str, claimed: int) -> None:
    """Checks the declared size of an input before it is unpacked.

    Args:
        path: The input.
        claimed: Its bytes once unpacked, as its header says.

    Raises:
        UserError: If that is more than half of the memory; it says the bound.
    """
    bound = most_bytes()
    if claimed > bound:
        raise UserError(
            f"{path} would take {claimed / 2**30:,.1f} GB once unpacked, more than half of the "
            f"memory ({bound / 2**30:.1f} GB). Give a part of it, or a .npy file, which is read "
            "from disk as it is needed."
        )


def same_length(x: Array, labels: Array | None, where: Path) -> None:
    """Checks that every sample has one label.

    Raises:
        UserError: If there are more labels than samples, or fewer.
    """
    if labels is not None and (labels.ndim != 1 or len(labels) != len(x)):
        raise UserError(
            f"The labels {where} must have shape ({len(x)},), one for each sample. "
            f"Got {labels.shape}."
        )


# ----------------------------------------------------------------------------
# Arrays of samples and their spaces.
# ----------------------------------------------------------------------------

Layout = Literal["auto", "nd", "nhw", "nhwc", "nchw"]

_DIMENSIONS = {"nd": 2, "nhw": 3, "nhwc": 4, "nchw": 4}
_MOST_LEVELS = 65536


@final
class ArraySplit:
    """A split that is held as a NumPy array, in memory or mapped from disk.

    Args:
        array: The samples, shape ``(n, *space.shape)``, of any number type.
        labels: The class of each sample, shape ``(n,)``.
        notes: What was skipped, converted or inferred from the files.
    """

    def __init__(
        self, array: Array, labels: Array | None = None, notes: Sequence[str] = ()
    ) -> None:
        self.array = array
        self.notes = notes
        self._labels = None if labels is None else torch.from_numpy(labels.astype(np.int64))

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, shape ``(n,)``."""
        return self._labels

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.array)

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index`` as float32."""
        return torch.from_numpy(self.array[index.numpy()].astype(np.float32))


def arranged(array: Array, layout: Layout, name: str) -> Array:
    """Returns a view of ``array`` as ``(n, d)`` or ``(n, channels, height, width)``.

    Raises:
        UserError: If the shape does not fit the layout, or could mean two things.
    """
    shape = "x".join(map(str, array.shape))
    known = layout if layout != "auto" else _guess(array.shape)
    if known is None:
        raise UserError(
            f"{name} has shape {shape}; samples are (n, d), (n, h, w), (n, h, w, c) or "
            "(n, c, h, w) with 1 or 3 channels. Give layout=nd, nhw, nhwc or nchw."
        )
    if array.ndim != _DIMENSIONS[known]:
        raise UserError(f"{name} has shape {shape}, which layout={layout} does not fit.")
    if not array.size:
        raise UserError(f"{name} has shape {shape}, which holds no values.")
    if known == "nhw":
        return array[:, None]
    return array.transpose(0, 3, 1, 2) if known == "nhwc" else array


def _guess(shape: tuple[int, ...]) -> Layout | None:
    match shape:
        case (_, _):
            return "nd"
        case (_, _, _):
            return "nhw"
        case (_, first, _, last) if (first in {1, 3}) != (last in {1, 3}):
            return "nchw" if first in {1, 3} else "nhwc"
        case _:
            return None


def space_of(array: Array, levels: int | None, name: str) -> Space:
    """Returns the space of the samples of ``array``, as ``arranged`` returned it.

    Whole numbers are levels: bytes have 256, other integers as many as the largest asks for.

    Args:
        array: The samples.
        levels: Number of levels, or None to infer it.
        name: What to call the array in messages.

    Raises:
        UserError: If the numbers are not levels, or not numbers.
    """
    if array.dtype.kind not in "buif":
        raise UserError(f"{name} holds {array.dtype}. Numbers are needed.")
    kind: Kind = "image" if array.ndim == 4 else "vector"
    if levels is None and array.dtype.kind != "f":
        levels = _levels(array, name)
    elif levels is not None:
        _check_levels(array, levels, name)
    return Space(kind, array.shape[1:], levels)


def _levels(array: Array, name: str) -> int:
    if array.dtype == np.bool_:
        return 2
    if array.dtype == np.uint8:
        return 256
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= _MOST_LEVELS:
        raise UserError(
            f"{name} holds whole numbers from {low} to {high}, which cannot be levels "
            f"(0 to at most {_MOST_LEVELS - 1}). Save them as floating point numbers."
        )
    return max(high + 1, 2)


def _check_levels(array: Array, levels: int, name: str) -> None:
    low, high = array.min(), array.max()
    whole = array.dtype.kind != "f" or bool((array == np.rint(array)).all())
    if low < 0 or high >= levels or not whole:
        raise UserError(
            f"levels={levels} needs whole numbers from 0 to {levels - 1}. {name} holds "
            f"{'' if whole else 'other '}numbers from {low:g} to {high:g}."
        )


# ----------------------------------------------------------------------------
# Disjoint train, validation and test splits, determined by a seed.
# ----------------------------------------------------------------------------


@final
class Subset:
    """Some samples of another source, in a given order.

    Args:
        source: Where the samples are.
        index: Which of them, shape ``(n,)``.
    """

    def __init__(self, source: Source, index: Tensor) -> None:
        self.source = source
        self._index = index

    @property
    def places(self) -> Tensor:
        """Where the samples are in the other source, shape ``(n,)``."""
        return self._index

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, shape ``(n,)``, or None where the source has none."""
        labels = self.source.labels
        return None if labels is None else labels[self._index]

    @property
    def groups(self) -> Tensor | None:
        """The group of each sample, shape ``(n,)``, or None where the source has none."""
        groups = groups_of(self.source)
        return None if groups is None else groups[self._index]

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._index)

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index`` as float32."""
        return self.source.take(self._index[index])


@final
class WithLabels:
    """The samples of another source, with classes that are not in its files.

    Args:
        source: Where the samples are.
        labels: The class of each, shape ``(n,)``.
    """

    def __init__(self, source: Source, labels: Tensor) -> None:
        self._source = source
        self._labels = labels

    @property
    def labels(self) -> Tensor:
        """The class of each sample, shape ``(n,)``."""
        return self._labels

    @property
    def groups(self) -> Tensor | None:
        """The group of each sample, shape ``(n,)``, or None where the source has none."""
        return groups_of(self._source)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._source)

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index`` as float32."""
        return self._source.take(index)


@final
class Concatenated:
    """Several sources of one space, one after the other.

    Args:
        parts: The sources, at least one.
    """

    def __init__(self, *parts: Source) -> None:
        self._parts = parts
        self._starts = torch.tensor([0, *(len(p) for p in parts)]).cumsum(0)

    @property
    def labels(self) -> Tensor | None:
        """The class of each sample, shape ``(n,)``, or None where a part has none."""
        known = [labels for p in self._parts if (labels := p.labels) is not None]
        return torch.cat(known) if len(known) == len(self._parts) else None

    @property
    def groups(self) -> Tensor | None:
        """The group of each sample, shape ``(n,)``, or None where a part has none.

        Equal numbers are one group, in whichever parts they are.
        """
        known = [groups for p in self._parts if (groups := groups_of(p)) is not None]
        return torch.cat(known) if len(known) == len(self._parts) else None

    def __len__(self) -> int:
        """Number of samples."""
        return int(self._starts[-1])

    def take(self, index: Tensor) -> Tensor:
        """Returns the samples at ``index``, at least one, as float32."""
        home = torch.searchsorted(self._starts, index, right=True) - 1
        order = home.argsort(stable=True)
        places = index - self._starts[home]
        taken = [self._parts[i].take(places[home == i]) for i in sorted(set(home.tolist()))]
        return torch.cat(taken)[order.argsort()]


def cpu_stream(rng: Rng, name: str) -> torch.Generator:
    """Returns the stream ``name`` on the CPU, so that every device sees the same data."""
    return Rng(rng.seed).stream(name)


def random_split(
    source: Source, *, validation: float, test: float, limit: int | None, rng: Rng
) -> Splits:
    """Returns ``source`` in three splits, shuffled by the seed of ``rng``.

    Args:
        source: All samples.
        validation: Share of the samples for validation; at least one sample.
        test: Share of the samples for the test; at least one sample.
        limit: Most samples for training, or None.
        rng: Its stream "split" decides.

    Raises:
        UserError: If there are too few samples for three splits.
    """
    n = len(source)
    v, t = max(1, round(validation * n)), max(1, round(test * n))
    kept, tested = _cut(n, t, rng)
    trained, validated = kept[: len(kept) - v][:limit], kept[len(kept) - v :]
    if n < 3 or not len(trained):
        raise UserError(
            f"Three splits need samples for each. Got {n} samples for {v} of validation, {t} of "
            "test and the rest for training; add samples or lower the shares."
        )
    return Splits(
        train=Subset(source, trained),
        validation=Subset(source, validated),
        test=Subset(source, tested),
        note=sentences(
            f"{len(trained)} train, {v} validation and {t} test samples of {n}, "
            f"drawn by seed {rng.seed}",
            source,
        ),
        notes=notes_of(source),
    )


def published_split(
    train: Source, test: Source, *, validation: int, limit: int | None, rng: Rng
) -> Splits:
    """Returns splits that keep a test set as it was published.

    Args:
        train: The published training set, from which validation is taken.
        test: The published test set.
        validation: How many samples of ``train`` become validation.
        limit: Most samples for training, or None.
        rng: Its stream "split" decides which samples of ``train`` validate.

    Raises:
        UserError: If too few samples are left for training, or none for the test.
    """
    if not len(test):
        raise UserError("The test set holds no samples.")
    if validation < 1 or len(train) <= validation:
        raise UserError(
            f"validation must be from 1 to {len(train) - 1}, as the training set holds "
            f"{len(train)} samples. Got {validation}."
        )
    kept, validated = _cut(len(train), validation, rng)
    trained = kept[:limit]
    return Splits(
        train=Subset(train, trained),
        validation=Subset(train, validated),
        test=test,
        note=sentences(
            f"{len(trained)} train and {validation} validation samples, drawn by seed {rng.seed} "
            f"from the {len(train)} training samples; the {len(test)} test samples are fixed",
            train,
            test,
        ),
        notes=notes_of(train, test),
    )


def sentences(note: str, *sources: Source) -> str:
    """Returns the notes on splits and their files, as sentences."""
    return " ".join(f"{part}." for part in (note, *notes_of(*sources)))


def _cut(n: int, held_out: int, rng: Rng) -> tuple[Tensor, Tensor]:
    order = torch.randperm(n, generator=cpu_stream(rng, "split"))
    return order[: max(n - held_out, 0)], order[max(n - held_out, 0) :]


Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]]


def drawn(draw: Draw, *, n: int, held_out: int, rng: Rng) -> Splits:
    """Returns independent draws of a known distribution as splits.

    Each split has its own stream, so the test set does not depend on ``n``.

    Args:
        draw: Returns that many samples and their classes.
        n: How many training samples.
        held_out: How many samples each for validation and test.
        rng: Its streams "split/train", "split/validation" and "split/test" decide.
    """

    def split(name: str, size: int) -> InMemory:
        x, labels = draw(size, cpu_stream(rng, f"split/{name}"))
        return InMemory(x.float(), labels)

    return Splits(
        train=split("train", n),
        validation=split("validation", held_out),
        test=split("test", held_out),
        note=f"{n} train, {held_out} validation and {held_out} test samples, drawn "
        f"independently by seed {rng.seed} from a known distribution.",
    )
