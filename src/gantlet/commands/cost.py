"""The cost of a training before it is run: FLOPs counted on ``meta``, a few steps timed."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from statistics import median
from typing import final

import torch
from torch import Tensor

from gantlet.commands import standings
from gantlet.compute.machine import Clock, wait
from gantlet.compute.meters import count, parameters_read, pretend
from gantlet.core.data import Kind, Source, Space, Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Estimate
from gantlet.core.model import Family, FitResult, FittedFamily, Game, Model, Play, default_batch
from gantlet.core.rng import Rng
from gantlet.core.spec import families, solvers
from gantlet.report.blocks import Caveat, Column, Fact, Facts, Report, Row, Section, Table, Verdict
from gantlet.report.format import text
from gantlet.run.train import Batches

# ----------------------------------------------------------------------------
# How many steps a family needed on published data, for those who plan a training.
#
# ``known_runs.json`` is made from the committed results by ``benchmarks/experience.py``, which
# says
# how.
# ----------------------------------------------------------------------------

# Data of so many times the components, or a part of them, can be compared with.
_COMPARABLE = 4.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCourse:
    """The course of one family on one published set of data.

    Attributes:
        family: The family, with its default settings.
        data: The data.
        kind: What its samples are.
        size: How many components a sample has.
        steps: From how many steps on at most a tenth of the gain was left, or None where that was
            not seen.
        most: How many steps were made.
    """

    family: str
    data: str
    kind: Kind
    size: int
    steps: int | None
    most: int

    def text(self) -> str:
        """Returns the course in one sentence."""
        who = f"on {self.data} {self.family}"
        if self.steps is None:
            return f"{who} was still improving fast after {self.most:,} steps"
        return f"{who} had made 90 % of its improvement after {self.steps:,} steps"


@cache
def known_runs() -> Sequence[KnownCourse]:
    """Returns all that is known."""
    text = files("gantlet.commands").joinpath("experience.json").read_text(encoding="utf-8")
    return tuple(KnownCourse(**row) for row in json.loads(text)["rows"])


def nearest(model: str, space: Space) -> KnownCourse | None:
    """Returns the course of a model's family on the data most like ``space``.

    None where nothing can be compared: another kind of samples, or more than four times as many
    components or as few.

    Args:
        model: The model in written form.
        space: What one sample is.
    """
    family = model.partition(":")[0]
    alike = [k for k in known_runs() if k.family == family and k.kind == space.kind]
    known = min(alike, key=lambda k: _apart(k, space), default=None)
    return known if known and _apart(known, space) <= math.log(_COMPARABLE) else None


def _apart(known: KnownCourse, space: Space) -> float:
    return abs(math.log(known.size / space.size))


# ----------------------------------------------------------------------------
# What a training would cost: counted where it can be, timed on a few steps where it must be.
# ----------------------------------------------------------------------------

_SMALLEST = 8  # Samples in the first batch that is tried.
_LONG = 0.5  # Seconds of a step from which on no larger batch is tried.
_REPEATS = 5  # Steps that are timed, and samples.
_PREPARE = 512  # Samples that set what depends on data, as in training.


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What it takes to train a model, and to draw from it.

    Attributes:
        family: The model, in written form with all defaults.
        solver: How it would be trained, in written form, or None where it is fitted directly.
        examples: Samples it would be trained on, repeats counted; None where a budget decides.
        batch: Samples in a batch.
        estimates: The numbers, by the name that reports give them.
        notes: What a reader must know, one sentence each.
        known: How many steps such a family needed on the nearest published data, in words.
    """

    family: str
    solver: str | None
    examples: int | None
    batch: int
    estimates: dict[str, Estimate]
    notes: tuple[str, ...] = ()
    known: str = ""

    @property
    def label(self) -> str:
        """The model as people name it, with those options that are not the default."""
        return families.short(self.family)


