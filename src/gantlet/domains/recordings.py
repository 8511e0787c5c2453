"""Sound files: what is in them, and clips of one length."""

import bz2
import gzip
import io
import lzma
import math
import tarfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, TypeAlias, final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Code, Space
from gantlet.core.errors import UserError
from gantlet.data.arrays import SOUNDS, FolderContents, Unreadable, audio_files, counted, listed
from gantlet.data.splits import Array, check_size, read_once, readable, stamp_of

MOST_NUMBERS = 2**29
"""How much sound is held in memory: two gigabytes."""

LONGEST = 65_536
"""The most numbers of a clip unless a length is given."""

_OPEN, _ENDLESS = 2**31 - 2**16, 2**60
_NUMBER = 4  # bytes of a number that is held
_ENTRY = 2**10  # bytes that the entry of a file in an archive takes, at least
_PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


@final
@dataclass(frozen=True, slots=True, eq=False)
class AudioCode(Code):
    """The form of clips.

    Attributes:
        rate: How many numbers make a second.
        length: How many numbers a clip has.
    """

    rate: int
    length: int

    @property
    @override
    def space(self) -> Space:
        """One channel of numbers in [-1, 1]."""
        return Space("audio", (1, self.length))

    @property
    def room(self) -> int:
        """For how long clips there is room where those twice as long are not cut, up to 65,536."""
        return max(self.length, min(2 * self.length, LONGEST))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """What sound files hold, one after the other.

    Attributes:
        rate: How many numbers make a second.
        sound: All of it, in [-1, 1], shape ``(numbers,)``.
        starts: Where each file starts, and the end of the last.
        names: What each file is called, without ending.
        notes: What was not read, or not as it is.
    """

    rate: int
    sound: Array
    starts: Array
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def lengths(self) -> Array:
        """How many numbers each file holds."""
        return np.diff(self.starts)


@final
class Clips:
    """Recordings cut to one length; silence is added to shorter ones.

    Args:
        recordings: The recordings.
        length: How many numbers a clip has.
        name: What they are called where it is said that some were cut.
        labels: The class of each, shape ``(n,)``, or None.
    """

    def __init__(
        self, recordings: Recordings, length: int, name: str, labels: Tensor | None = None
    ) -> None:
        self._recordings, self._length, self._name = recordings, length, name
        self._labels = labels
        self.names, self.notes = recordings.names, (*recordings.notes, *self.cut)

    @property
    def cut(self) -> tuple[str, ...]:
        """How many were longer, in words, or nothing."""
        n = int((self._recordings.lengths > self._length).sum())
        summary = (
            f"{counted(n, 'clip', 'clips')} of {self._name} {'is' if n == 1 else 'are'} longer"
        )
        return (f"{summary} than {self._length:,} numbers and cut there",) if n else ()

    @property
    def labels(self) -> Tensor | None:
        """The class of each, shape ``(n,)``, or None where none is known."""
        return self._labels

    def __len__(self) -> int:
        """How many there are."""
        return len(self._recordings.lengths)

    def take(self, index: Tensor) -> Tensor:
        """Returns the clips at ``index``, shape ``(len(index), 1, length)``."""
        x = np.zeros((len(index), 1, self._length), np.float32)
        starts, sound = self._recordings.starts, self._recordings.sound
        for row, i in zip(x[:, 0], index.tolist(), strict=True):
            own = sound[starts[i] : min(starts[i + 1], starts[i] + self._length)]
            row[: len(own)] = own
        return torch.from_numpy(x)


LabelSource: TypeAlias = Literal["none", "folder", "name"]
"""Where classes come from: nowhere, the first sub-folder, or the file name up to the first _."""


def classes_of(names: Sequence[str], source: LabelSource, path: str) -> Tensor | None:
    """Returns the class of each file, in the order of the classes, shape ``(n,)``, or None.

    Classes that are all whole numbers are in their order, others in alphabetical order.

    Args:
        names: The names of the files, with folders and without ending.
        source: Where classes come from.
        path: Where the files are, for messages.

    Raises:
        UserError: If a name tells no class.

    Example:
        >>> classes_of(["a/10_x", "a/9_y", "a/9_z"], "name", "a").tolist()
        [1, 0, 0]
    """
    if source == "none":
        return None
    found = [_class_of(PurePosixPath(name), source, path) for name in names]
    is_whole = all(c.isdecimal() for c in found)
    known = sorted(set(found), key=lambda c: (int(c), c) if is_whole else (0, c))
    place = {c: i for i, c in enumerate(known)}
    return torch.tensor([place[c] for c in found])


def _class_of(name: PurePosixPath, source: LabelSource, path: str) -> str:
    if source == "name":
        first, mark, _ = name.name.partition("_")
        if first and mark:
            return first
        raise UserError(
            f"labels=name takes the class from before the first _ of a name, such as 7_anna.wav. "
            f"{path} has {name.name}; rename it, or give labels=folder or none."
        )
    if len(name.parts) < 2:
        raise UserError(
            f"labels=folder takes the class from the first sub-folder. {path} has {name.name} in "
            "none; move it, or give labels=name or none."
        )
    return name.parts[0]


