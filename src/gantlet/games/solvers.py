"""Solvers: the update rules of the players of a game.

A solver is a pure update over a field: given what the players descend, where they are and what it
remembers, it says where they go and what it remembers then. The same update moves networks, which
``start`` makes of it, and many plays of a small game at once (``gantlet.games.batched``). A solver
of your own needs no more than this::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Plain(Update):
        lr: float = 0.01

        def step(self, fields, z, memory):
            return z - self.lr * fields[0].value(z), memory

``history`` and ``langevin``, which draw random numbers of their own, are no pure updates: they are
in ``mixed_solvers``.
"""

import abc
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.model import Game, Losses, Play
from gantlet.core.spec import Between
from gantlet.games.field import Field, Networks, ParameterLayout, PlayerParameters, Slopes, Vector

Mode = Literal["alternating", "simultaneous"]

Memory = dict[str, Any]
"""What a solver remembers between steps: tensors and plain values, nested."""

T = TypeVar("T")
_V = TypeVar("_V", Tensor, Vector)


class Update(abc.ABC):
    """A way to move, as a pure update over a field; settings are a frozen dataclass."""

    @property
    def batches(self) -> int:
        """How many batches of real samples one step consumes."""
        return 1

    @property
    def cycle(self) -> int:
        """After how many steps it is where it was in a round of its own, if it has one."""
        return 1

    def begin(self, z: Vector) -> Memory:
        """Returns the initial memory.

        Args:
            z: Where the players begin; ``z.layout`` says who they are.

        Raises:
            UserError: If the settings do not fit the players.
        """
        del z
        return {}

    @abc.abstractmethod
    def step(self, fields: Sequence[Field], z: Vector, memory: Memory) -> tuple[Vector, Memory]:
        """Returns where the players go, and what is remembered then.

        Args:
            fields: What they descend, for each of ``batches`` batches.
            z: Where they are. It is handed over: its parts may be written to and returned.
            memory: What was remembered, handed over too.
        """

    def start(self, game: Game) -> Play:
        """Returns the solver, ready to play ``game``.

        Raises:
            UserError: If the settings do not fit the players.
        """
        return NetworkPlay(self, game)


@final
class NetworkPlay(Play):
    """An update at work on the networks of a game.

    Args:
        solver: The update.
        game: The game.
    """

    def __init__(self, solver: Update, game: Game) -> None:
        self._solver = solver
        self._parameters = PlayerParameters(game)
        self._memory = solver.begin(self._parameters.home())

    @property
    @override
    def batches(self) -> int:
        return self._solver.batches

    @override
    def step(self, batch: Tensor, *, rng: torch.Generator) -> Losses:
        parameters, losses = self._parameters, dict[str, float]()
        fields = [
            Networks(parameters, part, rng=rng, losses=losses)
            for part in batch.chunk(self._solver.batches)
        ]
        with parameters.moving() as home:
            own = list(home.parts)
            z, self._memory = self._solver.step(fields, home, self._memory)
            if z is not home:
                for mine, part in zip(own, z.parts, strict=True):
                    mine.copy_(part)
        return losses

    @override
    def state_dict(self) -> dict[str, Any]:
        return self._memory

    @override
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._memory = deepcopy(state)


def each(values: tuple[T, ...], layout: ParameterLayout, what: str) -> dict[str, T]:
    """Returns one value for each player: the same for all, or one each in order of play.

    Raises:
        UserError: If there is neither one value nor one for each player.
    """
    names = list(layout.players)
    if len(values) not in (1, len(names)):
        raise UserError(
            f"{what} must be one value, or one for each of {'+'.join(names)}. Got {len(values)}."
        )
    return dict(zip(names, values * (len(names) if len(values) == 1 else 1), strict=True))


def clipped(
    gradients: Sequence[Tensor], most: float | None, *, is_batched: bool = False
) -> Sequence[Tensor]:
    """Returns gradients scaled so that their norm together is at most ``most``, if it is given.

    Args:
        gradients: Of one player.
        most: The largest norm, or None.
        is_batched: Whether the first axis is one of plays, each of which has a norm.
    """
    if most is None:
        return gradients
    if not is_batched:
        norm = torch.nn.utils.get_total_norm(gradients)
        # As torch clips: with a hair more in the denominator.
        factor = (most / (norm + 1e-6)).clamp(max=1.0)
        return [g * factor for g in gradients]
    squares = torch.stack([g.flatten(1).square().sum(1) for g in gradients])
    factor = (most / (squares.sum(0).sqrt() + 1e-6)).clamp(max=1.0)
    return [g * factor.view(-1, *[1] * (g.dim() - 1)) for g in gradients]


