"""Several sets, ranked by paired differences on the same real samples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import final

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import holm, p_value
from gantlet.report.blocks import Block, Column, Dot, Forest, Group, Section, Table, Verdict
from gantlet.report.format import text as shown
from gantlet.studies.evaluation.results import Result, extractor_name, gap, on, short

LEVEL = 0.05
_SHOWN = 12


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two sets, how far the first is behind the second, and whether that is sure."""

    worse: str
    better: str
    gap: Estimate
    separated: bool


def ranked(results: Sequence[Result], extractor: str, metric: str) -> list[Result]:
    """Returns the sets that have a number, best first."""
    fakes = [j.value for j in on(results, extractor)]
    known = [r for r in fakes if metric in r.scores and r.scores[metric].value is not None]
    sign = -1 if known and known[0].scores[metric].better == "higher" else 1
    return sorted(known, key=lambda r: sign * (r.scores[metric].value or 0.0))


def pairs(order: Sequence[Result], metric: str) -> list[Pair]:
    """Returns all pairs of ranked sets; those that Holm's procedure separates are marked."""
    every = [
        (worse, better, gap(worse, better, metric)) for better, worse in combinations(order, 2)
    ]
    separated = holm([p_value(g) for *_, g in every], level=LEVEL)
    return [
        Pair(worse=worse.name, better=better.name, gap=g, separated=s)
        for (worse, better, g), s in zip(every, separated, strict=True)
    ]


def ranking_verdict(results: Sequence[Result], extractor: str, metric: str) -> Iterator[Verdict]:
    """Says which set is best, and which pairs do not differ significantly."""
    order = ranked(results, extractor, metric)
    if len(order) < 2:
        return
    found = pairs(order, metric)
    best = order[0]
    level = [p.worse for p in found if p.better == best.name and not p.separated]
    behind = [p.worse for p in found if p.better == best.name and p.separated]
    claim = _best_claim(f"{best.name} ({shown(best.scores[metric])})", level, behind)
    claim = f"By {short(metric)} on {extractor_name(extractor)}, {claim}"
    open_ = [p for p in found if not p.separated]
    told = ", ".join(f"{p.better} / {p.worse}" for p in open_[:_SHOWN])
    more = f" and {len(open_) - _SHOWN} more" if len(open_) > _SHOWN else ""
    because = f"Order: {', '.join(r.name for r in order)}. Of {len(found)} pairs "
    because += f"{len(open_)} do not differ significantly{f': {told}{more}' if open_ else ''}."
    yield Verdict(claim=claim, because=because)


def _best_claim(best: str, level: Sequence[str], behind: Sequence[str]) -> str:
    """Returns what the first of an order is, what is not distinguishable from it first."""
    if not level:
        return f"{best} is significantly better than all others."
    same = f"{best} and {', '.join(level)} do not differ significantly"
    return (
        f"{same}; {', '.join(behind)} {_are(behind)} significantly worse."
        if behind
        else f"{same}."
    )


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def ranking_section(results: Sequence[Result], extractor: str, metric: str) -> Iterator[Block]:
    """Yields how far each set is behind the best, and all pairs."""
    order = ranked(results, extractor, metric)
    if len(order) < 2:
        return
    found = pairs(order, metric)
    first = order[0]
    yield Forest(
        title=f"Behind {first.name}, by {short(metric)} on {extractor_name(extractor)}",
        unit=first.scores[metric].unit,
        groups=[
            Group(
                name="",
                dots=[Dot(name=p.worse, estimate=p.gap) for p in found if p.better == first.name],
            )
        ],
        reference=0.0,
        better=first.scores[metric].better,
        note="Differences on the same real samples, with 95 % intervals.",
    )
    rows = [[p.better, p.worse, p.gap, "yes" if p.separated else "no"] for p in found]
    heads = ("better", "worse", "difference", "significant?")
    table = Table(
        title="Every pair",
        columns=[Column(name=h) for h in heads],
        rows=rows,
        note=f"Significant: by Holm's procedure over all pairs, at {LEVEL:.0%}.",
    )
    yield Section(title="Every pair of sets", blocks=[table])
