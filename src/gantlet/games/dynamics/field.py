"""The vector field that simultaneous gradient descent follows, and its Jacobian.

Every player descends its own loss, so that all together move along ``v(z) = (-grad L_p)`` over the
players ``p``, each differentiated in its own parameters. Where a game of one player has a gradient
field, whose Jacobian is symmetric, the field of a game may rotate: its Jacobian has complex
eigenvalues. All is by automatic differentiation of the losses that training uses.
"""

import copy
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from typing_extensions import override

from gantlet.core.errors import unknown
from gantlet.core.game import Game, Generative
from gantlet.games.dynamics.linear import Linear


@final
class GameField:
    """``v(z)`` of a game at a fixed batch and fixed noise.

    All players see the batch with the noise that follows from one state of ``rng``, which is read
    and not moved. The game is copied: it can go on, and the field stays where it is until it is
    moved. Parameters are one flat vector, players in order of play.

    Args:
        game: Any game. Modes (training or not) stay as they are; buffers are never changed.
        batch: Real samples.
        rng: Decides all noise.
        precise: Whether to work in double precision.
    """

    def __init__(
        self, game: Game, batch: Tensor, *, rng: torch.Generator, precise: bool = False
    ) -> None:
        self._game = copy.deepcopy(game)
        self._batch = batch.double() if precise else batch
        self._device, self._state = rng.device, rng.get_state()
        if precise:
            for module in _modules(self._game):
                module.double()
        self.parameters: Mapping[str, list[nn.Parameter]] = {
            name: [p for p in player.parameters() if p.requires_grad]
            for name, player in self._game.players.items()
        }
        self.players: Mapping[str, slice] = _slices(self.parameters)
        self._velocities: dict[str, Tensor] | None = None
        self._pullback: tuple[Tensor, Tensor] | None = None

    @property
    def size(self) -> int:
        """How many numbers all players hold together."""
        return sum(p.numel() for p in self._all())

    @property
    def position(self) -> Tensor:
        """Where the players are, shape ``(size,)``; a copy."""
        flat = [p.detach().flatten() for p in self._all()]
        return torch.cat(flat).clone()

    @torch.no_grad()
    def move(self, z: Tensor) -> None:
        """Puts the players at ``z``, shape ``(size,)``."""
        self._velocities = self._pullback = None
        start = 0
        for p in self._all():
            p.copy_(z[start : start + p.numel()].view_as(p))
            start += p.numel()

    def value(self) -> Tensor:
        """Returns ``v`` here, shape ``(size,)``."""
        return torch.cat([v.detach() for v in self._graph().values()])

    def losses(self) -> dict[str, float]:
        """Returns the loss of every player here."""
        # Penalties differentiate, so that gradients must be on.
        with self._settled(), torch.enable_grad():
            return {p: self._loss(p).item() for p in self.players}

    @property
    def jacobian(self) -> "Jacobian":
        """``dv/dz``, as it is when its products are asked for."""
        return Jacobian(self)

    def hessian(self, player: str) -> "Hessian":
        """Returns the Hessian of a player's loss in its own parameters.

        Raises:
            UserError: If there is no such player.
        """
        if player not in self.players:
            raise unknown("player", player, self.players)
        return Hessian(self, player)

    def pull(self, u: Tensor, rows: str | None = None, columns: str | None = None) -> Tensor:
        """Returns ``J^T u``, or that of the rows of one player and the columns of another.

        One graph of ``v`` is kept and used for all products, so that memory does not grow.
        """
        graph = self._graph()
        v = torch.cat(list(graph.values())) if rows is None else graph[rows]
        inner = self._all() if columns is None else self.parameters[columns]
        return _gradient(v, inner, u)

    def push(self, u: Tensor) -> Tensor:
        """Returns ``J u``: ``J^T w`` is linear in ``w``, and its derivative along it is ``J``."""
        if self._pullback is None:
            v = torch.cat(list(self._graph().values()))
            w = torch.zeros_like(v, requires_grad=True)
            self._pullback = w, _gradient(v, self._all(), w, create_graph=True)
        w, pulled = self._pullback
        return _gradient(pulled, [w], u)

    def _all(self) -> list[nn.Parameter]:
        return [p for own in self.parameters.values() for p in own]

    def _graph(self) -> dict[str, Tensor]:
        """Returns the velocity of every player, with the graph behind it."""
        if self._velocities is None:
            with self._settled(), torch.enable_grad():
                self._velocities = {p: self._velocity(p) for p in self.players}
        return self._velocities

    def _velocity(self, player: str) -> Tensor:
        own = self.parameters[player]
        slopes = torch.autograd.grad(
            self._loss(player), own, create_graph=True, materialize_grads=True
        )
        return -torch.cat([g.flatten() for g in slopes])

    def _loss(self, player: str) -> Tensor:
        noise = torch.Generator(self._device)
        noise.set_state(self._state)
        return self._game.coupled(player, self._batch, rng=noise)

    @contextmanager
    def _settled(self) -> Generator[None]:
        """Lets losses write to copies of buffers, and attention be differentiated twice."""
        inside = {m: None for root in _modules(self._game) for m in root.modules()}
        kept = [(m, k, b) for m in inside for k, b in m.named_buffers(recurse=False)]
        for module, name, buffer in kept:
            setattr(module, name, buffer.clone())
        try:
            with sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            for module, name, buffer in kept:
                setattr(module, name, buffer)


@final
class Jacobian(Linear):
    """``dv/dz`` of a field, by its products.

    Args:
        field: The field.
    """

    def __init__(self, field: GameField) -> None:
        self.field = field

    @property
    @override
    def size(self) -> int:
        return self.field.size

    @property
    @override
    def like(self) -> Tensor:
        return next(p for own in self.field.parameters.values() for p in own)

    @override
    def apply(self, u: Tensor) -> Tensor:
        return self.field.push(u)

    @override
    def transposed(self, u: Tensor) -> Tensor:
        return self.field.pull(u)


@final
class Hessian(Linear):
    """The second derivatives of a player's loss in its own parameters: symmetric.

    Args:
        field: The field.
        player: Whose loss.
    """

    def __init__(self, field: GameField, player: str) -> None:
        self._field = field
        self._player = player

    @property
    @override
    def size(self) -> int:
        where = self._field.players[self._player]
        return int(where.stop - where.start)

    @property
    @override
    def like(self) -> Tensor:
        return self._field.parameters[self._player][0]

    @override
    def apply(self, u: Tensor) -> Tensor:
        return -self._field.pull(u, self._player, self._player)

    @override
    def transposed(self, u: Tensor) -> Tensor:
        return self.apply(u)


def _gradient(
    of: Tensor, inner: list[nn.Parameter] | list[Tensor], u: Tensor, *, create_graph: bool = False
) -> Tensor:
    """Returns the gradient of ``of . u``, flat; zeros where nothing depends on anything."""
    if not of.requires_grad:
        return torch.cat([torch.zeros_like(p).flatten() for p in inner])
    found = torch.autograd.grad(
        of, inner, u, retain_graph=True, create_graph=create_graph, materialize_grads=True
    )
    return torch.cat([g.flatten() for g in found])


def _slices(parameters: Mapping[str, list[nn.Parameter]]) -> dict[str, slice]:
    start, slices = 0, dict[str, slice]()
    for name, own in parameters.items():
        stop = start + sum(p.numel() for p in own)
        slices[name], start = slice(start, stop), stop
    return slices


def _modules(game: Game) -> list[nn.Module]:
    players = list(game.players.values())
    return [*players, game.model] if isinstance(game, Generative) else players