class Optimizer(Update, abc.ABC):
    """Descent of each player's own loss by a rule of its own, in turn or all at once.

    A rule does what torch's optimizer of the same name does, to the last bit, without the
    bookkeeping around each step that on small networks takes as long as the step itself.
    """

    lr: tuple[float, ...]
    clip: float | None
    steps: tuple[int, ...]
    mode: Mode

    @abc.abstractmethod
    def remember(self, tensors: Sequence[Tensor]) -> Memory:
        """Returns the initial memory of the rule for some tensors."""

    @abc.abstractmethod
    def move(
        self, tensors: Sequence[Tensor], gradients: Sequence[Tensor], lr: float, memory: Memory
    ) -> None:
        """Moves tensors in place by their gradients, and writes to what is remembered."""

    @property
    @override
    def batches(self) -> int:
        return max(self.steps) if self.mode == "alternating" else 1

    @override
    def begin(self, z: Vector) -> Memory:
        each(self.lr, z.layout, "lr")
        each(self.steps, z.layout, "steps")
        if self.mode == "simultaneous" and set(self.steps) != {1}:
            summary = "+".join(map(str, self.steps))
            raise UserError(f"steps must be 1 for simultaneous updates. Got {summary}.")
        return {player: self.remember(z.of(player)) for player in z.layout.players}

    @override
    def step(self, fields: Sequence[Field], z: Vector, memory: Memory) -> tuple[Vector, Memory]:
        if self.mode == "simultaneous":
            return self.descend(z, fields[0].value(z), memory), memory
        rates, moves = each(self.lr, z.layout, "lr"), each(self.steps, z.layout, "steps")
        for player in z.layout.players:
            for field in fields[: moves[player]]:
                gradients = clipped(field.own(player, z), self.clip, is_batched=z.is_batched)
                self.move(z.of(player), gradients, rates[player], memory[player])
        return z, memory

    def descend(self, z: Vector, gradient: Vector, memory: Memory) -> Vector:
        """Moves all players at once by what they descend; writes to ``z`` and returns it."""
        for player, rate in each(self.lr, z.layout, "lr").items():
            own = clipped(gradient.of(player), self.clip, is_batched=z.is_batched)
            self.move(z.of(player), own, rate, memory[player])
        return z

    def displacement(self, gradient: Vector, memory: Memory) -> Vector:
        """Returns where the rule of all players together would move them, in full precision.

        It moves a point that begins at zero, so it must not look at what it moves: no weight
        decay. ``memory`` is what it ``remember``s of one flat tensor.
        """
        layout, slope = gradient.layout, gradient.flat
        if self.clip is not None:
            parts = torch.split(slope, list(layout.sizes.values()), dim=-1)
            kept = [clipped([p], self.clip, is_batched=slope.dim() > 1)[0] for p in parts]
            slope = torch.cat(kept, dim=-1)
        at = torch.zeros_like(slope)
        self.move([at], [slope], 1.0, memory)
        return Vector(layout, at * rates(self.lr, layout, at))


