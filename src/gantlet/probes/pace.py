"""Step sizes of chains: adapted in a pilot run, then fixed.

Step sizes that follow a chain's own decisions make its weights wrong: where a chain is then
depends on how it moved, and its moves no longer leave the distribution of each temperature as it
is. On a linear decoder of 3 latents and 20 numbers the mean weight was 1.25 times the
likelihood, so that the lower bound lay above the truth. So a short pilot run, of other chains,
adapts the steps, and those that are weighed use its result.
"""

import abc
from typing import final

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

# Bounds of a step's logarithm: about 1e-6 and 2.7.
_LEAST, _MOST = -14.0, 1.0


class Pace(abc.ABC):
    """The logarithm of each chain's step size, move by move."""

    @abc.abstractmethod
    def log_step(self, move: int) -> Tensor:
        """Returns the logarithms for a move, counted from 0, shape ``(n,)``."""

    def told(self, chance: Tensor) -> None:
        """Hears the acceptance probability of each chain's last move; steps may follow it."""


@final
class Fixed(Pace):
    """Steps that are known beforehand.

    Args:
        path: Their logarithms, shape ``(moves, n)``.
    """

    def __init__(self, path: Tensor) -> None:
        self._path = path

    @override
    def log_step(self, move: int) -> Tensor:
        return self._path[move]


@final
class Adapting(Pace):
    """Steps of which each follows its own chain, by the Robbins-Monro rule.

    Its logarithm moves by ``rate`` times what the acceptance probability is above ``target``.

    Args:
        first: The logarithms for the first move, shape ``(n,)``.
        target: The acceptance to adapt to.
        rate: How fast.
    """

    def __init__(self, first: Tensor, *, target: float = 0.65, rate: float = 0.5) -> None:
        self._now = first
        self._target = target
        self._rate = rate
        self._heard: list[Tensor] = []

    @override
    def log_step(self, move: int) -> Tensor:
        return self._now

    @override
    def told(self, chance: Tensor) -> None:
        self._now = (self._now + self._rate * (chance - self._target)).clamp(_LEAST, _MOST)
        self._heard.append(self._now)

    def path(self) -> Tensor:
        """Returns the logarithms to which each move has led, shape ``(moves, n)``."""
        return torch.stack(self._heard)


def stretched(path: Tensor, moves: int) -> Tensor:
    """Returns steps of another number of moves, interpolated, shape ``(moves, n)``."""
    across = path.T.unsqueeze(0)
    return functional.interpolate(across, size=moves, mode="linear", align_corners=True)[0].T
