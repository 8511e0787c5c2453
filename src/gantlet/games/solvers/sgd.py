"""Plain gradient descent, with momentum where wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.game import Game
from gantlet.core.solver import Play
from gantlet.core.spec import Between
from gantlet.games.solvers.modes import Mode, begin
from gantlet.games.solvers.rules import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Sgd:
    """Stochastic gradient descent for every player, by default alternating.

    Alternating, each moves against what the others have just become. Simultaneous, all see the
    same batch and noise and move at once. A rate for each player gives two time scales
    (``lr=0.02+0.01``; Heusel et al., 2017, https://arxiv.org/abs/1706.08500). On a game that
    rotates, negative momentum damps (Gidel et al., 2019, https://arxiv.org/abs/1807.04740), and
    only if players alternate.

    Source: Robbins and Monro, 1951; momentum as Polyak, 1964.

    Attributes:
        lr: Learning rate; one for all players, or one for each in order of play.
        momentum: Decay of the velocity, from -1 to 1.
        clip: Largest norm of a player's gradient, or none.
        steps: Moves of each player in one step; one number, or one for each in order of play.
        mode: Whether players move in turn or at once.
    """

    lr: tuple[Annotated[float, Between(0)], ...] = (1e-2,)
    momentum: Annotated[float, Between(-1, 1)] = 0.0
    clip: Annotated[float, Between(0)] | None = None
    steps: tuple[Annotated[int, Between(1)], ...] = (1,)
    mode: Mode = "alternating"

    def rule(self, tensors: Sequence[Tensor], lr: float) -> Rule:
        """Returns what moves one player."""
        return HeavyBall(tensors, lr, self.momentum)

    def start(self, game: Game) -> Play:
        """Returns gradient descent, ready to play ``game``."""
        return begin(game, self.rule, lr=self.lr, clip=self.clip, steps=self.steps, mode=self.mode)


@final
class HeavyBall(Rule):
    """The velocities of some tensors, which decay and are pushed by gradients.

    Args:
        tensors: What is moved.
        lr: Learning rate.
        momentum: Decay of the velocities; with 0 there are none.
    """

    def __init__(self, tensors: Sequence[Tensor], lr: float, momentum: float) -> None:
        self._tensors = list(tensors)
        self._lr, self._momentum = lr, momentum
        self._velocities = [torch.zeros_like(t) for t in tensors] if momentum else []

    @override
    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        for velocity, gradient in zip(self._velocities, gradients, strict=False):
            velocity.mul_(self._momentum).add_(gradient)
        for tensor, push in zip(self._tensors, self._velocities or gradients, strict=True):
            tensor.add_(push, alpha=-self._lr)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"velocities": self._velocities}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._velocities = [t.clone() for t in state["velocities"]]
