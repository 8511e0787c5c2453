"""The report of the study: which metric notices which damage, at which sample size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias, final

from gantlet.core.estimate import Estimate, Outcome
from gantlet.core.spec import metrics
from gantlet.domains.corruptions import DAMAGES
from gantlet.report.blocks import Caveat, Cell, Column, Facts, Report, Row, Section, Table, Verdict
from gantlet.report.format import text as shown
from gantlet.research.sensitivity.trial import NOTHING, TIME, keys
from gantlet.run.execute import facts_of
from gantlet.run.store import Run
from gantlet.stats.intervals import is_separated, percentage

ENOUGH = 0.8
"""A metric notices a damage if it does so in this share of the draws."""

Sign = Literal["worse", "better", "equal"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a metric made of one damage at one strength and sample size.

    Attributes:
        worse: In how many draws the damaged samples were shown to be worse than the control.
        better: In how many they were shown to be better.
        draws: In how many it could have told.
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
        """Whether the damage counts as noticed."""
        return self.draws > 0 and self.worse >= ENOUGH * self.draws

    @property
    def is_praised(self) -> bool:
        """Whether the damage counts as taken for an improvement."""
        return self.draws > 0 and self.better >= ENOUGH * self.draws


Tallies: TypeAlias = Mapping[tuple[str, str, int], Mapping[float, Tally]]
"""By metric with extractor, damage and sample size: a tally for each strength."""


def tallies(outcomes: Sequence[Outcome]) -> Tallies:
    """Counts in how many draws each metric noticed each damage."""
    found: dict[tuple[str, str, int], dict[float, Tally]] = {}
    for o in outcomes:
        damage, n = o.trial.parts["model"], int(o.trial.parts["n"])
        which = {key.name: key for key in keys(o.trial.parts)}
        for name, gap in o.scores.items():
            metric, look, strength = which[name]
            by_strength = found.setdefault((label(metric, look), damage, n), {})
            before = by_strength.setdefault(strength, Tally())
            # Where there is no number, nothing was noticed; a number without interval cannot tell.
            if gap.low is not None or gap.value is None:
                by_strength[strength] = before.with_one(sign(gap))
    return found


def sign(gap: Estimate) -> Sign:
    """Returns what a difference, damaged minus control, shows of the damaged samples."""
    if not is_separated(gap) or gap.value is None:
        return "equal"
    return "worse" if (gap.value > 0) == (gap.better != "higher") else "better"


@cache
def label(metric: str, look: str) -> str:
    """Returns metric and extractor as people write them."""
    return f"{metrics.short(metric)} ({look})"


def smallest(by_strength: Mapping[float, Tally], *, praised: bool = False) -> float | None:
    """Returns the smallest strength that is noticed, or taken for better; None where none is."""
    for strength, tally in sorted(by_strength.items()):
        if tally.is_praised if praised else tally.is_noticed:
            return strength
    return None


def false_alarms(found: Tallies, metric: str, n: int) -> Estimate:
    """Returns how often a metric told undamaged samples from undamaged ones, in %."""
    by_strength = found.get((metric, NOTHING, n), {})
    total = sum(t.draws for t in by_strength.values())
    raised = sum(t.worse + t.better for t in by_strength.values())
    return percentage(
        raised, total, of="undamaged draws", why="no interval, so nothing can be noticed"
    )


def noticers(found: Tallies, damage: str, n: int) -> Iterator[tuple[float, str]]:
    """Yields the smallest strength noticed and the metric, for those that notice at all."""
    for (metric, what, size), by_strength in found.items():
        if (what, size) == (damage, n):
            strength = smallest(by_strength)
            if strength is not None:
                yield strength, metric


NEVER = "-"
"""What a table shows where a damage is never noticed."""


def answer(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Report:
    """Returns the report from what has been measured so far."""
    found = tallies(outcomes)
    seen = {n for _, _, n in found}
    sizes = [n for n in sorted(question["n"], reverse=True) if n in seen]
    names = list(dict.fromkeys(metric for metric, _, _ in found))
    damages = [d for d in question["damages"] if any(what == d for _, what, _ in found)]
    return Report(
        title="Which metric notices which damage?",
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
            *_failed(outcomes),
        ],
        extra={"noticed": _counts(found)},
    )


def _facts(question: Mapping[str, Any], outcomes: Sequence[Outcome], run: Run) -> Facts:
    seconds = sum(o.clock[TIME].value or 0.0 for o in outcomes if TIME in o.clock)
    setting = {
        "Size": str(question["size"]),
        "Data": f"{question['data']}, fingerprint {question['data fingerprint']}",
        "Samples of each set": ", ".join(map(str, question["n"])),
        "Strengths": ", ".join(f"{s:g}" for s in question["strengths"]),
        "Draws": f"{question['draws']} of each damage, {question['controls']} without any, "
        "seeds from 0",
        **{f"Strength 1 of {d}": DAMAGES[d].says for d in question["damages"]},
        "CPU time, all together": shown(seconds, "s"),
    }
    absent = [d for d in DAMAGES if d not in question["damages"]]
    if absent:
        setting["Not run, as the data cannot suffer it"] = ", ".join(absent)
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
            yield Verdict(claim=f"{damage}: not measured with {n:,} samples yet.")
            continue
        told = sorted(noticers(found, damage, n))
        praised = [
            metric
            for metric in names
            if smallest(found.get((metric, damage, n), {}), praised=True) is not None
        ]
        fooled = f" Taken for better by {', '.join(praised)}." if praised else ""
        if not told:
            yield Verdict(
                claim=f"{damage}: no metric notices it with {n:,} samples.",
                because=fooled.strip(),
            )
            continue
        least = told[0][0]
        first = [metric for strength, metric in told if strength == least]
        yield Verdict(
            claim=f"{damage}: noticed from strength {least:g} on by {', '.join(first)}.",
            because=f"{len(told)} of {len(names)} notice it at some strength, with {n:,} samples "
            f"of each set.{fooled}",
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
        return Verdict(claim="False alarms were not measured.")
    mean = sum(known) / len(known)
    if not high:
        return Verdict(
            claim="No metric is shown to raise more false alarms than the 5 % of its intervals.",
            because=f"{mean:.1f} % on average, on undamaged samples.",
        )
    return Verdict(
        claim=f"{len(high)} of {len(known)} pairs of metric and sample size raise more false "
        "alarms than the 5 % of their intervals.",
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
        title=f"The smallest strength that is noticed, {n:,} samples",
        columns=[
            Column(name="metric"),
            *(Column(name=d, help=f"At strength 1: {DAMAGES[d].says}.") for d in damages),
            Column(name="false alarms", unit="%", help="Undamaged taken for damaged."),
        ],
        rows=rows,
        note=f"Noticed: in at least {ENOUGH:.0%} of the draws the interval of damaged minus "
        "undamaged, against the same reference, shows the damaged samples to be worse. "
        f'"{NEVER}": at no strength; "better": shown to be better from that strength on; '
        '"no interval": nothing can be shown.',
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


def _failed(outcomes: Sequence[Outcome]) -> Iterator[Table]:
    rows = sorted({(o.trial.parts["model"], o.error) for o in outcomes if o.error is not None})
    if rows:
        columns = [Column(name="damage"), Column(name="what happened")]
        yield Table(title="Trials that failed", columns=columns, rows=rows)


def _caveats(question: Mapping[str, Any]) -> Iterator[Caveat]:
    yield Caveat(
        text=f"One data set ({question['data']}) and these extractors: another extractor sees "
        "other damages."
    )
    yield Caveat(
        text="Strengths of different damages are not comparable with one another; only metrics "
        "are, down a column."
    )
    if "swapped labels" in question["damages"]:
        yield Caveat(
            text="Swapped labels leave the samples as they are, and no metric here looks at "
            "labels: only one that compares class by class could notice."
        )
    yield Caveat(
        text="All samples, those of the training set too, are drawn anew from all splits; the "
        "extractors saw some of them, but none more than another."
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
