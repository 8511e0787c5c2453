"""Do the intervals of the metrics attain nominal coverage? The study and its report."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import product
from typing import Any, final

import torch
from torch import Tensor

from gantlet import options
from gantlet.core.errors import UserError, unknown
from gantlet.core.estimate import Estimate, Outcome, Trial
from gantlet.core.spec import metrics
from gantlet.domains.domains import metrics_of_one_kind
from gantlet.report.blocks import (
    Block,
    Caveat,
    Column,
    Facts,
    Report,
    Row,
    Section,
    Table,
    Verdict,
    failed_trials,
)
from gantlet.report.blocks import Cell as Shown
from gantlet.report.format import text as shown
from gantlet.research.calibration.false_verdicts import (
    judge_block,
    verdict_answer,
    verdict_question,
    verdict_trials,
)
from gantlet.research.calibration.trial import (
    BLOCK,
    COLUMNS,
    MISSING,
    PLAIN,
    SCALES,
    TIME,
    CalibrationSize,
    CalibrationTrial,
    Size,
    simulate,
)
from gantlet.research.calibration.truth import SCENARIOS, WORDS, Estimand, estimand
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder
from gantlet.stats.intervals import percentage, t_quantile

# ----------------------------------------------------------------------------
# The report: which intervals attain their nominal coverage.
# ----------------------------------------------------------------------------


# ----------------------------------------------------------------------------
# What the replicates of one metric on one pair of distributions say of its interval.
# ----------------------------------------------------------------------------

LOWEST, HIGHEST = 93.0, 97.0
"""The range, in %, in which the coverage of an interval of 95 % should lie."""


@final
class Judgement(StrEnum):
    """How the coverage of intervals is judged; the value is what reports call it."""

    COVERS = "covers"
    NEAR = "near"
    TOO_WIDE = "too wide"
    TOO_NARROW = "too narrow"
    NO_INTERVAL = "no interval"


@final
@dataclass(frozen=True, kw_only=True)
class CoverageCell:
    """The replicates of one metric at one sample size on one pair of distributions.

    Attributes:
        metric: The metric as people write it.
        scenario: Which pair of distributions.
        n: Samples of either kind.
        d: Features of a sample.
        estimand: What is taken as the truth.
        value: What each replicate gave, NaN where nothing.
        low: Lower ends of the intervals, NaN where there was none.
        high: Upper ends of the intervals, NaN where there was none.
        truth: The truth of each replicate.
        why: Why intervals are missing, or nothing where none is.
    """

    metric: str
    scenario: str
    n: int
    d: int
    estimand: Estimand
    value: Tensor
    low: Tensor
    high: Tensor
    truth: Tensor
    why: str = ""

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return f"{self.scenario}, n = {self.n:,}, d = {self.d}"

    @cached_property
    def held(self) -> Estimate:
        """Empirical coverage, in %, with the exact binomial interval."""
        known = ~self.low.isnan()
        inside = (self.low <= self.truth) & (self.truth <= self.high)
        return percentage(
            int(inside[known].sum()),
            int(known.sum()),
            of="replicates",
            why=self.why or "no interval",
        )

    @property
    def judgement(self) -> Judgement:
        """Whether that is 93 to 97 %; near where chance alone could explain that it is not."""
        return judged(self.held)

    @property
    def bias(self) -> float | None:
        """The mean error in standard errors of that mean, or None where the truth is the mean."""
        error = self._error
        if self.estimand == "mean" or len(error) < 2:
            return None
        spread = float(error.std())
        return float(error.mean()) * math.sqrt(len(error)) / spread if spread > 0 else None

    @property
    def width(self) -> float | None:
        """The mean width of the intervals over that which the spread of the values asks for."""
        widths, error = self.high - self.low, self._error
        widths = widths[~widths.isnan()]
        if len(widths) == 0 or len(error) < 2 or float(error.std()) == 0:
            return None
        return float(widths.mean()) / (2 * t_quantile(0.975, 1e9) * float(error.std()))

    @property
    def _error(self) -> Tensor:
        error = self.value - self.truth
        return error[~error.isnan()]


def judged(e: Estimate) -> Judgement:
    """Returns the judgement on an empirical coverage, in %."""
    if e.value is None or e.low is None or e.high is None:
        return Judgement.NO_INTERVAL
    if LOWEST <= e.value <= HIGHEST:
        return Judgement.COVERS
    if e.low > HIGHEST:
        return Judgement.TOO_WIDE
    return Judgement.TOO_NARROW if e.high < LOWEST else Judgement.NEAR


def pooled(group: Sequence[CoverageCell]) -> Estimate:
    """Returns the empirical coverage over all cells, in %."""
    known = [c.held for c in group if c.held.value is not None]
    held = sum(round((e.value or 0.0) * e.n / 100) for e in known)
    total = sum(e.n for e in known)
    return percentage(held, total, of="replicates", why="no interval in any cell")


def cells(outcomes: Sequence[Outcome], run: Run) -> Iterator[CoverageCell]:
    """Yields a cell for each metric, sample size, number of features and scenario."""
    groups: dict[str, list[Outcome]] = {}
    for o in outcomes:
        if o.error is None:
            groups.setdefault(o.trial.model, []).append(o)
    for group in groups.values():
        blocks = [run.folder(o.trial).load("replicates") for o in group]
        missing = {m: why for o in reversed(group) for m, why in _missing(o).items()}
        trial = CalibrationTrial.of(group[0].trial)
        for metric in trial.metrics:
            columns = {c: torch.cat([b[f"{metric}/{c}"] for b in blocks]) for c in COLUMNS}
            yield _cell(metric, trial, columns, missing.get(metric, ""))


def _missing(outcome: Outcome) -> Mapping[str, str]:
    """Returns why intervals are missing, by metric; trials of before say so in their notes."""
    notes = (note.text.split("/", 1) for note in outcome.notes)
    found: Mapping[str, str] = outcome.details.get(MISSING, dict(notes))
    return found


def _cell(
    metric: str, trial: CalibrationTrial, columns: dict[str, Tensor], why: str
) -> CoverageCell:
    what = estimand(metric)
    if what == "mean":
        columns["truth"] = torch.full_like(columns["value"], float(columns["value"].nanmean()))
    return CoverageCell(
        metric=metrics.short(metric),
        scenario=trial.scenario,
        n=trial.n,
        d=trial.d,
        estimand=what,
        why=why,
        **columns,
    )


# ----------------------------------------------------------------------------
# The report of the study: which intervals attain their nominal coverage.
# ----------------------------------------------------------------------------

RANGE = f"{LOWEST:g}-{HIGHEST:g} %"

ByMetric = Mapping[str, Sequence[CoverageCell]]
"""The cells of each metric."""


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report from what has been simulated so far."""
    found: dict[str, list[CoverageCell]] = {}
    for cell in cells(outcomes, run):
        found.setdefault(cell.metric, []).append(cell)
    return Report(
        title="Do the intervals attain nominal coverage?",
        command="study calibration",
        question=question,
        facts=_facts(question, outcomes, run),
        verdicts=[*_overall(found), *_each(found), *_unbiased(found)],
        caveats=list(calibration_caveats(question, found)),
        rows=list(_rows(found)),
        blocks=[
            _summary(found),
            *_sections(question, found),
            *failed_trials(outcomes, column="where"),
        ],
    )


