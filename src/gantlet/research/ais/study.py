"""Is annealed importance sampling biased for flows, and why? The study and its report."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Literal, final

from gantlet import options
from gantlet.commands.compare.report import rows_of
from gantlet.core.estimate import Estimate, Outcome, Spend, Trial
from gantlet.core.spec import datasets, families
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Lines,
    Report,
    Section,
    Series,
    Table,
    Verdict,
    failed_trials,
)
from gantlet.report.format import text as shown
from gantlet.research.ais.trial import (
    ACCEPTANCE,
    AIS,
    EXACT,
    GAP,
    OFF,
    SHORT,
    SMOOTH,
    TUNING,
    AnnealingGrid,
    AnnealingTrial,
    DataPart,
    Size,
    at,
    parts,
    run_trial,
    trials,
)
from gantlet.run.execute import Watch, facts_of
from gantlet.run.store import Run, TrialFolder
from gantlet.run.trials import RunData
from gantlet.stats.intervals import is_separated

# ----------------------------------------------------------------------------
# The report: the bias of AIS for each flow, and its cause.
# ----------------------------------------------------------------------------


Cause = Literal["none", "noise", "chains", "both"]
"""Why AIS is biased: the noise smooths the density, the chains have not mixed, or both."""

# One cause is named alone where it is this many times the other.
_ALONE = 3.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AisPoint:
    """One flow at one width of noise and one number of temperatures; all in nats.

    Attributes:
        sigma: The width of the noise, in standard deviations of the data.
        temperatures: How many temperatures.
        bound: The bound of the mean log-likelihood of the test samples.
        off: The bound less the exact value, paired by sample.
        gap: Upper less lower bound of simulated samples.
        acceptance: The mean acceptance probability.
        smooth: The smoothed density's log-likelihood less the exact one, where it is known.
        short: The smoothed density's log-likelihood less the bound, where it is known.
    """

    sigma: float
    temperatures: int
    bound: Estimate
    off: Estimate
    gap: Estimate
    acceptance: Estimate
    smooth: Estimate | None
    short: Estimate | None

    @property
    def is_off(self) -> bool:
        """Whether the interval of the error excludes zero."""
        return is_separated(self.off)

    @property
    def lost(self) -> float:
        """What the chains lose: known exactly in the plane, else the gap of simulated samples."""
        best = self.gap if self.short is None else self.short
        return best.value or 0.0

    @property
    def smoothing(self) -> float:
        """What the noise changes: known in the plane, else what the gap leaves unexplained.

        A bound above the exact value is the noise's doing, and chains hide some of it.
        """
        if self.smooth is not None:
            return self.smooth.value or 0.0
        rest = (self.off.value or 0.0) + self.lost
        return rest if (self.off.value or 0.0) > 0 else min(0.0, rest)

    @property
    def cause(self) -> Cause:
        """Why the bound is off, or ``none`` where it is not shown to be."""
        if not self.is_off:
            return "none"
        noise, chains = abs(self.smoothing), abs(self.lost)
        if noise > _ALONE * chains:
            return "noise"
        return "chains" if chains > _ALONE * noise else "both"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FlowResult:
    """The results of one flow.

    Attributes:
        label: The flow as people name it.
        data: The data set as people name it.
        seed: Of which seed.
        exact: The exact log-likelihood of the test samples.
        points: Width by width, and there by rising numbers of temperatures.
        tuned: The width that made validation samples most likely at the most temperatures.
    """

    label: str
    data: str
    seed: int
    exact: Estimate
    points: Sequence[AisPoint]
    tuned: float

    @property
    def longest(self) -> Sequence[AisPoint]:
        """The points of the most temperatures, narrowest noise first."""
        most = max(p.temperatures for p in self.points)
        found = [p for p in self.points if p.temperatures == most]
        return sorted(found, key=lambda p: p.sigma)

    @property
    def at_tuned(self) -> AisPoint:
        """The point that a user would report: tuned width, most temperatures."""
        return next(p for p in self.longest if p.sigma == self.tuned)

    def over(self, sigma: float) -> Sequence[AisPoint]:
        """The points of one width, fewest temperatures first."""
        found = [p for p in self.points if p.sigma == sigma]
        return sorted(found, key=lambda p: p.temperatures)


def findings(outcomes: Sequence[Outcome]) -> list[FlowResult]:
    """Returns the results of the trials that gave numbers, flow by flow."""
    return [found for o in outcomes if o.error is None and (found := _found(o)) is not None]


def _found(outcome: Outcome) -> FlowResult | None:
    """Returns the results of one trial, or None where no bound is finite."""
    grid = AnnealingTrial.of(outcome.trial).grid
    points = [
        point
        for sigma in grid.sigmas
        for n in grid.temperatures
        if (point := _point(outcome.scores, sigma, n)).off.value is not None
    ]
    tuned = _tuned(outcome.scores, grid, points)
    if tuned is None:
        return None
    return FlowResult(
        label=families.short(outcome.trial.model),
        data=datasets.short(outcome.trial.data),
        seed=outcome.trial.seed,
        exact=outcome.scores[EXACT],
        points=points,
        tuned=tuned,
    )


def _point(scores: Mapping[str, Estimate], sigma: float, temperatures: int) -> AisPoint:
    def score(what: str) -> Estimate:
        return scores[at(what, sigma, temperatures)]

    return AisPoint(
        sigma=sigma,
        temperatures=temperatures,
        bound=score(AIS),
        off=score(OFF),
        gap=score(GAP),
        acceptance=score(ACCEPTANCE),
        smooth=scores.get(at(SMOOTH, sigma)),
        short=scores.get(at(SHORT, sigma, temperatures)),
    )


def _tuned(
    scores: Mapping[str, Estimate], grid: AnnealingGrid, points: Sequence[AisPoint]
) -> float | None:
    most = max(grid.temperatures)
    values = {
        p.sigma: value
        for p in points
        if p.temperatures == most
        and (value := scores[at(TUNING, p.sigma, most)].value) is not None
    }
    return max(values, key=lambda sigma: values[sigma]) if values else None


# ----------------------------------------------------------------------------
# The study's answers, drawn from what was found, whichever way it fell.
# ----------------------------------------------------------------------------

_AIS = "Annealed importance sampling"
"""The common head of what AIS gave."""

_WHY: dict[Cause, str] = {
    "noise": "observation noise, which smooths the density",
    "chains": "chains that have not mixed",
    "both": "observation noise, which smooths the density, and chains that have not mixed",
    "none": "nothing: the bias is not significant",
}


def verdicts(found: Sequence[FlowResult]) -> list[Verdict]:
    """Returns whether AIS is biased, why, whether more temperatures help, and what ranks."""
    if not found:
        return [Verdict(claim="No flow gave finite bounds.", because="See what was not run.")]
    return [
        _overall(found),
        *(_causes(f) for f in found),
        *_temperatures(found),
        *_unseen(found),
        *_rankings(found),
    ]


def _overall(found: Sequence[FlowResult]) -> Verdict:
    off = [f for f in found if f.at_tuned.is_off]
    summary = "; ".join(f"{_name(f)}: {_error(f.at_tuned)}" for f in found)
    if len(off) == len(found):
        claim = "Yes: AIS is significantly biased for every flow here."
    elif off:
        claim = (
            f"AIS is significantly biased for {len(off)} of {len(found)} flows here: "
            f"{', '.join(_name(f) for f in off)}."
        )
    else:
        claim = "No: AIS is not significantly biased for any flow here."
    return Verdict(
        claim=claim,
        because=f"AIS bound minus exact log-likelihood, at the noise tuned on validation samples "
        f"and the most temperatures: {summary}.",
    )


def _causes(f: FlowResult) -> Verdict:
    narrow, wide, tuned = f.longest[0], f.longest[-1], f.at_tuned
    claim = f"{_name(f)}: with tuned noise the bias comes from {_WHY[tuned.cause]}."
    if tuned.cause == "none":
        claim = f"{_name(f)}: with tuned noise the bias is not significant."
    ends = "; ".join(
        f"{name} noise level, {_error(p)}, {_WHY[p.cause]} (gap {shown(p.gap)}{_known(p)})"
        for name, p in (("lowest", narrow), ("tuned", tuned), ("highest", wide))
    )
    return Verdict(claim=claim, because=f"{ends[0].upper()}{ends[1:]}.")


def _known(p: AisPoint) -> str:
    if p.smooth is None or p.short is None:
        return ""
    lost = f"the chains lose {shown(p.short)}"
    return f"; the noise alone shifts the density by {shown(p.smooth)}, {lost}"


def _temperatures(found: Sequence[FlowResult]) -> Iterator[Verdict]:
    """Reports the effect of more temperatures at the lowest noise level."""
    for f in found:
        steps = f.over(f.longest[0].sigma)
        if len(steps) < 2:
            continue
        first, last = steps[0], steps[-1]
        end = "still leave a bias" if last.is_off else "are enough"
        yield Verdict(
            claim=f"{_name(f)}: {last.temperatures:,} temperatures {end} at the lowest noise.",
            because="AIS bound minus exact: "
            + "; ".join(f"{p.temperatures:,} temperatures {shown(p.off)}" for p in (first, last))
            + ".",
        )


def _unseen(found: Sequence[FlowResult]) -> Iterator[Verdict]:
    """Reports whether a small gap occurs with a large error, which it then fails to reveal."""
    worst = [max(f.longest, key=_hidden) for f in found]
    hidden = [(f, p) for f, p in zip(found, worst, strict=True) if p.is_off and _hidden(p) > 0]
    if hidden:
        f, p = max(hidden, key=lambda pair: _hidden(pair[1]))
        yield Verdict(
            claim="A small sandwich gap does not show that the likelihood is accurate.",
            because=f"{_name(f)}, noise {p.sigma:g}: gap {shown(p.gap)}, error {shown(p.off)}. "
            "The gap refers to the model with observation noise.",
        )
    else:
        yield Verdict(
            claim="No error exceeded its sandwich gap.",
            because="; ".join(
                f"{_name(f)}, noise {p.sigma:g}: gap {shown(p.gap)}, error {shown(p.off)}"
                for f, p in zip(found, worst, strict=True)
            )
            + ".",
        )


def _hidden(p: AisPoint) -> float:
    """How much of the error is beyond what the gap, at the end of its interval, admits."""
    gap = p.gap.high if p.gap.high is not None else (p.gap.value or 0.0)
    near = min(abs(p.off.low or 0.0), abs(p.off.high or 0.0)) if p.is_off else 0.0
    return near - max(gap, 0.0)


def _rankings(found: Sequence[FlowResult]) -> Iterator[Verdict]:
    """Compares how both numbers rank two flows of the same data and seed."""
    for a, b in combinations(found, 2):
        if (a.data, a.seed) != (b.data, b.seed):
            continue
        exact = _less(a.exact, b.exact)
        annealed = _less(a.at_tuned.bound, b.at_tuned.bound)
        yield Verdict(
            claim=(
                f"On {a.data} AIS {_agreement(exact, annealed)} the exact likelihood for "
                f"{a.label} against {b.label}."
            ),
            because=(
                f"Log-likelihood of {a.label} minus that of {b.label}: exact {shown(exact)}, "
                f"AIS at the tuned noise levels {shown(annealed)}."
            ),
        )


def _less(a: Estimate, b: Estimate) -> Estimate:
    """Returns a difference with an unpaired interval, which is conservative."""
    if a.value is None or b.value is None:
        return Estimate.missing("one of the two values is missing", unit="nats")
    value = a.value - b.value
    half = math.hypot(a.half_width or 0.0, b.half_width or 0.0)
    return Estimate(
        value=value, low=value - half, high=value + half, n=a.n, unit="nats", method="unpaired"
    )


def _agreement(exact: Estimate, annealed: Estimate) -> str:
    if not is_separated(exact) or not is_separated(annealed):
        return "neither significantly agrees nor disagrees with"
    if (exact.value or 0.0) * (annealed.value or 0.0) < 0:
        return "contradicts"
    apart = _less(exact, annealed)
    return (
        "gives the order of, but not the difference in," if is_separated(apart) else "agrees with"
    )


def _error(p: AisPoint) -> str:
    return f"{shown(p.off)} at noise {p.sigma:g}"


def _name(f: FlowResult) -> str:
    return f"{f.label} on {f.data}"


CAVEATS = (
    Caveat(
        text=(
            "Small flows on small data: that there are two causes holds for any flow, their "
            "sizes are specific to these."
        )
    ),
    Caveat(
        text=(
            "Where the smoothed density is unknown, the error of the chains is estimated by "
            "the sandwich gap (BDMC) on simulated samples: an upper bound there, not on data."
        )
    ),
)

_WORDS = {"none": "not significant", "noise": "noise", "chains": "chains", "both": "both"}


def blocks(found: Sequence[FlowResult], outcomes: Sequence[Outcome]) -> list[Block]:
    """Returns the summary, then for each flow its chart and its numbers."""
    return [
        _summary(found),
        *(_part(f) for f in found),
        *failed_trials(outcomes, column="flow"),
    ]


def _summary(found: Sequence[FlowResult]) -> Table:
    rows: list[Sequence[Cell]] = [
        [
            f"{f.label} on {f.data}, seed {f.seed}",
            f.exact,
            f.at_tuned.sigma,
            f.at_tuned.bound,
            f.at_tuned.off,
            f.at_tuned.gap,
            _WORDS[f.at_tuned.cause],
        ]
        for f in found
    ]
    return Table(
        title="Exact and AIS log-likelihood",
        columns=[
            Column(name="flow"),
            Column(name="exact", unit="nats", help="By change of variables, without noise."),
            Column(name="tuned noise", help="In standard deviations of the data.", group=_AIS),
            Column(
                name="AIS", unit="nats", help="At the tuned noise, most temperatures.", group=_AIS
            ),
            Column(name="AIS minus exact", unit="nats", help="Paired by test sample.", group=_AIS),
            Column(
                name="gap",
                unit="nats",
                help="Upper minus lower bound, on simulated samples.",
                group=_AIS,
            ),
            Column(
                name="cause",
                help="One cause is named alone where it is three times the other.",
                group=_AIS,
            ),
        ],
        rows=rows,
        note="Mean over test samples ± half the 95 % interval. Discrete data are dequantised.",
    )


def _part(f: FlowResult) -> Section:
    title = f"{f.label} on {f.data}, seed {f.seed}"
    return Section(title=title, blocks=[_chart(f, title), _table(f, title)], open=True)


def _chart(f: FlowResult, title: str) -> Lines:
    return Lines(
        title=f"Bias of AIS: {title}",
        x_label="temperatures",
        y_label="|AIS bound - exact| (nats)",
        series=[_series(f.over(p.sigma)) for p in f.longest],
        log_x=True,
        log_y=True,
        note="Noise levels in standard deviations of the data.",
    )


def _series(points: Sequence[AisPoint]) -> Series:
    return Series(
        name=f"noise {points[0].sigma:g}",
        x=[p.temperatures for p in points],
        y=[abs(p.off.value or 0.0) for p in points],
    )


def _table(f: FlowResult, title: str) -> Table:
    rows: list[Sequence[Cell]] = [
        [
            f"{p.sigma:g}, {p.temperatures:,}",
            p.bound,
            p.off,
            p.smooth,
            p.short,
            p.gap,
            p.acceptance,
            _WORDS[p.cause],
        ]
        for p in f.points
    ]
    return Table(
        title=f"All noise levels and numbers of temperatures: {title}",
        columns=[
            Column(name="noise, temperatures"),
            Column(name="AIS", unit="nats"),
            Column(name="AIS minus exact", unit="nats"),
            Column(name="noise alone", unit="nats", help="Smoothed minus exact density."),
            Column(name="chains alone", unit="nats", help="Smoothed density minus the bound."),
            Column(name="gap", unit="nats"),
            Column(name="acceptance"),
            Column(name="cause"),
        ],
        rows=rows,
        note="A dash: the smoothed density is known in two dimensions only.",
    )


# ----------------------------------------------------------------------------
# The study: its question, its trials, its answer.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, kw_only=True)
class AisStudy:
    """Annealed importance sampling on models whose likelihood is known exactly: flows.

    Wu et al. (2017) measure the likelihood of a GAN by putting noise on its output and annealing.
    Odena (2019), https://distill.pub/2019/gan-open-problems/, objects that Grover et al. (2018)
    found such estimates inaccurate where the generator is a flow, so that the truth is known. The
    study trains flows, anneals them at several widths of noise and numbers of temperatures, and
    splits what is missing into its two causes: noise makes another density, and chains that end
    too early make a loose bound.

    Attributes:
        size: small: about seven minutes of one core; full: hours.
        data: The data set of the second part, beside points of the plane.
        seeds: Repeats of each flow.
        data_seed: Seed of the train/validation/test split.
        threads: Threads of each trial.
        device: Where flows are trained and annealed.
    """

    size: Size = "small"
    data: str = "digits"
    seeds: options.Seeds = 1
    data_seed: options.Seed = 0
    threads: options.Threads = 1
    device: str = "cpu"

    @cached_property
    def loaded(self) -> RunData:
        """The data of this run, loaded once."""
        return RunData()

    def fresh(self) -> "AisStudy":
        """Returns the same study, which has read nothing yet."""
        return replace(self)

    def question(self) -> dict[str, object]:
        """Returns the question with every default written out."""
        return {
            "command": "study ais",
            "size": self.size,
            "data": datasets.resolve(self.data),
            "data fingerprint": self.loaded.fingerprint(
                datasets.resolve(self.data), self.data_seed
            ),
            "seeds": self.seeds,
            "data_seed": self.data_seed,
            "threads": self.threads,
            "device": self.device,
            "parts": {where: asdict(part) for where, part in self._parts().items()},
        }

    def trials(self) -> Sequence[Trial]:
        """Lists one trial for each flow and seed."""
        return trials(
            self._parts(),
            seeds=self.seeds,
            data_seed=self.data_seed,
            threads=self.threads,
            device=self.device,
        )

    def run(self, trial: Trial, folder: TrialFolder, watch: Watch) -> Outcome:
        """Trains one flow and anneals it."""
        return run_trial(trial, self.loaded, folder, watch)

    def conclude(self, outcomes: Sequence[Outcome], run: Run) -> Report:
        """Says by how much annealing misses the exact likelihood, and which cause it has."""
        found: list[FlowResult] = findings(outcomes)
        setting = {"Size": self.size, "Data": f"{self.data}, and points of the plane"}
        return Report(
            title="Annealed importance sampling on flows",
            command="study ais",
            question=self.question(),
            spend=sum((o.spend for o in outcomes), Spend()),
            facts=facts_of(setting, outcomes, run),
            verdicts=verdicts(found),
            caveats=CAVEATS,
            rows=list(rows_of(outcomes)),
            blocks=blocks(found, outcomes),
        )

    def _parts(self) -> dict[str, DataPart]:
        return parts(self.size, self.data)
