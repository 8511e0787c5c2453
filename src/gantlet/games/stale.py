"""Stale gradients: delays simulated exactly, elastic averaging, and the delay a game tolerates.

Asynchronous training applies gradients that were computed at parameters of some steps before.
``stale`` reproduces that in one process, step by step the same each time: any solver inside it
takes its gradients at past places. The delays are constant, those of independent workers, or
those that a real asynchronous training recorded (``gantlet.run.asynchronous``).

What a delay does near an equilibrium follows from the eigenvalues of the game: ``growth`` and
``largest_workers``, beside ``largest_delay`` of ``gantlet.games.spectrum``.
"""

import csv
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.errors import UserError, unknown
from gantlet.core.spec import Between, Spec, solvers
from gantlet.games.field import Field, ParameterLayout, Slopes, Vector
from gantlet.games.solvers import Memory, Update

Delays = Literal["constant", "geometric", "replay"]

COLUMN = "staleness"
"""The column of a trace of staleness that is replayed."""

# The longest delay that is kept in memory, in numbers of workers: exp(-8) of the draws are longer.
_LONGEST_GEOMETRIC = 8


class Wrapping(Update):
    """An update made of another one.

    Attributes:
        of: The solver inside, in written form.
    """

    of: str

    def inner(self) -> Update:
        """Returns the solver inside.

        Raises:
            UserError: If it is not an update over a field, such as ``langevin``.
        """
        made = solvers.make(self.of)
        if not isinstance(made, Update):
            raise UserError(
                f"of must be a solver that draws no random numbers of its own, such as adam. "
                f"Got {self.of!r}."
            )
        return made

    @property
    @override
    def batches(self) -> int:
        return self.inner().batches


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Stale(Wrapping):
    """A solver whose gradients are taken at parameters of some steps before.

    Each gradient of a step is taken where the same gradient of the step ``delay`` steps before was
    taken, on the batch and noise of now; before the first step all players are where they begin.
    With a delay of 0 it is the solver inside, bit for bit. Memory for as many copies of all
    players as the longest delay, times the gradients of a step.

    Source: the delayed updates of Mitliagkas et al., 2016, https://arxiv.org/abs/1605.09774
    (section 3: independent workers have geometric staleness); damping as Zhang, Gupta, Lian and
    Liu, 2016, https://arxiv.org/abs/1511.05950, eq. 6.

    Attributes:
        delays: A constant delay; geometric, as of independent workers, with the mean
            ``workers - 1``; or those of a recorded trace, which begins anew where it ends.
        delay: The constant delay in steps; 0 is synchronous.
        workers: Number of workers whose geometric delays are drawn.
        path: Trace to replay: a CSV file with a column staleness, as asynchronous trainings leave
            in their folder.
        sha256: Digest of the content of the trace; filled in.
        late: Gradients that are late: of all players, with all parameters past; opponent, all
            players with their own parameters present and those of the others past; or those of one
            player, by its name (critic, generator).
        damping: Staleness-aware step size: each step is divided by its delay, if that is above 1.
        of: The solver inside, in written form; in double quotes where it has options.
    """

    delays: Delays = "constant"
    delay: Annotated[int, Between(0, 100_000)] = 1
    workers: Annotated[int, Between(1, 4096)] = 4
    path: str = ""
    sha256: str = ""
    late: str = "all"
    damping: bool = False
    of: str = "adam"

    def __post_init__(self) -> None:
        """Writes out all options of the solver inside, and the digest of the trace.

        Raises:
            UserError: If there is no trace where one is to be replayed, one where none is, or
                another one than it was.
        """
        object.__setattr__(self, "of", solvers.resolve(self.of))
        if (self.delays == "replay") != bool(self.path):
            got = f"path={self.path}" if self.path else "no path"
            raise UserError(
                f"stale:delays=replay needs path=FILE, and no other delays take one. Got {got} "
                f"with delays={self.delays}."
            )
        if self.path:
            self._check_content()

    def _check_content(self) -> None:
        digest = hashlib.sha256(_read(Path(self.path))).hexdigest()[:16]
        if self.sha256 not in ("", digest):
            raise UserError(
                f"{self.path} was changed since: its digest is {digest}, not {self.sha256}. "
                "Restore it, or leave out sha256=..."
            )
        object.__setattr__(self, "sha256", digest)

    @property
    @override
    def cycle(self) -> int:
        return self.inner().cycle

    @property
    def longest(self) -> int:
        """The longest delay; geometric ones are cut at eight times the number of workers."""
        if self.delays == "constant":
            return self.delay
        if self.delays == "geometric":
            return _LONGEST_GEOMETRIC * self.workers if self.workers > 1 else 0
        return max(read_trace(Path(self.path)))

    @override
    def begin(self, z: Vector) -> Memory:
        """Returns the initial memory: every place is where the players begin.

        Raises:
            UserError: If the settings do not fit the players.
        """
        players = list(z.layout.players)
        if self.late not in ("all", "opponent", *players):
            raise unknown("value of stale:late", self.late, ["all", "opponent", *players])
        inner = self.inner()
        start, longest = z.flat.detach(), self.longest
        looks = _count_looks(inner, z) if longest else 0
        memory: Memory = {
            "inner": inner.begin(z),
            "past": [[start.clone() for _ in range(longest)] for _ in range(looks)],
        }
        if self.delays == "geometric":
            memory |= {"steps": 0, "seed": _seed_of(start)}
        if self.delays == "replay":
            memory |= {"steps": 0, "trace": torch.tensor(read_trace(Path(self.path)))}
        return memory

    @override
    def step(self, fields: Sequence[Field], z: Vector, memory: Memory) -> tuple[Vector, Memory]:
        delay = self._delay_of(memory)
        clock = {"steps": memory["steps"] + 1} if "steps" in memory else {}
        damp = max(delay, 1) if self.damping else 1
        before = z.flat.clone() if damp > 1 else None
        past = _Past(memory["past"], delay)
        late = [_Late(field, past, self.late) for field in fields]
        z, inner = self.inner().step(late, z, memory["inner"])
        if before is not None:
            z = Vector(z.layout, before.lerp(z.flat, 1 / damp))
        return z, {**memory, **clock, "inner": inner, "past": past.after()}

    def _delay_of(self, memory: Memory) -> int:
        """Returns the delay of the step that is next."""
        if self.delays == "constant":
            return self.delay
        if self.delays == "geometric":
            return min(
                geometric_delay(self.workers, memory["seed"], memory["steps"]), self.longest
            )
        trace = memory["trace"]
        return int(trace[memory["steps"] % len(trace)])


