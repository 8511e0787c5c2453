"""The two orders in which players can move, each by a rule of its own."""

from typing import Literal

from gantlet.core.errors import UserError
from gantlet.core.game import Game
from gantlet.core.solver import Play
from gantlet.games.solvers.alternating import Alternating, each
from gantlet.games.solvers.descent import Rules
from gantlet.games.solvers.rules import MakeRule
from gantlet.games.solvers.simultaneous import Simultaneous
from gantlet.games.solvers.vectors import Parameters, own_parameters

Mode = Literal["alternating", "simultaneous"]


def begin(
    game: Game,
    make: MakeRule,
    *,
    lr: tuple[float, ...],
    clip: float | None,
    steps: tuple[int, ...],
    mode: Mode,
) -> Play:
    """Returns players with their rules, ready to play ``game``.

    Raises:
        UserError: If rates or steps do not fit the players, or players that move at once are
            to move more than once in a step.
    """
    if mode == "simultaneous":
        if set(steps) != {1}:
            told = "+".join(map(str, steps))
            raise UserError(f"steps must be 1 where players move simultaneously. Got {told}.")
        parameters = Parameters(game)
        rules = Rules(parameters, make, lr, clip)
        return Simultaneous(rules, parameters.gradients)
    rates = each(lr, game, "lr")
    of = own_parameters(game)
    own_rules = {name: make(own, rates[name]) for name, own in of.items()}
    return Alternating(game, own_rules, of, each(steps, game, "steps"), clip)
