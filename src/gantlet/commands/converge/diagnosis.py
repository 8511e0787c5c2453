"""The diagnosis of a game: its Jacobian at a point, forecasts, recommendations."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple, TypeVar, final

import numpy as np
import torch
from torch import Tensor

from gantlet.commands.converge.course import (
    ConvergeTrial,
    Parameters,
    Record,
    TrainingCourse,
    blank,
    field_batch,
    held_out,
    is_toy,
    restore_state,
)
from gantlet.core.estimate import Estimate
from gantlet.core.model import Game
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, solvers
from gantlet.games.field import GameField, Linear
from gantlet.games.mixed import duality_gap
from gantlet.games.spectrum import (
    LONGEST,
    Damped,
    Eigenvalues,
    InTurn,
    Less,
    PathAngle,
    Preconditioned,
    Rotation,
    ends,
    largest_delay,
    largest_step,
    leading,
    path_angle,
    rightmost,
    rotation,
    second_moments,
)
from gantlet.games.stale import MOST_WORKERS, growth, growth_with_lookahead, largest_workers
from gantlet.run.trials import RunData

# ----------------------------------------------------------------------------
# How fast a solver moves each parameter, as far as its written form tells.
# ----------------------------------------------------------------------------

T = TypeVar("T")

# Added to the root of second moments; that of Adam itself makes no difference here.
_EPS = 1e-8


@final
@dataclass(frozen=True, slots=True)
class LearningRates:
    """Learning rates, and what they are divided by.

    Attributes:
        name: The solver's name.
        rates: Learning rates: one, or one for each player.
        moves: Moves in one step: one, or one for each player.
        is_adaptive: Whether gradients are divided by the root of their second moments.
        in_turn: Whether players move one after the other.
        options: All options in written form.
        late: How late gradients are, or None where they are not.
    """

    name: str
    rates: tuple[float, ...]
    moves: tuple[int, ...]
    is_adaptive: bool
    in_turn: bool
    options: Mapping[str, str]
    late: "Lateness | None" = None

    @classmethod
    def of(cls, solver: str) -> "LearningRates | None":
        """Returns the pace of a solver in its resolved written form, or None if it tells none."""
        spec = Spec.parse(solver)
        given = spec.options
        if spec.name == "stale":
            inner = cls.of(solvers.resolve(given["of"]))
            return None if inner is None else replace(inner, late=Lateness.of(given))
        if "lr" not in given:
            return None
        rates = tuple(float(x) for x in given["lr"].split("+"))
        moves = tuple(int(x) for x in given.get("steps", "1").split("+"))
        adaptive = spec.name == "adam" or given.get("base") == "adam"
        in_turn = given.get("mode", "simultaneous") == "alternating"
        return cls(spec.name, rates, moves, adaptive, in_turn, given)

    def per_parameter(self, players: Mapping[str, slice], squares: Tensor) -> Tensor:
        """Returns the rate of every parameter, shape ``(size,)``.

        Args:
            players: Which parameters are whose.
            squares: The second moments of gradients, shape ``(size,)``.
        """
        rates = torch.empty_like(squares)
        for where, rate in zip(players.values(), _each(self.rates, len(players)), strict=True):
            rates[where] = rate
        return rates / (squares.sqrt() + _EPS) if self.is_adaptive else rates

    def moves_of(self, players: Mapping[str, slice]) -> dict[str, int]:
        """Returns the number of updates of each player in one step."""
        return dict(zip(players, _each(self.moves, len(players)), strict=True))


@final
@dataclass(frozen=True, slots=True)
class Lateness:
    """How late gradients are, as far as roots tell what that does.

    Attributes:
        delay: The constant delay, or None where it is not constant.
        workers: The number of workers with independent delays, or None.
        share: The share of a step that is made.
    """

    delay: int | None
    workers: int | None
    share: float = 1.0

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "Lateness":
        """Returns the lateness of a ``stale`` solver from its options in written form."""
        if given["late"] != "all":
            return cls(None, None)
        if given["delays"] == "geometric":
            # Damped, a step depends on its delay: no root says what becomes of the mean.
            return cls(None, None if given["damping"] == "true" else int(given["workers"]))
        if given["delays"] == "constant":
            delay = int(given["delay"])
            return cls(delay, None, 1 / max(delay, 1) if given["damping"] == "true" else 1.0)
        return cls(None, None)

    def factor(self, pace: LearningRates, s: complex) -> float | None:
        """Returns the growth of a mode in one step, or None where it is not known."""
        s, momentum, optimism = s * self.share, 0.0, 0.0
        if pace.name == "adam":
            momentum = float(pace.options["beta1"])
            s = (1 - momentum) * s
        elif pace.name == "sgd":
            momentum = float(pace.options["momentum"])
        elif pace.name == "optimistic":
            optimism = 1.0
        elif pace.name not in ("consensus", "lookahead"):
            return None
        if pace.name == "lookahead" and self.delay is not None:
            k, alpha = int(pace.options["k"]), float(pace.options["alpha"])
            return growth_with_lookahead(s, delay=self.delay, k=k, alpha=alpha)
        if self.delay is not None:
            # A share of the step is made of the momentum too, which no root here has.
            if self.share < 1 and (momentum or optimism):
                return None
            return growth(s, delay=self.delay, momentum=momentum, optimism=optimism)
        if self.workers is None or momentum or optimism or pace.name == "lookahead":
            return None
        return growth(s, workers=self.workers)


def _each(values: tuple[T, ...], n: int) -> tuple[T, ...]:
    return values * (n if len(values) == 1 else 1)


# ----------------------------------------------------------------------------
# What a solver makes of the leading modes of a game, before it is tried.
# ----------------------------------------------------------------------------

# So many leading modes are looked at.
MODES = 8


@final
@dataclass(frozen=True, slots=True)
class Forecast:
    """How the leading modes grow in one step.

    Attributes:
        spectrum: Eigenvalues of the change that one step of plain descent with these rates makes
            to a small displacement: the modes.
        growth: By which factor the mode that grows most does so in one step of the solver.
        unit: The largest learning rate, by which forecasts of different rates are compared.
    """

    spectrum: Eigenvalues
    growth: float
    unit: float

    @property
    def rate(self) -> float:
        """Growth for each unit of learning rate; below 0 the leading modes decay."""
        return math.log(max(self.growth, 1e-300)) / self.unit


def forecast(
    field: GameField, pace: LearningRates, squares: Tensor, *, rng: torch.Generator
) -> Forecast | None:
    """Returns the growth rates of the leading modes under a solver, or None where not known.

    Eigenvalues ``s`` of the change of one step of plain descent, simultaneous or in turn, are
    computed from the field. What other solvers make of each is known in closed form:
    extragradient ``1 + s + s^2``, optimistic and past-extragradient the larger root of
    ``x^2 - (1 + 2 s) x + s``, lookahead ``1 - alpha + alpha (1 + s)^k`` in ``k`` steps, momentum
    ``beta`` the larger root of ``x^2 - (1 + beta + s) x + beta`` (Adam's: ``(1 - beta) s`` for
    ``s``); exact where players move at once. Consensus changes the field itself. Late gradients
    (``stale``) add roots, see ``gantlet.games.stale.growth``.

    Args:
        field: The field at the point of interest.
        pace: The solver.
        squares: The second moments of gradients there.
        rng: Draws where the search begins.
    """
    rates = pace.per_parameter(field.players, squares)
    change = _change(field, pace, rates)
    if change is None:
        return None
    found = leading(change, MODES, rng=rng)
    if not found.values:
        return None
    factors = [_factor(pace, value) for value in found.values]
    known = [factor for factor in factors if factor is not None]
    if len(known) < len(factors):
        return None
    return Forecast(found, max(known), max(pace.rates))


def _change(field: GameField, pace: LearningRates, rates: Tensor) -> Linear | None:
    """Returns the Jacobian of one step of the solver's plain part, minus the identity."""
    jacobian = field.jacobian
    if pace.name == "consensus":
        return Preconditioned(Damped(jacobian, float(pace.options["gamma"])), rates)
    if pace.name not in _FACTORS:
        return None
    if pace.in_turn:
        # Rows are scaled by rates; the same on both sides has the same eigenvalues.
        ones = torch.ones_like(rates)
        scaled = Preconditioned(jacobian, rates)
        return Less(InTurn(scaled, ones, field.players, pace.moves_of(field.players)))
    return Preconditioned(jacobian, rates)


