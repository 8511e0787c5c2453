"""Sound files: what is in them, and clips of one length."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.code import Code
from gantlet.core.errors import UserError
from gantlet.core.space import Space
from gantlet.data.checks import Array, readable
from gantlet.data.folders import SOUNDS, Found, Unreadable, counted, listed, sounds_in

MOST_NUMBERS = 2**29
"""How much sound is held in memory: two gigabytes."""

_OPEN, _ENDLESS = 2**31 - 2**16, 2**60


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
    """

    def __init__(self, recordings: Recordings, length: int) -> None:
        self._recordings, self._length = recordings, length
        self.names, self.notes = recordings.names, recordings.notes

    @property
    def labels(self) -> None:
        """Recordings have no classes."""

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


def recordings(path: Path, *, skip: int = 0) -> Recordings:
    """Returns what is recorded in a folder, or an archive, of sound files.

    Args:
        path: The folder or the archive.
        skip: So many files that cannot be read are left out.

    Raises:
        UserError: If there are none, more cannot be read, or their rates differ.
    """
    if path.is_dir():
        found = sounds_in(path)
        stamp = tuple(p.stat().st_mtime_ns for p in found.files)
        return _read_once(found, stamp, skip)
    if path.is_file():
        return _read_once(path, (path.stat().st_mtime_ns, path.stat().st_size), skip)
    raise UserError(f"{path} does not exist. Give a folder or a tar file of sound files.")


@lru_cache(maxsize=3)
def _read_once(where: Path | Found, _stamp: tuple[int, ...], skip: int) -> Recordings:
    path = where if isinstance(where, Path) else where.folder
    all_of_it, bad = _Collected(path), Unreadable(skip)
    for name, raw in _files(where):
        try:
            part = _decoded(f"{path}: {name}", raw)
        except UserError as error:
            bad.add(name, error)
            continue
        all_of_it.add(name, *part)
    if not all_of_it.parts:
        what = f" ({'; '.join(where.notes)})" if isinstance(where, Found) and where.notes else ""
        raise UserError(f"{path} holds no sound files{what}. Give files such as .wav or .flac.")
    notes = where.notes if isinstance(where, Found) else ()
    return all_of_it.recordings((*notes, *bad.notes))


@final
class _Collected:
    """Sounds of one rate, one after the other."""

    def __init__(self, path: Path) -> None:
        self.parts: list[Array] = []
        self._path = path
        self._names: list[str] = []
        self._mixed: list[str] = []
        self._rate = 0
        self._room = MOST_NUMBERS

    def add(self, name: str, rate: int, sound: Array) -> None:
        """Adds a sound, shape ``(numbers, channels)``."""
        if self._rate and rate != self._rate:
            raise UserError(
                f"{self._path}: {name} has {rate} numbers a second, those before {self._rate}. "
                "Bring all to one rate."
            )
        if not len(sound):
            raise UserError(f"{self._path}: {name} holds no sound. Remove it.")
        self._room -= len(sound)
        if self._room < 0:
            raise UserError(
                f"{self._path} holds more than {MOST_NUMBERS:,} numbers of sound, the most that "
                "is read. Give fewer or shorter files."
            )
        if sound.shape[1] > 1:
            self._mixed.append(name)
        self._rate = rate
        self._names.append(name)
        self.parts.append(sound.mean(1, dtype=np.float32))

    def recordings(self, notes: Sequence[str]) -> Recordings:
        """Returns all of them."""
        if self._mixed:
            told = counted(len(self._mixed), "file has", "files have")
            mixed = f"{told} several channels, which were averaged: {listed(self._mixed)}"
            notes = (*notes, mixed)
        starts = np.cumsum([0, *map(len, self.parts)])
        names = tuple(str(PurePosixPath(n).with_suffix("")) for n in self._names)
        return Recordings(self._rate, np.concatenate(self.parts), starts, names, tuple(notes))


def _files(where: Path | Found) -> Iterator[tuple[str, bytes]]:
    """Yields the name and the content of each sound file."""
    if isinstance(where, Found):
        for file in where.files:
            with readable(file, "a sound file"):
                raw = file.read_bytes()
            yield file.relative_to(where.folder).as_posix(), raw
        return
    with readable(where, "a tar file of sound files"), tarfile.open(where) as archive:
        members = [m for m in archive.getmembers() if m.isfile() and _is_sound(m.name)]
        for member in sorted(members, key=lambda m: m.name):
            content = archive.extractfile(member)
            if content is not None:
                yield member.name, content.read()


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
    """Returns what a file holds, up to ``most`` numbers and one block."""
    parts: list[Array] = []
    while sum(map(len, parts)) <= most:
        parts.append(file.read(2**20, dtype="float32", always_2d=True))
        if not len(parts[-1]):
            break
    return np.concatenate(parts)


def _claimed(raw: bytes) -> int:
    """Returns how many numbers the header of a wav file tells, or 0 where it does not.

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
