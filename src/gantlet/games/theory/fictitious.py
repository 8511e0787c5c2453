"""Fictitious play: the best response to everything the other player has done so far."""

import torch
from torch import Tensor

from gantlet.games.theory.course import Course, Pair, played
from gantlet.games.theory.payoff import checked


def fictitious_play(payoff: Tensor, *, rounds: int) -> Course:
    """Returns the course of fictitious play; its averages converge to an equilibrium.

    In each round both players, at once, answer the average of the other's past with a pure
    strategy. Both begin with their first strategy, and of equally good ones take the first.

    Source: Brown, 1951; that averages converge in every zero-sum game: Robinson, 1951.

    Args:
        payoff: What rows pay to columns, shape ``(m, n)``.
        rounds: How many rounds.

    Raises:
        UserError: If the payoff is no matrix of finite numbers.
    """
    A = checked(payoff)
    rows, columns = torch.eye(len(A), dtype=A.dtype), torch.eye(A.shape[1], dtype=A.dtype)
    costs, gains = torch.zeros(len(A), dtype=A.dtype), torch.zeros(A.shape[1], dtype=A.dtype)

    def respond(cost: Tensor, gain: Tensor) -> Pair:
        costs.add_(cost)
        gains.add_(gain)
        return rows[int(costs.argmin())], columns[int(gains.argmax())]

    return played(A, (rows[0], columns[0]), respond, rounds)
