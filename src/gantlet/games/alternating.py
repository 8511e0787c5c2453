"""Players move in turn, each with its own optimizer."""

from collections.abc import Mapping
from typing import Any, TypeVar, final

import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.game import Game
from gantlet.core.solver import Losses, Play

T = TypeVar("T")


def each(values: tuple[T, ...], game: Game, what: str) -> dict[str, T]:
    """Returns one value for each player: the same for all, or one each in order of play.

    Raises:
        UserError: If there is neither one value nor one for each player.
    """
    names = list(game.players)
    if len(values) not in (1, len(names)):
        raise UserError(
            f"{what} must be one value, or one for each of {'+'.join(names)}. Got {len(values)}."
        )
    return dict(zip(names, values * (len(names) if len(values) == 1 else 1), strict=True))


@final
class Alternating(Play):
    """Each player in turn descends its own loss; a player that moves more often sees more data.

    Args:
        game: The game.
        optimizers: The optimizer of each player.
        moves: How often each player moves in one step.
        clip: Largest norm of a player's gradient, or None.
    """

    def __init__(
        self,
        game: Game,
        optimizers: Mapping[str, Optimizer],
        moves: Mapping[str, int],
        clip: float | None,
    ) -> None:
        self.game = game
        self.optimizers = optimizers
        self.moves = moves
        self.clip = clip

    @property
    @override
    def batches(self) -> int:
        return max(self.moves.values())

    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        losses: dict[str, float] = {}
        batches = batch.chunk(self.batches)
        for name, player in self.game.players.items():
            parameters = list(player.parameters())
            for part in batches[: self.moves[name]]:
                loss = self.game.loss(name, part, rng=rng)
                # A gradient for this player alone: the others are neither charged nor polluted.
                gradients = torch.autograd.grad(loss, parameters)
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient
                if self.clip is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, self.clip)
                self.optimizers[name].step()
                losses[name] = loss.item()
        return losses

    @override
    def state_dict(self) -> dict[str, Any]:
        return {name: o.state_dict() for name, o in self.optimizers.items()}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])
