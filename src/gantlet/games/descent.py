"""What an optimizer makes of the gradients of all players, as a displacement."""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gantlet.games.alternating import each
from gantlet.games.vectors import Parameters

# Makes an optimizer of parameters with a learning rate.
MakeOptimizer = Callable[[Sequence[nn.Parameter], float], Optimizer]


@final
class Descent:
    """Optimizers, one for each player, that say where they would go and leave going to others.

    Each moves a point of its own that begins at zero, and where that ends is the displacement, in
    full precision. So an optimizer must not look at the parameters: no weight decay.

    Args:
        parameters: Those of all players.
        make: Makes the optimizer of one player.
        lr: Learning rate; one for all players, or one for each in order of play.
        clip: Largest norm of a player's gradient, or None.
    """

    def __init__(
        self,
        parameters: Parameters,
        make: MakeOptimizer,
        lr: tuple[float, ...],
        clip: float | None,
    ) -> None:
        self._at = torch.zeros_like(parameters.read())
        self._sizes = list(parameters.sizes.values())
        self._points = [nn.Parameter(part) for part in torch.split(self._at, self._sizes)]
        rates = each(lr, parameters.game, "lr")
        self._optimizers = {
            name: make([point], rates[name])
            for name, point in zip(parameters.sizes, self._points, strict=True)
        }
        self._clip = clip

    def __call__(self, gradient: Tensor) -> Tensor:
        """Returns the displacement, shape ``(n,)``, for a gradient of that shape."""
        for point, part in zip(self._points, torch.split(gradient, self._sizes), strict=True):
            point.grad = part if self._clip is None else part.clone()
            if self._clip is not None:
                torch.nn.utils.clip_grad_norm_(point, self._clip)
        for optimizer in self._optimizers.values():
            optimizer.step()
        displacement = self._at.clone()
        self._at.zero_()
        return displacement

    def state_dict(self) -> dict[str, Any]:
        """Returns what the optimizers remember."""
        return {name: o.state_dict() for name, o in self._optimizers.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what ``state_dict`` returned."""
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state[name])
