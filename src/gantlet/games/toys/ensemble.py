"""Many plays of one game from many starts, moved together by one program."""

from collections.abc import Callable, Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from typing_extensions import override

from gantlet.games.toys.moves import Move
from gantlet.games.toys.solvable import Solvable

Numbers = dict[str, Tensor]


@final
class _Asked(nn.Module):
    """A game's players as one module, whose call answers a question about the game."""

    def __init__(self, game: Solvable) -> None:
        super().__init__()
        self.players = nn.ModuleDict(dict(game.players))

    @override
    def forward(self, question: Callable[[], Tensor]) -> Tensor:
        return question()


@final
class Ensemble:
    """Plays of a game whose players have ``p`` numbers, as points of shape ``(n, p)``.

    The field is minus the gradient of ``game.judge``, by autograd; the steps of all plays are one
    traced program without Python between its operations, so that thousands of steps take seconds.

    Args:
        game: The game; its own players stay as they are.
    """

    def __init__(self, game: Solvable) -> None:
        self._game = game
        self._asked = _Asked(game)
        held = dict(self._asked.named_parameters())
        self._shapes = {name: p.shape for name, p in held.items()}
        self._sizes = [p.numel() for p in held.values()]
        self._owner = {
            name: next(player for player in game.players if name.startswith(f"players.{player}."))
            for name in held
        }
        self.now = torch.cat([p.detach().flatten() for p in held.values()])

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many numbers each player has, in order of play."""
        found = dict.fromkeys(self._game.players, 0)
        for owner, size in zip(self._owner.values(), self._sizes, strict=True):
            found[owner] += size
        return found

    def rates(self, steps: Mapping[str, float]) -> Tensor:
        """Returns the step of each number, shape ``(p,)``, from that of each player."""
        each = zip(self._owner.values(), self._sizes, strict=True)
        return torch.cat([self.now.new_full((size,), steps[owner]) for owner, size in each])

    def field(self, z: Tensor, batch: Tensor, noise: Tensor) -> Tensor:
        """Returns minus each player's own gradient at one point, shape ``(p,)``."""
        parameters = self._split(z)
        found: Numbers = {}
        for player in self._game.players:
            own = {k: v for k, v in parameters.items() if self._owner[k] == player}
            rest = {k: v for k, v in parameters.items() if self._owner[k] != player}
            found |= grad(self._loss)(own, rest, player, batch, noise)
        return -torch.cat([found[name].flatten() for name in parameters])

    def jacobian(self, z: Tensor, batch: Tensor, noise: Tensor) -> Tensor:
        """Returns the Jacobian of the field at one point, shape ``(p, p)``."""
        found: Tensor = jacrev(self.field)(z, batch, noise)
        return found

    def distance(self, z: Tensor) -> Tensor:
        """Returns how far each of many points is from the solution, shape ``(n,)``."""

        def one(point: Tensor) -> Tensor:
            return self._answer(self._split(point), self._game.distance)

        found: Tensor = vmap(one)(z)
        return found

    def program(
        self, move: Move, z: Tensor, rates: Tensor, batch: Tensor, noise: Tensor
    ) -> tuple[Callable[..., tuple[Tensor, Tensor]], Tensor]:
        """Traces one step of many plays; returns it and what the move remembers at first.

        Args:
            move: How to play.
            z: Points to start from, shape ``(n, p)``.
            rates: The step of each number, shape ``(p,)``.
            batch: A batch for each play, shape ``(n, b, ...)``.
            noise: A noise for each play, shape ``(n, ...)``.
        """

        def step(one: Tensor, kept: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return move(lambda at: self.field(at, x, y), one, rates, kept)

        memory: Tensor = vmap(move.start)(z)
        traced = make_fx(vmap(step))(z, memory, batch, noise)
        traced.graph.eliminate_dead_code()
        traced.recompile()
        return traced, memory

    def place(self, z: Tensor) -> None:
        """Puts one point, shape ``(p,)``, into the game's own players."""
        with torch.no_grad():
            for name, parameter in self._asked.named_parameters():
                parameter.copy_(self._split(z)[name])

    def _split(self, z: Tensor) -> Numbers:
        parts = torch.split(z, self._sizes)
        return {n: p.view(s) for (n, s), p in zip(self._shapes.items(), parts, strict=True)}

    def _loss(
        self, own: Numbers, rest: Numbers, player: str, batch: Tensor, noise: Tensor
    ) -> Tensor:
        return self._answer({**own, **rest}, lambda: self._game.judge(player, batch, noise))

    def _answer(self, parameters: Numbers, question: Callable[[], Tensor]) -> Tensor:
        found: Tensor = functional_call(self._asked, parameters, (question,))
        return found
