"""A running average of a model's weights, which is sampled and judged in their place."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


@final
class Average:
    """Exponential moving average (Polyak and Juditsky, 1992; as used for GANs by Karras et al.).

    The decay is warmed up as ``min(decay, (1 + t) / (10 + t))`` so that short runs do not average
    over their initial weights.

    Args:
        model: Whose parameters to average; its buffers are used as they are.
        decay: Weight of the past at each step, in [0, 1); 0 means no average at all.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._parameters = dict(model.named_parameters())
        self._decay = decay
        self._steps = 0
        self._shadow = {
            name: p.detach().clone() for name, p in self._parameters.items() if decay > 0
        }

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the present weights."""
        if not self._shadow:
            return
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        present = [p.detach() for p in self._parameters.values()]
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(list(self._shadow.values()), present, 0)

    @contextmanager
    def applied(self) -> Generator[None]:
        """Puts the average in place of the weights inside the block."""
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
        """Returns what is needed to go on."""
        return {"steps": self._steps, "shadow": dict(self._shadow)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Takes up a saved state."""
        steps, shadow = state["steps"], state["shadow"]
        if not isinstance(steps, int) or not isinstance(shadow, Mapping):
            raise TypeError("not a state of Average")
        self._steps = steps
        for name, value in self._shadow.items():
            saved: Tensor = shadow[name]
            value.copy_(saved)
