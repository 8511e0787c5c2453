"""Planar maps: they stretch space along one direction."""

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from typing_extensions import override

from gantlet.nets.bijections.bijection import Bijection

HALVINGS = 60
"""Brings the bracket of the inverse below the spacing of double precision numbers."""


@final
class Planar(Bijection):
    """``z = x + u tanh(w.x + b)``, invertible because ``w.u > -1``.

    Source: Rezende and Mohamed, 2015, https://arxiv.org/abs/1505.05770, equations 10 to 12 and
    appendix A.1.

    Differs from the paper: there the map goes from the base to the samples, and only the density
    of its own samples is known. Here it goes from samples to codes, so that the density of any
    sample is known and maximum likelihood can train it; sampling then solves, for each layer,
    one equation in one unknown by bisection. The map of ``w.u`` is shifted so that ``u = 0`` is
    the identity.

    Args:
        size: How many components a sample has.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(size) / math.sqrt(size))
        self.u = nn.Parameter(torch.zeros(size))
        self.b = nn.Parameter(torch.zeros(()))

    @override
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u, wu = self._direction()
        h = (x @ self.w + self.b).tanh()
        z = x + h.unsqueeze(1) * u
        return z, (wu * (1 - h.square())).log1p()

    @override
    def inverse(self, z: Tensor) -> Tensor:
        u, wu = self._direction()
        y = z @ self.w
        with torch.no_grad():
            a = _bisect(y, wu, self.b)
        # One Newton step: exact to second order, and it carries the gradient of the solution.
        h = (a + self.b).tanh()
        a = a - (a + wu * h - y) / (1 + wu * (1 - h.square())).detach()
        return z - (a + self.b).tanh().unsqueeze(1) * u

    def _direction(self) -> tuple[Tensor, Tensor]:
        """Returns the direction, moved along ``w`` until ``w.u > -1``, and ``w.u``."""
        free = self.w @ self.u
        wu = softplus(free + math.log(math.expm1(1))) - 1
        return self.u + (wu - free) * self.w / self.w.square().sum(), wu


def _bisect(y: Tensor, wu: Tensor, b: Tensor) -> Tensor:
    """Returns the ``a`` with ``a + wu tanh(a + b) = y``, whose left side rises with ``a``."""
    low, high = y - wu.abs(), y + wu.abs()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = middle + wu * (middle + b).tanh() > y
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2
