"""Sounds by the loudness of their bands, and how it changes."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between, Spec

_TINY = 1e-6


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
            UserError: If samples are no sounds.
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
        loud = (power @ weights + _TINY).log()
        there = (pieces != 0).any(2)[..., None].to(loud)
        n = there.sum(1).clamp_min(1)
        mean = (loud * there).sum(1) / n
        spread = (((loud - mean[:, None]).square() * there).sum(1) / n).sqrt()
        both = there[:, 1:] * there[:, :-1]
        change = (loud.diff(dim=1).abs() * both).sum(1) / both.sum(1).clamp_min(1)
        return torch.cat([mean, spread, change], 1)


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
