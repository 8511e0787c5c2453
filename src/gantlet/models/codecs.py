"""Codecs of sound: waveforms as what networks make of them, and back."""

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import fold, pad
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import FitResult, Model, Selective
from gantlet.core.rng import Rng
from gantlet.core.spec import Between

SILENCE = 2.0**-12
"""A clip ends where all later numbers are below this, half a step of 12 bits (-72 dB)."""

Representation = Literal["logmag", "if"]

_FLOOR = 1e-3  # added to magnitudes before the logarithm, of clips with a peak of 1
_ROOM = 1.1  # of the largest deviation of a log-magnitude from its mean, which maps to 1 / _ROOM
_LEAST = 0.1  # least range of a frequency, as a share of that of all
_AT_ONCE = 256  # clips whose phases are looked for at once


def check_clips(family: str, space: Space) -> None:
    """Checks that a sample is a clip of one channel.

    Raises:
        UserError: If it is not.
    """
    if space.kind != "audio" or len(space.shape) != 2 or space.shape[0] != 1 or space.levels:
        raise UserError(
            f"{family} models clips of sound (audio 1xN). Got {space.label}; give sounds, such as "
            "--data audio:path=FOLDER or tones."
        )


def ended(x: Tensor) -> Tensor:
    """Returns clips, shape ``(n, 1, length)``, with zeros from where nothing is heard any more.

    Recordings shorter than others are followed by zeros, which no network makes exactly.

    Example:
        >>> ended(torch.tensor([[[0.5, 0.0, -0.1, 1e-5]]])).tolist()
        [[[0.5, 0.0, -0.10000000149011612, 0.0]]]
    """
    heard = (x.abs() >= SILENCE).flip(-1).cummax(-1).values.flip(-1)
    return torch.where(heard, x, torch.zeros_like(x))


def amplitude(x: Tensor) -> Tensor:
    """Returns the largest amplitude of clips, a scalar; 1 of silence."""
    peak = x.abs().max()
    return peak if peak > 0 else torch.ones_like(peak)


class Codec(nn.Module, abc.ABC):
    """A map from clips to maps of numbers of about unit size, and back.

    Attributes:
        view: Space of what networks see: an image of continuous numbers.
    """

    view: Space

    @abc.abstractmethod
    def fit(self, x: Tensor) -> None:
        """Sets scales from clips, shape ``(n, 1, length)``."""

    @abc.abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Returns clips, shape ``(n, 1, length)``, as networks see them, ``(n, *view.shape)``."""

    @abc.abstractmethod
    def decode(self, y: Tensor) -> Tensor:
        """Returns the clips, shape ``(n, 1, length)``, of maps; differentiable."""

    def shape(self, y: Tensor) -> Tensor:
        """Returns unbounded numbers of a network in the range of the codec."""
        return y.tanh()


# ----------------------------------------------------------------------------
# The short-time Fourier transform, with every number of a clip in as many frames as any other.
# ----------------------------------------------------------------------------


@final
class Stft(nn.Module):
    """Short-time Fourier transform of clips, and its least-squares inverse.

    Clips are put between zeros, so that each of their numbers lies in ``frame / hop`` frames. The
    inverse of what is no transform of any clip is the clip whose transform is nearest.

    Source: Griffin and Lim, 1984, https://doi.org/10.1109/TASSP.1984.1164317, equation 6.

    Args:
        length: Numbers of a clip.
        frame: Numbers of a frame, a multiple of ``hop``.
        hop: Numbers from one frame to the next.
    """

    window: Tensor
    weight: Tensor

    def __init__(self, length: int, frame: int, hop: int) -> None:
        super().__init__()
        self.length, self.frame, self.hop = length, frame, hop
        self.frames = (length + frame - hop - 1) // hop + 1
        self.bins = frame // 2 + 1
        # The middle of the steps of a Hann window: none of its numbers is zero.
        place = (torch.arange(frame, dtype=torch.float64) + 0.5) / frame
        self.register_buffer("window", (math.pi * place).sin().square().float(), persistent=False)
        power = self.window.square().expand(1, self.frames, frame)
        self.register_buffer("weight", self._overlapped(power), persistent=False)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns complex transforms ``(n, frames, bins)`` of clips ``(n, 1, length)``."""
        before = self.frame - self.hop
        after = (self.frames - 1) * self.hop + self.frame - before - self.length
        pieces = pad(x.flatten(1), (before, after)).unfold(1, self.frame, self.hop)
        if not len(x):  # no transform of nothing
            return torch.zeros(0, self.frames, self.bins, device=x.device).to(torch.complex64)
        spectrum: Tensor = torch.fft.rfft(pieces * self.window)
        return spectrum

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Returns the clips, shape ``(n, 1, length)``, nearest to ``(n, frames, bins)``."""
        if not len(spectrum):
            return torch.zeros(0, 1, self.length, device=spectrum.device)
        pieces = torch.fft.irfft(spectrum, n=self.frame) * self.window
        return (self._overlapped(pieces) / self.weight)[:, None]

    def _overlapped(self, pieces: Tensor) -> Tensor:
        """Returns the sums of frames, shape ``(n, frames, frame)``, at each number of a clip."""
        total = (self.frames - 1) * self.hop + self.frame
        joined = fold(
            pieces.transpose(1, 2), (1, total), (1, self.frame), stride=(1, self.hop)
        ).flatten(1)
        before = self.frame - self.hop
        return joined[:, before : before + self.length]


class _Spectral(Codec):
    """What both spectral codecs share: scaled logarithms of magnitudes.

    Args:
        length: Numbers of a clip.
        frame: Numbers of a frame.
        hop: Numbers from one frame to the next.
        channels: Channels of the view.
    """

    mean: Tensor
    reach: Tensor
    peak: Tensor

    def __init__(self, length: int, frame: int, hop: int, channels: int) -> None:
        super().__init__()
        self.stft = Stft(length, frame, hop)
        self.view = Space("image", (channels, self.stft.frames, self.stft.bins))
        self.register_buffer("mean", torch.zeros(self.stft.bins))
        self.register_buffer("reach", torch.ones(self.stft.bins))
        self.register_buffer("peak", torch.ones(()))

    @override
    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Sets the peak, and mean and reach of each frequency, from clips."""
        self.peak.copy_(amplitude(x))
        loud = self._loudness(self.stft(x / self.peak))
        self.mean.copy_(loud.mean((0, 1)))
        apart = (loud - self.mean).abs().amax((0, 1))
        self.reach.copy_(_ROOM * apart.clamp(min=float(_LEAST * apart.max().clamp(min=1e-6))))

    def _loudness(self, spectrum: Tensor) -> Tensor:
        return (spectrum.abs() + _FLOOR).log()

    def _scaled(self, spectrum: Tensor) -> Tensor:
        """Returns log-magnitudes less their mean, in [-1, 1], cut where the fit saw nothing."""
        return ((self._loudness(spectrum) - self.mean) / self.reach).clamp(-1, 1)

    def _magnitude(self, z: Tensor) -> Tensor:
        return ((z * self.reach + self.mean).exp() - _FLOOR).clamp(min=0)