def cost_of(
    family: str,
    space: Space,
    train: Source,
    *,
    examples: int | None = None,
    budget: Budget | None = None,
    batch: int | None = None,
    solver: str | None = None,
    rng: Rng | None = None,
    clock: Clock | None = None,
) -> Cost:
    """Returns the predicted cost of training ``family`` on so many examples or within a budget.

    A few steps are made and timed on the device of ``rng``, on batches that grow until a step
    takes half a second; a larger batch is then counted without computing it. A family that is
    fitted directly is fitted.

    Args:
        family: The model, in written form.
        space: What one sample is.
        train: The samples to learn from.
        examples: Samples to train on, repeats counted; None where a budget decides.
        budget: What training may spend, validation included; None where the examples decide.
        batch: Samples in a batch; None is what suits the family.
        solver: How to train, in written form; None is what suits the family.
        rng: Where to compute; the CPU if None.
        clock: Where times are read; the machine's if None.

    Raises:
        UserError: If a number is below 1, or the family cannot model such samples.
    """
    if (examples is None) == (budget is None):
        raise UserError("Give examples or a budget, not both.")
    for option, value in (("--examples", examples), ("--batch", batch)):
        if value is not None and value < 1:
            raise UserError(f"{option} must be at least 1. Got {value}.")
    rng = Rng(0) if rng is None else rng
    timer = Timer((clock or Clock()).wall)
    made = families.make(family)
    batch = batch or default_batch(made, space)
    plays: str | None = None
    if isinstance(made, FittedFamily):
        x = all_samples(train, examples).to(rng.device)
        estimates, notes = _fit(made, space, x, rng, timer)
    else:
        plays = solvers.resolve(solver or made.solver)
        trial = CostTrial(made, plays, space, train, rng=rng, timer=timer)
        estimates, notes = trial.cost(examples if budget is None else budget, batch)
    return Cost(
        family=families.resolve(family),
        solver=plays,
        examples=examples,
        batch=batch,
        estimates=estimates,
        notes=notes,
        known="" if plays is None else _known(family, space, estimates[standings.STEPS]),
    )


def _known(family: str, space: Space, steps: Estimate) -> str:
    found = nearest(families.resolve(family), space)
    if found is not None:
        is_few = (steps.high or 0.0) < (found.steps or found.most)
        return f"{found.text()}{', more than planned here' if is_few else ''}"
    name = family.partition(":")[0]
    return f"the steps needed are not known: no published training of {name} is on data like these"


def cost_report(costs: Sequence[Cost], data: str, peak: float, found: str = "") -> Report:
    """Returns the report of what some models would cost.

    Args:
        costs: What each would cost.
        data: The written form of the data.
        peak: The measured peak of the machine, in FLOP/s.
        found: How many samples were found, in words.
    """
    first = costs[0]
    question = {
        "models": [c.family for c in costs],
        "data": data,
        "examples": first.examples,
        "batches": [c.batch for c in costs],
        "solvers": [c.solver for c in costs],
    }
    return Report(
        title=f"What training on {data} would cost",
        command="cost",
        question=question,
        verdicts=[_verdict(c) for c in _cheapest_first(costs)],
        caveats=[Caveat(text=note) for note in _all_notes(costs, found)],
        rows=[
            Row(data=data, model=c.family, seed=None, name=name, estimate=estimate)
            for c in costs
            for name, estimate in c.estimates.items()
        ],
        blocks=[_table(_cheapest_first(costs), peak), _details(costs)],
    )


def _cheapest_first(costs: Sequence[Cost]) -> list[Cost]:
    """Returns models by the operations of their training; those without a number come last."""

    def flops(cost: Cost) -> float:
        value = cost.estimates[standings.TRAINING].value
        return math.inf if value is None else value

    return sorted(costs, key=flops)


def _all_notes(costs: Sequence[Cost], found: str) -> list[str]:
    """Returns the notes for the reader, each sentence once."""
    notes = [found] if found else []
    notes += [note for c in costs for note in c.notes]
    return list(dict.fromkeys(notes))


def expected(cost: Cost) -> str:
    """Returns the plan of a training in one sentence: steps, time, what others needed."""
    found = cost.estimates
    summary = f"{_range(found[standings.TRAINING_TIME])} on this machine"
    summary += f", {text(found[standings.TRAINING].value, 'FLOP')}"
    if (steps := found.get(standings.STEPS)) is not None:
        summary = f"{_range(steps)} in {summary}"
    known = f"; {cost.known}" if cost.known else ""
    return f"{cost.label}: {summary}{known}."


