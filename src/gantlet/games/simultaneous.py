"""Players move at once."""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.solver import Losses, Play
from gantlet.games.descent import Descent
from gantlet.games.vectors import Look, Parameters

# What the players descend, shape (n,), and their losses, as one look sees them.
Field = Callable[[Look], tuple[Tensor, Losses]]


@final
class Simultaneous(Play):
    """All players see the same batch and noise, and move together.

    Args:
        parameters: Those of all players.
        descent: Their optimizers.
        field: What they descend in the place of a gradient.
    """

    def __init__(self, parameters: Parameters, descent: Descent, field: Field) -> None:
        self._parameters = parameters
        self._descent = descent
        self._field = field

    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        field, losses = self._field(Look(batch, rng=rng))
        self._parameters.move(self._descent(field))
        return losses

    @override
    def state_dict(self) -> dict[str, Any]:
        return self._descent.state_dict()

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._descent.load_state_dict(state)