def _facts(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Facts:
    seconds = sum(o.clock[TIME].value or 0.0 for o in outcomes if TIME in o.clock)
    setting = {
        "Size": str(question["size"]),
        "Samples of either kind": ", ".join(map(str, question["n"])),
        "Features": ", ".join(map(str, question["d"])),
        "Replicates": f"{_replicates(question)} in each cell, seeds from 0",
        **{f"Scenario {s}": SCENARIOS[s].says for s in question["scenarios"]},
        "Total CPU time": shown(seconds, "s"),
        "Not run": _not_run(question),
    }
    return facts_of(setting, outcomes, run, trains=False)


def _replicates(question: Mapping[str, Any]) -> str:
    asked = question["replicates"]
    if isinstance(asked, int):
        return str(asked)
    return ", ".join(f"{count} at n = {n}" for n, count in asked.items())


def _not_run(question: Mapping[str, Any]) -> str:
    """Returns the part of a full study that this one leaves out."""
    full = SCALES["full"]
    wanted = {m.partition(":")[0] for m in question["metrics"]}
    left: dict[str, list[object]] = {
        "metrics": [m for m in _all_but(full.without) if m not in wanted],
        "n": [n for n in full.ns if n not in question["n"]],
        "d": [d for d in full.ds if d not in question["d"]],
        "scenarios": [s for s in full.scenarios if s not in question["scenarios"]],
    }
    clauses = [f"{name} {', '.join(map(str, some))}" for name, some in left.items() if some]
    return "; ".join(clauses) or "none of the full study"


def _overall(found: ByMetric) -> Iterator[Verdict]:
    if not found:
        return
    fair = {Judgement.COVERS, Judgement.NEAR}
    good = [
        m
        for m, group in found.items()
        if {judged(pooled(group)), *(c.judgement for c in group)} <= fair
    ]
    yield Verdict(
        claim=f"The 95 % intervals of {len(good)} of {len(found)} metrics have an empirical "
        f"coverage of {RANGE} within chance, in every cell and over all cells.",
        because=f"{', '.join(good) or 'None'}. {_share(found)}",
    )


def _share(found: ByMetric) -> str:
    every = [c.judgement for group in found.values() for c in group]
    covers, near = every.count(Judgement.COVERS), every.count(Judgement.NEAR)
    return f"Of {len(every)} cells {covers} cover and {near} are near."


def _each(found: ByMetric) -> Iterator[Verdict]:
    for metric, group in found.items():
        covers = [c for c in group if c.judgement == Judgement.COVERS]
        where = f"in {len(covers)} of {len(group)} cells" if len(group) > 1 else ""
        if covers:
            claim = f"{metric}: covers {RANGE} {where}".rstrip() + "."
        else:
            claim = f"{metric}: does not cover {RANGE} in any of {len(group)} cells."
        over_all = pooled(group)
        because = f"Over all cells {shown(over_all)}: {judged(over_all)}. " * (len(group) > 1)
        yield Verdict(claim=claim, because=(because + _elsewhere(group)).strip())


def _elsewhere(group: Sequence[CoverageCell]) -> str:
    """Returns in words where the intervals of a metric do not cover; chance is only counted."""
    clauses = [
        f"{c.judgement} at {c.place} ({shown(c.held)})"
        for c in group
        if c.judgement in {Judgement.TOO_WIDE, Judgement.TOO_NARROW}
    ]
    if near := sum(c.judgement == Judgement.NEAR for c in group):
        clauses.append(f"near in {near}")
    if none := [c for c in group if c.judgement == Judgement.NO_INTERVAL]:
        clauses.append(f"no interval in {len(none)}, as at {none[0].place} ({none[0].why})")
    words = "; ".join(clauses)
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def _unbiased(found: ByMetric) -> Iterator[Verdict]:
    for metric, group in found.items():
        # Where there is no interval the metric says itself that a part of its bias is unknown.
        fair = [c for c in group if c.judgement != Judgement.NO_INTERVAL]
        known = {c.place: c.bias for c in fair if c.bias is not None}
        if not known or group[0].estimand != "distributions":
            continue
        within = [place for place, bias in known.items() if abs(bias) <= 2]
        place, worst = max(known.items(), key=lambda item: abs(item[1]))
        yield Verdict(
            claim=f"{metric}: the mean is within 2 standard errors of the truth in {len(within)} "
            f"of {len(known)} cells.",
            because=f"Farthest: {worst:+.1f} standard errors at {place}. Of unbiased numbers 95 % "
            "are within 2.",
        )


def _summary(found: ByMetric) -> Table:
    rows: list[Sequence[Shown]] = []
    for metric, group in found.items():
        values = [c.held.value for c in group if c.held.value is not None]
        counts = [sum(c.judgement == j for c in group) for j in Judgement]
        ends = (min(values), max(values)) if values else (None, None)
        rows.append([metric, pooled(group), *ends, *counts, WORDS[group[0].estimand]])
    return Table(
        title="Every metric",
        columns=[
            Column(name="metric"),
            Column(name="all cells", unit="%", help="Over all replicates.", group=_COVERAGE),
            Column(name="lowest", unit="%", help="In the cell with the least.", group=_COVERAGE),
            Column(name="highest", unit="%", help="In the cell with the most.", group=_COVERAGE),
            *(Column(name=j.value, help=_HELP[j], group="Number of cells") for j in Judgement),
            Column(name="estimand"),
        ],
        rows=rows,
        note="Coverage: how often the 95 % interval contained the true value. A cell is one "
        "sample size, number of features and pair of distributions.",
    )


_COVERAGE = "Coverage"

_HELP: Mapping[Judgement, str] = {
    Judgement.COVERS: f"The coverage is within {RANGE}.",
    Judgement.NEAR: f"Outside {RANGE}, but its own 95 % interval reaches into that range.",
    Judgement.TOO_WIDE: f"Significantly above {HIGHEST:g} %: conservative.",
    Judgement.TOO_NARROW: f"Significantly below {LOWEST:g} %.",
    Judgement.NO_INTERVAL: "The metric gave no interval, with a reason.",
}


def _sections(question: Mapping[str, Any], found: ByMetric) -> Iterator[Section]:
    for d in question["d"]:
        for n in question["n"]:
            here = {
                metric: {c.scenario: c for c in group if (c.n, c.d) == (n, d)}
                for metric, group in found.items()
            }
            yield Section(
                title=f"n = {n:,}, d = {d}",
                blocks=list(_tables(question["scenarios"], here)),
                open=len(question["d"]) * len(question["n"]) == 1,
            )


_Cells = Mapping[str, Mapping[str, CoverageCell]]


def _tables(scenarios: Sequence[str], here: _Cells) -> Iterator[Block]:
    def table(title: str, unit: str, note: str, of: Callable[[CoverageCell], Shown]) -> Table:
        rows = [
            [metric, *(of(row[s]) if s in row else None for s in scenarios)]
            for metric, row in here.items()
        ]
        kept = [r for r in rows if any(cell is not None for cell in r[1:])]
        columns = [Column(name=s, unit=unit, help=SCENARIOS[s].says) for s in scenarios]
        return Table(title=title, columns=[Column(name="metric"), *columns], rows=kept, note=note)

    yield table(
        "Coverage of the interval",
        "%",
        "With the exact binomial interval.",
        lambda c: c.held,
    )
    yield table(
        "Width",
        "1",
        "Mean width of the intervals, divided by 2 · 1.96 standard deviations of the values: "
        "above 1 they are wider than those of a normal distribution.",
        lambda c: c.width,
    )
    yield table(
        "Bias",
        "1",
        "Mean error in standard errors: within ±2 it is not significant. A dash where the true "
        "value is the mean itself.",
        lambda c: c.bias,
    )


def calibration_caveats(question: Mapping[str, Any], found: ByMetric) -> Iterator[Caveat]:
    """Yields what limits the answer to a question: its worlds, sizes and replicates."""
    cells_ = max((len(group) for group in found.values()), default=0)
    if set(question["scenarios"]) <= set(PLAIN):
        yield Caveat(
            text=(
                "Simulated features: normal distributions and mixtures of two. Real features "
                "have heavier tails and clusters, where coverage may be lower."
            )
        )
    else:
        yield Caveat(
            text="Each pair of distributions represents one deviation from normal features; other "
            "features may combine several."
        )
    yield Caveat(
        text="Where the true value is a metric's own mean over the replicates, only the width of "
        "its interval is tested, not its bias."
    )
    yield Caveat(
        text="All metrics use the same samples, so their random errors are correlated: where kid "
        "and energy, which are unbiased by construction, are off, others are off by chance too."
    )
    asked = question["replicates"]
    counts = [asked] if isinstance(asked, int) else list(asked.values())
    summary = ", ".join(f"{count} replicates give {_chance(count)}" for count in counts)
    yield Caveat(
        text=f"For an interval of exactly 95 % coverage, {summary} with 95 % probability; among "
        f"{cells_} cells a few fall outside by chance."
    )


def _chance(n: int) -> str:
    from scipy.stats import binom

    low, high = (100 * binom.ppf(p, n, 0.95) / n for p in (0.025, 0.975))
    return f"{low:.1f} to {high:.1f} %"


def _rows(found: ByMetric) -> Iterator[Row]:
    for group in found.values():
        for c in group:
            data = f"{c.scenario}:n={c.n},d={c.d}"
            yield Row(data=data, model=c.metric, seed=None, name="interval holds", estimate=c.held)


# ----------------------------------------------------------------------------
# The study: its question, its trials, its answer.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Nominal 95 % intervals of every metric against simulated truth.

    Draws real and fake features from known distributions again and again, measures, and counts
    the empirical coverage of the interval, which should be 93 to 97 %. Also shown:
    the bias in standard errors, and the width against what the spread of the values asks for.

    Attributes:
        size: small: all but the two slowest metrics, a few cells, 100 replicates; gate: eight
            metrics at n = 1000 and d = 64, 400 replicates; frechet: that one alone, 2,000
            replicates, to see its bias; near: energy, kid and frechet at n = 500 where the two are
            nearly equal, discrete, heavy-tailed, in groups, or images of MNIST (where its files
            are there), 200 replicates; wide: every metric, sample size and number of features,
            two pairs of distributions, 200 to 50 replicates, three CPU hours; full: all four
            pairs, 400 replicates, a day and more; verdicts: not the intervals but what ``gantlet
            evaluate`` says, on sets that are as good as real ones and on flawed ones, an hour.
        seeds: Replicates, or None for what the size says.
        metrics: Which metrics; empty for those of the size.
        ns: Sample sizes; empty for those of the size.
        ds: Numbers of features; empty for those of the size.
        scenarios: Pairs of distributions; empty for those of the size.
        threads: Threads of each trial.
        device: Where the metrics are computed.
    """

    size: Size = "small"
    seeds: options.Seeds | None = None
    metrics: tuple[str, ...] = ()
    ns: tuple[int, ...] = ()
    ds: tuple[int, ...] = ()
    scenarios: tuple[str, ...] = ()
    threads: options.Threads = 1
    device: str = "cpu"

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        if self.size == "verdicts":
            return verdict_question(self.seeds, self.threads, self.device)
        scale = self._scale
        return {
            "command": "study calibration",
            "size": self.size,
            "metrics": list(self._metrics),
            "n": list(scale.ns),
            "d": list(scale.ds),
            "scenarios": list(scale.scenarios),
            "replicates": self._replicates,
            "threads": self.threads,
            "device": self.device,
        }

    def trials(self) -> Sequence[Trial]:
        """One for each sample size, number of features, scenario and block of replicates.

        Raises:
            UserError: If a scenario is not known or a number is too small.
        """
        if self.size == "verdicts":
            return self._of_verdicts()
        scale = self._scale
        _check(scale)
        return [
            self._trial(n, d, scenario, block)
            for n, d, scenario in product(scale.ns, scale.ds, scale.scenarios)
            if scale.wants(scenario, d)
            for block in range(-(-scale.replicates_at(n) // BLOCK))
        ]

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Draws and measures the replicates of one trial."""
        if self.size == "verdicts":
            return judge_block(trial, watch)
        return simulate(trial, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Counts how often the intervals cover the true value."""
        made = verdict_answer if self.size == "verdicts" else answer
        return made(self.question(), outcomes, run)

    def _of_verdicts(self) -> Sequence[Trial]:
        if self.metrics or self.ns or self.ds or self.scenarios:
            raise UserError("size=verdicts has sets of its own: give seeds alone.")
        if self.seeds is not None and self.seeds < 1:
            raise UserError(
                f"seeds, the runs of each world, must be at least 1. Got {self.seeds}."
            )
        return verdict_trials(self.seeds, self.threads, self.device)

    @property
    def _scale(self) -> CalibrationSize:
        scale = SCALES[self.size]
        return CalibrationSize(
            ns=self.ns or scale.ns,
            ds=self.ds or scale.ds,
            scenarios=self.scenarios or scale.scenarios,
            replicates=scale.replicates if self.seeds is None else self.seeds,
            metrics=self.metrics or scale.metrics or _all_but(scale.without),
            rarer=scale.rarer if self.seeds is None else {},
            only={} if self.ds or self.scenarios else scale.only,
        )

    @property
    def _replicates(self) -> int | dict[str, int]:
        """How often each cell is drawn: one number, or one for each sample size."""
        scale = self._scale
        each = {str(n): scale.replicates_at(n) for n in scale.ns}
        return each if len(set(each.values())) > 1 else scale.replicates_at(scale.ns[0])

    @property
    def _metrics(self) -> list[str]:
        return [metrics.resolve(m) for m in self._scale.metrics]

    def _trial(self, n: int, d: int, scenario: str, block: int) -> Trial:
        return CalibrationTrial(
            model=f"{scenario}:n={n},d={d}",
            metrics=tuple(self._metrics),
            scenario=scenario,
            n=n,
            d=d,
            replicates=min(BLOCK, self._scale.replicates_at(n) - block * BLOCK),
            threads=self.threads,
            device=self.device,
            seed=block,
        ).written()


def _all_but(without: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names of all metrics but some, and but those of one kind of data."""
    left_out = {*without, *metrics_of_one_kind()}
    return tuple(m for m in metrics.names() if m not in left_out)


def _check(scale: CalibrationSize) -> None:
    for scenario in scale.scenarios:
        if scenario not in SCENARIOS:
            raise unknown("scenario", scenario, SCENARIOS)
    if min(*scale.ns, *scale.ds) < 1 or scale.replicates < 2:
        raise UserError("ns and ds must be at least 1, and seeds, the replicates, at least 2.")