def _range(e: Estimate) -> str:
    """Returns a range in words; rounded as a forecast is."""

    def whole(value: float | None) -> str:
        if e.unit != "steps":
            return text(float(f"{value or 0.0:.2g}"), e.unit)
        return f"{value or 0.0:,.0f}"

    unit = f" {e.unit}" if e.unit == "steps" else ""
    if e.low is None or e.low == e.high:
        return f"{whole(e.value)}{unit}"
    low, high = whole(e.low), whole(e.high)
    same = low.partition(" ")[2] == high.partition(" ")[2]
    return f"{low.partition(' ')[0] if same else low} to {high}{unit}"


def samples_found(splits: Splits) -> str:
    """Returns the number of samples, in one sentence."""
    sizes = (len(splits.train), len(splits.validation), len(splits.test))
    train, validation, test = (f"{n:,}" for n in sizes)
    return f"Samples found: {train} for training, {validation} for validation, {test} for testing."


def _verdict(cost: Cost) -> Verdict:
    found = cost.estimates
    return Verdict(
        claim=expected(cost),
        because=f"One sample: {text(found[standings.SAMPLING_TIME])}, "
        f"{text(found[standings.SAMPLING])}.",
    )


def _table(costs: Sequence[Cost], peak: float) -> Table:
    units = {name: e.unit for c in costs for name, e in c.estimates.items()}
    shown = [name for name in _HEADS if name in units]
    shown += [name for name in units if name not in _HEADS]
    return Table(
        title="Cost of training and sampling",
        columns=[Column(name="model"), *(_column(name, units[name]) for name in shown)],
        rows=[[c.label, *(c.estimates.get(n) for n in shown)] for c in costs],
        note="Least training first. FLOPs are the same on every machine; times are measured on "
        f"this one, whose peak is {text(peak, 'FLOP/s')} in fp32, under its present load.",
    )


_HEADS = {
    "parameters to train": ("parameters", "Training"),
    standings.STEP: ("one step", "Training"),
    standings.STEPS: ("steps", "Training"),
    standings.TRAINING: ("all steps", "Training"),
    "achieved FLOP/s": ("speed", "Training"),
    standings.TRAINING_TIME: ("wall time", "Training"),
    standings.PARAMETERS: ("parameters", "Sampling"),
    standings.SAMPLING: ("one sample", "Sampling"),
    standings.SAMPLING_TIME: ("wall time", "Sampling"),
}
"""How columns are headed, and under which common head, by the name of the number."""


def _column(name: str, unit: str) -> Column:
    head, group = _HEADS.get(name, (name, ""))
    # The common head says what is counted.
    return Column(name=head, unit=unit, group=group, help=f"{name[0].upper()}{name[1:]}.")


def _details(costs: Sequence[Cost]) -> Section:
    facts = [
        Fact(name=c.label, value=" with ".join(filter(None, (c.family, c.solver)))) for c in costs
    ]
    return Section(title="Models in full", blocks=[Facts(items=facts)])


