"""GANs whose critic sees several samples at once (PacGAN), https://arxiv.org/abs/1712.04086.

A generator that drops modes makes pairs of samples that are too often alike. A critic that sees
packs of ``m`` samples, all real or all fake, can tell from that what one that sees single samples
cannot: packing penalizes missing modes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError, unknown
from gantlet.core.model import refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.gan import (
    AdversarialObjective,
    Gan,
    Generator,
    LossName,
    PenaltyName,
    SampleGame,
)
from gantlet.models.nets import NetName, Scaling


def packed(x: Tensor, pack: int) -> Tensor:
    """Returns each sample with the ``pack - 1`` that follow it, the first following the last.

    Args:
        x: Samples, shape ``(n, d, ...)``.
        pack: Number of samples in a pack.

    Returns:
        The packs, side by side along the first dimension, shape ``(n, pack * d, ...)``.

    Raises:
        UserError: If there are fewer samples than a pack holds.

    Example:
        >>> packed(torch.tensor([[1.0], [2.0], [3.0]]), 2).tolist()
        [[1.0, 2.0], [2.0, 3.0], [3.0, 1.0]]
    """
    if pack == 1:
        return x
    n = len(x)
    if n < pack:
        raise UserError(f"A batch of pac-gan must hold pack={pack} samples or more. Got {n}.")
    places = torch.arange(n, device=x.device)
    index = (places[:, None] + places[:pack]) % n
    return x[index].flatten(1, 2)


@final
class PacGame(SampleGame):
    """The game of ``gan``, with packs in place of samples for the critic.

    It is not ``Adversarial``: a single sample has no score.

    Args:
        model: The generator.
        net: The critic, of packs of scaled samples.
        rules: Loss and penalty.
        pack: Number of samples in a pack.
    """

    def __init__(
        self, model: Generator, net: nn.Module, rules: AdversarialObjective, pack: int
    ) -> None:
        self._model = model
        self._critic = net
        self._rules = rules
        self._pack = pack

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self._critic, "generator": self._model}

    @property
    @override
    def model(self) -> Generator:
        return self._model

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self._model.scaling.fit(batch)

    @property
    @override
    def _scaling(self) -> Scaling:
        return self._model.scaling

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        if player not in self.players:
            raise unknown("player", player, self.players)
        real = self._see(batch, rng)
        z = self._model.prior(len(batch), rng=rng)
        is_critic = player == "critic"
        with torch.set_grad_enabled(coupled or not is_critic):
            fake = self._see(self._model.decode(z), rng)
        if is_critic:
            return self._rules.critic(self._critic, real, fake, rng=rng, coupled=coupled)
        return self._rules.generator(self._critic, real, fake, coupled=coupled)

    def _see(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Returns packs as the critic sees them: scaled, discrete ones with noise."""
        return packed(self._model.scaling.noisy(x, rng=rng), self._pack)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class PacGan:
    """A GAN whose critic sees packs of samples, for vectors and images.

    With ``pack=1`` it is ``gan``, weight for weight. All networks are as there, but for the
    critic's input.

    Source: Lin et al., 2018 (PacGAN), https://arxiv.org/abs/1712.04086.

    Differs from the paper: the packs of a batch overlap, each sample in as many as a pack holds,
    so that a step draws no more samples than one of ``gan``; the losses and networks of ``gan``.

    Attributes:
        pack: Number of samples that the critic sees at once.
        latent: Latent dimension.
        width: Width of the hidden layers; a convolutional net has a quarter as many channels.
        depth: Hidden layers; residual blocks at each resolution of a convolutional net.
        net: ``mlp``, ``conv``, or ``auto``: convolutions for images larger than
            32x32 in colour.
        loss: Adversarial loss.
        penalty: Gradient penalty.
        gamma: Weight of the penalty, ``gamma / 2 * E |grad D|^2`` on scaled packs.
        spectral: Whether the critic's layers are divided by their spectral norms.
        ema: Decay of the exponential moving average (EMA) of the generator's weights.
    """

    pack: Annotated[int, Between(1)] = 2
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
        """Adam without momentum, as for ``gan``."""
        return "adam:lr=0.001,beta1=0.0,beta2=0.99"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> PacGame:
        """Returns an untrained GAN with packs for vectors or images.

        Raises:
            UserError: If ``space`` is neither, or convolutions are asked for on vectors, or
                there is a context.
        """
        refuse_context("pac-gan", context_space)
        plain = Gan(
            latent=self.latent,
            width=self.width,
            depth=self.depth,
            net=self.net,
            spectral=self.spectral,
        )
        rules = AdversarialObjective(loss=self.loss, penalty=self.penalty, gamma=self.gamma)
        networks = plain.networks(space, rng, family="pac-gan", pack=self.pack)
        return PacGame(*networks, rules, self.pack)
