"""Batch sweeps: is noise the bottleneck, and how do steps to a target follow the batch?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import final

import torch
from typing_extensions import override

from gantlet.commands.batch.effects import Sweep, decomposed, noise_part
from gantlet.commands.batch.trial import Course, run_trial
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Estimate, Outcome, Trial
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.games.field import GameField
from gantlet.games.noise import noise_floor
from gantlet.games.toys import Dirac
from gantlet.report.blocks import Block, Caveat, Cell, Column, Lines, Series, Table, Verdict
from gantlet.research.batching.differences import all_tested, each, which
from gantlet.research.batching.parts import Part, PartTrial, Size
from gantlet.research.significance import LEVEL, in_words
from gantlet.run.execute import Watch
from gantlet.run.store import TrialFolder
from gantlet.run.trials import RunData
from gantlet.stats.intervals import mean, paired, proportion
from gantlet.stats.noise_scale import RateRule

BASE = 128
BATCHES = (8, 32, 128, 512)
RULES: tuple[RateRule, ...] = ("constant", "sqrt", "linear")

_ADAM = "adam:lr=0.001,beta1=0.0,beta2=0.99"


@final
@dataclass(frozen=True, slots=True)
class Arm:
    """A model on a data set that is trained at all batches.

    Attributes:
        name: Its name in tables.
        model: In written form.
        data: In written form.
        rules: How the learning rate follows the batch.
        players: Number of its players.
    """

    name: str
    model: str
    data: str
    rules: tuple[RateRule, ...] = RULES
    players: int = 2


ARMS = (
    Arm("GAN, no penalty, ring", "gan:width=32,loss=ns,penalty=none", "ring"),
    Arm("GAN, R1, ring", "gan:width=32,loss=ns,penalty=r1,gamma=0.3", "ring"),
    Arm("diffusion, ring", "diffusion:width=64", "ring", players=1),
    Arm("GAN, R1, digits", "gan:width=32,loss=ns,penalty=r1,gamma=0.3", "digits", ("constant",)),
    Arm("VAE, digits", "vae:width=64", "digits", ("constant",), players=1),
)


@final
@dataclass(frozen=True, slots=True)
class Extent:
    """How large the sweep is.

    Attributes:
        steps: Steps of each training.
        seeds: Seeds of each arm.
    """

    steps: int
    seeds: int


EXTENTS: Mapping[Size, Extent] = {"small": Extent(160, 5), "full": Extent(4000, 10)}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTrial(PartTrial):
    """One training of the sweep: what ``commands.batch`` trains, with the name of the part.

    Attributes:
        solver: How the players move, at the base batch.
        rate: How the learning rate follows the batch.
        base: The base batch.
        batch: Samples in a batch.
        share: What looks at the gradients may cost.
        budget: Its number of steps.
        seed: From which every random number follows.
    """

    part: str = "sweep"
    solver: str
    rate: RateRule
    base: int
    batch: int
    share: float = 0.2
    budget: Budget = field(default_factory=Budget)
    seed: int = 0


_WITH_RULES = tuple(arm for arm in ARMS if len(arm.rules) > 1)


def _trial(
    arm: Arm, extent: Extent, seed: int, *, rate: RateRule, batch: int, base: int = BASE
) -> SweepTrial:
    return SweepTrial(
        model=families.resolve(arm.model),
        data=datasets.resolve(arm.data),
        solver=solvers.resolve(_ADAM),
        rate=rate,
        base=base,
        batch=batch,
        budget=Budget(steps=extent.steps),
        seed=seed,
    )


def _raised(arm: Arm, extent: Extent, seed: int) -> SweepTrial:
    """Returns a control: the base batch with the learning rate of the largest."""
    return _trial(arm, extent, seed, rate="linear", batch=BASE, base=BASE * BASE // BATCHES[-1])


@final
class BatchSweep(Part):
    """Steps and samples to a target against the batch, for one player and two."""

    @property
    @override
    def name(self) -> str:
        return "sweep"

    @property
    @override
    def title(self) -> str:
        return "Batch size, gradient noise and divergence"

    @property
    @override
    def caveats(self) -> Sequence[Caveat]:
        return [
            Caveat(
                text="The sweep compares trainings of equal steps, networks of width 32 and 64, "
                "and batches of 8 to 512. Targets are the level that half of the trainings at the "
                "base batch reach, so that a time to quality is one to that level."
            )
        ]

    @override
    def trials(self, size: Size) -> Sequence[SweepTrial]:
        extent = EXTENTS[size]
        return [
            _trial(arm, extent, seed, rate=rate, batch=batch)
            for seed in range(extent.seeds)
            for arm in ARMS
            for rate in arm.rules
            for batch in BATCHES
            # At the base batch all rules are one.
            if batch != BASE or rate == arm.rules[0]
        ] + [_raised(arm, extent, seed) for seed in range(extent.seeds) for arm in _WITH_RULES]

    @override
    def run(self, trial: Trial, data: RunData, folder: TrialFolder, watch: Watch) -> Outcome:
        return run_trial(trial, data, folder, watch)

    @override
    def blocks(self, outcomes: Sequence[Outcome]) -> Iterator[Block]:
        found = _by_arm(outcomes)
        yield _bottlenecks(found)
        yield _critical(found)
        yield floors()
        for arm, sweep in found.items():
            yield _table(arm, sweep)
        yield _chart(found)

    @override
    def verdicts(self, outcomes: Sequence[Outcome]) -> Iterator[Verdict]:
        found = _by_arm(outcomes)
        yield from _noise_verdicts(found)
        yield from _raised_verdict(found)
        yield from _lost_verdict(found)
        yield _critical_verdict(found)
        yield from _rule_verdict(found)


@final
class ArmSweep:
    """The trainings of one arm.

    Args:
        outcomes: Their outcomes.
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        courses = [(SweepTrial.of(o.trial), Course.of(o)) for o in outcomes]
        self._courses = [(t, c) for t, c in courses if t.base == BASE]
        self._of_raised = [c for t, c in courses if t.base != BASE]

    def of(self, rate: RateRule) -> Sweep:
        """Returns the trainings by one rule, the base batch included."""
        courses = [c for t, c in self._courses if t.rate == rate or t.batch == BASE]
        return Sweep(courses, BASE)

    def at(self, rate: RateRule, batch: int) -> list[Course]:
        """Returns the trainings at one batch by one rule."""
        return [
            c for t, c in self._courses if t.batch == batch and (t.rate == rate or batch == BASE)
        ]

    @property
    def raised(self) -> list[Course]:
        """The trainings at the base batch with the learning rate of the largest."""
        return self._of_raised

    @property
    def target(self) -> float | None:
        """The level that half of the trainings at the base batch reach."""
        best = sorted(min(c.smooth) for c in self.at("constant", BASE) if c.values)
        return best[(len(best) - 1) // 2] if best else None

    def reached(self, rate: RateRule, batch: int) -> list[float | None]:
        """Returns steps to the target, None where a training does not reach it."""
        return self.steps_of(self.at(rate, batch))

    def steps_of(self, courses: Sequence[Course]) -> list[float | None]:
        """Returns steps to the target of some trainings."""
        target = self.target
        if target is None:
            return [None] * len(courses)
        return [c.steps_to(target) if c.values else None for c in courses]


def _by_arm(outcomes: Sequence[Outcome]) -> dict[Arm, ArmSweep]:
    """Returns the trainings of each arm that has some."""
    found: dict[Arm, ArmSweep] = {}
    for arm in ARMS:
        names = families.resolve(arm.model), datasets.resolve(arm.data)
        own = [o for o in outcomes if (o.trial.model, o.trial.data) == names]
        if own:
            found[arm] = ArmSweep(own)
    return found


# ----------------------------------------------------------------------------
# Answers.
# ----------------------------------------------------------------------------


def _noise_verdicts(found: Mapping[Arm, ArmSweep]) -> Iterator[Verdict]:
    """Says at which batches four times as many samples end lower after as many steps."""
    tests = all_tested(
        {
            f"{arm.name}, {few} to {many}": d
            for arm, sweep in found.items()
            for few, many in pairwise(BATCHES)
            if (d := noise_part(sweep.at("constant", few), sweep.at("constant", many))).low
            is not None
        }
    )
    signs = {t.sign for t in tests.values()}
    if 0 in signs:
        yield Verdict(
            claim="Not distinguished at one learning rate, after as many steps with four times "
            f"the batch: {which(tests, 0)}."
        )
    for sign, word in ((1, "Noise holds back"), (-1, "A larger batch ends higher for")):
        if sign in signs:
            yield Verdict(claim=f"{word} {which(tests, sign)}.")
    if tests:
        yield Verdict(
            claim="By how much four times the batch ends lower: the noise part of the final loss.",
            because=f"Paired over seeds, Holm over all: {each(tests)}.",
        )


def _raised_verdict(found: Mapping[Arm, ArmSweep]) -> Iterator[Verdict]:
    """Says what of the gain of the linear rule is due to the batch, and what to the rate."""
    differences: dict[str, Estimate] = {}
    for arm, sweep in found.items():
        if arm in _WITH_RULES and sweep.raised:
            base, large = sweep.at("constant", BASE), sweep.at("linear", BATCHES[-1])
            differences[f"{arm.name}, the rate"] = noise_part(base, sweep.raised)
            differences[f"{arm.name}, then the batch"] = noise_part(sweep.raised, large)
    tests = all_tested(differences)
    if tests:
        yield Verdict(
            claim=f"Final loss after as many steps with four times the learning rate at batch "
            f"{BASE}, and then with four times the batch. Not distinguished: {which(tests, 0)}. "
            f"Lower: {which(tests, 1)}. Higher: {which(tests, -1)}.",
            because=f"How much lower, paired over seeds, Holm over all: {each(tests)}.",
        )


def _lost_verdict(found: Mapping[Arm, ArmSweep]) -> Iterator[Verdict]:
    """Says how many trainings of GANs lose their progress, and whether R1 changes that."""
    told = []
    for arm, sweep in found.items():
        shares = [
            f"{b}: {sum(c.loses for c in sweep.at('constant', b))}/{len(sweep.at('constant', b))}"
            for b in BATCHES
        ]
        told.append(f"{arm.name} {', '.join(shares)}")
    without, with_ = (
        [loses for arm, s in found.items() if _has(arm, p) for loses in _losing(arm, s).values()]
        for p in ("none", "r1")
    )
    yield Verdict(
        claim="Trainings of GANs that lose their progress: "
        f"{in_words(_lost(without))} without a penalty, {in_words(_lost(with_))} with R1, over "
        f"all batches and rates. {_penalty_test(found)}".strip(),
        because=f"By batch, at a constant rate: {'; '.join(told)}.",
    )


def _has(arm: Arm, penalty: str) -> bool:
    return f"penalty={penalty}" in arm.model


def _losing(arm: Arm, sweep: ArmSweep) -> dict[tuple[RateRule, int, int], bool]:
    """Returns which trainings lose their progress, by rule, batch and seed."""
    return {
        (rate, b, c.seed): c.loses
        for rate in arm.rules
        for b in BATCHES
        if b != BASE or rate == arm.rules[0]
        for c in sweep.at(rate, b)
    }


def _lost(losing: Sequence[bool]) -> Estimate:
    return proportion(sum(losing), len(losing), of="trainings")


def _penalty_test(found: Mapping[Arm, ArmSweep]) -> str:
    """Returns a sentence on whether R1 changes how many lose their progress on the ring.

    Trainings of one rule, batch and seed are pairs. Of those in which one alone loses its
    progress, half would be the one with R1: McNemar, 1947, https://doi.org/10.1007/BF02295996,
    with the binomial in place of its normal approximation. That trainings of one seed begin alike
    is left out: pairs count as independent.
    """
    from scipy.special import bdtr

    without, with_ = (
        {
            k: v
            for a, s in found.items()
            if _has(a, p) and a.data == "ring"
            for k, v in _losing(a, s).items()
        }
        for p in ("none", "r1")
    )
    pairs = [(without[k], with_[k]) for k in without.keys() & with_.keys()]
    if not pairs:
        return ""
    only, other = (pairs.count(one) for one in ((True, False), (False, True)))
    p = min(1.0, 2 * float(bdtr(min(only, other), only + other, 0.5)))
    verb = "is" if p <= LEVEL else "cannot be"
    return (
        f"On the ring, where both have the same batches, rates and seeds, R1 {verb} distinguished "
        f"from no penalty: in {only} pairs the one without alone loses its progress, in {other} "
        f"the one with R1, p = {p:.2g} (exact McNemar)."
    )


def _critical_verdict(found: Mapping[Arm, ArmSweep]) -> Verdict:
    told = []
    for arm, sweep in found.items():
        whole = sweep.of("constant")
        predicted = whole.critical(whole.whole) if whole.whole else Estimate.missing("no looks")
        fits = []
        for rate in arm.rules:
            measured = sweep.of(rate).measured()
            if measured is not None:
                fits.append(f"{rate} {in_words(measured.critical)}")
        told.append(f"{arm.name}: predicted {in_words(predicted)}; measured {', '.join(fits)}")
    return Verdict(
        claim="Critical batches, predicted from the noise in Adam's coordinates and measured by "
        "steps to the target under each rule for the learning rate.",
        because=f"{'. '.join(told)}.",
    )


def _rule_verdict(found: Mapping[Arm, ArmSweep]) -> Iterator[Verdict]:
    """Says under which rule the largest batch reaches the target first."""
    told, sooner = [], dict[str, Estimate]()
    for arm, sweep in found.items():
        if len(arm.rules) < 2:
            continue
        counts = []
        for rate in arm.rules:
            steps = sweep.reached(rate, BATCHES[-1])
            known = [s for s in steps if s is not None]
            level = in_words(mean(known)) if known else "none"
            counts.append(f"{rate} {len(known)}/{len(steps)} in {level} steps")
            if rate != "constant":
                sooner[f"{arm.name}, {rate}"] = _sooner(sweep, rate)
        told.append(f"{arm.name}: {', '.join(counts)}")
    tests = all_tested(sooner)
    if told:
        yield Verdict(
            claim=f"The rule for the learning rate, at batch {BATCHES[-1]}, in steps to the "
            f"target. Not distinguished from a constant rate: {which(tests, 0)}. Fewer steps: "
            f"{which(tests, 1)}. More steps: {which(tests, -1)}.",
            because=f"Trainings that reach the target, and when: {'; '.join(told)}. How many "
            "steps fewer, paired over the seeds that reach it by both rules, Holm over all: "
            f"{each(tests)}.",
        )


def _sooner(sweep: ArmSweep, rate: RateRule) -> Estimate:
    """Returns by how many steps the largest batch reaches the target sooner by a rule."""
    constant, other = (
        dict(zip((c.seed for c in courses), sweep.steps_of(courses), strict=True))
        for courses in (sweep.at(r, BATCHES[-1]) for r in ("constant", rate))
    )
    pairs = [(s, other.get(seed)) for seed, s in constant.items()]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    if len(known) < 2:
        return Estimate.missing("too few seeds reach the target by both rules", unit="steps")
    return paired([a for a, _ in known], [b for _, b in known], unit="steps")


# ----------------------------------------------------------------------------
# Tables and charts.
# ----------------------------------------------------------------------------


def _bottlenecks(found: Mapping[Arm, ArmSweep]) -> Table:
    rows: list[list[Cell]] = []
    for arm, sweep in found.items():
        d = decomposed(sweep.of("constant"))
        if d is not None:
            rows.append([arm.name, arm.players, d.noise, d.share, d.rest, d.lost, d.lost_larger])
    return Table(
        title="Noise and instability at equal steps",
        columns=[
            Column(name="training"),
            Column(name="players"),
            Column(
                name="noise part",
                help=f"Final loss at batch {BASE} less that at {BATCHES[-1]}, paired over seeds.",
            ),
            Column(name="of the error", help="Share of the loss above the noise floor."),
            Column(name="rest", help=f"Above the noise floor at {BATCHES[-1]}."),
            Column(name=f"at {BASE}", group="Lost their progress", better="lower"),
            Column(name=f"at {BATCHES[-1]}", group="Lost their progress", better="lower"),
        ],
        rows=rows,
        note="Student's t over seeds; shares of trainings exact binomial.",
    )


def _critical(found: Mapping[Arm, ArmSweep]) -> Table:
    rows: list[list[Cell]] = []
    for arm, sweep in found.items():
        base = sweep.of("constant")
        for player in base.players:
            fits: list[Cell] = []
            for rate in RULES:
                measured = sweep.of(rate).measured() if rate in arm.rules else None
                show = measured is not None and player == base.whole
                fits.append(measured.critical if measured is not None and show else None)
            scale = base.scale(player, "plain")
            rows.append([arm.name, player, scale, base.critical(player), *fits])
    return Table(
        title="Critical batches, predicted and measured",
        columns=[
            Column(name="training"),
            Column(name="player"),
            Column(name="noise scale", unit="examples"),
            Column(name="predicted", unit="examples", group="Critical batch"),
            *(
                Column(name=f"{r} rate", unit="examples", group="Critical batch, measured")
                for r in RULES
            ),
        ],
        rows=rows,
        note="Predicted from noise scales in Adam's coordinates over the progress of the training "
        "at the base batch; measured by the hyperbola through steps to one target.",
    )


def _table(arm: Arm, sweep: ArmSweep) -> Table:
    rows = [
        _row(f"{b:,}", "–" if b == BASE else rate, b, sweep, sweep.at(rate, b))
        for rate in arm.rules
        for b in BATCHES
        if b != BASE or rate == arm.rules[0]
    ]
    if sweep.raised:
        rows.append(_row(f"{BASE:,}", "4 times, a control", BASE, sweep, sweep.raised))
    return Table(
        title=arm.name,
        columns=[
            Column(name="batch"),
            Column(name="learning rate"),
            Column(name="final validation loss", better="lower"),
            Column(name="lost their progress", better="lower"),
            Column(name="reached", group="To the target"),
            Column(name="steps", unit="steps", group="To the target", better="lower"),
            Column(name="examples", unit="examples", group="To the target", better="lower"),
        ],
        rows=rows,
        note="Means over seeds with Student's t, of the trainings that reach the target.",
    )


def _row(
    name: str, rate: str, batch: int, sweep: ArmSweep, courses: Sequence[Course]
) -> list[Cell]:
    ends = [c.end for c in courses if c.end is not None]
    steps = sweep.steps_of(courses)
    known = [s for s in steps if s is not None]
    return [
        name,
        rate,
        mean(ends) if ends else None,
        proportion(sum(c.loses for c in courses), len(courses), of="trainings"),
        f"{len(known)}/{len(steps)}",
        mean(known, unit="steps") if known else None,
        mean([s * batch for s in known], unit="examples") if known else None,
    ]


_GAMMAS = (0.0, 0.1, 0.3, 1.0)
_STEP = 0.05


def floors() -> Table:
    """Returns how far noise keeps the Dirac-GAN from its equilibrium, by penalty and batch."""
    rows: list[list[Cell]] = []
    for gamma in _GAMMAS:
        game = Dirac(loss="ns", penalty="r1", gamma=gamma).build()
        field = GameField(game, torch.zeros(1, 1).double(), rng=Rng(0).stream("floor"))
        field.move(torch.zeros(field.size, dtype=torch.float64))
        rows.append([f"{gamma:g}", *(_floor(field.jacobian.dense().T, b) for b in BATCHES)])
    return Table(
        title="Noise floor of the Dirac-GAN with R1",
        columns=[
            Column(name="gamma"),
            *(Column(name=f"batch {b}", better="lower") for b in BATCHES),
        ],
        rows=rows,
        note=f"Mean squared distance from the equilibrium of simultaneous descent with step "
        f"{_STEP} and unit noise for one example, from the Lyapunov equation: about "
        "h tr(Σ) / (B gamma). A penalty acts as a batch does; without one no batch is enough.",
    )


def _floor(jacobian: torch.Tensor, batch: int) -> Estimate:
    try:
        law = noise_floor(jacobian, torch.eye(len(jacobian)), step=_STEP, batch=batch)
    except UserError:
        return Estimate.missing("a mode does not decay: there is no floor", better="lower")
    return Estimate.exact(float(law.trace()), method="Lyapunov equation", better="lower")


def _chart(found: Mapping[Arm, ArmSweep]) -> Lines:
    series = []
    for arm, sweep in found.items():
        means = []
        for b in BATCHES:
            known = [s for s in sweep.reached("constant", b) if s is not None]
            if known:
                means.append((float(b), sum(known) / len(known)))
        series.append(Series(name=arm.name, x=[b for b, _ in means], y=[s for _, s in means]))
    return Lines(
        title="Steps to the target against the batch, constant learning rate",
        x_label="batch",
        y_label="steps",
        log_x=True,
        log_y=True,
        series=[s for s in series if s.x],
        note="Means over the trainings that reach the target.",
    )
