"""The trajectory of a training: parameters over time; does it settle, oscillate or diverge?"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import ClassVar, Literal, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.commands.own_games import LIVE, meaning
from gantlet.core.data import Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Spend
from gantlet.core.model import Family, FittedFamily, Game, Generative, Toy
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, families, solvers, toys
from gantlet.games.field import GameField
from gantlet.models.own import OwnSampleGame, reinitialized
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.train import Batches, DivergedError, Plan, Snapshots, train
from gantlet.run.trials import RunData, TrialParts, TypedTrial
from gantlet.stats.intervals import t_quantile

# ----------------------------------------------------------------------------
# What is diagnosed: a model or a toy game, a solver, data, a budget, a seed.
# ----------------------------------------------------------------------------

# How many training samples a game sees to set what depends on data, as in training.
_PREPARE = 512


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SavedTraining(TrialParts):
    """A finished training with snapshots in a run folder, or none.

    Attributes:
        path: The run folder; None where the trial trains by itself.
        model: The model as the report names it; None where the run has only one.
        seed: Its training seed.
    """

    path: Path | None = None
    model: str | None = None
    seed: int = 0

    @override
    def parts(self) -> dict[str, str]:
        """Returns the training as a part of a trial, which is empty where there is none."""
        written = "" if self.path is None else f"{self.path}\n{self.model or ''}\n{self.seed}"
        return {"run": written}

    @classmethod
    @override
    def of(cls, parts: Mapping[str, str]) -> "SavedTraining":
        """Reads the part of a trial."""
        if not parts["run"]:
            return cls()
        path, model, seed = parts["run"].split("\n")
        return cls(path=Path(path), model=model or None, seed=int(seed))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ConvergeTrial(TypedTrial):
    """One training that is diagnosed.

    Attributes:
        model: The model or toy game in written form with all defaults.
        solver: How the players move, in written form.
        data: The data set in written form; ``none`` for a toy game.
        data_seed: Seed of the train/validation/test split.
        batch: Samples in a batch.
        saved: Where the training is found that is diagnosed, if it is done already.
        retry: Whether to train again with what is recommended.
        threads: Threads of the trial; part of what decides the last digits.
        device: Where to train.
        budget: What training may spend.
        seed: From which every random number follows.
    """

    PARTS: ClassVar[Mapping[str, str]] = {"retry": "try"}

    model: str
    solver: str
    data: str
    data_seed: int
    batch: int
    saved: SavedTraining = SavedTraining()
    retry: bool
    threads: int
    device: str
    budget: Budget
    seed: int


def is_toy(model: str, data: RunData) -> bool:
    """Returns whether a written form is that of a toy game, or of one that makes no samples."""
    return isinstance(meaning(model, data), Toy)


def is_run(text: str) -> bool:
    """Returns whether a text names a run folder, as ``RUN`` or ``RUN@MODEL#SEED``."""
    return (run_parts(text)[0] / "run.json").exists()


def run_parts(text: str) -> tuple[Path, str | None, int]:
    """Returns folder, model and seed of ``RUN@MODEL#SEED``.

    Example:
        >>> run_parts("runs/demo@gan#2")
        (PosixPath('runs/demo'), 'gan', 2)

    Raises:
        UserError: If the seed is no number.
    """
    path, _, rest = text.partition("@")
    model, _, seed = rest.partition("#")
    if seed and not seed.isdigit():
        raise UserError(f"The seed of {text!r} must be a number, as in runs/demo@gan#0.")
    return Path(path), model or None, int(seed or 0)


def resolved(model: str) -> str:
    """Returns a model or toy game with every option written out.

    Raises:
        UserError: If there is no such model.
    """
    name = Spec.parse(model).name
    if name == LIVE:
        return model
    return toys.resolve(model) if name in toys.names() else families.resolve(model)


def short(model: str) -> str:
    """Returns a model or toy game as people name it."""
    spec = Spec.parse(model)
    if spec.name == LIVE:
        return f"the game of {spec.options['players'].replace('+', ' and ')}"
    if spec.name == "module":
        return Path(spec.options["path"]).name
    return toys.short(model) if spec.name in toys.names() else families.short(model)


