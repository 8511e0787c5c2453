"""A feature extractor: random Fourier features."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor

import gantlet


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Fourier:
    """Random Fourier features, which approximate a Gaussian kernel; nothing is learned.

    Source: Rahimi and Recht, 2007, https://papers.nips.cc/paper/3182, Algorithm 1.

    Attributes:
        features: Number of features.
        width: Bandwidth of the kernel, in units of the samples.
        seed: Seed of the random frequencies, which are the same in every run.
    """

    learns: ClassVar[bool] = False

    features: Annotated[int, gantlet.Between(1)] = 64
    width: Annotated[float, gantlet.Between(1e-6)] = 1.0
    seed: Annotated[int, gantlet.Between(0)] = 0

    def fit(
        self, space: gantlet.Space, data: gantlet.Splits, *, rng: gantlet.Rng
    ) -> gantlet.Features:
        """Returns the features for samples of ``space``."""
        del data, rng  # the frequencies follow from `seed` alone
        draw = gantlet.Rng(self.seed).stream("frequencies")
        frequencies = torch.randn(space.size, self.features, generator=draw) / self.width
        phases = 2 * math.pi * torch.rand(self.features, generator=draw)

        def extract(x: Tensor) -> Tensor:
            flat = x.flatten(1).float()
            angles = flat @ frequencies.to(x.device) + phases.to(x.device)
            return math.sqrt(2 / self.features) * angles.cos()

        return gantlet.Features(
            extract=extract,
            note=f"{self.features} random Fourier features of width {self.width:g}",
            fingerprint=f"fourier:{self.features},{self.width!r},{self.seed},{space.label}",
        )
