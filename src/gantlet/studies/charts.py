"""The charts of a comparison."""

from collections.abc import Iterator, Sequence

from gantlet.core.trial import REAL, Outcome
from gantlet.report.blocks import Block, Dot, Forest, Group, Lines, Point, Scatter, Section, Series
from gantlet.store.run import Run
from gantlet.studies import names
from gantlet.studies.claims import estimated
from gantlet.studies.summary import Contestant, is_reference, quality, ranked_on


def charts(everyone: Sequence[Contestant], run: Run) -> Iterator[Block]:
    """Yields quality with intervals, likelihood with intervals, quality against cost, curves."""
    score = quality(everyone)
    on = ranked_on(everyone)
    kind = "" if on == "pixels" else " features"
    yield from _forest(everyone, score, f"Energy distance to held-out data, on {on}{kind}")
    yield from _forest(everyone, names.LIKELIHOOD, "Negative log-likelihood of held-out data")
    competing = [c for c in everyone if c.model != REAL and c.outcomes]
    yield from _pareto(competing, score, names.SAMPLING, "FLOPs for one sample")
    curves = list(_curves(competing, run))
    if curves:
        yield Section(title="Validation during training", blocks=curves)


def _forest(everyone: Sequence[Contestant], score: str, title: str) -> Iterator[Block]:
    found = estimated(everyone, score)
    dots = [Dot(name=c.label, estimate=found[c.model]) for c in everyone if c.values(score)]
    if len(dots) > 1:
        first = dots[0].estimate
        yield Forest(
            title=title,
            unit=first.unit,
            groups=[Group(name="", dots=dots)],
            better=first.better,
            references=[c.label for c in everyone if is_reference(c)],
            note="Dots are means over seeds, bars 95 % intervals over seeds and samples.",
        )


def _pareto(competing: Sequence[Contestant], score: str, cost: str, label: str) -> Iterator[Block]:
    known = [c for c in competing if c.values(score) and c.values(cost)]
    priced = [c for c in known if (c.estimate(cost).value or 0) > 0]
    if len(priced) < 2:
        return
    front = pareto([(_value(c, cost), _value(c, score)) for c in priced])
    points = [_point(c, score, cost, front=i in front) for i, c in enumerate(priced)]
    yield Scatter(
        title="Quality against the cost of a sample",
        x_label=label,
        y_label=score.replace("energy", "energy distance"),
        points=points,
        log_x=True,
        note="Down and to the left is better; the line joins what nothing beats on both. "
        "Models whose samples cost no counted operation are left out.",
    )


def pareto(points: Sequence[tuple[float, float]]) -> set[int]:
    """Returns the indices of the points that no other point beats in both coordinates.

    Lower is better in both.

    Example:
        >>> sorted(pareto([(1, 3), (2, 2), (3, 3), (4, 1)]))
        [0, 1, 3]
    """

    def beaten(i: int) -> bool:
        x, y = points[i]
        return any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)

    return {i for i in range(len(points)) if not beaten(i)}


def _value(c: Contestant, score: str) -> float:
    value = c.estimate(score).value
    return float("nan") if value is None else value


def _point(c: Contestant, score: str, cost: str, *, front: bool) -> Point:
    found = c.estimate(score)
    return Point(
        name=c.label,
        x=_value(c, cost),
        y=_value(c, score),
        y_low=found.low,
        y_high=found.high,
        front=front,
    )


def _curves(competing: Sequence[Contestant], run: Run) -> Iterator[Lines]:
    """Yields one chart for those selected by likelihood and one for those by distance."""
    densities = [c for c in competing if c.values(names.LIKELIHOOD)]
    others = [c for c in competing if not c.values(names.LIKELIHOOD)]
    for group, what in ((densities, "negative log-likelihood"), (others, "energy distance")):
        series = [s for c in group for s in _series(c, run)]
        if series:
            yield Lines(
                title=f"Selected by {what}",
                x_label="training FLOPs",
                y_label=f"validation: {what}",
                series=series,
                note="One line for each model, first seed. The best point is what is judged.",
            )


def _series(c: Contestant, run: Run) -> Iterator[Series]:
    first: Outcome = next(iter(c.outcomes.values()))
    curve = [p for p in run.folder(first.trial).load_curve() if p["validation"] is not None]
    if curve:
        x, y = [float(p["flops"]) for p in curve], [float(p["validation"]) for p in curve]
        yield Series(name=c.label, x=x, y=y)
