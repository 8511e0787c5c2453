"""MIX+GAN (Arora et al., 2017), https://arxiv.org/abs/1703.00573: mixtures on both sides.

Several generators and several critics play at once, each side as a mixture with trained weights,
so that an equilibrium in mixed strategies exists to be found where one in single networks may not:

    critic j           sum_i p_i  C(D_j, G_i)
    generator i        sum_j q_j  L(D_j, G_i)
    generator weights  sum_ij p_i q_j L(D_j, G_i) - entropy/k sum_i log p_i
    critic weights     sum_ij p_i q_j C(D_j, G_i) - entropy/k sum_j log q_j

where C and L are the losses of critic and generator in ``gan``, and p and q the softmax of
trained logits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError, unknown
from gantlet.core.model import refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Later
from gantlet.games.mixed import GeneratorMixture
from gantlet.models.gan import AdversarialGame, GanOptions, Generator
from gantlet.models.losses import AdversarialObjective, LossName, PenaltyName
from gantlet.models.nets import PlayerNetName, Scaling


@final
class Weights(nn.Module):
    """How often each of several players is played.

    Args:
        n: How many; all are equally likely at first.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n))

    def probabilities(self, *, grad: bool) -> Tensor:
        """Returns the weights, shape ``(n,)``, differentiable where wanted."""
        found: Tensor = self.logits.softmax(0)
        return found if grad else found.detach()


