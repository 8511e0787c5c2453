"""Plain gradient descent, with momentum where wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, final

from torch import nn
from torch.optim import SGD, Optimizer

from gantlet.core.game import Game
from gantlet.core.solver import Play
from gantlet.core.spec import Between
from gantlet.games.modes import Mode, begin


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

    def optimizer(self, parameters: Sequence[nn.Parameter], lr: float) -> Optimizer:
        """Returns the optimizer of one player."""
        made = SGD(parameters, lr)
        for group in made.param_groups:
            # Torch refuses a momentum below zero, and takes it all the same.
            group["momentum"] = self.momentum
        return made

    def start(self, game: Game) -> Play:
        """Returns gradient descent, ready to play ``game``."""
        return begin(
            game,
            self.optimizer,
            lr=self.lr,
            clip=self.clip,
            steps=self.steps,
            mode=self.mode,
        )
