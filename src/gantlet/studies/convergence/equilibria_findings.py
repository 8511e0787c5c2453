"""What the outcomes say of each way to a mixed equilibrium, over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final, get_args

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import mean, paired
from gantlet.core.trial import Outcome
from gantlet.studies.convergence.equilibria_arms import ARMS, LAST
from gantlet.studies.convergence.equilibria_plan import LOOSE, MATRIX, Method, scale_of
from gantlet.studies.convergence.equilibria_trial import FLOPS, GAP, NETWORKS, at


@final
@dataclass(frozen=True, slots=True)
class Found:
    """What each arm reached, seed by seed.

    Attributes:
        scores: All scores of a seed, of whatever trial, by seed.
        shares: At which shares of the budget, rising.
    """

    scores: Mapping[int, Mapping[str, Estimate]]
    shares: Sequence[float]

    @property
    def arms(self) -> list[str]:
        """The arms that were judged at the whole budget for any seed."""
        return [arm for arm in ARMS if self._values(GAP, arm, self.shares[-1])]

    def over_seeds(self, what: str, arm: str, share: float) -> Estimate:
        """Returns the mean of a measurement over seeds."""
        units = {e.unit for e in self._estimates(what, arm, share).values()}
        values = list(self._values(what, arm, share).values())
        return mean(values, unit=min(units, default="1"), better="lower")

    def behind(self, what: str, arm: str, other: str = LAST) -> Estimate:
        """Returns a measurement of an arm less that of another, paired over seeds."""
        mine, theirs = (self._values(what, a, self.shares[-1]) for a in (arm, other))
        both = sorted(mine.keys() & theirs.keys())
        return paired([mine[s] for s in both], [theirs[s] for s in both])

    def cost_to_reach(self, arm: str, gap: float) -> tuple[float, float] | None:
        """Returns the operations and networks at the first share whose mean gap is so small."""
        for share in self.shares:
            found = self.over_seeds(GAP, arm, share).value
            if found is not None and found <= gap:
                flops = self.over_seeds(FLOPS, arm, share).value or 0.0
                return flops, self.over_seeds(NETWORKS, arm, share).value or 0.0
        return None

    def _estimates(self, what: str, arm: str, share: float) -> dict[int, Estimate]:
        name = at(what, arm, share)
        return {seed: scores[name] for seed, scores in self.scores.items() if name in scores}

    def _values(self, what: str, arm: str, share: float) -> dict[int, float]:
        found = self._estimates(what, arm, share)
        return {seed: e.value for seed, e in found.items() if e.value is not None}


def findings(outcomes: Sequence[Outcome], *, loose: bool = False) -> Found | None:
    """Returns what trained methods reached, or None where no trial of them is finished.

    Args:
        outcomes: Those of all trials, or of some.
        loose: Whether to look at the critics without a penalty in place of those with one.
    """
    wanted = {LOOSE} if loose else {*get_args(Method)} - {LOOSE, MATRIX}
    trained = [o for o in outcomes if o.trial.parts["method"] in wanted]
    if not trained:
        return None
    scores: dict[int, dict[str, Estimate]] = {}
    for o in trained:
        scores.setdefault(o.trial.seed, {}).update(o.scores)
    found = Found(scores, scale_of(trained[0].trial).shares)
    return found if found.arms else None
