"""Trained models: found in run folders, rebuilt, and the data that they were trained on."""

import json
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.commands import standings
from gantlet.compute.machine import Stopwatch, Usage, threads
from gantlet.core.data import all_samples
from gantlet.core.errors import UserError, unknown
from gantlet.core.estimate import REAL, Budget, Estimate, Note, Spend, Trial
from gantlet.core.model import Family, FittedFamily, Game, Losses, Model, Solver
from gantlet.core.rng import Rng
from gantlet.core.spec import families, label, solvers
from gantlet.options import AsyncEngine, Precision, Select
from gantlet.report.format import Pace, expected_end
from gantlet.run.asynchronous import Asynchronous, AsyncRecord, asynchronous, check_async
from gantlet.run.execute import Watch
from gantlet.run.monitors import named_monitors
from gantlet.run.store import Run, TrialFolder, write_bytes
from gantlet.run.train import Plan, Snapshots, Trained, measured_speed, train
from gantlet.run.trials import OnData, RunData, TrialParts, TypedTrial

# ----------------------------------------------------------------------------
# Finds a trial in a run folder by the name of its model and its seed.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTrial(TypedTrial):
    """What the trial of a trained model says, whatever command trained it.

    Attributes:
        model: The model in written form with all defaults.
        data: The data set in written form.
        data_seed: Seed of the train/validation/test split.
        seed: From which every random number of the trial follows.
    """

    model: str
    data: str
    data_seed: int
    seed: int


def find_trial(path: Path, model: str | None, seed: int) -> tuple[Trial, TrialFolder]:
    """Returns a finished trial and its folder.

    Args:
        path: The run folder.
        model: The model's label, as the report gives it, or its family where that is enough;
            None where the run has only one.
        seed: The trial's seed.

    Raises:
        UserError: If there is no such trial, or several.
    """
    run = Run.open(path)
    trials = [o.trial for o in run.outcomes() if o.error is None and o.trial.model != REAL]
    labels = {label(t.model): t.model for t in trials}
    if not labels:
        raise UserError(f"{path} has no finished model. Run its command again to go on.")
    wanted = _choose(path, model, labels)
    seeds = {t.seed: t for t in trials if t.model == wanted}
    if seed not in seeds:
        known = ", ".join(map(str, sorted(seeds)))
        raise UserError(f"{path} has no seed {seed} of {label(wanted)}. It has: {known}.")
    return seeds[seed], run.folder(seeds[seed])


def _choose(path: Path, model: str | None, labels: dict[str, str]) -> str:
    """Returns the model meant: by its label, or by its family where only one model is of it."""
    if model is None:
        if len(labels) > 1:
            known = ", ".join(sorted(labels))
            raise UserError(f"{path} has several models; give --model, one of {known}.")
        return next(iter(labels.values()))
    alike = [m for name, m in labels.items() if name.partition(":")[0] == model]
    if model not in labels and len(alike) != 1:
        raise unknown(f"model of {path}", model, labels)
    return labels[model] if model in labels else alike[0]


# ----------------------------------------------------------------------------
# Draws samples in blocks, so that memory does not grow with their number.
# ----------------------------------------------------------------------------

_BLOCK = 500


@torch.no_grad()
def draw(model: Model, n: int, *, rng: torch.Generator) -> Tensor:
    """Returns ``n`` samples, drawn in blocks of 500."""
    blocks = [model.sample(min(_BLOCK, n - i), rng=rng) for i in range(0, n, _BLOCK)]
    return torch.cat(blocks)


