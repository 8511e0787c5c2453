"""Toy games from many initializations at once, by the same solvers that train networks.

Every solver is an update over a field (``gantlet.games.solvers``); here the field is that of many
plays, by ``torch.func``, and the steps of all plays are one traced program without Python between
its operations, so that thousands of steps take seconds.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.model import Game
from gantlet.games.field import Field, ParameterLayout, Slopes, Vector
from gantlet.games.solvers import Memory, Update


class Solvable(Game):
    """A game that draws its noise before anything else, and knows how far off its players are."""

    @abc.abstractmethod
    def noise(self, n: int, *, rng: torch.Generator) -> Tensor:
        """Returns the noise of one loss on ``n`` real samples; empty where there is none."""

    @abc.abstractmethod
    def judge(self, player: str, batch: Tensor, noise: Tensor) -> Tensor:
        """Returns the loss of ``player`` on a batch and a noise, a scalar.

        Written with operations alone that ``torch.func`` can differentiate and batch.
        """

    @abc.abstractmethod
    def distance(self) -> Tensor:
        """Returns the distance of the players from the solution, a scalar; 0 at the solution."""

    @override
    @final
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        return self.judge(player, batch, self.noise(len(batch), rng=rng))


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
        self._names = list(held)
        self._owner = {
            name: next(player for player in game.players if name.startswith(f"players.{player}."))
            for name in held
        }
        self.layout = ParameterLayout(
            {p: [held[k].shape for k, o in self._owner.items() if o == p] for p in game.players}
        )
        self.now = torch.cat([p.detach().flatten() for p in held.values()])

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many numbers each player has, in order of play."""
        return self.layout.sizes

    def rates(self, steps: Mapping[str, float]) -> Tensor:
        """Returns the step of each number, shape ``(p,)``, from that of each player."""
        return self.layout.spread(steps, self.now)

    def field(self, z: Tensor, batch: Tensor, noise: Tensor) -> Tensor:
        """Returns minus each player's own gradient at one point, shape ``(p,)``."""
        return -self.gradients(z, batch, noise)

    def gradients(self, z: Tensor, batch: Tensor, noise: Tensor) -> Tensor:
        """Returns each player's own gradient at one point, shape ``(p,)``."""
        own = [self.gradient(player, z, batch, noise) for player in self._game.players]
        return torch.cat([g.flatten() for parts in own for g in parts])

    def gradient(self, player: str, z: Tensor, batch: Tensor, noise: Tensor) -> list[Tensor]:
        """Returns one player's own gradient at one point, a tensor for each parameter."""
        parameters = self._split(z)
        own = {k: v for k, v in parameters.items() if self._owner[k] == player}
        rest = {k: v for k, v in parameters.items() if self._owner[k] != player}
        found: Numbers = grad(self._loss)(own, rest, player, batch, noise)
        return list(found.values())

    def jacobian(self, z: Tensor, batch: Tensor, noise: Tensor) -> Tensor:
        """Returns the Jacobian of the field at one point, shape ``(p, p)``."""
        found: Tensor = jacrev(self.field)(z, batch, noise)
        return found

    def distance(self, z: Tensor) -> Tensor:
        """Returns the distance of each of many points from the solution, shape ``(n,)``."""

        def one(point: Tensor) -> Tensor:
            return self._answer(self._split(point), self._game.distance)

        found: Tensor = vmap(one)(z)
        return found

    def program(
        self, solver: Update, z: Tensor, batch: Tensor, noise: Tensor
    ) -> tuple[Callable[..., tuple[Tensor, Memory]], Memory]:
        """Traces a step of many plays; returns it and what the solver remembers at first.

        A solver with a round of its own, such as lookahead, makes all its steps in one. The step
        takes points, memory, batch and noise and returns points and memory; of what it is given it
        may write to the memory alone.

        Args:
            solver: How to play; of two batches in one step, both are the one that is given.
            z: Points to start from, shape ``(n, p)``.
            batch: A batch for each play, shape ``(n, b, ...)``.
            noise: A noise for each play, shape ``(n, ...)``.

        Raises:
            UserError: If the solver does not fit the players, or counts its steps, which a traced
                program cannot.
        """
        memory = solver.begin(Vector(self.layout, z.clone()))
        leaves, shape = pytree.tree_flatten(memory)
        where = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

        def step(
            at: Tensor, kept: list[Tensor], x: Tensor, y: Tensor
        ) -> tuple[Tensor, list[Tensor]]:
            known = list(leaves)
            for i, leaf in zip(where, kept, strict=True):
                known[i] = leaf
            now, held = self._round(solver, at, pytree.tree_unflatten(known, shape), x, y)
            after, _ = pytree.tree_flatten(held)
            if any(
                a != b for a, b in zip(after, leaves, strict=True) if not isinstance(b, Tensor)
            ):
                raise UserError("a solver with a step counter cannot be traced. Use step.")
            return now, [after[i] for i in where]

        traced = make_fx(step)(z.clone(), [leaves[i].clone() for i in where], batch, noise)
        traced.graph.eliminate_dead_code()
        traced.recompile()

        def run(at: Tensor, kept: Memory, x: Tensor, y: Tensor) -> tuple[Tensor, Memory]:
            now, _ = pytree.tree_flatten(kept)
            found: Any = traced(at, [now[i] for i in where], x, y)
            for i, leaf in zip(where, found[1], strict=True):
                now[i] = leaf
            return found[0], pytree.tree_unflatten(now, shape)

        return run, memory

    def _round(
        self, solver: Update, z: Tensor, memory: Memory, batch: Tensor, noise: Tensor
    ) -> tuple[Tensor, Memory]:
        at = Vector(self.layout, z.clone())
        fields = [Plays(self, batch, noise)] * solver.batches
        for _ in range(solver.cycle):
            at, memory = solver.step(fields, at, memory)
        return at.flat, memory

    def place(self, z: Tensor) -> None:
        """Puts one point, shape ``(p,)``, into the game's own players."""
        with torch.no_grad():
            for name, parameter in self._asked.named_parameters():
                parameter.copy_(self._split(z)[name])

    def _split(self, z: Tensor) -> Numbers:
        return dict(zip(self._names, self.layout.views(z), strict=True))

    def _loss(
        self, own: Numbers, rest: Numbers, player: str, batch: Tensor, noise: Tensor
    ) -> Tensor:
        return self._answer({**own, **rest}, lambda: self._game.judge(player, batch, noise))

    def _answer(self, parameters: Numbers, question: Callable[[], Tensor]) -> Tensor:
        found: Tensor = functional_call(self._asked, parameters, (question,))
        return found


