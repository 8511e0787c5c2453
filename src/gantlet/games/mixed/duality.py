"""The duality gap of a game in training: what its players could still gain, one by one.

At a Nash equilibrium no player gains by leaving. So the sum of what each gains by its best
response, the others staying as they are, tells how far a game is from equilibrium:

    gap = sum over players p of  L_p(now) - min_q L_p(q, others as now)

For a zero-sum game of two this is the duality gap ``max_D V(G, D) - min_G V(G, D)``; for other
games it is the Nikaido-Isoda function. Best responses are searched for with Adam, from where each
player stands, so that what is returned is a lower bound, which grows with the steps.
"""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim import Adam

from gantlet.core.errors import UserError, unknown
from gantlet.core.estimate import Estimate
from gantlet.core.game import Game
from gantlet.core.intervals import mean
from gantlet.core.rng import Rng


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
    """Returns what all players together gain on held-out samples by approximate best responses.

    Each player in turn takes ``steps`` steps of Adam on its own loss over batches of ``train``,
    the others as they are, and is then put back. Its gain is measured on batches of ``held_out``,
    before and after with the same noise; the interval is over these batches, so it speaks of other
    held-out samples, not of other searches for a best response.

    Source: Grnarova et al., 2019, https://arxiv.org/abs/1811.05512.
    Differs from the paper: the losses are the game's own, penalties included; for the value of the
    paper, ``1/2 E log D + 1/2 E log(1 - D)``, give a ``gantlet.games.mixed.minimax.Minimax``.
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


def regret(
    game: Game,
    player: str,
    train: Tensor,
    held_out: Tensor,
    *,
    steps: int = 200,
    lr: float = 1e-3,
    rng: Rng,
    batch: int = 128,
) -> Estimate:
    """Returns what one player gains by its approximate best response; see ``duality_gap``.

    Raises:
        UserError: If there is no such player, or ``duality_gap`` would complain.
    """
    if player not in game.players:
        raise unknown("player", player, game.players)
    _check(train, held_out, batch, steps)
    gains = _gains(game, player, train, held_out, steps=steps, lr=lr, rng=rng, batch=batch)
    return _measured(gains, steps)


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
    told = f"lower bound: best responses of {steps} steps of Adam"
    return replace(found, method=f"{told}; {found.method}")


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
