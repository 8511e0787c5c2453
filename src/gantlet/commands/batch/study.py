"""Question 6: what batch does a training need? The study and its report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, final

from gantlet import options
from gantlet.commands.batch.effects import (
    Decomposition,
    Sweep,
    as_plain,
    decomposed,
    doubling,
    recommended,
)
from gantlet.commands.batch.trial import BatchTrial, Course, at_batch, family_of, run_trial
from gantlet.commands.converge.course import resolved, short
from gantlet.commands.own_games import content_of, written
from gantlet.core.arguments import check_fields
from gantlet.core.estimate import Budget, Estimate, Outcome, Spend, Trial
from gantlet.core.model import Game
from gantlet.core.rng import Rng
from gantlet.core.spec import Spec, datasets, solvers
from gantlet.games.noise import METRICS, TOGETHER, Metric, chart_of
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Lines,
    Report,
    Row,
    Series,
    Table,
    Verdict,
    failed_trials,
)
from gantlet.report.format import text
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder
from gantlet.run.trials import RunData
from gantlet.stats.intervals import mean, percentage
from gantlet.stats.noise_scale import scaled_gamma

DATA = "digits"
"""The data set by default."""


# ----------------------------------------------------------------------------
# The answer in sentences.
# ----------------------------------------------------------------------------


def verdicts(
    sweep: Sweep, found: Decomposition | None, *, model: str, has_floor: bool
) -> Iterator[Verdict]:
    """Yields what cannot be told, the bottleneck, the critical batch and what doubling buys.

    Args:
        sweep: The trainings.
        found: Noise and instability.
        model: The model in written form.
        has_floor: Whether the loss is a distance with a noise floor.
    """
    if found is not None:
        yield from _unclear(found)
        yield _bottleneck(sweep, found, has_floor=has_floor)
    yield from _critical(sweep)
    yield from _doubling(sweep, model)


def _unclear(found: Decomposition) -> Iterator[Verdict]:
    """Says what the trainings cannot distinguish, before anything else."""
    half = found.noise.half_width
    if found.bottleneck == "unknown":
        yield Verdict(
            claim="Noise and instability cannot be distinguished: too few trainings ended.",
            because=f"{_percent(found.lost_larger)} of those at batch {found.larger:,} lost their "
            "progress.",
        )
    elif found.bottleneck in {"neither", "instability"} and half is not None:
        yield Verdict(
            claim=f"Batches {found.larger:,} and smaller cannot be distinguished by the loss at "
            f"the end: an effect of noise below {text(half)} is not seen with {found.noise.n} "
            "pairs of trainings.",
            because=f"Paired difference {_with_interval(found.noise)}, p = {found.p_noise:.2g} "
            "(Holm).",
        )


def _bottleneck(sweep: Sweep, found: Decomposition, *, has_floor: bool) -> Verdict:
    base, larger = f"{sweep.base:,}", f"{found.larger:,}"
    words = {
        "noise": f"Noise holds this training back: at batch {larger} it ends lower after as many "
        "steps.",
        "instability": "Instability holds this training back, not noise: trainings lose their "
        f"progress at batch {larger} too, which no batch cures. gantlet converge says why.",
        "both": f"Both noise and instability hold this training back: batch {larger} ends lower, "
        "and loses its progress.",
        "neither": f"Neither noise nor instability is seen to hold this training back at {base}.",
        "unknown": "No bottleneck is named.",
    }
    what = f"Noise part of the final loss (batch {base} less batch {larger})"
    parts = [f"{what}: {_with_interval(found.noise)}, p = {found.p_noise:.2g}"]
    if has_floor:
        parts.append(f"left above the noise floor at {larger}: {_with_interval(found.rest)}")
        if found.share.value is not None:
            parts.append(f"noise is {_percent(found.share)} of what is above the floor at {base}")
    parts.append(
        f"trainings that lose their progress: {_percent(found.lost)} at {base}, "
        f"{_percent(found.lost_larger)} at {larger}, p = {found.p_lost:.2g} for more than 5 %"
    )
    return Verdict(claim=words[found.bottleneck], because=f"{'; '.join(parts)} (Holm over both).")


def _critical(sweep: Sweep) -> Iterator[Verdict]:
    if sweep.whole is None:
        return
    critical = sweep.critical(sweep.whole)
    if critical.value is None:
        return
    others = [p for p in sweep.players if p != TOGETHER]
    each = [
        f"{player}: {_examples(e)}"
        for player in others
        if (e := sweep.critical(player)).value is not None
    ]
    where = "the gradient noise in the coordinates of Adam" if sweep.metric == "adam" else "noise"
    because = f"Of each player: {'; '.join(each)}." if len(others) > 1 else ""
    measured = sweep.measured()
    if measured is not None and measured.critical.value is not None:
        because += f" Measured by steps to one target: {_examples(measured.critical)}."
    yield Verdict(
        claim=f"Critical batch, predicted from {where}: {_examples(critical)}.",
        because=because.strip(),
    )


def _doubling(sweep: Sweep, model: str) -> Iterator[Verdict]:
    if sweep.whole is None:
        return
    critical = sweep.critical(sweep.whole)
    found = doubling(critical, sweep.base)
    if found.saved.value is None:
        return
    players = [p for p in sweep.players if p != TOGETHER]
    each = [(p, recommended(sweep.critical(p))) for p in players]
    advice = ", ".join(f"{p} {b:,}" for p, b in each if b is not None)
    bound = "at most " if critical.high is None and critical.kind != "lower" else ""
    yield Verdict(
        claim=f"Twice the batch of {sweep.base:,} saves {bound}{_percent(found.saved)} of the "
        f"steps and costs {_times(found.flops)} the FLOPs. Recommended batch: {advice}.",
        because="At the critical batch a training takes twice the fewest steps and twice the "
        "fewest examples (McCandlish et al., 2018); these are the nearest powers of two."
        f"{_penalty(model, sweep.base)}",
    )


def _penalty(model: str, batch: int) -> str:
    """Returns what a penalty of the same noise floor weighs at twice the batch, as a sentence."""
    options = Spec.parse(model).options
    gamma = float(options.get("gamma", "0"))
    if options.get("penalty") not in {"r1", "r2", "r1r2"} or not gamma:
        return ""
    half = scaled_gamma(gamma, batch, 2 * batch)
    return (
        f" Near an equilibrium that turns, a penalty acts as the batch does: gamma = {half:g} at "
        f"{2 * batch:,} has the noise floor of gamma = {gamma:g} at {batch:,}."
    )


def _examples(e: Estimate) -> str:
    if e.kind == "lower":
        return f"at least {text(e.value)} examples"
    return f"{text(e.value)} examples ({text(e.low)} to {text(e.high)})"


def _with_interval(e: Estimate) -> str:
    if e.value is None:
        return f"not measured ({e.method})"
    if e.low is None:
        return f"{text(e.value)} (no interval)"
    return f"{text(e.value)} ({text(e.low)} to {text(e.high)})"


def _percent(e: Estimate) -> str:
    if e.value is None:
        return "an unknown share"
    ends = "" if e.low is None else f" ({100 * e.low:.0f} to {100 * (e.high or 0):.0f} %)"
    return f"{100 * e.value:.0f} %{ends}"


def _times(e: Estimate) -> str:
    ends = "" if e.low is None else f" ({text(e.low)} to {text(e.high)})"
    return f"{text(e.value)} times{ends}"


# ----------------------------------------------------------------------------
# The answer as tables and charts.
# ----------------------------------------------------------------------------


def blocks(sweep: Sweep) -> Iterator[Block]:
    """Yields players, batch sizes, noise over training, validation and steps to a target."""
    if sweep.players:
        yield _players(sweep)
    yield _batches(sweep)
    for metric in METRICS:
        if metric in {"plain", sweep.metric}:
            yield from _noise(sweep, metric)
    yield _validation(sweep)
    yield from _steps(sweep)


def _players(sweep: Sweep) -> Table:
    rows: list[list[Cell]] = []
    for player in sweep.players:
        critical = sweep.critical(player)
        found = doubling(critical, sweep.base)
        best = recommended(critical)
        row: list[Cell] = [player, sweep.scale(player, "plain")]
        if sweep.metric == "adam":
            row.append(sweep.scale(player, "adam"))
        advice = None if best is None or player == TOGETHER else f"{best:,}"
        rows.append([*row, critical, advice, found.saved, found.flops])
    adam = [
        Column(
            name="in Adam's coordinates",
            unit="examples",
            group="Noise scale",
            help="Gradients divided by the roots of Adam's second moments.",
        )
    ]
    return Table(
        title=f"Gradient noise at batch {sweep.base:,}",
        columns=[
            Column(name="player"),
            Column(
                name="of the gradient",
                unit="examples",
                group="Noise scale",
                help="tr(Σ) / |G|²: the batch at which noise and gradient are of one size.",
            ),
            *(adam if sweep.metric == "adam" else []),
            Column(name="critical batch", unit="examples", help="Noise scale over progress."),
            Column(name="recommended batch"),
            Column(name="steps saved", group="Twice the batch"),
            Column(name="FLOPs to the target", group="Twice the batch", better="lower"),
        ],
        rows=rows,
        note="Over all seeds, numerator and denominator averaged apart; jackknife over "
        "micro-batches, Fieller's interval. A lower bound is given where the gradient cannot be "
        "distinguished from 0.",
    )


def _batches(sweep: Sweep) -> Table:
    rows: list[list[Cell]] = []
    for batch in sweep.batches:
        courses = sweep.at(batch)
        ends = [c.end for c in courses if c.end is not None]
        steps = sweep.steps_at(batch)
        rows.append(
            [
                f"{batch:,}",
                _mean(ends),
                _lost(courses),
                steps,
                _scaled(steps, batch, "examples"),
                _flops(courses, steps),
            ]
        )
    target = sweep.target
    goal = "" if target is None else f" The target is {text(target)}, reached by every training."
    return Table(
        title="Batch sizes at equal steps",
        columns=[
            Column(name="batch"),
            Column(name="final validation loss", better="lower"),
            Column(name="lost their progress", better="lower", unit="%"),
            Column(name="steps", unit="steps", group="To the target", better="lower"),
            Column(name="examples", unit="examples", group="To the target", better="lower"),
            Column(name="FLOPs", unit="FLOP", group="To the target", better="lower"),
        ],
        rows=rows,
        note=f"Means over seeds, Student's t; the shares exact binomial.{goal}",
    )


def _mean(values: Sequence[float]) -> Estimate:
    return mean(values) if values else Estimate.missing("no training ended")


def _lost(courses: Sequence[Course]) -> Estimate:
    return percentage(
        sum(c.loses for c in courses), len(courses), of="trainings", why="no trainings"
    )


def _flops(courses: Sequence[Course], steps: Estimate) -> Estimate:
    each = next((c.step_flops for c in courses if c.step_flops is not None), None)
    if each is None:
        return Estimate.missing("no training ended", unit="FLOP")
    return _scaled(steps, each, "FLOP")


def _scaled(e: Estimate, by: float, unit: str) -> Estimate:
    if e.value is None:
        return replace(e, unit=unit)
    low, high = (None if end is None else end * by for end in (e.low, e.high))
    return replace(e, value=e.value * by, low=low, high=high, unit=unit)


def _noise(sweep: Sweep, metric: Metric) -> Iterator[Lines]:
    first = sweep.at(sweep.base)
    if not first or not first[0].ledger.looks:
        return
    chart = chart_of(first[0].ledger, metric)
    series = [
        _band(player, sweep.windows(player, metric)) for player in first[0].ledger.players(metric)
    ]
    known = [s for s in series if s.x]
    if chart is None or not known:
        return
    yield Lines(
        title=f"{chart['title']} at batch {sweep.base:,}",
        x_label=chart["x_label"],
        y_label=chart["y_label"],
        log_y=True,
        series=known,
        note=f"{chart['note']} Over all seeds.",
    )


def _band(player: str, windows: Sequence[tuple[float, Any]]) -> Series:
    found = [(s, p.scale()) for s, p in windows]
    known = [
        (s, e.value, e.low, e.high)
        for s, e in found
        if e.value is not None and e.low is not None and e.high is not None
    ]
    x, y, low, high = ([row[i] for row in known] for i in range(4))
    return Series(name=player, x=x, y=y, low=low, high=high)


def _validation(sweep: Sweep) -> Lines:
    courses = [c for c in sweep.courses if c.values]
    positive = all(v > 0 for c in courses for v in c.smooth)
    first = {b: next((c for c in courses if c.batch == b), None) for b in sweep.batches}
    return Lines(
        title="Validation during training",
        x_label="step",
        y_label="validation loss, lower is better",
        log_y=positive,
        series=[
            Series(name=f"batch {b:,}", x=list(c.steps), y=c.smooth)
            for b, c in first.items()
            if c is not None
        ],
        note="First seed, running medians of three.",
    )


def _steps(sweep: Sweep) -> Iterator[Lines]:
    fitted = sweep.measured()
    if not sweep.steps()[0] or sweep.whole is None:
        return
    means = [(float(b), sweep.steps_at(b).value) for b in sweep.batches]
    known = [(b, s) for b, s in means if s is not None]
    x = [b for b, _ in known]
    series = [Series(name="measured", x=x, y=[s for _, s in known])]
    if fitted is not None and fitted.critical.kind != "lower":
        curve = [s for b in x if (s := fitted.steps(b)) is not None]
        series.append(Series(name="fitted hyperbola", x=x, y=curve))
    critical, here = sweep.critical(sweep.whole), sweep.steps_at(sweep.base).value
    if critical.value is not None and critical.kind != "lower" and here is not None:
        least = here / (1 + critical.value / sweep.base)
        y = [least * (1 + critical.value / b) for b in x]
        series.append(Series(name="predicted from noise", x=x, y=y))
    yield Lines(
        title="Steps to the target against the batch",
        x_label="batch",
        y_label="steps",
        log_x=True,
        log_y=True,
        series=series,
        note="The prediction takes the steps at the batch that was asked for and the noise scale "
        "there; it holds for the best learning rate of each batch.",
    )


# ----------------------------------------------------------------------------
# The report.
# ----------------------------------------------------------------------------


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report from the outcomes of all trainings."""
    name = short(question["model"])
    good = [o for o in outcomes if o.error is None]
    base = int(question["batch"])
    sweep = Sweep([Course.of(o) for o in good], base)
    found = decomposed(sweep) if good else None
    has_floor = any(c.floor is not None for c in sweep.courses)
    return Report(
        title=f"What batch does {name} need?",
        command="batch",
        question=question,
        spend=sum((o.spend for o in outcomes), Spend()),
        facts=facts_of(_setting(question), outcomes, run),
        verdicts=list(verdicts(sweep, found, model=question["model"], has_floor=has_floor)),
        caveats=list(_caveats(question, good)),
        rows=list(_rows(question, sweep, found)),
        blocks=[*(blocks(sweep) if good else ()), *failed_trials(outcomes, column="training")],
        extra=dict(as_plain(found)),
    )


