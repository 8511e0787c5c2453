"""The four energies in the plane of Rezende and Mohamed (2015)."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal, final

import numpy as np
import torch
from torch import Tensor

from gantlet.core.dataset import Splits
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.splits import drawn

_EDGE = 4.0
_RADIUS, _WIDTH = 2.0, 0.4  # the ring of energy 1
_ROOT = math.sqrt(2 * math.pi)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Energy:
    r"""Densities ``p(z)`` proportional to ``exp(-U(z))`` for one of four energies ``U``.

    With ``w1 = sin(2 pi z1 / 4)``, ``w2 = 3 exp(-((z1 - 1) / 0.6)^2 / 2)`` and
    ``w3 = 3 sigmoid((z1 - 1) / 0.3)``, written as ``exp(-U)``:

    1. ``exp(-((|z| - 2) / 0.4)^2 / 2) (exp(-((z1 - 2) / 0.6)^2 / 2)
       + exp(-((z1 + 2) / 0.6)^2 / 2))``: a ring with two dense sides
    2. ``exp(-((z2 - w1) / 0.4)^2 / 2)``: a wave
    3. ``exp(-((z2 - w1) / 0.35)^2 / 2) + exp(-((z2 - w1 + w2) / 0.35)^2 / 2)``: a wave that parts
    4. ``exp(-((z2 - w1) / 0.4)^2 / 2) + exp(-((z2 - w1 + w3) / 0.35)^2 / 2)``: a wave that forks

    Energies 3 and 4 have the branch as label.

    Source: Rezende and Mohamed, 2015, https://arxiv.org/abs/1505.05770, table 1.

    Differs from the paper: energies 2 to 4 do not depend on ``z1`` as a whole, so they have no
    finite integral over the plane; here ``z1`` stays in [-4, 4], the range the paper draws. Their
    constants are then known in closed form; that of energy 1 is integrated numerically.

    Attributes:
        index: Which energy.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    index: Literal[1, 2, 3, 4] = 1
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    def space(self) -> Space:
        """Points of the plane."""
        return Space("vector", (2,))

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        draw = _draw_ring if self.index == 1 else self._draw_wave
        return drawn(draw, n=self.n, held_out=self.held_out, rng=rng)

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the log-density of ``x``, shape ``(n, 2)``, in nats, shape ``(n,)``.

        It is minus infinity where ``|z1| > 4`` for energies 2 to 4.
        """
        z = x.double()
        if self.index == 1:
            return (_log_ring(z) - _log_z_ring()).to(x.dtype)
        return self._log_wave(z).to(x.dtype)

    @property
    def _branches(self) -> list[tuple[float, float]]:
        """The width of each branch and how much of ``w2`` or ``w3`` moves it down."""
        return {2: [(0.4, 0.0)], 3: [(0.35, 0.0), (0.35, 1.0)], 4: [(0.4, 0.0), (0.35, 1.0)]}[
            self.index
        ]

    def _centre(self, z1: Tensor, share: float) -> Tensor:
        w2 = 3 * (-0.5 * ((z1 - 1) / 0.6).square()).exp()
        w3 = 3 * ((z1 - 1) / 0.3).sigmoid()
        return (math.pi / 2 * z1).sin() - share * (w2 if self.index == 3 else w3)

    def _log_wave(self, z: Tensor) -> Tensor:
        z1, z2 = z.unbind(1)
        exponents = [
            -0.5 * ((z2 - self._centre(z1, share)) / width).square()
            for width, share in self._branches
        ]
        log_z = math.log(2 * _EDGE * _ROOT * sum(width for width, _ in self._branches))
        inside = torch.stack(exponents).logsumexp(0) - log_z
        return torch.where(z1.abs() <= _EDGE, inside, -math.inf)

    def _draw_wave(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
        widths = torch.tensor([width for width, _ in self._branches], dtype=torch.float64)
        branch = torch.multinomial(widths, n, replacement=True, generator=rng)
        z1 = _EDGE * (2 * torch.rand(n, generator=rng, dtype=torch.float64) - 1)
        centres = torch.stack([self._centre(z1, share) for _, share in self._branches])
        noise = widths[branch] * torch.randn(n, generator=rng, dtype=torch.float64)
        z2 = centres[branch, torch.arange(n)] + noise
        return torch.stack([z1, z2], 1), branch if len(widths) > 1 else None


def _log_sides(z1: Tensor) -> Tensor:
    right = -0.5 * ((z1 - 2) / 0.6).square()
    left = -0.5 * ((z1 + 2) / 0.6).square()
    return torch.logaddexp(right, left)


def _log_ring(z: Tensor) -> Tensor:
    r: Tensor = torch.linalg.vector_norm(z, dim=1)
    return -0.5 * ((r - _RADIUS) / _WIDTH).square() + _log_sides(z[:, 0])


@cache
def _log_z_ring() -> float:
    """Returns the log of the integral of energy 1 over the plane.

    In polar coordinates the integrand is smooth, so Gauss-Legendre in the radius and equal steps
    in the angle reach machine precision; the part beyond radius 8 is below ``exp(-112)``.
    """
    node, weight = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(200))
    r = 4 * (node + 1)
    angle = torch.arange(512, dtype=torch.float64) * (2 * math.pi / 512)
    z = r[:, None, None] * torch.stack([angle.cos(), angle.sin()], 1)
    values = _log_ring(z.flatten(0, 1)).exp().reshape(len(r), -1)
    return math.log(float((4 * weight * r * values.mean(1)).sum() * 2 * math.pi))


def _draw_ring(n: int, rng: torch.Generator) -> tuple[Tensor, None]:
    """Returns exact samples of energy 1, by rejection in polar coordinates.

    The radius needs ``r exp(-((r - 2) / 0.4)^2 / 2)``. As ``r <= 2 exp(r / 2 - 1)``, a Gaussian
    with its mean moved by ``0.4^2 / 2`` lies above it. The angle is uniform, and the two sides sum
    to at most 1.004.
    """
    kept: list[Tensor] = []
    while sum(map(len, kept)) < n:
        r = torch.randn(4 * n, generator=rng, dtype=torch.float64) * _WIDTH
        r += _RADIUS + _WIDTH**2 / _RADIUS
        angle = 2 * math.pi * torch.rand(4 * n, generator=rng, dtype=torch.float64)
        z = r[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
        log_accept = (r.clamp(min=0) / _RADIUS).log() + 1 - r / _RADIUS
        log_accept += _log_sides(z[:, 0]) - math.log(1.004)
        u = torch.rand(4 * n, generator=rng, dtype=torch.float64)
        kept.append(z[u.log() < log_accept])
    return torch.cat(kept)[:n], None
