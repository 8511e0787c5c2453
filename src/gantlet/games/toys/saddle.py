"""A quadratic game of two players, which pull on themselves and turn each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import UserError, unknown
from gantlet.core.game import Game
from gantlet.core.spec import Between
from gantlet.games.toys.point import Point


@final
class SaddleGame(Game):
    """``a/2 |x|^2 + c x . y`` against ``b/2 |y|^2 - c x . y``.

    Args:
        own: ``a`` and ``b``.
        cross: ``c``.
        start: Where both begin, shape ``(dim,)``.
    """

    def __init__(self, own: tuple[float, float], cross: float, start: Tensor) -> None:
        self._own, self._cross = own, cross
        self._x, self._y = Point(start), Point(start)

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"x": self._x, "y": self._y}

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        x, y = self._x.at, self._y.at
        cross: Tensor = self._cross * (x * y).sum()
        if player == "x":
            return self._own[0] / 2 * x.square().sum() + cross
        if player == "y":
            return self._own[1] / 2 * y.square().sum() - cross
        raise unknown("player", player, self.players)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Saddle:
    """A quadratic game: ``a/2 |x|^2 + c x . y`` against ``b/2 |y|^2 - c x . y``.

    Its field is linear, with the eigenvalues of ``[[-a, -c], [c, -b]]``. With ``own=0`` it is the
    bilinear game, a pure rotation. With ``own=-1+3`` and ``cross=2`` it is stable although no Nash
    equilibrium: the first player sits on a maximum of its own loss, held there by the second
    (Mazumdar et al., 2020, https://arxiv.org/abs/1804.05464, on such points).

    Source: any textbook.

    Attributes:
        own: ``a`` and ``b``, the curvature of each player's own loss; one for both, or two.
        cross: ``c``, how strongly they turn each other.
        dim: Components of each player.
        start: Where every component begins.
    """

    own: tuple[float, ...] = (0.0,)
    cross: float = 1.0
    dim: Annotated[int, Between(1)] = 1
    start: float = 1.0

    @property
    def solver(self) -> str:
        """Plain gradient descent."""
        return "sgd:lr=0.1"

    @property
    def real(self) -> Tensor:
        """A sample that nobody looks at."""
        return torch.zeros(1, 1, dtype=torch.float64)

    def build(self) -> SaddleGame:
        """Returns the game at its start.

        Raises:
            UserError: If ``own`` is neither one number nor two.
        """
        if len(self.own) not in (1, 2):
            raise UserError(f"saddle:own must be one number or two. Got {len(self.own)}.")
        start = torch.full((self.dim,), self.start, dtype=torch.float64)
        return SaddleGame((self.own[0], self.own[-1]), self.cross, start)
