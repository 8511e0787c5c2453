"""The two orders in which players can move by an optimizer of their own."""

from typing import Literal

from gantlet.core.errors import UserError
from gantlet.core.game import Game
from gantlet.core.solver import Play
from gantlet.games.alternating import Alternating, each
from gantlet.games.descent import Descent, MakeOptimizer
from gantlet.games.simultaneous import Simultaneous
from gantlet.games.vectors import Parameters

Mode = Literal["alternating", "simultaneous"]


def begin(
    game: Game,
    make: MakeOptimizer,
    *,
    lr: tuple[float, ...],
    clip: float | None,
    steps: tuple[int, ...],
    mode: Mode,
) -> Play:
    """Returns optimizers, ready to play ``game``.

    Raises:
        UserError: If rates or steps do not fit the players, or players that move at once are
            to move more than once in a step.
    """
    if mode == "simultaneous":
        if set(steps) != {1}:
            told = "+".join(map(str, steps))
            raise UserError(f"steps must be 1 where players move simultaneously. Got {told}.")
        parameters = Parameters(game)
        descent = Descent(parameters, make, lr, clip)
        return Simultaneous(parameters, descent, parameters.gradient)
    rates = each(lr, game, "lr")
    optimizers = {
        name: make(list(player.parameters()), rates[name]) for name, player in game.players.items()
    }
    return Alternating(game, optimizers, each(steps, game, "steps"), clip)
