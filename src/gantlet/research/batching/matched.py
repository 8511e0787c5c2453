"""OT-GAN, Sinkhorn-GAN and a plain GAN against the batch, at equal samples and at equal FLOPs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from typing_extensions import override

from gantlet.core.data import Splits, all_samples
from gantlet.core.estimate import Budget, Estimate, Outcome, Trial
from gantlet.core.model import Family, Generative
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.report.blocks import Block, Caveat, Cell, Column, Lines, Series, Table, Verdict
from gantlet.research.batching.differences import all_tested, each, paired_by_seed, which
from gantlet.research.batching.parts import Part, PartTrial, Size
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.train import DivergedError, Plan, train
from gantlet.run.trials import RunData
from gantlet.stats.intervals import mean

BATCHES = (32, 64, 256)
MODELS: Mapping[str, str] = {
    "GAN": "gan:width=32,loss=ns,penalty=r1,gamma=0.3",
    "OT-GAN": "ot-gan:width=32",
    "Sinkhorn-GAN": "sinkhorn-gan:width=32",
}
DATA = "ring"
KINDS = ("samples", "FLOPs")
DISTANCE = "energy distance"
_HELD_OUT = 1000


@final
@dataclass(frozen=True, slots=True)
class Extent:
    """How large the comparison is.

    Attributes:
        examples: Training examples of each training, at equal samples.
        flops: FLOPs of each, at equal FLOPs.
        seeds: Seeds.
    """

    examples: int
    flops: float
    seeds: int


EXTENTS: Mapping[Size, Extent] = {
    "small": Extent(16_000, 1.5e9, 5),
    "full": Extent(2_000_000, 1.0e11, 10),
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TransportTrial(PartTrial):
    """One training.

    Attributes:
        solver: How the players move.
        batch: Samples in a batch.
        equal: What all trainings spend alike: samples or FLOPs.
        budget: How much of it.
        seed: From which every random number follows.
    """

    part: str = "transport"
    solver: str
    batch: int
    equal: str
    budget: Budget = field(default_factory=Budget)
    seed: int = 0


@final
class Transport(Part):
    """Whether transport between minibatches pays, and from which batch on."""

    @property
    @override
    def name(self) -> str:
        return "transport"

    @property
    @override
    def title(self) -> str:
        return "Optimal transport between minibatches"

    @property
    @override
    def caveats(self) -> Sequence[Caveat]:
        return [
            Caveat(
                text="OT-GAN is run far below the batch of 5,000 of its paper, with networks of "
                "width 32 on a ring of eight modes. FLOPs count matrix products and not the "
                "assignment, which is of order n^3 at worst and small here."
            )
        ]

    @override
    def trials(self, size: Size) -> Sequence[TransportTrial]:
        extent = EXTENTS[size]
        budgets = {
            "samples": Budget(examples=extent.examples),
            "FLOPs": Budget(flops=extent.flops),
        }
        made = {name: _family(model) for name, model in MODELS.items()}
        return [
            TransportTrial(
                model=families.resolve(model),
                data=datasets.resolve(DATA),
                solver=solvers.resolve(made[name].solver),
                batch=batch,
                equal=kind,
                budget=budgets[kind],
                seed=seed,
            )
            for seed in range(extent.seeds)
            for kind in KINDS
            for name, model in MODELS.items()
            for batch in BATCHES
        ]

    @override
    def run(self, trial: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Outcome:
        asked = TransportTrial.of(trial)
        space, splits = data.load(asked.data, asked.data_seed)
        rng = Rng(asked.seed, asked.device)
        family = _family(asked.model)
        game = family.build(space, rng=rng)
        plan = Plan(
            budget=asked.budget,
            batch=asked.batch,
            ema=family.ema,
            validations=2,
            held_out=100,
            select="last",
        )
        try:
            trained = train(
                game,
                solvers.make(asked.solver),
                splits,
                plan,
                rng=rng,
                keep=folder,
                watch=lambda used: watch(used, f"{asked.model.partition(':')[0]}, training"),
            )
        except DivergedError as wrong:
            return Outcome(trial=trial, error=str(wrong), failure="diverged")
        folder.drop_state()
        value = final_distance(game, splits, rng)
        scores = {
            DISTANCE: Estimate(value=value, method="one training: no interval", better="lower"),
            "steps": Estimate.exact(trained.spend.steps, unit="steps"),
        }
        return Outcome(trial=trial, spend=trained.spend, scores=scores)

    @override
    def blocks(self, outcomes: Sequence[Outcome]) -> Iterator[Block]:
        for kind in KINDS:
            yield _table(outcomes, kind)
            yield _chart(outcomes, kind)

    @override
    def verdicts(self, outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
        tests = all_tested(_differences(outcomes))
        if not tests:
            return
        if any(t.sign == 0 for t in tests.values()):
            yield Verdict(claim=f"Not distinguished from the plain GAN: {which(tests, 0)}.")
        yield Verdict(
            claim=f"Nearer to the data than the plain GAN with R1: {which(tests, -1)}. Farther: "
            f"{which(tests, 1)}.",
            because=f"Differences of energy distance, paired over seeds (Holm): {each(tests)}.",
        )
        yield from _gains(outcomes)


def _family(model: str) -> Family:
    made = families.make(model)
    assert isinstance(made, Family)
    return made


@torch.no_grad()
def final_distance(game: Generative, splits: Splits, rng: Rng) -> float:
    """Returns the energy distance between samples of a model and the test split."""
    x = all_samples(splits.test, _HELD_OUT).to(rng.device)
    return float(game.validate(x, rng=rng.stream("final")))


# ----------------------------------------------------------------------------
# Tests and tables.
# ----------------------------------------------------------------------------


def _values(outcomes: Sequence[Outcome], name: str, kind: str, batch: int) -> dict[int, float]:
    """Returns the distance by seed."""
    model = families.resolve(MODELS[name])
    found: dict[int, float] = {}
    for o in outcomes:
        t = TransportTrial.of(o.trial)
        if (t.model, t.equal, t.batch) == (model, kind, batch) and DISTANCE in o.scores:
            value = o.scores[DISTANCE].value
            if value is not None:
                found[t.seed] = value
    return found


def _differences(outcomes: Sequence[Outcome]) -> dict[str, Estimate]:
    """Returns by how much each family is farther from the data than the plain GAN."""
    return {
        f"{name}, batch {batch}, equal {kind}": d
        for kind in KINDS
        for batch in BATCHES
        for name in list(MODELS)[1:]
        if (
            d := paired_by_seed(
                _values(outcomes, name, kind, batch), _values(outcomes, "GAN", kind, batch)
            )
        )
        is not None
    }


def _gains(outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
    """Says what the largest batch changes over the smallest, by family."""
    few, many = BATCHES[0], BATCHES[-1]
    tests = all_tested(
        {
            f"{name}, equal {kind}": d
            for kind in KINDS
            for name in MODELS
            if (
                d := paired_by_seed(
                    _values(outcomes, name, kind, many), _values(outcomes, name, kind, few)
                )
            )
            is not None
        }
    )
    if tests:
        yield Verdict(
            claim=f"Batch {many} against batch {few}, in energy distance. Not distinguished: "
            f"{which(tests, 0)}. Nearer to the data: {which(tests, -1)}. Farther: "
            f"{which(tests, 1)}.",
            because=f"Paired over seeds, below 0 is nearer to the data (Holm): {each(tests)}.",
        )


def _table(outcomes: Sequence[Outcome], kind: str) -> Table:
    rows: list[list[Cell]] = []
    for batch in BATCHES:
        cells: list[Cell] = [f"{batch}"]
        for name in MODELS:
            values = list(_values(outcomes, name, kind, batch).values())
            cells.append(mean(values) if values else None)
        rows.append(cells)
    return Table(
        title=f"Energy distance at equal {kind}",
        columns=[Column(name="batch"), *(Column(name=n, better="lower") for n in MODELS)],
        rows=rows,
        note="Averaged weights of the last step, 1,000 test samples; means over seeds with "
        "Student's t. Unbiased, so that it may fall below 0.",
    )


def _chart(outcomes: Sequence[Outcome], kind: str) -> Lines:
    series = []
    for name in MODELS:
        found = [(float(b), list(_values(outcomes, name, kind, b).values())) for b in BATCHES]
        known = [(b, mean(v)) for b, v in found if len(v) > 1]
        series.append(
            Series(
                name=name,
                x=[b for b, _ in known],
                y=[e.value or 0.0 for _, e in known],
                low=[e.low or 0.0 for _, e in known],
                high=[e.high or 0.0 for _, e in known],
            )
        )
    return Lines(
        title=f"Energy distance against the batch, equal {kind}",
        x_label="batch",
        y_label="energy distance",
        log_x=True,
        series=[s for s in series if s.x],
        note="Bands: 95 % intervals of the mean over seeds.",
    )
