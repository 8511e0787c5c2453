"""Lookahead: players run ahead, and what they left behind follows part of the way."""

from dataclasses import dataclass
from typing import Annotated, Any, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.game import Game
from gantlet.core.solver import Losses, Play
from gantlet.core.spec import Between
from gantlet.games.solvers.based import Based
from gantlet.games.solvers.modes import Mode
from gantlet.games.solvers.vectors import Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Lookahead(Based):
    """Lookahead-minmax: after every ``k`` steps of the base, all players go back part of the way.

    The place they go back to is theirs together: ``slow + alpha (fast - slow)`` over the
    parameters of all players, once all have moved. What Adam remembers stays.

    Source: Chavdarova et al., 2021, https://arxiv.org/abs/2006.14567, Algorithm 1.
    Differs from the paper: training is judged where the fast players stand, between two returns
    too.

    Attributes:
        k: Steps of the base between two returns.
        alpha: How far the slow ones follow the fast ones.
        mode: Whether the base moves players in turn or at once.
    """

    k: Annotated[int, Between(1)] = 5
    alpha: Annotated[float, Between(0, 1)] = 0.5
    mode: Mode = "alternating"

    @override
    def start(self, game: Game) -> Play:
        return _Lookahead(self, game)


@final
class _Lookahead(Play):
    def __init__(self, how: Lookahead, game: Game) -> None:
        self._how = how
        self._fast = how.alone(how.mode).start(game)
        self._parameters = Parameters(game)
        self._slow = self._parameters.read()
        self._ahead = 0

    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        losses = self._fast.step(batch, rng=rng)
        self._ahead += 1
        if self._ahead == self._how.k:
            self._slow = self._slow.lerp(self._parameters.read(), self._how.alpha)
            self._parameters.write(self._slow)
            self._ahead = 0
        return losses

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"fast": self._fast.state_dict(), "slow": self._slow, "ahead": self._ahead}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._fast.load_state_dict(state["fast"])
        self._slow, self._ahead = state["slow"], state["ahead"]