def usual_solver(model: str, data: RunData) -> str:
    """Returns the solver that suits a model or toy game, with every option written out."""
    return solvers.resolve(meaning(model, data).solver)


def family(model: str, data: RunData) -> Family:
    """Returns the family of a written form.

    Raises:
        UserError: If it is none that is trained.
    """
    found = meaning(model, data)
    if isinstance(found, Toy):
        raise UserError(f"{short(model)} is a toy game, which no data train.")
    return found


def toy(model: str, data: RunData) -> Toy:
    """Returns the toy game of a written form.

    Raises:
        UserError: If it is none.
    """
    found = meaning(model, data)
    if not isinstance(found, Toy):
        raise UserError(f"{short(model)} is no toy game.")
    return found


def blank(trial: ConvergeTrial, data: RunData) -> Game:
    """Returns the game of a trial as it is before the first step."""
    model = trial.model
    if is_toy(model, data):
        return toy(model, data).build()
    space, splits = data.of(trial)
    rng = Rng(trial.seed, trial.device)
    game = family(model, data).build(space, rng=rng)
    first = Batches(splits.train, rng=rng).next(min(_PREPARE, len(splits.train)))
    with torch.no_grad():
        game.prepare(first, rng=rng.stream("prepare"))
    return game


def field_batch(trial: ConvergeTrial, data: RunData, most: int) -> Tensor:
    """Returns the real samples at which the field is looked at: the same for every model."""
    if is_toy(trial.model, data):
        return toy(trial.model, data).real
    _, splits = data.of(trial)
    return all_samples(splits.train, most).to(trial.device)


def held_out(trial: ConvergeTrial, data: RunData, most: int) -> tuple[Tensor, Tensor]:
    """Returns validation samples in two halves."""
    if is_toy(trial.model, data):
        real = toy(trial.model, data).real
        return real, real
    _, splits = data.of(trial)
    x = all_samples(splits.validation, most).to(trial.device)
    return x[::2], x[1::2]


def state_of(game: Game) -> dict[str, Mapping[str, Tensor]]:
    """Returns a copy of all that the players hold."""
    return {
        name: {k: v.detach().clone() for k, v in player.state_dict().items()}
        for name, player in game.players.items()
    }


