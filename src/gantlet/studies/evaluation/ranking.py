"""Several sets, ranked by paired differences on the same real samples."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from gantlet.core.estimate import Estimate
from gantlet.report.blocks import Block, Column, Dot, Forest, Group, Section, Table, Verdict
from gantlet.report.numbers import text as shown
from gantlet.studies.evaluation.results import Result, extractor_name, gap, on, short

LEVEL = 0.05
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two sets and how far the first is behind the second."""

    worse: str
    better: str
    gap: Estimate
    p: float
    separated: bool = False


def ranked(results: Sequence[Result], extractor: str, metric: str) -> list[Result]:
    """Returns the sets that have a number, best first."""
    fakes, _ = on(results, extractor)
    known = [r for r in fakes if metric in r.scores and r.scores[metric].value is not None]
    sign = -1 if known and known[0].scores[metric].better == "higher" else 1
    return sorted(known, key=lambda r: sign * (r.scores[metric].value or 0.0))


def pairs(order: Sequence[Result], metric: str) -> list[Pair]:
    """Returns all pairs of ranked sets; those that Holm's procedure separates are marked.

    Source: Holm, 1979, https://www.jstor.org/stable/4615733; p-values from intervals as if normal.
    """
    every = [_pair(worse, better, metric) for better, worse in combinations(order, 2)]
    by_p = sorted(every, key=lambda pair: pair.p)
    separated: set[int] = set()
    for i, pair in enumerate(by_p):
        if pair.p > LEVEL / (len(by_p) - i):
            break
        separated.add(id(pair))
    return [
        Pair(worse=p.worse, better=p.better, gap=p.gap, p=p.p, separated=id(p) in separated)
        for p in every
    ]


def _pair(worse: Result, better: Result, metric: str) -> Pair:
    found = gap(worse, better, metric)
    return Pair(worse=worse.name, better=better.name, gap=found, p=_p(found))


def _p(found: Estimate) -> float:
    """Returns the two-sided p-value that fits a 95 % interval."""
    if found.value is None or found.half_width is None:
        return 1.0
    if found.half_width == 0:
        return 1.0 if found.value == 0 else 0.0
    return math.erfc(abs(found.value) / found.half_width * 1.959964 / math.sqrt(2))


def ranking_verdict(results: Sequence[Result], extractor: str, metric: str) -> Iterator[Verdict]:
    """Says which set is best, and which pairs cannot be told apart."""
    order = ranked(results, extractor, metric)
    if len(order) < 2:
        return
    found = pairs(order, metric)
    best = order[0]
    level = [p.worse for p in found if p.better == best.name and not p.separated]
    claim = f"{best.name} is best by {short(metric)} on {extractor_name(extractor)}, "
    claim += shown(best.scores[metric])
    claim += f"; not separated from {', '.join(level)}." if level else ", separated from all."
    open_ = [p for p in found if not p.separated]
    told = ", ".join(f"{p.better} / {p.worse}" for p in open_[:_SHOWN])
    more = f" and {len(open_) - _SHOWN} more" if len(open_) > _SHOWN else ""
    because = f"Order: {', '.join(r.name for r in order)}. Of {len(found)} pairs "
    because += f"{len(open_)} are not separated{f': {told}{more}' if open_ else ''}."
    yield Verdict(claim=claim, because=because)


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
    heads = ("better", "worse", "difference", "separated")
    table = Table(
        title="Every pair",
        columns=[Column(name=h) for h in heads],
        rows=rows,
        note=f"Separated: by Holm's procedure over all pairs, at {LEVEL:.0%}.",
    )
    yield Section(title="Every pair of sets", blocks=[table])
