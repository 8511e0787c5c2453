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
from gantlet.core.estimate import REAL, Budget, Estimate, Outcome, Spend, Trial
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
from gantlet.run.trials import RunData, TypedTrial

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

SAMPLING = "sampling CPU time"
"""The name of what a sample of the last model took."""

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


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WorldTrial(TypedTrial):
    """A world that is measured.

    Attributes:
        data: The world in written form with all defaults.
        threads: Threads of the trial.
        device: Where models of the same run are trained.
        model: ``REAL``, which says what kind of trial it is.
    """

    data: str
    threads: int
    device: str
    model: str = REAL


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileTrial(TypedTrial):
    """A world that is described by features which need no training.

    Attributes:
        data: The world in written form with all defaults.
        threads: Threads of the trial.
        device: Where models of the same run are trained.
        model: ``PROFILE``, which says what kind of trial it is.
        features: Version of the features.
    """

    data: str
    threads: int
    device: str
    model: str = PROFILE
    features: str = FEATURES_VERSION


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTrial(TypedTrial):
    """A family that is trained on a world.

    Attributes:
        model: The family in written form with all defaults.
        solver: The optimizer in written form.
        data: The world in written form with all defaults.
        batch: Samples in a batch.
        threads: Threads of the trial.
        device: Where it is trained.
        budget: What the training may spend.
        seed: From which every random number of the training follows.
    """

    model: str
    solver: str
    data: str
    batch: int
    threads: int
    device: str
    budget: Budget
    seed: int


def solver_of(family: str) -> str:
    """Returns the optimizer of a family, both in written form.

    Raises:
        UserError: If the family is not trained by gradients.
    """
    return solvers.resolve(trained_family(family).solver)


def trained_family(form: str) -> Family:
    """Returns the family of this written form.

    Raises:
        UserError: If it is not trained by gradients.
    """
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
        if trial.model == REAL:
            details = _measure_world(WorldTrial.of(trial).data, worlds)
            return Outcome(trial=trial, details=details)
        if trial.model == PROFILE:
            return Outcome(trial=trial, details=_describe(ProfileTrial.of(trial).data, worlds))
        return _train(TrainingTrial.of(trial), worlds, folder, watch)


# ----------------------------------------------------------------------------
# A world.
# ----------------------------------------------------------------------------


def _measure_world(form: str, worlds: Worlds) -> dict[str, Any]:
    """Returns sizes, scale and noise floor of a world, and the responses of real samples."""
    splits, target = worlds.splits(form), worlds.target(form)
    validation = all_samples(splits.validation, SAMPLES).flatten(1)
    pool = torch.cat([target.scaled(validation), target.x])
    stream = Rng(DATA_SEED).stream("floor")
    return {
        "n": len(splits.train),
        "d": pool.shape[1],
        "test": len(target.x),
        "scale": target.scale,
        "floor": null_standard_error(pool, SAMPLES, len(target.x), stream),
        "constant": target.of_constant,
        "real": target.responses(validation),
    }


def _describe(form: str, worlds: Worlds) -> dict[str, Any]:
    """Returns the profile of the training set."""
    train_set = all_samples(worlds.splits(form).train).flatten(1)
    found = profile(train_set, rng=Rng(DATA_SEED))
    return {"profile": dict(found), "missing": dict(found.missing)}


# ----------------------------------------------------------------------------
# A family on a world.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class _Kept:
    """Weights of a model in the middle of its training."""

    weights: Mapping[str, Tensor]
    step: int


def _train(trial: TrainingTrial, worlds: Worlds, folder: TrialFolder, watch: Watch) -> Outcome:
    """Trains, and judges the model at each of the three budgets.

    A training that diverges is judged by what it had before; budgets from there on have no
    responses.
    """
    space, splits = datasets.make(trial.data).space, worlds.for_training(trial.data)
    rng = Rng(trial.seed, trial.device)
    family = trained_family(trial.model)
    game = family.build(space, rng=rng)
    kept: dict[int, _Kept] = {}

    def keep(name: str, tensors: Mapping[str, Tensor]) -> None:
        weights = {
            k.removeprefix("model/"): v.clone()
            for k, v in tensors.items()
            if k.startswith("model/")
        }
        kept[int(name.removeprefix("snapshot-"))] = _Kept(weights, int(tensors["step"]))

    plan = Plan(budget=trial.budget, batch=trial.batch, ema=family.ema)
    start, error, spend = time.process_time(), None, Spend()
    try:
        trained = train(
            game,
            solvers.make(trial.solver),
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
    clock = {TIME: Estimate.exact(took, unit="s", method="of this training")}
    if PARTS in kept:
        clock[SAMPLING] = sampling_time(game.model, Rng(trial.seed, trial.device))
    details: dict[str, Any] = {AT: found, "error": error}
    return Outcome(trial=trial.written(), spend=spend, clock=clock, details=details)


def sampling_time(model: Model, rng: Rng) -> Estimate:
    """Returns the CPU time of a sample, when many are drawn at once."""
    start = time.process_time()
    draw(model, SAMPLES, rng=rng.stream("time"))
    took = 1_000 * (time.process_time() - start) / SAMPLES
    return Estimate.exact(took, unit="ms", method=f"mean of {SAMPLES} samples drawn at once")


def _judged(
    model: Model,
    kept: Mapping[int, _Kept],
    trial: TrainingTrial,
    worlds: Worlds,
    folder: TrialFolder,
) -> list[dict[str, Any]]:
    """Returns steps and responses at each budget; no responses where no weights were kept."""
    found: list[dict[str, Any]] = []
    budget = trial.budget.flops or 0.0
    for part in (*_JUDGED, PARTS):
        row: dict[str, Any] = {"flops": budget * part / PARTS}
        if part in kept:
            samples = _samples(model, kept[part], Rng(trial.seed, trial.device))
            row["steps"] = kept[part].step
            if bool(samples.isfinite().all()):
                row |= _finite(worlds.target(trial.data).responses(samples.flatten(1)))
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