@final
class Timer:
    """Times single calls, waiting for the device at both ends."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read

    def seconds(self, run: Callable[[], object]) -> float:
        """Returns the duration of one call."""
        wait()
        start = self._read()
        run()
        wait()
        return max(self._read() - start, 1e-9)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """A few steps: on batches of which size, at which cost, in which times."""

    batch: int
    flops: float
    seconds: tuple[float, ...]
    unknown: tuple[str, ...]

    @property
    def method(self) -> str:
        """How the times were obtained, in words."""
        n = len(self.seconds)
        return f"median of {n} steps on batches of {self.batch}; interval from minimum to maximum"


@final
@dataclass(frozen=True, slots=True)
class _Counted:
    """A number of operations.

    Attributes:
        flops: How many.
        how: How they were found, in words.
        is_scaled: Whether they were taken in proportion to those of a smaller batch, which is a
            guess; else they were counted.
    """

    flops: float
    how: str
    is_scaled: bool = False

    def times(self, n: float) -> Estimate:
        """Returns ``n`` times as many, without an interval where they are a guess."""
        if self.is_scaled:
            return Estimate(
                value=n * self.flops, n=1, unit="FLOP", better="lower", method=self.how
            )
        return Estimate.exact(n * self.flops, method=self.how, unit="FLOP", better="lower")


@final
class CostTrial:
    """A game with its solver, to be tried on a few batches and thrown away."""

    def __init__(
        self, family: Family, solver: str, space: Space, train: Source, *, rng: Rng, timer: Timer
    ) -> None:
        self._rng = rng
        self._timer = timer
        self._batches = Batches(train, rng=rng)
        self._game = family.build(space, rng=rng)
        with torch.no_grad():
            first = self._batches.next(min(_PREPARE, len(train)))
            self._game.prepare(first, rng=rng.stream("prepare"))
        self._play: Play = solvers.make(solver).start(self._game)
        self._noise = rng.stream("noise")

    def cost(
        self, asked: int | Budget | None, batch: int
    ) -> tuple[dict[str, Estimate], tuple[str, ...]]:
        """Returns the numbers, and what a reader must know of them.

        Where examples are asked for, validation comes on top; a budget pays for it.
        """
        probe = self._probe(batch)
        counted = self._step(probe, batch)
        step = counted.flops
        per_step = batch * self._play.batches
        times = [step / probe.flops * s for s in probe.seconds]
        if isinstance(asked, Budget):
            made = steps_within(asked, step, per_step, times)
        else:
            made = Estimate.exact(math.ceil((asked or 0) / per_step), unit="steps")
        steps = made.value or 0.0
        players = self._game.players.values()
        moved = sum(p.numel() for player in players for p in player.parameters())
        estimates = {
            "parameters to train": Estimate.exact(moved, unit="parameters"),
            standings.STEP: counted.times(1),
            standings.STEPS: made,
            standings.TRAINING: counted.times(steps),
            "achieved FLOP/s": _spread(
                [probe.flops / s for s in probe.seconds], "FLOP/s", probe.method
            ),
            standings.TRAINING_TIME: _lasting(made, times, probe.method),
            **_sampling(self._game.model, self._rng, self._timer),
        }
        return estimates, tuple(_notes(probe, counted))

    def _probe(self, batch: int) -> _Probe:
        n = min(batch, _SMALLEST)
        while True:
            run = self._runner(n)
            run()  # The first step sets up memory and kernels.
            seconds = self._timer.seconds(run)
            if n == batch or seconds > _LONG:
                break
            n = min(batch, 4 * n)
        again = (self._timer.seconds(run) for _ in range(_REPEATS - 1))
        times = (seconds, *again)
        counted = count(run)
        return _Probe(
            batch=n, flops=counted.flops, seconds=times, unknown=tuple(sorted(counted.unknown))
        )

    def _runner(self, n: int) -> Callable[[], object]:
        x = self._batches.next(n * self._play.batches)
        return lambda: self._play.step(x, rng=self._noise)

    def _step(self, probe: _Probe, batch: int) -> _Counted:
        """Returns the cost of a step on a full batch."""
        if probe.batch == batch:
            return _Counted(probe.flops, "counted on one step")
        x = self._batches.next(probe.batch)
        try:
            with pretend() as shape:
                small = shape(x)
                full = small[:1].expand(batch, *x.shape[1:])
                ratio = _gradients(self._game, full, self._noise) / max(
                    _gradients(self._game, small, self._noise), 1.0
                )
        except RuntimeError:
            # Torch cannot follow a loss that looks at its numbers without computing it.
            how = f"counted on a batch of {probe.batch}, in proportion"
            return _Counted(probe.flops * (batch / probe.batch), how, is_scaled=True)
        return _Counted(probe.flops * ratio, "counted on shapes alone")


def _lasting(steps: Estimate, seconds: Sequence[float], how: str) -> Estimate:
    """Returns the range of durations of so many steps, from the fastest to the slowest."""
    fast, slow = min(seconds) * (steps.low or 0.0), max(seconds) * (steps.high or 0.0)
    middle = _spread([s * (steps.value or 0.0) for s in seconds], "s", how)
    return replace(middle, low=fast, high=slow)


_VALIDATION = 0.05
"""The largest share of a budget that validation takes."""


def steps_within(
    budget: Budget, flops: float, examples: int, seconds: Sequence[float]
) -> Estimate:
    """Returns the number of steps that a budget pays for.

    The interval runs from the case that validation takes all of its share, and steps are as slow
    as the slowest of ``seconds``, to the opposite.

    Args:
        budget: What training may spend, validation included.
        flops: Operations of a step.
        examples: Samples of a step.
        seconds: How long some steps took.

    Example:
        >>> e = steps_within(Budget(flops=1000), 10.0, 128, [1.0])
        >>> e.low, e.value, e.high
        (95.0, 97.0, 100.0)
    """
    least, most = [], []
    for limit, one in (
        (budget.flops, (flops, flops)),
        (budget.seconds, (max(seconds), min(seconds))),
    ):
        if limit is not None and min(one) > 0:
            least.append((1 - _VALIDATION) * limit / one[0])
            most.append(limit / one[1])
    exact = [budget.steps] if budget.steps is not None else []
    exact += [budget.examples // examples] if budget.examples is not None else []
    low, high = (float(math.floor(min([*part, *exact]))) for part in (least, most))
    return Estimate(
        value=float((int(low) + int(high)) // 2),
        low=low,
        high=high,
        level=1.0,
        n=len(seconds),
        unit="steps",
        method="steps within the budget, of which validation takes up to 5 %",
    )


def _gradients(game: Game, batch: Tensor, rng: torch.Generator) -> float:
    """Returns the operations of every player's loss and gradient, once each."""

    def run() -> None:
        for name, player in game.players.items():
            loss = game.loss(name, batch, rng=rng)
            torch.autograd.grad(loss, list(player.parameters()))

    return count(run).flops