@final
class _Past:
    """Where the gradients of steps before were taken, one list for each gradient of a step.

    Args:
        past: The places, oldest first; none if nothing is ever late.
        delay: By how many steps the gradients of this step are late.
    """

    def __init__(self, past: Sequence[Sequence[Tensor]], delay: int) -> None:
        self._past = past
        self._delay = delay
        self._seen: list[Tensor] = []

    def at(self, z: Vector) -> Vector:
        """Returns where the next gradient is taken, and notes that it would be taken at ``z``."""
        if not self._past:
            return z
        if len(self._seen) == len(self._past):
            raise UserError(
                "stale needs a solver with the same number of gradients in every step. Got more "
                f"than {len(self._past)}; choose another solver, such as adam."
            )
        mine = self._past[len(self._seen)]
        self._seen.append(z.flat.detach().clone() if z.is_flat else z.flat.detach())
        return z if self._delay == 0 else Vector(z.layout, mine[-self._delay])

    def after(self) -> list[list[Tensor]]:
        """Returns the places that the next step may see."""
        pairs = zip(self._past, self._seen, strict=True)
        return [[*places[1:], seen] for places, seen in pairs]


@final
class _Late(Field):
    """A field that answers from places of the past.

    Args:
        field: The field.
        past: The places.
        late: Whose gradients are late.
    """

    def __init__(self, field: Field, past: _Past, late: str) -> None:
        self.layout = field.layout
        self._field = field
        self._past = past
        self._late = late

    @override
    def value(self, z: Vector) -> Vector:
        seen = self._past.at(z)
        if seen is z or self._late == "all":
            return self._field.value(seen)
        own = [g for p in self.layout.players for g in self._field.own(p, self._place(p, z, seen))]
        if z.is_batched:
            return Vector(self.layout, torch.cat([g.flatten(1) for g in own], 1))
        return Vector(self.layout, own)

    @override
    def own(self, player: str, z: Vector) -> Sequence[Tensor]:
        return self._field.own(player, self._place(player, z, self._past.at(z)))

    @override
    def slopes(self, z: Vector, *, cross: bool = True) -> Slopes:
        if self._late != "all":
            raise UserError(
                f"stale:late={self._late} needs a solver that takes gradients alone, such as adam "
                "or optimistic; solvers with products of the Jacobian take late=all."
            )
        return self._field.slopes(self._past.at(z), cross=cross)

    def _place(self, player: str, z: Vector, seen: Vector) -> Vector:
        """Returns where the gradient of ``player`` is taken."""
        if seen is z or self._late == "all":
            return seen
        if self._late != "opponent":
            return seen if self._late == player else z
        mixed = [
            (z if name == player else seen).flat[..., where]
            for name, where in self.layout.players.items()
        ]
        return Vector(self.layout, torch.cat(mixed, -1))


