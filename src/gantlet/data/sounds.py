"""Sound files: what is in them, and clips of one length."""

import io
import re
import tarfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.code import Code
from gantlet.core.errors import UserError
from gantlet.core.space import Space
from gantlet.data.checks import Array, readable

_UNREADABLE = (OSError, EOFError, wave.Error, tarfile.TarError)


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
    """

    rate: int
    sound: Array
    starts: Array

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


def sound_files(folder: Path) -> list[Path]:
    """Returns the sound files in a folder and below, in the order of their names."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() == ".wav")
    return sorted(p for p in found if not p.name.startswith("."))


def recordings(path: Path) -> Recordings:
    """Returns what is recorded in a folder, or an archive, of sound files.

    Raises:
        UserError: If there are none, one cannot be read, or their rates differ.
    """
    if path.is_dir():
        stamp = tuple(p.stat().st_mtime_ns for p in sound_files(path))
    elif path.is_file():
        stamp = (path.stat().st_mtime_ns, path.stat().st_size)
    else:
        raise UserError(f"{path} does not exist. Give a folder or a tar file of wav files.")
    return _read_once(path, stamp)


@lru_cache(maxsize=3)
def _read_once(path: Path, _stamp: tuple[int, ...]) -> Recordings:
    rate, parts = 0, list[Array]()
    for name, own, part in _sounds(path):
        if rate and own != rate:
            raise UserError(
                f"{path}: {name} has {own} numbers a second, those before {rate}. Bring all to "
                "one rate."
            )
        if not len(part):
            raise UserError(f"{path}: {name} holds no sound. Remove it.")
        rate = own
        parts.append(part)
    if not parts:
        raise UserError(f"{path} holds no wav files.")
    starts = np.cumsum([0, *map(len, parts)])
    return Recordings(rate, np.concatenate(parts), starts)


def _sounds(path: Path) -> Iterator[tuple[str, int, Array]]:
    if path.is_dir():
        for file in sound_files(path):
            with readable(file, "a wav file of PCM", _UNREADABLE):
                yield file.name, *_decoded(file.read_bytes())
        return
    with readable(path, "a tar file of wav files", _UNREADABLE), tarfile.open(path) as archive:
        members = [m for m in archive.getmembers() if m.isfile() and _is_sound(m.name)]
        for member in sorted(members, key=lambda m: m.name):
            content = archive.extractfile(member)
            if content is not None:
                yield member.name, *_decoded(content.read())


def _is_sound(name: str) -> bool:
    return bool(re.search(r"(^|/)[^./][^/]*\.wav$", name, re.IGNORECASE))


def _decoded(data: bytes) -> tuple[int, Array]:
    """Returns the rate and the mean of the channels, in [-1, 1]."""
    with wave.open(io.BytesIO(data)) as file:
        width, channels = file.getsampwidth(), file.getnchannels()
        raw = file.readframes(file.getnframes())
        rate = file.getframerate()
    whole = raw[: len(raw) // (width * channels) * width * channels]
    return rate, _numbers(whole, width).reshape(-1, channels).mean(1, dtype=np.float32)


def _numbers(raw: bytes, width: int) -> Array:
    """Returns the numbers of PCM in [-1, 1): bytes are unsigned, all else is signed."""
    if width == 1:
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:
        low = np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(np.int32)
        joined = low[:, 0] | (low[:, 1] << 8) | (low[:, 2] << 16)
        signed = np.where(joined >= 2**23, joined - 2**24, joined)
        return signed.astype(np.float32) / 2**23
    kind = "<i2" if width == 2 else "<i4"
    return np.frombuffer(raw, kind).astype(np.float32) / 2.0 ** (8 * width - 1)


def audio_code(code: object, name: str) -> AudioCode:
    """Returns ``code``, having checked that it is of sounds.

    Raises:
        UserError: If it is of something else.
    """
    if isinstance(code, AudioCode):
        return code
    raise UserError(f"{name} holds sounds; the real samples are none. Give samples of their kind.")
