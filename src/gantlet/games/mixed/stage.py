"""The double oracle on a GAN: best responses are searched for by training."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.game import Adversarial
from gantlet.core.rng import Rng
from gantlet.games.mixed.duality import respond
from gantlet.games.mixed.minimax import Minimax
from gantlet.games.mixed.strategies import CRITIC, GENERATOR, Against, State, state_of
from gantlet.games.theory.oracle import Arena


@final
class Stage(Arena[State, State]):
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
        return Minimax(self._game).value(self._judged, rng=noise).item()

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
            Against(self._game, player, opponents, weights),
            player,
            self._train,
            steps=self._steps,
            lr=self._lr,
            rng=Rng(seed.initial_seed(), self._rng.device),
            batch=self._batch,
        )
        return state_of(net)
