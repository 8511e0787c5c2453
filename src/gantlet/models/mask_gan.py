"""Adversarial infilling: a stretch of a sequence is hidden and filled in from what is around."""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, softplus
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import unknown
from gantlet.core.model import Density, Generative, LogProb, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.causal import SAMPLED_AT_ONCE
from gantlet.models.nets import seeded
from gantlet.models.recurrent import (
    CellName,
    Recurrent,
    SequenceModel,
    SequenceNet,
    SequenceSizes,
)
from gantlet.models.scratch_gan import (
    advantages,
    critic_loss,
    discounted_returns,
    reinforced,
)
from gantlet.models.sequence_games import LikelihoodStart, Start


@final
class Surroundings(nn.Module):
    """What is known of a sequence, read from both sides, for each place.

    Args:
        levels: How many levels there are.
        embed: Size of the vector of a level, in and out.
        width: Units in each direction.
    """

    def __init__(self, levels: int, *, embed: int, width: int) -> None:
        super().__init__()
        # The last row stands for a level that is not known.
        self.embedding = nn.Parameter(torch.randn(levels + 1, embed))
        self.forwards = Recurrent("gru", embed, width, 1)
        self.backwards = Recurrent("gru", embed, width, 1)
        self.out = nn.Linear(2 * width, embed)

    @override
    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Returns vectors of shape ``(n, length, embed)``.

        Args:
            x: Sequences of whole numbers, shape ``(n, length)``.
            hidden: Which places are not known, booleans of the same shape.
        """
        seen = embedding(x.masked_fill(hidden, len(self.embedding) - 1), self.embedding)
        sides = self.forwards(seen), self.backwards(seen.flip(1)).flip(1)
        found: Tensor = self.out(torch.cat(sides, 2))
        return found


@final
class InfillModel(SequenceModel, Density):
    """Fills hidden places from left to right, from what is around them.

    With every place hidden it is a language model: that is what is sampled and scored.

    Args:
        space: Rows of tokens, or walks.
        net: The network that fills.
        around: What reads the rest of the sequence.
    """

    def __init__(self, space: Space, net: SequenceNet, around: Surroundings) -> None:
        super().__init__(space, net)
        self.around = around

    @property
    @override
    def density_depth(self) -> int:
        """Twice the length of a row: first it is read, then scored."""
        return 2 * self.space.size

    @property
    @override
    def sample_depth(self) -> int:
        """Twice the length of a row: first it is read, then filled."""
        return 2 * self.space.size

    def log_probs(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Returns the log-probability of each level given those before and all that is known.

        Shapes as for ``Surroundings``; only those of hidden places are predictions.
        """
        beside = self.around(x, hidden)
        return self.net.log_probs(x, temperature=self.temperature, beside=beside)

    @torch.no_grad()
    def fill(
        self, x: Tensor, hidden: Tensor, *, rng: torch.Generator, cached: bool = True
    ) -> Tensor:
        """Returns sequences ``x``, shape ``(n, length)``, with new levels in hidden places."""
        known = x.long()
        u = torch.rand(x.shape, generator=rng, device=rng.device)
        beside = self.around(known, hidden)
        made = self.net.draw(
            u,
            temperature=self.temperature,
            given=(known, ~hidden),
            beside=beside,
            cached=cached,
        )
        return made.to(x.dtype)

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        whole = x.long()
        each = self.log_probs(whole, torch.ones_like(whole, dtype=torch.bool))
        return LogProb(each.sum(1), "exact", "product of conditionals")

    @override
    @torch.no_grad()
    def _sample(
        self, n: int, context: Tensor | None, *, rng: torch.Generator, cached: bool = True
    ) -> Tensor:
        x = self.net.embedding.new_zeros(n, self.net.length)
        parts = [
            self.fill(part, torch.ones_like(part, dtype=torch.bool), rng=rng, cached=cached)
            for part in torch.split(x, SAMPLED_AT_ONCE)
        ]
        return torch.cat(parts)


