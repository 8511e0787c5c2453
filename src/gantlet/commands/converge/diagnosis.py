"""The diagnosis of a game: its Jacobian at a point, forecasts, recommendations."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, final

import numpy as np
import torch
from torch import Tensor

from gantlet.commands.converge.course import (
    Course,
    Parameters,
    Record,
    State,
    blank,
    changed,
    held_out,
    is_toy,
    looked_at,
    play,
    put,
    recorded,
    resolved,
    state_of_course,
    usual_solver,
)
from gantlet.commands.trained import RunData, find_trial
from gantlet.compute.machine import threads
from gantlet.core.estimate import Estimate, Outcome, Spend, Trial
from gantlet.core.model import Game
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, solvers
from gantlet.features.base import exactly
from gantlet.games.field import GameField, Linear
from gantlet.games.mixed import duality_gap
from gantlet.games.spectrum import (
    LONGEST,
    Damped,
    InTurn,
    Less,
    PathAngle,
    Preconditioned,
    Rotation,
    Spectrum,
    ends,
    largest_delay,
    largest_step,
    leading,
    path_angle,
    rightmost,
    rotation,
    second_moments,
)
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder

# ----------------------------------------------------------------------------
# How fast a solver moves each parameter, as far as its written form tells.
# ----------------------------------------------------------------------------

T = TypeVar("T")

# Added to the root of second moments; that of Adam itself makes no difference here.
_EPS = 1e-8


@final
@dataclass(frozen=True, slots=True)
class Pace:
    """Learning rates, and what they are divided by.

    Attributes:
        name: The solver's name.
        rates: Learning rates: one, or one for each player.
        moves: Moves in one step: one, or one for each player.
        is_adaptive: Whether gradients are divided by the root of their second moments.
        in_turn: Whether players move one after the other.
        options: All options in written form.
    """

    name: str
    rates: tuple[float, ...]
    moves: tuple[int, ...]
    is_adaptive: bool
    in_turn: bool
    options: Mapping[str, str]

    @classmethod
    def of(cls, solver: str) -> "Pace | None":
        """Returns the pace of a solver in its resolved written form, or None if it tells none."""
        spec = Spec.parse(solver)
        given = spec.options
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
        """Returns how often each player moves in one step."""
        return dict(zip(players, _each(self.moves, len(players)), strict=True))


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

    spectrum: Spectrum
    growth: float
    unit: float

    @property
    def rate(self) -> float:
        """Growth for each unit of learning rate; below 0 the leading modes decay."""
        return math.log(max(self.growth, 1e-300)) / self.unit


def forecast(
    field: GameField, pace: Pace, squares: Tensor, *, rng: torch.Generator
) -> Forecast | None:
    """Returns what a solver would do to the leading modes, or None where that is not known.

    Eigenvalues ``s`` of the change of one step of plain descent, simultaneous or in turn, are
    computed from the field. What other solvers make of each is known in closed form:
    extragradient ``1 + s + s^2``, optimistic and past-extragradient the larger root of
    ``x^2 - (1 + 2 s) x + s``, lookahead ``1 - alpha + alpha (1 + s)^k`` in ``k`` steps, momentum
    ``beta`` the larger root of ``x^2 - (1 + beta + s) x + beta`` (Adam's: ``(1 - beta) s`` for
    ``s``); exact where players move at once. Consensus changes the field itself.

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
    growth = max(_factor(pace, value) for value in found.values)
    return Forecast(found, growth, max(pace.rates))


def _change(field: GameField, pace: Pace, rates: Tensor) -> Linear | None:
    """Returns what one step of the solver's plain part adds to the identity."""
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


def _factor(pace: Pace, s: complex) -> float:
    return _FACTORS[pace.name](pace, s) if pace.name in _FACTORS else abs(1 + s)


def _root(a: complex, b: complex) -> float:
    """Returns the largest size of a root of ``x^2 + a x + b``."""
    return float(np.abs(np.roots([1.0, a, b])).max())


def _sgd(pace: Pace, s: complex) -> float:
    beta = float(pace.options["momentum"])
    return abs(1 + s) if beta == 0 else _root(-(1 + beta + s), beta)