# ----------------------------------------------------------------------------
# Trains or fits the model of a trial.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Training(TrialParts):
    """How a model is trained.

    Attributes:
        solver: The optimizer in written form.
        batch: Samples in a batch.
        patience: Stop after this many validations without a better one; None spends the budget.
        select: Which weights are judged: those that validated best, or the last.
        snapshots: How often all players are saved over the budget.
        ema: Decay of the exponential moving average of weights, or None for the family's own.
        average_from: Share of the budget from which on weights enter a uniform average, or None.
        average_every: Steps from one set of weights in that average to the next.
        asynchronous: Number of workers of asynchronous training; 0 is synchronous.
        async_engine: What these workers are.
        monitors: What is measured along the way, in written form.
        precision: Arithmetic of the steps.
    """

    solver: str
    batch: int
    patience: int | None
    select: Select = "best"
    snapshots: int = 0
    ema: float | None = None
    average_from: float | None = None
    average_every: int = 1
    asynchronous: int = 0
    async_engine: AsyncEngine = "processes"
    monitors: tuple[str, ...] = ()
    precision: Precision = "fp32"

    @override
    def parts(self) -> dict[str, str]:
        """Returns it as the parts of a trial; defaults are left out but for the patience."""
        return {
            "solver": self.solver,
            "batch": str(self.batch),
            "patience": str(self.patience).lower(),
            **({} if self.select == "best" else {"select": self.select}),
            **({"snapshots": str(self.snapshots)} if self.snapshots else {}),
            **({} if self.ema is None else {"ema": repr(self.ema)}),
            **({} if self.average_from is None else self._uniform()),
            **({"async": str(self.asynchronous)} if self.asynchronous else {}),
            **({} if self.async_engine == "processes" else {"async engine": self.async_engine}),
            **({"monitors": json.dumps(self.monitors)} if self.monitors else {}),
            **({} if self.precision == "fp32" else {"precision": self.precision}),
        }

    def _uniform(self) -> dict[str, str]:
        return {
            "average from": repr(self.average_from),
            "average every": str(self.average_every),
        }

    @classmethod
    @override
    def of(cls, parts: Mapping[str, str]) -> "Training":
        """Reads the parts of a trial; that of real data has no solver."""
        return cls(
            solver=parts.get("solver", "none"),
            batch=int(parts["batch"]),
            patience=None if parts["patience"] == "none" else int(parts["patience"]),
            select="last" if parts.get("select") == "last" else "best",
            snapshots=int(parts.get("snapshots", "0")),
            ema=float(parts["ema"]) if "ema" in parts else None,
            average_from=float(parts["average from"]) if "average from" in parts else None,
            average_every=int(parts.get("average every", "1")),
            asynchronous=int(parts.get("async", "0")),
            async_engine="ray" if parts.get("async engine") == "ray" else "processes",
            monitors=tuple(json.loads(parts.get("monitors", "[]"))),
            precision="bf16" if parts.get("precision") == "bf16" else "fp32",
        )


class TrainingTrial(OnData, Protocol):
    """A trial of a model that is trained or fitted."""

    @property
    def model(self) -> str:
        """The model in written form with all defaults."""
        ...

    @property
    def training(self) -> Training:
        """How it is trained."""
        ...

    @property
    def budget(self) -> Budget:
        """What training may spend."""
        ...

    @property
    def threads(self) -> int:
        """Threads of the trial."""
        ...


TRACE = "staleness.csv"
"""The file in the folder of a trial that holds the staleness of every update."""
ASYNCHRONY = "asynchrony"
"""Where an outcome keeps what happened in an asynchronous training."""

MONITORED = "monitored"
"""Under what name the details of an outcome hold the curves of monitors."""

