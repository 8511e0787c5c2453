"""Crossing the curl: players follow the rotation of their game turned by a right angle."""

from dataclasses import dataclass
from typing import final

from torch import Tensor
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.game import Game
from gantlet.core.solver import Losses, Play
from gantlet.games.solvers.based import Based
from gantlet.games.solvers.curvature import Curvature
from gantlet.games.solvers.simultaneous import Simultaneous
from gantlet.games.solvers.vectors import Look, Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class CrossingTheCurl(Based):
    """Crossing-the-Curl: descends ``-(J - J') F / 2`` in the place of ``F``.

    ``F`` are the players' gradients and ``J`` is their Jacobian. In a game that only rotates this
    leads to the centre; where nothing rotates it stands still. With ``whole`` the field is
    ``-J F``, what extragradient adds to a step.

    Source: Gemp and Mahadevan, 2018, https://arxiv.org/abs/1808.01531.

    Attributes:
        whole: Whether the symmetric part of the Jacobian counts too.
    """

    whole: bool = False

    @override
    def start(self, game: Game) -> Play:
        """Returns the solver, ready to play ``game``.

        Raises:
            UserError: If there is one player alone, whose field has no curl.
        """
        if len(game.players) < 2:
            raise UserError(
                "crossing-the-curl needs at least two players. "
                f"Got {'+'.join(game.players)}; choose another solver, such as adam."
            )
        parameters = Parameters(game)

        def field(look: Look) -> tuple[list[Tensor], Losses]:
            seen = Curvature(parameters, look)
            product = seen.times if self.whole else seen.twist
            return parameters.views(-product(seen.field)), seen.losses

        return Simultaneous(self.rules(parameters), field)
