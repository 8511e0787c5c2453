"""Measurements of single clips of sound that have a name."""

import math
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from gantlet.domains.attributes import (
    Attribute,
    AttributeTable,
    attribute,
    attribute_table,
    jitter,
)
from gantlet.domains.recordings import AudioCode

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
        attribute("silence", "no silent clips", "silent clips: nothing is heard", alike=True): (
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
