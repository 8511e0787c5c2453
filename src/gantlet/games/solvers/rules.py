"""Optimizers of a few tensors, with little more work than their arithmetic.

The optimizers of torch do the same to the last bit. But around each step they do bookkeeping that,
on small networks, takes as long as the step itself.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class Rule(abc.ABC):
    """Moves tensors by what it is told are their gradients."""

    @abc.abstractmethod
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Moves each tensor in place; ``gradients`` have their shapes and are left as they are."""

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns what is needed to go on bit by bit."""

    @abc.abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up the state that ``state_dict`` returned, as a copy."""


# Makes the rule of some tensors with a learning rate.
MakeRule = Callable[[Sequence[Tensor], float], Rule]


def clipped(gradients: Sequence[Tensor], most: float | None) -> Sequence[Tensor]:
    """Returns gradients scaled so that their norm together is at most ``most``, if it is given."""
    if most is None:
        return gradients
    norm = torch.nn.utils.get_total_norm(gradients)
    # As torch clips: with a hair more in the denominator.
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    return [g * factor for g in gradients]
