"""Sounds as maps of the loudness of bands of frequencies over time."""

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from typing_extensions import override

from gantlet.core.data import Space

_SILENCE = 1e-6  # power that is added to that of a band, so that its logarithm is finite
_LEAST = 1e-3  # least deviation of loudness, in nats


def bands(number: int, frequencies: int) -> Tensor:
    """Returns the weights of triangular bands, shape ``(frequencies, number)``.

    Their corners are evenly spread on the mel scale of a sound whose highest frequency is 8 kHz.
    """
    top = 2595 * math.log10(1 + 8000 / 700)
    corners = 700 * (10 ** (torch.linspace(0, top, number + 2) / 2595) - 1) / 8000
    place = torch.linspace(0, 1, frequencies)[:, None]
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (place - low) / (middle - low), (high - place) / (high - middle)
    found = torch.minimum(rising, falling).clamp_min(0)
    # A band narrower than a step of frequencies takes the nearest.
    empty = found.sum(0) == 0
    nearest = (place - middle).abs().argmin(0)
    found[nearest[empty], empty.nonzero()[:, 0]] = 1.0
    return found / found.sum(0)


def loudness(pieces: Tensor, window: Tensor, weights: Tensor) -> Tensor:
    """Returns the logarithm of the power in each band, shape ``(n, frames, bands)``.

    Args:
        pieces: Frames of sounds, shape ``(n, frames, frame)``.
        window: What they are multiplied by, shape ``(frame,)``.
        weights: Of frequencies in bands, as ``bands`` gives them.
    """
    power = torch.fft.rfft(pieces * window).abs().square() / len(window)
    found: Tensor = (power @ weights + _SILENCE).log()
    return found


@final
class LogMel(nn.Module):
    """Log-mel spectrograms: logarithms of the power in triangular bands, standardized.

    Source: Davis and Mermelstein, 1980, https://doi.org/10.1109/TASSP.1980.1163420.

    Args:
        space: Clips of sound.
        number: Number of bands.
        frame: Numbers of a frame; frames overlap by half.
    """

    weights: Tensor
    window: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, space: Space, number: int = 32, frame: int = 256) -> None:
        super().__init__()
        self.frame, self.hop = frame, frame // 2
        frames = max(0, -(-(space.size - frame) // self.hop)) + 1
        self.view = Space("image", (1, frames, number))
        self._room = (frames - 1) * self.hop + frame
        self.register_buffer("weights", bands(number, frame // 2 + 1))
        self.register_buffer("window", torch.hann_window(frame))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Sets the mean and deviation of all loudness from clips, shape ``(n, 1, length)``."""
        loud = self._loudness(x)
        self.mean.copy_(loud.mean())
        self.deviation.copy_(loud.std(correction=0).clamp(min=_LEAST))

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns standardized loudness, shape ``(n, 1, frames, bands)``."""
        scaled: Tensor = (self._loudness(x) - self.mean) / self.deviation
        return scaled

    def _loudness(self, x: Tensor) -> Tensor:
        if not len(x):  # no transform of nothing
            return x.new_zeros(0, *self.view.shape)
        wave = x.flatten(1).float()
        wave = pad(wave, (0, self._room - wave.shape[1]))
        pieces = wave.unfold(1, self.frame, self.hop)
        return loudness(pieces, self.window, self.weights)[:, None]
