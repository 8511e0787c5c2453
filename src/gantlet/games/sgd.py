"""Plain gradient descent, with momentum where wanted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

from torch.optim import SGD, Optimizer

from gantlet.core.game import Game
from gantlet.core.solver import Play
from gantlet.core.spec import Between
from gantlet.games.alternating import Alternating, each


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Sgd:
    """Stochastic gradient descent for every player, alternating.

    Source: Robbins and Monro, 1951; momentum as Polyak, 1964.

    Attributes:
        lr: Learning rate; one for all players, or one for each in order of play.
        momentum: Decay of the velocity.
        clip: Largest norm of a player's gradient, or none.
        steps: Moves of each player in one step; one number, or one for each in order of play.
    """

    lr: tuple[Annotated[float, Between(0)], ...] = (1e-2,)
    momentum: Annotated[float, Between(0, 1)] = 0.0
    clip: Annotated[float, Between(0)] | None = None
    steps: tuple[Annotated[int, Between(1)], ...] = (1,)

    def start(self, game: Game) -> Play:
        """Returns gradient descent, ready to play ``game``."""
        rates = each(self.lr, game, "lr")
        optimizers: Mapping[str, Optimizer] = {
            name: SGD(player.parameters(), rates[name], momentum=self.momentum)
            for name, player in game.players.items()
        }
        return Alternating(game, optimizers, each(self.steps, game, "steps"), self.clip)
