"""The LGQ GAN: a linear generator, Gaussian data, a quadratic critic, in exact expectation."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import unknown
from gantlet.games.toys.lgq_exact import best_critic, principal
from gantlet.games.toys.quadratic import LinearGenerator, QuadraticCritic
from gantlet.games.toys.solvable import Solvable


@final
class Lgq(Solvable):
    """``min_A max_W E D(x) - E D(G(z))`` for ``x`` of ``N(m, S)`` and ``z`` of ``N(0, I)``.

    The critic's loss adds ``ridge / 2 |W|^2 + gamma / 2 E |grad D(x)|^2``. The batch is not looked
    at: expectations are exact. Of a lower rank than the data and without a penalty the game has no
    equilibrium, as the critic grows for ever; the distance is then that of ``A`` alone.

    Source: the setting of Feizi et al., 2017, https://arxiv.org/abs/1710.10793, with the dynamics
    of Gemp and Mahadevan, 2018, https://arxiv.org/abs/1808.01531.
    Differs from the papers: ``A`` is any matrix, where Gemp and Mahadevan keep it triangular with
    a diagonal above 0; so it is found up to a rotation of the noise.

    Args:
        covariance: ``S``, shape ``(d, d)``, positive definite.
        mean: ``m``, shape ``(d,)``, which both players then learn of; None where it is known and
            samples are centred.
        rank: Components of the noise; all where None.
        ridge: Weight of the critic's ridge.
        gamma: Weight of R1.
    """

    def __init__(
        self,
        covariance: Tensor,
        *,
        mean: Tensor | None = None,
        rank: int | None = None,
        ridge: float = 0.0,
        gamma: float = 0.0,
    ) -> None:
        dim = len(covariance)
        rank = dim if rank is None else rank
        self._covariance, self._ridge, self._gamma = covariance, ridge, gamma
        self._mean = mean
        self.generator = LinearGenerator(dim, rank, is_shifted=mean is not None)
        self.critic = QuadraticCritic(dim, is_tilted=mean is not None)
        self._goal = principal(covariance, rank)
        has_best = rank == dim or ridge > 0 or gamma > 0
        best = best_critic(covariance, rank, ridge=ridge, gamma=gamma)
        self._best = best if has_best else None

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    @override
    def noise(self, n: int, *, rng: torch.Generator) -> Tensor:
        return self._covariance.new_empty(0)

    @override
    def judge(self, player: str, batch: Tensor, noise: Tensor) -> Tensor:
        made = self.critic.mean_score(self.generator.covariance, self.generator.shift)
        if player == "generator":
            return -made
        if player == "critic":
            real = self.critic.mean_score(self._covariance, self._mean)
            return self._held_back(made - real)
        raise unknown("player", player, self.players)

    def _held_back(self, loss: Tensor) -> Tensor:
        if self._ridge:
            loss = loss + self._ridge / 2 * self.critic.curve.square().sum()
        if self._gamma:
            slope = self.critic.mean_slope(self._covariance, self._mean)
            loss = loss + self._gamma / 2 * slope
        return loss

    @override
    def distance(self) -> Tensor:
        """Returns ``|A A^T - S_r| / |S| + |W - W_r|``, and where learned the distances of b and v.

        ``S_r`` is the principal part of ``S``; ``v`` there is ``-2 W m``.
        """
        off = torch.linalg.norm(self.generator.covariance - self._goal)
        parts = [off / torch.linalg.norm(self._covariance)]
        if self._mean is not None and self.generator.shift is not None:
            parts.append(torch.linalg.norm(self.generator.shift - self._mean))
        if self._best is not None:
            parts.append(torch.linalg.norm(self.critic.matrix - self._best))
            if self._mean is not None and self.critic.tilt is not None:
                parts.append(torch.linalg.norm(self.critic.tilt + 2 * self._best @ self._mean))
        return torch.stack(parts).sum()
