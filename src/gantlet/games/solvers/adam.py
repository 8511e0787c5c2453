"""Gradient descent with Adam (Kingma and Ba, 2015), https://arxiv.org/abs/1412.6980."""

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
class Adam:
    """Adam for every player, by default alternating.

    Alternating, each moves against what the others have just become. Simultaneous, all see the
    same batch and noise and move at once. A rate for each player gives two time scales
    (``lr=4e-4+1e-4``; Heusel et al., 2017, https://arxiv.org/abs/1706.08500).

    Source: Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980, Algorithm 1.

    Attributes:
        lr: Learning rate; one for all players, or one for each in order of play.
        beta1: Decay of the first moment; 0 where players chase each other.
        beta2: Decay of the second moment.
        eps: Added to the root of the second moment.
        clip: Largest norm of a player's gradient, or none.
        steps: Moves of each player in one step; one number, or one for each in order of play.
        mode: Whether players move in turn or at once.
    """

    lr: tuple[Annotated[float, Between(0)], ...] = (1e-3,)
    beta1: Annotated[float, Between(0, 1, below=True)] = 0.9
    beta2: Annotated[float, Between(0, 1, below=True)] = 0.999
    eps: Annotated[float, Between(0)] = 1e-8
    clip: Annotated[float, Between(0)] | None = None
    steps: tuple[Annotated[int, Between(1)], ...] = (1,)
    mode: Mode = "alternating"

    def rule(self, tensors: Sequence[Tensor], lr: float) -> Rule:
        """Returns what moves one player."""
        return Moments(tensors, lr, (self.beta1, self.beta2), self.eps)

    def start(self, game: Game) -> Play:
        """Returns Adam, ready to play ``game``."""
        return begin(game, self.rule, lr=self.lr, clip=self.clip, steps=self.steps, mode=self.mode)


@final
class Moments(Rule):
    """Adam's moments of some tensors, and its steps.

    Args:
        tensors: What is moved.
        lr: Learning rate.
        betas: Decay of the first and the second moment.
        eps: Added to the root of the second moment.
    """

    def __init__(
        self, tensors: Sequence[Tensor], lr: float, betas: tuple[float, float], eps: float
    ) -> None:
        self._tensors = list(tensors)
        self._lr, self._betas, self._eps = lr, betas, eps
        self._first = [torch.zeros_like(t) for t in tensors]
        self._second = [torch.zeros_like(t) for t in tensors]
        self._steps = torch.zeros((), device=tensors[0].device)

    @override
    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        self._steps += 1
        beta1, beta2 = self._betas
        # What torch's own Adam comes down to with fused=True.
        torch._fused_adam_(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            self._tensors,
            list(gradients),
            self._first,
            self._second,
            [],
            [self._steps] * len(self._tensors),
            lr=self._lr,
            beta1=beta1,
            beta2=beta2,
            weight_decay=0.0,
            eps=self._eps,
            amsgrad=False,
            maximize=False,
        )

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"first": self._first, "second": self._second, "steps": self._steps}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._first = [t.clone() for t in state["first"]]
        self._second = [t.clone() for t in state["second"]]
        self._steps = state["steps"].clone()
