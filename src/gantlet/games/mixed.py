"""Mixed strategies of networks, and the duality gap.

At a Nash equilibrium no player gains by leaving. So the sum of what each gains by its best
response, the others staying as they are, measures how far a game is from equilibrium:

    gap = sum over players p of  L_p(now) - min_q L_p(q, others as now)

For a zero-sum game of two this is the duality gap ``max_D V(G, D) - min_G V(G, D)``; for other
games it is the Nikaido-Isoda function. Best responses are searched for with Adam, from where each
player stands, so that what is returned is a lower bound, which grows with the steps.
"""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.optim import Adam
from typing_extensions import override

from gantlet.core.errors import UserError, unknown
from gantlet.core.estimate import Estimate
from gantlet.core.model import Adversarial, Decoder, Game, Model
from gantlet.core.rng import Rng
from gantlet.games.equilibria import DoubleOracleGame, Equilibrium, equilibrium
from gantlet.stats.intervals import mean

State = Mapping[str, Tensor]
"""The tensors of one network."""

GENERATOR, CRITIC = "generator", "critic"
"""The players of a GAN."""


def state_of(net: nn.Module) -> State:
    """Returns a copy of the tensors of a network."""
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


@final
@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """A mixed strategy of each player.

    Attributes:
        generators: Weights of generators.
        critics: Weights of critics.
        rows: How often each generator plays, shape ``(generators,)``, float64.
        columns: How often each critic plays, shape ``(critics,)``, float64.
    """

    generators: Sequence[State]
    critics: Sequence[State]
    rows: Tensor
    columns: Tensor

    @classmethod
    def pure(cls, generator: State, critic: State) -> "Mixed":
        """Returns one generator against one critic."""
        return cls.uniform([generator], [critic])

    @classmethod
    def uniform(cls, generators: Sequence[State], critics: Sequence[State]) -> "Mixed":
        """Returns each side with equal weights."""
        rows, columns = (
            torch.full((len(side),), 1 / len(side), dtype=torch.float64)
            for side in (generators, critics)
        )
        return cls(generators, critics, rows, columns)

    @classmethod
    def solved(
        cls, generators: Sequence[State], critics: Sequence[State], found: Equilibrium
    ) -> "Mixed":
        """Returns the mixtures of an equilibrium among stored networks; the unused are dropped."""
        i, j = (w.nonzero()[:, 0].tolist() for w in (found.rows, found.columns))
        return cls(
            [generators[k] for k in i],
            [critics[k] for k in j],
            found.rows[i],
            found.columns[j],
        )

    @property
    def networks(self) -> int:
        """How many networks must be stored."""
        return len(self.generators) + len(self.critics)


def payoffs(
    game: Adversarial,
    generators: Sequence[State],
    critics: Sequence[State],
    x: Tensor,
    *,
    rng: torch.Generator,
) -> Tensor:
    """Returns the value of every generator against every critic, shape ``(m, n)``, float64.

    Every pair sees the same noise. The players of ``game`` end as the last pair.

    Args:
        game: Whose players take the stored weights.
        generators: Weights of the row players.
        critics: Weights of the column players.
        x: Real samples, shape ``(n, *space.shape)``: held-out ones, or over-fit critics win.
        rng: Decides the noise.
    """
    read = ZeroSumGame(game)
    seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))
    table = torch.empty(len(generators), len(critics), dtype=torch.float64)
    for i, made in enumerate(generators):
        game.players[GENERATOR].load_state_dict(made)
        for j, judge in enumerate(critics):
            game.players[CRITIC].load_state_dict(judge)
            noise = torch.Generator(rng.device).manual_seed(seed)
            with torch.no_grad():
                table[i, j] = read.value(x, rng=noise).item()
    return table


def tournament(
    game: Adversarial,
    generators: Sequence[State],
    critics: Sequence[State],
    x: Tensor,
    *,
    rng: torch.Generator,
) -> Mixed:
    """Returns the equilibrium among stored networks, such as the snapshots of a training.

    Args: as ``payoffs``.
    """
    found = equilibrium(payoffs(game, generators, critics, x, rng=rng))
    return Mixed.solved(generators, critics, found)


