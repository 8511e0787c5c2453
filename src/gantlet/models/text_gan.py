"""Adversarial text and walks: critics that see relaxed levels, with a gradient to the generator.

Levels have no gradient. Two estimators go around that: ``gumbel`` draws exact samples of a
recurrent generator and lets the gradient pass through a relaxation of them; ``simplex`` shows the
critic probabilities in the place of levels.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.model import Generative, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.losses import AdversarialObjective, LossName, PenaltyName
from gantlet.models.nets import LatentScaled, seeded
from gantlet.models.recurrent import CellName, LanguageModel, SequenceSizes, check_sequences
from gantlet.models.sequence_games import (
    LikelihoodStart,
    ResidualConv1d,
    ResidualCritic,
    SequenceGame,
    Start,
    WindowCritic,
    indicators,
)
from gantlet.stats.witten_bell import END, zeros_trail

# ----------------------------------------------------------------------------
# Exact samples of a recurrent generator, with a relaxed gradient.
# ----------------------------------------------------------------------------


@final
class GumbelGame(LikelihoodStart[LanguageModel]):
    """A recurrent generator whose samples carry a straight-through Gumbel-softmax gradient.

    Args:
        model: The generator; its log-probability is exact.
        net: The critic, of indicators.
        rules: Loss and penalty.
        tau: Temperature of the relaxation.
        start: Steps of likelihood before the game.
    """

    def __init__(
        self,
        model: LanguageModel,
        net: nn.Module,
        rules: AdversarialObjective,
        *,
        tau: float,
        start: Start,
    ) -> None:
        super().__init__(model, net, start)
        self._critic = net
        self._rules = rules
        self._tau = tau

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        net = self._model.net
        real = indicators(batch, net.levels)

        def made() -> Tensor:
            return net.relaxed(len(batch), tau=self._tau, rng=rng).one_hot

        loss = self._rules.of(player, self._critic, real, made, rng=rng, coupled=coupled)
        if player == "critic":
            return loss
        return self.mixed(loss, lambda: -net.log_probs(batch.long()).mean())

    @override
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        score: Tensor = self._critic(indicators(x, self._model.net.levels))
        return score


# ----------------------------------------------------------------------------
# Probabilities in the place of levels.
# ----------------------------------------------------------------------------


@final
class SimplexModel(LatentScaled):
    """All places of a sequence at once, from one latent, as probabilities of the levels.

    A sample is the likeliest level of each place.

    Args:
        space: Rows of tokens, or walks.
        latent: Latent dimension.
        width: Channels of the convolutions.
        blocks: Residual blocks.
    """

    ends: Tensor

    def __init__(self, space: Space, *, latent: int, width: int, blocks: int) -> None:
        super().__init__()
        self.space = space
        self.latent = latent
        self.net = nn.Sequential(
            nn.Linear(latent, width * space.size),
            nn.Unflatten(1, (width, space.size)),
            *(ResidualConv1d(width) for _ in range(blocks)),
            nn.Conv1d(width, space.levels or 1, 1),
        )
        self.register_buffer("ends", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:  # noqa: ARG002
        """Finds out from samples whether only zeros follow a zero."""
        self.ends.fill_(self.space.kind == "tokens" and zeros_trail(batch))

    def probabilities(self, n: int, *, rng: torch.Generator) -> Tensor:
        """Returns the probabilities of ``n`` samples, shape ``(n, length, levels)``."""
        z = torch.randn(n, self.latent, generator=rng, device=rng.device)
        like = next(self.net.parameters())
        logits: Tensor = self.net(self.latent_scale * z.to(like.dtype))
        return logits.softmax(1).transpose(1, 2)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        p = self.probabilities(n, rng=rng)
        x = p.argmax(2)
        over = ((x == END) & self.ends).cumsum(1) > 0
        return x.masked_fill(over, END).to(p.dtype)


@final
class SimplexGame(SequenceGame[SimplexModel]):
    """A convolutional generator whose probabilities a critic sees in the place of levels.

    Args:
        model: The generator.
        net: The critic, of indicators and of probabilities.
        rules: Loss and penalty.
    """

    def __init__(self, model: SimplexModel, net: nn.Module, rules: AdversarialObjective) -> None:
        super().__init__(model, net)
        self._critic = net
        self._rules = rules

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self._model.prepare(batch, rng=rng)

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        real = indicators(batch, self._model.space.levels or 1)

        def made() -> Tensor:
            return self._model.probabilities(len(batch), rng=rng)

        return self._rules.of(player, self._critic, real, made, rng=rng, coupled=coupled)

    @override
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        score: Tensor = self._critic(indicators(x, self._model.space.levels or 1))
        return score


# ----------------------------------------------------------------------------
# The family.
# ----------------------------------------------------------------------------

# Default widths. A step of simplex is six batches, 0.12 CPU seconds on rows of 15 letters.
_UNITS, _CHANNELS = 128, 32

AutoLoss = Literal["auto", LossName]
AutoPenalty = Literal["auto", PenaltyName]


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class TextGan:
    """A generative adversarial network for text and for walks on a graph.

    Source: Jang, Gu and Poole, 2017, https://arxiv.org/abs/1611.01144 and Nie, Narodytska and
    Patel, 2019 (RelGAN), https://openreview.net/forum?id=rJedV3R5tm (gumbel); Gulrajani et al.,
    2017, https://arxiv.org/abs/1704.00028, section 5.4 (simplex).

    Differs from the papers: gumbel has a recurrent network in the place of RelGAN's relational
    memory, one embedding of the critic in the place of 64, and a constant temperature.

    Attributes:
        estimator: How the gradient reaches the generator: ``gumbel`` through a relaxation of
            exact samples of a recurrent network, ``simplex`` through probabilities that the
            critic sees in the place of levels.
        net: Recurrent layers of the generator, for gumbel.
        width: Units of the generator, or channels of both players, for simplex; none for 128 and
            32.
        embed: Size of the vector of a level, for gumbel.
        filters: Filters of each window of the critic, for gumbel.
        blocks: Residual blocks of each player, for simplex.
        latent: Latent dimension, for simplex.
        tau: Temperature of the relaxation, for gumbel.
        start: Steps of likelihood before the game, for gumbel.
        likelihood: Weight of the likelihood in the game, in nats for each place, for gumbel.
        loss: Adversarial loss; ``auto`` is relativistic for gumbel, wgan for simplex.
        penalty: Gradient penalty; ``auto`` is none for gumbel, gp for simplex.
        gamma: Weight of the penalty, ``gamma / 2 * E |grad D|^2``, in the space of indicators.
        ema: Decay of the exponential moving average (EMA) of the generator's weights.
    """

    estimator: Literal["gumbel", "simplex"] = "gumbel"
    net: CellName = "gru"
    width: Annotated[int, Between(1)] | None = None
    embed: Annotated[int, Between(1)] = 32
    filters: Annotated[int, Between(1)] = 64
    blocks: Annotated[int, Between(1)] = 2
    latent: Annotated[int, Between(1)] = 128
    tau: Annotated[float, Between(0, above=True)] = 1.0
    start: Annotated[int, Between(0)] = 0
    likelihood: Annotated[float, Between(0)] = 0.0
    loss: AutoLoss = "auto"
    penalty: AutoPenalty = "auto"
    gamma: Annotated[float, Between(0)] = 20.0
    ema: Annotated[float, Between(0, 1, below=True)] = 0.98

    @property
    def solver(self) -> str:
        """Adam."""
        if self.estimator == "gumbel":
            return "adam:lr=0.001,beta1=0.5,beta2=0.99,clip=1.0"
        return "adam:lr=0.0003,beta1=0.5,beta2=0.9,steps=5+1"

    @property
    def rules(self) -> AdversarialObjective:
        """Loss and penalty."""
        relaxed = self.estimator == "gumbel"
        loss: LossName = "relativistic" if relaxed else "wgan"
        penalty: PenaltyName = "none" if relaxed else "gp"
        return AdversarialObjective(
            loss=loss if self.loss == "auto" else self.loss,
            penalty=penalty if self.penalty == "auto" else self.penalty,
            gamma=self.gamma,
        )

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns an untrained game for samples of ``space``, on the device of ``rng``.

        Raises:
            UserError: If samples are neither rows of tokens nor walks, or there is a context.
        """
        refuse_context("text-gan", context_space)
        check_sequences(space, "text-gan")
        return (
            self._simplex(space, rng) if self.estimator == "simplex" else self._gumbel(space, rng)
        )

    def _gumbel(self, space: Space, rng: Rng) -> GumbelGame:
        sizes = SequenceSizes(net=self.net, width=self.width or _UNITS, embed=self.embed)
        levels = space.levels or 1
        with seeded(rng.stream("init")):
            model = LanguageModel(space, sizes.build(space, family="text-gan"))
            net = WindowCritic(space.size, levels, embed=self.embed, width=self.filters)
            start = Start(self.start, self.likelihood)
        model, net, start = model.to(rng.device), net.to(rng.device), start.to(rng.device)
        return GumbelGame(model, net, self.rules, tau=self.tau, start=start)

    def _simplex(self, space: Space, rng: Rng) -> SimplexGame:
        sizes = {"width": self.width or _CHANNELS, "blocks": self.blocks}
        with seeded(rng.stream("init")):
            model = SimplexModel(space, latent=self.latent, **sizes)
            net = ResidualCritic(space.size, space.levels or 1, **sizes)
        return SimplexGame(model.to(rng.device), net.to(rng.device), self.rules)
