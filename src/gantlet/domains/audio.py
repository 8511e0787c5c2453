"""Audio: features, data sets, pictures and files."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Self, final

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
from gantlet.data.arrays import has_mostly_audio
from gantlet.data.splits import Array, random_split
from gantlet.domains.attributes import AttributeTable
from gantlet.domains.audio_attributes import audio_attributes
from gantlet.domains.domains import Adapted, Domain, Writer, columns, lengthened
from gantlet.domains.recordings import (
    LONGEST,
    AudioCode,
    Clips,
    LabelSource,
    Recordings,
    audio_code,
    classes_of,
    recordings,
)
from gantlet.features.sound import bands, loudness
from gantlet.report.pictures import MOST_BYTES, grid

# ----------------------------------------------------------------------------
# Sounds by the loudness of their bands, and how it changes.
# ----------------------------------------------------------------------------


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
        loud = loudness(pieces, window, weights)
        there = (pieces != 0).any(2)[..., None].to(loud)
        n = there.sum(1).clamp_min(1)
        mean = (loud * there).sum(1) / n
        spread = (((loud - mean[:, None]).square() * there).sum(1) / n).sqrt()
        both = there[:, 1:] * there[:, :-1]
        change = (loud.diff(dim=1).abs() * both).sum(1) / both.sum(1).clamp_min(1)
        return torch.cat([mean, spread, change], 1)


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
