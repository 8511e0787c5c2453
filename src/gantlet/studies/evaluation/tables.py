"""The tables of an evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from gantlet.core.estimate import Estimate
from gantlet.core.trial import REAL
from gantlet.report.blocks import Block, Cell, Column, Dot, Section, Table
from gantlet.report.format import ARROWS, merged, pattern
from gantlet.studies.evaluation.comparing import Gap, copies, gaps, variety
from gantlet.studies.evaluation.floor import FLOOR
from gantlet.studies.evaluation.pairing import PAIRS
from gantlet.studies.evaluation.ranking import pairs, ranked
from gantlet.studies.evaluation.results import (
    Judged,
    Result,
    called,
    extractor_name,
    floor_name,
    floors_of,
    on,
    samples_needed,
    short,
)
from gantlet.studies.evaluation.words import MISSES


def main_table(results: Sequence[Result], extractor: str, rank: str | None = None) -> Table:
    """Returns the table to read first: one set metric by metric, or several side by side.

    Args:
        results: All results.
        extractor: On which features.
        rank: The metric by which sets are ranked on them; None where it is not tested.
    """
    judged = on(results, extractor)
    if len(judged) == 1 and judged[0].floor is not None:
        return _one(judged[0], judged[0].floor)
    return _several(judged, extractor, _Order.of(results, extractor, rank))


@final
@dataclass(frozen=True, slots=True)
class _Order:
    """Which sets come first by a metric, and which is significantly better than all others."""

    metric: str | None
    names: Sequence[str]
    best: Sequence[str]

    @classmethod
    def of(cls, results: Sequence[Result], extractor: str, metric: str | None) -> "_Order":
        """Returns the order of the sets on some features."""
        order = [] if metric is None else ranked(results, extractor, metric)
        if metric is None or len(order) < 2:
            return cls(None, [], [])
        ahead = [p for p in pairs(order, metric) if p.better == order[0].name]
        best = [order[0].name] if all(p.separated for p in ahead) else []
        return cls(metric, [r.name for r in order], best)

    def place(self, name: str) -> int:
        """Returns where a set stands; those without a number come last."""
        return self.names.index(name) if name in self.names else len(self.names)


def scores_beside(results: Sequence[Result], extractor: str, rank: str) -> dict[str, list[Dot]]:
    """Returns the numbers that stand beside the samples of each set, and of the noise floor."""
    judged = on(results, extractor)
    everyone = [*(j.value for j in judged), *floors_of(judged)[:1]]
    wanted = dict.fromkeys((rank, "precision", "recall"))
    return {
        FLOOR if r.model == REAL else r.name: [
            Dot(name=_on_features(called(m, r), extractor), estimate=r.scores[m])
            for m in r.scores
            if (m == rank or m.partition(":")[0] in wanted) and r.scores[m].value is not None
        ]
        for r in everyone
    }


def _on_features(metric: str, extractor: str) -> str:
    return f"{metric} ({extractor_name(extractor)})"


def further_tables(results: Sequence[Result], first: str) -> Iterator[Block]:
    """Yields the same table for every other extractor, and that of pairs."""
    for extractor in dict.fromkeys(r.extractor for r in results):
        if extractor != first:
            yield main_table(results, extractor)


def _one(judged: Judged, floor: Result) -> Table:
    fake = judged.value
    is_apart = judged.fair is not judged.value
    equal = Column(
        name="at equal sizes",
        mixed=True,
        help="As many fakes as the noise floor has, against the reference that it has.",
    )
    known = {g.metric: g for g in gaps([judged])}
    return Table(
        title=f"{fake.name}, on {extractor_name(fake.extractor)}",
        columns=[
            Column(name="metric"),
            Column(name="value", mixed=True),
            *([equal] if is_apart else []),
            Column(
                name=FLOOR, mixed=True, help="Held-out real samples in the place of the fakes."
            ),
            Column(name="significant?", help="Or about how many samples would show it."),
            Column(name="does not show"),
        ],
        rows=[_row(judged, floor, m, known.get(m), is_apart=is_apart) for m in fake.scores],
        note="Value ± half the 95 % interval. An arrow tells which direction is better. "
        f"Significant: {_COMPARED[is_apart]} differs from {FLOOR}, by Holm's procedure over all "
        "metrics of the table at 5 %; else about so many samples would show it, if the difference "
        "is as large as it looks.",
    )


_COMPARED = {True: "the number at equal sizes", False: "the value"}


def _row(
    judged: Judged, floor: Result, metric: str, known: Gap | None, *, is_apart: bool
) -> list[Cell]:
    value = judged.value.scores[metric]
    name = f"{called(metric, judged.value)} {ARROWS[value.better]}".rstrip()
    fair: list[Cell] = [judged.fair.scores.get(metric, "–")] if is_apart else []
    noise = floor.scores.get(metric, "–")
    misses = MISSES.get(metric.partition(":")[0], "")
    return [name, value, *fair, noise, _significance(known), misses]


def _significance(known: Gap | None) -> str:
    """Returns whether a difference is significant, and if not how many samples would show it."""
    if known is None:
        return "–"
    if known.is_significant:
        return "yes"
    needed = samples_needed(known.apart)
    if needed is None or needed <= known.apart.n:
        return "no"
    return f"no (n ~ {_about(needed)} needed)"


def _about(n: int) -> str:
    """Returns a number with two digits, the rest zeros.

    Example:
        >>> _about(12345)
        '12,000'
    """
    digits = max(len(str(n)) - 2, 0)
    return f"{round(n, -digits):,}"


def _several(judged: Sequence[Judged], extractor: str, order: _Order) -> Table:
    fakes, floors = [j.value for j in judged], floors_of(judged)
    fakes.sort(key=lambda r: order.place(r.name))
    known = list(dict.fromkeys(m for r in [*fakes, *floors] for m in r.scores))
    known.sort(key=lambda m: list(_GROUPS).index(_group(m)))
    names = [floor_name(f, floors) for f in floors]
    rows = [(r.name, r) for r in fakes] + list(zip(names, floors, strict=True))
    is_apart = any(j.fair is not j.value for j in judged)
    note = "Value ± half the 95 % interval."
    if order.metric is not None:
        note += f" Best {short(order.metric)} first; its differences alone are tested, in pairs."
    if floors:
        note += f" Set apart: {FLOOR}, the noise floor."
    if is_apart:
        note += (
            " The floor rests on fewer samples than the values: whether a set differs from it is "
            "tested at equal sizes, below."
        )
    return Table(
        title="Pairs" if extractor == PAIRS else f"All sets, on {extractor_name(extractor)}",
        columns=[
            Column(name="samples"),
            *(_column([*fakes, *floors], m, order) for m in known),
        ],
        rows=[[name, *(r.scores.get(m, "–") for m in known)] for name, r in rows],
        references=names,
        note=note,
    )


def comparisons(results: Sequence[Result]) -> Iterator[Section]:
    """Yields every set beside the noise floor, where the sets are several."""
    for extractor in dict.fromkeys(r.extractor for r in results):
        judged = on(results, extractor)
        found = gaps(judged)
        if len(judged) < 2 or not found:
            continue
        heads = ("samples", "metric", "at equal sizes", FLOOR, "difference", "significant?")
        mixed = heads[2:5]
        table = Table(
            title=f"Each set beside {FLOOR}, on {extractor_name(extractor)}",
            columns=[Column(name=h, mixed=h in mixed) for h in heads],
            rows=[_compared(g) for g in found],
            note="Significant: by Holm's procedure over all rows, at 5 %.",
        )
        yield Section(title=table.title, blocks=[table])


def _compared(one: Gap) -> list[Cell]:
    judged, floor = one.judged, one.judged.floor
    noise = None if floor is None else floor.scores[one.metric]
    name = called(one.metric, judged.value)
    ours = judged.fair.scores[one.metric]
    return [judged.value.name, name, ours, noise, one.apart, _significance(one)]


def copying_table(results: Sequence[Result]) -> Iterator[Table]:
    """Yields how many samples repeat one another, or copy training samples."""
    signs = [
        s for found in (variety(results), copies(results)) for some in found.values() for s in some
    ]
    rows: list[list[Cell]] = [
        [
            s.fair.name,
            extractor_name(s.fair.extractor),
            _SIGNS[s.kind],
            f"{s.found.count:,} of {s.found.n:,}" if s.kind != "nearer" else "–",
            f"{s.found.floor_count:,} of {s.found.floor_n:,}" if s.kind != "nearer" else "–",
            f"{s.p:.2g}",
            "yes" if s.is_significant else "no",
        ]
        for s in signs
        if not isinstance(s.found, Gap)
    ]
    if rows:
        heads = ("samples", "features", "sign", "fakes", "held-out real", "p", "significant?")
        yield Table(
            title="Repeats and copies",
            columns=[Column(name=h) for h in heads],
            rows=rows,
            note="Repeats: samples nearer to another one than half the distance within which 5 % "
            "of the real ones have another. Copies: samples at most a third as far from a "
            "training sample as that one is from the next; Fisher's exact test. Nearer to "
            "training samples: than held-out real ones are, and than to the reference. All "
            "p-values against one side; significant by Holm's procedure: copies over both signs "
            "at 5 %, repeats with all metrics of variety at 2.5 %.",
        )


_SIGNS = {
    "repeats": "repeats",
    "copies": "copies of training samples",
    "nearer": "nearer to training samples",
}


_GROUPS: dict[str, tuple[str, ...]] = {
    "Distance": (),
    "Fidelity": ("precision", "density", "realism", "alpha-precision"),
    "Variety": ("recall", "coverage", "beta-recall", "vendi", "birthday", "ms-ssim"),
    "Memorization": ("authenticity", "ct"),
}
"""What metrics are about, by name; those that are in no group measure a distance."""


def _group(metric: str) -> str:
    name = metric.partition(":")[0]
    return next((group for group, of in _GROUPS.items() if name in of), "Distance")


def _column(everyone: Sequence[Result], metric: str, order: _Order) -> Column:
    who = next(r for r in everyone if metric in r.scores)
    first = who.scores[metric]
    missed = MISSES.get(metric.partition(":")[0])
    text = "" if missed is None else f"Does not show {missed}."
    return Column(
        name=_on_features(called(metric, who), who.extractor),
        better=first.better,
        unit=first.unit,
        help=text,
        group=_group(metric),
        best=order.best if metric == order.metric else (),
    )


def methods(results: Sequence[Result]) -> Section:
    """Returns how each number was obtained, once for all whose methods differ in numbers only."""
    alike: dict[tuple[str, str, tuple[str, ...]], list[tuple[Result, Estimate]]] = {}
    for r in results:
        for m, e in r.scores.items():
            key = _on_features(called(m, r), r.extractor), e.unit, pattern(e.method)
            alike.setdefault(key, []).append((r, e))
    rows: list[list[Cell]] = [
        [
            metric,
            ", ".join(dict.fromkeys(_who(r) for r, _ in of)),
            _sizes([e.n for _, e in of]),
            how,
        ]
        for (metric, *_), of in alike.items()
        for how in merged(e.method for _, e in of)
    ]
    columns = ("metric", "samples", "n", "method")
    return Section(
        title="How each number was obtained",
        blocks=[Table(title="Methods", columns=[Column(name=c) for c in columns], rows=rows)],
    )


def _sizes(found: Sequence[int]) -> str:
    """Returns on how many samples numbers rest: one number, or the least and the most."""
    known = sorted({n for n in found if n})
    return " to ".join(f"{n:,}" for n in known[:: max(len(known) - 1, 1)]) or "–"


def _who(result: Result) -> str:
    """Returns the name of a set, and whether it is the one at equal sizes."""
    if result.model == REAL or result.against == "all":
        return result.name
    return f"{result.name}, at equal sizes"