def _adam(pace: Pace, s: complex) -> float:
    beta = float(pace.options["beta1"])
    return abs(1 + s) if beta == 0 else _root(-(1 + beta + (1 - beta) * s), beta)


def _lookahead(pace: Pace, s: complex) -> float:
    k, alpha = int(pace.options["k"]), float(pace.options["alpha"])
    return float(abs(1 - alpha + alpha * (1 + s) ** k) ** (1 / k))


def _extragradient(_: Pace, s: complex) -> float:
    return abs(1 + s + s * s)


def _optimistic(_: Pace, s: complex) -> float:
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
SHARE, RATIO = "rotation share", "rotation over attraction"
GAP = "duality gap"
_LEADING, _RIGHTMOST = "leading eigenvalue", "rightmost eigenvalue"
_REAL, _IMAGINARY = "real part", "imaginary part"
_SMALLEST, _LARGEST = "smallest curvature", "largest curvature"
_PLAIN = "largest stable step of plain descent"
_STEP, _DELAY = "largest stable step, in steps of now", "largest stable delay"
_NAMES = (
    *(
        name
        for which in (_LEADING, _RIGHTMOST)
        for name in (which, f"{which}, {_REAL}", f"{which}, {_IMAGINARY}")
    ),
    *(SHARE, RATIO, GROWTH, _PLAIN, _STEP, _DELAY, GAP),
)
"""What a diagnosis may find, but for the curvatures, which go by player."""
"""The name of what a solver does to the leading modes."""

# Batches from which second moments are taken.
_BATCHES = 24


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
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
    pace: Pace | None

    def modes(self, rng: Rng) -> Spectrum | None:
        """Returns the leading modes where players move at once, or None if the pace is unknown."""
        if self.pace is None:
            return None
        rates = self.pace.per_parameter(self.field.players, self.squares)
        change = Preconditioned(self.field.jacobian, rates)
        return leading(change, MODES, rng=rng.stream("search"))

    def forecast(self, rng: Rng, pace: Pace | None = None) -> Forecast | None:
        """Returns what a solver, or the one that trained, does to the leading modes here."""
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

    leading: Spectrum
    rightmost: Spectrum
    rotation: Rotation
    curvature: dict[str, tuple[float | None, float | None]]
    forecast: Forecast | None
    path: PathAngle
    gap: Estimate
    numbers: dict[str, Estimate]


class Key(NamedTuple):
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


def keys(details: Mapping[str, Any]) -> dict[str, Key]:
    """Returns every number that a diagnosis of these details may have, by its name."""
    players = dict.fromkeys(p for run in (details, *details["tried"]) for p in run["curvature"])
    curvatures = (f"{which} of {p}" for which in (_SMALLEST, _LARGEST) for p in players)
    every = product((*_NAMES, *curvatures), (False, True))
    return {key.name: key for key in map(Key._make, every)}


def point_of(trial: Trial, data: RunData, course: Course, record: Record) -> Point:
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


