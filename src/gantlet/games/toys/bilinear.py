"""The game in which plain gradient descent goes round in circles."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import unknown
from gantlet.core.game import Game
from gantlet.games.toys.point import Point


@final
class Bilinear(Game):
    """``min_x max_y x . y``, whose one equilibrium is the origin.

    Source: the counterexample of Salimans et al., 2016, https://arxiv.org/abs/1606.03498,
    section 3.

    Args:
        x: Where the player that minimises begins, any shape.
        y: Where the one that maximises begins, the same shape.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._x, self._y = Point(x), Point(y)

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"x": self._x, "y": self._y}

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        value: Tensor = (self._x.at * self._y.at).sum()
        if player == "x":
            return value
        if player == "y":
            return -value
        raise unknown("player", player, self.players)