def _factor(pace: LearningRates, s: complex) -> float | None:
    if pace.late is not None:
        return pace.late.factor(pace, s)
    return _FACTORS[pace.name](pace, s) if pace.name in _FACTORS else abs(1 + s)


def _root(a: complex, b: complex) -> float:
    """Returns the largest size of a root of ``x^2 + a x + b``."""
    return float(np.abs(np.roots([1.0, a, b])).max())


def _sgd(pace: LearningRates, s: complex) -> float:
    beta = float(pace.options["momentum"])
    return abs(1 + s) if beta == 0 else _root(-(1 + beta + s), beta)


def _adam(pace: LearningRates, s: complex) -> float:
    beta = float(pace.options["beta1"])
    return abs(1 + s) if beta == 0 else _root(-(1 + beta + (1 - beta) * s), beta)


def _lookahead(pace: LearningRates, s: complex) -> float:
    k, alpha = int(pace.options["k"]), float(pace.options["alpha"])
    return float(abs(1 - alpha + alpha * (1 + s) ** k) ** (1 / k))


def _extragradient(_: LearningRates, s: complex) -> float:
    return abs(1 + s + s * s)


def _optimistic(_: LearningRates, s: complex) -> float:
    return _root(-(1 + 2 * s), s)


_FACTORS = {
    "sgd": _sgd,
    "adam": _adam,
    "extragradient": _extragradient,
    "optimistic": _optimistic,
    "past-extragradient": _optimistic,
    "lookahead": _lookahead,
}


