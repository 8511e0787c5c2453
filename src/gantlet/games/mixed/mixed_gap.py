"""How exploitable mixed strategies of a GAN are, on held-out samples."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.game import Adversarial
from gantlet.core.intervals import mean
from gantlet.core.rng import Rng
from gantlet.games.mixed.duality import kept, respond
from gantlet.games.mixed.minimax import Minimax
from gantlet.games.mixed.strategies import (
    CRITIC,
    GENERATOR,
    Against,
    Mixed,
    State,
    payoffs,
    state_of,
)

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
    told = f"lower bound: best responses of {steps} steps of Adam"
    return replace(found, method=f"{told}; {found.method}")


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
            Against(Minimax(self.game), player, others, weights),
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
        """Returns what both responses gain together on some samples."""
        return float(self._gains([critic], x, noise) - self._costs([made], x, noise))

    def _gains(self, critics: Sequence[State], x: Tensor, noise: str) -> Tensor:
        rng = self.rng.stream(noise)
        return self.mixed.rows @ payoffs(self.game, self.mixed.generators, critics, x, rng=rng)

    def _costs(self, generators: Sequence[State], x: Tensor, noise: str) -> Tensor:
        rng = self.rng.stream(noise)
        return payoffs(self.game, generators, self.mixed.critics, x, rng=rng) @ self.mixed.columns
