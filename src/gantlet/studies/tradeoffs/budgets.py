"""Quality against training cost, the Pareto front, and where one family overtakes another."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from gantlet.core.trial import REAL
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
from gantlet.report.format import text as shown
from gantlet.studies import names
from gantlet.studies.charts import pareto
from gantlet.studies.summary import rank
from gantlet.studies.tradeoffs.part import Part
from gantlet.studies.tradeoffs.plan import FAMILIES
from gantlet.studies.tradeoffs.target import Budgets, cost_to_reach, distance, of_family, target
from gantlet.studies.verdicts import judged


def quality_against_cost(budgets: Budgets) -> Part:
    """Returns curves of quality and likelihood over budgets, the front, and break-even counts."""
    score = distance(budgets)
    blocks: list[Block] = [
        _curves(budgets, score, "Quality against training cost", "energy distance"),
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
        log_y=score != names.LIKELIHOOD,
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
    score = distance(budgets)
    for budget, group in budgets.items():
        for family in FAMILIES:
            c = of_family(group, family)
            value = None if c is None else c.estimate(score).value
            if value is not None:
                known.append((family, budget, value))
    front = pareto([(cost, value) for _, cost, value in known])
    return Scatter(
        title="Pareto front of quality and training cost",
        x_label="training FLOPs",
        y_label=score.replace("energy", "energy distance"),
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
    """Says for each budget which recipes are not significantly different from the best."""
    for budget in sorted(budgets):
        group = [c for f in FAMILIES if (c := of_family(budgets[budget], f)) is not None]
        found = judged([*group, *(c for c in budgets[budget] if c.model == REAL)])
        ranked = [c for c in rank(group, found.quality, "lower") if not found.gate.bars(c)]
        if len(ranked) < 2:
            continue
        best, rest = ranked[0], [c for c in group if c is not ranked[0]]
        level = [c.label for c in rest if not found.recipes.is_sure(best, c, found.quality)]
        at = f"At {shown(budget, 'FLOP')}"
        claim = (
            f"{at} not significantly different as recipes: {', '.join([best.label, *level])}."
            if level
            else f"{at} {best.label} has significantly better samples than every other recipe."
        )
        told = "; ".join(f"{c.label} {shown(c.estimate(found.quality))}" for c in ranked)
        yield Verdict(
            claim=claim,
            because=f"{found.quality.replace('energy', 'Energy distance')}: {told}. Holm's "
            f"procedure over {len(found.recipes.gaps)} pairs of recipes and scores, 5 % in all.",
        )
