"""The double oracle: equilibria of games with too many strategies to write down.

Solve the game of the few strategies known; let each player answer the other's mixture with the
best response it can find; add both answers; go on until no answer gains.
"""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, final

import torch
from torch import Tensor

from gantlet.games.theory.equilibrium import Equilibrium, equilibrium

R = TypeVar("R")
C = TypeVar("C")


class Arena(abc.ABC, Generic[R, C]):
    """A zero-sum game whose strategies are found, not listed: rows pay columns."""

    @abc.abstractmethod
    def payoff(self, row: R, column: C) -> float:
        """Returns what the row player pays."""

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
    arena: Arena[R, C], rows: Sequence[R], columns: Sequence[C], *, epsilon: float = 0.0
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
