"""Quality against training cost, the Pareto front, and where one family overtakes another."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from gantlet.report.blocks import (
    Block,
    Cell,
    Column,
    Lines,
    Point,
    Scatter,
    Series,
    Table,
    Verdict,
)
from gantlet.report.numbers import text as shown
from gantlet.studies import names
from gantlet.studies.charts import pareto
from gantlet.studies.summary import Contestant, rank, rivals
from gantlet.studies.tradeoffs.part import Part
from gantlet.studies.tradeoffs.plan import FAMILIES
from gantlet.studies.tradeoffs.target import Budgets, cost_to_reach, of_family, target


def quality_against_cost(budgets: Budgets) -> Part:
    """Returns curves of quality and likelihood over budgets, the front, and break-even counts."""
    blocks: list[Block] = [
        _curves(budgets, names.QUALITY, "Quality against training cost", "energy distance"),
        _curves(budgets, names.LIKELIHOOD, "Likelihood against training cost", "bits/dim"),
        _front(budgets),
        *_break_even(budgets),
    ]
    return Part(
        title="Equal compute at several budgets", verdicts=list(_winners(budgets)), blocks=blocks
    )


class Costs(NamedTuple):
    """What a family costs.

    Attributes:
        family: The family.
        training: FLOPs of training to the common target.
        sample: FLOPs of one sample.
    """

    family: str
    training: float
    sample: float


def break_even(a: Costs, b: Costs) -> float | None:
    """Returns the number of samples from which on the other family is cheaper in total.

    Training and sampling FLOPs together; None where one family is cheaper for any number.

    Example:
        >>> break_even(Costs("gan", 100.0, 1.0), Costs("ar", 10.0, 4.0))
        30.0
    """
    if (a.training - b.training) * (b.sample - a.sample) <= 0:
        return None
    return (a.training - b.training) / (b.sample - a.sample)


def _curves(budgets: Budgets, score: str, title: str, what: str) -> Lines:
    return Lines(
        title=title,
        x_label="training FLOPs",
        y_label=what,
        series=[s for f in FAMILIES for s in _series(budgets, f, score)],
        log_x=True,
        log_y=score == names.QUALITY,
        note="Means over seeds; the band is the 95 % interval over seeds and samples.",
    )


def _series(budgets: Budgets, family: str, score: str) -> Iterator[Series]:
    found = [
        (budget, e)
        for budget in sorted(budgets)
        if (c := of_family(budgets[budget], family)) is not None
        and (e := c.estimate(score)).value is not None
    ]
    if found:
        nan = float("nan")
        yield Series(
            name=family,
            x=[budget for budget, _ in found],
            y=[nan if e.value is None else e.value for _, e in found],
            low=[nan if e.low is None else e.low for _, e in found],
            high=[nan if e.high is None else e.high for _, e in found],
        )


def _front(budgets: Budgets) -> Scatter:
    known: list[tuple[str, float, float]] = []
    for budget, group in budgets.items():
        for family in FAMILIES:
            c = of_family(group, family)
            value = None if c is None else c.estimate(names.QUALITY).value
            if value is not None:
                known.append((family, budget, value))
    front = pareto([(cost, value) for _, cost, value in known])
    return Scatter(
        title="Pareto front of quality and training cost",
        x_label="training FLOPs",
        y_label="energy distance (pixels)",
        points=[
            Point(name=name, x=cost, y=value, front=i in front)
            for i, (name, cost, value) in enumerate(known)
        ],
        log_x=True,
        log_y=True,
    )


def _break_even(budgets: Budgets) -> Iterator[Block]:
    wanted = target(budgets)
    costs = [] if wanted is None else [c for f in FAMILIES for c in _costs(budgets, f, wanted)]
    if len(costs) < 2:
        return
    rows: list[Sequence[Cell]] = [_row(a, b) for a, b in combinations(costs, 2)]
    yield Table(
        title="Break-even number of samples",
        columns=[
            Column(name="pair"),
            Column(name="cheaper to train"),
            Column(name="cheaper to sample"),
            Column(name="break-even", unit="samples"),
        ],
        rows=rows,
        note=f"Among families that reach energy distance {wanted:.3g}, each trained with the "
        "smallest budget that does. From the break-even on, what is cheaper to sample is cheaper "
        "altogether; a dash means that one is cheaper for any number of samples.",
    )


def _costs(budgets: Budgets, family: str, wanted: float) -> Iterator[Costs]:
    training = cost_to_reach(budgets, family, wanted)
    contestant = of_family(budgets[max(budgets)], family)
    sample = None if contestant is None else contestant.estimate(names.SAMPLING).value
    if training is not None and sample is not None:
        yield Costs(family, training, sample)


def _row(a: Costs, b: Costs) -> list[Cell]:
    train = a.family if a.training < b.training else b.family
    if a.training == b.training:
        train = "equal"
    sample = a.family if a.sample < b.sample else b.family
    return [f"{a.family}, {b.family}", train, sample, break_even(a, b)]


def _winners(budgets: Budgets) -> Iterator[Verdict]:
    """Says for each budget who is best, and who is not separated from it."""
    for budget in sorted(budgets):
        group = [c for f in FAMILIES if (c := of_family(budgets[budget], f)) is not None]
        ranked: list[Contestant] = rank(group, names.QUALITY, "lower")
        if len(ranked) < 2:
            continue
        level = [c.label for c in rivals(ranked[0], ranked[1:], names.QUALITY)]
        tail = (
            f", not separated from {', '.join(level)}" if level else ", separated from all others"
        )
        yield Verdict(
            claim=f"At {shown(budget, 'FLOP')} {ranked[0].label} has the best samples{tail}.",
            because="Energy distance: "
            + "; ".join(f"{c.label} {shown(c.estimate(names.QUALITY))}" for c in ranked)
            + ".",
        )
