"""What the outcomes say of each flow: how far off annealing is, and which cause that has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

from gantlet.core.components import datasets, families
from gantlet.core.estimate import Estimate
from gantlet.core.intervals import is_separated
from gantlet.core.trial import Outcome
from gantlet.studies.ais.plan import Grid, grid_of
from gantlet.studies.ais.trial import ACCEPTANCE, AIS, EXACT, GAP, OFF, SHORT, SMOOTH, TUNING, at

Cause = Literal["none", "noise", "chains", "both"]
"""Why annealing is off: the noise smooths the density, the chains end too early, or both."""

# One cause is named alone where it is so many times the other.
_ALONE = 3.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One flow at one width of noise and one number of temperatures; all in nats.

    Attributes:
        sigma: The width of the noise, in standard deviations of the data.
        temperatures: How many temperatures.
        bound: The bound of the mean log-likelihood of the test samples.
        off: The bound less the exact value, paired by sample.
        gap: Upper less lower bound of simulated samples.
        acceptance: The mean acceptance probability.
        smooth: The smoothed density's log-likelihood less the exact one, where it is known.
        short: The smoothed density's log-likelihood less the bound, where it is known.
    """

    sigma: float
    temperatures: int
    bound: Estimate
    off: Estimate
    gap: Estimate
    acceptance: Estimate
    smooth: Estimate | None
    short: Estimate | None

    @property
    def is_off(self) -> bool:
        """Whether the interval of the error excludes zero."""
        return is_separated(self.off)

    @property
    def lost(self) -> float:
        """What the chains lose: known exactly in the plane, else the gap of simulated samples."""
        best = self.gap if self.short is None else self.short
        return best.value or 0.0

    @property
    def smoothing(self) -> float:
        """What the noise changes: known in the plane, else what the gap leaves unexplained.

        A bound above the exact value is the noise's doing, and chains hide some of it.
        """
        if self.smooth is not None:
            return self.smooth.value or 0.0
        rest = (self.off.value or 0.0) + self.lost
        return rest if (self.off.value or 0.0) > 0 else min(0.0, rest)

    @property
    def cause(self) -> Cause:
        """Why the bound is off, or ``none`` where it is not shown to be."""
        if not self.is_off:
            return "none"
        noise, chains = abs(self.smoothing), abs(self.lost)
        if noise > _ALONE * chains:
            return "noise"
        return "chains" if chains > _ALONE * noise else "both"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found of one flow.

    Attributes:
        label: The flow as people name it.
        data: The data set as people name it.
        seed: Of which seed.
        exact: The exact log-likelihood of the test samples.
        points: Width by width, and there by rising numbers of temperatures.
        tuned: The width that made validation samples most likely at the most temperatures.
    """

    label: str
    data: str
    seed: int
    exact: Estimate
    points: Sequence[Point]
    tuned: float

    @property
    def longest(self) -> Sequence[Point]:
        """The points of the most temperatures, narrowest noise first."""
        most = max(p.temperatures for p in self.points)
        found = [p for p in self.points if p.temperatures == most]
        return sorted(found, key=lambda p: p.sigma)

    @property
    def at_tuned(self) -> Point:
        """The point that a user would report: tuned width, most temperatures."""
        return next(p for p in self.longest if p.sigma == self.tuned)

    def over(self, sigma: float) -> Sequence[Point]:
        """The points of one width, fewest temperatures first."""
        found = [p for p in self.points if p.sigma == sigma]
        return sorted(found, key=lambda p: p.temperatures)


def findings(outcomes: Sequence[Outcome]) -> list[Found]:
    """Returns what the outcomes that gave numbers say, flow by flow."""
    return [found for o in outcomes if o.error is None and (found := _found(o)) is not None]


def _found(outcome: Outcome) -> Found | None:
    """Returns what one trial says, or None where no bound is finite."""
    grid = grid_of(outcome.trial)
    points = [
        point
        for sigma in grid.sigmas
        for n in grid.temperatures
        if (point := _point(outcome.scores, sigma, n)).off.value is not None
    ]
    tuned = _tuned(outcome.scores, grid, points)
    if tuned is None:
        return None
    return Found(
        label=families.short(outcome.trial.parts["model"]),
        data=datasets.short(outcome.trial.parts["data"]),
        seed=outcome.trial.seed,
        exact=outcome.scores[EXACT],
        points=points,
        tuned=tuned,
    )


def _point(scores: Mapping[str, Estimate], sigma: float, temperatures: int) -> Point:
    def score(what: str) -> Estimate:
        return scores[at(what, sigma, temperatures)]

    return Point(
        sigma=sigma,
        temperatures=temperatures,
        bound=score(AIS),
        off=score(OFF),
        gap=score(GAP),
        acceptance=score(ACCEPTANCE),
        smooth=scores.get(at(SMOOTH, sigma)),
        short=scores.get(at(SHORT, sigma, temperatures)),
    )


def _tuned(scores: Mapping[str, Estimate], grid: Grid, points: Sequence[Point]) -> float | None:
    most = max(grid.temperatures)
    values = {
        p.sigma: value
        for p in points
        if p.temperatures == most
        and (value := scores[at(TUNING, p.sigma, most)].value) is not None
    }
    return max(values, key=lambda sigma: values[sigma]) if values else None
