"""Gradient descent with Adam (Kingma and Ba, 2015), https://arxiv.org/abs/1412.6980."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, final

from torch import nn
from torch.optim import Adam as TorchAdam
from torch.optim import Optimizer

from gantlet.core.game import Game
from gantlet.core.solver import Play
from gantlet.core.spec import Between
from gantlet.games.modes import Mode, begin


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

    def optimizer(self, parameters: Sequence[nn.Parameter], lr: float) -> Optimizer:
        """Returns the optimizer of one player."""
        betas = (self.beta1, self.beta2)
        return TorchAdam(parameters, lr, betas=betas, eps=self.eps, fused=True)

    def start(self, game: Game) -> Play:
        """Returns Adam, ready to play ``game``."""
        return begin(
            game,
            self.optimizer,
            lr=self.lr,
            clip=self.clip,
            steps=self.steps,
            mode=self.mode,
        )
