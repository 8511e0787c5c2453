"""One training at one batch size, with the gradient noise of its players along the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import final

import torch
from torch import Tensor

from gantlet.commands.converge.course import LOST
from gantlet.commands.own_games import meaning
from gantlet.commands.trained import training_text
from gantlet.compute.machine import threads
from gantlet.core.data import Source, Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Outcome, Trial
from gantlet.core.model import Family, Game, Generative, Losses, Monitor, Toy
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, solvers
from gantlet.features.base import full_precision
from gantlet.games.noise import Ledger, NoiseMonitor, NoiseMonitoring, coupling
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.train import DivergedError, Plan, Trained, train
from gantlet.run.trials import RunData, TypedTrial
from gantlet.stats.noise_scale import RateRule, scaled_rate

# How often validation is measured, and on how many samples.
_VALIDATIONS = 40
_HELD_OUT = 300
# Pairs of sets of real samples whose distance is the noise floor.
_FLOORS = 19
# Samples on which it is seen whether a loss couples them.
_SEEN = 16
# A likelihood is lost again beyond this share of what was gained.
_LOST_SHARE = 0.15
# What validations may cost.
_SHARE = 1.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTrial(TypedTrial):
    """One training at one batch size.

    Attributes:
        model: The model in written form with all defaults.
        solver: How the players move, at the batch that was asked for.
        rate: How the learning rate follows the batch.
        base: The batch that was asked for.
        batch: Samples in a batch.
        data: The data set in written form.
        data_seed: Seed of the train/validation/test split.
        threads: Threads of the trial; part of what decides the last digits.
        device: Where to train.
        share: What looks at the gradients may cost beside the training.
        budget: Its number of steps.
        seed: From which every random number follows.
    """

    model: str
    solver: str
    rate: RateRule
    base: int
    batch: int
    data: str
    data_seed: int
    threads: int
    device: str
    share: float = 0.6
    budget: Budget
    seed: int

    @property
    def scaled_solver(self) -> str:
        """The solver with the learning rate of this batch."""
        return at_batch(self.solver, self.base, self.batch, self.rate)


def at_batch(solver: str, base: int, batch: int, rate: RateRule) -> str:
    """Returns a solver whose learning rates follow the batch.

    Example:
        >>> at_batch("sgd:lr=0.1+0.2,momentum=0.0", 64, 16, "sqrt")
        'sgd:lr=0.05+0.1,momentum=0.0'

    Raises:
        UserError: If it has no learning rate.
    """
    spec = Spec.parse(solver)
    if batch == base or rate == "constant":
        return solver
    if "lr" not in spec.options:
        raise UserError(f"{spec.name} has no learning rate lr that could follow the batch.")
    rates = [scaled_rate(float(r), base, batch, rate) for r in spec.options["lr"].split("+")]
    written = "+".join(f"{r:.6g}" for r in rates)
    return str(Spec(spec.name, {**spec.options, "lr": written}))


@final
@dataclass(frozen=True, slots=True)
class _Kept:
    """A monitor that is kept, with all that it sees.

    Attributes:
        inner: The monitor.
        started: The monitor at work, once training has begun.
    """

    inner: NoiseMonitor
    started: list[NoiseMonitoring]

    @property
    def share(self) -> float:
        """That of the monitor."""
        return self.inner.share

    def start(self, game: Game, train: Source, *, batch: int, rng: Rng) -> NoiseMonitoring:
        """Returns the monitor, ready to look."""
        self.started.append(self.inner.start(game, train, batch=batch, rng=rng))
        return self.started[-1]


def family_of(model: str, data: RunData) -> Family:
    """Returns the family of a written form.

    Raises:
        UserError: If it is a game whose losses are exact, or one that makes no samples.
    """
    found = meaning(model, data)
    if isinstance(found, Toy):
        raise UserError(
            f"{Spec.parse(model).name} is a game without samples, whose gradients have no batch "
            "noise. Name a family, such as gan, or a game with a generator."
        )
    return found


def run_trial(written: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Outcome:
    """Trains at one batch size and keeps validation and noise along the way."""
    trial = BatchTrial.of(written)
    with threads(trial.threads), full_precision():
        return _run(trial, written, data, folder, watch)


def _run(
    trial: BatchTrial, written: Trial, data: RunData, folder: TrialFolder, watch: Watch
) -> Outcome:
    space, splits = data.of(trial)
    family, rng = family_of(trial.model, data), Rng(trial.seed, trial.device)
    game = family.build(space, rng=rng)
    monitor = _Kept(NoiseMonitor(share=trial.share), [])
    plan = Plan(
        budget=trial.budget,
        batch=trial.batch,
        ema=family.ema,
        validations=_VALIDATIONS,
        share=_SHARE,
        held_out=_HELD_OUT,
        select="last",
    )
    trained, error = _trained(
        trial, game, splits, plan, monitor=monitor, rng=rng, folder=folder, watch=watch
    )
    folder.drop_state()
    ledger = monitor.started[-1].ledger
    details = {
        "curve": [] if trained is None else [[p["step"], p["validation"]] for p in trained.curve],
        "floor": floor_of(game, splits, rng),
        "ledger": ledger.state_dict(),
        "diverged": error,
        "step flops": None if trained is None else trained.step_flops,
        "players": list(game.players),
        "couples": coupling(game, _first(splits, rng), rng=rng.stream("couples")),
    }
    if trained is None:
        return Outcome(trial=written, details=details)
    return Outcome(trial=written, spend=trained.spend, scores=trained.scores, details=details)


def _first(splits: Splits, rng: Rng) -> Tensor:
    return all_samples(splits.train, _SEEN).to(rng.device)


def _trained(
    trial: BatchTrial,
    game: Generative,
    splits: Splits,
    plan: Plan,
    *,
    monitor: Monitor,
    rng: Rng,
    folder: TrialFolder,
    watch: Watch,
) -> tuple[Trained | None, str | None]:
    """Returns the training, or why it diverged."""

    def follow(used: float, losses: Losses) -> None:
        watch(0.95 * min(used, 1.0), f"batch {trial.batch}, {training_text(used, losses)}")

    solver = solvers.make(trial.scaled_solver)
    try:
        return train(
            game,
            solver,
            splits,
            plan,
            rng=rng,
            keep=folder,
            follow=follow,
            monitors={"noise": monitor},
        ), None
    except DivergedError as wrong:
        return None, str(wrong)


@torch.no_grad()
def floor_of(game: Generative, splits: Splits, rng: Rng) -> float | None:
    """Returns the noise floor of validation, or None for a likelihood.

    It is the largest of 19 distances between held-out and training samples, exceeded by others
    with probability 1/20.
    """
    x = all_samples(splits.validation, _HELD_OUT).to(rng.device)
    found: list[float] = []
    for k in range(_FLOORS):
        stream = Rng(rng.seed).stream(f"floor/{k}")
        index = torch.randint(len(splits.train), (len(x),), generator=stream)
        value = game.distance(x, splits.train.take(index).to(rng.device))
        if value is None:
            return None
        found.append(float(value))
    return max(found)


# ----------------------------------------------------------------------------
# What a training reached.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Course:
    """Validation over the steps of one training.

    Attributes:
        batch: Its batch.
        seed: Its seed.
        steps: Steps of the validations.
        values: Validation losses, lower is better.
        floor: The noise floor, or None for a likelihood.
        diverged: Why it stopped, or None.
        step_flops: FLOPs of a step, or None.
        ledger: The gradient noise along the way.
    """

    batch: int
    seed: int
    steps: Sequence[float]
    values: Sequence[float]
    floor: float | None
    diverged: str | None
    step_flops: float | None
    ledger: Ledger

    @classmethod
    def of(cls, outcome: Outcome) -> "Course":
        """Reads the outcome of a trial."""
        details, trial = outcome.details, BatchTrial.of(outcome.trial)
        ledger = Ledger()
        ledger.load_state_dict(details["ledger"])
        known = [(s, v) for s, v in details["curve"] if v is not None]
        return cls(
            batch=trial.batch,
            seed=trial.seed,
            steps=[float(s) for s, _ in known],
            values=[float(v) for _, v in known],
            floor=details["floor"],
            diverged=details["diverged"],
            step_flops=details["step flops"],
            ledger=ledger,
        )

    @property
    def smooth(self) -> list[float]:
        """Running medians of three, so that one lucky validation is no best."""
        v = self.values
        return [median(v[max(i - 1, 0) : i + 2]) for i in range(len(v))]

    @property
    def end(self) -> float | None:
        """The median of the last quarter of the validations, or None where there are none."""
        if self.diverged is not None or not self.values:
            return None
        return median(self.values[-max(len(self.values) // 4, 1) :])

    @property
    def loses(self) -> bool:
        """Whether it diverged, or lost its progress again.

        A distance is lost at 1.7 times its best, or the noise floor where that is more; a
        likelihood at 15 % of its gain.
        """
        end = self.end
        if end is None:
            return True
        smooth = self.smooth
        best = min(smooth)
        if self.floor is not None:
            return end > LOST * max(best, self.floor)
        return end - best > _LOST_SHARE * max(smooth[0] - best, 0.0)

    def steps_to(self, target: float) -> float | None:
        """Returns after how many steps the target was first reached, or None."""
        smooth = self.smooth
        for i, value in enumerate(smooth):
            if value > target:
                continue
            if i == 0:
                return self.steps[0]
            before = smooth[i - 1]
            share = (before - target) / (before - value) if before > value else 1.0
            return self.steps[i - 1] + share * (self.steps[i] - self.steps[i - 1])
        return None
