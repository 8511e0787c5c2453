"""How far each contestant is behind the best, paired over seeds."""

from collections.abc import Iterator, Sequence

from gantlet.core.intervals import is_separated
from gantlet.report.blocks import Block, Cell, Column, Dot, Forest, Group, Section, Table
from gantlet.studies import names
from gantlet.studies.summary import Contestant, difference, is_reference, rank, seeds_needed

_SCORES = ((names.QUALITY, "energy distance"), (names.LIKELIHOOD, "likelihood"))


def behind_the_best(everyone: Sequence[Contestant]) -> Iterator[Block]:
    """Yields one section with a chart and a table for each score that ranks contestants."""
    blocks = [b for score, what in _SCORES for b in _behind(everyone, score, what)]
    if blocks:
        yield Section(title="Behind the best, paired over seeds", blocks=blocks)


def _behind(everyone: Sequence[Contestant], score: str, what: str) -> Iterator[Block]:
    known = [c for c in everyone if not is_reference(c) and len(c.values(score)) > 1]
    ranked = rank(known, score, "lower")
    if len(ranked) < 2:
        return
    best, rest = ranked[0], ranked[1:]
    gaps = [(c, difference(c, best, score)) for c in rest]
    title = f"{what.capitalize()}: minus that of {best.label}"
    dots = [Dot(name=c.label, estimate=gap) for c, gap in gaps]
    unit = best.estimate(score).unit
    yield Forest(
        title=title,
        unit=unit,
        groups=[Group(name="", dots=dots)],
        reference=0.0,
        better="lower",
        note="Bars are 95 % intervals over seeds; one that reaches 0 is not separated.",
    )
    rows: list[Sequence[Cell]] = [
        [c.label, gap, "yes" if is_separated(gap) else "no", seeds_needed(c, best, score)]
        for c, gap in gaps
    ]
    yield Table(
        title=f"{title}, and how sure that is",
        columns=[
            Column(name="model"),
            Column(name="difference", better="lower", unit=unit),
            Column(name="separated"),
            Column(name="seeds that would separate"),
        ],
        rows=rows,
        note="The last column supposes that mean and spread stay as they are.",
    )
