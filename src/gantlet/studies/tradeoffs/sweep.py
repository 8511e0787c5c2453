"""Flow-GAN from adversarial to likelihood; and the same flow trained both ways."""

from collections.abc import Iterator, Sequence

from gantlet.core.spec import Spec
from gantlet.core.trial import REAL
from gantlet.report.blocks import Block, Cell, Column, Table, Verdict
from gantlet.report.format import text as shown
from gantlet.studies import names
from gantlet.studies.claims import recipe_claims
from gantlet.studies.summary import Contestant, on_ranking_features, quality
from gantlet.studies.tradeoffs.part import Part


def _columns(group: Sequence[Contestant]) -> Sequence[tuple[str, str]]:
    """Returns the scores of the table, and what they are called."""
    return (
        (names.LIKELIHOOD, "likelihood"),
        (quality(group), "energy distance"),
        *((on_ranking_features(group, axis), axis) for axis in ("precision", "recall")),
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
    columns = _columns(list(by_weight.values()))
    rows: list[Sequence[Cell]] = [
        [f"{weight:g}", *(c.estimate(score) for score, _ in columns)]
        for weight, c in sorted(by_weight.items())
    ]
    if not rows:
        return
    sample = next(iter(by_weight.values()))
    told = {score: sample.estimate(score) for score, _ in columns}
    yield Table(
        title="Weight of the likelihood",
        columns=[
            Column(name="weight"),
            *(Column(name=n, unit=told[s].unit, better=told[s].better) for s, n in columns),
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
    both = [likelihood, adversarial]
    claims = recipe_claims(both, (quality(both), on_ranking_features(both, "recall")))
    gaps = [claims.of(likelihood, adversarial, g.score) for g in claims.gaps]
    gap = next((g for g in gaps if g is not None and g.score == quality(both)), None)
    if gap is None or gap.estimate.value is None:
        return
    if not gap.is_sure:
        said = "neither gives significantly better samples"
    elif gap.estimate.value < 0:
        said = "maximum likelihood gives the better samples: it is not the harder way here"
    else:
        said = "adversarial training gives the better samples"
    told = ", ".join(f"{g.score} {shown(g.estimate)}" for g in gaps if g is not None)
    yield Verdict(
        claim=f"The same flow trained both ways: {said}.",
        because=f"Maximum likelihood minus adversarial, over seeds: {told}.",
    )
