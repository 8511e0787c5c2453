"""What solvers share that choose a field or a place, and leave the step to a base."""

import abc
from dataclasses import dataclass
from typing import Annotated, Literal

from gantlet.core.game import Game
from gantlet.core.solver import Play
from gantlet.core.spec import Between
from gantlet.games.solvers.adam import Adam
from gantlet.games.solvers.descent import Descent, Rules
from gantlet.games.solvers.modes import Mode
from gantlet.games.solvers.sgd import Sgd
from gantlet.games.solvers.vectors import Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Based(abc.ABC):
    """Settings of the optimizer beneath a solver.

    Attributes:
        base: The optimizer: plain gradient descent or Adam.
        lr: Learning rate; one for all players, or one for each in order of play.
        beta1: Decay of Adam's first moment.
        beta2: Decay of Adam's second moment.
        clip: Largest norm of what a player descends, or none.
    """

    base: Literal["sgd", "adam"] = "adam"
    lr: tuple[Annotated[float, Between(0)], ...] = (1e-3,)
    beta1: Annotated[float, Between(0, 1, below=True)] = 0.0
    beta2: Annotated[float, Between(0, 1, below=True)] = 0.99
    clip: Annotated[float, Between(0)] | None = None

    @abc.abstractmethod
    def start(self, game: Game) -> Play:
        """Returns the solver, ready to play ``game``."""

    def alone(self, mode: Mode) -> Sgd | Adam:
        """Returns the base as a solver of its own."""
        if self.base == "sgd":
            return Sgd(lr=self.lr, clip=self.clip, mode=mode)
        return Adam(lr=self.lr, beta1=self.beta1, beta2=self.beta2, clip=self.clip, mode=mode)

    def rules(self, parameters: Parameters) -> Rules:
        """Returns the rules of all players, which move them."""
        return Rules(parameters, self.alone("simultaneous").rule, self.lr, self.clip)

    def descent(self, parameters: Parameters) -> Descent:
        """Returns the rule of all players together, which says where it would move them."""
        return Descent(parameters, self.alone("simultaneous").rule, self.lr, self.clip)
