"""Mixed equilibria by sampling: players wander by noisy gradients, and averages of them move."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.game import Game
from gantlet.core.solver import Losses, Play
from gantlet.core.spec import Between
from gantlet.games.solvers.alternating import each


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Langevin:
    """Entropic mirror descent on mixed strategies, by Langevin dynamics.

    A mixed strategy is a distribution of weights, which mirror descent makes proportional to
    ``exp(-loss / temperature)``; noisy gradient descent draws from it. In one step every player
    takes ``inner`` noisy steps against the others as they stand, keeps a running mean of where it
    was, and then moves to ``(1 - beta) w + beta mean``, all at once. Gradient and noise are
    scaled by the root of the mean square gradient, as in RMSProp.

    The players at any time are draws from the mixed strategies: snapshots of a run, sampled with
    equal weights, are the mixture.

    Source: Hsieh, Liu and Cevher, 2019, https://arxiv.org/abs/1811.02002, the mirror descent of
    section 4; scaling as Li et al., 2016, https://arxiv.org/abs/1512.07666, without the term of
    its slope.

    Attributes:
        lr: Learning rate of the noisy steps; one for all, or one for each in order of play.
        temperature: How much noise: its variance in a step is ``2 lr temperature``, scaled.
        inner: Noisy steps in one step.
        beta: Weight of the newest place in the running mean, and of the mean in the move.
        decay: Decay of the mean square gradient; none takes plain gradients and noise.
    """

    lr: tuple[Annotated[float, Between(0)], ...] = (1e-3,)
    temperature: Annotated[float, Between(0)] = 1e-9
    inner: Annotated[int, Between(1)] = 2
    beta: Annotated[float, Between(0, 1)] = 0.9
    decay: Annotated[float, Between(0, 1, below=True)] | None = 0.99

    def start(self, game: Game) -> Play:
        """Returns the solver, ready to play ``game``.

        Raises:
            UserError: If ``beta`` is 0, with which nobody moves.
        """
        if self.beta == 0:
            raise UserError("langevin:beta must be above 0, or nobody moves. Got 0.")
        return _Langevin(self, game)


@final
class _Langevin(Play):
    def __init__(self, how: Langevin, game: Game) -> None:
        self._how = how
        self._game = game
        self._rates = each(how.lr, game, "lr")
        self._squares = {
            name: [torch.zeros_like(p) for p in player.parameters()]
            for name, player in game.players.items()
        }
        self._steps = 0

    @property
    @override
    def batches(self) -> int:
        return self._how.inner

    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        parts = batch.chunk(self._how.inner)
        losses: dict[str, float] = {}
        moved: dict[str, list[Tensor]] = {}
        for name, player in self._game.players.items():
            home = [p.detach().clone() for p in player.parameters()]
            losses[name], average = self._wander(name, player, parts, rng)
            moved[name] = [h.lerp(a, self._how.beta) for h, a in zip(home, average, strict=True)]
            _place(player, home)
        for name, player in self._game.players.items():
            _place(player, moved[name])
        self._steps += len(parts)
        return losses

    def _wander(
        self, name: str, player: nn.Module, parts: Sequence[Tensor], rng: torch.Generator
    ) -> tuple[float, list[Tensor]]:
        """Takes the noisy steps; returns their mean loss and the running mean of places."""
        parameters = list(player.parameters())
        average = [p.detach().clone() for p in parameters]
        total = 0.0
        for i, part in enumerate(parts):
            loss = self._game.loss(name, part, rng=rng)
            gradients = torch.autograd.grad(loss, parameters)
            self._move(name, parameters, gradients, self._steps + i + 1, rng)
            for a, p in zip(average, parameters, strict=True):
                a.lerp_(p.detach(), self._how.beta)
            total += loss.item() / len(parts)
        return total, average

    @torch.no_grad()
    def _move(
        self,
        name: str,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        step: int,
        rng: torch.Generator,
    ) -> None:
        lr, decay = self._rates[name], self._how.decay
        for p, g, square in zip(parameters, gradients, self._squares[name], strict=True):
            scale = torch.ones_like(p)
            if decay is not None:
                square.lerp_(g.square(), 1 - decay)
                # As in Adam, a mean that began at zero is corrected for it.
                scale = 1 / ((square / (1 - decay**step)).sqrt() + 1e-8)
            noise = torch.randn(p.shape, generator=rng, device=p.device, dtype=p.dtype)
            p.sub_(lr * scale * g)
            p.add_((2 * lr * self._how.temperature * scale).sqrt() * noise)

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"squares": {k: list(v) for k, v in self._squares.items()}, "steps": self._steps}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, squares in self._squares.items():
            for mine, saved in zip(squares, state["squares"][name], strict=True):
                mine.copy_(saved)
        self._steps = state["steps"]


@torch.no_grad()
def _place(player: nn.Module, at: Sequence[Tensor]) -> None:
    for parameter, place in zip(player.parameters(), at, strict=True):
        parameter.copy_(place)
