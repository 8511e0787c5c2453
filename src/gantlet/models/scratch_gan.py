"""Adversarial text and walks by reinforcement: rewards of levels follow from a critic's scores."""

import abc
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, logsigmoid, softplus
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import unknown
from gantlet.core.model import Generative, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.nets import seeded
from gantlet.models.recurrent import (
    CellName,
    LanguageModel,
    Recurrent,
    SequenceNet,
    SequenceSizes,
)
from gantlet.models.sequence_games import LikelihoodStart, Start, WindowCritic, indicators

# ----------------------------------------------------------------------------
# Estimates of gradients by the score function.
# ----------------------------------------------------------------------------


def advantages(values: Tensor, counted: Tensor) -> Tensor:
    """Returns values less a baseline, the mean of the other samples, shape ``(n, ...)``.

    The mean of the others does not depend on the sample, so that the estimate of a gradient stays
    without bias. 0 where a sample does not count.

    Args:
        values: Returns of samples, or losses, shape ``(n, ...)``.
        counted: Which of them count, booleans of the same shape; the others are in no mean.
    """
    kept = values * counted
    others = counted.sum(0) - counted.to(values.dtype)
    mean = (kept.sum(0) - kept) / others.clamp(min=1)
    return (values - mean) * counted


def reinforced(value: Tensor, advantage: Tensor, log_prob: Tensor) -> Tensor:
    """Returns ``value`` with the gradient of the score function added to its own.

    Source: Williams, 1992, https://doi.org/10.1007/BF00992696, equation 8.

    Args:
        value: A mean over samples, a scalar.
        advantage: Advantage of each decision, in units of ``value`` and divided by the number of
            samples.
        log_prob: Log-probability of each decision, of the same shape.
    """
    score = (advantage.detach() * log_prob).sum()
    return value + (score - score.detach())


def critic_loss(
    real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor], log_prob: Tensor | None
) -> Tensor:
    """Returns the sum of a critic's mean losses on real samples and on fakes, a scalar.

    Args:
        real: The loss of each score, shape ``(n, places)``, 0 where it does not count, and which
            scores count.
        fake: The same of fakes.
        log_prob: Log-probability of each fake, shape ``(n,)``, where the loss is to be
            differentiable in the generator: what it can change is which fakes there are.
    """
    (seen, known), (made, count) = real, fake
    loss = seen.sum() / known.sum() + made.sum() / count.sum()
    if log_prob is None:
        return loss
    each = made.sum(1)
    gain = advantages(each, torch.ones_like(each, dtype=torch.bool)) / count.sum()
    return reinforced(loss, gain, log_prob)


def discounted_returns(rewards: Tensor, gamma: float) -> Tensor:
    """Returns the discounted sum of the rewards from each place on, shape ``(n, length)``.

    Example:
        >>> discounted_returns(torch.tensor([[1.0, 0.0, 4.0]]), 0.5)
        tensor([[2., 2., 4.]])
    """
    total = torch.zeros_like(rewards[:, 0])
    found: list[Tensor] = []
    for reward in reversed(rewards.unbind(1)):
        total = reward + gamma * total
        found.append(total)
    return torch.stack(found[::-1], 1)


# ----------------------------------------------------------------------------
# Critics, and the returns of levels by their scores.
# ----------------------------------------------------------------------------


class RewardingCritic(nn.Module, abc.ABC):
    """A critic of sequences, and the return of each level by its scores."""

    @abc.abstractmethod
    def scores(self, x: Tensor) -> Tensor:
        """Returns the scores of sequences of whole numbers, shape ``(n, places)``."""

    @abc.abstractmethod
    def counted(self, net: SequenceNet, x: Tensor) -> Tensor:
        """Returns which scores count, booleans of shape ``(n, places)``."""

    @abc.abstractmethod
    def returns(self, net: SequenceNet, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns the return of each level of samples of ``net``, shape ``(n, length)``."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the scores of sequences of whole numbers."""
        return self.scores(x)


@final
class PrefixCritic(RewardingCritic):
    """A recurrent critic with a score at each place, of the sequence up to there.

    The reward of a level is ``2 sigmoid(D) - 1``; its return is the discounted sum from there on.

    Source: de Masson d'Autume et al., 2019 (ScratchGAN), https://arxiv.org/abs/1905.09922,
    section 3.2.

    Args:
        levels: How many levels there are.
        embed: Size of the vector of a level.
        width: Units of the critic.
        gamma: Discount.
    """

    def __init__(self, levels: int, *, embed: int, width: int, gamma: float) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(levels, embed))
        self.body = Recurrent("gru", embed, width, 1)
        self.out = nn.Linear(width, 1)
        self._gamma = gamma

    @override
    def scores(self, x: Tensor) -> Tensor:
        score: Tensor = self.out(self.body(embedding(x, self.embedding)))
        return score.squeeze(2)

    @override
    def counted(self, net: SequenceNet, x: Tensor) -> Tensor:
        return ~net.over(x)

    @override
    def returns(self, net: SequenceNet, x: Tensor, *, rng: torch.Generator) -> Tensor:
        rewards = (2 * self.scores(x).sigmoid() - 1) * self.counted(net, x)
        return discounted_returns(rewards, self._gamma)


