"""How far each model is behind the best, and what may be claimed of that."""

from collections.abc import Iterator

from gantlet.report.blocks import Block, Cell, Column, Dot, Forest, Group, Section, Table
from gantlet.studies import names
from gantlet.studies.claims import seeds_needed
from gantlet.studies.summary import Contestant, rank
from gantlet.studies.verdicts import Judged


def behind_the_best(found: Judged) -> Iterator[Block]:
    """Yields one section with a chart and a table for each score that ranks models."""
    scores = ((found.quality, found.quality.replace("energy", "energy distance")),)
    blocks = [
        b
        for score, what in (*scores, (names.LIKELIHOOD, "likelihood"))
        for b in _behind(found, score, what)
    ]
    if blocks:
        yield Section(title="Gap to the best model", blocks=blocks)


def _behind(found: Judged, score: str, what: str) -> Iterator[Block]:
    ranked = rank(found.competing, score, "lower")
    fit = [c for c in ranked if score != found.quality or not found.gate.bars(c)]
    if len(ranked) < 2 or not fit:
        return
    best = fit[0]
    gaps = [(c, g) for c in ranked if (g := found.trained.of(c, best, score)) is not None]
    title = f"{what.capitalize()}: minus that of {best.label}"
    unit = best.estimate(score).unit
    yield Forest(
        title=title,
        unit=unit,
        groups=[Group(name="", dots=[Dot(name=c.label, estimate=g.estimate) for c, g in gaps])],
        reference=0.0,
        better="lower",
        note="Of the trained models; bars are 95 % intervals for fresh samples, paired on the "
        "same held-out ones.",
    )
    yield Table(
        title=f"{title}, and how sure that is",
        columns=[
            Column(name="model"),
            Column(name="trained models", unit=unit, help="Difference, for fresh samples."),
            Column(name="significant?"),
            Column(name="recipes", unit=unit, help="Difference, for other seeds too."),
            Column(name="significant? "),
            Column(name="seeds needed", help="Seeds that would show the recipes to differ."),
        ],
        rows=[_row(found, c, best, score) for c, _ in gaps],
        note="Intervals are of one difference each; significance is by Holm's procedure over all "
        "pairs of models and both scores, 5 % in all. Seeds needed: if mean and spread stay; a "
        "dash where more held-out samples would be needed.",
    )


def _row(found: Judged, c: Contestant, best: Contestant, score: str) -> list[Cell]:
    trained, recipe = found.trained.of(c, best, score), found.recipes.of(c, best, score)
    row: list[Cell] = [c.label]
    for gap in (trained, recipe):
        row += ["–", "–"] if gap is None else [gap.estimate, "yes" if gap.is_sure else "no"]
    return [*row, None if recipe is None else seeds_needed(c, best, score, found.recipes)]
