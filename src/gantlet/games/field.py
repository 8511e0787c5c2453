"""The gradient field of a game and its Jacobian, for solvers and for spectra.

With ``L_i`` the loss of player i and ``w_i`` its parameters, the field is
``F = (dL_1/dw_1, dL_2/dw_2, ...)`` over the players, and ``J`` is its Jacobian. Where a game of
one player has a gradient field, whose Jacobian is symmetric, the field of a game may rotate: its
Jacobian has complex eigenvalues. All is by automatic differentiation of the losses that training
uses.

``Vector`` holds numbers of all players, ``Field`` says what they descend at a place, and
``Slopes`` multiplies by ``J`` there. ``Networks`` is the field of any game in training; that of
small games in many plays at once is in ``gantlet.games.batched``.
"""

import abc
import copy
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from typing_extensions import override

from gantlet.core.errors import unknown
from gantlet.core.model import Game, Generative, Losses

Shapes = Mapping[str, Sequence[torch.Size]]


@final
class ParameterLayout:
    """Where the numbers of each player stand in a vector, players in order of play.

    Args:
        shapes: The shapes of each player's parameters.
    """

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = [shape for own in shapes.values() for shape in own]
        self.lengths = [shape.numel() for shape in self.shapes]
        self.sizes = {name: sum(s.numel() for s in own) for name, own in shapes.items()}
        self.size = sum(self.lengths)
        self.players: Mapping[str, slice] = _slices(self.sizes)
        self.parts: Mapping[str, slice] = _slices({k: len(own) for k, own in shapes.items()})

    def views(self, flat: Tensor) -> list[Tensor]:
        """Returns the parts of ``flat``, shape ``(..., n)``, in the shapes of the parameters."""
        lead = flat.shape[:-1]
        parts = torch.split(flat, self.lengths, dim=-1)
        return [part.view(lead + shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def spread(self, values: Mapping[str, float], like: Tensor) -> Tensor:
        """Returns a number of each player for each of its own, shape ``(n,)``."""
        return torch.cat([like.new_full((n,), values[p]) for p, n in self.sizes.items()])


@final
class Vector:
    """A number for each parameter of all players; a place, a gradient or a step.

    It is one flat tensor, shape ``(n,)``, or a tensor for each parameter: whichever it was made
    of, the other is made when it is asked for. A flat tensor of shape ``(plays, n)`` holds one
    vector for each of many plays. Sums and multiples are new vectors.

    Args:
        layout: What belongs to whom.
        numbers: The flat tensor, or the parts.
    """

    def __init__(self, layout: ParameterLayout, numbers: Tensor | list[Tensor]) -> None:
        self.layout = layout
        self._flat = numbers if isinstance(numbers, Tensor) else None
        self._parts = None if isinstance(numbers, Tensor) else numbers

    @property
    def flat(self) -> Tensor:
        """All numbers, shape ``(n,)`` or ``(plays, n)``; not to be written to."""
        return flat(self._parts or []) if self._flat is None else self._flat

    @property
    def parts(self) -> list[Tensor]:
        """A tensor for each parameter; in place of ``flat`` they can be written to."""
        if self._parts is None:
            self._parts = self.layout.views(self.flat)
        return self._parts

    @property
    def is_batched(self) -> bool:
        """Whether there are many plays."""
        return self._flat is not None and self._flat.dim() > 1

    def of(self, player: str) -> list[Tensor]:
        """Returns the parts of one player."""
        return self.parts[self.layout.parts[player]]

    def clone(self) -> "Vector":
        """Returns a copy that shares no memory."""
        if self._flat is not None:
            return Vector(self.layout, self._flat.clone())
        return Vector(self.layout, [part.clone() for part in self.parts])

    def dot(self, other: "Vector") -> Tensor:
        """Returns the inner product, a scalar, or shape ``(plays, 1)``."""
        a, b = self.flat, other.flat
        return (a * b).sum(-1, keepdim=True) if a.dim() > 1 else a.dot(b)

    def __add__(self, other: "Vector") -> "Vector":
        """Returns the sum."""
        return self._with(torch.add, other)

    def __sub__(self, other: "Vector") -> "Vector":
        """Returns the difference."""
        return self._with(torch.sub, other)

    def add_(self, other: "Vector") -> "Vector":
        """Adds in place and returns itself, which spares a copy of all parameters."""
        if self._flat is not None:
            self._flat.add_(other.flat)
            return self
        for part, more in zip(self.parts, other.parts, strict=True):
            part.add_(more)
        return self

    def __mul__(self, by: "float | Tensor | Vector") -> "Vector":
        """Returns the product with a number, one for each play, or one for each number."""
        if isinstance(by, Vector):
            return self._with(torch.mul, by)
        return Vector(self.layout, self.flat * by)

    def __rmul__(self, by: "float | Tensor | Vector") -> "Vector":
        """Returns the product, in the other order."""
        return self * by

    def __neg__(self) -> "Vector":
        """Returns the vector turned round."""
        return Vector(self.layout, -self.flat)

    @property
    def is_flat(self) -> bool:
        """Whether it was made of one flat tensor."""
        return self._flat is not None

    def _with(self, do: Callable[[Tensor, Tensor], Tensor], other: "Vector") -> "Vector":
        if self.is_flat and other.is_flat:
            return Vector(self.layout, do(self.flat, other.flat))
        pairs = zip(self.parts, other.parts, strict=True)
        return Vector(self.layout, [do(a, b) for a, b in pairs])


class Slopes(abc.ABC):
    """The field at one place, and products with its Jacobian ``J`` there."""

    @property
    @abc.abstractmethod
    def value(self) -> Vector:
        """The field."""

    @abc.abstractmethod
    def vjp(self, u: Vector) -> Vector:
        """Returns ``J^T u``."""

    @abc.abstractmethod
    def jvp(self, u: Vector) -> Vector:
        """Returns ``J u``."""

    def twist(self, u: Vector) -> Vector:
        """Returns ``(J - J^T) u / 2``, the product with the antisymmetric part."""
        return (self.jvp(u) - self.vjp(u)) * 0.5

    def mixed(self, u: Vector) -> Vector:
        """Returns the product with ``J`` less its blocks on the diagonal."""
        return self._across(self.jvp, u)

    def mixed_transposed(self, u: Vector) -> Vector:
        """Returns the product with the transpose of what ``mixed`` multiplies by."""
        return self._across(self.vjp, u)

    def _across(self, product: Callable[[Vector], Vector], u: Vector) -> Vector:
        """Returns the sum of what each player's part does to the others."""
        total = u * 0.0
        for own in self.value.layout.players.values():
            mine = torch.zeros_like(u.flat)
            mine[..., own] = 1.0
            mask = Vector(u.layout, mine)
            image = product(u * mask)
            total = total + (image - image * mask)
        return total


class Field(abc.ABC):
    """What all players descend, under one batch of real samples and one draw of noise.

    Attributes:
        layout: What belongs to whom in vectors.
    """

    layout: ParameterLayout

    @abc.abstractmethod
    def value(self, z: Vector) -> Vector:
        """Returns the gradients of all players, each of its own loss, under the same noise."""

    @abc.abstractmethod
    def own(self, player: str, z: Vector) -> Sequence[Tensor]:
        """Returns the gradient of one player, with noise of its own where noise is drawn."""

    @abc.abstractmethod
    def slopes(self, z: Vector, *, cross: bool = True) -> Slopes:
        """Returns the field at ``z`` with its Jacobian.

        Args:
            z: Where.
            cross: Whether products other than ``vjp`` will be asked for.
        """


@final
class FixedLosses:
    """One batch and one draw of noise, under which losses depend on parameters alone.

    Every player sees the same noise, so that a zero-sum game is one for each look too.

    Args:
        batch: Real samples.
        rng: Says which noise; one number is drawn from it.
    """

    def __init__(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self.batch = batch
        self._device = rng.device
        self._seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))

    def rng(self) -> torch.Generator:
        """Returns a generator of the noise, at its beginning."""
        return torch.Generator(self._device).manual_seed(self._seed)


@final
class PlayerParameters:
    """The parameters of all players of a game, as vectors.

    Args:
        game: The game; its parameters share one type and one device.
    """

    def __init__(self, game: Game) -> None:
        self.game = game
        self.of = own_parameters(game)
        self.all = [p for parameters in self.of.values() for p in parameters]
        self.layout = ParameterLayout(
            {name: [p.shape for p in own] for name, own in self.of.items()}
        )
        modules = [m for player in game.players.values() for m in player.modules()]
        self._buffers = [(m, name) for m in modules for name, _ in m.named_buffers(recurse=False)]
        self._standing: Vector | None = None

    def home(self) -> Vector:
        """Returns where the players stand, sharing their memory."""
        return Vector(self.layout, [p.data for p in self.all])

    def read(self) -> Tensor:
        """Returns a copy of where the players stand, shape ``(n,)``."""
        return self.home().flat

    @torch.no_grad()
    def write(self, place: Tensor) -> None:
        """Copies a place, shape ``(n,)``, into the players."""
        for parameter, part in zip(self.all, self.layout.views(place), strict=True):
            parameter.copy_(part)

    def stand(self, z: Vector) -> None:
        """Puts the players at ``z``, sharing its memory; only within ``moving``."""
        if z is self._standing:
            return
        for parameter, part in zip(self.all, z.parts, strict=True):
            parameter.data = part
        self._standing = z

    @contextmanager
    def moving(self) -> Generator[Vector]:
        """Lets players stand anywhere, and afterwards puts them back into their own memory."""
        self._standing = home = self.home()
        parts = list(home.parts)
        try:
            yield home
        finally:
            if self._standing is not home:
                for parameter, part in zip(self.all, parts, strict=True):
                    parameter.data = part
            self._standing = None

    @contextmanager
    def kept(self) -> Generator[None]:
        """Puts buffers, such as running means of networks, back to what they were."""
        buffers = [b.clone() for b in self.buffers()]
        try:
            yield
        finally:
            for buffer, kept in zip(self.buffers(), buffers, strict=True):
                buffer.copy_(kept)

    def buffers(self) -> list[Tensor]:
        """Returns the buffers of all players, such as running means, as they are."""
        return [getattr(module, name) for module, name in self._buffers]

    def gradients(self, look: FixedLosses) -> tuple[list[Tensor], Losses]:
        """Returns each player's gradient of its own loss, in all its parts, and the losses."""
        found: list[Tensor] = []
        losses: dict[str, float] = {}
        for name, own in self.of.items():
            loss = self.game.loss(name, look.batch, rng=look.rng())
            found += torch.autograd.grad(loss, own)
            losses[name] = loss.item()
        return found, losses


@final
class Networks(Field):
    """The field of any game in training.

    The first look in a step is the one that buffers learn from, and whose losses are reported: a
    look elsewhere leaves no trace.

    Args:
        parameters: Those of the players, which are ``moving``.
        batch: Real samples.
        rng: Where noise comes from.
        losses: Where the losses of a step are reported.
    """

    def __init__(
        self,
        parameters: PlayerParameters,
        batch: Tensor,
        *,
        rng: torch.Generator,
        losses: dict[str, float],
    ) -> None:
        self.layout = parameters.layout
        self._parameters = parameters
        self._batch = batch
        self._rng = rng
        self._losses = losses
        self._drawn: FixedLosses | None = None

    @override
    def value(self, z: Vector) -> Vector:
        self._parameters.stand(z)
        look = self._look()
        if self._losses:
            with self._parameters.kept():
                found, _ = self._parameters.gradients(look)
        else:
            found, losses = self._parameters.gradients(look)
            self._losses.update(losses)
        return Vector(self.layout, found)

    @override
    def own(self, player: str, z: Vector) -> Sequence[Tensor]:
        self._parameters.stand(z)
        loss = self._parameters.game.loss(player, self._batch, rng=self._rng)
        # A gradient for this player alone: the others are neither charged nor polluted.
        found = torch.autograd.grad(loss, self._parameters.of[player])
        self._losses[player] = loss.item()
        return found

    @override
    def slopes(self, z: Vector, *, cross: bool = True) -> "Curvature":
        self._parameters.stand(z)
        look, is_first = self._look(), not self._losses
        if not is_first:
            with self._parameters.kept():
                return Curvature(self._parameters, look, cross=cross)
        found = Curvature(self._parameters, look, cross=cross)
        self._losses.update(found.losses)
        return found

    def _look(self) -> FixedLosses:
        """Returns batch and noise; drawn once, when they are needed."""
        if self._drawn is None:
            self._drawn = FixedLosses(self._batch, rng=self._rng)
        return self._drawn


# The gradient of one player's loss in the parameters of another, and a factor.
_Term = tuple[str, str, float]


@final
class Curvature(Slopes):
    """The gradients of all losses of networks, ready to be differentiated again.

    All products differentiate gradients that are already there, so each costs about as much as one
    more gradient. Nothing of a critic's penalty is left out, which makes its part a third
    derivative. Memory does not grow with the number of products.

    Args:
        parameters: Those of all players.
        look: Batch and noise, the same for all losses; or what gives a player's loss.
        cross: Whether to take gradients in the other players' parameters too, with which all
            products but ``vjp`` are cheapest; ``twist`` and ``mixed`` need them.
    """

    def __init__(
        self,
        parameters: PlayerParameters,
        look: FixedLosses | Callable[[str], Tensor],
        *,
        cross: bool = True,
    ) -> None:
        self._parameters = parameters
        self._players = list(parameters.of)
        self._slopes: dict[tuple[str, str], list[Tensor]] = {}
        self._crossed = cross
        self._pullback: tuple[Tensor, Tensor] | None = None
        self.losses: dict[str, float] = {}
        for name in self._players:
            # The fast kernels of attention cannot be differentiated twice.
            with sdpa_kernel(SDPBackend.MATH):
                loss = _loss(parameters.game, name, look)
            self.losses[name] = loss.item()
            self._differentiate(name, loss, self._players if cross else [name])
        own = [s.detach() for p in self._players for s in self._slopes[p, p]]
        self._value = Vector(parameters.layout, flat(own))

    @property
    @override
    def value(self) -> Vector:
        return self._value

    def _differentiate(self, name: str, loss: Tensor, inside: list[str]) -> None:
        of = self._parameters.of
        inputs = [p for other in inside for p in of[other]]
        found = iter(torch.autograd.grad(loss, inputs, create_graph=True, materialize_grads=True))
        for other in inside:
            self._slopes[name, other] = [next(found) for _ in of[other]]

    @override
    def vjp(self, u: Vector) -> Vector:
        terms = [(p, p, 1.0) for p in self._players]
        return self._made(self._pull(self._parameters.all, terms, u))

    @override
    def jvp(self, u: Vector) -> Vector:
        """Returns ``J u``.

        Row i is a gradient in ``w_i``, since second derivatives of ``L_i`` commute. Without
        gradients in the others' parameters: ``J^T w`` is linear in ``w``, and its derivative along
        it is ``J``.
        """
        if self._crossed:
            return self._by_player(u, lambda i, j: [(i, j, 1.0)], own=True)
        if self._pullback is None:
            own = flat([s for p in self._players for s in self._slopes[p, p]])
            w = torch.zeros_like(own, requires_grad=True)
            self._pullback = w, _gradient(own, self._parameters.all, w, create_graph=True)
        w, pulled = self._pullback
        return Vector(u.layout, _gradient(pulled, [w], u.flat))

    def block(self, u: Tensor, rows: str, columns: str) -> Tensor:
        """Returns the transposed product of the rows of one player, columns of another.

        Args:
            u: A number for each row.
            rows: Whose loss.
            columns: In whose parameters it is differentiated again.
        """
        return _gradient(flat(self._slopes[rows, rows]), self._parameters.of[columns], u)

    @override
    def twist(self, u: Vector) -> Vector:
        """Returns ``(J - J^T) u / 2``.

        The second derivatives of a player's loss in its own parameters cancel and are not taken.
        """
        return self._by_player(u, lambda i, j: [(i, j, 0.5), (j, j, -0.5)], own=False)

    @override
    def mixed(self, u: Vector) -> Vector:
        return self._by_player(u, lambda i, j: [(i, j, 1.0)], own=False)

    @override
    def mixed_transposed(self, u: Vector) -> Vector:
        return self._by_player(u, lambda _, j: [(j, j, 1.0)], own=False)

    def _by_player(
        self, u: Vector, terms: Callable[[str, str], list[_Term]], *, own: bool
    ) -> Vector:
        """Returns rows of a product, each the sum of what others, and it itself, pull it by."""
        rows: list[Tensor] = []
        for i in self._players:
            others = [j for j in self._players if own or j != i]
            pulled = [term for j in others for term in terms(i, j)]
            rows += self._pull(self._parameters.of[i], pulled, u)
        return self._made(rows)

    def _pull(
        self, inputs: list[nn.Parameter], terms: Iterable[_Term], u: Vector
    ) -> Sequence[Tensor]:
        """Returns the gradient in ``inputs`` of slopes times parts of ``u``."""
        outputs: list[Tensor] = []
        weights: list[Tensor] = []
        for i, j, scale in terms:
            for slope, part in zip(self._slopes[i, j], u.of(j), strict=True):
                # The slope of a loss that is linear in a parameter may depend on nothing.
                if slope.requires_grad:
                    outputs.append(slope)
                    weights.append(part if scale == 1 else scale * part)
        if not outputs:
            return [torch.zeros_like(p) for p in inputs]
        return torch.autograd.grad(
            outputs, inputs, weights, retain_graph=True, materialize_grads=True
        )

    def _made(self, parts: Sequence[Tensor]) -> Vector:
        return Vector(self._parameters.layout, flat(parts))


def _loss(game: Game, player: str, look: FixedLosses | Callable[[str], Tensor]) -> Tensor:
    if isinstance(look, FixedLosses):
        return game.coupled(player, look.batch, rng=look.rng())
    return look(player)


class Linear(abc.ABC):
    """A real square matrix, too large to be written down, given by its products with vectors."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """How many rows and columns it has."""

    @property
    @abc.abstractmethod
    def like(self) -> Tensor:
        """A tensor of the type and on the device of the vectors that it takes."""

    @abc.abstractmethod
    def apply(self, u: Tensor) -> Tensor:
        """Returns its product with ``u``, shape ``(size,)``."""

    @abc.abstractmethod
    def transposed(self, u: Tensor) -> Tensor:
        """Returns the product of its transpose with ``u``, shape ``(size,)``."""

    def dense(self) -> Tensor:
        """Returns the matrix itself, shape ``(size, size)``, from as many products."""
        units = torch.eye(self.size, dtype=self.like.dtype, device=self.like.device)
        return torch.stack([self.transposed(u) for u in units])


@final
class GameField:
    """The velocity ``v = -F`` of a game at a fixed batch and fixed noise, as spectra ask for it.

    All players see the batch with the noise that follows from one state of ``rng``, which is read
    and not moved. The game is copied: it can go on, and the field stays where it is until it is
    moved. Vectors are flat, players in order of play.

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
        self._all = PlayerParameters(self._game)
        self.parameters: Mapping[str, list[nn.Parameter]] = self._all.of
        self.players: Mapping[str, slice] = self._all.layout.players
        self._found: Curvature | None = None

    @property
    def size(self) -> int:
        """How many numbers all players hold together."""
        return self._all.layout.size

    @property
    def position(self) -> Tensor:
        """Where the players are, shape ``(size,)``; a copy."""
        return self._all.read()

    def move(self, z: Tensor) -> None:
        """Puts the players at ``z``, shape ``(size,)``."""
        self._found = None
        self._all.write(z)

    def value(self) -> Tensor:
        """Returns ``v`` here, shape ``(size,)``."""
        return -self._slopes().value.flat

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
            UserError: If no player has that name.
        """
        if player not in self.players:
            raise unknown("player", player, self.players)
        return Hessian(self, player)

    def pull(self, u: Tensor, rows: str | None = None, columns: str | None = None) -> Tensor:
        """Returns ``J^T u``, or that of the rows of one player and the columns of another.

        One graph of ``v`` is kept and used for all products, so that memory does not grow.
        """
        if rows is not None and columns is not None:
            return self._slopes().block(-u, rows, columns)
        return self._slopes().vjp(Vector(self._all.layout, -u)).flat

    def push(self, u: Tensor) -> Tensor:
        """Returns ``J u``."""
        return self._slopes().jvp(Vector(self._all.layout, -u)).flat

    def _slopes(self) -> Curvature:
        if self._found is None:
            with self._settled(), torch.enable_grad():
                self._found = Curvature(self._all, self._loss, cross=False)
        return self._found

    def _loss(self, player: str) -> Tensor:
        noise = torch.Generator(self._device)
        noise.set_state(self._state)
        return self._game.coupled(player, self._batch, rng=noise)

    @contextmanager
    def _settled(self) -> Generator[None]:
        """Lets losses write to copies of buffers."""
        inside = {m: None for root in _modules(self._game) for m in root.modules()}
        kept = [(m, k, b) for m in inside for k, b in m.named_buffers(recurse=False)]
        for module, name, buffer in kept:
            setattr(module, name, buffer.clone())
        try:
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


def own_parameters(game: Game) -> dict[str, list[nn.Parameter]]:
    """Returns the parameters of each player."""
    return {
        name: [p for p in player.parameters() if p.requires_grad]
        for name, player in game.players.items()
    }


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """Returns the numbers of all tensors as a new vector."""
    return torch.cat([t.reshape(-1) for t in tensors])


def _gradient(
    of: Tensor, inner: Sequence[Tensor], u: Tensor, *, create_graph: bool = False
) -> Tensor:
    """Returns the gradient of ``of . u``, flat; zeros where nothing depends on anything."""
    if not of.requires_grad:
        return flat([torch.zeros_like(p) for p in inner])
    found = torch.autograd.grad(
        of, inner, u, retain_graph=True, create_graph=create_graph, materialize_grads=True
    )
    return flat(found)


def _slices(sizes: Mapping[str, int]) -> dict[str, slice]:
    start, slices = 0, dict[str, slice]()
    for name, size in sizes.items():
        slices[name], start = slice(start, start + size), start + size
    return slices


def _modules(game: Game) -> list[nn.Module]:
    players = list(game.players.values())
    return [*players, game.model] if isinstance(game, Generative) else players
