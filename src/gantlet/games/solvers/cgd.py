"""Competitive gradient descent: players solve a small game for their next step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.game import Game
from gantlet.core.solver import Losses, Play
from gantlet.core.spec import Between
from gantlet.games.solvers.curvature import Curvature
from gantlet.games.solvers.descent import rates
from gantlet.games.solvers.vectors import Look, Parameters

_Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Cgd:
    """Competitive gradient descent: the step is the Nash point of a local, bilinear game.

    With ``F`` the players' gradients, ``B`` their Jacobian without its blocks on the diagonal and
    ``D`` the rates, the step ``s`` solves ``(1 + D B) s = -D F``, for games of any sum and any
    number of players. With ``beta2`` each parameter has the rate ``lr / (sqrt(v) + eps)``, where
    ``v`` is the running mean of its squared gradients (ACGD).

    Source: Schaefer and Anandkumar, 2019, https://arxiv.org/abs/1905.12103, eq. 3; ACGD as
    Schaefer et al., 2020, https://arxiv.org/abs/1910.05852.
    Differs from the papers: the system is solved for all players at once, by a fixed number of
    conjugate gradients on its normal equations, so that each step costs the same.

    Attributes:
        lr: Learning rate; one for all players, or one for each in order of play.
        iterations: Conjugate gradients in each step; four leave about 1 % of the right side on a
            small GAN.
        beta2: Decay of the second moment that scales the rates; none leaves them as they are.
        eps: Added to the root of the second moment.
    """

    lr: tuple[Annotated[float, Between(0)], ...] = (1e-3,)
    iterations: Annotated[int, Between(1)] = 4
    beta2: Annotated[float, Between(0, 1, below=True)] | None = 0.99
    eps: Annotated[float, Between(0)] = 1e-5

    def start(self, game: Game) -> Play:
        """Returns the solver, ready to play ``game``."""
        return _Competitive(Parameters(game), self)


@final
class _Competitive(Play):
    def __init__(self, parameters: Parameters, how: Cgd) -> None:
        self._parameters = parameters
        self._how = how
        self._rates = rates(parameters, how.lr)
        self._square = torch.zeros_like(self._rates)
        self._steps = 0

    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        seen = Curvature(self._parameters, Look(batch, rng=rng))
        # Half of the rates on either side leave a zero-sum game antisymmetric.
        half = self._scaled(seen.field).sqrt()
        solution = solve(
            lambda x: x + half * seen.mixed(half * x),
            lambda x: x + half * seen.mixed_transposed(half * x),
            -half * seen.field,
            self._how.iterations,
        )
        self._parameters.move(half * solution)
        return seen.losses

    def _scaled(self, gradient: Tensor) -> Tensor:
        """Returns the rate of each parameter."""
        beta = self._how.beta2
        if beta is None:
            return self._rates
        self._steps += 1
        self._square = self._square.lerp(gradient.square(), 1 - beta)
        mean = self._square / (1 - beta**self._steps)
        return self._rates / (mean.sqrt() + self._how.eps)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"square": self._square, "steps": self._steps}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._square, self._steps = state["square"], state["steps"]


def solve(times: _Product, transposed: _Product, b: Tensor, iterations: int) -> Tensor:
    """Returns the solution of a linear system by conjugate gradients on its normal equations.

    Source: Hestenes and Stiefel, 1952, https://doi.org/10.6028/jres.049.044, section 10.

    Args:
        times: Multiplies a vector, shape ``(n,)``, by the matrix.
        transposed: Multiplies by its transpose.
        b: The right side, shape ``(n,)``.
        iterations: How many; each takes both products.
    """
    x = torch.zeros_like(b)
    left = b
    slope = transposed(left)
    towards, size = slope, slope.dot(slope)
    for k in range(iterations):
        image = times(towards)
        # Where the solution is met there is nowhere to go: 0 / 0 counts as 0.
        pace = (size / image.dot(image)).nan_to_num(0, 0, 0)
        x = x + pace * towards
        if k == iterations - 1:
            break
        left = left - pace * image
        slope = transposed(left)
        before, size = size, slope.dot(slope)
        towards = slope + (size / before).nan_to_num(0, 0, 0) * towards
    return x