def rates(lr: tuple[float, ...], layout: ParameterLayout, like: Tensor) -> Tensor | float:
    """Returns the learning rate of each parameter, shape ``(n,)``, or the one of all.

    Raises:
        UserError: If there is neither one rate nor one for each player.
    """
    by_player = each(lr, layout, "lr")
    return lr[0] if len(lr) == 1 else layout.spread(by_player, like)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Adam(Optimizer):
    """Adam for every player, by default alternating.

    Alternating, each moves against what the others have just become. Simultaneous, all see the
    same batch and noise and move at once. A rate for each player gives two time scales
    (``lr=4e-4+1e-4``; Heusel et al., 2017, https://arxiv.org/abs/1706.08500).

    Source: Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980, Algorithm 1.

    Attributes:
        lr: Learning rate; one for all players, or one for each in order of play.
        beta1: Decay of the first moment; 0 is usual for adversarial games.
        beta2: Decay of the second moment.
        eps: Added to the root of the second moment.
        clip: Gradient clipping: largest norm of a player's gradient, or none.
        steps: Updates of each player per step; one number, or one for each in order of play.
        mode: Alternating or simultaneous updates.
    """

    lr: tuple[Annotated[float, Between(0)], ...] = (1e-3,)
    beta1: Annotated[float, Between(0, 1, below=True)] = 0.9
    beta2: Annotated[float, Between(0, 1, below=True)] = 0.999
    eps: Annotated[float, Between(0)] = 1e-8
    clip: Annotated[float, Between(0)] | None = None
    steps: tuple[Annotated[int, Between(1)], ...] = (1,)
    mode: Mode = "alternating"

    @override
    def remember(self, tensors: Sequence[Tensor]) -> Memory:
        return {
            "first": [torch.zeros_like(t, memory_format=torch.contiguous_format) for t in tensors],
            "second": [
                torch.zeros_like(t, memory_format=torch.contiguous_format) for t in tensors
            ],
            "steps": torch.zeros((), device=tensors[0].device),
        }

    @override
    @torch.no_grad()
    def move(
        self, tensors: Sequence[Tensor], gradients: Sequence[Tensor], lr: float, memory: Memory
    ) -> None:
        steps = memory["steps"]
        steps += 1
        # The kernel takes memory as it lies, without a look at strides; gradients of convolutions
        # may lie otherwise than their weights.
        placed = [t.contiguous() for t in tensors]
        slopes = [g.contiguous() for g in gradients]
        # What torch's own Adam comes down to with fused=True.
        torch._fused_adam_(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            placed,
            slopes,
            memory["first"],
            memory["second"],
            [],
            [steps] * len(tensors),
            lr=lr,
            beta1=self.beta1,
            beta2=self.beta2,
            weight_decay=0.0,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )
        for tensor, place in zip(tensors, placed, strict=True):
            if place is not tensor:
                tensor.copy_(place)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Sgd(Optimizer):
    """Stochastic gradient descent for every player, by default alternating.

    Alternating, each moves against what the others have just become. Simultaneous, all see the
    same batch and noise and move at once. A rate for each player gives two time scales
    (``lr=0.02+0.01``; Heusel et al., 2017, https://arxiv.org/abs/1706.08500). On a game that
    rotates, negative momentum damps (Gidel et al., 2019, https://arxiv.org/abs/1807.04740), and
    only if players alternate.

    Source: Robbins and Monro, 1951; momentum as Polyak, 1964.

    Attributes:
        lr: Learning rate; one for all players, or one for each in order of play.
        momentum: Decay of the velocity, from -1 to 1.
        clip: Gradient clipping: largest norm of a player's gradient, or none.
        steps: Updates of each player per step; one number, or one for each in order of play.
        mode: Alternating or simultaneous updates.
    """

    lr: tuple[Annotated[float, Between(0)], ...] = (1e-2,)
    momentum: Annotated[float, Between(-1, 1)] = 0.0
    clip: Annotated[float, Between(0)] | None = None
    steps: tuple[Annotated[int, Between(1)], ...] = (1,)
    mode: Mode = "alternating"

    @override
    def remember(self, tensors: Sequence[Tensor]) -> Memory:
        return {"velocities": [torch.zeros_like(t) for t in tensors] if self.momentum else []}

    @override
    @torch.no_grad()
    def move(
        self, tensors: Sequence[Tensor], gradients: Sequence[Tensor], lr: float, memory: Memory
    ) -> None:
        velocities: list[Tensor] = memory["velocities"]
        for velocity, gradient in zip(velocities, gradients, strict=False):
            velocity.mul_(self.momentum).add_(gradient)
        for tensor, push in zip(tensors, velocities or gradients, strict=True):
            tensor.add_(push, alpha=-lr)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithBase:
    """Settings of the optimizer beneath a solver.

    Attributes:
        base: Base optimizer: gradient descent or Adam.
        lr: Learning rate; one for all players, or one for each in order of play.
        beta1: Decay of Adam's first moment.
        beta2: Decay of Adam's second moment.
        clip: Gradient clipping: largest norm of a player's update direction, or none.
    """

    base: Literal["sgd", "adam"] = "adam"
    lr: tuple[Annotated[float, Between(0)], ...] = (1e-3,)
    beta1: Annotated[float, Between(0, 1, below=True)] = 0.0
    beta2: Annotated[float, Between(0, 1, below=True)] = 0.99
    clip: Annotated[float, Between(0)] | None = None

    def alone(self, mode: Mode = "simultaneous") -> Sgd | Adam:
        """Returns the base as a solver of its own."""
        if self.base == "sgd":
            return Sgd(lr=self.lr, clip=self.clip, mode=mode)
        return Adam(lr=self.lr, beta1=self.beta1, beta2=self.beta2, clip=self.clip, mode=mode)


