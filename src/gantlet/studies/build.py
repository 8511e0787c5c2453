"""Trains or fits the model of a trial."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from gantlet.compute.clock import Stopwatch, Usage
from gantlet.core.budget import Spend
from gantlet.core.components import families, solvers
from gantlet.core.dataset import everything
from gantlet.core.estimate import Estimate
from gantlet.core.family import Family, Fitted
from gantlet.core.model import Model
from gantlet.core.rng import Rng
from gantlet.core.solver import Losses
from gantlet.core.trial import Note, Trial
from gantlet.store.run import TrialFolder
from gantlet.studies import names
from gantlet.studies.base import Watch
from gantlet.studies.sources import source_of
from gantlet.train.loop import Plan, Trained, train
from gantlet.train.snapshots import Snapshots

_FITTED = "fitted directly, not trained by gradients: it spends its own cost, not the budget"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A model that is ready to be judged.

    Attributes:
        model: The model.
        spend: What training used.
        usage: What the clock saw of it.
        parameters: How many numbers training moved, critics included.
        notes: What a reader must know.
        trained: The course of training, or None for a baseline that was fitted directly.
    """

    model: Model
    spend: Spend
    usage: Usage
    parameters: int
    notes: tuple[Note, ...] = ()
    trained: Trained | None = None

    def scores(self) -> dict[str, Estimate]:
        """Returns what was counted: it repeats exactly."""
        exact = Estimate.exact
        found = {
            names.TRAINING: exact(self.spend.flops, unit="FLOP", better="lower"),
            "training examples": exact(self.spend.examples, unit="examples"),
            names.STEPS: exact(self.spend.steps, unit="steps"),
            "parameters to train": exact(self.parameters, unit="parameters"),
        }
        if self.trained is not None:
            found[names.STEP] = exact(self.trained.step_flops, unit="FLOP")
            found["best step"] = exact(self.trained.best_step, unit="steps")
        return found

    def clock(self) -> dict[str, Estimate]:
        """Returns what the clock saw: it repeats on no machine."""
        return {
            names.TRAINING_TIME: _timed(self.usage.wall, "s"),
            "training CPU time": _timed(self.usage.cpu, "s"),
            "peak memory of the process": _timed(float(self.usage.peak_memory), "B"),
            "achieved FLOP/s": _timed(self.spend.flops / max(self.usage.wall, 1e-9), "FLOP/s"),
        }


def build(trial: Trial, folder: TrialFolder, watch: Watch, *, rng: Rng) -> Built:
    """Trains the model of ``trial``, or fits it where it is a baseline.

    Raises:
        UserError: If the family cannot model such samples.
    """
    family = families.make(trial.parts["model"])
    if isinstance(family, Fitted):
        watch(0.0, "fitting")
        return _fit(family, trial, rng)
    return _train(family, trial, folder, watch, rng)


def _timed(value: float, unit: str) -> Estimate:
    once = "one run; read beside the FLOPs, since other work on the machine moves it"
    return Estimate(value=value, n=1, unit=unit, method=once)


def _fit(family: Fitted, trial: Trial, rng: Rng) -> Built:
    space, splits = source_of(trial)
    x = everything(splits.train).to(rng.device)
    with Stopwatch() as watch:
        fit = family.fit(space, x, rng=rng)
    return Built(
        model=fit.model,
        spend=Spend(flops=fit.flops, examples=len(x), seconds=watch.usage.wall),
        usage=watch.usage,
        parameters=sum(b.numel() for b in fit.model.buffers()),
        notes=(Note(_FITTED, "training"),),
    )


def _train(family: Family, trial: Trial, folder: TrialFolder, watch: Watch, rng: Rng) -> Built:
    space, splits = source_of(trial)
    game = family.build(space, rng=rng)
    patience = trial.parts["patience"]
    plan = Plan(
        budget=trial.budget,
        batch=int(trial.parts["batch"]),
        ema=family.ema,
        patience=None if patience == "none" else int(patience),
        select="last" if trial.parts.get("select") == "last" else "best",
    )
    solver = solvers.make(trial.parts["solver"])
    with Stopwatch() as stopwatch:
        trained = train(
            game,
            solver,
            splits,
            plan,
            rng=rng,
            keep=folder,
            snapshots=_snapshots(trial, folder),
            follow=training_progress(watch),
        )
    folder.save_curve(trained.curve)
    return Built(
        model=game.model,
        spend=trained.spend,
        usage=stopwatch.usage,
        parameters=sum(p.numel() for player in game.players.values() for p in player.parameters()),
        notes=_notes(trained),
        trained=trained,
    )


def _snapshots(trial: Trial, folder: TrialFolder) -> Snapshots | None:
    count = int(trial.parts.get("snapshots", "0"))
    return Snapshots(count, folder.save) if count else None


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
    last = 0.0

    def tell(used: float, losses: Losses) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > every:
            watch(0.9 * min(used, 1.0), training_text(used, losses))
            last = now

    return tell


def training_text(used: float, losses: Losses) -> str:
    """Returns how far training is: the share of its budget, and the losses of the last step.

    Example:
        >>> training_text(0.424, {"critic": 0.6931, "generator": 1.25})
        'training, 42 % of its budget, loss of critic 0.693, of generator 1.25'
        >>> training_text(1.0, {"flow": 12.0})
        'training, 100 % of its budget, loss 12'
    """
    share = f"training, {min(used, 1.0):.0%}".replace("%", " %") + " of its budget"
    if not losses:
        return share
    if len(losses) == 1:
        return f"{share}, loss {next(iter(losses.values())):.3g}"
    return f"{share}, loss " + ", ".join(f"of {k} {v:.3g}" for k, v in losses.items())
