"""The report of the study: which metric detects which corruption, at which sample size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias, final

from gantlet.core.estimate import Estimate, Outcome
from gantlet.core.spec import metrics
from gantlet.domains.corruptions import CORRUPTIONS
from gantlet.report.blocks import (
    Caveat,
    Cell,
    Column,
    Facts,
    Report,
    Row,
    Section,
    Table,
    Verdict,
    failed_trials,
)
from gantlet.report.format import text as shown
from gantlet.research.sensitivity.trial import NOTHING, TIME, SensitivityTrial
from gantlet.run.execute import facts_of
from gantlet.run.store import Run
from gantlet.stats.intervals import is_separated, percentage

ENOUGH = 0.8
"""A metric detects a corruption if it does so in this share of the draws."""

Sign = Literal["worse", "better", "equal"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The detections of one corruption at one severity and sample size by a metric.

    Attributes:
        worse: Draws in which the corrupted samples are significantly worse than the control.
        better: Draws in which they are significantly better.
        draws: Draws with an interval.
    """

    worse: int = 0
    better: int = 0
    draws: int = 0

    def with_one(self, sign: Sign) -> "Tally":
        """Returns the tally with one more draw."""
        return Tally(
            worse=self.worse + (sign == "worse"),
            better=self.better + (sign == "better"),
            draws=self.draws + 1,
        )

    @property
    def is_noticed(self) -> bool:
        """Whether the corruption counts as detected."""
        return self.draws > 0 and self.worse >= ENOUGH * self.draws

    @property
    def is_praised(self) -> bool:
        """Whether the corruption counts as rated an improvement."""
        return self.draws > 0 and self.better >= ENOUGH * self.draws


Tallies: TypeAlias = Mapping[tuple[str, str, int], Mapping[float, Tally]]
"""By metric with extractor, damage and sample size: a tally for each strength."""


def tallies(outcomes: Sequence[Outcome]) -> Tallies:
    """Counts the draws in which each metric detects each corruption."""
    found: dict[tuple[str, str, int], dict[float, Tally]] = {}
    for o in outcomes:
        trial = SensitivityTrial.of(o.trial)
        damage, n = trial.model, trial.n
        which = {key.name: key for key in trial.score_keys()}
        for name, gap in o.scores.items():
            metric, look, strength = which[name]
            by_strength = found.setdefault((label(metric, look), damage, n), {})
            before = by_strength.setdefault(strength, Tally())
            # Where there is no number, nothing was noticed; a number without interval cannot tell.
            if gap.low is not None or gap.value is None:
                by_strength[strength] = before.with_one(sign(gap))
    return found


def sign(gap: Estimate) -> Sign:
    """Returns the sign of a difference, corrupted minus control, if significant."""
    if not is_separated(gap) or gap.value is None:
        return "equal"
    return "worse" if (gap.value > 0) == (gap.better != "higher") else "better"


@cache
def label(metric: str, look: str) -> str:
    """Returns metric and extractor as people write them."""
    return f"{metrics.short(metric)} ({look})"


def smallest(by_strength: Mapping[float, Tally], *, praised: bool = False) -> float | None:
    """Returns the smallest detected severity, or that rated better; None without any."""
    for strength, tally in sorted(by_strength.items()):
        if tally.is_praised if praised else tally.is_noticed:
            return strength
    return None


def false_alarms(found: Tallies, metric: str, n: int) -> Estimate:
    """Returns the false positive rate of a metric, in %."""
    by_strength = found.get((metric, NOTHING, n), {})
    total = sum(t.draws for t in by_strength.values())
    raised = sum(t.worse + t.better for t in by_strength.values())
    return percentage(
        raised, total, of="undamaged draws", why="no interval, so nothing can be detected"
    )


def noticers(found: Tallies, damage: str, n: int) -> Iterator[tuple[float, str]]:
    """Yields the smallest detected severity and the metric, for metrics that detect it."""
    for (metric, what, size), by_strength in found.items():
        if (what, size) == (damage, n):
            strength = smallest(by_strength)
            if strength is not None:
                yield strength, metric