@final
class LogMagnitude(_Spectral):
    """Logarithms of the magnitudes of a short-time Fourier transform; phases are estimated.

    The mean of each frequency is subtracted, and 1 is 1.1 times the largest deviation from it of
    the clips that set the scales; what is beyond is cut. The phases of a clip that has these
    magnitudes are found by alternating projections from one fixed random start (Griffin and Lim,
    1984, https://doi.org/10.1109/TASSP.1984.1164317).

    Source: Donahue, McAuley and Puckette, 2019 (SpecGAN), https://arxiv.org/abs/1802.04208.
    Differs from the paper: 1e-3 of the largest amplitude instead of 1e-6 is added to magnitudes;
        scales are by the largest deviation, not by three standard deviations; the highest
        frequency is kept.

    Args:
        length: Numbers of a clip.
        frame: Numbers of a frame.
        hop: Numbers from one frame to the next.
        iterations: Iterations of the search for phases.
    """

    start: Tensor

    def __init__(self, length: int, frame: int, hop: int, *, iterations: int) -> None:
        super().__init__(length, frame, hop, 1)
        self.iterations = iterations
        rng = Rng(0).stream("phase")
        turn = torch.rand(self.stft.frames, self.stft.bins, generator=rng, dtype=torch.float64)
        self.register_buffer("start", (2 * math.pi * turn).float(), persistent=False)

    @override
    def encode(self, x: Tensor) -> Tensor:
        return self._scaled(self.stft(x / self.peak))[:, None]

    @override
    def decode(self, y: Tensor) -> Tensor:
        size = self._magnitude(y[:, 0])
        parts = [self._phase(part) for part in torch.split(size.detach(), _AT_ONCE)]
        return self.stft.inverse(size * torch.cat(parts)) * self.peak

    @torch.no_grad()
    def _phase(self, size: Tensor) -> Tensor:
        """Returns unit phases for magnitudes, both of shape ``(n, frames, bins)``."""
        phase = torch.polar(torch.ones_like(self.start), self.start).expand(size.shape)
        for _ in range(self.iterations):
            found = self.stft(self.stft.inverse(size * phase))
            phase = found / found.abs().clamp(min=1e-12)
        return phase


