"""Players move at once."""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.solver import Losses, Play
from gantlet.games.solvers.descent import Rules
from gantlet.games.solvers.vectors import Look

# What the players descend, in the shapes of all parameters, and their losses, as a look sees them.
Field = Callable[[Look], tuple[Sequence[Tensor], Losses]]


@final
class Simultaneous(Play):
    """All players see the same batch and noise, and move together.

    Args:
        rules: What moves them.
        field: What they descend in the place of a gradient.
    """

    def __init__(self, rules: Rules, field: Field) -> None:
        self._rules = rules
        self._field = field

    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        field, losses = self._field(Look(batch, rng=rng))
        self._rules.step(field)
        return losses

    @override
    def state_dict(self) -> dict[str, Any]:
        return self._rules.state_dict()

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rules.load_state_dict(state)