# ----------------------------------------------------------------------------
# How many gradients a step takes: found by a step on a field that is zero everywhere.
# ----------------------------------------------------------------------------


@final
class _Nothing(Slopes):
    """A field and a Jacobian that are zero."""

    def __init__(self, z: Vector) -> None:
        self._zero = Vector(z.layout, torch.zeros_like(z.flat))

    @property
    @override
    def value(self) -> Vector:
        return self._zero

    @override
    def vjp(self, u: Vector) -> Vector:
        return self._zero

    @override
    def jvp(self, u: Vector) -> Vector:
        return self._zero


@final
class _Counting(Field):
    """A field of zeros that counts how often it is asked.

    Args:
        layout: What belongs to whom.
    """

    def __init__(self, layout: ParameterLayout) -> None:
        self.layout = layout
        self.looks = 0

    @override
    def value(self, z: Vector) -> Vector:
        return self.slopes(z).value

    @override
    def own(self, player: str, z: Vector) -> Sequence[Tensor]:
        return self.slopes(z).value.of(player)

    @override
    def slopes(self, z: Vector, *, cross: bool = True) -> Slopes:
        self.looks += 1
        return _Nothing(z)


def _count_looks(solver: Update, z: Vector) -> int:
    """Returns how many gradients one step takes, of whatever players."""
    field = _Counting(z.layout)
    solver.step([field] * solver.batches, z.clone(), solver.begin(z))
    return field.looks


# ----------------------------------------------------------------------------
# Delays: drawn, or read from a trace.
# ----------------------------------------------------------------------------


def _seed_of(start: Tensor) -> int:
    """Returns a seed that follows from where players begin, so that other weights draw others."""
    content = start.detach().cpu().numpy().tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=6).digest(), "little")


def geometric_delay(workers: int, seed: int, step: int) -> int:
    """Returns a delay, ``k`` with probability ``(1 - 1/workers)^k / workers``.

    It follows from seed and step alone, so that a resumed training draws the same ones.
    """
    if workers == 1:
        return 0
    rng = torch.Generator().manual_seed((seed << 16) + step)
    u = float(torch.rand((), generator=rng, dtype=torch.float64))
    return int(math.log1p(-u) / math.log1p(-1 / workers))


def read_trace(path: Path) -> list[int]:
    """Returns the staleness of every update of a recorded training, in order.

    Raises:
        UserError: If the file cannot be read, or has no such column, or other values than whole
            numbers from 0 on.
    """
    rows = list(csv.DictReader(_read(path).decode("utf-8", "replace").splitlines()))
    values = [row.get(COLUMN) for row in rows]
    wrong = next((v for v in values if v is None or not v.strip().isdecimal()), "")
    if not values or wrong != "":
        got = "no rows" if not values else f"{wrong!r}"
        raise UserError(
            f"{path} must have a column {COLUMN} of whole numbers from 0 on, as asynchronous "
            f"trainings write it to staleness.csv. Got {got}."
        )
    return [int(v) for v in values if v is not None]


