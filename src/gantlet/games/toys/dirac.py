"""The smallest GAN: one real point, a generator that is a point, a critic that is a slope."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import unknown
from gantlet.core.game import Game
from gantlet.core.spec import Between
from gantlet.games.adversarial import Rules
from gantlet.games.losses import LossName
from gantlet.games.penalties import PenaltyName
from gantlet.games.toys.point import Point


@final
class Slope(nn.Module):
    """A linear critic of numbers, ``D(x) = at . x``.

    Args:
        at: Its slope at first, shape ``(1,)``.
        clip: Where its size is cut off, or infinity.
    """

    def __init__(self, at: Tensor, clip: float = math.inf) -> None:
        super().__init__()
        self.at = nn.Parameter(at.clone())
        self._clip = clip

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the scores of ``x``, shape ``(n, 1)``, as shape ``(n,)``."""
        # Cut off before it is used is cut off after it has moved.
        if bool((self.at.detach().abs() > self._clip).any()):
            with torch.no_grad():
                self.at.clamp_(-self._clip, self._clip)
        return x @ self.at


@final
class DiracGame(Game):
    """Real data at 0, the generator at ``theta``, the critic ``psi x``.

    Args:
        rules: Loss and penalty, as for any GAN.
        noise: Standard deviation of the noise on what the critic sees.
        clip: Where the critic's slope is cut off, or infinity.
        start: Where ``theta`` and ``psi`` begin.
    """

    def __init__(
        self, rules: Rules, *, noise: float, clip: float, start: tuple[float, float]
    ) -> None:
        theta, psi = (torch.tensor([s], dtype=torch.float64) for s in start)
        self._critic, self._generator = Slope(psi, clip), Point(theta)
        self._rules = rules
        self._noise = noise

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self._critic, "generator": self._generator}

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        return self._loss(player, batch, rng, coupled=False)

    @override
    def coupled(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        return self._loss(player, batch, rng, coupled=True)

    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        real, fake = batch, self._generator.at.expand(len(batch), 1)
        if self._noise:
            real, fake = self._noisy(real, fake)
        if player == "critic":
            return self._rules.critic(self._critic, real, fake, rng=rng, coupled=coupled)
        if player == "generator":
            return self._rules.generator(self._critic, real, fake, coupled=coupled)
        raise unknown("player", player, self.players)

    def _noisy(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Returns every pair of signs on each pair of samples."""
        signs = self._noise * torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
        other = self._noise * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
        shape = (len(real), 4, 1)
        seen = real[:, None].expand(shape) + signs[:, None]
        made = fake[:, None].expand(shape) + other[:, None]
        return seen.flatten(0, 1), made.flatten(0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Dirac:
    """The Dirac-GAN: all real data at 0, a generator ``theta``, a critic ``D(x) = psi x``.

    Its equilibrium is ``theta = psi = 0``. There the eigenvalues of the field tell which methods
    converge, as far as they are local: without a penalty they lie on the imaginary axis.

    Source: Mescheder et al., 2018, https://arxiv.org/abs/1801.04406, section 2.
    Differs from the paper: instance noise is plus or minus ``noise``, all pairs of signs alike,
    in place of normal noise of that standard deviation; near the equilibrium they do the same.

    Attributes:
        loss: What is played for.
        penalty: What holds down the critic's slope.
        gamma: Weight of the penalty, ``gamma / 2 * |grad D|^2``.
        noise: Standard deviation of instance noise.
        clip: Where the critic's slope is cut off after each step, or none.
        theta: Where the generator begins.
        psi: Where the critic begins.
    """

    loss: LossName = "ns"
    penalty: PenaltyName = "none"
    gamma: Annotated[float, Between(0)] = 1.0
    noise: Annotated[float, Between(0)] = 0.0
    clip: Annotated[float, Between(0)] | None = None
    theta: float = 1.0
    psi: float = 1.0

    @property
    def solver(self) -> str:
        """Plain gradient descent."""
        return "sgd:lr=0.1"

    @property
    def real(self) -> Tensor:
        """The one point."""
        return torch.zeros(1, 1, dtype=torch.float64)

    def build(self) -> DiracGame:
        """Returns the game at its start."""
        rules = Rules(loss=self.loss, penalty=self.penalty, gamma=self.gamma)
        clip = math.inf if self.clip is None else self.clip
        return DiracGame(rules, noise=self.noise, clip=clip, start=(self.theta, self.psi))
