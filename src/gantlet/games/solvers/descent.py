"""What rules make of the gradients of all players: a move, or a displacement."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from gantlet.games.solvers.alternating import each
from gantlet.games.solvers.rules import MakeRule, clipped
from gantlet.games.solvers.vectors import Parameters


@final
class Rules:
    """A rule for each player, all of which move at once.

    Args:
        parameters: What is moved.
        make: Makes the rule of one player.
        lr: Learning rate; one for all players, or one for each in order of play.
        clip: Largest norm of a player's gradient, or None.
    """

    def __init__(
        self, parameters: Parameters, make: MakeRule, lr: tuple[float, ...], clip: float | None
    ) -> None:
        by_player = each(lr, parameters.game, "lr")
        self._rules = {name: make(own, by_player[name]) for name, own in parameters.of.items()}
        self._lengths = {name: len(own) for name, own in parameters.of.items()}
        self._clip = clip

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Moves all players by gradients in the shapes of all parameters."""
        start = 0
        for name, rule in self._rules.items():
            stop = start + self._lengths[name]
            rule.step(clipped(gradients[start:stop], self._clip))
            start = stop

    def state_dict(self) -> dict[str, Any]:
        """Returns what the rules remember."""
        return {name: rule.state_dict() for name, rule in self._rules.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what ``state_dict`` returned."""
        for name, rule in self._rules.items():
            rule.load_state_dict(state[name])


@final
class Descent:
    """A rule that says where it would go and leaves going to others.

    It moves a point of its own that begins at zero, and where that ends is the displacement, in
    full precision. So a rule must not look at what it moves: no weight decay.

    Args:
        parameters: Those of all players.
        make: Makes the rule.
        lr: Learning rate; one for all players, or one for each in order of play.
        clip: Largest norm of a player's gradient, or None.
    """

    def __init__(
        self,
        parameters: Parameters,
        make: MakeRule,
        lr: tuple[float, ...],
        clip: float | None,
    ) -> None:
        self._at = torch.zeros_like(parameters.read())
        self._sizes = parameters.sizes
        # One rate for all is a number, which is not read anew for each parameter.
        self._rates = lr[0] if len(lr) == 1 else rates(parameters, lr)
        self._rule = make([self._at], 1.0)
        self._clip = clip

    def __call__(self, gradient: Tensor) -> Tensor:
        """Returns the displacement, shape ``(n,)``, for a gradient of that shape."""
        if self._clip is not None:
            parts = torch.split(gradient, list(self._sizes.values()))
            gradient = torch.cat([g for part in parts for g in clipped([part], self._clip)])
        self._rule.step([gradient])
        displacement = self._at * self._rates
        self._at.zero_()
        return displacement

    def state_dict(self) -> dict[str, Any]:
        """Returns what the rule remembers."""
        return self._rule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what ``state_dict`` returned."""
        self._rule.load_state_dict(state)


def rates(parameters: Parameters, lr: tuple[float, ...]) -> Tensor:
    """Returns the learning rate of each parameter, shape ``(n,)``.

    Raises:
        UserError: If there is neither one rate nor one for each player.
    """
    by_player, like = each(lr, parameters.game, "lr"), parameters.read()
    return torch.cat([like.new_full((n,), by_player[p]) for p, n in parameters.sizes.items()])
