"""Extragradient from the past: look ahead along the last step, for half the price."""

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
class PastExtragradient(Based):
    """Extragradient that looks ahead by the last gradient instead of a new one.

    With ``F`` the players' gradients, ``w' = w - lr F(last w')``, then ``w - lr F(w')``: one
    gradient, one batch for each step. The first step looks from where it stands.

    Source: Popov, 1980; Gidel et al., 2019, https://arxiv.org/abs/1802.10551, section 4.2.
    Differs from the paper: on Adam, it looks ahead by the whole last step, and the moments see
    each gradient once.
    """

    @override
    def start(self, game: Game) -> Play:
        parameters = Parameters(game)
        return _PastExtragradient(parameters, self.descent(parameters))


@final
class _PastExtragradient(Remembering):
    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        with self._parameters.ahead(self._last):
            gradients, losses = self._parameters.gradients(Look(batch, rng=rng))
        self._last = self._descent(flat(gradients))
        self._parameters.move(self._last)
        return losses
