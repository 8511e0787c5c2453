"""The quadratic Wasserstein game of Gaussians: a linear generator, a quadratic potential."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import unknown
from gantlet.games.toys.lgq_exact import principal, wasserstein
from gantlet.games.toys.quadratic import LinearGenerator, QuadraticCritic
from gantlet.games.toys.solvable import Solvable


@final
class QuadraticWasserstein(Solvable):
    """``min_G max_P tr((I - P) S) + tr((I - P^-1) G G^T)`` over positive definite ``P``.

    The inner maximum is the squared 2-Wasserstein distance of ``N(0, S)`` and ``N(0, G G^T)``: it
    is the dual with potentials that are quadratic, as those of Gaussians are. Over ``G`` of rank
    ``r`` the smallest is the sum of the eigenvalues of ``S`` that are left out.

    Source: the quadratic GAN of Feizi et al., 2017, https://arxiv.org/abs/1710.10793; the form is
    derived here from the dual, not copied from the paper.
    Differs from the paper: ``P`` is the exponential of a symmetric matrix, which is what the
    critic learns, so that it cannot leave the positive definite ones.

    Args:
        covariance: ``S``, shape ``(d, d)``.
        rank: ``r``; all where None.
    """

    def __init__(self, covariance: Tensor, *, rank: int | None = None) -> None:
        dim = len(covariance)
        self._covariance = covariance
        self.generator = LinearGenerator(dim, dim if rank is None else rank)
        self.critic = QuadraticCritic(dim)
        goal = principal(covariance, self.generator.scale.shape[1])
        self._least = wasserstein(covariance, goal)

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    @override
    def noise(self, n: int, *, rng: torch.Generator) -> Tensor:
        return self._covariance.new_empty(0)

    @override
    def judge(self, player: str, batch: Tensor, noise: Tensor) -> Tensor:
        if player not in self.players:
            raise unknown("player", player, self.players)
        made, log = self.generator.covariance, self.critic.matrix
        moved = (torch.linalg.matrix_exp(log) * self._covariance).sum()
        back = (torch.linalg.matrix_exp(-log) * made).sum()
        value: Tensor = torch.trace(self._covariance) + torch.trace(made) - moved - back
        return value if player == "generator" else -value

    @override
    def distance(self) -> Tensor:
        """Returns the distance to the data less the smallest there is, as a share of ``tr S``."""
        reached = wasserstein(self._covariance, self.generator.covariance)
        return (reached - self._least) / torch.trace(self._covariance)
