"""Play against the past: each player moves against one of the last selves of the others."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.game import Game
from gantlet.core.solver import Losses, Play
from gantlet.core.spec import Between
from gantlet.games.solvers.alternating import each
from gantlet.games.solvers.based import Based
from gantlet.games.solvers.rules import clipped

Weights = Mapping[str, Mapping[str, Tensor]]
"""The tensors of all players at one time, by player and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class History(Based):
    """Chekhov-style training: players in turn, each against the others of now or of the past.

    In each move the others are, with equal chances, as they are now or as they were at one of the
    last ``last - 1`` snapshots, one of which is taken every ``every`` steps. What the theory says
    to converge is the mixture of all selves, not the last one, which late news of the others can
    drive away from equilibrium. A step costs what one of the base costs; memory for ``last``
    copies of all players.

    Source: Grnarova et al., 2017 (Chekhov GAN), https://arxiv.org/abs/1706.03269.
    Differs from the paper: one past opponent is drawn for each move, in place of the sum over all
    of them, which is the same on average at a fraction of the cost; snapshots are evenly spaced;
    there is no regulariser on weights.

    Attributes:
        last: How many selves an opponent is drawn from, the present one among them; 1 is the base.
        every: Steps between snapshots.
    """

    last: Annotated[int, Between(1)] = 5
    every: Annotated[int, Between(1)] = 1

    @override
    def start(self, game: Game) -> Play:
        return _History(self, game)


@final
class _History(Play):
    def __init__(self, how: History, game: Game) -> None:
        self._how = how
        self._game = game
        rates = each(how.lr, game, "lr")
        make = how.alone("alternating").rule
        self._rules = {
            name: make(list(player.parameters()), rates[name])
            for name, player in game.players.items()
        }
        self._past: list[Weights] = []
        self._steps = 0

    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        losses: dict[str, float] = {}
        for name, player in self._game.players.items():
            parameters = list(player.parameters())
            with self._opponents(name, rng):
                loss = self._game.loss(name, batch, rng=rng)
                gradients = torch.autograd.grad(loss, parameters)
            self._rules[name].step(clipped(gradients, self._how.clip))
            losses[name] = loss.item()
        self._remember()
        return losses

    @contextmanager
    def _opponents(self, mover: str, rng: torch.Generator) -> Generator[None]:
        """Puts past selves, or the present ones, in the place of all players but one."""
        drawn = self._drawn(rng)
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

    def _drawn(self, rng: torch.Generator) -> Weights | None:
        """Returns what the opponents were, or None for what they are."""
        if not self._past:
            return None
        i = int(torch.randint(len(self._past) + 1, (), generator=rng, device=rng.device))
        return None if i == len(self._past) else self._past[i]

    def _remember(self) -> None:
        self._steps += 1
        if self._how.last > 1 and self._steps % self._how.every == 0:
            self._past.append({name: _copy(self._game, name) for name in self._game.players})
            self._past = self._past[1 - self._how.last :]

    @override
    def state_dict(self) -> dict[str, Any]:
        rules = {name: rule.state_dict() for name, rule in self._rules.items()}
        return {"rules": rules, "past": list(self._past), "steps": self._steps}

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, rule in self._rules.items():
            rule.load_state_dict(state["rules"][name])
        self._past, self._steps = list(state["past"]), state["steps"]


def _copy(game: Game, player: str) -> dict[str, Tensor]:
    """Returns a copy of a player's tensors."""
    return {k: v.clone() for k, v in game.players[player].state_dict().items()}


def _put(game: Game, player: str, tensors: Mapping[str, Tensor]) -> None:
    """Puts tensors in the place of a player's, exactly."""
    game.players[player].load_state_dict(tensors)
