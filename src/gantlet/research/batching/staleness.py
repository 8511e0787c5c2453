"""Stale parameters: do they help or hurt GANs, beside history training and averaging?"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import all_samples
from gantlet.core.estimate import Budget, Estimate, Outcome, Spend, Trial
from gantlet.core.model import Family, Generative
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.report.blocks import Block, Caveat, Cell, Column, Lines, Series, Table, Verdict
from gantlet.research.batching.differences import (
    PairedTest,
    all_tested,
    each,
    paired_by_seed,
    which,
)
from gantlet.research.batching.parts import Part, PartTrial, Size
from gantlet.run.averaging import Average, Averaging
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.train import Batches
from gantlet.run.trials import RunData
from gantlet.stats.intervals import mean

DELAYS = (0, 4, 16, 64)
REMEDIED = 16
PENALTIES: Mapping[str, str] = {"none": "no penalty", "r1": "R1"}
DATA = "ring"
BATCH = 64
_ADAM = "adam:lr=0.001,beta1=0.0,beta2=0.99"
_PREPARE = 512
_HELD_OUT = 1000
_FLOORS = 19

AVERAGES: Mapping[str, Averaging] = {
    "last": Averaging(),
    "exponential": Averaging(decay=0.995),
    "uniform": Averaging(start=0.5),
}
"""The weights that are judged: the last ones, and two averages over training."""

_KINDS = {"last": "last weights", "exponential": "EMA 0.995", "uniform": "mean of last half"}


@final
@dataclass(frozen=True, slots=True)
class Way:
    """A way to train, besides the plain one.

    Attributes:
        name: Its name in tables.
        solver: In written form.
        history: Past fakes that the critic is also trained on.
    """

    name: str
    solver: str
    history: int = 0


def _stale(delay: int, more: str = "") -> str:
    return f'stale:delay={delay}{more},of="{_ADAM}"'


SYNCHRONOUS = Way("synchronous", _ADAM)
ALL = {d: Way(f"all players, delay {d}", _stale(d)) for d in DELAYS if d}
OPPONENT = {d: Way(f"opponent only, delay {d}", _stale(d, ",late=opponent")) for d in DELAYS if d}
REMEDIES = (
    Way(f"delay {REMEDIED}, step divided by it", _stale(REMEDIED, ",damping=true")),
    Way("past opponents (history)", "history:last=8,every=8,beta1=0.0,beta2=0.99,lr=0.001"),
    Way("critic sees past fakes", _ADAM, history=2048),
    Way("elastic averaging, 4 workers", f'elastic:workers=4,of="{_ADAM}"'),
)
WAYS = (SYNCHRONOUS, *ALL.values(), *OPPONENT.values(), *REMEDIES)


@final
@dataclass(frozen=True, slots=True)
class Extent:
    """How large this part is.

    Attributes:
        steps: Steps of each training.
        seeds: Seeds.
    """

    steps: int
    seeds: int


EXTENTS: Mapping[Size, Extent] = {"small": Extent(300, 5), "full": Extent(10_000, 10)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StalenessTrial(PartTrial):
    """One training.

    Attributes:
        way: The name of the way.
        solver: How the players move.
        batch: Samples in a batch.
        budget: Its number of steps.
        seed: From which every random number follows.
    """

    part: str = "staleness"
    way: str
    solver: str
    batch: int
    budget: Budget = field(default_factory=Budget)
    seed: int = 0


@final
class Staleness(Part):
    """Late gradients, late opponents, and what might make up for them."""

    @property
    @override
    def name(self) -> str:
        return "staleness"

    @property
    @override
    def title(self) -> str:
        return "Stale parameters, history and averaging"

    @property
    @override
    def caveats(self) -> Sequence[Caveat]:
        return [
            Caveat(
                text="Delays are simulated, exact and constant, for Adam at one learning rate, on "
                "a ring with networks of width 32. A training that diverges counts with the "
                "distance of the untrained generator."
            )
        ]

    @override
    def trials(self, size: Size) -> Sequence[StalenessTrial]:
        extent = EXTENTS[size]
        return [
            StalenessTrial(
                model=families.resolve(_model(penalty, way.history)),
                data=datasets.resolve(DATA),
                way=way.name,
                solver=solvers.resolve(way.solver),
                batch=BATCH,
                budget=Budget(steps=extent.steps),
                seed=seed,
            )
            for seed in range(extent.seeds)
            for penalty in PENALTIES
            for way in WAYS
        ]

    @override
    def run(self, trial: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Outcome:
        del folder
        asked = StalenessTrial.of(trial)
        space, splits = data.load(asked.data, asked.data_seed)
        rng = Rng(asked.seed, asked.device)
        family = families.make(asked.model)
        assert isinstance(family, Family)
        game = family.build(space, rng=rng)
        x = all_samples(splits.test, _HELD_OUT).to(rng.device)
        batches = Batches(splits.train, rng=rng)
        with torch.no_grad():
            game.prepare(batches.next(_PREPARE), rng=rng.stream("prepare"))
        floor = _floor(game, x, all_samples(splits.train), rng)
        untrained = _judged(game, x, rng)
        found = _played(game, asked, batches, rng, watch)
        scores: dict[str, Estimate] = {}
        for name, average in found.items():
            with average.applied():
                value = _judged(game, x, rng)
            kept = value if math.isfinite(value) else untrained
            scores[name] = Estimate(value=kept, method="one training: no interval", better="lower")
        details = {"floor": floor, "untrained": untrained}
        spend = Spend(steps=asked.budget.steps or 0)
        return Outcome(trial=trial, spend=spend, scores=scores, details=details)

    @override
    def blocks(self, outcomes: Sequence[Outcome]) -> Iterator[Block]:
        for kind in ("last", "exponential"):
            yield _table(outcomes, kind)
        yield _averages(outcomes)
        yield _chart(outcomes)

    @override
    def verdicts(self, outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
        differences = {
            (penalty, way.name): d
            for penalty in PENALTIES
            for way in WAYS[1:]
            if (d := _difference(outcomes, penalty, way, SYNCHRONOUS)) is not None
        }
        if differences:
            yield from _against_synchronous(all_tested(differences))
            yield from _between(outcomes)
            yield from _averaging(outcomes)


def _model(penalty: str, history: int) -> str:
    weight = ",gamma=0.3" if penalty == "r1" else ""
    past = f",history={history}" if history else ""
    return f"gan:width=32,loss=ns,penalty={penalty}{weight}{past}"


def _played(
    game: Generative, asked: StalenessTrial, batches: Batches, rng: Rng, watch: Watch
) -> dict[str, Average]:
    """Trains, and returns the averages of the weights."""
    play = solvers.make(asked.solver).start(game)
    noise, past = rng.stream("noise"), rng.stream("past fakes")
    averages = {name: Average(game.model, how) for name, how in AVERAGES.items()}
    steps = asked.budget.steps or 0
    for step in range(1, steps + 1):
        losses = play.step(batches.next(asked.batch * play.batches), rng=noise)
        game.advance(rng=past)
        for average in averages.values():
            average.update(step / steps)
        if step % 50 == 0:
            watch(step / steps, asked.way)
        if not all(map(math.isfinite, losses.values())):
            break
    return averages


@torch.no_grad()
def _judged(game: Generative, x: Tensor, rng: Rng) -> float:
    """Returns the energy distance of as many samples from held-out ones."""
    return float(game.validate(x, rng=rng.stream("judge")))


@torch.no_grad()
def _floor(game: Generative, x: Tensor, train: Tensor, rng: Rng) -> float:
    """Returns the largest of 19 distances between real samples."""
    found = []
    for k in range(_FLOORS):
        index = torch.randperm(len(train), generator=Rng(rng.seed).stream(f"floor/{k}"))[: len(x)]
        value = game.distance(x, train[index].to(rng.device))
        found.append(0.0 if value is None else float(value))
    return max(found)


# ----------------------------------------------------------------------------
# Answers.
# ----------------------------------------------------------------------------


def _values(
    outcomes: Sequence[Outcome], penalty: str, way: Way, kind: str = "last"
) -> dict[int, float]:
    """Returns the distance by seed."""
    model = families.resolve(_model(penalty, way.history))
    found: dict[int, float] = {}
    for o in outcomes:
        t = StalenessTrial.of(o.trial)
        value = o.scores[kind].value if kind in o.scores else None
        if (t.model, t.way) == (model, way.name) and value is not None:
            found[t.seed] = value
    return found


def _difference(
    outcomes: Sequence[Outcome], penalty: str, way: Way, other: Way, kind: str = "last"
) -> Estimate | None:
    return paired_by_seed(
        _values(outcomes, penalty, way, kind), _values(outcomes, penalty, other, kind)
    )


def _against_synchronous(tests: Mapping[tuple[str, str], PairedTest]) -> Iterator[Verdict]:
    for penalty, name in PENALTIES.items():
        own = {way: t for (p, way), t in tests.items() if p == penalty}
        yield Verdict(
            claim=f"With {name}, not distinguished from synchronous training: {which(own, 0)}. "
            f"Farther from the data: {which(own, 1)}. Nearer: {which(own, -1)}.",
            because="Differences of energy distance of the last weights, paired over seeds (Holm "
            f"over both penalties): {each(own)}.",
        )


def _between(outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
    """Compares late gradients of all players with late opponents, and with R1 and without."""
    tests = all_tested(
        {
            f"{name}, delay {delay}": d
            for penalty, name in PENALTIES.items()
            for delay in DELAYS[1:]
            if (d := _difference(outcomes, penalty, OPPONENT[delay], ALL[delay])) is not None
        }
    )
    if tests:
        yield Verdict(
            claim="Late opponents alone against late gradients of all players, in energy "
            f"distance. Not distinguished: {which(tests, 0)}. Farther from the data: "
            f"{which(tests, 1)}. Nearer: {which(tests, -1)}.",
            because=f"Paired over seeds (Holm; above 0, late opponents are worse): {each(tests)}.",
        )


def _averaging(outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
    """Compares averages of weights with the last weights of the same trainings."""
    differences: dict[str, Estimate] = {}
    for penalty, name in PENALTIES.items():
        for way in (SYNCHRONOUS, ALL[4], ALL[REMEDIED]):
            last = _values(outcomes, penalty, way)
            for kind in ("exponential", "uniform"):
                found = paired_by_seed(_values(outcomes, penalty, way, kind), last)
                if found is not None:
                    differences[f"{name}, {way.name}, {_KINDS[kind]}"] = found
    tests = all_tested(differences)
    if tests:
        yield Verdict(
            claim="Averages of weights against the last weights of the same trainings, in energy "
            f"distance. Not distinguished: {which(tests, 0)}. Nearer to the data: "
            f"{which(tests, -1)}. Farther: {which(tests, 1)}.",
            because=f"Paired over seeds (Holm): {each(tests)}.",
        )


# ----------------------------------------------------------------------------
# Tables and charts.
# ----------------------------------------------------------------------------


def _mean(values: Mapping[int, float]) -> Estimate | None:
    return mean(list(values.values())) if values else None


def _table(outcomes: Sequence[Outcome], kind: str) -> Table:
    rows: list[list[Cell]] = [
        [way.name, *(_mean(_values(outcomes, p, way, kind)) for p in PENALTIES)] for way in WAYS
    ]
    floors = [float(o.details["floor"]) for o in outcomes if "floor" in o.details]
    floor = max(floors, default=math.nan)
    return Table(
        title=f"Energy distance to held-out samples, {_KINDS[kind]}",
        columns=[
            Column(name="training"),
            *(Column(name=n, better="lower") for n in PENALTIES.values()),
        ],
        rows=rows,
        note=f"Means over seeds with Student's t. Noise floor: below {floor:.2g}.",
    )


def _averages(outcomes: Sequence[Outcome]) -> Table:
    rows: list[list[Cell]] = []
    for way in (SYNCHRONOUS, *ALL.values()):
        cells: list[Cell] = [way.name]
        for p in PENALTIES:
            cells += [_mean(_values(outcomes, p, way, kind)) for kind in AVERAGES]
        rows.append(cells)
    return Table(
        title="Averages of weights under late gradients",
        columns=[
            Column(name="training"),
            *(
                Column(name=_KINDS[kind], better="lower", group=name)
                for name in PENALTIES.values()
                for kind in AVERAGES
            ),
        ],
        rows=rows,
    )


def _chart(outcomes: Sequence[Outcome]) -> Lines:
    series = []
    for penalty, name in PENALTIES.items():
        for told, ways in (("all players", ALL), ("opponent only", OPPONENT)):
            found = {0: SYNCHRONOUS, **ways}
            means = [(float(d), _mean(_values(outcomes, penalty, w))) for d, w in found.items()]
            known = [(d, e.value) for d, e in means if e is not None and e.value is not None]
            series.append(
                Series(name=f"{name}, {told}", x=[d for d, _ in known], y=[v for _, v in known])
            )
    return Lines(
        title="Energy distance against the delay",
        x_label="delay in steps",
        y_label="energy distance, last weights",
        log_y=True,
        series=[s for s in series if s.x],
        note="Means over seeds.",
    )
