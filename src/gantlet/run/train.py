"""The training loop, common to all games, solvers and budgets."""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol, final

import torch
from torch import Tensor

from gantlet.compute.machine import wait
from gantlet.compute.meters import count
from gantlet.core.data import Source, Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Estimate, Spend
from gantlet.core.model import Generative, Losses, Monitor, Solver
from gantlet.core.rng import Rng
from gantlet.options import Precision
from gantlet.run.averaging import Average, Averaging
from gantlet.run.monitors import Monitors

# ----------------------------------------------------------------------------
# Batches from shuffled epochs; the only state is the number of samples taken.
# ----------------------------------------------------------------------------


@final
class Batches:
    """Draws samples without replacement, epoch after epoch.

    The order of epoch ``e`` depends on the seed and ``e`` alone, so that ``taken`` is all there is
    to save and restore.

    Args:
        source: The samples.
        rng: Seed of the orders; batches are put on its device.
    """

    def __init__(self, source: Source, *, rng: Rng) -> None:
        self._source = source
        self._rng = rng
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)
        self.taken = 0

    def next(self, n: int) -> Tensor:
        """Returns the next ``n`` samples, shape ``(n, *space.shape)``."""
        parts = []
        while n > 0:
            epoch, start = divmod(self.taken, len(self._source))
            part = self._order_of(epoch)[start : start + n]
            parts.append(part)
            self.taken += len(part)
            n -= len(part)
        return self._source.take(torch.cat(parts)).to(self._rng.device)

    def _order_of(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            stream = Rng(self._rng.seed).stream(f"epoch/{epoch}")
            self._order = torch.randperm(len(self._source), generator=stream)
            self._epoch = epoch
        return self._order


# ----------------------------------------------------------------------------
# Snapshots of all players during training, for tournaments.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Snapshots:
    """Schedule and storage of snapshots.

    One is taken after each part of the budget, and one at the end. The schedule depends on the
    used budget alone: a resumed training takes the same snapshots.

    Attributes:
        count: Number of parts of the budget; a training with fewer steps gives fewer.
        save: Called with ``snapshot-001`` and so on, and the tensors.
        selected: Numbers of the only snapshots that are taken, where any are given. Each validates
            first, at the cost of a validation, and its weights are those that validated best so
            far: those that a training which ended there would be judged by.
    """

    count: int
    save: Callable[[str, Mapping[str, Tensor]], None]
    selected: tuple[int, ...] = ()

    def due(self, before: float, used: float) -> int | None:
        """Returns the number of the snapshot due at this fraction of the budget, or None.

        Example:
            >>> takes = Snapshots(4, lambda name, tensors: None)
            >>> takes.due(0.2, 0.24), takes.due(0.24, 0.26)
            (None, 1)
        """
        part = math.floor(used * self.count)
        if self.selected:
            new = [k for k in self.selected if before * self.count < k <= used * self.count]
            return max(new, default=None)
        return min(part, self.count) if part > math.floor(before * self.count) else None

    def last(self, used: float) -> int:
        """Returns the number of the snapshot at the end of a training."""
        return min(self.count, math.floor(used * self.count) + 1)

    def take(self, number: int, game: Generative, model: Mapping[str, Tensor], step: int) -> None:
        """Saves all players, the evaluated weights (averaged or not), and the step."""
        players = {
            f"players/{name}/{key}": value
            for name, player in game.players.items()
            for key, value in player.state_dict().items()
        }
        sampled = {f"model/{key}": value for key, value in model.items()}
        self.save(f"snapshot-{number:03d}", {**players, **sampled, "step": torch.tensor(step)})


# ----------------------------------------------------------------------------
# The training loop.
# ----------------------------------------------------------------------------

Point = dict[str, float | int | None]

# Number of training samples for data-dependent initialization.
_PREPARE = 512

# Minimum number of samples of a validation.
_FEW = 16


class DivergedError(RuntimeError):
    """Training diverged: a loss or a sample is not finite."""


@final
class RestartWarning(UserWarning):
    """Training restarts, since its checkpoint is not of this model."""


class Checkpoints(Protocol):
    """Storage of the training state; a trial's folder is one."""

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Keeps ``state``."""
        ...

    def load_state(self) -> dict[str, Any] | None:
        """Returns the last stored state, or None."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Settings of the training loop.

    Attributes:
        budget: Training budget, validation included.
        batch: Batch size.
        ema: Decay of the exponential moving average of weights; 0 for none.
        average_from: For a uniform average of weights in the place of the exponential one: the
            share of the budget from which on they enter it, in [0, 1).
        average_every: Steps from one set of weights in the uniform average to the next.
        validations: Maximum number of validations, spread evenly over the budget.
        share: Maximum share of the budget for validation.
        patience: Early stopping: validations without improvement; None uses the whole budget.
        held_out: Maximum number of validation samples.
        select: Weights to evaluate: those with the ``best`` validation, or the ``last``.
        precision: Arithmetic of the steps: in ``bf16`` matrix products and convolutions take
            rounded copies of weights and activations; weights, losses and validation stay in fp32.
        checkpoint: Seconds between checkpoints.
    """

    budget: Budget
    batch: int = 128
    ema: float = 0.0
    average_from: float | None = None
    average_every: int = 1
    validations: int = 20
    share: float = 0.05
    patience: int | None = None
    held_out: int = 512
    select: Literal["best", "last"] = "best"
    precision: Precision = "fp32"
    checkpoint: float = 30.0


def arithmetic(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Returns a context in which training steps compute in ``precision``.

    Source: Micikevicius et al., 2018, https://arxiv.org/abs/1710.03740; in bf16 no loss needs to
    be scaled (Kalamkar et al., 2019, https://arxiv.org/abs/1905.12322).
    """
    if precision == "fp32":
        return nullcontext()
    # Rounded copies of weights are not kept: a step of several players changes them in between.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The result of training; the game's model holds the selected weights.

    Attributes:
        spend: Resources used.
        curve: One point per validation: step, flops, examples, losses, validation.
        best_step: The step with the best validation.
        step_flops: FLOPs of one step.
        unknown: Heavy operators that the meter could not count, with calls per step.
        scores: What the monitors measured, by name.
        charts: The curves of the monitors, as ``Monitoring.charts`` gives them.
    """

    spend: Spend
    curve: list[Point]
    best_step: int
    step_flops: float
    unknown: Mapping[str, int] = field(default_factory=dict[str, int])
    scores: Mapping[str, Estimate] = field(default_factory=dict[str, Estimate])
    charts: Sequence[Mapping[str, Any]] = ()


def train(
    game: Generative,
    solver: Solver,
    data: Splits,
    plan: Plan,
    *,
    rng: Rng,
    keep: Checkpoints | None = None,
    snapshots: Snapshots | None = None,
    watch: Callable[[float], None] = lambda _: None,
    follow: Callable[[float, Losses], None] = lambda _, __: None,
    monitors: Mapping[str, Monitor] = MappingProxyType({}),
    clock: Callable[[], float] = time.perf_counter,
) -> Trained:
    """Trains ``game`` within the budget and leaves the selected model in it.

    The budget is never exceeded: a step that would not fit, with the validation that must follow,
    is not made. (Only a budget of seconds can be overrun, by less than one step.)

    Args:
        game: The game, on the device of ``rng``; players are changed in place.
        solver: Training algorithm.
        data: Its train split is used for training, its validation split for selection.
        plan: Budget and settings.
        rng: Its streams ``data``, ``noise`` and ``validate`` determine all randomness.
        keep: Storage of checkpoints; an interrupted training resumes from the last one, with a
            bit-identical result.
        snapshots: Schedule of snapshots; they change nothing else.
        watch: Called with the used fraction of the budget after each step.
        follow: Called with the same and the losses of the step.
        monitors: Measurements along the way, by name. They change nothing else: their cost is not
            charged to the budget.
        clock: Returns seconds; injected so that tests need not wait.

    Raises:
        UserError: If the budget is unlimited, or too small for one step.
        DivergedError: If a loss is not finite; the message says which and at which step.

    Warns:
        RestartWarning: If the checkpoint is not of this model: training restarts.
    """
    if not plan.budget.is_limited:
        raise UserError("Training needs a budget: flops, examples, steps or seconds.")

    def ready() -> _Training:
        watched = Monitors(monitors, game, data.train, batch=plan.batch, rng=rng)
        return _Training(game, solver, data=data, plan=plan, rng=rng, watched=watched, clock=clock)

    state = keep.load_state() if keep else None
    training, used = ready(), 0.0
    if state is not None and training.takes_up(state):
        used = plan.budget.used(training.spend)
    else:
        training = training if state is None else ready()
        training.begin()
    saved = clock()
    while training.goes_on():
        training.step()
        before, used = used, plan.budget.used(training.spend)
        if snapshots and (number := snapshots.due(before, used)):
            training.snap(snapshots, number)
        watch(used)
        follow(used, training.last)
        if keep and clock() - saved > plan.checkpoint:
            keep.save_state(training.state())
            saved = clock()
    if snapshots and not snapshots.selected:
        training.snap(snapshots, snapshots.last(used))
    return training.finish()


def measured_speed(
    game: Generative,
    solver: Solver,
    data: Splits,
    plan: Plan,
    *,
    rng: Rng,
    seconds: float = 3.0,
    clock: Callable[[], float] = time.process_time,
) -> float:
    """Returns how many FLOPs training makes in a second, over a short run of the real loop.

    The first quarter, in which memory and kernels are set up, is not measured.

    Args:
        game: The game, on the device of ``rng``; players are changed in place.
        solver: Training algorithm.
        data: Data as for ``train``.
        plan: Settings as for ``train``; its budget spaces the validations.
        rng: As for ``train``.
        seconds: Duration of the measurement; two steps are the least.
        clock: Returns seconds.

    Raises:
        DivergedError: If a loss is not finite.
    """
    watched = Monitors({}, game, data.train, batch=plan.batch, rng=rng)
    training = _Training(game, solver, data=data, plan=plan, rng=rng, watched=watched, clock=clock)
    training.begin()

    def run(least: int, lasting: float) -> tuple[float, float]:
        wait()
        start, before = clock(), training.spend
        while training.spend.steps - before.steps < least or clock() - start < lasting:
            training.step()
        wait()
        return training.spend.flops - before.flops, clock() - start

    run(1, seconds / 4)
    flops, lasted = run(2, seconds * 3 / 4)
    return flops / max(lasted, 1e-9)


@final
class _Training:
    """Training between two steps: all that a checkpoint holds."""

    def __init__(
        self,
        game: Generative,
        solver: Solver,
        *,
        data: Splits,
        plan: Plan,
        rng: Rng,
        watched: Monitors,
        clock: Callable[[], float],
    ) -> None:
        self._game = game
        self._watched = watched
        self._data = data
        self._plan = plan
        self._rng = rng
        self._clock = clock
        self._batches = Batches(data.train, rng=rng)
        self._noise = rng.stream("noise")
        self._held_out = all_samples(data.validation, plan.held_out).to(rng.device)
        self._solver = solver
        self.spend = Spend()
        self._costs = {"step": 0.0, "validation": 0.0, "seconds": 0.0}
        self._unknown: dict[str, int] = {}
        self._losses: list[Losses] = []
        self.last: Losses = {}
        self._curve: list[Point] = []
        self._best: dict[str, Tensor] = {}
        self._best_step = 0
        self._next = 0.0

    def begin(self) -> None:
        """Prepares the game, makes the first step and counts the cost of step and validation."""
        first = self._batches.next(min(_PREPARE, len(self._data.train)))
        self._batches.taken = 0
        with torch.no_grad():
            setup = count(lambda: self._game.prepare(first, rng=self._rng.stream("prepare")))
        self._start()
        self.spend += Spend(flops=setup.flops)
        cost = count(self._one_step)
        self._costs |= {"step": cost.flops, "seconds": self.spend.seconds}
        self._unknown = dict(cost.unknown)
        # The step was made before its cost was known; charge it now.
        self.spend += Spend(flops=cost.flops)
        if not self._plan.budget.fits(self.spend):
            raise UserError(
                f"The budget is too small: one step of {' and '.join(self._game.players)} on "
                f"{self._plan.batch} samples costs {cost.flops:.3g} FLOPs. "
                "Give a larger budget or a smaller --batch."
            )
        self._held_out = self._held_out[: self._affordable()]
        self._costs["validation"] = count(self._validate).flops
        self.spend += Spend(flops=self._costs["validation"])
        self._next = self._interval()

    def _affordable(self) -> int:
        """Number of samples that validation's share pays for twice, first and last."""
        few = self._held_out[:_FEW]
        cost = count(lambda: self._game.validate(few, rng=self._rng.stream("validate")))
        self.spend += Spend(flops=cost.flops)
        one = self._share(cost.flops) / max(len(few), 1)
        return len(self._held_out) if one == 0 else max(_FEW, int(self._plan.share / 2 / one))

    def _share(self, flops: float) -> float:
        """The share of the budget of a validation with a given number of FLOPs.

        Where the budget is not in FLOPs, it counts as the steps that cost as much as the first.
        """
        steps = flops / self._costs["step"] if self._costs["step"] else 0.0
        step = Spend(
            examples=self._first_examples,
            steps=1,
            seconds=self._costs["seconds"],
        )
        budget = self._plan.budget
        return max(budget.used(Spend(flops=flops)), steps * budget.used(step))

    def _start(self) -> None:
        self._play = self._solver.start(self._game)
        # Later steps may take more: their work is counted in units of the first.
        self._first_examples = self._plan.batch * self._play.batches
        plan = self._plan
        how = Averaging(decay=plan.ema, start=plan.average_from, every=plan.average_every)
        self._average = Average(self._game.model, how)

    def _interval(self) -> float:
        """The used fraction of the budget from one validation to the next."""
        one = self._share(self._costs["validation"])
        times = self._plan.validations if one == 0 else int(self._plan.share / one)
        return 1 / max(1, min(times, self._plan.validations))

    def goes_on(self) -> bool:
        """Whether another step fits, with the validation that must follow the last one."""
        patience = self._plan.patience
        if patience is not None and len(self._curve) - self._best_index() >= patience:
            return False
        ahead = Spend(
            flops=self._costs["step"] * self._play.work + self._costs["validation"],
            examples=self._plan.batch * self._play.batches,
            steps=1,
        )
        return self._plan.budget.fits(self.spend + ahead)

    def _best_index(self) -> int:
        steps = [point["step"] for point in self._curve]
        return steps.index(self._best_step) + 1

    def step(self) -> None:
        """Makes one step, lets monitors look, and validates when it is time."""
        work = self._play.work
        self._one_step()
        self.spend += Spend(flops=self._costs["step"] * work)
        self._watched.after(self.spend.steps, self._play)
        if self._plan.budget.used(self.spend) >= self._next:
            self._validate()
            self.spend += Spend(flops=self._costs["validation"])
            self._next += self._interval()

    def _one_step(self) -> None:
        start = self._clock()
        examples = self._plan.batch * self._play.batches
        with arithmetic(self._plan.precision, self._rng.device):
            losses = self._play.step(self._batches.next(examples), rng=self._noise)
        self._game.advance(rng=self._noise)
        self._average.update(self._plan.budget.used(self.spend))
        self.spend += Spend(examples=examples, steps=1, seconds=self._clock() - start)
        for name, loss in losses.items():
            if not math.isfinite(loss):
                raise DivergedError(
                    f"diverged at step {self.spend.steps}: the loss of {name} is {loss}"
                )
        self._losses.append(losses)
        self.last = losses

    def _validate(self) -> None:
        start = self._clock()
        with torch.no_grad(), self._average.applied():
            stream = self._rng.stream("validate")
            value = float(self._game.validate(self._held_out, rng=stream))
            if not self._best or value < self._best_value():
                self._best = self._weights()
                self._best_step = self.spend.steps
        self.spend += Spend(seconds=self._clock() - start)
        self._curve.append(self._point(value))
        self._losses = []

    def _validate_now(self) -> None:
        """Validates the last step, unless that was done."""
        if self._curve[-1]["step"] != self.spend.steps:
            self._validate()
            self.spend += Spend(flops=self._costs["validation"])

    def _weights(self) -> dict[str, Tensor]:
        return {k: v.clone() for k, v in self._game.model.state_dict().items()}

    def snap(self, snapshots: Snapshots, number: int) -> None:
        """Saves the current state of all players."""
        if snapshots.selected:
            self._validate_now()
            weights = self._best
        else:
            with self._average.applied():
                weights = self._weights()
        snapshots.take(number, self._game, weights, self.spend.steps)

    def _keep(self) -> None:
        """Stores the current (averaged) weights as the best."""
        with self._average.applied():
            self._best, self._best_step = self._weights(), self.spend.steps

    def _best_value(self) -> float:
        values = [p["validation"] for p in self._curve if p["step"] == self._best_step]
        return math.inf if values[0] is None else values[0]

    def _point(self, validation: float) -> Point:
        names = self._losses[0] if self._losses else {}
        means = {
            f"loss of {name}": math.fsum(losses[name] for losses in self._losses)
            / len(self._losses)
            for name in names
        }
        return {
            "step": self.spend.steps,
            "examples": self.spend.examples,
            "flops": self.spend.flops,
            "validation": validation if math.isfinite(validation) else None,
            **means,
            **self._watched.point(),
        }

    def finish(self) -> Trained:
        """Validates the last step, puts the best weights in place and reports."""
        self._validate_now()
        if self._plan.select == "last":
            self._keep()
        self._game.model.load_state_dict(self._best)
        return Trained(
            spend=self.spend,
            curve=self._curve,
            best_step=self._best_step,
            step_flops=self._costs["step"],
            unknown=self._unknown,
            scores=self._watched.scores(),
            charts=self._watched.charts(),
        )

    def state(self) -> dict[str, Any]:
        """Returns the full state for an exact continuation."""
        return {
            "players": {k: p.state_dict() for k, p in self._game.players.items()},
            "model": self._game.model.state_dict(),
            "play": self._play.state_dict(),
            "average": self._average.state_dict(),
            "noise": self._noise.get_state(),
            "taken": self._batches.taken,
            "held_out": len(self._held_out),
            "spend": [self.spend.flops, self.spend.examples, self.spend.steps, self.spend.seconds],
            "costs": self._costs,
            "unknown": self._unknown,
            "losses": [dict(losses) for losses in self._losses],
            "curve": self._curve,
            "best": self._best,
            "best_step": self._best_step,
            "next": self._next,
            "watched": self._watched.state_dict(),
        }

    def takes_up(self, state: Mapping[str, Any]) -> bool:
        """Restores a saved state if it fits; else warns and leaves the game unchanged."""
        modules = (*self._game.players.values(), self._game.model)
        before = [deepcopy(module.state_dict()) for module in modules]
        try:
            self.load(state)
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            for module, weights in zip(modules, before, strict=True):
                module.load_state_dict(weights)
            reason = " ".join(str(error).split())[:200]
            summary = (
                f"the checkpoint is of another version of Gantlet, training restarts: {reason}"
            )
            warnings.warn(summary, RestartWarning, stacklevel=2)
            return False
        return True

    def load(self, state: Mapping[str, Any]) -> None:
        """Restores a saved state."""
        for name, player in self._game.players.items():
            player.load_state_dict(state["players"][name])
        self._game.model.load_state_dict(state["model"])
        self._start()
        self._play.load_state_dict(state["play"])
        self._average.load_state_dict(state["average"])
        self._noise.set_state(state["noise"])
        self._batches.taken = state["taken"]
        self._held_out = self._held_out[: state["held_out"]]
        flops, examples, steps, seconds = state["spend"]
        self.spend = Spend(flops=flops, examples=examples, steps=steps, seconds=seconds)
        self._costs, self._unknown = state["costs"], state["unknown"]
        self._losses, self._curve = state["losses"], state["curve"]
        self._best, self._best_step = state["best"], state["best_step"]
        self._next = state["next"]
        # Checkpoints of earlier versions have no monitors.
        if "watched" in state:
            self._watched.load_state_dict(state["watched"])
