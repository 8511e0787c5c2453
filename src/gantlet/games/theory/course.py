"""What players of a matrix game did, round by round, and where it led."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.games.theory.payoff import checked, exploitability

Pair = tuple[Tensor, Tensor]
Respond = Callable[[Tensor, Tensor], Pair]
"""Takes the costs of all rows and the gains of all columns in a round; returns the next pair."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Course:
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


def played(payoff: Tensor, start: Pair, respond: Respond, rounds: int) -> Course:
    """Lets two players respond to each other's last strategy, both at once.

    Args:
        payoff: What rows pay to columns, shape ``(m, n)``.
        start: What is played in the first round.
        respond: How both go on.
        rounds: How many rounds, the first among them.

    Raises:
        UserError: If the payoff is no matrix of finite numbers.
    """
    A = checked(payoff)
    pairs = [(start[0].double(), start[1].double())]
    for _ in range(rounds - 1):
        x, y = pairs[-1]
        pairs.append(respond(A @ y, x @ A))
    return Course(A, torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs]))