@final
class InfillCritic(nn.Module):
    """A score of each place of a filled sequence, which knows what was hidden.

    Args:
        levels: How many levels there are.
        embed: Size of the vector of a level.
        width: Units.
    """

    def __init__(self, levels: int, *, embed: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(levels, embed))
        self.around = Surroundings(levels, embed=embed, width=width)
        self.body = Recurrent("gru", embed, width, 1)
        self.out = nn.Linear(width, 1)

    @override
    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Returns scores of shape ``(n, length)``; higher is more real."""
        seen = embedding(x, self.embedding) + self.around(x, hidden)
        score: Tensor = self.out(self.body(seen))
        return score.squeeze(2)


@final
class InfillGame(LikelihoodStart[InfillModel]):
    """The generator fills what is hidden of real sequences; the critic scores hidden places.

    Args:
        model: The generator.
        net: The critic.
        start: Steps of likelihood before the game.
        share: Share of a row that is hidden.
        whole: Share of the rows that are hidden as a whole.
        gamma: Discount of the rewards of later places.
    """

    def __init__(
        self,
        model: InfillModel,
        net: InfillCritic,
        *,
        start: Start,
        share: float,
        whole: float,
        gamma: float,
    ) -> None:
        super().__init__(model, net, start)
        self._net = net
        self._share, self._whole, self._gamma = share, whole, gamma

    def hidden(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns which places of rows are hidden, booleans of shape ``(n, length)``.

        A stretch of a row at a random place, its end included, or the whole of it.
        """
        n, length = x.shape
        u = torch.rand(3, n, 1, generator=rng, device=x.device)
        size = (~self._model.net.over(x)).sum(1, keepdim=True)
        count = (self._share * size).ceil().clamp(min=1)
        first = (u[0] * (size - count + 1)).floor()
        place = torch.arange(length, device=x.device)
        stretch = (place >= first) & (place < first + count)
        return stretch | (u[1] < self._whole)

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        real = batch.long()
        hidden = self.hidden(real, rng=rng)
        fake = self._model.fill(real, hidden, rng=rng)
        if player == "critic":
            return self._of_critic(real, fake, hidden, coupled=coupled)
        if player == "generator":
            loss = self._of_generator(fake, hidden, coupled=coupled)
            return self.mixed(loss, lambda: self._unlikely(real, hidden))
        raise unknown("player", player, self.players)

    def _unlikely(self, real: Tensor, hidden: Tensor) -> Tensor:
        counted = self._counted(real, hidden)
        each = self._model.log_probs(real, hidden) * counted
        return -each.sum() / counted.sum()

    def _counted(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Returns the hidden places before an end, the end included."""
        return hidden & ~self._model.net.over(x)

    def _of_critic(self, real: Tensor, fake: Tensor, hidden: Tensor, *, coupled: bool) -> Tensor:
        known, count = (self._counted(x, hidden) for x in (real, fake))
        seen = softplus(-self._net(real, hidden)) * known
        made = softplus(self._net(fake, hidden)) * count
        filled = (self._model.log_probs(fake, hidden) * hidden).sum(1) if coupled else None
        return critic_loss((seen, known), (made, count), filled)

    def _of_generator(self, fake: Tensor, hidden: Tensor, *, coupled: bool) -> Tensor:
        counted = self._counted(fake, hidden)
        with torch.set_grad_enabled(coupled):
            rewards = (2 * self._net(fake, hidden).sigmoid() - 1) * counted
            returns = discounted_returns(rewards, self._gamma)
        loss = -rewards.sum() / len(fake)
        gain = -advantages(returns, counted) / len(fake)
        return reinforced(loss, gain, self._model.log_probs(fake, hidden))

    @override
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        whole = x.long()
        hidden = torch.ones_like(whole, dtype=torch.bool)
        counted = self._counted(whole, hidden)
        score: Tensor = (self._net(whole, hidden) * counted).sum(1) / counted.sum(1)
        return score


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class MaskGan:
    """An adversarial network that fills in what is hidden of text and of walks (MaskGAN).

    Of half of the rows of a batch a stretch is hidden, of the others everything. The generator
    fills hidden places from left to right, from what is around them; the critic scores each of
    them, and the generator is trained by reinforcement. What is sampled is rows with everything
    hidden; ``model.fill(x, hidden, rng=rng)`` fills in given ones.

    Source: Fedus, Goodfellow and Dai, 2018, https://arxiv.org/abs/1801.07736, section 3.

    Differs from the paper: recurrent networks that read what is around from both sides and add it
    to the input of each place, in the place of attention; rewards ``2 sigmoid(D) - 1``; the
    baseline is the mean of the other samples of the batch, not a third network; the critic is
    trained on hidden places alone.

    Attributes:
        net: Recurrent layers that fill.
        width: Units of each recurrent layer of the generator.
        embed: Size of the vector of a level, of both players.
        critic_width: Units of each recurrent layer of the critic.
        mask: Share of a row that is hidden.
        whole: Share of the rows that are hidden as a whole.
        gamma: Discount of the rewards of later places.
        start: Steps of likelihood before the game.
        likelihood: Weight of the likelihood in the game, in nats for each hidden place.
        ema: Decay of the exponential moving average (EMA) of the generator's weights.
    """

    net: CellName = "gru"
    width: Annotated[int, Between(1)] = 96
    embed: Annotated[int, Between(1)] = 32
    critic_width: Annotated[int, Between(1)] = 64
    mask: Annotated[float, Between(0, 1, above=True)] = 0.5
    whole: Annotated[float, Between(0, 1)] = 0.5
    gamma: Annotated[float, Between(0, 1)] = 0.9
    start: Annotated[int, Between(0)] = 0
    likelihood: Annotated[float, Between(0)] = 0.0
    ema: Annotated[float, Between(0, 1, below=True)] = 0.98

    @property
    def solver(self) -> str:
        """Adam; the critic is quicker than the generator."""
        return "adam:lr=0.003+0.001,beta1=0.5,beta2=0.99,clip=1.0"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns an untrained game for samples of ``space``, on the device of ``rng``.

        Raises:
            UserError: If samples are neither rows of tokens nor walks, or there is a context.
        """
        refuse_context("mask-gan", context_space)
        sizes = SequenceSizes(net=self.net, width=self.width, embed=self.embed)
        levels = space.levels or 1
        with seeded(rng.stream("init")):
            fills = sizes.build(space, family="mask-gan")
            around = Surroundings(levels, embed=self.embed, width=self.width)
            net = InfillCritic(levels, embed=self.embed, width=self.critic_width)
            start = Start(self.start, self.likelihood)
        model = InfillModel(space, fills, around).to(rng.device)
        return InfillGame(
            model,
            net.to(rng.device),
            start=start.to(rng.device),
            share=self.mask,
            whole=self.whole,
            gamma=self.gamma,
        )
