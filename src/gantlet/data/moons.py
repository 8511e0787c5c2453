"""Two interleaved half circles, blurred."""

import math
from dataclasses import dataclass
from typing import Annotated, final

import numpy as np
import torch
from torch import Tensor

from gantlet.core.dataset import Splits
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.splits import drawn

_NODES = 16  # Gauss-Legendre nodes in each piece of the curve
_ROWS = 1024  # points that are looked at at once


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Moons:
    r"""Two half circles with Gaussian noise; the label is the moon.

    With the curves ``c_0(t) = (cos t, sin t)`` and ``c_1(t) = (1 - cos t, 1/2 - sin t)`` the
    density is

    ``p(x) = 1 / (2 pi) sum_k int_0^pi N(x; c_k(t), std^2 I) dt``,

    whose integral is taken numerically, with an error far below single precision.

    Source: the curves are those of scikit-learn's ``make_moons``, where ``t`` is on a regular
    grid; here it is uniform, so that the density is known.

    Attributes:
        std: Standard deviation of the noise.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    std: Annotated[float, Between(0.01, 1)] = 0.05
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    def space(self) -> Space:
        """Points of the plane."""
        return Space("vector", (2,))

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        return drawn(self._draw, n=self.n, held_out=self.held_out, rng=rng)

    def _draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        moon = torch.randint(2, (n,), generator=rng)
        t = math.pi * torch.rand(n, generator=rng, dtype=torch.float64)
        noise = torch.randn(n, 2, generator=rng, dtype=torch.float64)
        return _curves(t)[moon, torch.arange(n)] + self.std * noise, moon

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the log-density of ``x``, shape ``(n, 2)``, in nats, shape ``(n,)``."""
        t, weight = _quadrature(pieces=math.ceil(math.pi / (2 * self.std)))
        points = _curves(t).flatten(0, 1).to(x.device)
        logits = weight.log().repeat(2).to(x.device)
        z = x.double()
        parts = [
            self._log_density(z[i : i + _ROWS], points, logits)
            for i in range(0, max(len(z), 1), _ROWS)
        ]
        return torch.cat(parts).to(x.dtype)

    def _log_density(self, x: Tensor, points: Tensor, logits: Tensor) -> Tensor:
        distance = torch.cdist(x, points, compute_mode="donot_use_mm_for_euclid_dist")
        exponent = logits - 0.5 * (distance / self.std).square()
        # Of 1 / (2 pi) and of the Gaussian, 1 / (2 pi std^2).
        return exponent.logsumexp(1) - 2 * math.log(2 * math.pi * self.std)


def _curves(t: Tensor) -> Tensor:
    """Returns the points of both curves at ``t``, shape ``(2, len(t), 2)``."""
    first = torch.stack([t.cos(), t.sin()], 1)
    return torch.stack([first, torch.tensor([1.0, 0.5], dtype=t.dtype) - first])


def _quadrature(pieces: int) -> tuple[Tensor, Tensor]:
    """Returns the nodes and weights of Gauss-Legendre rules on equal pieces of [0, pi]."""
    node, weight = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(_NODES))
    length = math.pi / pieces
    start = length * torch.arange(pieces, dtype=torch.float64)
    nodes = start[:, None] + length * (node + 1) / 2
    return nodes.flatten(), (weight * length / 2).repeat(pieces)