@final
class RolloutCritic(RewardingCritic):
    """A convolutional critic of whole sequences, which scores completions of each beginning.

    The return of a level is the mean of ``sigmoid(D)`` over sequences that begin with what came
    up to it and go on by the generator itself.

    Source: Yu et al., 2017 (SeqGAN), https://arxiv.org/abs/1609.05473, equation 4.

    Args:
        length: Levels of a sequence.
        levels: How many there are.
        embed: Size of the vector of a level.
        width: Filters of each window.
        rollouts: Completions of each beginning.
    """

    def __init__(self, length: int, levels: int, *, embed: int, width: int, rollouts: int) -> None:
        super().__init__()
        self.net = WindowCritic(length, levels, embed=embed, width=width)
        self._levels, self._rollouts = levels, rollouts

    @override
    def scores(self, x: Tensor) -> Tensor:
        score: Tensor = self.net(indicators(x, self._levels).to(self.net.out.weight.dtype))
        return score[:, None]

    @override
    def counted(self, net: SequenceNet, x: Tensor) -> Tensor:
        return torch.ones_like(x[:, :1], dtype=torch.bool)

    @override
    def returns(self, net: SequenceNet, x: Tensor, *, rng: torch.Generator) -> Tensor:
        n, length = x.shape
        whole = self.scores(x).sigmoid()
        if length == 1:
            return whole
        copies = self._rollouts * (length - 1)
        known = torch.arange(1, length, device=x.device).repeat(self._rollouts).repeat(n)
        kept = torch.arange(length, device=x.device) < known[:, None]
        u = torch.rand(n * copies, length, generator=rng, device=rng.device)
        made = net.draw(u, given=(x.repeat_interleave(copies, 0), kept))
        seen = self.scores(made).sigmoid().view(n, self._rollouts, length - 1)
        return torch.cat([seen.mean(1), whole], 1)


# ----------------------------------------------------------------------------
# The game.
# ----------------------------------------------------------------------------


