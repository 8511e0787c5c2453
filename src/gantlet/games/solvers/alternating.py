"""Players move in turn, each by its own rule."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.game import Game
from gantlet.core.solver import Losses, Play
from gantlet.games.solvers.rules import Rule, clipped

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
        rules: What moves each player.
        parameters: What is moved, by player.
        moves: How often each player moves in one step.
        clip: Largest norm of a player's gradient, or None.
    """

    def __init__(
        self,
        game: Game,
        rules: Mapping[str, Rule],
        parameters: Mapping[str, Sequence[nn.Parameter]],
        moves: Mapping[str, int],
        clip: float | None,
    ) -> None:
        self._game = game
        self._rules = rules
        self._parameters = parameters
        self._moves = moves
        self._clip = clip

    @property
    @override
    def batches(self) -> int:
        return max(self._moves.values())

    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        losses: dict[str, float] = {}
        batches = batch.chunk(self.batches)
        for name, parameters in self._parameters.items():
            for part in batches[: self._moves[name]]:
                loss = self._game.loss(name, part, rng=rng)
                # A gradient for this player alone: the others are neither charged nor polluted.
                gradients = torch.autograd.grad(loss, parameters)
                self._rules[name].step(clipped(gradients, self._clip))
                losses[name] = loss.item()
        return losses

    @override
    def state_dict(self) -> dict[str, Any]:
        return {name: rule.state_dict() for name, rule in self._rules.items()}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, rule in self._rules.items():
            rule.load_state_dict(state[name])
