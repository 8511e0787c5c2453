"""Solvers whose answer is a mixture of what players were: past selves, and Langevin dynamics.

Both draw random numbers of their own, so that they play networks and are no pure updates.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.model import Game, Losses, Play
from gantlet.core.spec import Between, Later
from gantlet.games.field import ParameterLayout
from gantlet.games.solvers import WithBase, clipped, each

Weights = Mapping[str, Mapping[str, Tensor]]
"""The tensors of all players at one time, by player and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class History(WithBase):
    """Chekhov GAN training: alternating updates against current or past opponents.

    In each move the others are, with equal chances, as they are now or as they were at one of the
    last ``last - 1`` snapshots, one of which is taken every ``every`` steps. What the theory says
    to converge is the mixture of all selves, not the last one, which late news of the others can
    drive away from equilibrium. With ``opponents`` above 1 a move descends the mean loss against
    that many, drawn without repetition. A step costs what ``opponents`` steps of the base cost;
    memory for ``last`` copies of all players.

    Source: Grnarova et al., 2017 (Chekhov GAN), https://arxiv.org/abs/1706.03269.
    Differs from the paper: some past opponents are drawn for each move, in place of the sum over
    all of them, which is the same on average at a fraction of the cost; snapshots are evenly
    spaced; there is no regulariser on weights.

    Attributes:
        last: Number of snapshots, the current one included, from which an opponent is drawn; 1 is
            the base optimizer.
        every: Steps between snapshots.
        opponents: Number of opponents in each move; ``last`` is all of them.
    """

    last: Annotated[int, Between(1)] = 5
    every: Annotated[int, Between(1)] = 1
    opponents: Annotated[int, Between(1), Later()] = 1

    def start(self, game: Game) -> Play:
        """Returns the solver, ready to play ``game``.

        Raises:
            UserError: If there are to be more opponents than there are snapshots.
        """
        if self.opponents > self.last:
            raise UserError(
                f"history:opponents must be at most last={self.last}. Got {self.opponents}."
            )
        return _History(self, game)


@final
class _History(Play):
    def __init__(self, how: History, game: Game) -> None:
        self._how = how
        self._game = game
        layout = ParameterLayout(
            {k: [p.shape for p in v.parameters()] for k, v in game.players.items()}
        )
        self._rates = each(how.lr, layout, "lr")
        self._base = how.alone("alternating")
        self._rules = {
            name: self._base.remember(list(player.parameters()))
            for name, player in game.players.items()
        }
        self._past: list[Weights] = []
        self._steps = 0

    @property
    @override
    def work(self) -> int:
        """Opponents in each move of the next step; in the first there is one alone."""
        return min(len(self._past) + 1, self._how.opponents)

    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        losses: dict[str, float] = {}
        for name, player in self._game.players.items():
            gradients, losses[name] = self._descent(name, batch, rng)
            kept = clipped(gradients, self._how.clip)
            self._base.move(list(player.parameters()), kept, self._rates[name], self._rules[name])
        self._remember()
        return losses

    def _descent(
        self, name: str, batch: Tensor, rng: torch.Generator
    ) -> tuple[Sequence[Tensor], float]:
        """Returns the mean gradient and loss of a player against the opponents of one move."""
        parameters = list(self._game.players[name].parameters())
        found: list[Sequence[Tensor]] = []
        losses: list[float] = []
        for opponents in self._drawn(rng):
            with self._against(opponents, name):
                loss = self._game.loss(name, batch, rng=rng)
                found.append(torch.autograd.grad(loss, parameters))
            losses.append(loss.item())
        if len(found) == 1:
            return found[0], losses[0]
        mean = [torch.stack(parts).mean(0) for parts in zip(*found, strict=True)]
        return mean, math.fsum(losses) / len(losses)

    @contextmanager
    def _against(self, drawn: Weights | None, mover: str) -> Generator[None]:
        """Puts past selves, or None for the present ones, in the place of all players but one."""
        if drawn is None:
            yield
            return
        others = [name for name in self._game.players if name != mover]
        now = {name: _copy(self._game, name) for name in others}
        try:
            for name in others:
                _put(self._game, name, drawn[name])
            # Gradients are taken inside, while the past is in place.
            yield
        finally:
            for name in others:
                _put(self._game, name, now[name])

    def _drawn(self, rng: torch.Generator) -> list[Weights | None]:
        """Returns past weights of the opponents of one move, None for the current ones."""
        known = [*self._past, None]
        if len(known) <= self._how.opponents:
            return known
        if self._how.opponents > 1:
            order = torch.randperm(len(known), generator=rng, device=rng.device)
            return [known[i] for i in order[: self._how.opponents].tolist()]
        i = int(torch.randint(len(known), (), generator=rng, device=rng.device))
        return [known[i]]

    def _remember(self) -> None:
        self._steps += 1
        if self._how.last > 1 and self._steps % self._how.every == 0:
            self._past.append({name: _copy(self._game, name) for name in self._game.players})
            self._past = self._past[1 - self._how.last :]

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"rules": self._rules, "past": list(self._past), "steps": self._steps}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rules = deepcopy(state["rules"])
        self._past, self._steps = list(state["past"]), state["steps"]


def _copy(game: Game, player: str) -> dict[str, Tensor]:
    """Returns a copy of a player's tensors."""
    return {k: v.clone() for k, v in game.players[player].state_dict().items()}


def _put(game: Game, player: str, tensors: Mapping[str, Tensor]) -> None:
    """Puts tensors in the place of a player's, exactly."""
    game.players[player].load_state_dict(tensors)


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
        lr: Learning rate of the Langevin steps; one for all players, or one for each in order of
            play.
        temperature: Temperature of the noise, whose variance per step is ``2 lr temperature``,
            preconditioned.
        inner: Langevin steps per update.
        beta: Weight of the newest iterate in the running mean, and of the mean in the update.
        decay: Decay of the mean squared gradient (RMSProp preconditioning); none disables it.
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
            raise UserError("langevin:beta must be above 0, or no player moves. Got 0.")
        return _Langevin(self, game)


@final
class _Langevin(Play):
    def __init__(self, how: Langevin, game: Game) -> None:
        self._how = how
        self._game = game
        layout = ParameterLayout(
            {k: [p.shape for p in v.parameters()] for k, v in game.players.items()}
        )
        self._rates = each(how.lr, layout, "lr")
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
