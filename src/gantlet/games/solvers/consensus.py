"""Consensus optimisation: players also agree to make all gradients small."""

from dataclasses import dataclass
from typing import Annotated, final

from torch import Tensor
from typing_extensions import override

from gantlet.core.game import Game
from gantlet.core.solver import Losses, Play
from gantlet.core.spec import Between
from gantlet.games.solvers.based import Based
from gantlet.games.solvers.curvature import Curvature
from gantlet.games.solvers.simultaneous import Simultaneous
from gantlet.games.solvers.vectors import Look, Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Consensus(Based):
    """Consensus optimisation: descends ``F + gamma J' F`` in the place of ``F``.

    ``F`` are the players' gradients, ``J`` is their Jacobian, so ``J' F`` is the gradient of
    ``|F|^2 / 2``.

    Source: Mescheder et al., 2017, https://arxiv.org/abs/1705.10461, Algorithm 2.

    Attributes:
        gamma: Weight of the agreement.
    """

    gamma: Annotated[float, Between(0)] = 0.1

    @override
    def start(self, game: Game) -> Play:
        parameters = Parameters(game)

        def field(look: Look) -> tuple[list[Tensor], Losses]:
            seen = Curvature(parameters, look, cross=False)
            descended = seen.field + self.gamma * seen.transposed(seen.field)
            return parameters.views(descended), seen.losses

        return Simultaneous(self.rules(parameters), field)
