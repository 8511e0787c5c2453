"""One diagnosis: train or load, measure, recommend, and where asked try recommendations."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

from gantlet.commands.converge.course import (
    ConvergeTrial,
    Parameters,
    Record,
    TrainingCourse,
    TrainingState,
    is_toy,
    play,
    recorded,
    resolved,
    state_of_course,
)
from gantlet.commands.converge.diagnosis import (
    Checkpoint,
    Diagnosis,
    DiagnosisKey,
    Forecast,
    LearningRates,
    centre,
    diagnose,
    point_at,
    point_of,
)
from gantlet.commands.converge.snippets import is_penalized, pytorch_lines
from gantlet.commands.own_games import is_own, loss_of
from gantlet.commands.trained import find_trial
from gantlet.compute.machine import threads
from gantlet.core.estimate import Outcome, Spend, Trial
from gantlet.core.model import Family
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, families, solvers
from gantlet.features.base import full_precision
from gantlet.games.spectrum import largest_step
from gantlet.games.stale import solver_inside, with_solver_inside
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.trials import RunData

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
        return self.forecast.rate / _COSTS.get(Spec.parse(solver_inside(self.solver)).name, 1.0)


def advise(
    trial: ConvergeTrial,
    data: RunData,
    state: Parameters,
    point: Checkpoint,
    watch: Watch,
    *,
    settles: bool,
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
    now = point.forecast(Rng(trial.seed, trial.device))
    if now is None or point.pace is None:
        return usual_remedies(trial)
    found: list[_Predicted] = []
    asked = list(_changes(trial, point.pace, now, len(point.field.players)))
    for i, (what, model, solver) in enumerate(asked):
        watch(0.5 + 0.4 * i / len(asked), f"predicting: {what}")
        other = replace(trial, model=model, solver=solver)
        # The gradients of another game have other second moments; a toy's are of its whole circle.
        squares = point.squares if is_toy(model, data) else None
        there = point if model == trial.model else point_at(other, data, state, squares)
        pace = LearningRates.of(solver)
        expected = there.forecast(Rng(trial.seed, trial.device), pace)
        if expected is not None:
            found.append(_Predicted(what, model, solver, expected))
    slower = {solver for _, _, solver in _smaller("", trial.solver, point.pace, now)}
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
    found: list[_Predicted], now: Forecast, first: set[str], trial: ConvergeTrial, *, settles: bool
) -> list[Advice]:
    """Returns the changes predicted to help, and others to try where nothing predicts."""
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


def usual_remedies(trial: ConvergeTrial, looked_at: Sequence[_Predicted] = ()) -> list[Advice]:
    """Returns the changes that theory and the family's defaults propose, without a prediction.

    Args:
        trial: What was trained.
        looked_at: Changes with what they are predicted to do, which is told beside.
    """
    known = {(one.model, one.solver): one for one in looked_at}
    penalties = sorted(
        _penalties(trial.model, trial.solver),
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


def _defaults(trial: ConvergeTrial) -> Iterator[Advice]:
    """Yields the same networks with the family's default loss, penalty and solver."""
    model, solver = trial.model, trial.solver
    made = None if is_own(model) or not families.knows(_name(model)) else families.make(model)
    if not isinstance(made, Family):
        return
    usual_solver = solvers.resolve(made.solver)
    spec, usual = Spec.parse(model), Spec.parse(resolved(_name(model))).options
    names: tuple[str, ...] = ("loss", "penalty", "gamma")
    rules = {k: usual[k] for k in names if k in spec.options}
    other = resolved(str(Spec(spec.name, {**spec.options, **rules})))
    if (other, usual_solver) != (model, solver):
        changes = [f"{k}={v}" for k, v in rules.items() if spec.options[k] != v]
        if usual_solver != solver:
            changes.append(f"solver={solvers.short(usual_solver)}")
        yield Advice(
            what=",".join(changes),
            model=other,
            solver=usual_solver,
            basis="defaults",
            forecast=None,
        )


def _name(model: str) -> str:
    return Spec.parse(model).name


