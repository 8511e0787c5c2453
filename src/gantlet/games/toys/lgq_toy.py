"""The LGQ GAN by its settings."""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.games.toys.ensemble import Ensemble
from gantlet.games.toys.lgq import Lgq


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class LgqToy:
    """The LGQ GAN in exact expectation: linear generator, Gaussian data, quadratic critic.

    The data's covariance is diagonal, with eigenvalues from 1 down to ``1 / condition`` in equal
    ratios. Plain descent goes round; crossing-the-curl, a ridge or R1 lead to the solution.

    Source: Feizi et al., 2017, https://arxiv.org/abs/1710.10793; Gemp and Mahadevan, 2018,
    https://arxiv.org/abs/1808.01531.

    Attributes:
        dim: Components of a sample.
        condition: Largest over smallest eigenvalue.
        rank: Components of the noise, at most ``dim``, or none for as many.
        ridge: Weight of the critic's ``|W|^2 / 2``.
        gamma: Weight of R1.
        mean: Whether a mean of length 1 has to be learned too.
        seed: Decides where the players begin, from normal numbers.
    """

    dim: Annotated[int, Between(1)] = 2
    condition: Annotated[float, Between(1)] = 5.0
    rank: Annotated[int, Between(1)] | None = None
    ridge: Annotated[float, Between(0)] = 0.0
    gamma: Annotated[float, Between(0)] = 0.0
    mean: bool = False
    seed: int = 0

    @property
    def solver(self) -> str:
        """Plain gradient descent."""
        return "sgd:lr=0.01"

    @property
    def real(self) -> Tensor:
        """A sample that nobody looks at."""
        return torch.zeros(1, self.dim, dtype=torch.float64)

    def build(self) -> Lgq:
        """Returns the game at its start.

        Raises:
            UserError: If the rank is above ``dim``.
        """
        if self.rank is not None and self.rank > self.dim:
            raise UserError(f"lgq:rank must be at most dim, {self.dim}. Got {self.rank}.")
        powers = torch.linspace(0, -1, self.dim, dtype=torch.float64)
        covariance = torch.diag(self.condition**powers)
        mean = torch.full((self.dim,), self.dim**-0.5, dtype=torch.float64)
        game = Lgq(
            covariance,
            mean=mean if self.mean else None,
            rank=self.rank,
            ridge=self.ridge,
            gamma=self.gamma,
        )
        ensemble, stream = Ensemble(game), Rng(self.seed).stream("start")
        ensemble.place(torch.randn(len(ensemble.now), generator=stream, dtype=torch.float64))
        return game
