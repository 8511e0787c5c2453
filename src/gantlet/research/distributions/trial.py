"""The trials of the experiment: a world measured, and a family trained on it."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.commands.trained import draw, training_progress
from gantlet.compute.machine import threads
from gantlet.core.data import Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import REAL, Budget, Estimate, Outcome, Trial
from gantlet.core.model import Family, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.data.splits import Subset
from gantlet.features.base import full_precision
from gantlet.forecast.profile import profile
from gantlet.research.distributions.measures import Target, null_standard_error
from gantlet.run.execute import LruCache, Watch
from gantlet.run.store import TrialFolder
from gantlet.run.train import DivergedError, Plan, Snapshots, train
from gantlet.run.trials import RunData

PROFILE = "profile"
"""The model of a trial that describes a world by features that need no training."""

FEATURES_VERSION = "1"
"""Changes with what these features are, so that the profiles of a run are made anew."""

SAMPLES = 2_000
"""How many samples of a model are judged, against at most as many of the test split."""

PARTS = 9
"""A training is judged at the first, the third and the last ninth of its budget."""

_JUDGED = (1, 3)
TIME = "training CPU time"
"""The name of what a training took."""

AT = "budgets"
"""Under which name an outcome holds the responses at each budget."""

VALIDATION = 0.4
"""Validation samples at most, as a share of the training samples: real sets have no more."""

DATA_SEED = 0
"""Seed of the splits of every world: trainings differ in their own seed alone."""


@final
class Worlds:
    """The data of the experiment: the splits of a world and its target, each made once."""

    def __init__(self) -> None:
        self.data = RunData()
        self._targets = LruCache[str, Target](2)

    @override
    def __reduce__(self) -> tuple[type["Worlds"], tuple[()]]:
        """Pickles no data."""
        return Worlds, ()

    def splits(self, form: str) -> Splits:
        """Returns the splits of a world."""
        return self.data.load(form, DATA_SEED)[1]

    def for_training(self, form: str) -> Splits:
        """Returns the splits with no more validation samples than a set of that size has."""
        splits = self.splits(form)
        most = max(1, round(VALIDATION * len(splits.train)))
        few = torch.arange(min(most, len(splits.validation)))
        return replace(splits, validation=Subset(splits.validation, few))

    def target(self, form: str) -> Target:
        """Returns what models of a world are compared with."""

        def made() -> Target:
            splits = self.splits(form)
            test = all_samples(splits.test, SAMPLES).flatten(1)
            train = all_samples(splits.train).flatten(1)
            return Target.of(train, test, datasets.make(form), Rng(DATA_SEED).stream("target"))

        return self._targets.get(form, made)


def world_trial(form: str, shared: Mapping[str, str]) -> Trial:
    """Returns the trial that measures a world."""
    return Trial(parts={"model": REAL, "data": form, **shared})


def profile_trial(form: str, shared: Mapping[str, str]) -> Trial:
    """Returns the trial that describes a world."""
    parts = {"model": PROFILE, "data": form, "features": FEATURES_VERSION, **shared}
    return Trial(parts=parts)


def training_trial(
    family: str, form: str, *, seed: int, budget: Budget, batch: int, shared: Mapping[str, str]
) -> Trial:
    """Returns the trial that trains a family, in written form, on a world."""
    made = _trained_family(family)
    parts = {
        "model": family,
        "solver": solvers.resolve(made.solver),
        "data": form,
        "batch": str(batch),
        **shared,
    }
    return Trial(parts=parts, budget=budget, seed=seed)


def _trained_family(form: str) -> Family:
    made = families.make(form)
    if not isinstance(made, Family):
        raise UserError(f"families must be trained by gradients. Got {form}.")
    return made


def run_trial(trial: Trial, worlds: Worlds, folder: TrialFolder, watch: Watch) -> Outcome:
    """Measures a world, or trains a family on it.

    Raises:
        UserError: If the world cannot be made.
    """
    with threads(int(trial.parts["threads"])), full_precision():
        if trial.parts["model"] == REAL:
            return _measure_world(trial, worlds)
        if trial.parts["model"] == PROFILE:
            return _describe(trial, worlds)
        return _train(trial, worlds, folder, watch)


# ----------------------------------------------------------------------------
# A world.
# ----------------------------------------------------------------------------


def _measure_world(trial: Trial, worlds: Worlds) -> Outcome:
    """Returns sizes, scale and noise floor of a world, and the responses of real samples."""
    form = trial.parts["data"]
    splits, target = worlds.splits(form), worlds.target(form)
    validation = all_samples(splits.validation, SAMPLES).flatten(1)
    pool = torch.cat([target.scaled(validation), target.x])
    stream = Rng(DATA_SEED).stream("floor")
    details = {
        "n": len(splits.train),
        "d": pool.shape[1],
        "test": len(target.x),
        "scale": target.scale,
        "floor": null_standard_error(pool, SAMPLES, len(target.x), stream),
        "constant": target.of_constant,
        "real": target.responses(validation),
    }
    return Outcome(trial=trial, details=details)


def _describe(trial: Trial, worlds: Worlds) -> Outcome:
    """Returns the profile of the training set."""
    train = all_samples(worlds.splits(trial.parts["data"]).train).flatten(1)
    found = profile(train, rng=Rng(DATA_SEED))
    return Outcome(trial=trial, details={"profile": dict(found), "missing": dict(found.missing)})


# ----------------------------------------------------------------------------
# A family on a world.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class _Kept:
    """Weights of a model in the middle of its training."""

    weights: Mapping[str, Tensor]
    step: int


def _train(trial: Trial, worlds: Worlds, folder: TrialFolder, watch: Watch) -> Outcome:
    """Trains, and judges the model at each of the three budgets.

    A training that diverges is judged by what it had before; budgets from there on have no
    responses.
    """
    form = trial.parts["data"]
    space, splits = datasets.make(form).space, worlds.for_training(form)
    rng = Rng(trial.seed, trial.parts["device"])
    family = _trained_family(trial.parts["model"])
    game = family.build(space, rng=rng)
    kept: dict[int, _Kept] = {}

    def keep(name: str, tensors: Mapping[str, Tensor]) -> None:
        weights = {
            k.removeprefix("model/"): v.clone()
            for k, v in tensors.items()
            if k.startswith("model/")
        }
        kept[int(name.removeprefix("snapshot-"))] = _Kept(weights, int(tensors["step"]))

    plan = Plan(budget=trial.budget, batch=int(trial.parts["batch"]), ema=family.ema)
    start, error, spend = time.process_time(), None, None
    try:
        trained = train(
            game,
            solvers.make(trial.parts["solver"]),
            splits,
            plan,
            rng=rng,
            snapshots=Snapshots(PARTS, keep, selected=_JUDGED),
            follow=training_progress(watch),
        )
        spend = trained.spend
        state = {k: v.clone() for k, v in game.model.state_dict().items()}
        kept[PARTS] = _Kept(state, spend.steps)
    except DivergedError as diverged:
        error = str(diverged)
    took = time.process_time() - start
    watch(0.95, "judging")
    found = _judged(game.model, kept, trial, worlds, folder)
    clock = Estimate.exact(took, unit="s", method="of this training")
    details: dict[str, Any] = {AT: found, "error": error}
    if spend is None:
        return Outcome(trial=trial, clock={TIME: clock}, details=details)
    return Outcome(trial=trial, spend=spend, clock={TIME: clock}, details=details)


def _judged(
    model: Model, kept: Mapping[int, _Kept], trial: Trial, worlds: Worlds, folder: TrialFolder
) -> list[dict[str, Any]]:
    """Returns steps and responses at each budget; an early end counts for later budgets too."""
    found: list[dict[str, Any]] = []
    budget = trial.budget.flops or 0.0
    for part in (*_JUDGED, PARTS):
        row: dict[str, Any] = {"flops": budget * part / PARTS}
        if part in kept:
            samples = _samples(model, kept[part], Rng(trial.seed, trial.parts["device"]))
            row["steps"] = kept[part].step
            if bool(samples.isfinite().all()):
                row |= _finite(worlds.target(trial.parts["data"]).responses(samples.flatten(1)))
            if part == PARTS:
                folder.save("samples", {"samples": samples})
        found.append(row)
    return found


def _finite(responses: dict[str, float]) -> dict[str, float]:
    """Returns the responses, or none of them if samples are so large that one overflowed."""
    return responses if all(map(math.isfinite, responses.values())) else {}


def _samples(model: Model, kept: _Kept, rng: Rng) -> Tensor:
    model.load_state_dict(dict(kept.weights))
    return draw(model, SAMPLES, rng=rng.stream("sample")).cpu()
