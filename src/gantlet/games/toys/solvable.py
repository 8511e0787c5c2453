"""Games whose answer is known, in a form that lets many plays run as one program."""

import abc
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.game import Game


class Solvable(Game):
    """A game that draws its noise before anything else, and knows how far off its players are."""

    @abc.abstractmethod
    def noise(self, n: int, *, rng: torch.Generator) -> Tensor:
        """Returns the noise of one loss on ``n`` real samples; empty where there is none."""

    @abc.abstractmethod
    def judge(self, player: str, batch: Tensor, noise: Tensor) -> Tensor:
        """Returns what ``player`` minimises on a batch and a noise, a scalar.

        Written with operations alone that ``torch.func`` can differentiate and batch.
        """

    @abc.abstractmethod
    def distance(self) -> Tensor:
        """Returns how far the players are from the solution, a scalar; 0 at the solution."""

    @override
    @final
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        return self.judge(player, batch, self.noise(len(batch), rng=rng))