@final
class InstantaneousFrequency(_Spectral):
    """Log-magnitudes, and by how much the phase turns from frame to frame: no phase is lost.

    Channel 0 is that of ``LogMagnitude``. Channel 1 is the phase of the first frame, and the
    difference of the phases of each further frame from the one before, wrapped to ``[-1, 1]``
    half turns. Sums of these give the phases back, so that the codec is exact wherever
    log-magnitudes are not cut.

    Source: Engel et al., 2019 (GANSynth), https://arxiv.org/abs/1902.08710, section 2.
    Differs from the paper: linear frequencies; all of them are kept; log-magnitudes are scaled by
        frequency, not by the range of all.

    Args:
        length: Numbers of a clip.
        frame: Numbers of a frame.
        hop: Numbers from one frame to the next.
    """

    def __init__(self, length: int, frame: int, hop: int) -> None:
        super().__init__(length, frame, hop, 2)

    @override
    def encode(self, x: Tensor) -> Tensor:
        spectrum = self.stft(x / self.peak)
        turns = spectrum.angle() / math.pi
        steps = turns.diff(dim=1, prepend=torch.zeros_like(turns[:, :1]))
        wrapped = (steps + 1).remainder(2) - 1
        return torch.stack([self._scaled(spectrum), wrapped], 1)

    @override
    def decode(self, y: Tensor) -> Tensor:
        turns = y[:, 1].double().cumsum(1).remainder(2)
        phase = (math.pi * turns).to(y.dtype)
        return self.stft.inverse(torch.polar(self._magnitude(y[:, 0]), phase)) * self.peak


@final
class Waveform(Codec):
    """The numbers of a clip themselves, the largest amplitude scaled to 1.

    Args:
        length: Numbers of a clip.
    """

    peak: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        self.view = Space("image", (1, 1, length))
        self.register_buffer("peak", torch.ones(()))

    @override
    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Sets the peak from clips."""
        self.peak.copy_(amplitude(x))

    @override
    def encode(self, x: Tensor) -> Tensor:
        return x[:, None] / self.peak

    @override
    def decode(self, y: Tensor) -> Tensor:
        return y[:, 0] * self.peak


class SpectralOptions(abc.ABC):
    """The options of families that make spectrograms."""

    __slots__ = ()

    representation: Representation
    frame: int
    hop: int | None
    iterations: int

    def codec(self, family: str, space: Space) -> "LogMagnitude | InstantaneousFrequency":
        """Returns the codec of clips of ``space``, its scales not set.

        Raises:
            UserError: If samples are not clips, or frames do not fit.
        """
        check_clips(family, space)
        usual = self.frame // (2 if self.representation == "logmag" else 4)
        hop = usual if self.hop is None else self.hop
        if self.frame % hop or self.frame < 2 * hop:
            raise UserError(
                f"{family}:frame must be a multiple of hop, twice as long or more. Got "
                f"frame={self.frame} and hop={hop}."
            )
        length = space.shape[1]
        if self.representation == "if":
            return InstantaneousFrequency(length, self.frame, hop)
        return LogMagnitude(length, self.frame, hop, iterations=self.iterations)


# ----------------------------------------------------------------------------
# The baseline that shows how good a codec is.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class CodecBaseline(SpectralOptions, Selective):
    """A baseline that returns training clips, encoded and decoded, drawn with replacement.

    No model that makes such spectrograms can be expected to do better than what its codec makes of
    real clips: the ceiling of ``spec-gan`` with the same options. Like ``memorizer`` it copies.

    Attributes:
        representation: ``logmag``, phases estimated, or ``if``, phases kept.
        frame: Numbers of a frame.
        hop: Numbers from one frame to the next; default: a half of a frame for ``logmag``, a
            quarter for ``if``.
        iterations: Iterations of the estimation of phases.
    """

    representation: Representation = "logmag"
    frame: Annotated[int, Between(4)] = 256
    hop: Annotated[int, Between(1)] | None = None
    iterations: Annotated[int, Between(0)] = 16

    @override
    def check_space(self, space: Space) -> None:
        self.codec("codec", space)

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> FitResult:
        """Returns the model that holds ``train``, shape ``(n, 1, length)``, decoded.

        The cost is that of the transforms, ``5 frame log2(frame)`` operations for each frame and
        each direction.

        Raises:
            UserError: If samples are not clips, or frames do not fit.
        """
        del rng  # nothing is random
        codec = self.codec("codec", space).to(train.device)
        codec.fit(space.check(train, "train"))
        with torch.no_grad():
            parts = torch.split(train, _AT_ONCE)
            clips = torch.cat([ended(codec.decode(codec.encode(part))) for part in parts])
        one = 5 * self.frame * math.log2(self.frame) * codec.stft.frames * len(train)
        searches = self.iterations if self.representation == "logmag" else 0
        return FitResult(_Decoded(space, clips), one * (2 + 2 * searches))

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns the model from its saved tensors."""
        return _Decoded(space, **state)


@final
class _Decoded(Model):
    """All training clips, decoded, ``clips`` of shape ``(n, 1, length)``."""

    clips: Tensor

    def __init__(self, space: Space, clips: Tensor) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("clips", clips)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        index = torch.randint(len(self.clips), (n,), generator=rng, device=rng.device)
        return self.clips[index]
