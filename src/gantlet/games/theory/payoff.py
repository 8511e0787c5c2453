"""What a pair of mixed strategies is worth, and how far it is from equilibrium.

A game is a matrix of payoffs: ``payoff[i, j]`` is what the row player pays to the column player
when one plays row ``i`` and the other column ``j``. Rows minimise, columns maximise: generators
are rows, critics are columns. A mixed strategy is a vector of probabilities.
"""

import torch
from torch import Tensor

from gantlet.core.errors import UserError


def checked(payoff: Tensor) -> Tensor:
    """Returns a payoff matrix in float64.

    Raises:
        UserError: If it is no matrix, is empty, or holds what is not finite.
    """
    if payoff.ndim != 2 or payoff.numel() == 0:
        raise UserError(
            f"A payoff must be a matrix of rows and columns. Got shape {tuple(payoff.shape)}."
        )
    if not payoff.isfinite().all():
        raise UserError("A payoff matrix must hold finite numbers. Got one that does not.")
    return payoff.detach().double()


def value(payoff: Tensor, rows: Tensor, columns: Tensor) -> float:
    """Returns what the row player pays on average, ``rows^T payoff columns``."""
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