def _read(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"The trace {path} cannot be read: {error.strerror}.") from error


# ----------------------------------------------------------------------------
# Elastic averaging: workers with parameters of their own around a centre.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Elastic(Wrapping):
    """Elastic averaging (EASGD): workers on their own, drawn to a centre that they draw along.

    In each step one worker, in turn, makes a step of the solver inside from parameters of its own.
    Every ``period`` of its steps it first meets the centre: with ``d`` its distance from it, the
    worker moves by ``-beta / workers * d`` and the centre by as much the other way. The centre is
    what is evaluated. Nothing is late: asynchrony is that workers have drifted apart.

    Source: Zhang, Choromanska and LeCun, 2015, https://arxiv.org/abs/1412.6651, Algorithm 1.
    Differs from the paper: workers take their turns in a fixed order, so that it repeats exactly.

    Attributes:
        workers: Number of workers.
        period: Steps of a worker between two meetings with the centre.
        beta: Elasticity; a worker and the centre move by this share over the number of workers.
        of: The solver inside, in written form; in double quotes where it has options.
    """

    workers: Annotated[int, Between(1, 4096)] = 4
    period: Annotated[int, Between(1, 100_000)] = 1
    beta: Annotated[float, Between(0, 1, above=True)] = 0.9
    of: str = "adam"

    def __post_init__(self) -> None:
        """Writes out all options of the solver inside."""
        object.__setattr__(self, "of", solvers.resolve(self.of))

    @property
    @override
    def cycle(self) -> int:
        return math.lcm(self.workers * self.period, self.workers * self.inner().cycle)

    @override
    def begin(self, z: Vector) -> Memory:
        inner, n = self.inner(), self.workers
        return {
            "turn": 0,
            "places": [z.flat.detach().clone() for _ in range(n)],
            "inner": [inner.begin(z) for _ in range(n)],
        }

    @override
    def step(self, fields: Sequence[Field], z: Vector, memory: Memory) -> tuple[Vector, Memory]:
        turn, places, inner = memory["turn"], [*memory["places"]], [*memory["inner"]]
        i, place = turn % self.workers, places[turn % self.workers]
        if turn < self.workers:
            pull = (place - z.flat) * (self.beta / self.workers)
            place = place - pull
            z.add_(Vector(z.layout, pull))
        moved, inner[i] = self.inner().step(fields, Vector(z.layout, place.clone()), inner[i])
        places[i] = moved.flat
        after = (turn + 1) % (self.workers * self.period)
        return z, {"turn": after, "places": places, "inner": inner}


def solver_inside(solver: str) -> str:
    """Returns the solver inside a late or elastic one, or itself, in written form.

    Example:
        >>> solver_inside('stale:delay=2,of="sgd:lr=0.1"'), solver_inside("adam:lr=0.1")
        ('sgd:lr=0.1', 'adam:lr=0.1')
    """
    spec = Spec.parse(solver)
    return spec.options.get("of", "adam") if spec.name in ("stale", "elastic") else solver


def with_solver_inside(solver: str, inside: str) -> str:
    """Returns a late or elastic solver with another one inside, or that one alone.

    Example:
        >>> with_solver_inside('stale:delay=2,of=adam', "sgd:lr=0.1")
        'stale:delay=2,of=sgd:lr=0.1'
        >>> with_solver_inside("adam", "sgd:lr=0.1")
        'sgd:lr=0.1'
    """
    spec = Spec.parse(solver)
    if spec.name not in ("stale", "elastic"):
        return inside
    return str(Spec(spec.name, {**spec.options, "of": inside}))


# ----------------------------------------------------------------------------
# What a delay does to a mode of a game: the roots of a recursion.
# ----------------------------------------------------------------------------

# No larger number of workers is looked for.
MOST_WORKERS = 128