def _setting(question: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Model": str(question["model"]),
        "Solver": str(question["solver"]),
        "Data": str(question["data"]),
        "Batches": ", ".join(map(str, question["batches"])),
        "Learning rate": f"{question['rate']} in the batch",
        "Steps": str(question["steps"]),
        "Seeds": str(len(question["seeds"])),
    }


def _rows(question: Mapping[str, Any], sweep: Sweep, found: Decomposition | None) -> Iterator[Row]:
    named: dict[str, Estimate] = {}
    for player in sweep.players:
        named[f"noise scale ({player})"] = sweep.scale(player, "plain")
        if sweep.metric == "adam":
            named[f"noise scale ({player}, Adam)"] = sweep.scale(player, "adam")
        named[f"critical batch ({player})"] = sweep.critical(player)
    if sweep.whole is not None:
        bought = doubling(sweep.critical(sweep.whole), sweep.base)
        named |= {"steps saved by twice the batch": bought.saved}
        named |= {"FLOPs of twice the batch": bought.flops}
    measured = sweep.measured()
    if measured is not None:
        named |= {"critical batch (measured)": measured.critical}
        named |= {"fewest steps (measured)": measured.fewest}
    if found is not None:
        named |= {"noise part of the final loss": found.noise, "rest": found.rest}
        named |= {"lost progress": found.lost, "lost progress, larger batch": found.lost_larger}
    for name, estimate in named.items():
        yield Row(
            data=question["data"],
            model=question["model"],
            seed=None,
            name=name,
            estimate=estimate,
        )


