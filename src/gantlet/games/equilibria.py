"""Nash equilibria of matrix games: linear programming, fictitious play, Hedge, double oracle."""

import abc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, final

import numpy as np
import torch
from torch import Tensor

from gantlet.core.errors import UserError

# Probabilities below are rounding of the solver's.
_TINY = 1e-9


@final
@dataclass(frozen=True, slots=True, eq=False)
class Equilibrium:
    """A pair of mixed strategies from which nobody gains by leaving.

    Attributes:
        rows: Probabilities of the row player, who pays, shape ``(m,)``, float64.
        columns: Probabilities of the column player, shape ``(n,)``, float64.
        value: What the row player pays.
        gap: The duality gap that rounding leaves.
    """

    rows: Tensor
    columns: Tensor
    value: float
    gap: float


def equilibrium(payoff: Tensor) -> Equilibrium:
    """Returns a Nash equilibrium of the zero-sum game with this matrix of payoffs.

    The row player's programme is ``min v`` subject to ``payoff^T x <= v``, ``x >= 0`` and
    ``sum x = 1``; the column player's is its dual. Where there are several equilibria the solver
    chooses one; all have the same value.

    Source: the minimax theorem as a pair of linear programmes (Dantzig, 1951); solved with HiGHS.

    Args:
        payoff: What rows pay to columns, shape ``(m, n)``.

    Raises:
        UserError: If it is not a matrix of finite numbers.

    Example:
        >>> found = equilibrium(torch.tensor([[2.0, -1.0], [-1.0, 1.0]]))
        >>> [round(p, 3) for p in found.rows.tolist()], round(found.value, 3)
        ([0.4, 0.6], 0.2)
    """
    A = checked(payoff)
    # In one unit, numbers of any size meet the solver's tolerances.
    scale = max(float(A.abs().max()), torch.finfo(torch.float64).tiny)
    rows, columns = _cautious(A / scale), _cautious(-A.T / scale)
    return Equilibrium(rows, columns, value(A, rows, columns), exploitability(A, rows, columns))


