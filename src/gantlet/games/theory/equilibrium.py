"""The equilibrium of a zero-sum game of finitely many strategies, by linear programming."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from gantlet.games.theory.payoff import checked, exploitability, value

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

    @property
    def support(self) -> tuple[int, int]:
        """How many rows and how many columns are played at all."""
        return int((self.rows > 0).sum()), int((self.columns > 0).sum())


def equilibrium(payoff: Tensor) -> Equilibrium:
    """Returns a Nash equilibrium of the zero-sum game with this matrix of payoffs.

    The row player's programme is ``min v`` subject to ``payoff^T x <= v``, ``x >= 0`` and
    ``sum x = 1``; the column player's is its dual. Where there are several equilibria the solver
    chooses one; all have the same value.

    Source: the minimax theorem as a pair of linear programmes (Dantzig, 1951); solved with HiGHS.

    Args:
        payoff: What rows pay to columns, shape ``(m, n)``.

    Raises:
        UserError: If it is no matrix of finite numbers.

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