_FITTED = "fitted directly, not trained by gradients: it spends its own cost, not the budget"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A model that is ready to be judged.

    Attributes:
        model: The model.
        spend: What training used.
        usage: What the clock saw of it.
        parameters: How many numbers training moved, critics included.
        notes: What a reader must know.
        trained: The course of training, or None for a baseline that was fitted directly.
        asynchrony: The course of an asynchronous training, or None for any other.
    """

    model: Model
    spend: Spend
    usage: Usage
    parameters: int
    notes: tuple[Note, ...] = ()
    trained: Trained | None = None
    asynchrony: AsyncRecord | None = None

    def scores(self) -> dict[str, Estimate]:
        """Returns the counted scores, which repeat exactly."""
        exact = Estimate.exact
        found = {
            standings.TRAINING: exact(self.spend.flops, unit="FLOP", better="lower"),
            "training examples": exact(self.spend.examples, unit="examples"),
            standings.STEPS: exact(self.spend.steps, unit="steps"),
            "parameters to train": exact(self.parameters, unit="parameters"),
        }
        if self.trained is not None:
            found[standings.STEP] = exact(self.trained.step_flops, unit="FLOP")
            found["best step"] = exact(self.trained.best_step, unit="steps")
            found |= self.trained.scores
        return found

    def details(self) -> dict[str, Any]:
        """Returns staleness and the curves of monitors as plain JSON values, where there are."""
        charts = [] if self.trained is None else [dict(c) for c in self.trained.charts]
        record = self.asynchrony
        return {
            **({MONITORED: charts} if charts else {}),
            **({} if record is None else {ASYNCHRONY: record.details()}),
        }

    def clock(self) -> dict[str, Estimate]:
        """Returns the timed scores, which depend on the machine."""
        late = [] if self.asynchrony is None else self.asynchrony.staleness
        how = f"mean over {len(late)} updates; depends on the timing of workers"
        mean = math.fsum(late) / max(len(late), 1)
        stale = Estimate(value=mean, n=1, unit="steps", method=how)
        alone = "; of the training process alone, without its workers" if late else ""
        return {
            **({standings.STALENESS: stale} if late else {}),
            standings.TRAINING_TIME: _timed(self.usage.wall, "s"),
            "training CPU time": _timed(self.usage.cpu, "s", alone),
            "peak memory of the process": _timed(float(self.usage.peak_memory), "B"),
            "achieved FLOP/s": _timed(self.spend.flops / max(self.usage.wall, 1e-9), "FLOP/s"),
        }


def build(
    trial: TrainingTrial, folder: TrialFolder, watch: Watch, *, data: RunData, rng: Rng
) -> TrainedModel:
    """Trains the model of ``trial``, or fits it where it is a baseline.

    Args:
        trial: What is trained.
        folder: Where checkpoints and the curve are saved.
        watch: Is told how far it is.
        data: The data of the run.
        rng: From which every random number follows.

    Raises:
        UserError: If the family cannot model such samples.
    """
    family = families.make(trial.model)
    if isinstance(family, FittedFamily):
        watch(0.0, "fitting")
        return _fit(family, trial, data, rng)
    return _train(family, trial, folder, watch, data=data, rng=rng)


def _timed(value: float, unit: str, of: str = "") -> Estimate:
    once = "one run; read beside the FLOPs, since other work on the machine moves it"
    return Estimate(value=value, n=1, unit=unit, method=f"{once}{of}")


def _fit(family: FittedFamily, trial: TrainingTrial, data: RunData, rng: Rng) -> TrainedModel:
    space, splits = data.of(trial)
    x = all_samples(splits.train).to(rng.device)
    with Stopwatch() as watch:
        fit = family.fit(space, x, rng=rng)
    return TrainedModel(
        model=fit.model,
        spend=Spend(flops=fit.flops, examples=len(x), seconds=watch.usage.wall),
        usage=watch.usage,
        parameters=sum(b.numel() for b in fit.model.buffers()),
        notes=(Note(_FITTED, "training"),),
    )


def _train(
    family: Family,
    trial: TrainingTrial,
    folder: TrialFolder,
    watch: Watch,
    *,
    data: RunData,
    rng: Rng,
) -> TrainedModel:
    space, splits = data.of(trial)
    game = family.build(space, rng=rng)
    asked = trial.training
    plan = _plan(family, trial)
    with _solver(asked, game, trial.threads) as solver, Stopwatch() as stopwatch:
        trained = train(
            game,
            solver,
            splits,
            plan,
            rng=rng,
            keep=folder,
            snapshots=Snapshots(asked.snapshots, folder.save) if asked.snapshots else None,
            follow=training_progress(watch),
            monitors=named_monitors(asked.monitors),
        )
    folder.save_curve(trained.curve)
    record = solver.record if isinstance(solver, Asynchronous) else None
    if record is not None:
        write_bytes(folder.path / TRACE, record.trace().encode(), durable=True)
    return TrainedModel(
        model=game.model,
        spend=trained.spend,
        usage=stopwatch.usage,
        parameters=sum(p.numel() for player in game.players.values() for p in player.parameters()),
        notes=(*_notes(trained), *_notes_on_asynchrony(record)),
        trained=trained,
        asynchrony=record,
    )


def _plan(family: Family, trial: TrainingTrial) -> Plan:
    asked = trial.training
    return Plan(
        budget=trial.budget,
        batch=asked.batch,
        ema=family.ema if asked.ema is None else asked.ema,
        average_from=asked.average_from,
        average_every=asked.average_every,
        patience=asked.patience,
        select=asked.select,
        precision=asked.precision,
    )


_MEASURED = 4.0
"""Seconds of the run by which a time is turned into FLOPs; at most a tenth of that time."""


def training_speed(family: Family, trial: TrainingTrial, *, data: RunData, rng: Rng) -> float:
    """Returns how many FLOPs the training of ``trial`` makes in a second, by a short run of it.

    On one thread of a processor seconds are those of CPU time, which others on the machine do not
    change; else they are those of the wall clock.
    """
    space, splits = data.of(trial)
    game = family.build(space, rng=rng)
    on_one = trial.threads == 1 and rng.device.type == "cpu"
    with threads(trial.threads):
        return measured_speed(
            game,
            solvers.make(trial.training.solver),
            splits,
            _plan(family, trial),
            rng=rng,
            seconds=min(_MEASURED, (trial.budget.seconds or math.inf) / 10),
            clock=time.process_time if on_one else time.perf_counter,
        )


@contextmanager
def _solver(asked: Training, game: Game, threads: int) -> Generator[Solver]:
    """Yields what trains; workers of an asynchronous training end with the block."""
    solver = solvers.make(asked.solver)
    if not asked.asynchronous:
        yield solver
        return
    update = check_async(solver, solvers.short(asked.solver), game)
    with asynchronous(
        update, workers=asked.asynchronous, engine=asked.async_engine, threads=threads
    ) as served:
        yield served


def _notes_on_asynchrony(record: AsyncRecord | None) -> Iterator[Note]:
    if record is None:
        return
    late = record.histogram()
    yield Note(
        f"asynchronous: {len(record.staleness)} updates, staleness {min(late)} to {max(late)} "
        f"steps; {TRACE} in the folder of the trial holds that of each",
        "training",
    )
    if record.deaths or record.dropped:
        yield Note(
            f"asynchronous: {record.deaths} workers died and were replaced, {record.dropped} were "
            "dropped",
            "training",
        )


def _notes(trained: Trained) -> tuple[Note, ...]:
    best = f"the weights of step {trained.best_step} of {trained.spend.steps} validated best"
    notes = [Note(best, "training")]
    if trained.unknown:
        operators = ", ".join(sorted(trained.unknown))
        text = f"the meter could not count these operators, so FLOPs are too low: {operators}"
        notes.append(Note(text, "meter"))
    return tuple(notes)


def training_progress(watch: Watch, every: float = 0.2) -> Callable[[float, Losses], None]:
    """Passes on how far training is, a few times a second; training is 90 % of a trial."""
    last, pace = 0.0, Pace()

    def tell(used: float, losses: Losses) -> None:
        nonlocal last
        now = time.monotonic()
        left = pace.left(now, used)
        if now - last > every:
            watch(0.9 * min(used, 1.0), training_text(used, losses, expected_end(left)))
            last = now

    return tell


def training_text(used: float, losses: Losses, end: str = "") -> str:
    """Returns the progress of training: the share of its budget, the losses of the last step.

    Args:
        used: The share.
        losses: The losses.
        end: When training is expected to end, or empty where that is not known yet.

    Example:
        >>> training_text(0.5, {"flow": 12.0}, "until about 14:32")
        'training, 50 % of its budget, until about 14:32, loss 12'

        >>> training_text(0.424, {"critic": 0.6931, "generator": 1.25})
        'training, 42 % of its budget, loss of critic 0.693, of generator 1.25'
        >>> training_text(1.0, {"flow": 12.0})
        'training, 100 % of its budget, loss 12'
    """
    share = f"training, {min(used, 1.0):.0%}".replace("%", " %") + " of its budget"
    share = f"{share}, {end}" if end else share
    if not losses:
        return share
    if len(losses) == 1:
        return f"{share}, loss {next(iter(losses.values())):.3g}"
    return f"{share}, loss " + ", ".join(f"of {k} {v:.3g}" for k, v in losses.items())
