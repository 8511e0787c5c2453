"""What it costs each family to be good enough: the smallest budget that reaches a target."""

from collections.abc import Mapping, Sequence
from statistics import median

from gantlet.studies import names, summary
from gantlet.studies.summary import Contestant
from gantlet.studies.tradeoffs.plan import FAMILIES

Budgets = Mapping[float, Sequence[Contestant]]
"""The contestants of the comparison at each training budget."""


def of_family(group: Sequence[Contestant], family: str) -> Contestant | None:
    """Returns the contestant of a family, or None where all its trials are missing."""
    return next((c for c in group if c.model.partition(":")[0] == family), None)


def distance(budgets: Budgets) -> str:
    """Returns the score by which samples are judged."""
    return summary.quality([c for group in budgets.values() for c in group])


def quality(group: Sequence[Contestant], family: str) -> float | None:
    """Returns the mean energy distance of a family, or None."""
    contestant = of_family(group, family)
    return None if contestant is None else contestant.estimate(summary.quality(group)).value


def target(budgets: Budgets) -> float | None:
    """Returns the quality that half of the families reach: the median of their best means."""
    best = [b for f in FAMILIES if (b := _best(budgets, f)) is not None]
    return median(best) if best else None


def cost_to_reach(budgets: Budgets, family: str, wanted: float) -> float | None:
    """Returns the training FLOPs of the smallest budget that reaches ``wanted``, or None."""
    for budget in sorted(budgets):
        contestant = of_family(budgets[budget], family)
        if contestant is None:
            continue
        value = contestant.estimate(summary.quality(budgets[budget])).value
        if value is not None and value <= wanted:
            return contestant.estimate(names.TRAINING).value
    return None


def _best(budgets: Budgets, family: str) -> float | None:
    values = [q for group in budgets.values() if (q := quality(group, family)) is not None]
    return min(values, default=None)
