"""Optimism: each step counts double, less the one before it."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.game import Game
from gantlet.core.solver import Losses, Play
from gantlet.games.solvers.based import Based
from gantlet.games.solvers.remembering import Remembering
from gantlet.games.solvers.vectors import Look, Parameters, flat


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Optimistic(Based):
    """Optimistic gradient descent: players expect the next gradient to change as the last did.

    With ``d`` the step that the base would make, ``w + 2 d - last d``. On Adam this is Optimistic
    Adam. The first step has no last one and is twice as long.

    Source: Daskalakis et al., 2018, https://arxiv.org/abs/1711.00141, section 2 and Algorithm 1.
    """

    @override
    def start(self, game: Game) -> Play:
        parameters = Parameters(game)
        return _Optimistic(parameters, self.descent(parameters))


@final
class _Optimistic(Remembering):
    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        gradients, losses = self._parameters.gradients(Look(batch, rng=rng))
        step = self._descent(flat(gradients))
        self._parameters.move((2 * step).sub_(self._last))
        # A tensor of its own: were it a buffer of the gradient, zeroing gradients would undo it.
        self._last = step
        return losses
