"""Which flows the study anneals, and at which widths of noise and numbers of temperatures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, final

from gantlet.core.budget import Budget
from gantlet.core.components import datasets, families, solvers
from gantlet.core.errors import UserError
from gantlet.core.family import Family
from gantlet.core.trial import Trial

Size = Literal["small", "full"]

PLANE = "energy:index=4,held_out=2000"
"""Points of the plane, where noise can be integrated over by simple Monte Carlo."""

LIKELIHOOD = "flow:layers=4,width=64"
ADVERSARIAL = "flow-gan:weight=0,layers=4,width=64"
"""The same flow, trained by maximum likelihood and against a critic alone."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """At what a trained flow is annealed.

    Attributes:
        sigmas: Widths of the noise, in standard deviations of the data.
        temperatures: Numbers of temperatures.
        chains: Chains of each sample.
        tuning: Validation samples, on which the width is chosen.
        points: Test samples that are judged.
        simulated: Samples that the model draws itself, for each width.
        draws: Draws of the noise with which a smoothed density is integrated, or 0.
    """

    sigmas: tuple[float, ...]
    temperatures: tuple[int, ...]
    chains: int
    tuning: int
    points: int
    simulated: int
    draws: int = 0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One data set.

    Attributes:
        models: The flows.
        flops: What each may spend in training.
        grid: At what they are annealed.
    """

    models: tuple[str, ...]
    flops: float
    grid: Grid


_PLANE = Grid(
    sigmas=(0.005, 0.02, 0.1, 0.4),
    temperatures=(100, 1000, 10_000),
    chains=2,
    tuning=8,
    points=32,
    simulated=16,
    draws=16_384,
)
_IMAGES = Grid(
    sigmas=(0.02, 0.05, 0.2, 0.5),
    temperatures=(100, 1000),
    chains=2,
    tuning=8,
    points=16,
    simulated=8,
)
_SCALES: Mapping[Size, tuple[Part, Part]] = {
    "small": (
        Part(models=("flow:layers=4,width=16,depth=1",), flops=6e8, grid=_PLANE),
        Part(models=(LIKELIHOOD, ADVERSARIAL), flops=6e10, grid=_IMAGES),
    ),
    "full": (
        Part(
            models=("flow:layers=8,width=64", "flow:coupling=spline,layers=4,width=32"),
            flops=1e11,
            grid=replace(_PLANE, chains=8, tuning=32, points=128, simulated=64),
        ),
        Part(
            models=("flow", "flow-gan:weight=0"),
            flops=1e12,
            grid=replace(
                _IMAGES,
                temperatures=(100, 1000, 10_000),
                chains=8,
                tuning=32,
                points=128,
                simulated=32,
            ),
        ),
    ),
}


def parts(size: Size, data: str) -> dict[str, Part]:
    """Returns what is done on the plane, and on ``data``."""
    plane, images = _SCALES[size]
    return {PLANE: plane, data: images}


def trials(
    asked: Mapping[str, Part], *, seeds: int, data_seed: int, threads: int, device: str
) -> Sequence[Trial]:
    """Lists one trial for each flow and seed.

    Raises:
        UserError: If a flow cannot be built or the data cannot be found.
    """
    if seeds < 1:
        raise UserError(f"seeds must be at least 1. Got {seeds}.")
    shared = {"data_seed": str(data_seed), "threads": str(threads), "device": device}
    return [
        Trial(
            parts={**_written(model, where, part.grid), **shared},
            budget=Budget(flops=part.flops),
            seed=seed,
        )
        for where, part in asked.items()
        for model in part.models
        for seed in range(seeds)
    ]


def grid_of(trial: Trial) -> Grid:
    """Returns at what the flow of a trial is annealed."""
    found: dict[str, Any] = json.loads(trial.parts["grid"])
    for listed in ("sigmas", "temperatures"):
        found[listed] = tuple(found[listed])
    return Grid(**found)


def _written(model: str, data: str, grid: Grid) -> dict[str, str]:
    family = families.make(model)
    if not isinstance(family, Family):
        raise UserError(f"{model} is fitted, not trained: the study needs a flow.")
    return {
        "model": families.resolve(model),
        "solver": solvers.resolve(family.solver),
        "data": datasets.resolve(data),
        "batch": "128",
        "patience": "none",
        "select": "last",
        "grid": json.dumps(asdict(grid)),
    }
