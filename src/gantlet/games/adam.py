"""Gradient descent with Adam (Kingma and Ba, 2015), https://arxiv.org/abs/1412.6980."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

from torch.optim import Adam as TorchAdam
from torch.optim import Optimizer

from gantlet.core.game import Game
from gantlet.core.solver import Play
from gantlet.core.spec import Between
from gantlet.games.alternating import Alternating, each


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Adam:
    """Adam for every player, alternating: each moves against what the others have just become.

    Source: Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980, Algorithm 1.

    Attributes:
        lr: Learning rate; one for all players, or one for each in order of play.
        beta1: Decay of the first moment; 0 where players chase each other.
        beta2: Decay of the second moment.
        eps: Added to the root of the second moment.
        clip: Largest norm of a player's gradient, or none.
        steps: Moves of each player in one step; one number, or one for each in order of play.
    """

    lr: tuple[Annotated[float, Between(0)], ...] = (1e-3,)
    beta1: Annotated[float, Between(0, 1, below=True)] = 0.9
    beta2: Annotated[float, Between(0, 1, below=True)] = 0.999
    eps: Annotated[float, Between(0)] = 1e-8
    clip: Annotated[float, Between(0)] | None = None
    steps: tuple[Annotated[int, Between(1)], ...] = (1,)

    def start(self, game: Game) -> Play:
        """Returns Adam, ready to play ``game``."""
        rates = each(self.lr, game, "lr")
        optimizers: Mapping[str, Optimizer] = {
            name: TorchAdam(
                player.parameters(),
                rates[name],
                betas=(self.beta1, self.beta2),
                eps=self.eps,
                fused=True,
            )
            for name, player in game.players.items()
        }
        return Alternating(game, optimizers, each(self.steps, game, "steps"), self.clip)
