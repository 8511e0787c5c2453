"""What could be changed, and what that is predicted to do."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

from gantlet.core.components import solvers
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec
from gantlet.core.trial import Trial
from gantlet.games.spectrum import largest_step
from gantlet.studies.base import Watch
from gantlet.studies.converge.course import State
from gantlet.studies.converge.diagnosis import Point, point_at
from gantlet.studies.converge.forecast import Forecast
from gantlet.studies.converge.pace import Pace
from gantlet.studies.converge.setting import changed, is_toy, resolved, usual_solver

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
    trial: Trial, state: State, point: Point, watch: Watch, *, settles: bool
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
        there = point if model == trial.parts["model"] else point_at(other, state, squares)
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