NEVER = "-"
"""What a table shows where a corruption is never detected."""


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report from what has been measured so far."""
    found = tallies(outcomes)
    seen = {n for _, _, n in found}
    sizes = [n for n in sorted(question["n"], reverse=True) if n in seen]
    names = list(dict.fromkeys(metric for metric, _, _ in found))
    damages = [d for d in question["damages"] if any(what == d for _, what, _ in found)]
    return Report(
        title="Which metric detects which damage?",
        command="study sensitivity",
        question=question,
        facts=_facts(question, outcomes, run),
        verdicts=list(_verdicts(found, damages, names, sizes)),
        caveats=list(_caveats(question)),
        rows=list(_rows(question, found, names, sizes)),
        blocks=[
            *(_table(found, damages, names, n) for n in sizes[:1]),
            *(
                Section(title=f"With {n:,} samples", blocks=[_table(found, damages, names, n)])
                for n in sizes[1:]
            ),
            *failed_trials(outcomes, column="corruption"),
        ],
        extra={"noticed": _counts(found)},
    )


def _facts(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Facts:
    seconds = sum(o.clock[TIME].value or 0.0 for o in outcomes if TIME in o.clock)
    setting = {
        "Size": str(question["size"]),
        "Data": f"{question['data']}, fingerprint {question['data fingerprint']}",
        "Samples per set": ", ".join(map(str, question["n"])),
        "Severities": ", ".join(f"{s:g}" for s in question["strengths"]),
        "Draws": f"{question['draws']} of each corruption, {question['controls']} uncorrupted, "
        "seeds from 0",
        **{f"Severity 1 of {d}": CORRUPTIONS[d].says for d in question["damages"]},
        "Total CPU time": shown(seconds, "s"),
    }
    absent = [d for d in CORRUPTIONS if d not in question["damages"]]
    if absent:
        setting["Not run, as it does not apply to the data"] = ", ".join(absent)
    wanted = {m.partition(":")[0] for m in question["metrics"]}
    left = [m for m in metrics.names() if m not in wanted]
    if left:
        setting["Metrics not run"] = ", ".join(left)
    # Nothing is trained here but extractors.
    return facts_of(setting, outcomes, run, trains=False)


def _verdicts(
    found: Tallies, damages: Sequence[str], names: Sequence[str], sizes: Sequence[int]
) -> Iterator[Verdict]:
    if not sizes:
        return
    n = sizes[0]
    for damage in damages:
        if not any((what, size) == (damage, n) for _, what, size in found):
            yield Verdict(claim=f"{damage}: not yet measured with {n:,} samples.")
            continue
        told = sorted(noticers(found, damage, n))
        praised = [
            metric
            for metric in names
            if smallest(found.get((metric, damage, n), {}), praised=True) is not None
        ]
        fooled = f" Called better by {', '.join(praised)}." if praised else ""
        if not told:
            yield Verdict(
                claim=f"{damage}: no metric detects it with {n:,} samples.",
                because=fooled.strip(),
            )
            continue
        least = told[0][0]
        first = [metric for strength, metric in told if strength == least]
        yield Verdict(
            claim=f"{damage}: detected from strength {least:g} on by {', '.join(first)}.",
            because=f"{len(told)} of {len(names)} metrics detect it at some strength, with {n:,} "
            f"samples of each set.{fooled}",
        )
    yield _alarms(found, names, sizes)


def _alarms(found: Tallies, names: Sequence[str], sizes: Sequence[int]) -> Verdict:
    rates = {(m, n): false_alarms(found, m, n) for m in names for n in sizes}
    high = [
        f"{m} at n = {n:,} ({shown(rate)})"
        for (m, n), rate in rates.items()
        if rate.low is not None and rate.low > 5
    ]
    known = [r.value for r in rates.values() if r.value is not None]
    if not known:
        return Verdict(claim="The false positive rate was not measured.")
    mean = sum(known) / len(known)
    if not high:
        return Verdict(
            claim="No metric raises significantly more false alarms than the nominal 5 %.",
            because=f"{mean:.1f} % on average, on undamaged samples.",
        )
    return Verdict(
        claim=f"{len(high)} of {len(known)} pairs of metric and sample size raise "
        "significantly more false alarms than the nominal 5 %.",
        because=f"{'; '.join(high)}. {mean:.1f} % on average.",
    )


def _table(found: Tallies, damages: Sequence[str], names: Sequence[str], n: int) -> Table:
    rows: list[Sequence[Cell]] = [
        [
            metric,
            *(_cell(found.get((metric, damage, n))) for damage in damages),
            false_alarms(found, metric, n),
        ]
        for metric in names
    ]
    return Table(
        title=f"Smallest strength that is detected, {n:,} samples",
        columns=[
            Column(name="metric"),
            *(
                Column(
                    name=d,
                    help=f"At strength 1: {CORRUPTIONS[d].says}.",
                    group="Smallest strength detected",
                )
                for d in damages
            ),
            Column(
                name="false alarms",
                unit="%",
                help="Undamaged samples detected.",
                group="Undamaged",
            ),
        ],
        rows=rows,
        note=f"Detected: in at least {100 * ENOUGH:g} % of the draws damaged samples are "
        "significantly worse than undamaged ones, against the same reference. "
        f'"{NEVER}": at no strength; "better": significantly better from that strength on; '
        '"no interval": no test is possible.',
    )


def _cell(by_strength: Mapping[float, Tally] | None) -> str | None:
    if by_strength is None:
        return None
    if not any(t.draws for t in by_strength.values()):
        return "no interval"
    worse, better = smallest(by_strength), smallest(by_strength, praised=True)
    told = [] if worse is None else [f"{worse:g}"]
    told += [] if better is None else [f"better {better:g}"]
    return ", ".join(told) or NEVER


def _caveats(question: Mapping[str, Any]) -> Iterator[Caveat]:
    yield Caveat(
        text=f"One data set ({question['data']}) and these extractors: another extractor detects "
        "other damages."
    )
    yield Caveat(
        text="Strengths of different damages are not comparable; compare metrics within a column."
    )
    if "swapped labels" in question["damages"]:
        yield Caveat(
            text="Swapped labels leave the samples as they are, and no metric here uses "
            "labels: only one that compares class by class could detect them."
        )
    yield Caveat(
        text=(
            "All samples, the training set included, are redrawn from all splits; the "
            "extractors saw some of them."
        )
    )


def _rows(
    question: Mapping[str, Any], found: Tallies, names: Sequence[str], sizes: Sequence[int]
) -> Iterator[Row]:
    for n in sizes:
        for metric in names:
            yield Row(
                data=str(question["data"]),
                model=f"{NOTHING}:n={n}",
                seed=None,
                name=f"false alarms of {metric}",
                estimate=false_alarms(found, metric, n),
            )


def _counts(found: Tallies) -> dict[str, Any]:
    """Returns every count as plain JSON: worse, better and draws, by strength."""
    counts: dict[str, Any] = {}
    for (metric, damage, n), by_strength in found.items():
        cells = {f"{s:g}": [t.worse, t.better, t.draws] for s, t in sorted(by_strength.items())}
        counts.setdefault(metric, {}).setdefault(damage, {})[str(n)] = cells
    return counts