@final
class MixGame(AdversarialGame):
    """Generators and critics, each side a mixture.

    A batch is shared out evenly among the players of the other side, and each share counts by the
    weight of its player; so a step costs as much as one of ``gan`` for each pair of players.

    Args:
        generators: The generators.
        critics: As many critics, of scaled samples.
        rules: Loss and penalty.
        entropy: Weight of the entropy regularisation of the mixture weights.
    """

    def __init__(
        self,
        generators: Sequence[Generator],
        critics: Sequence[nn.Module],
        rules: AdversarialObjective,
        entropy: float,
    ) -> None:
        device = generators[0].scaling.shift.device
        self._generators, self._critics = list(generators), list(critics)
        self._rules, self._entropy = rules, entropy
        self._played = (Weights(len(critics)).to(device), Weights(len(generators)).to(device))
        self._model = GeneratorMixture(self._generators, self._played[1].logits)

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        nets: dict[str, nn.Module] = {
            **{f"critic {i + 1}": net for i, net in enumerate(self._critics)},
            **{f"generator {i + 1}": net for i, net in enumerate(self._generators)},
        }
        if len(self._generators) == 1:
            return nets
        return {**nets, "critic weights": self._played[0], "generator weights": self._played[1]}

    @property
    @override
    def model(self) -> GeneratorMixture:
        return self._model

    @override
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Returns the mean score of all critics, by their weights."""
        first = self._generators[0]
        seen = first.scaling(x + first.middle)
        scores = torch.stack([net(seen) for net in self._critics])
        return self._played[0].probabilities(grad=False) @ scores

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        for made in self._generators:
            made.scaling.fit(batch)

    @property
    @override
    def _scaling(self) -> Scaling:
        return self._generators[0].scaling

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        if player not in self.players:
            raise unknown("player", player, self.players)
        if len(batch) < len(self._generators):
            raise UserError(
                f"A batch of mix-gan must hold a sample for each of {len(self._generators)} "
                f"generators. Got {len(batch)}."
            )
        side, _, which = player.partition(" ")
        real = self._see(batch, rng)
        if which == "weights":
            return self._of_weights(side, real, rng, coupled=coupled)
        own = int(which) - 1
        if side == "critic":
            return self._of_critic(self._critics[own], real, rng, coupled=coupled)
        return self._of_generator(self._generators[own], real, rng, coupled=coupled)

    def _of_critic(
        self, net: nn.Module, real: Tensor, rng: torch.Generator, *, coupled: bool
    ) -> Tensor:
        with torch.set_grad_enabled(coupled):
            pairs = list(self._shares(real, rng))
            weights = self._played[1].probabilities(grad=coupled)
        each = [self._rules.critic(net, x, y, rng=rng, coupled=coupled) for x, y in pairs]
        return weights @ torch.stack(each)

    def _of_generator(
        self, made: Generator, real: Tensor, rng: torch.Generator, *, coupled: bool
    ) -> Tensor:
        fake = self._made(made, len(real), rng)
        parts = (x.tensor_split(len(self._critics)) for x in (real, fake))
        shares = zip(self._critics, *parts, strict=True)
        each = [self._rules.generator(net, x, y, coupled=coupled) for net, x, y in shares]
        return self._played[0].probabilities(grad=coupled) @ torch.stack(each)

    def _of_weights(
        self, side: str, real: Tensor, rng: torch.Generator, *, coupled: bool
    ) -> Tensor:
        with torch.set_grad_enabled(coupled):
            pairs = list(self._shares(real, rng))
        q, p = (w.probabilities(grad=True) for w in self._played)
        if not coupled:
            q, p = (q, p.detach()) if side == "critic" else (q.detach(), p)
        each = [self._pair(side, pair, rng, coupled=coupled) for pair in pairs]
        own = q if side == "critic" else p
        return p @ torch.stack(each) @ q - self._entropy * own.log().mean()

    def _pair(
        self, side: str, pair: tuple[Tensor, Tensor], rng: torch.Generator, *, coupled: bool
    ) -> Tensor:
        """Returns the losses of a side on real and made samples, one for each critic."""
        rules, (real, fake) = self._rules, pair
        losses = [
            rules.critic(net, real, fake, rng=rng, coupled=coupled)
            if side == "critic"
            else rules.generator(net, real, fake, coupled=coupled)
            for net in self._critics
        ]
        found = torch.stack(losses)
        return found if coupled else found.detach()

    def _shares(self, real: Tensor, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields for each generator its share of the real samples, and as many of its own."""
        parts = real.tensor_split(len(self._generators))
        for made, part in zip(self._generators, parts, strict=True):
            yield part, self._made(made, len(part), rng)

    def _made(self, made: Generator, n: int, rng: torch.Generator) -> Tensor:
        return self._see(made.decode(made.prior(n, rng=rng)), rng)

    def _see(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Returns samples as critics see them: scaled, discrete ones with noise."""
        return self._generators[0].scaling.noisy(x, rng=rng)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class MixGan(GanOptions):
    """A mixture of generators against a mixture of critics, for vectors and images.

    With ``k=1`` it is ``gan``, weight for weight. All networks are as there.

    Source: Arora et al., 2017 (MIX+GAN), https://arxiv.org/abs/1703.00573, section 4.

    Differs from the paper: a player's own weight does not scale its gradient, which Adam would
    undo; a batch is shared out among opponents; networks share no layers; the losses of ``gan``.

    Attributes:
        k: Number of generators and of critics.
        entropy: Weight of the entropy regularisation of the mixture weights.
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
        gamma: Weight of the penalty, ``gamma / 2 * E |grad D|^2`` on scaled samples; strided
            convolutions are penalised by four times as much.
        spectral: Whether the critics' layers are divided by their spectral norms.
        ema: Decay of the exponential moving average (EMA) of the generators' weights.
    """

    k: Annotated[int, Between(1)] = 3
    entropy: Annotated[float, Between(0)] = 0.1
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

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> MixGame:
        """Returns untrained mixtures for vectors or images.

        Raises:
            UserError: If ``space`` is neither, or convolutions are asked for on vectors, or
                there is a context.
        """
        refuse_context("mix-gan", context_space)
        # The first pair has the stream of ``gan``: with k=1 the networks are the same.
        streams = ["init", *(f"init {i + 1}" for i in range(1, self.k))]
        pairs = [self.networks(space, rng, family="mix-gan", stream=s) for s in streams]
        made, critics = [g for g, _ in pairs], [c for _, c in pairs]
        return MixGame(made, critics, self.rules_on(space), self.entropy)