class BasedUpdate(WithBase, Update, abc.ABC):
    """An update that chooses a field or a place, and leaves the step to a base."""

    @override
    def begin(self, z: Vector) -> Memory:
        return self.alone().begin(z)


class Directed(BasedUpdate, abc.ABC):
    """A solver that gives its base something to descend in the place of gradients."""

    @abc.abstractmethod
    def direction(self, field: Field, z: Vector) -> Vector:
        """Returns the direction that the players descend."""

    @override
    def step(self, fields: Sequence[Field], z: Vector, memory: Memory) -> tuple[Vector, Memory]:
        return self.alone().descend(z, self.direction(fields[0], z), memory), memory


class LastStep(BasedUpdate, abc.ABC):
    """A solver with its last step at hand; none at first."""

    @override
    def begin(self, z: Vector) -> Memory:
        each(self.lr, z.layout, "lr")
        last = torch.zeros_like(z.flat)
        return {"descent": self.alone().remember([last]), "last": last}


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Extragradient(BasedUpdate):
    """Extragradient: players step by the gradients at the extrapolated point.

    With ``F`` the players' gradients, ``w' = w - lr F(w)``, then ``w - lr F(w')``. On Adam this
    is ExtraAdam, whose moments see both gradients; on gradient descent, ExtraSGD.

    Source: Korpelevich, 1976; Gidel et al., 2019, https://arxiv.org/abs/1802.10551, section 4.1
    and the algorithm of Extra-Adam. With ``fresh=false``: Mishchenko et al., 2019,
    https://arxiv.org/abs/1905.11373.

    Attributes:
        fresh: Whether the second evaluation uses its own batch and noise, as in the paper (two
            batches per step); else both share one.
    """

    fresh: bool = True

    @property
    @override
    def batches(self) -> int:
        return 2 if self.fresh else 1

    @override
    def step(self, fields: Sequence[Field], z: Vector, memory: Memory) -> tuple[Vector, Memory]:
        base, here = self.alone(), fields[0].value(z)
        ahead = base.descend(z.clone(), here, memory)
        return base.descend(z, fields[-1].value(ahead), memory), memory


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class PastExtragradient(LastStep):
    """Extragradient that extrapolates by the last gradient instead of a new one.

    With ``F`` the players' gradients, ``w' = w - lr F(last w')``, then ``w - lr F(w')``: one
    gradient, one batch for each step. The first step looks from where it stands.

    Source: Popov, 1980; Gidel et al., 2019, https://arxiv.org/abs/1802.10551, section 4.2.
    Differs from the paper: on Adam, it looks ahead by the whole last step, and the moments see
    each gradient once.
    """

    @override
    def step(self, fields: Sequence[Field], z: Vector, memory: Memory) -> tuple[Vector, Memory]:
        gradient = fields[0].value(z + Vector(z.layout, memory["last"]))
        step = self.alone().displacement(gradient, memory["descent"])
        return z.add_(step), {**memory, "last": step.flat}


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Optimistic(LastStep):
    """Optimistic gradient descent: the next gradient is predicted from the last change.

    With ``d`` the step that the base would make, ``w + 2 d - last d``. On Adam this is Optimistic
    Adam. The first step has no last one and is twice as long.

    Source: Daskalakis et al., 2018, https://arxiv.org/abs/1711.00141, section 2 and Algorithm 1.
    """

    @override
    def step(self, fields: Sequence[Field], z: Vector, memory: Memory) -> tuple[Vector, Memory]:
        step = self.alone().displacement(fields[0].value(z), memory["descent"])
        push = Vector(z.layout, (2 * step.flat).sub_(memory["last"]))
        return z.add_(push), {**memory, "last": step.flat}


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Consensus(Directed):
    """Consensus optimisation: descends ``F + gamma J' F`` in the place of ``F``.

    ``F`` are the players' gradients, ``J`` is their Jacobian, so ``J' F`` is the gradient of
    ``|F|^2 / 2``.

    Source: Mescheder et al., 2017, https://arxiv.org/abs/1705.10461, Algorithm 2.

    Attributes:
        gamma: Weight of the consensus term.
    """

    gamma: Annotated[float, Between(0)] = 0.1

    @override
    def direction(self, field: Field, z: Vector) -> Vector:
        seen = field.slopes(z, cross=False)
        return seen.value + self.gamma * seen.vjp(seen.value)


