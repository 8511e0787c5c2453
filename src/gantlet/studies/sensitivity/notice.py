"""Who noticed what: from differences to the smallest strength that a metric notices."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias, final

from gantlet.core.components import metrics
from gantlet.core.estimate import Estimate
from gantlet.core.intervals import is_separated, percentage
from gantlet.core.trial import Outcome
from gantlet.studies.sensitivity.plan import NOTHING, keys

ENOUGH = 0.8
"""A metric notices a damage if it does so in this share of the draws."""

Sign = Literal["worse", "better", "equal"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a metric made of one damage at one strength and sample size.

    Attributes:
        worse: In how many draws the damaged samples were shown to be worse than the control.
        better: In how many they were shown to be better.
        draws: In how many it could have told.
    """

    worse: int = 0
    better: int = 0
    draws: int = 0

    def with_one(self, sign: Sign) -> "Tally":
        """Returns the tally with one more draw."""
        return Tally(
            worse=self.worse + (sign == "worse"),
            better=self.better + (sign == "better"),
            draws=self.draws + 1,
        )

    @property
    def is_noticed(self) -> bool:
        """Whether the damage counts as noticed."""
        return self.draws > 0 and self.worse >= ENOUGH * self.draws

    @property
    def is_praised(self) -> bool:
        """Whether the damage counts as taken for an improvement."""
        return self.draws > 0 and self.better >= ENOUGH * self.draws


Tallies: TypeAlias = Mapping[tuple[str, str, int], Mapping[float, Tally]]
"""By metric with extractor, damage and sample size: a tally for each strength."""


def tallies(outcomes: Sequence[Outcome]) -> Tallies:
    """Counts in how many draws each metric noticed each damage."""
    found: dict[tuple[str, str, int], dict[float, Tally]] = {}
    for o in outcomes:
        damage, n = o.trial.parts["model"], int(o.trial.parts["n"])
        which = {key.name: key for key in keys(o.trial.parts)}
        for name, gap in o.scores.items():
            metric, look, strength = which[name]
            by_strength = found.setdefault((label(metric, look), damage, n), {})
            before = by_strength.setdefault(strength, Tally())
            # Where there is no number, nothing was noticed; a number without interval cannot tell.
            if gap.low is not None or gap.value is None:
                by_strength[strength] = before.with_one(sign(gap))
    return found


def sign(gap: Estimate) -> Sign:
    """Returns what a difference, damaged minus control, shows of the damaged samples."""
    if not is_separated(gap) or gap.value is None:
        return "equal"
    return "worse" if (gap.value > 0) == (gap.better != "higher") else "better"


@cache
def label(metric: str, look: str) -> str:
    """Returns metric and extractor as people write them."""
    return f"{metrics.short(metric)} ({look})"


def smallest(by_strength: Mapping[float, Tally], *, praised: bool = False) -> float | None:
    """Returns the smallest strength that is noticed, or taken for better; None where none is."""
    for strength, tally in sorted(by_strength.items()):
        if tally.is_praised if praised else tally.is_noticed:
            return strength
    return None


def false_alarms(found: Tallies, metric: str, n: int) -> Estimate:
    """Returns how often a metric told undamaged samples from undamaged ones, in %."""
    by_strength = found.get((metric, NOTHING, n), {})
    total = sum(t.draws for t in by_strength.values())
    raised = sum(t.worse + t.better for t in by_strength.values())
    return percentage(
        raised, total, of="undamaged draws", why="no interval, so nothing can be noticed"
    )


def noticers(found: Tallies, damage: str, n: int) -> Iterator[tuple[float, str]]:
    """Yields the smallest strength noticed and the metric, for those that notice at all."""
    for (metric, what, size), by_strength in found.items():
        if (what, size) == (damage, n):
            strength = smallest(by_strength)
            if strength is not None:
                yield strength, metric
