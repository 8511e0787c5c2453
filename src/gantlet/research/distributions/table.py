"""The table of the experiment, on which predictors of the error are fitted."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from gantlet.core.estimate import REAL, Outcome
from gantlet.forecast.experiment import VERSION
from gantlet.research.distributions.trial import AT, PROFILE, SAMPLING, TIME


class WorldRow(TypedDict):
    """One world: its written form, size, and profile."""

    form: str
    n: int
    d: int
    real: bool
    block: int
    profile: dict[str, float]


class ResultRow(TypedDict):
    """One family on one world at one budget.

    ``error`` is ``log10(max(energy distance, floor) / scale)``, where scale is the mean distance
    of two test samples and floor the standard error of the distance of real samples to real ones;
    ``floor`` is on the same scale. A training that diverged has the error of a constant.
    """

    world: int
    family: str
    seed: int
    flops: float
    steps: int
    error: float
    floor: float
    diverged: bool
    more: dict[str, float]


class Experiment(TypedDict):
    """The whole table, plain JSON values."""

    version: int
    command: str
    flops: list[float]
    families: dict[str, str]
    worlds: list[WorldRow]
    results: list[ResultRow]


def table_of(question: Mapping[str, Any], outcomes: Sequence[Outcome], command: str) -> Experiment:
    """Returns the table of all worlds that were measured, in the order of the design.

    Args:
        question: The question of the study.
        outcomes: Those of its trials, possibly incomplete.
        command: The command that made them.
    """
    measured = {o.trial.parts["data"]: o.details for o in _of(outcomes, REAL)}
    profiles = {o.trial.parts["data"]: o.details["profile"] for o in _of(outcomes, PROFILE)}
    designed = {w["form"]: w for w in question["worlds"] if w["form"] in measured}
    place = {form: i for i, form in enumerate(designed)}
    names = {form: name for name, form in question["families"].items()}
    results = [
        row
        for o in outcomes
        if o.trial.parts["model"] in names and AT in o.details and o.trial.parts["data"] in place
        for row in _rows(o, names, place, measured[o.trial.parts["data"]])
    ]
    return Experiment(
        version=VERSION,
        command=command,
        flops=sorted({row["flops"] for row in results}),
        families=dict(question["families"]),
        worlds=[
            WorldRow(
                form=form,
                n=measured[form]["n"],
                d=measured[form]["d"],
                real=world["real"],
                block=world["block"],
                profile={k: _short(v) for k, v in profiles.get(form, {}).items()},
            )
            for form, world in designed.items()
        ],
        results=sorted(results, key=lambda r: (r["world"], r["family"], r["seed"], r["flops"])),
    )


def _of(outcomes: Sequence[Outcome], model: str) -> list[Outcome]:
    return [o for o in outcomes if o.trial.parts["model"] == model and o.error is None]


def _rows(
    outcome: Outcome,
    names: Mapping[str, str],
    place: Mapping[str, int],
    world: Mapping[str, Any],
) -> list[ResultRow]:
    took = {
        name: round(e.value, digits)
        for name, of, digits in (("cpu_seconds", TIME, 2), ("sampling_ms", SAMPLING, 4))
        if (e := outcome.clock.get(of)) is not None and e.value is not None
    }
    rows: list[ResultRow] = []
    for at in outcome.details[AT]:
        more = {k: _short(v) for k, v in at.items() if k not in {"flops", "steps", "energy"}}
        if at is outcome.details[AT][-1]:
            more |= took
        rows.append(
            ResultRow(
                world=place[outcome.trial.parts["data"]],
                family=names[outcome.trial.parts["model"]],
                seed=outcome.trial.seed,
                flops=at["flops"],
                steps=at.get("steps", 0),
                error=_short(error(at.get("energy"), world)),
                floor=_short(math.log10(world["floor"] / world["scale"])),
                diverged="energy" not in at,
                more=more,
            )
        )
    return rows


def error(energy: float | None, world: Mapping[str, Any]) -> float:
    """Returns the error of a model whose samples have this energy distance.

    Example:
        >>> world = {"floor": 0.001, "scale": 1.0, "constant": 0.5}
        >>> error(0.1, world), error(-0.2, world), round(error(None, world), 2)
        (-1.0, -3.0, -0.3)
    """
    distance = world["constant"] if energy is None else energy
    return math.log10(max(distance, world["floor"]) / world["scale"])


def _short(value: float) -> float:
    """Returns a number with the digits that a table needs."""
    return float(f"{value:.5g}")
