"""One diagnosis: train or load, measure, advise, and where asked try the first advice."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from gantlet.compute.machine import threads
from gantlet.core.budget import Spend
from gantlet.core.trial import Outcome, Trial
from gantlet.features.frozen import exactly
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.converge.advice import TRIES, Advice, advise, in_code, usual_remedies
from gantlet.studies.converge.course import Course, Record, play, recorded
from gantlet.studies.converge.diagnosis import (
    Diagnosis,
    Key,
    Point,
    centre,
    diagnose,
    point_of,
)
from gantlet.studies.converge.setting import changed
from gantlet.studies.converge.verdict import State, state_of_course
from gantlet.studies.find import find_trial


def run_trial(trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
    """Diagnoses one training; with ``try``, changes are followed in trainings of their own."""
    with threads(int(trial.parts["threads"])), exactly():
        course = _course(trial, folder, watch)
        first = _judged(trial, course)
        watch(0.45, "predicting")
        proposed = _proposed(trial, first, watch)
        tried = list(_tries(trial, first, proposed, folder, watch))
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


def _proposed(trial: Trial, first: "_Judged", watch: Watch) -> list[Advice]:
    # What is well needs no advice, which is most of the work; what settles far from the data has
    # no mode that grows, of which a spectrum could tell.
    if first.state.is_good:
        return []
    if first.state.name == "converging":
        return usual_remedies(trial)
    settles = first.state.name == "stuck"
    return advise(trial, first.record.state, first.point, watch, settles=settles)


def _tries(
    trial: Trial, first: "_Judged", proposed: list[Advice], folder: TrialFolder, watch: Watch
) -> "list[tuple[Advice, _Judged]]":
    """Trains again with at most three changes until one settles; returns the best first."""
    found: list[tuple[Advice, _Judged]] = []
    for i, advice in enumerate(proposed[:TRIES] if trial.parts["try"] == "true" else ()):
        found.append((advice, _tried(trial, advice, folder, i, watch)))
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


def _judged(trial: Trial, course: Course) -> _Judged:
    state = state_of_course(course)
    record, unsettled = course.last, state.name in {"rotating", "diverging"}
    if unsettled and course.is_exact:
        record = replace(record, state=centre(course))
    elif unsettled:
        # Does the field hold it where it was best?
        record = course.best
    point = point_of(trial, course, record)
    return _Judged(course, record, point, state, diagnose(trial, course, point))


def _course(trial: Trial, folder: TrialFolder, watch: Watch) -> Course:
    source = trial.parts["run"]
    if not source:
        return play(trial, folder, watch)
    path, model, seed = source.split("\n")
    _, saved = find_trial(Path(path), model or None, int(seed))
    outcome = saved.outcome()
    return recorded(trial, saved, None, outcome.spend if outcome else Spend())


def _tried(trial: Trial, advice: Advice, folder: TrialFolder, place: int, watch: Watch) -> _Judged:
    other = changed(trial, model=advice.model, solver=advice.solver)
    course = play(other, TrialFolder(folder.path / f"tried-{place}"), watch, again=True)
    return _judged(other, course)


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
