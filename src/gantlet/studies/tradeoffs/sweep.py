"""Flow-GAN from adversarial to likelihood; and the same flow trained both ways."""

from collections.abc import Iterator, Sequence

from gantlet.core.intervals import is_separated
from gantlet.core.spec import Spec
from gantlet.report.blocks import Block, Cell, Column, Table, Verdict
from gantlet.report.numbers import text as shown
from gantlet.studies import names
from gantlet.studies.contest import REAL
from gantlet.studies.summary import Contestant, difference
from gantlet.studies.tradeoffs.part import Part

RECALL = "recall (pixels)"
PRECISION = "precision (pixels)"

_COLUMNS = (
    (names.LIKELIHOOD, "likelihood"),
    (names.QUALITY, "energy distance"),
    (PRECISION, "precision"),
    (RECALL, "recall"),
    (names.INVERSE, "round-trip error"),
)


def flow_gan_sweep(group: Sequence[Contestant]) -> Part:
    """Returns the sweep as a table, and what the two ends say of both ways to train."""
    by_weight = {_weight(c): c for c in group if c.model != REAL and c.outcomes}
    return Part(
        title="Flow-GAN: from adversarial to likelihood",
        verdicts=[*_best(by_weight), *_both_ways(by_weight)],
        blocks=list(_tables(by_weight)),
    )


def _weight(c: Contestant) -> float:
    return float(Spec.parse(c.model).options["weight"])


def _tables(by_weight: dict[float, Contestant]) -> Iterator[Block]:
    rows: list[Sequence[Cell]] = [
        [f"{weight:g}", *(c.estimate(score) for score, _ in _COLUMNS)]
        for weight, c in sorted(by_weight.items())
    ]
    if not rows:
        return
    sample = next(iter(by_weight.values()))
    told = {score: sample.estimate(score) for score, _ in _COLUMNS}
    yield Table(
        title="Weight of the likelihood",
        columns=[
            Column(name="weight"),
            *(Column(name=n, unit=told[s].unit, better=told[s].better) for s, n in _COLUMNS),
        ],
        rows=rows,
        note="0 is purely adversarial, inf is maximum likelihood; all are the same flow, trained "
        "with the same FLOPs.",
    )


def _best(by_weight: dict[float, Contestant]) -> Iterator[Verdict]:
    values = {w: c.estimate(names.LIKELIHOOD) for w, c in by_weight.items()}
    known = {w: e for w, e in values.items() if e.value is not None}
    if 0.0 not in known or len(known) < 2:
        return
    best = min(known, key=lambda w: known[w].value or 0.0)
    if best == 0.0:
        return
    yield Verdict(
        claim=f"Trained against a critic alone, the flow's likelihood is {shown(known[0.0])}; "
        f"with weight {best:g} it is {shown(known[best])}.",
        because="Held-out data; the same flow, the same FLOPs.",
    )


def _both_ways(by_weight: dict[float, Contestant]) -> Iterator[Verdict]:
    """Answers whether maximum likelihood is harder than adversarial training, for one flow."""
    adversarial, likelihood = by_weight.get(0.0), by_weight.get(float("inf"))
    if adversarial is None or likelihood is None:
        return
    gap = difference(likelihood, adversarial, names.QUALITY)
    reach = difference(likelihood, adversarial, RECALL)
    if gap.value is None:
        return
    if not is_separated(gap):
        said = "Neither is shown to give better samples"
    elif gap.value < 0:
        said = "Maximum likelihood gives the better samples: it is not the harder way here"
    else:
        said = "Adversarial training gives the better samples"
    yield Verdict(
        claim=f"The same flow trained both ways: {said}.",
        because=f"Maximum likelihood minus adversarial, paired over seeds: energy distance "
        f"{shown(gap)}, recall {shown(reach)}.",
    )
