"""Audio: reading, features, attributes."""

import bz2
import gzip
import io
import lzma
import math
import tarfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Any, ClassVar, Literal, Self, TypeAlias, final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from typing_extensions import override

from gantlet.core.data import Code, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.metric import Features
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Later, Spec
from gantlet.data.arrays import (
    SOUNDS,
    FolderContents,
    Unreadable,
    audio_files,
    counted,
    has_mostly_audio,
    listed,
)
from gantlet.data.splits import Array, check_size, random_split, read_once, readable, stamp_of
from gantlet.domains.attributes import (
    Attribute,
    AttributeTable,
    attribute,
    attribute_table,
    jitter,
)
from gantlet.domains.domains import Adapted, Domain, Writer, columns, lengthened
from gantlet.features.sound import bands
from gantlet.report.pictures import MOST_BYTES, grid

# ----------------------------------------------------------------------------
# Sounds by the loudness of their bands, and how it changes.
# ----------------------------------------------------------------------------

_SILENCE = 1e-6


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrogram:
    """Mean, deviation and mean change over time of the logarithms of bands of frequencies.

    Bands are triangles that overlap by half, a fortieth of the highest frequency apart at the
    bottom and logarithmically at the top, as on the mel scale of sounds of 16 kHz. A frame in
    which nothing is recorded is left out.

    Source: Davis and Mermelstein, 1980, https://doi.org/10.1109/TASSP.1980.1163420, for bands of
        the mel scale; Stevens, Volkmann and Newman, 1937, https://doi.org/10.1121/1.1915893.

    Attributes:
        bands: How many bands.
        frame: How many numbers a frame has; frames overlap by half.
    """

    learns: ClassVar[bool] = False

    bands: Annotated[int, Between(4)] = 32
    frame: Annotated[int, Between(16)] = 256

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; there is nothing to fit.

        Raises:
            UserError: If samples are not sounds.
        """
        del data, rng
        if space.kind != "audio":
            raise UserError(f"spectrogram sees sounds alone. Got {space.label}.")
        weights = bands(self.bands, self.frame // 2 + 1)

        def extract(x: Tensor) -> Tensor:
            return self._statistics(x, weights.to(x.device))

        return Features(
            extract=extract,
            note=f"mean, deviation and change over time of {self.bands} bands of frequencies",
            fingerprint=f"{Spec.of('spectrogram', self)}/{space.label}",
        )

    def _statistics(self, x: Tensor, weights: Tensor) -> Tensor:
        if not len(x):
            return x.new_zeros(0, 3 * self.bands)
        wave = x.flatten(1).float()
        wave = pad(wave, (0, max(self.frame - wave.shape[1], 0)))
        pieces = wave.unfold(1, self.frame, self.frame // 2)
        window = torch.hann_window(self.frame, device=x.device)
        power = torch.fft.rfft(pieces * window, dim=2).abs().square() / self.frame
        loud = (power @ weights + _SILENCE).log()
        there = (pieces != 0).any(2)[..., None].to(loud)
        n = there.sum(1).clamp_min(1)
        mean = (loud * there).sum(1) / n
        spread = (((loud - mean[:, None]).square() * there).sum(1) / n).sqrt()
        both = there[:, 1:] * there[:, :-1]
        change = (loud.diff(dim=1).abs() * both).sum(1) / both.sum(1).clamp_min(1)
        return torch.cat([mean, spread, change], 1)


# ----------------------------------------------------------------------------
# Sound files: what is in them, and clips of one length.
# ----------------------------------------------------------------------------

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


# ----------------------------------------------------------------------------
# Measurements of single clips of sound that have a name.
# ----------------------------------------------------------------------------

_SILENT = 1e-3  # largest amplitude of a clip in which nothing is heard, -60 dB
_TINY = 1e-4  # an amplitude that no ear hears, for numbers in [-1, 1]
_FRAME = 0.032  # seconds
_QUIET = 0.05  # of the peak
_VOICE = (60.0, 500.0)  # hertz
_SHARES = 1e-3  # so that the logarithm of a share is finite
_SMALL = 0.1  # a deviation on a logarithmic scale that nobody notices
_LOWER = 0.25  # of the frequencies
_PEAK = 0.7  # of the largest


def audio_attributes(code: AudioCode, x: Tensor) -> AttributeTable:
    """Returns measurements of clips, shape ``(n, 1, length)``.

    What follows the last number that is not 0 is no part of a clip. All but loudness and offset
    are as they would be at any volume.

    Args:
        code: Of the clips.
        x: Numbers in [-1, 1].
    """
    wave = x.flatten(1).double()
    place = torch.arange(1, wave.shape[1] + 1, device=wave.device)
    n = ((wave != 0) * place).amax(1).clamp_min(1)
    frames = _Frames(wave, n, code.rate)
    return attribute_table(
        _level(wave, n, frames)
        | _damage(wave, n, place <= n[:, None])
        | _pauses(frames)
        | _colour(frames)
        | _voice(frames)
    )


@final
class _Frames:
    """Clips in short pieces that overlap by half, and their spectra.

    Attributes:
        power: The power at each frequency, shape ``(n, frequencies, frames)``.
        lags: The autocorrelation of each frame, shape ``(n, frames, size)``.
        energy: The root of the mean square of each frame, shape ``(n, frames)``.
        there: Which frames a clip has, shape ``(n, frames)``.
        size: Numbers of a frame.
        rate: Numbers of a second.
    """

    def __init__(self, wave: Tensor, n: Tensor, rate: int) -> None:
        self.rate = rate
        self.size = size = max(16, 2 ** round(math.log2(_FRAME * rate)))
        padded = pad(wave, (0, max(size - wave.shape[1], 0)))
        pieces = padded.unfold(1, size, size // 2)
        window = torch.hann_window(size, dtype=wave.dtype, device=wave.device)
        # With as many zeros behind, so that the ends of a frame do not meet.
        double = torch.fft.rfft(pieces * window, n=2 * size, dim=2).abs().square()
        self.power = double[..., ::2].movedim(1, 2)
        self.lags = torch.fft.irfft(double, dim=2)[..., :size]
        self.energy = pieces.square().mean(2).sqrt()
        first = torch.arange(pieces.shape[1], device=wave.device) * (size // 2)
        self.there = (first + size <= n[:, None]) | (first == 0)

    @property
    def hertz(self) -> Tensor:
        """The frequencies, shape ``(frequencies,)``."""
        k = torch.arange(self.power.shape[1], device=self.power.device)
        found: Tensor = k.double() * self.rate / self.size
        return found

    def mean_power(self) -> Tensor:
        """Returns the mean over the frames of a clip, shape ``(n, frequencies)``."""
        own = self.power * self.there[:, None]
        found: Tensor = own.sum(2) / self.there.sum(1, keepdim=True)
        return found

    def is_loud(self) -> Tensor:
        """Returns which frames have a twentieth of the amplitude of the loudest, or more."""
        energy = self.energy * self.there
        found: Tensor = energy >= _QUIET * energy.amax(1, keepdim=True).clamp_min(_TINY)
        return found


def _level(wave: Tensor, n: Tensor, frames: _Frames) -> dict[Attribute, Tensor]:
    loud = frames.energy * frames.is_loud()
    size = (loud.square().sum(1) / frames.is_loud().sum(1).clamp_min(1)).sqrt()
    mean = wave.sum(1) / n
    is_silent = (wave.abs().amax(1) < _SILENT).double()
    return {
        attribute("silence", "no silent clips", "silent clips: nothing is heard"): (
            is_silent + jitter(wave, _SMALL)
        ),
        attribute("duration", "too short", "too long"): (n / frames.rate + 0.01).log(),
        attribute("loudness", "too quiet", "too loud"): (size + _TINY).log(),
        attribute("offset", "an offset below zero", "an offset above zero"): (
            mean / (size + _TINY) + jitter(wave, _SMALL / 10)
        ),
    }


def _damage(wave: Tensor, n: Tensor, there: Tensor) -> dict[Attribute, Tensor]:
    """Returns flat tops, as clipping leaves them, and jumps that stand out from all others."""
    peak = wave.abs().amax(1, keepdim=True).clamp_min(_TINY)
    flat = (wave.diff(dim=1).abs() < 1e-3 * peak) & (wave[:, 1:].abs() > _PEAK * peak)
    bend = wave.diff(n=2, dim=1).abs() * there[:, 2:]
    usual = (bend.square().sum(1, keepdim=True) / n[:, None]).sqrt() + _TINY**2
    dust = jitter(wave, _SMALL)
    return {
        attribute("flat peaks", "peaks too round", "clipped: flat peaks"): (
            (flat.sum(1) / n + _SHARES).log() + dust
        ),
        attribute("clicks", "no sudden jumps", "clicks: sudden jumps"): (
            (bend.amax(1) / usual[:, 0] + 1).log() + dust
        ),
    }


def _pauses(frames: _Frames) -> dict[Attribute, Tensor]:
    """Returns the course of loudness in a clip.

    The noise floor is that of the quietest quarter of the lower frequencies of all frames from the
    first loud one to the last, against the mean power of the clip.
    """
    n = frames.there.sum(1)
    is_loud = frames.is_loud()
    loudest = (frames.energy * frames.there).amax(1, keepdim=True).clamp_min(_TINY)
    level = (frames.energy / loudest).masked_fill(~frames.there, torch.nan)
    seen = is_loud.cumsum(1)
    inside = (seen > 0) & ((seen < seen[:, -1:]) | is_loud)
    lower = frames.power[:, : max(2, int(_LOWER * frames.power.shape[1]))]
    cells = lower.masked_fill(~inside[:, None], torch.nan).flatten(1)
    # A clip without any sound has no loud frame.
    cells[~inside.any(1)] = 0.0
    floor = torch.nanquantile(cells, 0.25, dim=1) / frames.mean_power().mean(1).clamp_min(_TINY**2)
    dust = jitter(frames.energy, _SMALL / 10)
    return {
        attribute("noise floor", "background too silent", "background noise"): (
            (floor + _TINY**2).log()
        ),
        attribute("dynamics", "loudness varies too much", "loudness varies too little"): (
            (torch.nanquantile(level, 0.5, dim=1) + _TINY).log()
        ),
        attribute("pauses", "too few pauses", "too many pauses"): 1 - is_loud.sum(1) / n + dust,
        attribute("start", "starts too early", "starts too late"): (
            is_loud.to(torch.uint8).argmax(1) / n + dust
        ),
    }


def _colour(frames: _Frames) -> dict[Attribute, Tensor]:
    """Returns where in the spectrum the power of a clip lies."""
    power, hertz = frames.mean_power(), frames.hertz
    share = power / power.sum(1, keepdim=True).clamp_min(_TINY**4)
    centre = share @ hertz
    width = (share * (hertz - centre[:, None]).square()).sum(1).sqrt()
    # The strongest frequency with its neighbours, in which a pure tone is whole.
    summed = share.cumsum(1)
    top3 = (summed[:, 3:] - summed[:, :-3]).amax(1).clamp(max=1)
    reach = (share.cumsum(1) < 0.95).sum(1) * (hertz[1] - hertz[0])
    top, bottom = hertz > 0.625 * hertz[-1], hertz < 0.05 * hertz[-1]
    high = "high frequencies"
    return {
        attribute(high, f"dull: {high} missing", f"hiss: too many {high}"): (
            (share[:, top].sum(1) + _TINY**2).log()
        ),
        attribute("low frequencies", "low frequencies missing", "hum: too many low frequencies"): (
            (share[:, bottom].sum(1) + _TINY).log()
        ),
        attribute("spectral centre", "too dark", "too shrill"): (centre + 1).log(),
        attribute("bandwidth", "too narrow a band", "too wide a band"): (width + 1).log(),
        attribute("purity", "power spread too widely", "a constant tone: one frequency alone"): (
            -(1 - top3 + _SHARES).log()
        ),
        attribute("reach", f"dull: {high} missing", f"hiss: too many {high}", high): (
            reach + 1
        ).log(),
    }


def _voice(frames: _Frames) -> dict[Attribute, Tensor]:
    """Returns periodicity and pitch of loud frames.

    By the autocorrelation of a frame at lags of 60 to 500 hertz: its largest value, and the first
    of its peaks that is nearly as large.
    """
    lags = frames.lags
    low = max(1, int(frames.rate / _VOICE[1]))
    high = max(low + 3, min(int(frames.rate / _VOICE[0]), frames.size // 2))
    # A window over the frame makes its autocorrelation fall off: this is taken out.
    window = torch.hann_window(frames.size, dtype=lags.dtype, device=lags.device)
    fall = torch.fft.irfft(torch.fft.rfft(window, n=2 * frames.size).abs().square())[: frames.size]
    own = lags[..., low:high] / (lags[..., :1] + _TINY**2) * fall[0] / fall[low:high]
    best = own.amax(2, keepdim=True)
    weight = (frames.energy * frames.there).square()
    weight = weight / weight.sum(1, keepdim=True).clamp_min(_TINY**4)
    # A period is followed by its multiples, which fit nearly as well: the first good one counts.
    inner = own[..., 1:-1]
    is_top = (inner >= own[..., :-2]) & (inner >= own[..., 2:]) & (inner >= _PEAK * best)
    lag = torch.where(is_top.any(2), is_top.to(torch.uint8).argmax(2) + 1, own.argmax(2)) + low
    tone = (frames.rate / lag).log()
    return {
        attribute("periodicity", "tone missing: too rough", "too pure a tone"): (
            (best[..., 0].clamp(-1, 1.5) * weight).sum(1)
        ),
        attribute("pitch", "pitch too low", "pitch too high"): (tone * weight).sum(1),
    }


# ----------------------------------------------------------------------------
# A folder, or an archive, of sound files.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Audio:
    """The sound files of a folder and below, or of a tar file, as clips of one length.

    All that libsndfile decodes: wav of every width, FLAC, Ogg, AIFF, MP3, ... All files must have
    one rate, or are resampled to one. Channels are averaged. Longer clips are cut, which is said,
    silence is added to shorter ones.

    Attributes:
        path: The folder, or a file that ends in .tar, .tar.gz or .tgz.
        length: How many numbers a clip has, or none for the longest, at most 65,536.
        rate: Numbers per second to which all files are resampled, or none for files of one rate.
        labels: Where classes come from: ``none``, the first sub-folder (``folder``), or the file
            name up to the first _ (``name``).
        validation: Share of the clips for validation.
        test: Share of the clips for the test.
        limit: Most clips for training, or none.
        skip_bad: How many files that cannot be read may be left out.
    """

    path: str
    length: Annotated[int, Between(1)] | None = None
    rate: Annotated[int, Between(1), Later()] | None = None
    labels: Annotated[LabelSource, Later()] = "none"
    validation: Annotated[float, Between(0, 1)] = 0.1
    test: Annotated[float, Between(0, 1)] = 0.1
    limit: Annotated[int, Between(1)] | None = None
    skip_bad: Annotated[int, Between(0)] = 0

    @property
    def space(self) -> Space:
        """Clips of one channel, as long as the longest."""
        return self.code().space

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits.

        Raises:
            UserError: If a file cannot be read, or their rates differ.
        """
        found = random_split(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )
        return replace(found, code=self.code(), notes=(*found.notes, *few(len(found.train))))

    def whole(self) -> Clips:
        """Returns all clips by the names of their files.

        Raises:
            UserError: If a file cannot be read, or their rates differ.
        """
        return self._clips(self.code().length)

    def code(self, rows: Tensor | None = None) -> AudioCode:
        """Returns rate and length of the clips, of all whatever ``rows`` are.

        Raises:
            UserError: If a file cannot be read, or their rates differ.
        """
        del rows
        found = self._recordings()
        return AudioCode(found.rate, self.length or min(int(found.lengths.max()), LONGEST))

    def roomy(self) -> Self:
        """Returns the same clips with room for others twice as long, unless a length is given."""
        return self if self.length is not None else replace(self, length=self.code().room)

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[Clips, str]:
        """Returns all clips in the length of others; it is the same whichever are ``own``.

        Raises:
            UserError: If a file cannot be read, or the rate is another one.
        """
        del own
        found, wanted = self._recordings(), audio_code(code, self.path)
        if found.rate != wanted.rate:
            raise UserError(
                f"{self.path} has {found.rate} numbers a second, the real samples {wanted.rate}. "
                f"Resample it: audio:path={self.path},rate={wanted.rate}."
            )
        clips = self._clips(wanted.length)
        return clips, "; ".join(clips.cut)

    def _clips(self, length: int) -> Clips:
        found, name = self._recordings(), Path(self.path).name
        return Clips(found, length, name, classes_of(found.names, self.labels, name))

    def _recordings(self) -> Recordings:
        return recordings(Path(self.path).expanduser(), skip=self.skip_bad, rate=self.rate)


