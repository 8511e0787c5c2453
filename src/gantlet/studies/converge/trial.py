"""One diagnosis: train or load, measure, advise, and where asked try the first advice."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from gantlet.core.budget import Spend
from gantlet.core.game import Adversarial
from gantlet.core.trial import Outcome, Trial
from gantlet.features.frozen import exactly
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.contest import threads
from gantlet.studies.converge.advice import Advice, advise
from gantlet.studies.converge.course import Course, Record, play, recorded
from gantlet.studies.converge.diagnosis import (
    Diagnosis,
    Point,
    centre,
    diagnose,
    point_of,
)
from gantlet.studies.converge.setting import blank, changed
from gantlet.studies.converge.verdict import State, state_of_course
from gantlet.studies.find import find_trial


def run_trial(trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
    """Diagnoses one training; with ``try``, a second one with the first advice followed."""
    with threads(int(trial.parts["threads"])), exactly():
        course = _course(trial, folder, watch)
        first = _judged(trial, course)
        watch(0.45, "predicting")
        best = _advised(trial, first, watch)
        details: dict[str, Any] = {**first.told(), "advice": [_told(a) for a in best]}
        scores = dict(first.diagnosis.numbers)
        spend = course.spend
        if trial.parts["try"] == "true" and best:
            then, spent = _tried(trial, best[0], folder, watch)
            details["tried"] = {**then.told(), "what": best[0].what, "model": best[0].model}
            scores |= {f"after: {k}": v for k, v in then.diagnosis.numbers.items()}
            spend += spent
        return Outcome(trial=trial, spend=spend, scores=scores, details=details)


def _advised(trial: Trial, first: "_Judged", watch: Watch) -> list[Advice]:
    # What converges needs no advice, which is most of the work.
    if first.state.name == "converging":
        return []
    settles = first.state.name == "stuck"
    return advise(trial, first.record.state, first.point, watch, settles=settles)


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
    state = state_of_course(course, is_adversarial=isinstance(blank(trial), Adversarial))
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


def _tried(
    trial: Trial, advice: Advice, folder: TrialFolder, watch: Watch
) -> tuple[_Judged, Spend]:
    other = changed(trial, model=advice.model, solver=advice.solver)
    course = play(other, TrialFolder(folder.path / "tried"), watch, again=True)
    return _judged(other, course), course.spend


def _told(advice: Advice) -> dict[str, Any]:
    return {
        "what": advice.what,
        "model": advice.model,
        "solver": advice.solver,
        "growth": advice.forecast.growth,
        "rate": advice.forecast.rate,
        "modes": _pairs(advice.forecast.spectrum.values[:2], ()),
    }


def _pairs(values: tuple[complex, ...], residuals: tuple[float, ...]) -> list[list[float]]:
    extra = [[r] for r in residuals] or [[]] * len(values)
    return [[v.real, v.imag, *r] for v, r in zip(values, extra, strict=True)]