# ----------------------------------------------------------------------------
# The numbers of a game at one point.
# ----------------------------------------------------------------------------

# Real samples in the batch at which the field is looked at.
LOOK = 256
GROWTH = "growth of the leading modes in one step"
"""The name of what a solver does to the leading modes."""
SHARE, RATIO = "rotation share", "rotation over attraction"
GAP = "duality gap"
_LEADING, _RIGHTMOST = "leading eigenvalue", "rightmost eigenvalue"
_REAL, _IMAGINARY = "real part", "imaginary part"
_SMALLEST, _LARGEST = "smallest curvature", "largest curvature"
_PLAIN = "largest stable step of plain descent"
_STEP, _DELAY = "largest stable step, in steps of now", "largest stable delay"
_WORKERS = "largest stable number of asynchronous workers"
_NAMES = (
    *(
        name
        for which in (_LEADING, _RIGHTMOST)
        for name in (which, f"{which}, {_REAL}", f"{which}, {_IMAGINARY}")
    ),
    *(SHARE, RATIO, GROWTH, _PLAIN, _STEP, _DELAY, _WORKERS, GAP),
)
"""What a diagnosis may find, but for the curvatures, which go by player."""

# Batches from which second moments are taken.
_BATCHES = 24


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A game at one record of a training, ready to be measured.

    Attributes:
        game: The game.
        field: Its field at a fixed batch.
        squares: Second moments of its gradients over batches.
        pace: How the solver moves, or None where that is not known.
    """

    game: Game
    field: GameField
    squares: Tensor
    pace: LearningRates | None

    def modes(self, rng: Rng) -> Eigenvalues | None:
        """Returns the leading modes where players move at once, or None if the pace is unknown."""
        if self.pace is None:
            return None
        rates = self.pace.per_parameter(self.field.players, self.squares)
        change = Preconditioned(self.field.jacobian, rates)
        return leading(change, MODES, rng=rng.stream("search"))

    def forecast(self, rng: Rng, pace: LearningRates | None = None) -> Forecast | None:
        """Returns the growth rates of the leading modes here under a solver (default: its own)."""
        chosen = self.pace if pace is None else pace
        if chosen is None:
            return None
        return forecast(self.field, chosen, self.squares, rng=rng.stream("search"))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was measured at one point.

    Attributes:
        leading: The largest eigenvalues of the Jacobian.
        rightmost: Those with the largest real part.
        rotation: How much of the field turns.
        curvature: Smallest and largest curvature of each player's own loss, None where the
            search found none.
        forecast: What the solver does to the leading modes.
        path: The field between start and end.
        gap: What players could still gain.
        numbers: Every estimate by its name.
    """

    leading: Eigenvalues
    rightmost: Eigenvalues
    rotation: Rotation
    curvature: dict[str, tuple[float | None, float | None]]
    forecast: Forecast | None
    path: PathAngle
    gap: Estimate
    numbers: dict[str, Estimate]