@final
class Plays(Field):
    """The field of many plays of a game, each under a batch and a noise of its own.

    Args:
        ensemble: The plays.
        batch: A batch for each play, shape ``(n, b, ...)``.
        noise: A noise for each play, shape ``(n, ...)``.
    """

    def __init__(self, ensemble: "Ensemble", batch: Tensor, noise: Tensor) -> None:
        self.layout = ensemble.layout
        self._ensemble = ensemble
        self._seen = batch, noise

    def gradients(self, z: Tensor) -> Tensor:
        """Returns the field at points of shape ``(n, p)``, of that shape."""
        found: Tensor = vmap(self._ensemble.gradients)(z, *self._seen)
        return found

    @override
    def value(self, z: Vector) -> Vector:
        return Vector(self.layout, self.gradients(z.flat))

    @override
    def own(self, player: str, z: Vector) -> Sequence[Tensor]:
        def one(at: Tensor, batch: Tensor, noise: Tensor) -> list[Tensor]:
            return self._ensemble.gradient(player, at, batch, noise)

        found: list[Tensor] = vmap(one)(z.flat, *self._seen)
        return found

    @override
    def slopes(self, z: Vector, *, cross: bool = True) -> "PlaySlopes":
        return PlaySlopes(self, z)


@final
class PlaySlopes(Slopes):
    """The field of many plays at their points, and its products with each play's Jacobian.

    All by reverse mode: ``J^T w`` is linear in ``w``, and the transpose of that map is ``J``.

    Args:
        field: The field.
        z: The points.
    """

    def __init__(self, field: Plays, z: Vector) -> None:
        found: Any = vjp(field.gradients, z.flat)
        self._value, self._pull = Vector(field.layout, found[0]), found[1]

    @property
    @override
    def value(self) -> Vector:
        return self._value

    @override
    def vjp(self, u: Vector) -> Vector:
        return Vector(u.layout, self._pull(u.flat)[0])

    @override
    def jvp(self, u: Vector) -> Vector:
        def pulled(w: Tensor) -> Tensor:
            found: Tensor = self._pull(w)[0]
            return found

        found: Any = vjp(pulled, u.flat)
        return Vector(u.layout, found[1](u.flat)[0])
