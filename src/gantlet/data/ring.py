"""Gaussians on a circle."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, final

import torch
from torch import Tensor

from gantlet.core.dataset import Splits
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data import mixtures
from gantlet.data.splits import drawn


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Ring:
    """Equally likely round Gaussians, evenly spaced on a circle; the label is the mode.

    Source: Srivastava et al., 2017, https://arxiv.org/abs/1705.07761, section 4.1, with the
    defaults of Lin et al., 2018, https://arxiv.org/abs/1712.04086.

    Attributes:
        modes: How many Gaussians.
        radius: Radius of the circle.
        std: Standard deviation of each Gaussian.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    modes: Annotated[int, Between(1)] = 8
    radius: Annotated[float, Between(0)] = 1.0
    std: Annotated[float, Between(1e-6)] = 0.01
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    def space(self) -> Space:
        """Points of the plane."""
        return Space("vector", (2,))

    @property
    def means(self) -> Tensor:
        """The centres, shape ``(modes, 2)``, float64."""
        angle = torch.arange(self.modes, dtype=torch.float64) * (2 * math.pi / self.modes)
        return self.radius * torch.stack([angle.cos(), angle.sin()], 1)

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        draw = partial(mixtures.draw, means=self.means, std=self.std)
        return drawn(draw, n=self.n, held_out=self.held_out, rng=rng)

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the log-density of ``x``, shape ``(n, 2)``, in nats, shape ``(n,)``."""
        return mixtures.log_density(x, self.means, self.std)