def recordings(path: Path, *, skip: int = 0, rate: int | None = None) -> Recordings:
    """Returns the recordings in a folder, or an archive, of sound files.

    Args:
        path: The folder or the archive.
        skip: So many files that cannot be read are left out.
        rate: Numbers per second to which all are resampled; None reads files of one rate alone.

    Raises:
        UserError: If there are none, more cannot be read, or their rates differ.
    """
    if path.is_dir():
        return _recorded(audio_files(path), skip, rate)
    if path.is_file():
        return _recorded(path, skip, rate)
    raise UserError(f"{path} does not exist. Give a folder or a tar file of sound files.")


def _stamp(where: Path | FolderContents) -> tuple[int, ...]:
    if isinstance(where, Path):
        return stamp_of(where)
    return tuple(file.stat().st_mtime_ns for file in where.files)


@read_once(3, _stamp)
def _recorded(where: Path | FolderContents, skip: int, rate: int | None) -> Recordings:
    path = where if isinstance(where, Path) else where.folder
    all_of_it, bad = _Collected(path, rate), Unreadable(skip)
    for name, raw in _files(where):
        try:
            part = _decoded(f"{path}: {name}", raw)
        except UserError as error:
            bad.add(name, error)
            continue
        all_of_it.add(name, *part)
    if not all_of_it.parts:
        what = (
            f" ({'; '.join(where.notes)})"
            if isinstance(where, FolderContents) and where.notes
            else ""
        )
        raise UserError(f"{path} holds no sound files{what}. Give files such as .wav or .flac.")
    notes = where.notes if isinstance(where, FolderContents) else ()
    return all_of_it.recordings((*notes, *bad.notes))