class DiagnosisKey(NamedTuple):
    """Which number of a diagnosis it is.

    Attributes:
        what: What was measured.
        after: Whether after the best of the changes that were tried; else as asked.
    """

    what: str
    after: bool

    @property
    def name(self) -> str:
        """What outcomes call it."""
        return f"after: {self.what}" if self.after else self.what


def keys(details: Mapping[str, Any]) -> dict[str, DiagnosisKey]:
    """Returns every number that a diagnosis of these details may have, by its name."""
    players = dict.fromkeys(p for run in (details, *details["tried"]) for p in run["curvature"])
    curvatures = (f"{which} of {p}" for which in (_SMALLEST, _LARGEST) for p in players)
    every = product((*_NAMES, *curvatures), (False, True))
    return {key.name: key for key in map(DiagnosisKey._make, every)}


def point_of(
    trial: ConvergeTrial, data: RunData, course: TrainingCourse, record: Record
) -> Checkpoint:
    """Returns the game of a trial where a record found it, or at the centre of what it circles.

    A toy game that does not settle is looked at where it was on average: what goes round in
    circles goes round an equilibrium, and second moments are those of the whole circle.
    """
    if not course.is_exact:
        return point_at(trial, data, record.state, None)
    half = course.records[len(course.records) // 2 :]
    velocities = [point_at(trial, data, r.state, torch.ones(())).field.value() for r in half]
    squares = torch.stack(velocities).square().mean(0)
    return point_at(trial, data, record.state, squares)


def centre(course: TrainingCourse) -> Parameters:
    """Returns the average of the players over the last half of a training."""
    half = course.records[len(course.records) // 2 :]
    return {
        player: {key: torch.stack([r.state[player][key] for r in half]).mean(0) for key in tensors}
        for player, tensors in course.last.state.items()
    }


def point_at(
    trial: ConvergeTrial, data: RunData, state: Parameters, squares: Tensor | None
) -> Checkpoint:
    """Returns the game of a trial with its players in a state.

    Args:
        trial: What is trained.
        data: The data of the run.
        state: Where its players are.
        squares: Second moments of gradients; None takes them from batches.
    """
    game, toy = blank(trial, data), is_toy(trial.model, data)
    restore_state(game, state)
    rng = Rng(trial.seed, trial.device)
    x = field_batch(trial, data, LOOK)
    field = GameField(game, x, rng=rng.stream("field"), precise=toy)
    if squares is None:
        batch = trial.batch
        batches = list(torch.split(field_batch(trial, data, _BATCHES * batch), batch))
        squares = second_moments(game, batches, rng=rng.stream("squares"))
    return Checkpoint(game=game, field=field, squares=squares, pace=LearningRates.of(trial.solver))


def diagnose(
    trial: ConvergeTrial, data: RunData, course: TrainingCourse, point: Checkpoint
) -> Diagnosis:
    """Measures a game at a point of its training."""
    rng, field = Rng(trial.seed, trial.device), point.field
    largest = leading(field.jacobian, 6, rng=rng.stream("search"))
    size = max(map(abs, largest.values), default=0.0)
    # A step in which the fastest mode moves by half of itself: far from its own instability.
    right = (
        rightmost(field.jacobian, 4, step=0.5 / size, rng=rng.stream("search"))
        if size
        else largest
    )
    turning = rotation(field.jacobian, rng=rng.stream("signs"))
    curvature = {p: ends(field.hessian(p), rng=rng.stream(f"ends/{p}")) for p in field.players}
    expected = point.forecast(rng)
    gap = _gap(trial, data, point.game, rng)
    path = path_angle(field, _start(trial, data, course), field.position)
    numbers = {
        **_eigenvalues(largest, right),
        SHARE: turning.share,
        RATIO: turning.ratio,
        **_curvatures(curvature),
        **_growth(expected),
        **_steps(largest, right, point.modes(rng)),
        GAP: gap,
    }
    return Diagnosis(
        leading=largest,
        rightmost=right,
        rotation=turning,
        curvature=curvature,
        forecast=expected,
        path=path,
        gap=gap,
        numbers=numbers,
    )


def _start(trial: ConvergeTrial, data: RunData, course: TrainingCourse) -> Tensor:
    game = blank(trial, data)
    restore_state(game, course.records[0].state)
    return GameField(game, field_batch(trial, data, 1), rng=Rng(0).stream("start")).position.to(
        torch.float64 if is_toy(trial.model, data) else torch.float32
    )


def _gap(trial: ConvergeTrial, data: RunData, game: Game, rng: Rng) -> Estimate:
    if is_toy(trial.model, data):
        return Estimate.missing("a toy game has no held-out samples")
    seek, judge = held_out(trial, data, 2048)
    batch = min(trial.batch, len(judge) // 4)
    return duality_gap(game, seek, judge, steps=100, rng=rng, batch=max(batch, 1))


def _found(value: float, residual: float) -> Estimate:
    return Estimate(
        value=value, n=1, method=f"at one fixed batch, residual {residual:.1e}: no interval"
    )


def _eigenvalues(largest: Eigenvalues, right: Eigenvalues) -> dict[str, Estimate]:
    numbers: dict[str, Estimate] = {}
    for name, spectrum in ((_LEADING, largest), (_RIGHTMOST, right)):
        if not spectrum.values:
            numbers[name] = Estimate.missing("the search did not converge")
            continue
        value, residual = spectrum.values[0], spectrum.residuals[0]
        numbers[f"{name}, {_REAL}"] = _found(value.real, residual)
        numbers[f"{name}, {_IMAGINARY}"] = _found(abs(value.imag), residual)
    return numbers


def _curvatures(
    curvature: dict[str, tuple[float | None, float | None]],
) -> dict[str, Estimate]:
    how = "eigenvalue of the Hessian of the player's own loss at one fixed batch: no interval"
    return {
        f"{which} of {player}": Estimate.missing("the search did not converge")
        if value is None
        else Estimate(value=value, n=1, method=how)
        for player, both in curvature.items()
        for which, value in zip((_SMALLEST, _LARGEST), both, strict=True)
    }


def _growth(expected: Forecast | None) -> dict[str, Estimate]:
    if expected is None:
        return {GROWTH: Estimate.missing("not known of this solver")}
    how = "predicted from eigenvalues at one fixed batch: no interval"
    return {GROWTH: Estimate(value=expected.growth, n=1, better="lower", method=how)}


def _steps(
    largest: Eigenvalues, right: Eigenvalues, modes: Eigenvalues | None
) -> dict[str, Estimate]:
    none = "no mode decays, or one is purely rotational"
    falling = [value for value in (*largest.good(), *right.good()) if value.real < 0]
    numbers = {_PLAIN: _predicted(largest_step(falling), none)}
    if modes is None:
        return numbers
    decaying = [s for s in modes.values if s.real < 0]
    held = [s for s in decaying if abs(1 + s) < 1]
    delay = largest_delay(held, 1.0) if held else None
    workers = largest_workers(held, 1.0) if held else None
    return {
        **numbers,
        _STEP: _predicted(largest_step(decaying), none),
        _DELAY: _predicted(delay, "no leading mode decays", "steps"),
        _WORKERS: _predicted(workers, "no leading mode decays", "workers"),
    }


def _predicted(value: float | None, why: str, unit: str = "1") -> Estimate:
    if value is None:
        return Estimate.missing(why, unit=unit)
    how = "predicted from eigenvalues with negative real part, simultaneous updates: no interval"
    most = {"steps": LONGEST, "workers": MOST_WORKERS}.get(unit)
    if most is not None and value >= most:
        how += f"; {most} or more"
    return Estimate(value=float(value), n=1, unit=unit, method=how)