@final
class ReinforcedGame(LikelihoodStart[LanguageModel]):
    """The critic separates real from fake sequences, and its scores reward the generator.

    The gradient of the generator is an estimate of first order: its own second derivatives, which
    some solvers and ``gantlet converge`` look at, are those of the estimate.

    Args:
        model: The generator.
        net: The critic.
        start: Steps of likelihood before the game.
        both: Whether the critic, too, is trained by reinforcement.
    """

    def __init__(
        self, model: LanguageModel, net: RewardingCritic, *, start: Start, both: bool = False
    ) -> None:
        super().__init__(model, net, start)
        self._critic = net
        self._both = both

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        net = self._model.net
        u = torch.rand(batch.shape, generator=rng, device=batch.device)
        fake = net.draw(u)
        if player == "critic":
            return self._of_critic(batch.long(), fake, rng, coupled=coupled)
        if player == "generator":
            loss = self._of_generator(fake, rng, coupled=coupled)
            return self.mixed(loss, lambda: -net.log_probs(batch.long()).mean())
        raise unknown("player", player, self.players)

    def _of_critic(
        self, real: Tensor, fake: Tensor, rng: torch.Generator, *, coupled: bool
    ) -> Tensor:
        sides = self._side(real, rng, is_real=True), self._side(fake, rng, is_real=False)
        log_prob = self._model.net.log_probs(fake).sum(1) if coupled else None
        return critic_loss(*sides, log_prob)

    def _side(self, x: Tensor, rng: torch.Generator, *, is_real: bool) -> tuple[Tensor, Tensor]:
        """Returns the loss of each score, shape ``(n, places)``, and which of them count."""
        critic = self._critic
        score = critic.scores(x) if is_real else -critic.scores(x)
        counted = critic.counted(self._model.net, x)
        if not self._both:
            return softplus(-score) * counted, counted
        u = torch.rand(score.shape, generator=rng, device=rng.device)
        return zero_one_loss(score, u, counted), counted

    def _of_generator(self, fake: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        net = self._model.net
        with torch.set_grad_enabled(coupled):
            returns = self._critic.returns(net, fake, rng=rng)
        counted = ~net.over(fake)
        loss = -returns[:, 0].mean()
        gain = -advantages(returns, counted) / len(fake)
        return reinforced(loss, gain, net.log_probs(fake))

    @override
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        whole = x.long()
        counted = self._critic.counted(self._model.net, whole)
        return (self._critic.scores(whole) * counted).sum(1) / counted.sum(1)


def zero_one_loss(score: Tensor, u: Tensor, counted: Tensor) -> Tensor:
    """Returns the zero-one loss of labels that a critic draws, shape ``(n, places)``.

    A label is right with probability ``sigmoid(score)``; the gradient in the score is the
    score-function estimate of that of minus this probability.

    Args:
        score: Logit of the right label, shape ``(n, places)``.
        u: Numbers in [0, 1) that decide, of the same shape.
        counted: Which count.
    """
    right = u < score.sigmoid().detach()
    wrong = (~right).to(score.dtype) * counted
    log_prob = torch.where(right, logsigmoid(score), logsigmoid(-score))
    change = advantages(wrong, counted).detach() * log_prob
    return wrong + (change - change.detach())


# ----------------------------------------------------------------------------
# The family.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class ScratchGan:
    """A generative adversarial network for text and walks, trained by reinforcement (REINFORCE).

    A critic rewards samples of a recurrent generator, which become likelier or less likely by
    their advantage over the others of the batch. From scratch with a critic of every place
    (ScratchGAN), or with a critic of whole sequences that scores completions (``rollouts``;
    SeqGAN, with ``start`` steps of likelihood before the game).

    Source: de Masson d'Autume et al., 2019, https://arxiv.org/abs/1905.09922; Yu et al., 2017
    (SeqGAN), https://arxiv.org/abs/1609.05473; Williams, 1992,
    https://doi.org/10.1007/BF00992696.

    Differs from the papers: the baseline of a place is the mean of the other samples of the
    batch, and not a moving average; a discount of 0.9, not 0.23; no pretrained embeddings; of
    SeqGAN, completions are drawn from the generator itself, not from a delayed copy of it.

    Attributes:
        net: Recurrent layers of the generator.
        width: Units of the generator.
        embed: Size of the vector of a level, of both players.
        critic_width: Units of the critic, or filters of each of its windows with rollouts.
        gamma: Discount of the rewards of later levels; without rollouts.
        rollouts: Completions of each beginning; 0 for a critic of every place.
        start: Steps of likelihood before the game.
        likelihood: Weight of the likelihood in the game, in nats for each place.
        verdicts: Reinforcement for both players: the critic draws labels, real or fake, by its
            probabilities, and is rewarded for right ones.
        ema: Decay of the exponential moving average (EMA) of the generator's weights.
    """

    net: CellName = "gru"
    width: Annotated[int, Between(1)] = 128
    embed: Annotated[int, Between(1)] = 32
    critic_width: Annotated[int, Between(1)] = 96
    gamma: Annotated[float, Between(0, 1)] = 0.9
    rollouts: Annotated[int, Between(0)] = 0
    start: Annotated[int, Between(0)] = 0
    likelihood: Annotated[float, Between(0)] = 0.0
    verdicts: bool = False
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
        refuse_context("scratch-gan", context_space)
        sizes = SequenceSizes(net=self.net, width=self.width, embed=self.embed)
        with seeded(rng.stream("init")):
            model = LanguageModel(space, sizes.build(space, family="scratch-gan"))
            net, start = self._critic(space), Start(self.start, self.likelihood)
        model, net, start = model.to(rng.device), net.to(rng.device), start.to(rng.device)
        return ReinforcedGame(model, net, start=start, both=self.verdicts)

    def _critic(self, space: Space) -> RewardingCritic:
        levels = space.levels or 1
        if not self.rollouts:
            return PrefixCritic(
                levels, embed=self.embed, width=self.critic_width, gamma=self.gamma
            )
        return RolloutCritic(
            space.size,
            levels,
            embed=self.embed,
            width=self.critic_width,
            rollouts=self.rollouts,
        )