# Added to what decides the sign of the adjustment, so that it is plus where nothing speaks.
_EPSILON = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Sga(Directed):
    """Symplectic gradient adjustment: descends ``F + gamma A' F`` in the place of ``F``.

    ``F`` are the players' gradients and ``A = (J - J') / 2`` is the antisymmetric part of their
    Jacobian. With ``align`` the sign of ``gamma`` is that of ``<F, J'F> <A'F, J'F> / n + 0.1``,
    for ``n`` parameters: the adjustment then pulls towards stable points and pushes away from
    others, for the price of one product more.

    Source: Balduzzi et al., 2018, https://arxiv.org/abs/1802.05642, Algorithm 1.

    Attributes:
        gamma: Weight of the adjustment.
        align: Whether the sign follows the alignment criterion.
    """

    gamma: Annotated[float, Between(0)] = 1.0
    align: bool = True

    @override
    def direction(self, field: Field, z: Vector) -> Vector:
        seen = field.slopes(z)
        turn = -seen.twist(seen.value)
        sign = alignment(seen, turn) if self.align else 1.0
        return seen.value + turn * (self.gamma * sign)


def alignment(seen: Slopes, turn: Vector) -> Tensor:
    """Returns the sign, a scalar, with which ``turn`` (``A' F``) leads to what is stable."""
    uphill = seen.vjp(seen.value)
    product = seen.value.dot(uphill) * turn.dot(uphill) / turn.layout.size
    return (product + _EPSILON).sign()


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class CrossingTheCurl(Directed):
    """Crossing-the-Curl: descends ``-(J - J') F / 2`` in the place of ``F``.

    ``F`` are the players' gradients and ``J`` is their Jacobian. In a game that only rotates this
    leads to the centre; where nothing rotates it stands still. With ``whole`` the field is
    ``-J F``, what extragradient adds to a step.

    Source: Gemp and Mahadevan, 2018, https://arxiv.org/abs/1808.01531.

    Attributes:
        whole: Whether to include the symmetric part of the Jacobian.
    """

    whole: bool = False

    @override
    def begin(self, z: Vector) -> Memory:
        """Returns the initial memory of the base.

        Raises:
            UserError: If there is one player alone, whose field has no curl.
        """
        players = list(z.layout.players)
        if len(players) < 2:
            raise UserError(
                "crossing-the-curl needs at least two players. "
                f"Got {'+'.join(players)}; choose another solver, such as adam."
            )
        return self.alone().begin(z)

    @override
    def direction(self, field: Field, z: Vector) -> Vector:
        seen = field.slopes(z)
        product = seen.jvp if self.whole else seen.twist
        return -product(seen.value)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Lookahead(BasedUpdate):
    """Lookahead-minmax: every ``k`` base steps, players are averaged with the slow weights.

    The place they go back to is theirs together: ``slow + alpha (fast - slow)`` over the
    parameters of all players, once all have moved. What Adam remembers stays.

    Source: Chavdarova et al., 2021, https://arxiv.org/abs/2006.14567, Algorithm 1.
    Differs from the paper: training is judged where the fast players stand, between two returns
    too.

    Attributes:
        k: Steps of the base optimizer between two averagings.
        alpha: Interpolation factor of the slow weights.
        mode: Alternating or simultaneous updates of the base optimizer.
    """

    k: Annotated[int, Between(1)] = 5
    alpha: Annotated[float, Between(0, 1)] = 0.5
    mode: Mode = "alternating"

    @property
    @override
    def cycle(self) -> int:
        return self.k

    @override
    def begin(self, z: Vector) -> Memory:
        return {"fast": self.alone(self.mode).begin(z), "slow": z.clone().flat, "ahead": 0}

    @override
    def step(self, fields: Sequence[Field], z: Vector, memory: Memory) -> tuple[Vector, Memory]:
        z, fast = self.alone(self.mode).step(fields, z, memory["fast"])
        slow, ahead = memory["slow"], memory["ahead"] + 1
        if ahead == self.k:
            slow, ahead = slow.lerp(z.flat, self.alpha), 0
            z = Vector(z.layout, slow.clone())
        return z, {"fast": fast, "slow": slow, "ahead": ahead}


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Cgd(Update):
    """Competitive gradient descent: the step is the Nash equilibrium of a local bilinear game.

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
        iterations: Conjugate gradient iterations per step; four leave a residual of about 1 % on a
            small GAN.
        beta2: Decay of the second moment that scales the learning rates (ACGD); none disables the
            scaling.
        eps: Added to the root of the second moment.
    """

    lr: tuple[Annotated[float, Between(0)], ...] = (1e-3,)
    iterations: Annotated[int, Between(1)] = 4
    beta2: Annotated[float, Between(0, 1, below=True)] | None = 0.99
    eps: Annotated[float, Between(0)] = 1e-5

    @override
    def begin(self, z: Vector) -> Memory:
        each(self.lr, z.layout, "lr")
        return {"square": torch.zeros_like(z.flat), "steps": 0}

    @override
    def step(self, fields: Sequence[Field], z: Vector, memory: Memory) -> tuple[Vector, Memory]:
        seen = fields[0].slopes(z)
        scaled, memory = self._scaled(seen.value.flat, z.layout, memory)
        # Half of the rates on either side leave a zero-sum game antisymmetric.
        half = Vector(z.layout, scaled.sqrt())

        def forward(x: Vector) -> Vector:
            return x + half * seen.mixed(half * x)

        def transposed(x: Vector) -> Vector:
            return x + half * seen.mixed_transposed(half * x)

        solution = solve(
            forward,
            transposed,
            -half * seen.value,
            self.iterations,
        )
        return z.add_(half * solution), memory

    def _scaled(
        self, gradient: Tensor, layout: ParameterLayout, memory: Memory
    ) -> tuple[Tensor, Memory]:
        """Returns the rate of each parameter, and what is remembered."""
        lr = layout.spread(each(self.lr, layout, "lr"), gradient)
        if self.beta2 is None:
            return lr.expand_as(gradient), memory
        steps = memory["steps"] + 1
        square = memory["square"].lerp(gradient.square(), 1 - self.beta2)
        mean = square / (1 - self.beta2**steps)
        return lr / (mean.sqrt() + self.eps), {"square": square, "steps": steps}


def solve(times: Callable[[_V], _V], transposed: Callable[[_V], _V], b: _V, iterations: int) -> _V:
    """Returns the solution of a linear system by conjugate gradients on its normal equations.

    Source: Hestenes and Stiefel, 1952, https://doi.org/10.6028/jres.049.044, section 10.

    Args:
        times: Multiplies a vector, shape ``(n,)``, by the matrix.
        transposed: Multiplies by its transpose.
        b: The right side.
        iterations: How many; each takes both products.
    """
    x = b * 0.0
    left = b
    slope = transposed(left)
    towards, size = slope, slope.dot(slope)
    for k in range(iterations):
        image = times(towards)
        # Where the solution is met there is nowhere to go: 0 / 0 counts as 0.
        pace = (size / image.dot(image)).nan_to_num(0, 0, 0)
        x = x + towards * pace
        if k == iterations - 1:
            break
        left = left - image * pace
        slope = transposed(left)
        before, size = size, slope.dot(slope)
        towards = slope + towards * (size / before).nan_to_num(0, 0, 0)
    return x
