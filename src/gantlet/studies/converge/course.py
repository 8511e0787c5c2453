"""A training, and where its players were along the way."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.budget import Spend
from gantlet.core.components import families, solvers, toys
from gantlet.core.dataset import everything
from gantlet.core.errors import UserError
from gantlet.core.family import Fitted
from gantlet.core.game import Game, Generative
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.trial import Trial
from gantlet.games.field import GameField
from gantlet.store.run import TrialFolder
from gantlet.studies.base import Watch
from gantlet.studies.converge.setting import (
    blank,
    family,
    held_out,
    is_toy,
    looked_at,
    put,
    state_of,
)
from gantlet.studies.sources import source_of
from gantlet.train.loop import DivergedError, Plan, train
from gantlet.train.snapshots import Snapshots

# How often players are recorded.
RECORDS = 24
_TOY_RECORDS = 60
# The noise floor is the largest of so many distances between real samples: exceeded by others
# with probability 1/20.
_DIVISIONS = 19
# The noise of a likelihood is taken from so many parts of the held-out samples.
_PARTS = 8
# So many training samples the mixture is fitted to at most.
_FITTED = 5_000

State = dict[str, Mapping[str, Tensor]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The players at one step.

    Attributes:
        step: After how many steps.
        state: All that they hold.
        quality: How far from the goal they are; lower is better.
    """

    step: int
    state: State
    quality: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a validation loss is read against.

    Attributes:
        floor: The largest of 19 distances between real samples, in numbers as in validation:
            what cannot be told from real data. None where the loss is no distance.
        mixture: The loss of a Gaussian mixture of ten components, or None where it has none.
        noise: The standard error of the loss over held-out samples; 0 where it is not known.
    """

    floor: float | None = None
    mixture: float | None = None
    noise: float = 0.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a training went through.

    Attributes:
        records: From the start to the end.
        measure: What the quality of a record is, in words.
        is_exact: Whether quality is without noise, as in a toy game.
        error: Why training broke off, or None.
        spend: What it used.
        scale: What quality is read against, or None in a toy game.
    """

    records: list[Record]
    measure: str
    is_exact: bool
    error: str | None
    spend: Spend
    scale: Scale | None = None

    @property
    def last(self) -> Record:
        """The record at the end."""
        return self.records[-1]

    @property
    def best(self) -> Record:
        """The record with the best quality."""
        return min(self.records, key=lambda r: r.quality)


def play(trial: Trial, folder: TrialFolder, watch: Watch, *, again: bool = False) -> Course:
    """Trains the game of a trial, or plays its toy game.

    Args:
        trial: What to train.
        folder: Where the players are saved along the way; an interrupted training goes on.
        watch: Told how far it is.
        again: Whether this is the second training of a trial.
    """
    if is_toy(trial.parts["model"]):
        return _play_toy(trial)
    share = 0.5 if trial.parts["try"] == "true" else 0.9
    start = 0.5 if again else 0.0
    name = "trying the advice" if again else "training"
    return _train(trial, folder, lambda used: watch(start + share * min(used, 1.0) * 0.9, name))


def recorded(trial: Trial, folder: TrialFolder, error: str | None, spend: Spend) -> Course:
    """Returns the course of a training whose snapshots are in a folder.

    Raises:
        UserError: If there is none, or they are of another version.
    """
    game, rng = blank(trial), Rng(trial.seed, trial.parts["device"])
    x = torch.cat(held_out(trial, 1024))
    records = [Record(step=0, state=state_of(game), quality=_quality(game, x, rng))]
    for file in sorted(folder.path.glob("snapshot-*.safetensors")):
        saved = folder.load(file.stem)
        try:
            put(game, _players(saved, game))
        except RuntimeError as wrong:
            raise UserError(
                f"{file} does not fit {trial.parts['model']}: another version of Gantlet saved "
                "it. Use that version, or train again."
            ) from wrong
        value = _quality(game, x, rng)
        if math.isfinite(value):
            step = int(saved["step"])
            records.append(Record(step=step, state=state_of(game), quality=value))
    return Course(
        records=records,
        measure="the validation loss of the last weights, not of their average",
        is_exact=False,
        error=error,
        spend=spend,
        scale=_scale(trial, game, x, rng),
    )


