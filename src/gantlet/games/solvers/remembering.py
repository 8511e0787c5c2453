"""What solvers share that remember the step before."""

import abc
from typing import Any

import torch
from typing_extensions import override

from gantlet.core.solver import Play
from gantlet.games.solvers.descent import Descent
from gantlet.games.solvers.vectors import Parameters


class Remembering(Play, abc.ABC):
    """All players moved at once by a base, with its last step at hand; none at first.

    Args:
        parameters: All numbers of all players.
        descent: Says where the base would move them.
    """

    def __init__(self, parameters: Parameters, descent: Descent) -> None:
        self._parameters = parameters
        self._descent = descent
        self._last = torch.zeros_like(parameters.read())

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"descent": self._descent.state_dict(), "last": self._last}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._descent.load_state_dict(state["descent"])
        self._last = state["last"]