def centre(course: Course) -> Parameters:
    """Returns the average of the players over the last half of a training."""
    half = course.records[len(course.records) // 2 :]
    return {
        player: {key: torch.stack([r.state[player][key] for r in half]).mean(0) for key in tensors}
        for player, tensors in course.last.state.items()
    }


def point_at(trial: Trial, data: RunData, state: Parameters, squares: Tensor | None) -> Point:
    """Returns the game of a trial with its players in a state.

    Args:
        trial: What is trained.
        data: The data of the run.
        state: Where its players are.
        squares: Second moments of gradients; None takes them from batches.
    """
    game, toy = blank(trial, data), is_toy(trial.parts["model"])
    put(game, state)
    rng = Rng(trial.seed, trial.parts["device"])
    x = looked_at(trial, data, LOOK)
    field = GameField(game, x, rng=rng.stream("field"), precise=toy)
    if squares is None:
        batch = int(trial.parts["batch"])
        batches = list(torch.split(looked_at(trial, data, _BATCHES * batch), batch))
        squares = second_moments(game, batches, rng=rng.stream("squares"))
    return Point(game=game, field=field, squares=squares, pace=Pace.of(trial.parts["solver"]))


def diagnose(trial: Trial, data: RunData, course: Course, point: Point) -> Diagnosis:
    """Measures a game at a point of its training."""
    rng, field = Rng(trial.seed, trial.parts["device"]), point.field
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


def _start(trial: Trial, data: RunData, course: Course) -> Tensor:
    game = blank(trial, data)
    put(game, course.records[0].state)
    return GameField(game, looked_at(trial, data, 1), rng=Rng(0).stream("start")).position.to(
        torch.float64 if is_toy(trial.parts["model"]) else torch.float32
    )


def _gap(trial: Trial, data: RunData, game: Game, rng: Rng) -> Estimate:
    if is_toy(trial.parts["model"]):
        return Estimate.missing("a toy game has no held-out samples")
    seek, judge = held_out(trial, data, 2048)
    batch = min(int(trial.parts["batch"]), len(judge) // 4)
    return duality_gap(game, seek, judge, steps=100, rng=rng, batch=max(batch, 1))


def _found(value: float, residual: float) -> Estimate:
    return Estimate(
        value=value, n=1, method=f"at one fixed batch, residual {residual:.1e}: no interval"
    )


def _eigenvalues(largest: Spectrum, right: Spectrum) -> dict[str, Estimate]:
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


def _steps(largest: Spectrum, right: Spectrum, modes: Spectrum | None) -> dict[str, Estimate]:
    none = "no mode decays, or one only turns"
    falling = [value for value in (*largest.good(), *right.good()) if value.real < 0]
    numbers = {_PLAIN: _predicted(largest_step(falling), none)}
    if modes is None:
        return numbers
    decaying = [s for s in modes.values if s.real < 0]
    held = [s for s in decaying if abs(1 + s) < 1]
    delay = largest_delay(held, 1.0) if held else None
    return {
        **numbers,
        _STEP: _predicted(largest_step(decaying), none),
        _DELAY: _predicted(delay, "no leading mode decays", "steps"),
    }


def _predicted(value: float | None, why: str, unit: str = "1") -> Estimate:
    if value is None:
        return Estimate.missing(why, unit=unit)
    how = "predicted from eigenvalues left of the axis, players moving at once: no interval"
    if unit == "steps" and value >= LONGEST:
        how += f"; {LONGEST} or more"
    return Estimate(value=float(value), n=1, unit=unit, method=how)


# ----------------------------------------------------------------------------
# What could be changed, and what that is predicted to do.
# ----------------------------------------------------------------------------

# Strengths of a penalty that are looked at where there is none yet.
_GAMMAS = (0.1, 0.3, 1.0, 3.0, 10.0)
# ... and by which one that is there is multiplied.
_STRONGER = (3.0, 10.0)
# Step ratios, critic to generator.
_RATIOS = (4.0, 0.25)
# Of the largest stable step, this share is advised, but never less than this share of the present.
_SAFE = 0.5
_LEAST = 1 / 30
# So many changes are tried at most.
TRIES = 3
# What a step of a solver costs, in gradients of all players.
_COSTS = {"extragradient": 2.0, "consensus": 3.0}


Basis = Literal["prediction", "theory", "defaults"]
"""Why a change is proposed: the spectrum predicts that it helps; it is proved to help near an
equilibrium; or it is what the family does where nothing is asked for."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One change.

    Attributes:
        what: What to change, in written form.
        model: The model after the change, in written form.
        solver: The solver after the change.
        basis: Why it is proposed.
        forecast: What the change is predicted to do at the same point, or None where nothing is.
    """

    what: str
    model: str
    solver: str
    basis: Basis
    forecast: Forecast | None

    @property
    def rate(self) -> float:
        """How the leading modes grow, for each unit of learning rate and each gradient."""
        if self.forecast is None:
            return 0.0
        return self.forecast.rate / _COSTS.get(Spec.parse(self.solver).name, 1.0)


def advise(
    trial: Trial, data: RunData, state: Parameters, point: Point, watch: Watch, *, settles: bool
) -> list[Advice]:
    """Returns changes to recommend or to try, in that order.

    Each is looked at where training is: the game is built anew with the change, its players are
    put where they are, and the leading modes are computed again. What is predicted to help is
    ordered by how fast the leading modes then decay, for each unit of learning rate, so that a
    smaller step alone is no gain, and for each gradient that is computed. Only where the step is
    too large for a mode that does not turn comes a smaller step first.

    The spectrum does not predict in two cases. Where the leading modes are predicted to decay
    already and training does not settle all the same, the field is not smooth (WGAN-GP has a kink
    at its equilibrium) and its eigenvalues mislead. And where they grow under every change, the
    point says little. Then what theory or the family's defaults propose is to be tried first,
    R1 before all, which is proved to attract near an equilibrium (Mescheder et al., 2018,
    https://arxiv.org/abs/1801.04406). Such a change is no prediction, and says so.

    Args:
        trial: What was trained.
        data: The data of the run.
        state: Where its players are.
        point: The same, ready to be measured.
        watch: Told what is being predicted.
        settles: Whether the training settles.
    """
    now = point.forecast(Rng(trial.seed, trial.parts["device"]))
    if now is None or point.pace is None:
        return usual_remedies(trial)
    found: list[_Predicted] = []
    asked = list(_changes(trial, point.pace, now, len(point.field.players)))
    for i, (what, model, solver) in enumerate(asked):
        watch(0.5 + 0.4 * i / len(asked), f"predicting: {what}")
        other = changed(trial, model=model, solver=solver)
        # The gradients of another game have other second moments; a toy's are of its whole circle.
        squares = point.squares if is_toy(model) else None
        there = point if model == trial.parts["model"] else point_at(other, data, state, squares)
        pace = Pace.of(solver)
        expected = there.forecast(Rng(trial.seed, trial.parts["device"]), pace)
        if expected is not None:
            found.append(_Predicted(what, model, solver, expected))
    slower = {solver for _, _, solver in _smaller("", trial.parts["solver"], point.pace, now)}
    first = slower if _is_too_fast(now) else set[str]()
    return _ordered(found, now, first, trial, settles=settles)


@final
@dataclass(frozen=True, slots=True)
class _Predicted:
    """A change that was looked at, and what it is predicted to do."""

    what: str
    model: str
    solver: str
    forecast: Forecast

    def of(self, basis: Basis) -> Advice:
        return Advice(
            what=self.what,
            model=self.model,
            solver=self.solver,
            basis=basis,
            forecast=self.forecast,
        )


def _ordered(
    found: list[_Predicted], now: Forecast, first: set[str], trial: Trial, *, settles: bool
) -> list[Advice]:
    """Returns what is predicted to help, and what else may where nothing predicts."""
    is_misled = now.growth < 1 and not settles
    is_blind = all(one.forecast.growth >= 1 for one in found)
    helps = [
        one.of("prediction")
        for one in found
        if one.forecast.rate < now.rate - 1e-9 or one.solver in first
    ]
    helps.sort(key=lambda a: (a.solver not in first, a.rate))
    if not (is_misled or is_blind):
        return helps
    remedies = usual_remedies(trial, found)
    tried = {(a.model, a.solver) for a in remedies}
    rest = [a for a in helps if (a.model, a.solver) not in tried]
    return (
        [*(a for a in rest if a.solver in first), *remedies]
        if is_misled
        else [
            *(a for a in rest if a.solver in first),
            *remedies,
            *(a for a in rest if a.solver not in first),
        ]
    )


def usual_remedies(trial: Trial, looked_at: Sequence[_Predicted] = ()) -> list[Advice]:
    """Returns what theory and the family's defaults propose, without a prediction that it helps.

    Args:
        trial: What was trained.
        looked_at: Changes with what they are predicted to do, which is told beside.
    """
    known = {(one.model, one.solver): one for one in looked_at}
    penalties = sorted(
        _penalties(trial.parts["model"], trial.parts["solver"]),
        key=lambda change: abs(math.log(_strength(change[1]))),
    )
    found = [
        Advice(
            what=what,
            model=model,
            solver=solver,
            basis="theory",
            forecast=_at(known, model, solver),
        )
        for what, model, solver in penalties[:1]
    ]
    return [*found, *_defaults(trial)]


def _at(known: Mapping[tuple[str, str], _Predicted], model: str, solver: str) -> Forecast | None:
    one = known.get((model, solver))
    return None if one is None else one.forecast


def _defaults(trial: Trial) -> Iterator[Advice]:
    """Yields the same networks with the family's default loss, penalty and solver."""
    model, solver = trial.parts["model"], trial.parts["solver"]
    if is_toy(model):
        return
    spec, usual = Spec.parse(model), Spec.parse(resolved(Spec.parse(model).name)).options
    names: tuple[str, ...] = ("loss", "penalty", "gamma")
    rules = {k: usual[k] for k in names if k in spec.options}
    other = resolved(str(Spec(spec.name, {**spec.options, **rules})))
    if (other, usual_solver(model)) != (model, solver):
        changes = [f"{k}={v}" for k, v in rules.items() if spec.options[k] != v]
        if usual_solver(model) != solver:
            changes.append(f"solver={solvers.short(usual_solver(model))}")
        yield Advice(
            what=",".join(changes),
            model=other,
            solver=usual_solver(model),
            basis="defaults",
            forecast=None,
        )


def in_code(advice: Advice, model: str, solver: str) -> str:
    """Returns what a change means for a training loop of one's own, in a sentence or two.

    Args:
        advice: The change.
        model: The model before it, in written form.
        solver: The solver before it.
    """
    said: list[str] = []
    if advice.model != model:
        new, old = Spec.parse(advice.model).options, Spec.parse(model).options
        kind, weight = new.get("penalty", ""), new.get("gamma", "")
        if kind in _PENALTIES and (kind, weight) != (old.get("penalty"), old.get("gamma")):
            said.append(
                f"Add gamma/2 * {_PENALTIES[kind]} to the critic's loss, gamma = {weight}."
            )
        if new.get("loss") != old.get("loss"):
            said.append(f"Train both players with the {new['loss']} loss.")
    if advice.solver != solver:
        said.append(_solver_in_code(Spec.parse(advice.solver)))
    return " ".join(said)


_PENALTIES = {
    "r1": "E|grad_x D(x)|^2 over real samples",
    "r2": "E|grad_x D(x)|^2 over fake samples",
    "r1r2": "E|grad_x D(x)|^2 over real and, again, over fake samples",
    "gp": "E(|grad_x D(x)| - 1)^2 between real and fake samples",
}


def _solver_in_code(spec: Spec) -> str:
    rates = spec.options.get("lr", "").split("+")
    step = f"lr = {rates[0]}" if len(rates) == 1 else f"lr = {rates[0]} and {rates[1]}"
    said = {
        "extragradient": "Extragradient: step both players, compute the gradients there, and "
        "apply these from where they stood",
        "optimistic": "Optimistic: use 2 g_t - g_(t-1) in place of the gradient g_t",
        "past-extragradient": "Extrapolate with the last gradient before each new one",
        "lookahead": f"Lookahead: every {spec.options.get('k')} steps, move back to "
        f"{spec.options.get('alpha')} of the way from where the cycle began",
        "consensus": "Consensus: add the gradient of gamma/2 * |v|^2, v the field of all "
        f"players, gamma = {spec.options.get('gamma')}",
    }.get(spec.name, f"Optimizer {spec.name}")
    return f"{said}; {step}." if rates[0] else f"{said}."


def _strength(model: str) -> float:
    return float(Spec.parse(model).options["gamma"])


def _changes(
    trial: Trial, pace: Pace, now: Forecast, players: int
) -> Iterator[tuple[str, str, str]]:
    """Yields what, model and solver of every change that can be made."""
    model, solver = trial.parts["model"], trial.parts["solver"]
    yield from _penalties(model, solver)
    yield from _smaller(model, solver, pace, now)
    if players == 2:
        yield from _ratios(model, solver, pace)
    yield from _solvers(model, pace)


def _penalties(model: str, solver: str) -> Iterator[tuple[str, str, str]]:
    spec = Spec.parse(model)
    if "penalty" not in spec.options or "gamma" not in spec.options:
        return
    kind, gamma = spec.options["penalty"], float(spec.options["gamma"])
    has = kind in {"r1", "r2", "r1r2"} and gamma > 0
    to = kind if has else "r1"
    for weight in [gamma * k for k in _STRONGER] if has else _GAMMAS:
        what = f"penalty={to},gamma={weight:g}"
        yield what, _with(model, penalty=to, gamma=f"{weight:g}"), solver


def _smaller(model: str, solver: str, pace: Pace, now: Forecast) -> Iterator[tuple[str, str, str]]:
    step = largest_step([s for s in now.spectrum.values if s.real < 0])
    if step is not None and step < 1:
        share = max(step * _SAFE, _LEAST)
        rates = "+".join(f"{rate * share:.3g}" for rate in pace.rates)
        yield f"lr={rates}", model, _solver(solver, lr=rates)


def _is_too_fast(now: Forecast) -> bool:
    """Returns whether the step is too large for a mode that pulls more than it turns."""
    return any(s.real < -abs(s.imag) and abs(1 + s) > 1 for s in now.spectrum.values)


def _ratios(model: str, solver: str, pace: Pace) -> Iterator[tuple[str, str, str]]:
    if len(pace.rates) != 1:
        return
    for ratio in _RATIOS:
        rates = f"{pace.rates[0] * ratio**0.5:.3g}+{pace.rates[0] / ratio**0.5:.3g}"
        yield f"lr={rates}", model, _solver(solver, lr=rates)


def _solvers(model: str, pace: Pace) -> Iterator[tuple[str, str, str]]:
    lr = "+".join(f"{rate:g}" for rate in pace.rates)
    base = f"base={'adam' if pace.is_adaptive else 'sgd'},lr={lr}"
    for text in (
        f"extragradient:{base}",
        f"optimistic:{base}",
        f"lookahead:{base}",
        # Under Adam, the second moments of consensus are not those that were measured.
        *([] if pace.is_adaptive else [f"consensus:{base},gamma=1.0"]),
    ):
        if Spec.parse(text).name in solvers.names() and Spec.parse(text).name != pace.name:
            yield text, model, solvers.resolve(text)


def _with(model: str, **options: str) -> str:
    spec = Spec.parse(model)
    return resolved(str(Spec(spec.name, {**spec.options, **options})))


def _solver(solver: str, **options: str) -> str:
    spec = Spec.parse(solver)
    return solvers.resolve(str(Spec(spec.name, {**spec.options, **options})))


# ----------------------------------------------------------------------------
# One diagnosis: train or load, measure, advise, and where asked try the first advice.
# ----------------------------------------------------------------------------


def run_trial(trial: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Outcome:
    """Diagnoses one training; with ``try``, changes are followed in trainings of their own."""
    with threads(int(trial.parts["threads"])), exactly():
        course = _course(trial, data, folder, watch)
        first = _judged(trial, data, course)
        watch(0.45, "predicting")
        proposed = _proposed(trial, data, first, watch)
        tried = list(_tries(trial, first, proposed, folder, watch, data=data))
        details: dict[str, Any] = {
            **first.told(),
            "good": first.state.is_good,
            "advice": [_told(a, trial) for a in proposed],
            "tried": [{**_told(a, trial), **then.told()} for a, then in tried],
        }
        scores = dict(first.diagnosis.numbers)
        if tried:
            best = tried[0][1].diagnosis.numbers
            scores |= {Key(k, after=True).name: v for k, v in best.items()}
        spend = sum((then.course.spend for _, then in tried), course.spend)
        return Outcome(trial=trial, spend=spend, scores=scores, details=details)


def _proposed(trial: Trial, data: RunData, first: "_Judged", watch: Watch) -> list[Advice]:
    # What is well needs no advice, which is most of the work; what settles far from the data has
    # no mode that grows, of which a spectrum could tell.
    if first.state.is_good:
        return []
    if first.state.name == "converging":
        return usual_remedies(trial)
    settles = first.state.name == "stuck"
    return advise(trial, data, first.record.state, first.point, watch, settles=settles)


def _tries(
    trial: Trial,
    first: "_Judged",
    proposed: list[Advice],
    folder: TrialFolder,
    watch: Watch,
    *,
    data: RunData,
) -> "list[tuple[Advice, _Judged]]":
    """Trains again with at most three changes until one settles; returns the best first."""
    found: list[tuple[Advice, _Judged]] = []
    for i, advice in enumerate(proposed[:TRIES] if trial.parts["try"] == "true" else ()):
        found.append((advice, _tried(trial, advice, folder, i, watch, data=data)))
        state = found[-1][1].state
        if state.is_good or (state.name == "converging" and state.end < first.state.end / 2):
            break
    return sorted(found, key=lambda one: (one[1].state.name != "converging", one[1].state.end))


@final
@dataclass(frozen=True, slots=True)
class _Judged:
    """A training with what was found of it."""

    course: Course
    record: Record
    point: Point
    state: State
    diagnosis: Diagnosis

    def told(self) -> dict[str, Any]:
        """Returns what a report needs, as plain JSON values."""
        found = self.diagnosis
        return {
            "state": self.state.name,
            "because": self.state.because,
            "looked at step": self.record.step,
            "measure": self.course.measure,
            "end": self.state.end,
            "ratio": self.state.ratio,
            "improving": self.state.is_improving,
            "steps": [r.step for r in self.course.records],
            "quality": [r.quality for r in self.course.records],
            "leading": _pairs(found.leading.values, found.leading.residuals),
            "rightmost": _pairs(found.rightmost.values, found.rightmost.residuals),
            "modes": [] if found.forecast is None else _pairs(found.forecast.spectrum.values, ()),
            "curvature": found.curvature,
            "path": {
                "place": found.path.place,
                "cosine": [None if math.isnan(c) else c for c in found.path.cosine],
                "norm": found.path.norm,
            },
        }


def _judged(trial: Trial, data: RunData, course: Course) -> _Judged:
    state = state_of_course(course)
    record, unsettled = course.last, state.name in {"rotating", "diverging"}
    if unsettled and course.is_exact:
        record = replace(record, state=centre(course))
    elif unsettled:
        # Does the field hold it where it was best?
        record = course.best
    point = point_of(trial, data, course, record)
    return _Judged(course, record, point, state, diagnose(trial, data, course, point))


def _course(trial: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Course:
    source = trial.parts["run"]
    if not source:
        return play(trial, data, folder, watch)
    path, model, seed = source.split("\n")
    _, saved = find_trial(Path(path), model or None, int(seed))
    outcome = saved.outcome()
    return recorded(trial, data, saved, None, outcome.spend if outcome else Spend())


def _tried(
    trial: Trial, advice: Advice, folder: TrialFolder, place: int, watch: Watch, *, data: RunData
) -> _Judged:
    other = changed(trial, model=advice.model, solver=advice.solver)
    course = play(other, data, TrialFolder(folder.path / f"tried-{place}"), watch, again=True)
    return _judged(other, data, course)


def _told(advice: Advice, trial: Trial) -> dict[str, Any]:
    expected = advice.forecast
    return {
        "what": advice.what,
        "model": advice.model,
        "solver": advice.solver,
        "basis": advice.basis,
        "code": in_code(advice, trial.parts["model"], trial.parts["solver"]),
        "growth": None if expected is None else expected.growth,
        "rate": None if expected is None else expected.rate,
        "predicted modes": [] if expected is None else _pairs(expected.spectrum.values[:2], ()),
    }


def _pairs(values: tuple[complex, ...], residuals: tuple[float, ...]) -> list[list[float]]:
    extra = [[r] for r in residuals] or [[]] * len(values)
    return [[v.real, v.imag, *r] for v, r in zip(values, extra, strict=True)]
