"""Symplectic gradient adjustment: what rotates is turned inwards."""

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

# Added to what decides the sign, so that it is plus where nothing speaks.
_EPSILON = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Sga(Based):
    """Symplectic gradient adjustment: descends ``F + gamma A' F`` in the place of ``F``.

    ``F`` are the players' gradients and ``A = (J - J') / 2`` is the antisymmetric part of their
    Jacobian. With ``align`` the sign of ``gamma`` is that of ``<F, J'F> <A'F, J'F> / n + 0.1``,
    for ``n`` parameters: the adjustment then pulls towards stable points and pushes away from
    others, for the price of one product more.

    Source: Balduzzi et al., 2018, https://arxiv.org/abs/1802.05642, Algorithm 1.

    Attributes:
        gamma: Size of the adjustment.
        align: Whether its sign follows the alignment.
    """

    gamma: Annotated[float, Between(0)] = 1.0
    align: bool = True

    @override
    def start(self, game: Game) -> Play:
        parameters = Parameters(game)

        def field(look: Look) -> tuple[list[Tensor], Losses]:
            seen = Curvature(parameters, look)
            turn = -seen.twist(seen.field)
            sign = alignment(seen, turn) if self.align else 1.0
            return parameters.views(seen.field + self.gamma * sign * turn), seen.losses

        return Simultaneous(self.rules(parameters), field)


def alignment(seen: Curvature, turn: Tensor) -> Tensor:
    """Returns the sign, a scalar, with which ``turn`` (``A' F``) leads to what is stable."""
    uphill = seen.transposed(seen.field)
    return (seen.field.dot(uphill) * turn.dot(uphill) / len(turn) + _EPSILON).sign()
