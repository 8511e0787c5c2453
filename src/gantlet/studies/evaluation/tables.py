"""The tables of an evaluation."""

from collections.abc import Iterator, Sequence

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import is_separated
from gantlet.report.blocks import Block, Cell, Column, Section, Table
from gantlet.report.tabular import ARROWS
from gantlet.studies.evaluation.pairing import PAIRS
from gantlet.studies.evaluation.results import (
    Result,
    called,
    extractor_name,
    gap,
    on,
    samples_needed,
)
from gantlet.studies.evaluation.sets import FLOOR
from gantlet.studies.evaluation.words import MISSES


def main_table(results: Sequence[Result], extractor: str) -> Table:
    """Returns the table to read first: one set metric by metric, or several side by side."""
    fakes, floor = on(results, extractor)
    if len(fakes) == 1 and floor is not None:
        return _one(fakes[0], floor)
    return _several(fakes, floor, extractor)


def further_tables(results: Sequence[Result], first: str) -> Iterator[Block]:
    """Yields the same table for every other extractor, and that of pairs."""
    for extractor in dict.fromkeys(r.extractor for r in results):
        if extractor != first:
            yield main_table(results, extractor)


def _one(fake: Result, floor: Result) -> Table:
    return Table(
        title=f"{fake.name}, on {extractor_name(fake.extractor)}",
        columns=[
            Column(name="metric"),
            Column(name="value"),
            Column(name=FLOOR, help="The same metric on two sets of real samples."),
            Column(name="told apart", help="Or how many samples would tell, if they can."),
            Column(name="does not show"),
        ],
        rows=[_row(fake, floor, metric) for metric in fake.scores],
        note="Value ± half the 95 % interval. An arrow tells which direction is better. Told "
        "apart: the interval of the difference from real against real excludes 0; else about so "
        "many samples would tell, if the difference is as large as it looks.",
    )


def _row(fake: Result, floor: Result, metric: str) -> list[Cell]:
    value, noise = fake.scores[metric], floor.scores.get(metric)
    name = f"{called(metric, fake)} {ARROWS[value.better]}".rstrip()
    told = "–" if noise is None or noise.value is None else _told(gap(fake, floor, metric))
    return [name, value, noise or "–", told, MISSES.get(metric.partition(":")[0], "")]


def _told(apart: Estimate) -> str:
    """Returns whether a difference is separated, and if not how many samples would do it."""
    if apart.half_width is None:
        return "no interval"
    if is_separated(apart):
        return "yes"
    needed = samples_needed(apart)
    return "no" if needed is None else f"no: n {_about(needed)}"


def _about(n: int) -> str:
    """Returns a number with two digits, the rest zeros.

    Example:
        >>> _about(12345)
        '12,000'
    """
    digits = max(len(str(n)) - 2, 0)
    return f"{round(n, -digits):,}"


def _several(fakes: Sequence[Result], floor: Result | None, extractor: str) -> Table:
    everyone = [*fakes, *([floor] if floor is not None else [])]
    known = list(dict.fromkeys(m for r in everyone for m in r.scores))
    return Table(
        title="Pairs" if extractor == PAIRS else f"All sets, on {extractor_name(extractor)}",
        columns=[Column(name="samples"), *(_column(everyone, m) for m in known)],
        rows=[[r.name, *(r.scores.get(m, "–") for m in known)] for r in everyone],
        references=[FLOOR],
        note="Value ± half the 95 % interval."
        + (f" Set apart: {FLOOR}, the noise floor." if floor is not None else ""),
    )


def _column(everyone: Sequence[Result], metric: str) -> Column:
    who = next(r for r in everyone if metric in r.scores)
    first = who.scores[metric]
    missed = MISSES.get(metric.partition(":")[0])
    told = "" if missed is None else f"Does not show {missed}."
    return Column(name=called(metric, who), better=first.better, unit=first.unit, help=told)


def methods(results: Sequence[Result]) -> Section:
    """Returns how each number was obtained, and on how many samples it rests."""
    rows: list[list[Cell]] = [
        [r.name, extractor_name(r.extractor), called(m, r), e.n or "–", e.method]
        for r in results
        for m, e in r.scores.items()
    ]
    columns = ("samples", "features", "metric", "n", "method")
    return Section(
        title="How each number was obtained",
        blocks=[Table(title="Methods", columns=[Column(name=c) for c in columns], rows=rows)],
    )
