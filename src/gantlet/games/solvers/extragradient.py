"""Extragradient: look where a step would lead, come back, and step by what was seen there."""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.game import Game
from gantlet.core.solver import Losses, Play
from gantlet.games.solvers.based import Based
from gantlet.games.solvers.descent import Rules
from gantlet.games.solvers.vectors import Look, Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Extragradient(Based):
    """Extragradient: players step by the gradients they would meet one step ahead.

    With ``F`` the players' gradients, ``w' = w - lr F(w)``, then ``w - lr F(w')``. On Adam this
    is ExtraAdam, whose moments see both gradients; on gradient descent, ExtraSGD.

    Source: Korpelevich, 1976; Gidel et al., 2019, https://arxiv.org/abs/1802.10551, section 4.1
    and the algorithm of Extra-Adam. With ``fresh=false``: Mishchenko et al., 2019,
    https://arxiv.org/abs/1905.11373.

    Attributes:
        fresh: Whether the second look has a batch and noise of its own, as in the paper, so that
            a step takes two batches; else both looks share one batch and its noise.
    """

    fresh: bool = True

    @override
    def start(self, game: Game) -> Play:
        parameters = Parameters(game)
        return _Extragradient(parameters, self.rules(parameters), fresh=self.fresh)


@final
class _Extragradient(Play):
    def __init__(self, parameters: Parameters, rules: Rules, *, fresh: bool) -> None:
        self._parameters = parameters
        self._rules = rules
        self._fresh = fresh

    @property
    @override
    def batches(self) -> int:
        return 2 if self._fresh else 1

    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        parts = batch.chunk(self.batches)
        first = Look(parts[0], rng=rng)
        here, losses = self._parameters.gradients(first)
        second = Look(parts[1], rng=rng) if self._fresh else first
        with self._parameters.visit():
            self._rules.step(here)
            there, _ = self._parameters.gradients(second)
        self._rules.step(there)
        return losses

    @override
    def state_dict(self) -> dict[str, Any]:
        return self._rules.state_dict()

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rules.load_state_dict(state)
