"""Gaussians on a square grid."""

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
class Grid:
    """Equally likely round Gaussians on a square grid around zero; the label is the mode.

    Source: Srivastava et al., 2017, https://arxiv.org/abs/1705.07761, section 4.1, with the
    defaults of Lin et al., 2018, https://arxiv.org/abs/1712.04086.

    Attributes:
        side: Gaussians in each row and column; there are ``side ** 2``.
        spacing: Distance between neighbours.
        std: Standard deviation of each Gaussian.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    side: Annotated[int, Between(1)] = 5
    spacing: Annotated[float, Between(0)] = 2.0
    std: Annotated[float, Between(1e-6)] = 0.05
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    def space(self) -> Space:
        """Points of the plane."""
        return Space("vector", (2,))

    @property
    def means(self) -> Tensor:
        """The centres, shape ``(side ** 2, 2)``, float64."""
        line = torch.arange(self.side, dtype=torch.float64) - (self.side - 1) / 2
        return self.spacing * torch.cartesian_prod(line, line)

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        draw = partial(mixtures.draw, means=self.means, std=self.std)
        return drawn(draw, n=self.n, held_out=self.held_out, rng=rng)

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the log-density of ``x``, shape ``(n, 2)``, in nats, shape ``(n,)``."""
        return mixtures.log_density(x, self.means, self.std)