def _sampling(model: Model, rng: Rng, timer: Timer) -> dict[str, Estimate]:
    noise = rng.stream("sample")

    def run() -> object:
        return model.sample(1, rng=noise)

    with torch.no_grad():
        cost = count(run).flops
        read = parameters_read(run, model)
        times = [timer.seconds(run) for _ in range(_REPEATS)]
    how = f"median of {_REPEATS} samples drawn one by one; interval from minimum to maximum"
    return {
        standings.PARAMETERS: Estimate.exact(read, unit="parameters"),
        standings.SAMPLING: _Counted(cost, "counted on one sample drawn alone").times(1),
        standings.SAMPLING_TIME: _spread(times, "s", how),
    }


def _fit(
    family: FittedFamily, space: Space, x: Tensor, rng: Rng, timer: Timer
) -> tuple[dict[str, Estimate], tuple[str, ...]]:
    fits: list[FitResult] = []
    seconds = timer.seconds(lambda: fits.append(family.fit(space, x, rng=rng)))
    (fit,) = fits
    fitted = sum(b.numel() for b in fit.model.buffers())
    estimates = {
        "parameters to train": Estimate.exact(fitted, unit="parameters"),
        standings.TRAINING: _Counted(fit.flops, "counted from the algorithm").times(1),
        standings.TRAINING_TIME: Estimate(value=seconds, n=1, unit="s", method="fitted once"),
        **_sampling(fit.model, rng, timer),
    }
    return estimates, (f"Models that are fitted directly are fitted once, to {len(x):,} samples.",)


def _spread(values: Sequence[float], unit: str, how: str) -> Estimate:
    """Returns the median; all values lie on one side of the true one with chance 2^(1-n)."""
    return Estimate(
        value=median(values),
        low=min(values),
        high=max(values),
        level=1 - 2.0 ** (1 - len(values)),
        n=len(values),
        unit=unit,
        method=how,
    )


def _notes(probe: _Probe, step: _Counted) -> Iterator[str]:
    yield "Validation, at most 5 % of a budget, comes on top of the cost for these examples."
    if step.is_scaled:
        yield f"The cost of a step was {step.how}, because its loss depends on values of the data."
    if probe.unknown:
        operators = ", ".join(probe.unknown)
        yield f"FLOPs are too low: these operators could not be counted: {operators}."
