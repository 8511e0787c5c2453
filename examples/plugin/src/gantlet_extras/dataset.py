"""A data set that is drawn: points along a spiral."""

import math
from dataclasses import dataclass
from typing import Annotated, final

import torch

import gantlet


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spiral:
    """Points along an Archimedean spiral with Gaussian noise; the label is the turn.

    Attributes:
        turns: How often it winds around the centre.
        std: Standard deviation of the noise.
        n: Number of training samples.
        held_out: Number of samples each for validation and test.
    """

    turns: Annotated[int, gantlet.Between(1)] = 2
    std: Annotated[float, gantlet.Between(0)] = 0.02
    n: Annotated[int, gantlet.Between(2)] = 2_000
    held_out: Annotated[int, gantlet.Between(2)] = 500

    @property
    def space(self) -> gantlet.Space:
        """Points of the plane."""
        return gantlet.Space("vector", (2,))

    def load(self, *, rng: gantlet.Rng) -> gantlet.Splits:
        """Returns three splits of independent draws."""
        return gantlet.Splits(
            train=self._draw(self.n, rng.stream("train")),
            validation=self._draw(self.held_out, rng.stream("validation")),
            test=self._draw(self.held_out, rng.stream("test")),
            note="every split is drawn independently",
        )

    def _draw(self, n: int, rng: torch.Generator) -> gantlet.InMemory:
        # The root makes points equally dense along the curve.
        turn = self.turns * torch.rand(n, generator=rng).sqrt()
        angle = 2 * math.pi * turn
        x = torch.stack([turn * angle.cos(), turn * angle.sin()], 1) / self.turns
        noise = self.std * torch.randn(n, 2, generator=rng)
        return gantlet.InMemory(x + noise, labels=turn.long().clamp(max=self.turns - 1))
