"""The LGQ GAN under the loss of the original GAN: quadratic logits, expectations by quadrature."""

import math
from collections.abc import Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from typing_extensions import override

from gantlet.core.errors import unknown
from gantlet.games.toys.lgq_exact import principal
from gantlet.games.toys.quadratic import LinearGenerator, QuadraticCritic
from gantlet.games.toys.solvable import Solvable


@final
class JensenShannonLgq(Solvable):
    """``min_A max_W E log s(D(x)) + E log s(-D(G(z)))`` for the logistic ``s``, data ``N(0, S)``.

    Expectations are sums over a grid of Gauss and Hermite's, exact but for rounding for the smooth
    losses here, and grow as ``nodes ** d``: meant for one or two dimensions.

    Source: Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661, eq. 1, on the players of
    Feizi et al., 2017, https://arxiv.org/abs/1710.10793.

    Args:
        covariance: ``S``, shape ``(d, d)``.
        rank: Components of the noise; all where None.
        gamma: Weight of R1 as ``gamma / 2 E |grad D|^2``.
        nodes: Points of the grid in each dimension.
    """

    def __init__(
        self,
        covariance: Tensor,
        *,
        rank: int | None = None,
        gamma: float = 0.0,
        nodes: int = 20,
    ) -> None:
        dim = len(covariance)
        rank = dim if rank is None else rank
        self._covariance, self._gamma = covariance, gamma
        self.generator = LinearGenerator(dim, rank)
        self.critic = QuadraticCritic(dim, is_offset=True)
        self._goal = principal(covariance, rank)
        points, self._real_weights = gauss_hermite(dim, nodes)
        self._real = points @ torch.linalg.cholesky(covariance).mT
        self._noise, self._fake_weights = gauss_hermite(rank, nodes)

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    @override
    def noise(self, n: int, *, rng: torch.Generator) -> Tensor:
        return self._covariance.new_empty(0)

    @override
    def judge(self, player: str, batch: Tensor, noise: Tensor) -> Tensor:
        fooled: Tensor = softplus(self.critic(self.generator(self._noise))) @ self._fake_weights
        if player == "generator":
            return -fooled
        if player != "critic":
            raise unknown("player", player, self.players)
        loss: Tensor = softplus(-self.critic(self._real)) @ self._real_weights + fooled
        if self._gamma:
            loss = loss + self._gamma / 2 * self.critic.mean_slope(self._covariance, None)
        return loss

    @override
    def distance(self) -> Tensor:
        """Returns ``|A A^T - S_r| / |S|``: the critic may have many best answers."""
        off = torch.linalg.norm(self.generator.covariance - self._goal)
        share: Tensor = off / torch.linalg.norm(self._covariance)
        return share


def gauss_hermite(dim: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Returns points, shape ``(nodes ** dim, dim)``, and weights of a standard normal.

    Example:
        >>> points, weights = gauss_hermite(2, 5)
        >>> round(float((points[:, 0] ** 4 * points[:, 1] ** 2) @ weights), 12)
        3.0
    """
    at, weight = np.polynomial.hermite_e.hermegauss(nodes)
    x, w = torch.from_numpy(at), torch.from_numpy(weight / math.sqrt(2 * math.pi))
    points, weights = x[:, None], w
    for _ in range(dim - 1):
        points = torch.cat([points.repeat_interleave(nodes, 0), x.repeat(len(points))[:, None]], 1)
        weights = torch.outer(weights, w).flatten()
    return points, weights