@final
class _Collected:
    """Sounds of one rate, one after the other.

    Args:
        path: Where they are, for messages.
        rate: To what they are resampled, or None.
    """

    def __init__(self, path: Path, rate: int | None) -> None:
        self.parts: list[Array] = []
        self._path = path
        self._wanted = rate
        self._names: list[str] = []
        self._mixed: list[str] = []
        self._changed: list[str] = []
        self._rate = rate or 0
        self._size = 0

    def add(self, name: str, rate: int, sound: Array) -> None:
        """Adds a sound, shape ``(numbers, channels)``."""
        if self._rate and rate != self._rate and self._wanted is None:
            raise UserError(
                f"{self._path}: {name} has {rate} numbers a second, those before {self._rate}. "
                f"Give rate={self._rate} to resample all to one."
            )
        if not len(sound):
            raise UserError(f"{self._path}: {name} holds no sound. Remove it.")
        wanted = self._wanted or rate
        self._size += -(-len(sound) * wanted // rate)
        if self._size > MOST_NUMBERS:
            raise UserError(
                f"{self._path} holds more than {MOST_NUMBERS:,} numbers of sound, the most that "
                "is read. Give fewer or shorter files."
            )
        check_size(self._path, _NUMBER * self._size)
        if sound.shape[1] > 1:
            self._mixed.append(name)
        if rate != wanted:
            self._changed.append(name)
        self._rate = wanted
        self._names.append(name)
        self.parts.append(resampled(sound.mean(1, dtype=np.float32), rate, wanted))

    def recordings(self, notes: Sequence[str]) -> Recordings:
        """Returns all of them by their names: an archive has any order."""
        if self._mixed:
            count = counted(len(self._mixed), "file has", "files have")
            mixed = f"{count} several channels, which were averaged: {listed(sorted(self._mixed))}"
            notes = (*notes, mixed)
        if self._changed:
            count = counted(len(self._changed), "file was", "files were")
            changed = f"{count} resampled to {self._rate} numbers a second"
            notes = (*notes, f"{changed}: {listed(sorted(self._changed))}")
        order = sorted(range(len(self.parts)), key=lambda i: PurePosixPath(self._names[i]))
        parts = [self.parts[i] for i in order]
        starts = np.cumsum([0, *map(len, parts)])
        names = tuple(str(PurePosixPath(self._names[i]).with_suffix("")) for i in order)
        return Recordings(self._rate, np.concatenate(parts), starts, names, tuple(notes))


def resampled(sound: Array, rate: int, wanted: int) -> Array:
    """Returns a sound, shape ``(numbers,)``, at another rate, without aliasing, cut to [-1, 1].

    By a polyphase filter (``scipy.signal.resample_poly``).
    """
    if rate == wanted:
        return sound
    from scipy.signal import resample_poly

    shared = math.gcd(rate, wanted)
    found: Array = resample_poly(sound, wanted // shared, rate // shared)
    return found.clip(-1, 1).astype(np.float32)


def _files(where: Path | FolderContents) -> Iterator[tuple[str, bytes]]:
    """Yields the name and the content of each sound file."""
    if isinstance(where, FolderContents):
        for file in where.files:
            with readable(file, "a sound file"):
                check_size(file, file.stat().st_size)
                raw = file.read_bytes()
            yield file.relative_to(where.folder).as_posix(), raw
        return
    with readable(where, "a tar file of sound files"), _tar(where) as (archive, is_packed):
        # In the order of the archive, since going back means to unpack it again.
        for member in _members(where, archive, is_packed=is_packed):
            content = archive.extractfile(member)
            if content is not None:
                yield member.name, content.read()


@contextmanager
def _tar(path: Path) -> Generator[tuple[tarfile.TarFile, bool]]:
    """Opens a tar file, and tells whether it is packed."""
    with path.open("rb") as file:
        unpack = _PACKED.get(file.read(2))
        file.seek(0)
        stream: IO[bytes] = file if unpack is None else unpack(file)
        bounded: Any = _Bounded(path, stream)
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            yield archive, unpack is not None


def _members(path: Path, archive: tarfile.TarFile, *, is_packed: bool) -> list[tarfile.TarInfo]:
    """Returns the sound files of an archive; none of them is read yet.

    Raises:
        UserError: If they would take too much memory by what the archive says of them, or all
            files together where they must be unpacked to find the next.
    """
    found, claimed = list[tarfile.TarInfo](), 0
    for member in archive:
        is_wanted = member.isfile() and _is_sound(member.name)
        claimed += _ENTRY + (member.size if is_packed or is_wanted else 0)
        # The next is looked for behind this one, so it is checked first.
        check_size(path, claimed)
        found += [member] * is_wanted
    return found


@final
class _Bounded:
    """A file of which no more is read at a time than may be held: an entry can ask for more.

    Args:
        path: Where it is, for messages.
        file: The file, unpacked.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        """Returns the next ``size`` bytes, or those that are left.

        Raises:
            UserError: If that is more than half of the memory.
        """
        check_size(self._path, size)
        return self._file.read(size)


def _is_sound(name: str) -> bool:
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") and part not in {".", ".."} for part in parts)
    return not hidden and PurePosixPath(name).suffix.lower() in SOUNDS


def _decoded(name: str, raw: bytes) -> tuple[int, Array]:
    """Returns the rate and the sound in [-1, 1], shape ``(numbers, channels)``.

    Raises:
        UserError: If it is damaged, or is shorter than its header says.
    """
    import soundfile

    with readable(Path(name), "a sound file"), soundfile.SoundFile(io.BytesIO(raw)) as file:
        rate, claimed = int(file.samplerate), max(_claimed(raw), file.frames)
        most = MOST_NUMBERS // file.channels
        # A writer that could not go back leaves the length of a FLAC file open.
        is_open = file.frames > _ENDLESS
        if claimed > most and not is_open:
            raise UserError(
                f"{name} says that it holds {claimed:,} numbers in {file.channels} channels; at "
                f"most {MOST_NUMBERS:,} are read. Cut it."
            )
        check_size(name, 0 if is_open else _NUMBER * claimed * file.channels)
        sound = _blocks(file, most) if is_open else file.read(dtype="float32", always_2d=True)
        # How long an MP3 file is can be estimated only.
        if len(sound) < claimed and not is_open and file.format != "MP3":
            raise UserError(
                f"{name} is cut short: {len(sound):,} of the {claimed:,} numbers that its header "
                "tells. Repair it."
            )
    if not np.isfinite(sound).all():
        raise UserError(f"{name} holds NaN or infinite numbers. Repair it.")
    return rate, sound


def _blocks(file: Any, most: int) -> Array:
    """Returns the samples of a file, up to ``most`` numbers and one block."""
    parts: list[Array] = []
    while sum(map(len, parts)) <= most:
        parts.append(file.read(2**20, dtype="float32", always_2d=True))
        if not len(parts[-1]):
            break
    return np.concatenate(parts)


def _claimed(raw: bytes) -> int:
    """Returns the number of samples that the header of a wav file states, or 0 if it does not.

    The library that decodes them counts what is there.
    """
    if raw[:4] != b"RIFF" or raw[8:12] != b"WAVE":
        return 0
    place, width = 12, 0
    while place + 8 <= len(raw):
        name, size = raw[place : place + 4], int.from_bytes(raw[place + 4 : place + 8], "little")
        if name == b"fmt ":
            width = int.from_bytes(raw[place + 20 : place + 22], "little")
        if name == b"data":
            # A writer that could not go back leaves the largest number there.
            return size // width if width and size < _OPEN else 0
        place += 8 + size + size % 2
    return 0


def audio_code(code: object, name: str) -> AudioCode:
    """Returns ``code``, having checked that it is of sounds.

    Raises:
        UserError: If it is of something else.
    """
    if isinstance(code, AudioCode):
        return code
    raise UserError(f"{name} holds sounds; the real samples are none. Give samples of their kind.")
