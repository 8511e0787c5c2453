"""Small GANs on samples: any generator, any critic, the Wasserstein loss."""

from collections.abc import Callable, Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from typing_extensions import override

from gantlet.core.errors import unknown
from gantlet.games.distance import energy_distance
from gantlet.games.toys.lgq_exact import wasserstein
from gantlet.games.toys.quadratic import LinearGenerator
from gantlet.games.toys.solvable import Solvable

Goal = Callable[[], Tensor]
"""How far a generator is from what it should make, a scalar."""


@final
class Sampled(Solvable):
    """``min_G max_D mean D(x) - mean D(G(z))`` over a batch ``x`` and a fresh noise ``z``.

    The critic's loss adds ``gamma / 2 mean |grad D(x)|^2``.

    Source: Arjovsky et al., 2017, https://arxiv.org/abs/1701.07875, eq. 2; R1 as Mescheder et al.,
    2018, https://arxiv.org/abs/1801.04406.
    Differs from the paper: nothing keeps the critic Lipschitz but R1.

    Args:
        generator: From noise, shape ``(n, latent)``, to samples.
        critic: From samples to scores, shape ``(n,)``.
        latent: Components of the noise, which is standard normal.
        goal: How far the generator is off.
        gamma: Weight of R1.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        *,
        latent: int,
        goal: Goal,
        gamma: float = 0.0,
    ) -> None:
        self.generator, self.critic = generator, critic
        self._latent, self._goal, self._gamma = latent, goal, gamma

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self.critic, "generator": self.generator}

    @override
    def noise(self, n: int, *, rng: torch.Generator) -> Tensor:
        return torch.randn(n, self._latent, generator=rng, device=rng.device, dtype=torch.float64)

    @override
    def judge(self, player: str, batch: Tensor, noise: Tensor) -> Tensor:
        fooled: Tensor = self.critic(self.generator(noise)).mean()
        if player == "generator":
            return -fooled
        if player != "critic":
            raise unknown("player", player, self.players)
        loss: Tensor = fooled - self.critic(batch).mean()
        return loss + self._gamma / 2 * self._slope(batch) if self._gamma else loss

    def _slope(self, batch: Tensor) -> Tensor:
        def score(x: Tensor) -> Tensor:
            found: Tensor = self.critic(x[None])[0]
            return found

        slopes: Tensor = vmap(grad(score))(batch)
        return slopes.square().sum(1).mean()

    @override
    def distance(self) -> Tensor:
        """Returns what the goal says."""
        return self._goal()


def gaussian_goal(generator: LinearGenerator, mean: Tensor, covariance: Tensor) -> Goal:
    """Returns the 2-Wasserstein distance of Gaussians, over the spread of the data.

    ``W_2 / sqrt(tr S)`` between the Gaussians with the moments of the data and of the generator:
    of data that are not Gaussian it is a lower bound (Gelbrich, 1990).
    """

    def goal() -> Tensor:
        shift = mean if generator.shift is None else generator.shift - mean
        square = wasserstein(covariance, generator.covariance) + shift.square().sum()
        return (square.clamp(min=0) / torch.trace(covariance)).sqrt()

    return goal


def energy_goal(generator: nn.Module, noise: Tensor, real: Tensor, scale: float) -> Goal:
    """Returns the energy distance of samples of ``noise`` to ``real``, in units of ``scale``."""

    def goal() -> Tensor:
        return energy_distance(generator(noise), real) / scale

    return goal
