"""What could be changed, and what that is predicted to do."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from gantlet.core.components import solvers
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec
from gantlet.core.trial import Trial
from gantlet.games.dynamics.stability import largest_step
from gantlet.studies.base import Watch
from gantlet.studies.converge.course import State
from gantlet.studies.converge.diagnosis import Point, point_at
from gantlet.studies.converge.forecast import Forecast
from gantlet.studies.converge.pace import Pace
from gantlet.studies.converge.setting import changed, is_toy, resolved

# Strengths of a penalty that are looked at where there is none yet.
_GAMMAS = (0.1, 0.3, 1.0, 3.0, 10.0)
# ... and by which one that is there is multiplied.
_STRONGER = (3.0, 10.0)
# Step ratios, critic to generator.
_RATIOS = (4.0, 0.25)
# Of the largest stable step, this share is advised, but never less than this share of the present.
_SAFE = 0.5
_LEAST = 1 / 30
# What a step of a solver costs, in gradients of all players.
_COSTS = {"extragradient": 2.0, "consensus": 3.0}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One change.

    Attributes:
        what: What to change, in words.
        model: The model after the change, in written form.
        solver: The solver after the change.
        forecast: What the change is predicted to do at the same point.
    """

    what: str
    model: str
    solver: str
    forecast: Forecast

    @property
    def rate(self) -> float:
        """How the leading modes grow, for each unit of learning rate and each gradient."""
        return self.forecast.rate / _COSTS.get(Spec.parse(self.solver).name, 1.0)


def advise(
    trial: Trial, state: State, point: Point, watch: Watch, *, settles: bool
) -> list[Advice]:
    """Returns changes that are predicted to help, the best first.

    Each is looked at where training is: the game is built anew with the change, its players are
    put where they are, and the leading modes are computed again. Changes are ordered by how fast
    the leading modes then decay, for each unit of learning rate, so that a smaller step alone is
    no gain, and for each gradient that is computed. Those under which some leading mode still
    grows come last; those that are predicted to be no better than what is there are left out.
    Only where the step is too large for a mode that does not turn comes a smaller step first.

    In two cases changes of the game, a penalty, come before those of the solver. Where the leading
    modes are predicted to decay already and training does not settle all the same, the field is
    not smooth (WGAN-GP has a kink at its equilibrium) and its eigenvalues mislead. And where no
    change is predicted to make them decay, the point says little, but R1 is proved to attract near
    an equilibrium (Mescheder et al., 2018, https://arxiv.org/abs/1801.04406); a strength of 1 is
    then advised before others.

    Args:
        trial: What was trained.
        state: Where its players are.
        point: The same, ready to be measured.
        watch: Told what is being predicted.
        settles: Whether the training settles.
    """
    now = point.forecast(Rng(trial.seed, trial.parts["device"]))
    if now is None or point.pace is None:
        return []
    found: list[Advice] = []
    asked = list(_changes(trial, point.pace, now, len(point.field.players)))
    for i, (what, model, solver) in enumerate(asked):
        watch(0.5 + 0.4 * i / len(asked), f"predicting: {what}")
        other = changed(trial, model=model, solver=solver)
        # The gradients of another game have other second moments; a toy's are of its whole circle.
        squares = point.squares if is_toy(model) else None
        there = point if model == trial.parts["model"] else point_at(other, state, squares)
        pace = Pace.of(solver)
        expected = there.forecast(Rng(trial.seed, trial.parts["device"]), pace)
        if expected is not None:
            found.append(Advice(what=what, model=model, solver=solver, forecast=expected))
    slower = {solver for _, _, solver in _smaller("", trial.parts["solver"], point.pace, now)}
    first = slower if _is_too_fast(now) else set[str]()
    return _ordered(found, now, first, trial.parts["model"], settles=settles)


def _ordered(
    found: list[Advice], now: Forecast, first: set[str], model: str, *, settles: bool
) -> list[Advice]:
    is_misled = now.growth < 1 and not settles
    is_blind = all(a.forecast.growth >= 1 for a in found)
    bound = 0.0 if is_misled else now.rate

    def helps(a: Advice) -> bool:
        better = a.forecast.rate < bound - 1e-9
        return better or a.solver in first or (is_blind and a.model != model)

    def rank(a: Advice) -> tuple[bool, bool, float, float]:
        is_game = a.model != model
        # Where nothing is told apart, a penalty of the usual strength comes before others.
        usual = abs(math.log(_strength(a.model))) if is_blind and is_game else 0.0
        return a.solver not in first, (is_misled or is_blind) and not is_game, usual, a.rate

    return sorted(filter(helps, found), key=rank)


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