def growth(
    s: complex,
    *,
    delay: int = 0,
    workers: int | None = None,
    momentum: float = 0.0,
    optimism: float = 0.0,
) -> float:
    """Returns the factor by which a mode grows in one step of descent with late gradients.

    With ``s`` the eigenvalue of the field times the step size, momentum ``b`` and optimism ``o``,
    ``z[t+1] = z[t] + b (z[t] - z[t-1]) + (1 + o) s z[t-delay] - o s z[t-delay-1]``; the factor is
    that of its slowest decaying solution. For geometric delays it is that of the mean of ``z``,
    which moves as if without a delay and with momentum ``1 - 1/workers`` and the step over
    ``workers`` (Mitliagkas et al., 2016, https://arxiv.org/abs/1605.09774).

    Args:
        s: Eigenvalue times step; negative real parts attract.
        delay: The constant delay in steps.
        workers: Number of workers with independent delays, in the place of a constant delay.
        momentum: Momentum; only without ``workers``.
        optimism: 1 for optimistic descent, 0 for plain; only without ``workers``.

    Raises:
        ValueError: If ``workers`` comes with anything else.

    Example:
        >>> round(growth(-0.015 + 0.0476970j, delay=0), 6), round(growth(-1.0, delay=1), 6)
        (0.986154, 1.0)
    """
    if workers is not None:
        if delay or momentum or optimism:
            raise ValueError("growth with workers takes no delay, momentum or optimism")
        mu = 1 - 1 / workers
        return _largest_root([1.0, -(1 + mu + (1 - mu) * s), mu])
    polynomial = np.zeros(delay + 3, dtype=complex)
    polynomial[:3] += (1.0, -(1 + momentum), momentum)
    polynomial[-2] -= (1 + optimism) * s
    polynomial[-1] += optimism * s
    return _largest_root(polynomial)


def growth_with_lookahead(s: complex, *, delay: int, k: int, alpha: float) -> float:
    """Returns the factor of one step where players are averaged with slow weights.

    Every ``k`` steps of late descent ``z = slow + alpha (z - slow)``, which becomes ``slow``.

    Args:
        s: Eigenvalue times step.
        delay: The constant delay in steps.
        k: Steps between two averagings.
        alpha: Share of the way that is kept.
    """
    n = delay + 2
    one = np.zeros((n, n), dtype=complex)
    # The state: now, one step ago, ..., delay steps ago; last the slow weights.
    one[0, 0] = one[-1, -1] = 1.0
    one[0, delay] += s
    one[range(1, delay + 1), range(delay)] = 1.0
    back = np.eye(n, dtype=complex)
    back[0, 0], back[0, -1] = alpha, 1 - alpha
    back[-1] = back[0]
    values = np.linalg.eigvals(back @ np.linalg.matrix_power(one, k))
    return float(np.abs(values).max() ** (1 / k))


def averaged(root: complex, decay: float) -> float:
    """Returns the size of a mode in the moving average of players over its size in the players.

    For ``z[t] = root^t`` and an average with ``decay``. It is the same at all times: an average
    shrinks what rotates, and diverges with what diverges; it moves no limit.

    Example:
        >>> round(averaged(1j, 0.9), 3), averaged(1.0, 0.9)
        (0.074, 1.0)
    """
    return float(abs((1 - decay) * root / (root - decay)))


def largest_workers(
    values: Sequence[complex], step: float, *, most: int = MOST_WORKERS
) -> int | None:
    """Returns the largest number of independent workers under which descent is stable.

    None where one is too many; ``most`` stands for that or more.

    Args:
        values: Eigenvalues of the field.
        step: The step size.
        most: The largest number to look for.
    """
    return _last(lambda m: all(growth(step * v, workers=m) < 1 - 1e-12 for v in values), 1, most)


def _last(holds: Callable[[int], bool], first: int, most: int) -> int | None:
    """Returns the last of the numbers from ``first`` on up to which all hold."""
    for n in range(first, most + 1):
        if not holds(n):
            return n - 1 if n > first else None
    return most


def _largest_root(polynomial: Sequence[complex] | np.ndarray) -> float:
    return float(np.abs(np.roots(np.asarray(polynomial))).max())
