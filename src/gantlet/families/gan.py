"""Generative adversarial networks (Goodfellow et al., 2014), https://arxiv.org/abs/1406.2661.

A generator maps noise to samples, a critic scores samples, and each is trained against the other.
The default is R3GAN (Huang et al., 2024, https://arxiv.org/abs/2501.05441): scores of real and
fake samples are compared in pairs, and the critic's slope is held down at both,

    critic     E softplus(D(G(z)) - D(x)) + gamma/2 (E |grad D(x)|^2 + E |grad D(G(z))|^2)
    generator  E softplus(D(x) - D(G(z)))

where x is a real sample, z standard normal noise, D the critic's score and G the generator.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import UserError, unknown
from gantlet.core.family import refuse_context
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.games.adversarial import AgainstCritic, Rules
from gantlet.games.losses import LossName
from gantlet.games.penalties import PenaltyName
from gantlet.nets.critic import critic
from gantlet.nets.generator import generator
from gantlet.nets.pushed import Generator
from gantlet.nets.residual import NetName
from gantlet.nets.scaling import Scaling
from gantlet.nets.seeding import seeded


@final
class GanGame(AgainstCritic):
    """The critic tells real from fake; the generator makes it err.

    Where levels are discrete, real samples are round and the generator's output is not, which
    would give every fake away. So the critic sees both with the same noise added, uniform and one
    level wide: two distributions agree exactly when they agree with it.

    Args:
        model: The generator.
        net: The critic, of scaled samples.
        rules: Loss and penalty.
    """

    def __init__(self, model: Generator, net: nn.Module, rules: Rules) -> None:
        self._model = model
        self._critic = net
        self._rules = rules

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self._critic, "generator": self._model}

    @property
    @override
    def model(self) -> Generator:
        return self._model

    @override
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        score: Tensor = self._critic(self._model.scaling(x + self._model.middle))
        return score

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self._model.scaling.fit(batch)

    @property
    @override
    def _scaling(self) -> Scaling:
        return self._model.scaling

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        real = self._see(batch, rng)
        z = self._model.prior(len(batch), rng=rng)
        if player == "critic":
            with torch.set_grad_enabled(coupled):
                fake = self._see(self._model.decode(z), rng)
            return self._rules.critic(self._critic, real, fake, rng=rng, coupled=coupled)
        if player == "generator":
            fake = self._see(self._model.decode(z), rng)
            return self._rules.generator(self._critic, real, fake, coupled=coupled)
        raise unknown("player", player, self.players)

    def _see(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Returns samples as the critic sees them: scaled, discrete ones with noise."""
        return self._model.scaling.noisy(x, rng=rng)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Gan:
    """A generative adversarial network for vectors and images.

    Source: Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661; by default Huang et al.,
    2024 (R3GAN), https://arxiv.org/abs/2501.05441.

    Differs from the paper: an MLP up to 32x32 in colour, and for larger images blocks of two
    plain 3x3 convolutions with bilinear resampling; a hyperbolic tangent at the end of a generator
    of discrete samples; uniform noise on what the critic sees of them; constant learning rate,
    decay and ``gamma``; no augmentation.

    Attributes:
        latent: Components of the noise.
        width: Width of the hidden layers; a convolutional net has a quarter as many channels.
        depth: Hidden layers; residual blocks at each resolution of a convolutional net.
        net: ``mlp``, ``conv``, or ``auto``: convolutions for images larger than
            32x32 in colour.
        loss: What is played for.
        penalty: What holds down the critic's slope.
        gamma: Weight of the penalty, ``gamma / 2 * E |grad D|^2`` on scaled samples.
        spectral: Whether the critic's layers are divided by their spectral norms.
        ema: Decay of the running average of the generator's weights.
    """

    latent: Annotated[int, Between(1)] = 32
    width: Annotated[int, Between(4)] = 128
    depth: Annotated[int, Between(1)] = 2
    net: NetName = "auto"
    loss: LossName = "relativistic"
    penalty: PenaltyName = "r1r2"
    gamma: Annotated[float, Between(0)] = 0.3
    spectral: bool = False
    ema: Annotated[float, Between(0, 1, below=True)] = 0.995

    @property
    def solver(self) -> str:
        """Adam without momentum, which players that chase each other do not bear."""
        return "adam:lr=0.001,beta1=0.0,beta2=0.99"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> GanGame:
        """Returns an untrained GAN for vectors or images.

        Raises:
            UserError: If ``space`` is neither, or convolutions are asked for on vectors, or
                there is a context.
        """
        refuse_context("gan", context_space)
        if space.kind not in {"vector", "image"}:
            raise UserError(f"gan models vectors and images. Got {space.label}.")
        size = {"width": self.width, "depth": self.depth}
        with seeded(rng.stream("init")):
            made = generator(space, latent=self.latent, net=self.net, **size)
            judge = critic(space, spectral=self.spectral, net=self.net, **size)
        model = Generator(space, self.latent, made).to(rng.device)
        rules = Rules(loss=self.loss, penalty=self.penalty, gamma=self.gamma)
        return GanGame(model, judge.to(rng.device), rules)
