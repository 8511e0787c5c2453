"""Games that tests alone play, and what pen and paper say of the LGQ GAN."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import UserError, unknown
from gantlet.core.model import Game
from gantlet.games.equilibria import exploitability
from gantlet.games.toys import PointPlayer


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
        self._x, self._y = PointPlayer(x), PointPlayer(y)

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
        self._rows, self._columns = PointPlayer(rows), PointPlayer(columns)

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


def precision_path(covariance: Tensor, start: Tensor, t: float) -> Tensor:
    """Returns ``(A A^T)^-1`` at time ``t`` of the flow of crossing-the-curl.

    ``Q(t) = S^-1 + e^(-2 S t) (Q(0) - S^-1) e^(-2 S t)``, whatever ``W`` is.

    Args:
        covariance: ``S``, shape ``(d, d)``.
        start: ``A`` at time 0, shape ``(d, d)``, invertible.
        t: Time.
    """
    goal = torch.linalg.inv(covariance)
    fade = torch.linalg.matrix_exp(-2 * t * covariance)
    found: Tensor = goal + fade @ (torch.linalg.inv(start @ start.mT) - goal) @ fade
    return found


def invariant(curve: Tensor, scale: Tensor, variance: float) -> Tensor:
    """Returns ``H = w^2 + a^2 / 2 - s^2 log a`` in one dimension.

    The flow of gradient descent keeps it; crossing-the-curl lowers it, by
    ``dH/dt = -8 a^2 w^2 - 2 (a^2 - s^2)^2``. It is smallest at the solution.
    """
    return curve.square() + scale.square() / 2 - variance * scale.abs().log()


def ridge_ratio(values: Tensor, rank: int, *, ridge: float, tau: float) -> float:
    """Returns ``tau ridge^2 / (2 l_{r+1})``: locally stable above 1, not below.

    Args:
        values: Eigenvalues of ``S``, largest first, ``l_1 > l_2 > ...``.
        rank: ``r``, below their number.
        ridge: Weight of ``|W|^2 / 2`` in the critic's loss.
        tau: Step of the critic over that of the generator.
    """
    return tau * ridge**2 / (2 * float(values[rank]))


def r1_ratio(values: Tensor, rank: int, *, gamma: float, tau: float) -> float:
    """Returns ``tau c^2 (l_r + l_d)`` with ``c = 2 gamma``: locally stable above 1, not below.

    Args:
        values: Eigenvalues of ``S``, largest first.
        rank: ``r``, below their number.
        gamma: Weight of R1 as ``gamma / 2 E |grad D|^2``.
        tau: Step of the critic over that of the generator.
    """
    return tau * (2 * gamma) ** 2 * float(values[rank - 1] + values[-1])
