"""What one step of a solver does to small displacements, linearised at one point."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.games.dynamics.linear import Linear, Wrapped


@final
class InTurn(Wrapped):
    """Players who move one after the other, each against what the others have just become.

    ``prod_p (I + R E_p J)^moves``, where ``E_p`` keeps the rows of a player and ``R`` holds the
    rate of every parameter. (Moved all at once, they give ``I + R J``.)

    Args:
        inner: ``J``.
        rates: The diagonal of ``R``, shape ``(size,)``.
        players: Which rows are whose, in order of play.
        moves: How often each moves in one step.
    """

    def __init__(
        self,
        inner: Linear,
        rates: Tensor,
        players: Mapping[str, slice],
        moves: Mapping[str, int],
    ) -> None:
        super().__init__(inner)
        masks = {p: torch.zeros_like(rates) for p in players}
        for player, where in players.items():
            masks[player][where] = rates[where]
        self._turns = [masks[p].to(inner.like) for p in players for _ in range(moves[p])]

    @override
    def apply(self, u: Tensor) -> Tensor:
        for rates in self._turns:
            u = u + rates * self._inner.apply(u)
        return u

    @override
    def transposed(self, u: Tensor) -> Tensor:
        for rates in reversed(self._turns):
            u = u + self._inner.transposed(rates * u)
        return u


@final
class Damped(Wrapped):
    """``J - gamma J^T J``: the field after consensus has been added, near an equilibrium.

    Source: Mescheder et al., 2017, https://arxiv.org/abs/1705.10461.

    Args:
        inner: ``J``.
        gamma: The weight of consensus.
    """

    def __init__(self, inner: Linear, gamma: float) -> None:
        super().__init__(inner)
        self._gamma = gamma

    @override
    def apply(self, u: Tensor) -> Tensor:
        image = self._inner.apply(u)
        return image - self._gamma * self._inner.transposed(image)

    @override
    def transposed(self, u: Tensor) -> Tensor:
        square = self._inner.transposed(self._inner.apply(u))
        return self._inner.transposed(u) - self._gamma * square


@final
class Less(Wrapped):
    """A map less the identity.

    Args:
        inner: The map.
    """

    @override
    def apply(self, u: Tensor) -> Tensor:
        return self._inner.apply(u) - u

    @override
    def transposed(self, u: Tensor) -> Tensor:
        return self._inner.transposed(u) - u
