"""How the players of a game move."""

import abc
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from gantlet.core.game import Game

Losses = Mapping[str, float]


class Play(abc.ABC):
    """A solver at work on one game, with whatever it remembers between steps."""

    @property
    def batches(self) -> int:
        """How many batches of real samples one step consumes."""
        return 1

    @abc.abstractmethod
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        """Moves every player and returns the losses they saw.

        ``batch`` holds ``batches`` batches of equal size, one after the other.
        """

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns all that is needed to go on bit by bit: tensors and plain values, nested."""

    @abc.abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up the state that ``state_dict`` returned."""


@runtime_checkable
class Solver(Protocol):
    """Settings of one way to move; a frozen dataclass."""

    def start(self, game: Game) -> Play:
        """Returns the solver, ready to play ``game``."""
        ...