def _cautious(A: Tensor) -> Tensor:
    """Returns the mixture of rows that pays least against the worst column."""
    from scipy.optimize import linprog

    m, n = A.shape
    solved = linprog(
        c=np.append(np.zeros(m), 1.0),
        A_ub=np.hstack([A.T.numpy(), -np.ones((n, 1))]),
        b_ub=np.zeros(n),
        A_eq=np.append(np.ones(m), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * m + [(None, None)],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if not solved.success:
        raise RuntimeError(f"The linear programme was not solved: {solved.message}")
    weights = torch.from_numpy(np.asarray(solved.x[:m], dtype=np.float64))
    weights = torch.where(weights > _TINY, weights, 0.0)
    return weights / weights.sum()


def checked(payoff: Tensor) -> Tensor:
    """Returns a payoff matrix in float64.

    Raises:
        UserError: If it is not a matrix, is empty, or holds numbers that are not finite.
    """
    if payoff.ndim != 2 or payoff.numel() == 0:
        raise UserError(
            f"A payoff must be a matrix of rows and columns. Got shape {tuple(payoff.shape)}."
        )
    if not payoff.isfinite().all():
        raise UserError("A payoff matrix must hold finite numbers. Got one that does not.")
    return payoff.detach().double()


def value(payoff: Tensor, rows: Tensor, columns: Tensor) -> float:
    """Returns the expected payment of the row player, ``rows^T payoff columns``."""
    return float(rows.double() @ payoff.double() @ columns.double())


def exploitability(payoff: Tensor, rows: Tensor, columns: Tensor) -> float:
    """Returns the duality gap: what both players together could gain by their best responses.

    ``max_j (rows^T payoff)_j - min_i (payoff columns)_i``; it is never below zero, and zero at an
    equilibrium only (von Neumann, 1928).

    Args:
        payoff: What rows pay to columns, shape ``(m, n)``.
        rows: Probabilities, shape ``(m,)``.
        columns: Probabilities, shape ``(n,)``.

    Example:
        >>> pennies = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
        >>> fair, heads = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])
        >>> exploitability(pennies, fair, fair), exploitability(pennies, heads, heads)
        (0.0, 2.0)
    """
    A = payoff.double()
    return float((rows.double() @ A).max() - (A @ columns.double()).min())


def uniform(n: int) -> Tensor:
    """Returns equal probabilities, shape ``(n,)``, float64."""
    return torch.full((n,), 1 / n, dtype=torch.float64)


Pair = tuple[Tensor, Tensor]
Respond = Callable[[Tensor, Tensor], Pair]
"""Takes the costs of all rows and the gains of all columns in a round; returns the next pair."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class RepeatedPlay:
    """The mixed strategies of both players in every round.

    Attributes:
        payoff: What rows pay to columns, shape ``(m, n)``, float64.
        rows: One mixed strategy for each round, shape ``(rounds, m)``.
        columns: One mixed strategy for each round, shape ``(rounds, n)``.
    """

    payoff: Tensor
    rows: Tensor
    columns: Tensor

    def last(self, rounds: int) -> float:
        """Returns the duality gap of what was played in round number ``rounds``."""
        return exploitability(self.payoff, self.rows[rounds - 1], self.columns[rounds - 1])

    def average(self, rounds: int) -> float:
        """Returns the duality gap of the average of the first ``rounds`` rounds."""
        rows, columns = self.rows[:rounds].mean(0), self.columns[:rounds].mean(0)
        return exploitability(self.payoff, rows, columns)


def repeated_play(payoff: Tensor, start: Pair, respond: Respond, rounds: int) -> RepeatedPlay:
    """Lets two players respond to each other's last strategy, both at once.

    Args:
        payoff: What rows pay to columns, shape ``(m, n)``.
        start: What is played in the first round.
        respond: How both go on.
        rounds: How many rounds, the first among them.

    Raises:
        UserError: If the payoff is not a matrix of finite numbers.
    """
    A = checked(payoff)
    pairs = [(start[0].double(), start[1].double())]
    for _ in range(rounds - 1):
        x, y = pairs[-1]
        pairs.append(respond(A @ y, x @ A))
    return RepeatedPlay(A, torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs]))


def fictitious_play(payoff: Tensor, *, rounds: int) -> RepeatedPlay:
    """Returns the course of fictitious play; its averages converge to an equilibrium.

    In each round both players, at once, answer the average of the other's past with a pure
    strategy. Both begin with their first strategy, and of equally good ones take the first.

    Source: Brown, 1951; that averages converge in every zero-sum game: Robinson, 1951.

    Args:
        payoff: What rows pay to columns, shape ``(m, n)``.
        rounds: How many rounds.

    Raises:
        UserError: If the payoff is not a matrix of finite numbers.
    """
    A = checked(payoff)
    rows, columns = torch.eye(len(A), dtype=A.dtype), torch.eye(A.shape[1], dtype=A.dtype)
    costs, gains = torch.zeros(len(A), dtype=A.dtype), torch.zeros(A.shape[1], dtype=A.dtype)

    def respond(cost: Tensor, gain: Tensor) -> Pair:
        costs.add_(cost)
        gains.add_(gain)
        return rows[int(costs.argmin())], columns[int(gains.argmax())]

    return repeated_play(A, (rows[0], columns[0]), respond, rounds)


def hedge(
    payoff: Tensor, *, step: float, rounds: int, logits: Pair, optimistic: bool = False
) -> RepeatedPlay:
    """Returns the course of two players who use multiplicative weights, both at once.

    The logit of a row falls by ``step`` times what it would have paid, that of a column rises by
    ``step`` times what it would have got. The optimistic form counts the last round twice and
    takes back the one before: it expects the next round to be as the last one was. In the first
    round it expects nothing.

    Averages of both approach equilibrium; what is played in the last round does so in the
    optimistic form only, and runs away to pure strategies in the plain one.

    Source: Freund and Schapire, 1999, https://doi.org/10.1006/game.1999.0738; optimistic:
    Rakhlin and Sridharan, 2013, https://arxiv.org/abs/1311.1869.

    Args:
        payoff: What rows pay to columns, shape ``(m, n)``.
        step: The learning rate.
        rounds: How many rounds.
        logits: Where both begin, shapes ``(m,)`` and ``(n,)``.
        optimistic: Whether to expect the next round to be as the last one was.

    Raises:
        UserError: If the payoff is not a matrix of finite numbers.
    """
    rows, columns = logits[0].double().clone(), logits[1].double().clone()
    cost_before, gain_before = rows * 0, columns * 0

    def respond(cost: Tensor, gain: Tensor) -> Pair:
        more = (cost - cost_before, gain - gain_before) if optimistic else (0 * cost, 0 * gain)
        rows.sub_(step * (cost + more[0]))
        columns.add_(step * (gain + more[1]))
        cost_before.copy_(cost)
        gain_before.copy_(gain)
        return rows.softmax(0), columns.softmax(0)

    return repeated_play(payoff, (rows.softmax(0), columns.softmax(0)), respond, rounds)


R = TypeVar("R")
C = TypeVar("C")


class DoubleOracleGame(abc.ABC, Generic[R, C]):
    """A zero-sum game whose strategies are found, not listed: rows pay columns."""

    @abc.abstractmethod
    def payoff(self, row: R, column: C) -> float:
        """Returns the payment of the row player."""

    @abc.abstractmethod
    def best_row(self, columns: Sequence[C], weights: Tensor, start: R) -> R:
        """Returns a row that pays little against a mixture of columns.

        Args:
            columns: What the column player plays.
            weights: How often, shape ``(columns,)``.
            start: The best row known, from which a search may start.
        """

    @abc.abstractmethod
    def best_column(self, rows: Sequence[R], weights: Tensor, start: C) -> C:
        """Returns a column that gets much from a mixture of rows; as ``best_row``."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Round(Generic[R, C]):
    """The strategies known so far, and what the oracles could gain on their equilibrium.

    Attributes:
        rows: The rows known when the round began.
        columns: The columns known when the round began.
        equilibrium: The equilibrium among them.
        gap: What both best responses gain together; a lower bound of the duality gap.
    """

    rows: Sequence[R]
    columns: Sequence[C]
    equilibrium: Equilibrium
    gap: float


def double_oracle(
    arena: DoubleOracleGame[R, C], rows: Sequence[R], columns: Sequence[C], *, epsilon: float = 0.0
) -> Iterator[Round[R, C]]:
    """Yields one round after the other, the last of them when the gap is at most ``epsilon``.

    The caller may stop sooner, when a budget is spent. In a game of finitely many strategies with
    exact oracles it ends at an equilibrium.

    Source: McMahan, Gordon and Blum, 2003; with approximate best responses as in Oliehoek et al.,
    2018 (GANG), https://arxiv.org/abs/1806.07268.

    Args:
        arena: The game.
        rows: The rows to begin with, at least one.
        columns: The columns to begin with, at least one.
        epsilon: The gap that is small enough.
    """
    rows, columns = list(rows), list(columns)
    table = torch.tensor(
        [[arena.payoff(r, c) for c in columns] for r in rows], dtype=torch.float64
    )
    while True:
        found = equilibrium(table)
        costs, gains = table @ found.columns, found.rows @ table
        row = arena.best_row(columns, found.columns, rows[int(costs.argmin())])
        column = arena.best_column(rows, found.rows, columns[int(gains.argmax())])
        new_row = torch.tensor([arena.payoff(row, c) for c in columns], dtype=torch.float64)
        new_column = torch.tensor([arena.payoff(r, column) for r in rows], dtype=torch.float64)
        gap = float(new_column @ found.rows - new_row @ found.columns)
        yield Round(tuple(rows), tuple(columns), found, gap)
        if gap <= epsilon:
            return
        corner = torch.tensor([[arena.payoff(row, column)]], dtype=torch.float64)
        wide = torch.cat([table, new_column[:, None]], 1)
        table = torch.cat([wide, torch.cat([new_row[None], corner], 1)])
        rows.append(row)
        columns.append(column)
