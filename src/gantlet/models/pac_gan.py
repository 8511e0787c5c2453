"""GANs whose critic sees several samples at once (PacGAN), https://arxiv.org/abs/1712.04086.

A generator that drops modes makes pairs of samples that are too often alike. A critic that sees
packs of ``m`` samples, all real or all fake, can tell from that what one that sees single samples
cannot: packing penalizes missing modes.
"""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Later
from gantlet.models.gan import DuelGame, GanOptions, Generator
from gantlet.models.losses import AdversarialObjective, LossName, PenaltyName
from gantlet.models.nets import PlayerNetName


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
        raise UserError(
            f"A batch must hold pack={pack} samples or more. Got {n}; give a larger --batch."
        )
    places = torch.arange(n, device=x.device)
    index = (places[:, None] + places[:pack]) % n
    return x[index].flatten(1, 2)


@final
class PacGame(DuelGame):
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
        super().__init__(model, net, rules)
        self._pack = pack

    @override
    def _see(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Returns packs as the critic sees them: scaled, discrete ones with noise."""
        return packed(super()._see(x, rng), self._pack)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class PacGan(GanOptions):
    """A GAN whose critic sees packs of samples, for vectors and images.

    With ``pack=1`` it is ``gan``, weight for weight. All networks are as there, but for the
    critic's input.

    Source: Lin et al., 2018 (PacGAN), https://arxiv.org/abs/1712.04086.

    Differs from the paper: the packs of a batch overlap, each sample in as many as a pack holds,
    so that a step draws no more samples than one of ``gan``; the losses and networks of ``gan``.

    Attributes:
        pack: Number of samples that the critic sees at once.
        latent: Latent dimension.
        width: Width of the hidden layers; strided convolutions have half as many channels.
        depth: Hidden layers; convolutions of the smallest maps.
        net: ``mlp``, ``strided`` convolutions, ``conv`` for residual ones, with a quarter as many
            channels and ``depth`` blocks at each resolution, or ``auto``: strided convolutions
            for images larger than 28x28 grey.
        loss: Adversarial loss.
        penalty: Gradient penalty.
        penalty_every: One pair in so many of a batch is penalised; 0 takes 4 with strided
            convolutions and 1 otherwise.
        gamma: Weight of the penalty, ``gamma / 2 * E |grad D|^2`` on scaled packs; strided
            convolutions are penalised by four times as much.
        spectral: Whether the critic's layers are divided by their spectral norms.
        ema: Decay of the exponential moving average (EMA) of the generator's weights.
    """

    pack: Annotated[int, Between(1)] = 2
    latent: Annotated[int, Between(1)] = 32
    width: Annotated[int, Between(4)] = 128
    depth: Annotated[int, Between(1)] = 2
    net: PlayerNetName = "auto"
    loss: LossName = "relativistic"
    penalty: PenaltyName = "r1r2"
    penalty_every: Annotated[int, Between(0), Later()] = 0
    gamma: Annotated[float, Between(0)] = 0.3
    spectral: bool = False
    ema: Annotated[float, Between(0, 1, below=True)] = 0.995

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> PacGame:
        """Returns an untrained GAN with packs for vectors or images.

        Raises:
            UserError: If ``space`` is neither, or convolutions are asked for on vectors, or
                there is a context.
        """
        refuse_context("pac-gan", context_space)
        networks = self.networks(space, rng, family="pac-gan", pack=self.pack)
        return PacGame(*networks, self.rules_on(space), self.pack)
