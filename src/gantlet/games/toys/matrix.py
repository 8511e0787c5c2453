"""A game of finitely many strategies for players who move by gradients."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import UserError, unknown
from gantlet.core.game import Game
from gantlet.games.theory.payoff import exploitability
from gantlet.games.toys.point import Point


@final
class Matrix(Game):
    """``min_x max_y softmax(x)^T A softmax(y)``: a matrix game, its mixed strategies as logits.

    The players see the expected payoff, so that there is no noise; batches are ignored.

    Args:
        payoff: What rows pay to columns, ``A``, shape ``(m, n)``.
        rows: Logits of the row player, who minimises, shape ``(m,)``.
        columns: Logits of the column player, shape ``(n,)``.

    Raises:
        UserError: If the logits do not fit the payoff.
    """

    def __init__(self, payoff: Tensor, rows: Tensor, columns: Tensor) -> None:
        if payoff.shape != (len(rows), len(columns)):
            raise UserError(
                f"The payoff must have a row and a column for each logit, shape "
                f"{(len(rows), len(columns))}. Got {tuple(payoff.shape)}."
            )
        self.payoff = payoff
        self._rows, self._columns = Point(rows), Point(columns)

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"rows": self._rows, "columns": self._columns}

    @property
    def strategies(self) -> tuple[Tensor, Tensor]:
        """The mixed strategies of both players."""
        return self._rows.at.softmax(0), self._columns.at.softmax(0)

    @property
    def gap(self) -> float:
        """The duality gap of what the players now play."""
        rows, columns = self.strategies
        return exploitability(self.payoff, rows.detach(), columns.detach())

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        rows, columns = self.strategies
        paid = rows @ self.payoff @ columns
        if player == "rows":
            return paid
        if player == "columns":
            return -paid
        raise unknown("player", player, self.players)