def in_code(advice: Advice, model: str, solver: str) -> str:
    """Returns a change in terms of a training loop of one's own, in a sentence or two.

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
            place = ", in place of the penalty there" if is_penalized(old) else ""
            said.append(
                f"Add gamma/2 * {_PENALTIES[kind]} to the critic's loss{place}, gamma = {weight}."
            )
        if new.get("loss") != old.get("loss"):
            said.append(f"Train both players with the {new['loss']} loss.")
    if advice.solver != solver:
        said.append(_solver_in_code(Spec.parse(solver_inside(advice.solver))))
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
    trial: ConvergeTrial, pace: LearningRates, now: Forecast, players: int
) -> Iterator[tuple[str, str, str]]:
    """Yields what, model and solver of every change that can be made."""
    model, solver = trial.model, trial.solver
    yield from _penalties(model, solver)
    yield from _smaller(model, solver, pace, now)
    if players == 2:
        yield from _ratios(model, solver, pace)
    yield from _solvers(model, solver, pace)


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


def _smaller(
    model: str, solver: str, pace: LearningRates, now: Forecast
) -> Iterator[tuple[str, str, str]]:
    step = largest_step([s for s in now.spectrum.values if s.real < 0])
    if step is not None and step < 1:
        share = max(step * _SAFE, _LEAST)
        rates = "+".join(f"{rate * share:.3g}" for rate in pace.rates)
        yield f"lr={rates}", model, _solver(solver, lr=rates)


def _is_too_fast(now: Forecast) -> bool:
    """Returns whether the step is too large for a mode that pulls more than it turns."""
    return any(s.real < -abs(s.imag) and abs(1 + s) > 1 for s in now.spectrum.values)


def _ratios(model: str, solver: str, pace: LearningRates) -> Iterator[tuple[str, str, str]]:
    if len(pace.rates) != 1:
        return
    for ratio in _RATIOS:
        rates = f"{pace.rates[0] * ratio**0.5:.3g}+{pace.rates[0] / ratio**0.5:.3g}"
        yield f"lr={rates}", model, _solver(solver, lr=rates)


def _solvers(model: str, solver: str, pace: LearningRates) -> Iterator[tuple[str, str, str]]:
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
            yield text, model, solvers.resolve(with_solver_inside(solver, text))


def _with(model: str, **options: str) -> str:
    spec = Spec.parse(model)
    return resolved(str(Spec(spec.name, {**spec.options, **options})))


def _solver(solver: str, **options: str) -> str:
    spec = Spec.parse(solver_inside(solver))
    inside = str(Spec(spec.name, {**spec.options, **options}))
    return solvers.resolve(with_solver_inside(solver, inside))


# ----------------------------------------------------------------------------
# One diagnosis: train or load, measure, advise, and where asked try the first advice.
# ----------------------------------------------------------------------------


def run_trial(written: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Outcome:
    """Diagnoses one training; with ``try``, changes are followed in trainings of their own."""
    trial = ConvergeTrial.of(written)
    with threads(trial.threads), full_precision():
        course = _course(trial, data, folder, watch)
        first = _judged(trial, data, course)
        watch(0.45, "predicting")
        proposed = _proposed(trial, data, first, watch)
        tried = list(_tries(trial, first, proposed, folder, watch, data=data))
        players, loss = list(first.diagnosis.curvature), loss_of(trial.model)
        details: dict[str, Any] = {
            **first.told(),
            "good": first.state.is_good,
            "advice": [_told(a, trial, players, loss) for a in proposed],
            "tried": [{**_told(a, trial, players, loss), **then.told()} for a, then in tried],
        }
        scores = dict(first.diagnosis.numbers)
        if tried:
            best = tried[0][1].diagnosis.numbers
            scores |= {DiagnosisKey(k, after=True).name: v for k, v in best.items()}
        spend = sum((then.course.spend for _, then in tried), course.spend)
        return Outcome(trial=written, spend=spend, scores=scores, details=details)


def _proposed(trial: ConvergeTrial, data: RunData, first: "_Judged", watch: Watch) -> list[Advice]:
    # What is well needs no advice, which is most of the work. Where a training settles far from
    # the data, no mode grows, or those that are predicted to do not: the spectrum cannot tell.
    if first.state.is_good:
        return []
    if first.state.name == "converging":
        return usual_remedies(trial)
    settles = first.state.name == "stuck"
    return advise(trial, data, first.record.state, first.point, watch, settles=settles)


def _tries(
    trial: ConvergeTrial,
    first: "_Judged",
    proposed: list[Advice],
    folder: TrialFolder,
    watch: Watch,
    *,
    data: RunData,
) -> "list[tuple[Advice, _Judged]]":
    """Trains again with at most three changes until one settles; returns the best first."""
    found: list[tuple[Advice, _Judged]] = []
    for i, advice in enumerate(proposed[:TRIES] if trial.retry else ()):
        found.append((advice, _tried(trial, advice, folder, i, watch, data=data)))
        state = found[-1][1].state
        if state.is_good or (state.name == "converging" and state.end < first.state.end / 2):
            break
    return sorted(found, key=lambda one: (one[1].state.name != "converging", one[1].state.end))


@final
@dataclass(frozen=True, slots=True)
class _Judged:
    """A training with what was found of it."""

    course: TrainingCourse
    record: Record
    point: Checkpoint
    state: TrainingState
    diagnosis: Diagnosis

    def told(self) -> dict[str, Any]:
        """Returns the details for the report, as plain JSON values."""
        found = self.diagnosis
        return {
            "state": self.state.name,
            "because": self.state.because,
            "looked at step": self.record.step,
            "measure": self.course.measure,
            "end": self.state.end,
            "ratio": self.state.ratio,
            "others": list(self.state.others),
            "range": None if self.state.range is None else list(self.state.range),
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


def _judged(trial: ConvergeTrial, data: RunData, course: TrainingCourse) -> _Judged:
    state = state_of_course(course)
    record, unsettled = course.last, state.name in {"rotating", "diverging"}
    if unsettled and course.is_exact:
        record = replace(record, state=centre(course))
    elif unsettled:
        # Does the field hold it where it was best?
        record = course.best
    point = point_of(trial, data, course, record)
    return _Judged(course, record, point, state, diagnose(trial, data, course, point))


def _course(
    trial: ConvergeTrial, data: RunData, folder: TrialFolder, watch: Watch
) -> TrainingCourse:
    asked = trial.saved
    if asked.path is None:
        return play(trial, data, folder, watch)
    _, saved = find_trial(asked.path, asked.model, asked.seed)
    outcome = saved.outcome()
    return recorded(trial, data, saved, None, outcome.spend if outcome else Spend())


def _tried(
    trial: ConvergeTrial,
    advice: Advice,
    folder: TrialFolder,
    place: int,
    watch: Watch,
    *,
    data: RunData,
) -> _Judged:
    other = replace(trial, model=advice.model, solver=advice.solver)
    course = play(other, data, TrialFolder(folder.path / f"tried-{place}"), watch, again=True)
    return _judged(other, data, course)


def _told(
    advice: Advice, trial: ConvergeTrial, players: Sequence[str], loss: str
) -> dict[str, Any]:
    before = trial.model, trial.solver
    lines = pytorch_lines(advice.model, advice.solver, before=before, players=players, loss=loss)
    expected = advice.forecast
    return {
        "what": advice.what,
        "model": advice.model,
        "solver": advice.solver,
        "basis": advice.basis,
        "code": in_code(advice, trial.model, trial.solver),
        "pytorch": lines,
        "growth": None if expected is None else expected.growth,
        "rate": None if expected is None else expected.rate,
        "predicted modes": [] if expected is None else _pairs(expected.spectrum.values[:2], ()),
    }


def _pairs(values: tuple[complex, ...], residuals: tuple[float, ...]) -> list[list[float]]:
    extra = [[r] for r in residuals] or [[]] * len(values)
    return [[v.real, v.imag, *r] for v, r in zip(values, extra, strict=True)]