def _scale(trial: Trial, game: Game, x: Tensor, rng: Rng) -> Scale:
    """Returns what the validation loss of ``game`` is read against, for held-out ``x``."""
    if not isinstance(game, Generative):
        return Scale()
    space, splits = source_of(trial)
    real = everything(splits.train, len(x)).to(x.device)
    if game.distance(x, real) is None:
        parts = torch.split(x, max(len(x) // _PARTS, 1))
        losses = torch.tensor([_quality(game, part, rng) for part in parts])
        return Scale(noise=float(losses.std()) / math.sqrt(len(parts)))
    pool, draw = torch.cat([x, real]), rng.stream("floor")
    floor = max(_between_real(game, pool, len(x), draw) for _ in range(_DIVISIONS))
    train = everything(splits.train, _FITTED).to(x.device)
    return Scale(floor=floor, mixture=_mixture(game, space, train, x, rng))


def _between_real(game: Generative, pool: Tensor, n: int, rng: torch.Generator) -> float:
    order = torch.randperm(len(pool), generator=rng, device=rng.device)
    return _known(game.distance(pool[order[:n]], pool[order[n:]]))


def _mixture(game: Generative, space: Space, train: Tensor, x: Tensor, rng: Rng) -> float | None:
    """Returns the loss of an honest baseline, or None where it cannot model such data."""
    baseline = families.make("gmm")
    if not isinstance(baseline, Fitted):
        return None
    try:
        fitted = baseline.fit(space, train, rng=rng)
    except UserError:
        return None
    with torch.no_grad():
        drawn = fitted.model.sample(len(x), rng=rng.stream("mixture"))
        return _known(game.distance(x, drawn))


def _known(loss: Tensor | None) -> float:
    return math.nan if loss is None else float(loss)


def _quality(game: Game, x: Tensor, rng: Rng) -> float:
    # All that is trained on data can be validated.
    if not isinstance(game, Generative):
        return math.nan
    with torch.no_grad():
        return float(game.validate(x, rng=rng.stream("validate")))


def _players(saved: Mapping[str, Tensor], game: Game) -> State:
    return {
        name: {
            key.removeprefix(f"players/{name}/"): value
            for key, value in saved.items()
            if key.startswith(f"players/{name}/")
        }
        for name in game.players
    }


def _train(trial: Trial, folder: TrialFolder, watch: Callable[[float], None]) -> Course:
    made = family(trial.parts["model"])
    space, splits = source_of(trial)
    rng = Rng(trial.seed, trial.parts["device"])
    game = made.build(space, rng=rng)
    plan = Plan(budget=trial.budget, batch=int(trial.parts["batch"]), ema=made.ema, select="last")
    error, spend = None, Spend()
    try:
        trained = train(
            game,
            solvers.make(trial.parts["solver"]),
            splits,
            plan,
            rng=rng,
            keep=folder,
            snapshots=Snapshots(RECORDS, folder.save),
            watch=watch,
        )
        spend = trained.spend
    except DivergedError as wrong:
        error = str(wrong)
    folder.drop_state()
    return recorded(trial, folder, error, spend)


def _play_toy(trial: Trial) -> Course:
    toy = toys.make(trial.parts["model"])
    game, rng = toy.build(), Rng(trial.seed)
    moving = solvers.make(trial.parts["solver"]).start(game)
    batch, noise = torch.cat([toy.real] * moving.batches), rng.stream("noise")
    steps = trial.budget.steps or 0
    records, error = [_look(trial, game, 0)], None
    for step in range(1, steps + 1):
        moving.step(batch, rng=noise)
        if step * _TOY_RECORDS // steps > (step - 1) * _TOY_RECORDS // steps:
            records.append(_look(trial, game, step))
            if not records[-1].quality < 1e9:
                error = f"diverged at step {step}: the field is {records[-1].quality:.3g} long"
                records.pop()
                break
    return Course(
        records=records,
        measure="the length of the field, 0 at an equilibrium",
        is_exact=True,
        error=error,
        spend=Spend(steps=steps, examples=steps * len(batch)),
    )


def _look(trial: Trial, game: Game, step: int) -> Record:
    field = GameField(game, looked_at(trial, 1), rng=Rng(trial.seed).stream("field"))
    size = float(field.value().norm())
    return Record(step=step, state=state_of(game), quality=size)