FEW = 200
"""Fewer training clips than these are said to be few."""


def few(n: int) -> tuple[str, ...]:
    """Returns what is to be said of a small number of training clips, one clause, or nothing."""
    if n >= FEW:
        return ()
    return (
        f"only {n} clips to train on: models may learn so few by heart (a warning below {FEW})",
    )


# ----------------------------------------------------------------------------
# The kind of sample.
# ----------------------------------------------------------------------------

_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_ROWS, _COLUMNS, _PIECE = 48, 72, 256  # of a spectrogram to look at
_DEPTH = 8.0  # nats below the loudest that are black
_PLAYED, _HEADER = 6, 64  # clips that a report plays; numbers as long as the header of a file


@final
class AudioDomain(Domain):
    """Clips of sound of one channel, followed by zeros where they are short."""

    endings: ClassVar[tuple[str, ...]] = _ARCHIVES
    models: ClassVar[tuple[str, ...]] = ("histogram", "wavenet", "spec-gan", "codec")

    @override
    def attributes(self, space: Space, x: Tensor, code: Code | None) -> AttributeTable:
        """Returns loudness, pitch and the like, which need the rate that the code knows."""
        return audio_attributes(code, x) if isinstance(code, AudioCode) else columns(space, x)

    @override
    def reader(self, path: Path, *, skip_bad: int = 0) -> Audio | None:
        """Reads archives, and folders that hold more sounds than images."""
        is_own = has_mostly_audio(path) if path.is_dir() else path.name.lower().endswith(_ARCHIVES)
        return Audio(path=str(path), skip_bad=skip_bad) if is_own else None

    @override
    def features(self, code: Code | None, *, labelled: bool) -> tuple[str, ...]:
        """Those of a classifier where there are classes; statistics of spectrograms."""
        return ("classifier", "spectrogram") if labelled else ("spectrogram",)

    @override
    def adapted(self, space: Space, wanted: Space) -> Adapted | None:
        """Adds silence."""
        return lengthened(space, wanted)

    @override
    def picture(self, space: Space, x: Tensor) -> bytes | None:
        """Shows spectrograms."""
        return grid(spectrograms(x[: self.shown].flatten(1).numpy()), columns=4)

    @override
    def sounds(self, space: Space, x: Tensor, code: Code | None) -> Sequence[bytes]:
        """Plays the first six, where the rate is known, or fewer long ones: 150 kB in all."""
        if not isinstance(code, AudioCode):
            return ()
        found: list[bytes] = []
        for clip in x[:_PLAYED].flatten(1).float().cpu().numpy():
            file = _wav(heard(clip)[: MOST_BYTES // 2 - _HEADER], code.rate, "PCM_16")
            if sum(map(len, found)) + len(file) > MOST_BYTES:
                break
            found.append(file)
        return found

    @override
    def writers(self, space: Space, code: Code | None) -> Mapping[str, Writer]:
        """Writes archives of wav files, where the rate is known."""
        if not isinstance(code, AudioCode):
            return {}
        return {".tar": lambda path, x: _write_archive(path, x, code.rate)}


def _write_archive(path: Path, x: Tensor, rate: int) -> None:
    """Writes a tar file of wav files with 32-bit floating point numbers, silent ends left out."""
    width = len(str(len(x)))
    with tarfile.open(path, "w") as archive:
        for i, clip in enumerate(x.flatten(1).float().numpy()):
            content = _wav(heard(clip), rate, "FLOAT")
            entry = tarfile.TarInfo(f"{i + 1:0{width}}.wav")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def heard(clip: Array) -> Array:
    """Returns a clip, shape ``(numbers,)``, without the zeros at its end, one number at least."""
    place = np.flatnonzero(clip)
    return clip[: int(place[-1]) + 1 if len(place) else 1]


def _wav(sound: Array, rate: int, subtype: str) -> bytes:
    """Returns a sound as a wav file; numbers beyond [-1, 1] are cut where they are integers."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, sound, rate, subtype=subtype, format="WAV")
    return file.getvalue()


def spectrograms(waves: Array) -> Array:
    """Returns the spectrograms of sounds, time to the right, frequency up, louder is lighter.

    They end where the longest of the sounds ends.

    Args:
        waves: Shape ``(n, numbers)``.

    Returns:
        Shape ``(n, 48, 72, 1)``.
    """
    heard = np.flatnonzero((waves != 0).any(0))
    end = int(heard[-1]) + 1 if len(heard) else 1
    padded = np.pad(waves[:, :end], [(0, 0), (0, max(_PIECE - end, 0))])
    starts = np.linspace(0, padded.shape[1] - _PIECE, _COLUMNS).astype(int)
    pieces = padded[:, starts[:, None] + np.arange(_PIECE)] * np.hanning(_PIECE)
    power = np.abs(np.fft.rfft(pieces, axis=2)) ** 2
    # Neighbouring frequencies together, so that there is one row for each group.
    edges = np.linspace(0, power.shape[2], _ROWS + 1).astype(int)[:-1]
    rows = np.log(np.add.reduceat(power, edges, axis=2) + 1e-9)
    top = rows.max((1, 2), keepdims=True)
    light = np.clip(1 + (rows - top) / _DEPTH, 0, 1)
    image: Array = (255 * light).round().astype(np.uint8)
    return image.transpose(0, 2, 1)[:, ::-1, :, None]