@final
class AgainstMixture(Game):
    """A game of one player against a mixture of stored opponents, one of them drawn at each loss.

    Args:
        game: Whose losses count; the opponent's weights are overwritten.
        player: The one who plays.
        opponents: Weights of the other.
        weights: How often each opponent plays, shape ``(opponents,)``.
    """

    def __init__(
        self, game: Game, player: str, opponents: Sequence[State], weights: Tensor
    ) -> None:
        self._game = game
        self._player = player
        (self._other,) = (name for name in game.players if name != player)
        self._opponents = opponents
        self._weights = weights

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {self._player: self._game.players[self._player]}

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        weights = self._weights.to(rng.device)
        which = int(drawn(weights, 1, rng=rng))
        self._game.players[self._other].load_state_dict(self._opponents[which])
        return self._game.loss(player, batch, rng=rng)


def worth(real: Tensor, fake: Tensor) -> Tensor:
    """Returns ``V = 1/2 E log D(x) + 1/2 E log(1 - D(G(z)))`` of scores as logits, a scalar.

    It is at most 0, and ``-log 2`` where the critic is blind.

    Source: Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661, eq. 1, halved as in Grnarova
    et al., 2019, https://arxiv.org/abs/1811.05512, eq. 1.

    Args:
        real: Scores of real samples, shape ``(n,)``.
        fake: Scores of generated samples, shape ``(m,)``.
    """
    return 0.5 * logsigmoid(real).mean() + 0.5 * logsigmoid(-fake).mean()