def restore_state(game: Game, state: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Puts the players where ``state_of`` found them."""
    for name, player in game.players.items():
        player.load_state_dict(state[name])


# ----------------------------------------------------------------------------
# A training, and where its players were along the way.
# ----------------------------------------------------------------------------

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

Parameters = dict[str, Mapping[str, Tensor]]


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
    state: Parameters
    quality: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LossScale:
    """What a validation loss is read against.

    Attributes:
        floor: The largest of 19 distances between real samples, in numbers as in validation:
            what cannot be told from real data. None where the loss is no distance.
        mixture: The loss of a Gaussian mixture of ten components, or None where it has none.
        noise: The standard error of the loss over held-out samples; 0 where it is not known.
        untrained: The loss of a network of the user's own with its weights drawn anew, or None
            where training began with such weights, or they cannot be drawn.
    """

    floor: float | None = None
    mixture: float | None = None
    noise: float = 0.0
    untrained: float | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCourse:
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
    scale: LossScale | None = None

    @property
    def last(self) -> Record:
        """The record at the end."""
        return self.records[-1]

    @property
    def best(self) -> Record:
        """The record with the best quality."""
        return min(self.records, key=lambda r: r.quality)


def play(
    trial: ConvergeTrial, data: RunData, folder: TrialFolder, watch: Watch, *, again: bool = False
) -> TrainingCourse:
    """Trains the game of a trial, or plays its toy game.

    Args:
        trial: What to train.
        data: The data of the run.
        folder: Where the players are saved along the way; an interrupted training goes on.
        watch: Told how far it is.
        again: Whether this is the second training of a trial.
    """
    if is_toy(trial.model, data):
        return _play_toy(trial, data)
    share = 0.5 if trial.retry else 0.9
    start = 0.5 if again else 0.0
    name = "trying the advice" if again else "training"
    return _train(
        trial, data, folder, lambda used: watch(start + share * min(used, 1.0) * 0.9, name)
    )


def recorded(
    trial: ConvergeTrial, data: RunData, folder: TrialFolder, error: str | None, spend: Spend
) -> TrainingCourse:
    """Returns the course of a training whose snapshots are in a folder.

    Raises:
        UserError: If there is none, or they are of another version.
    """
    game, rng = blank(trial, data), Rng(trial.seed, trial.device)
    x = torch.cat(held_out(trial, data, 1024))
    records = [Record(step=0, state=state_of(game), quality=_quality(game, x, rng))]
    for file in sorted(folder.path.glob("snapshot-*.safetensors")):
        saved = folder.load(file.stem)
        try:
            restore_state(game, _players(saved, game))
        except RuntimeError as wrong:
            raise UserError(
                f"{file} does not fit {trial.model}: another version of Gantlet saved "
                "it. Use that version, or train again."
            ) from wrong
        value = _quality(game, x, rng)
        if math.isfinite(value):
            step = int(saved["step"])
            records.append(Record(step=step, state=state_of(game), quality=value))
    return TrainingCourse(
        records=records,
        measure="the validation loss of the last weights, not of their average",
        is_exact=False,
        error=error,
        spend=spend,
        scale=_scale(trial, data, game, x, rng),
    )


def _scale(trial: ConvergeTrial, data: RunData, game: Game, x: Tensor, rng: Rng) -> LossScale:
    """Returns the scale of the validation loss of ``game``, for held-out ``x``."""
    if not isinstance(game, Generative):
        return LossScale()
    space, splits = data.of(trial)
    real = all_samples(splits.train, len(x)).to(x.device)
    if game.distance(x, real) is None:
        parts = torch.split(x, max(len(x) // _PARTS, 1))
        losses = torch.tensor([_quality(game, part, rng) for part in parts])
        return LossScale(noise=float(losses.std()) / math.sqrt(len(parts)))
    pool, draw = torch.cat([x, real]), rng.stream("floor")
    floor = max(_between_real(game, pool, len(x), draw) for _ in range(_DIVISIONS))
    train = all_samples(splits.train, _FITTED).to(x.device)
    return LossScale(
        floor=floor,
        mixture=_mixture(game, space, train, x, rng),
        untrained=_untrained(blank(trial, data), x, rng),
    )


def _untrained(game: Game, x: Tensor, rng: Rng) -> float | None:
    """Returns the loss of the networks of the user's own with weights drawn anew, or None.

    Theirs may be trained already, so that the loss at the start is no measure of what was learned.
    """
    if not isinstance(game, OwnSampleGame):
        return None
    drawn = reinitialized(game.model.net, rng.stream("untrained"))
    return _quality(game, x, rng) if drawn else None


def _between_real(game: Generative, pool: Tensor, n: int, rng: torch.Generator) -> float:
    order = torch.randperm(len(pool), generator=rng, device=rng.device)
    return _known(game.distance(pool[order[:n]], pool[order[n:]]))


def _mixture(game: Generative, space: Space, train: Tensor, x: Tensor, rng: Rng) -> float | None:
    """Returns the loss of an honest baseline, or None where it cannot model such data."""
    baseline = families.make("gmm")
    if not isinstance(baseline, FittedFamily):
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


def _players(saved: Mapping[str, Tensor], game: Game) -> Parameters:
    return {
        name: {
            key.removeprefix(f"players/{name}/"): value
            for key, value in saved.items()
            if key.startswith(f"players/{name}/")
        }
        for name in game.players
    }


def _train(
    trial: ConvergeTrial, data: RunData, folder: TrialFolder, watch: Callable[[float], None]
) -> TrainingCourse:
    made = family(trial.model, data)
    space, splits = data.of(trial)
    rng = Rng(trial.seed, trial.device)
    game = made.build(space, rng=rng)
    plan = Plan(budget=trial.budget, batch=trial.batch, ema=made.ema, select="last")
    error, spend = None, Spend()
    try:
        trained = train(
            game,
            solvers.make(trial.solver),
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
    return recorded(trial, data, folder, error, spend)


def _play_toy(trial: ConvergeTrial, data: RunData) -> TrainingCourse:
    chosen = toy(trial.model, data)
    game, rng = chosen.build(), Rng(trial.seed)
    moving = solvers.make(trial.solver).start(game)
    batch, noise = torch.cat([chosen.real] * moving.batches), rng.stream("noise")
    steps = trial.budget.steps or 0
    records, error = [_look(trial, data, game, 0)], None
    for step in range(1, steps + 1):
        moving.step(batch, rng=noise)
        if step * _TOY_RECORDS // steps > (step - 1) * _TOY_RECORDS // steps:
            records.append(_look(trial, data, game, step))
            if not records[-1].quality < 1e9:
                error = (
                    f"diverged at step {step}: the norm of the field is {records[-1].quality:.3g}"
                )
                records.pop()
                break
    return TrainingCourse(
        records=records,
        measure="the length of the field, 0 at an equilibrium",
        is_exact=True,
        error=error,
        spend=Spend(steps=steps, examples=steps * len(batch)),
    )


def _look(trial: ConvergeTrial, data: RunData, game: Game, step: int) -> Record:
    field = GameField(game, field_batch(trial, data, 1), rng=Rng(trial.seed).stream("field"))
    size = float(field.value().norm())
    return Record(step=step, state=state_of(game), quality=size)


# ----------------------------------------------------------------------------
# Whether a training converges, oscillates, diverges or does not learn, by its course.
# ----------------------------------------------------------------------------

StateName = Literal["converging", "rotating", "diverging", "stuck"]

# A deterministic game converges if its last third is at most so large a share of its middle third.
_SHRINKS = 0.5
# ... and diverges if its last third is so many times its first.
_GROWS = 1.2

# On the logarithmic scale of a distance, as factors. A GAN has learned something if its loss is
# at most this share of the untrained one,
_LEARNED = 1 / 4
# has lost what it had learned if its loss is so many times its best, beyond any swing of it,
_LOST_ALL = 2.8
# oscillates if its loss strays from its own trend by this factor (one standard deviation),
_SWINGS = 1.4
# has lost some of what it had learned if it does not and is so many times its best,
LOST = 1.7
# and is as good as it gets if its loss is at most so many times the noise floor.
GOOD = 5.0

# On the scale of a likelihood, which has no zero: shares of what was gained.
_LOST_SHARE = 0.15
_SWINGS_SHARE = 0.15
# Differences below so many standard errors of the validation loss are noise.
_NOISE = 3.0
# A trend of the last half counts from this value of Student's t on.
_TREND = 2.0
# A verdict stands alone where the number that decides is as far on the other side of its threshold
# with this chance at most.
_WRONG = 0.05
# The standard deviation of the median of six normal numbers, over that of their mean: the last
# quarter of 25 records has six.
_MEDIAN = 1.135


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingState:
    """What a training does.

    Attributes:
        name: In one word.
        because: The numbers behind it, in a sentence.
        end: The validation loss at the end: the median of the last quarter of the records.
        ratio: ``end`` in units of the noise floor, or None where the loss has no floor.
        is_improving: Whether the loss still falls in the last half of the training.
        others: What it may do as well: the verdicts within the 90 % intervals of the two numbers
            that decide; none where both are on one side of every threshold.
        range: The 90 % interval of ``ratio``, or None where there is none.
    """

    name: StateName
    because: str
    end: float
    ratio: float | None = None
    is_improving: bool = False
    others: tuple[StateName, ...] = ()
    range: tuple[float, float] | None = None

    @property
    def is_good(self) -> bool:
        """Whether training settles, and where no distance says that it is far from the data."""
        return self.name == "converging" and (self.ratio is None or self.ratio <= GOOD)


def straddles_good(interval: Sequence[float] | None) -> bool:
    """Returns whether a loss in units of the noise floor may be near the data, or far from them.

    Example:
        >>> straddles_good((4.2, 5.6)), straddles_good((5.1, 5.6))
        (True, False)
    """
    return interval is not None and interval[0] <= GOOD < interval[1]


def state_of_course(course: TrainingCourse) -> TrainingState:
    """Returns the state of a training, by the quality of its records alone.

    A distance is judged on a logarithmic scale, against the noise floor: the largest of 19
    distances between real samples of the same number, below which no model is distinguishable
    from real data. A likelihood has no zero and is judged by shares of what was gained, beyond
    the noise of the validation loss.
    """
    qualities = [record.quality for record in course.records]
    if course.error is not None:
        summary = f"{course.error[0].upper()}{course.error[1:]}."
        return TrainingState(name="diverging", because=summary, end=qualities[-1])
    if course.is_exact:
        return _exact(qualities)
    if course.scale is not None and course.scale.floor is not None:
        return _distance(qualities, course.scale, course.scale.floor)
    return _likelihood(qualities, 0.0 if course.scale is None else course.scale.noise)


def _exact(size: list[float]) -> TrainingState:
    third = max(len(size) // 3, 1)
    first, middle, last = mean(size[:third]), mean(size[third:-third]), mean(size[-third:])
    summary = (
        f"Mean norm of the gradient field: {first:.3g} in the first third of training, "
        f"{middle:.3g} in the second, {last:.3g} in the last."
    )
    name: StateName = "rotating"
    if last <= max(_SHRINKS * middle, 1e-9):
        name = "converging"
    elif last > _GROWS * first:
        name = "diverging"
    return TrainingState(name=name, because=summary, end=last)


def _distance(quality: list[float], scale: LossScale, floor: float) -> TrainingState:
    logs = [math.log(max(q, floor)) for q in quality]
    half = logs[len(logs) // 2 :]
    trend = _trend(half)
    end = math.exp(_end(logs))
    best = math.exp(min(_smooth(logs)))
    first = f"{quality[0]:.3g} untrained"
    if scale.untrained is not None:
        first = f"{scale.untrained:.3g} with weights drawn anew, {quality[0]:.3g} at the start"
    summary = (
        f"Validation loss: {first}, {best:.3g} at best, {end:.3g} at the end "
        f"(median of the last quarter), {end / floor:.1f} times the noise floor {floor:.2g}"
    )
    if scale.mixture is not None:
        summary += f"; a Gaussian mixture has {scale.mixture:.3g}"
    swing = trend.interval_of_spread()
    # The standard error of a median of so many records about their trend.
    wide = _MEDIAN * t_quantile(1 - _WRONG, trend.df) * trend.spread / math.sqrt(_last(logs))
    ends = (end * math.exp(-wide), end * math.exp(wide))
    start = quality[0] if scale.untrained is None else scale.untrained
    shape = _Shape(start=start, best=best, floor=floor)
    name = shape.state(end, trend.spread)
    nearby: list[StateName] = [
        *(shape.state(e, trend.spread) for e in ends),
        *(shape.state(end, w) for w in swing),
    ]
    apart: dict[StateName, None] = dict.fromkeys(nearby)
    apart.pop(name, None)
    others = tuple(apart)
    why = shape.reason(name, end, trend.spread)
    if others:
        why += (
            f" The last weights are known to within a factor of {math.exp(wide):.1f}, and the "
            f"deviation from the trend is {math.exp(swing[0]):.2f} to {math.exp(swing[1]):.2f}: "
            "a training of another seed may be judged otherwise."
        )
    is_improving = trend.t < -_TREND and name == "converging" and end > floor
    return TrainingState(
        name=name,
        because=f"{summary}. {why}",
        end=end,
        ratio=end / floor,
        is_improving=is_improving,
        others=others,
        range=(ends[0] / floor, ends[1] / floor),
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """What the course of a distance says, by its level at the end and how it swings.

    Attributes:
        start: The loss before training.
        best: The lowest loss.
        floor: The noise floor.
    """

    start: float
    best: float
    floor: float

    def state(self, end: float, spread: float) -> StateName:
        """Returns the verdict on a training with this final loss and spread on a log scale."""
        reached = max(_LEARNED * self.start, GOOD * self.floor)
        if self.best <= reached and end > _LOST_ALL * self.best:
            return "diverging"
        if end > reached:
            return "stuck"
        if math.exp(spread) > _SWINGS:
            return "rotating"
        return "diverging" if end > LOST * self.best else "converging"

    def reason(self, name: StateName, end: float, spread: float) -> str:
        """Returns the number that decided, in a sentence."""
        strays = math.exp(spread)
        if name == "diverging":
            return f"It is {end / self.best:.1f} times its best: progress was lost again."
        if name == "stuck":
            share = 100 * end / self.start
            return f"That is {share:.0f} % of the untrained loss: little was learned."
        if name == "rotating":
            return f"In the last half it deviates from its trend by a factor of {strays:.1f}."
        return f"In the last half it stays within a factor of {strays:.2f} of its trend."


def _likelihood(quality: list[float], noise: float) -> TrainingState:
    start, best = quality[0], min(quality)
    half = quality[len(quality) // 2 :]
    end, gained = _end(quality), start - best
    summary = f"Validation loss: {start:.3g} untrained, {best:.3g} at best, {end:.3g} at the end"
    if gained <= _NOISE * noise:
        return TrainingState(name="stuck", because=f"{summary}: little was learned.", end=end)
    trend = _trend(half)
    lost, swing = (end - best) / gained, (max(half) - min(half)) / gained
    if lost > _LOST_SHARE and end - best > _NOISE * noise and end >= mean(half):
        return TrainingState(
            name="diverging",
            because=f"{summary}: {100 * lost:.0f} % of the gain is lost again.",
            end=end,
        )
    summary = f"{summary}; in the last half it varies by {100 * swing:.0f} % of the gain."
    if swing > _SWINGS_SHARE and abs(trend.t) < _TREND and max(half) - min(half) > _NOISE * noise:
        return TrainingState(name="rotating", because=summary, end=end)
    improving = trend.t < -_TREND and -trend.change > _NOISE * noise
    return TrainingState(name="converging", because=summary, end=end, is_improving=improving)


def _end(values: Sequence[float]) -> float:
    return median(values[-_last(values) :])


def _last(values: Sequence[float]) -> int:
    """Returns the number of records in the last quarter."""
    return max(len(values) // 4, 1)


def _smooth(values: Sequence[float]) -> list[float]:
    """Returns running medians of three, so that one lucky record is no best."""
    return [median(values[max(i - 1, 0) : i + 2]) for i in range(len(values))]


@final
@dataclass(frozen=True, slots=True)
class _Trend:
    """A straight line through values.

    Attributes:
        change: By how much it rises from the first value to the last.
        spread: The standard deviation of values around it.
        t: Its slope over the standard error of the slope.
        df: The degrees of freedom of ``spread``.
    """

    change: float
    spread: float
    t: float
    df: int = 1

    def interval_of_spread(self) -> tuple[float, float]:
        """Returns the 90 % interval of ``spread``, of normal deviations."""
        from scipy.special import chdtri

        low, high = (float(chdtri(self.df, p)) for p in (_WRONG, 1 - _WRONG))
        return self.spread * math.sqrt(self.df / low), self.spread * math.sqrt(self.df / high)


def _trend(values: Sequence[float]) -> _Trend:
    n = len(values)
    if n < 3:
        return _Trend(0.0, 0.0, 0.0)
    x = [i - (n - 1) / 2 for i in range(n)]
    sxx = math.fsum(a * a for a in x)
    slope = math.fsum(a * y for a, y in zip(x, values, strict=True)) / sxx
    middle = math.fsum(values) / n
    rest = [y - middle - slope * a for a, y in zip(x, values, strict=True)]
    spread = math.sqrt(math.fsum(r * r for r in rest) / (n - 2))
    error = spread / math.sqrt(sxx)
    t = slope / error if error > 0 else math.copysign(math.inf, slope) if slope else 0.0
    return _Trend(slope * (n - 1), spread, t, n - 2)