def _caveats(question: Mapping[str, Any], good: Sequence[Outcome]) -> Iterator[Caveat]:
    yield Caveat(
        text="The critical batch is predicted for small steps along the gradient of one player "
        "with the others held, and for the learning rate that is best at each batch; the measured "
        f"one is for the learning rate that is {question['rate']} in the batch."
    )
    yield Caveat(
        text="Validation is of averaged weights where the family averages them, which hides part "
        "of the noise from what is evaluated."
    )
    couples = {reason for o in good if (reason := o.details["couples"])}
    if couples:
        yield Caveat(
            text=f"Examples of a batch have no gradients of their own: {'; '.join(couples)}. The "
            "noise is that of micro-batches, and need not fall as one over the batch."
        )


# ----------------------------------------------------------------------------
# The study: its question, its trials, its answer.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, kw_only=True)
class BatchStudy:
    """Trainings at three batch sizes, with their gradient noise.

    Attributes:
        model: A family in written form.
        data: The data set.
        batch: The batch that is examined.
        factor: By how much the others are smaller and larger.
        steps: Steps of each training.
        seeds: How often each is repeated.
        rate: How the learning rate follows the batch.
        solver: How the players move; ``auto`` is what suits the family.
        data_seed: Seed of the train/validation/test split.
        threads: Threads; part of what decides the last digits.
        device: Where to train.
        live: Games that were given as objects, by the hash of their content.
    """

    model: str
    data: str = DATA
    batch: options.BatchSize = options.Batch.batch
    factor: int = options.Batch.factor
    steps: int = options.Batch.steps
    seeds: options.Seeds = options.Batch.seeds
    rate: options.Rate = options.Batch.rate
    solver: str = options.Batch.solver
    data_seed: options.Seed = options.Batch.data_seed
    threads: options.Threads = options.Batch.threads
    device: str = options.Batch.device
    live: Mapping[str, Game] = field(default_factory=dict[str, Game], repr=False, compare=False)

    @classmethod
    def of(cls, asked: options.Batch, data: str | None = None) -> "BatchStudy":
        """Returns the study that ``gantlet batch`` asks for.

        Args:
            asked: The options.
            data: The data set in written form, or None for the usual one.
        """
        own = None if isinstance(asked.model, str) else asked.model
        names = ("batch", "factor", "steps", "seeds", "rate", "solver", "data_seed", "threads")
        return cls(
            model=asked.model if isinstance(asked.model, str) else written(asked.model),
            live={} if own is None else {content_of(own): own},
            data=DATA if data is None else data,
            device=asked.device,
            **{name: getattr(asked, name) for name in names},
        )

    @cached_property
    def loaded(self) -> RunData:
        """The data of this run, loaded once."""
        return RunData(self.live)

    @cached_property
    def _first(self) -> BatchTrial:
        model = resolved(self.model)
        family = family_of(model, self.loaded)
        chosen = family.solver if self.solver == "auto" else self.solver
        return BatchTrial(
            model=model,
            solver=solvers.resolve(chosen),
            rate=self.rate,
            base=self.batch,
            batch=self.batch,
            data=datasets.resolve(self.data),
            data_seed=self.data_seed,
            threads=self.threads,
            device=self.device,
            budget=Budget(steps=self.steps),
            seed=0,
        )

    @property
    def batches(self) -> list[int]:
        """The batch sizes."""
        few = max(self.batch // self.factor, 1)
        return sorted({few, self.batch, self.batch * self.factor})

    def fresh(self) -> "BatchStudy":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        first = self._first
        return {
            "command": "batch",
            "model": first.model,
            "solver": first.solver,
            "data": first.data,
            "batch": first.batch,
            "batches": self.batches,
            "rate": first.rate,
            "steps": self.steps,
            "seeds": list(range(self.seeds)),
            "data_seed": self.data_seed,
            "threads": self.threads,
            "device": self.device,
            "data fingerprint": self.loaded.fingerprint(first.data, self.data_seed),
        }

    def trials(self) -> Sequence[Trial]:
        """One for each batch and seed, those of one seed in pairs.

        Raises:
            UserError: If what is asked does not fit together.
        """
        check_fields(self)
        first = self._first
        space, _ = self.loaded.of(first)
        game = family_of(first.model, self.loaded).build(space, rng=Rng(0))
        for batch in self.batches:
            scaled = at_batch(first.solver, first.base, batch, first.rate)
            solvers.make(scaled).start(game)
        return [
            replace(first, batch=batch, seed=seed).written()
            for seed in range(self.seeds)
            for batch in self.batches
        ]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Trains at one batch size and measures noise along the way."""
        return run_trial(trial, self.loaded, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says what batch the training needs, and what holds it back."""
        return answer(self.question(), outcomes, run)