@final
class ZeroSumGame(Game):
    """The same players, but the critic raises ``worth`` and the generator lowers it.

    What a critic and a generator train with need not be zero-sum, and may hold penalties; this
    reading makes different trainings comparable. It needs scores that are logits: those of the
    losses ``ns``; a relativistic critic's scores are known but for a constant, which is then taken
    for what it happens to be.

    Args:
        game: A game whose model decodes noise.

    Raises:
        UserError: If its model does not.
    """

    def __init__(self, game: Adversarial) -> None:
        if not isinstance(game.model, Decoder):
            raise UserError("The zero-sum reading needs a generator that maps latent noise.")
        self._game = game
        self._model: Decoder = game.model

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return self._game.players

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        if player not in self.players:
            raise unknown("player", player, self.players)
        value = self.value(batch, rng=rng)
        return -value if player == "critic" else value

    def value(self, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns ``worth`` on real samples and as many of the generator's, a scalar."""
        z = self._model.prior(len(batch), rng=rng)
        real, fake = (self._seen(x, rng) for x in (batch, self._model.decode(z)))
        return worth(self._game.critic(real), self._game.critic(fake))

    def _seen(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Returns samples as a critic may see them: the round ones of levels with noise."""
        if self._model.space.levels is None:
            return x
        return x + torch.rand(x.shape, generator=rng, device=x.device, dtype=x.dtype) - 0.5


@final
class GeneratorMixture(Model):
    """A mixed strategy of generators, as a model.

    Args:
        parts: Models of samples of one space and on one kind of context, at least one.
        logits: Their weights are ``softmax(logits)``, shape ``(parts,)``. A parameter is shared,
            so that it can be trained by others; of any other tensor the values are kept.

    Raises:
        UserError: If there is no part, parts differ in a space, or logits do not fit.
    """

    def __init__(self, parts: Sequence[Model], logits: Tensor) -> None:
        super().__init__()
        spaces = {_spaces(part) for part in parts}
        if len(spaces) != 1 or logits.shape != (len(parts),):
            listing = ", ".join(sorted(spaces)) or "no space"
            raise UserError(
                f"A mixture needs models of one space and a weight for each. Got {len(parts)} "
                f"models of {listing} and {logits.numel()} weights."
            )
        self.space = parts[0].space
        self.context_space = parts[0].context_space
        self.parts = nn.ModuleList(parts)
        if isinstance(logits, nn.Parameter):
            self.logits = logits
        else:
            self.logits = nn.Parameter(logits.detach().clone(), requires_grad=False)

    @classmethod
    def weighted(cls, parts: Sequence[Model], weights: Tensor) -> "GeneratorMixture":
        """Returns the mixture with these weights, which may be zero, shape ``(parts,)``."""
        return cls(parts, weights.float().log())

    @property
    def weights(self) -> Tensor:
        """How often a sample comes from each part, shape ``(parts,)``."""
        return self.logits.softmax(0)

    @property
    @override
    def sample_depth(self) -> int:
        return max(part.sample_depth for part in self._models())

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        """Returns ``n`` samples in random order; parts are independent draws."""
        chosen = drawn(self.weights, n, rng=rng)
        x: Tensor | None = None
        for i, part in enumerate(self._models()):
            (where,) = (chosen == i).nonzero(as_tuple=True)
            if len(where) == 0:
                continue
            samples = part.sample(
                len(where), context=None if context is None else context[where], rng=rng
            )
            if x is None:
                x = samples.new_empty(n, *samples.shape[1:])
            x[where] = samples
        return torch.empty(0, *self.space.shape, device=rng.device) if x is None else x

    def _models(self) -> list[Model]:
        return [part for part in self.parts if isinstance(part, Model)]


def _spaces(model: Model) -> str:
    given = model.context_space
    return model.space.label + ("" if given is None else f" given {given.label}")


def drawn(weights: Tensor, n: int, *, rng: torch.Generator) -> Tensor:
    """Returns ``n`` independent indices with these probabilities, shape ``(n,)``.

    Of a single one, nothing is drawn from ``rng``.
    """
    if len(weights) == 1:
        return torch.zeros(n, dtype=torch.long, device=weights.device)
    return torch.multinomial(weights.detach(), n, replacement=True, generator=rng)


def duality_gap(
    game: Game,
    train: Tensor,
    held_out: Tensor,
    *,
    steps: int = 200,
    lr: float = 1e-3,
    rng: Rng,
    batch: int = 128,
) -> Estimate:
    """Returns the total gain of all players on held-out samples by approximate best responses.

    Each player in turn takes ``steps`` steps of Adam on its own loss over batches of ``train``,
    the others as they are, and is then put back. Its gain is measured on batches of ``held_out``,
    before and after with the same noise; the interval is over these batches, so it speaks of other
    held-out samples, not of other searches for a best response.

    Source: Grnarova et al., 2019, https://arxiv.org/abs/1811.05512.
    Differs from the paper: the losses are the game's own, penalties included; for the value of the
    paper, ``1/2 E log D + 1/2 E log(1 - D)``, give a ``gantlet.games.mixed.ZeroSumGame``.
    Held-out samples measure gains but do not choose the step at which a search ends.

    Args:
        game: Left as it was, bit by bit.
        train: Samples for best responses, shape ``(n, *space.shape)``, on the device of ``rng``.
        held_out: Samples that gains are measured on, at least two batches for an interval.
        steps: Steps of each best response; part of what the number means.
        lr: Learning rate of Adam.
        rng: Its streams decide batches and noise; every player has its own.
        batch: Samples in one batch.

    Raises:
        UserError: If there are fewer samples than a batch, or no steps.
    """
    gains = regrets(game, train, held_out, steps=steps, lr=lr, rng=rng, batch=batch)
    return _measured([math.fsum(each) for each in zip(*gains.values(), strict=True)], steps)


def regrets(
    game: Game,
    train: Tensor,
    held_out: Tensor,
    *,
    steps: int = 200,
    lr: float = 1e-3,
    rng: Rng,
    batch: int = 128,
) -> Mapping[str, Sequence[float]]:
    """Returns each player's gain on every held-out batch; see ``duality_gap``.

    Raises:
        UserError: If there are fewer samples than a batch, or no steps.
    """
    _check(train, held_out, batch, steps)
    return {
        player: _gains(game, player, train, held_out, steps=steps, lr=lr, rng=rng, batch=batch)
        for player in game.players
    }


def _measured(gains: Sequence[float], steps: int) -> Estimate:
    found = mean(gains, better="lower", of="held-out batches")
    summary = f"lower bound: best responses of {steps} steps of Adam"
    return replace(found, method=f"{summary}; {found.method}")


def _gains(
    game: Game,
    player: str,
    train: Tensor,
    held_out: Tensor,
    *,
    steps: int,
    lr: float,
    rng: Rng,
    batch: int,
) -> list[float]:
    before = list(_losses(game, player, held_out, batch, rng))
    with kept(game.players[player]):
        respond(game, player, train, steps=steps, lr=lr, rng=rng, batch=batch)
        after = list(_losses(game, player, held_out, batch, rng))
    return [a - b for a, b in zip(before, after, strict=True)]


def respond(
    game: Game, player: str, train: Tensor, *, steps: int, lr: float, rng: Rng, batch: int = 128
) -> None:
    """Moves one player towards its best response, in place, the others as they are.

    Args:
        game: Whose player moves.
        player: Its name.
        train: Samples, shape ``(n, *space.shape)``, drawn with replacement.
        steps: Steps of Adam.
        lr: Its learning rate.
        rng: Its stream of the player's name decides batches and noise.
        batch: Samples in one batch.
    """
    noise = rng.stream(f"best response of {player}")
    parameters = list(game.players[player].parameters())
    optimizer = Adam(parameters, lr, fused=True)
    for _ in range(steps):
        index = torch.randint(len(train), (batch,), generator=noise, device=train.device)
        loss = game.loss(player, train[index], rng=noise)
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    optimizer.zero_grad()


def _losses(game: Game, player: str, x: Tensor, batch: int, rng: Rng) -> Iterator[float]:
    """Yields the loss on each whole batch; the noise of a batch is the same at every call."""
    for i in range(len(x) // batch):
        noise = rng.stream(f"held-out batch {i}")
        # With gradients on: a penalty on slopes is part of the loss.
        yield game.loss(player, x[i * batch : (i + 1) * batch], rng=noise).item()


@contextmanager
def kept(player: nn.Module) -> Generator[None]:
    """Puts weights, buffers and gradients of a player back as they were at the end of a block."""
    state = {name: tensor.clone() for name, tensor in player.state_dict().items()}
    gradients = [p.grad for p in player.parameters()]
    try:
        yield
    finally:
        player.load_state_dict(state)
        for parameter, gradient in zip(player.parameters(), gradients, strict=True):
            parameter.grad = gradient


def _check(train: Tensor, held_out: Tensor, batch: int, steps: int) -> None:
    if steps < 1:
        raise UserError(f"steps of a best response must be at least 1. Got {steps}.")
    for name, x in (("train", train), ("held_out", held_out)):
        if len(x) < batch:
            raise UserError(f"{name} must hold a batch of {batch} samples. Got {len(x)}.")


# How many training samples judge the starts and ends of searches.
_TELLING = 1024


def mixed_gap(
    game: Adversarial,
    mixed: Mixed,
    train: Tensor,
    held_out: Tensor,
    *,
    steps: int = 200,
    lr: float = 1e-3,
    rng: Rng,
    batch: int = 128,
) -> Estimate:
    """Returns the duality gap of a pair of mixtures, ``max_D V(mix, D) - min_G V(G, mix)``.

    Each best response starts from the best stored one and takes ``steps`` steps of Adam on the
    value itself against opponents drawn from the mixture; the better of start and end, by training
    samples, is measured on held-out ones against the whole mixture. The interval is over held-out
    batches.

    Source: Grnarova et al., 2019, https://arxiv.org/abs/1811.05512, for mixtures.

    Args:
        game: Whose players take the stored weights; left as it was.
        mixed: The mixtures.
        train: Samples for best responses, shape ``(n, *space.shape)``.
        held_out: Samples that the gap is measured on, at least two batches for an interval.
        steps: Steps of each best response; part of what the number means.
        lr: Learning rate of Adam.
        rng: Its streams decide batches and noise.
        batch: Samples in one batch.

    Raises:
        UserError: If there are fewer samples than a batch.
    """
    if min(len(train), len(held_out)) < batch:
        raise UserError(
            f"A batch of {batch} samples is needed on each side. "
            f"Got {len(train)} to train and {len(held_out)} held out."
        )
    judge = _Judge(game, mixed, train, steps, lr, batch, rng)
    with ExitStack() as stack:
        for player in game.players.values():
            stack.enter_context(kept(player))
        critic, made = judge.best(CRITIC), judge.best(GENERATOR)
        parts = torch.split(held_out, batch)[: len(held_out) // batch]
        gaps = [judge.gap(critic, made, x, f"held-out batch {i}") for i, x in enumerate(parts)]
    found = mean(gaps, better="lower", of="held-out batches")
    summary = f"lower bound: best responses of {steps} steps of Adam"
    return replace(found, method=f"{summary}; {found.method}")


@final
@dataclass(frozen=True, slots=True)
class _Judge:
    """Searches for best responses to mixtures and says what they gain."""

    game: Adversarial
    mixed: Mixed
    train: Tensor
    steps: int
    lr: float
    batch: int
    rng: Rng

    def best(self, player: str) -> State:
        """Returns the better of the best stored response and of what training makes of it."""
        mixed = self.mixed
        if player == CRITIC:
            mine, others, weights = mixed.critics, mixed.generators, mixed.rows
        else:
            mine, others, weights = mixed.generators, mixed.critics, mixed.columns
        start = self._first(player, mine)
        net = self.game.players[player]
        net.load_state_dict(start)
        respond(
            AgainstMixture(ZeroSumGame(self.game), player, others, weights),
            player,
            self.train,
            steps=self.steps,
            lr=self.lr,
            rng=self.rng,
            batch=self.batch,
        )
        return self._first(player, [start, state_of(net)])

    def _first(self, player: str, mine: Sequence[State]) -> State:
        """Returns which of some strategies does best against the mixture, on training samples."""
        x = self.train[:_TELLING]
        if player == CRITIC:
            return mine[int(self._gains(mine, x, "telling").argmax())]
        return mine[int(self._costs(mine, x, "telling").argmin())]

    def gap(self, critic: State, made: State, x: Tensor, noise: str) -> float:
        """Returns the total gain of both responses on some samples."""
        return float(self._gains([critic], x, noise) - self._costs([made], x, noise))

    def _gains(self, critics: Sequence[State], x: Tensor, noise: str) -> Tensor:
        rng = self.rng.stream(noise)
        return self.mixed.rows @ payoffs(self.game, self.mixed.generators, critics, x, rng=rng)

    def _costs(self, generators: Sequence[State], x: Tensor, noise: str) -> Tensor:
        rng = self.rng.stream(noise)
        return payoffs(self.game, generators, self.mixed.critics, x, rng=rng) @ self.mixed.columns


@final
class NetworkOracles(DoubleOracleGame[State, State]):
    """Generators are rows, critics columns; a best response is some steps of Adam on its own loss.

    Source: Oliehoek et al., 2018 (GANG), https://arxiv.org/abs/1806.07268, and Aung et al., 2022
    (DO-GAN), CVPR.
    Differs from the papers: a search starts from the best strategy known; nothing is pruned.

    Args:
        game: Whose losses best responses descend; its players are overwritten.
        train: Samples for best responses, shape ``(n, *space.shape)``.
        judged: Held-out samples for payoffs.
        steps: Steps of a best response.
        lr: Learning rate of Adam.
        batch: Samples in one batch.
        rng: Its streams decide batches and noise.

    Attributes:
        responses: How many best responses have been searched for.
    """

    def __init__(
        self,
        game: Adversarial,
        train: Tensor,
        judged: Tensor,
        *,
        steps: int,
        lr: float,
        rng: Rng,
        batch: int = 128,
    ) -> None:
        self._game = game
        self._train, self._judged = train, judged
        self._steps, self._lr, self._batch = steps, lr, batch
        self._rng = rng
        self.responses = 0

    @override
    @torch.no_grad()
    def payoff(self, row: State, column: State) -> float:
        self._game.players[GENERATOR].load_state_dict(row)
        self._game.players[CRITIC].load_state_dict(column)
        noise = self._rng.stream("payoff")
        return ZeroSumGame(self._game).value(self._judged, rng=noise).item()

    @override
    def best_row(self, columns: Sequence[State], weights: Tensor, start: State) -> State:
        return self._response(GENERATOR, columns, weights, start)

    @override
    def best_column(self, rows: Sequence[State], weights: Tensor, start: State) -> State:
        return self._response(CRITIC, rows, weights, start)

    def _response(
        self, player: str, opponents: Sequence[State], weights: Tensor, start: State
    ) -> State:
        self.responses += 1
        seed = self._rng.stream(f"response {self.responses}")
        net = self._game.players[player]
        net.load_state_dict(start)
        respond(
            AgainstMixture(self._game, player, opponents, weights),
            player,
            self._train,
            steps=self._steps,
            lr=self._lr,
            rng=Rng(seed.initial_seed(), self._rng.device),
            batch=self._batch,
        )
        return state_of(net)
