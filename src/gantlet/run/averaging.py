"""Averages of a model's weights over training: these are evaluated, and not what is trained.

An exponential moving average forgets; a uniform one counts all weights from some point on alike.
Neither changes the course of training.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Averaging:
    """Which average of the weights is taken.

    Attributes:
        decay: Decay per step of the exponential moving average, in [0, 1); 0 for none.
        start: For a uniform average in its place: the share of the budget from which on weights
            enter it, in [0, 1). None for none.
        every: Steps from one set of weights in the uniform average to the next.
    """

    decay: float = 0.0
    start: float | None = None
    every: int = 1


@final
class Average:
    """A running average of weights.

    Exponential (Polyak and Juditsky, 1992; as used for GANs by Karras et al.): the decay is warmed
    up as ``min(decay, (1 + t) / (10 + t))`` so that short runs do not average over their initial
    weights. Uniform (Izmailov et al., 2018, https://arxiv.org/abs/1803.05407; for GANs Yazici et
    al., 2019, https://arxiv.org/abs/1806.04498): before its start the weights are as they are.

    Args:
        model: The model whose parameters are averaged; its buffers are not averaged.
        how: Which average.
    """

    def __init__(self, model: nn.Module, how: Averaging) -> None:
        self._parameters = dict(model.named_parameters())
        self._how = how
        self._steps = 0
        self._taken = 0
        wanted = how.decay > 0 or how.start is not None
        self._shadow = {name: p.detach().clone() for name, p in self._parameters.items() if wanted}

    def update(self, used: float = 0.0) -> None:
        """Updates the average with the current weights.

        Args:
            used: The used share of the budget, on which a uniform average's start depends.
        """
        start = self._how.start
        if not self._shadow or (start is not None and used < start):
            return
        self._steps += 1
        if start is None:
            self._take(min(self._how.decay, (1 + self._steps) / (10 + self._steps)))
        elif (self._steps - 1) % self._how.every == 0:
            self._take(1 - 1 / (self._taken + 1))

    @torch.no_grad()
    def _take(self, decay: float) -> None:
        self._taken += 1
        present = [p.detach() for p in self._parameters.values()]
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(list(self._shadow.values()), present, 0)

    @contextmanager
    def applied(self) -> Generator[None]:
        """Replaces the weights by the average inside the block, where there is one yet."""
        # An average that holds nothing yet would be of the first weights, whatever came since.
        if self._taken == 0:
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, shadow in self._shadow.items():
            parameter = self._parameters[name]
            parameter.data, self._shadow[name] = shadow, parameter.data

    def state_dict(self) -> dict[str, object]:
        """Returns the state."""
        return {"steps": self._steps, "taken": self._taken, "shadow": dict(self._shadow)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restores a saved state."""
        steps, shadow = state["steps"], state["shadow"]
        # A state of before there was a uniform average took every step.
        taken = state.get("taken", steps)
        if not (isinstance(steps, int) and isinstance(taken, int) and isinstance(shadow, Mapping)):
            raise TypeError("not a state of Average")
        self._steps, self._taken = steps, taken
        for name, value in self._shadow.items():
            saved: Tensor = shadow[name]
            value.copy_(saved)
