"""How fast a solver moves each parameter, as far as its written form tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar, final

import torch
from torch import Tensor

from gantlet.core.spec import Spec

T = TypeVar("T")

# Added to the root of second moments; that of Adam itself makes no difference here.
_EPS = 1e-8


@final
@dataclass(frozen=True, slots=True)
class Pace:
    """Learning rates, and what they are divided by.

    Attributes:
        name: The solver's name.
        rates: Learning rates: one, or one for each player.
        moves: Moves in one step: one, or one for each player.
        is_adaptive: Whether gradients are divided by the root of their second moments.
        in_turn: Whether players move one after the other.
        options: All options in written form.
    """

    name: str
    rates: tuple[float, ...]
    moves: tuple[int, ...]
    is_adaptive: bool
    in_turn: bool
    options: Mapping[str, str]

    @classmethod
    def of(cls, solver: str) -> "Pace | None":
        """Returns the pace of a solver in its resolved written form, or None if it tells none."""
        spec = Spec.parse(solver)
        given = spec.options
        if "lr" not in given:
            return None
        rates = tuple(float(x) for x in given["lr"].split("+"))
        moves = tuple(int(x) for x in given.get("steps", "1").split("+"))
        adaptive = spec.name == "adam" or given.get("base") == "adam"
        in_turn = given.get("mode", "simultaneous") == "alternating"
        return cls(spec.name, rates, moves, adaptive, in_turn, given)

    def per_parameter(self, players: Mapping[str, slice], squares: Tensor) -> Tensor:
        """Returns the rate of every parameter, shape ``(size,)``.

        Args:
            players: Which parameters are whose.
            squares: The second moments of gradients, shape ``(size,)``.
        """
        rates = torch.empty_like(squares)
        for where, rate in zip(players.values(), _each(self.rates, len(players)), strict=True):
            rates[where] = rate
        return rates / (squares.sqrt() + _EPS) if self.is_adaptive else rates

    def moves_of(self, players: Mapping[str, slice]) -> dict[str, int]:
        """Returns how often each player moves in one step."""
        return dict(zip(players, _each(self.moves, len(players)), strict=True))


def _each(values: tuple[T, ...], n: int) -> tuple[T, ...]:
    return values * (n if len(values) == 1 else 1)
