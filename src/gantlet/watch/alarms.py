"""Alarms that may be looked at every time: collapse, copying, divergence, no progress.

All together are false in at most 5 % of healthy runs, however often one looks and whenever one
stops: each has its part of the 5 %, and keeps it over all looks by a test martingale or by levels
that sum over looks. What is tested is whether the change is larger than a margin; smaller ones are
the ups and downs of a healthy training.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, variance
from typing import Any, Literal, final

from gantlet.stats.anytime import (
    ChangeEvidence,
    level_of_look,
    log_evidence_of_rate,
    rate_upper,
)
from gantlet.stats.intervals import t_quantile

Kind = Literal["collapse", "copying", "divergence", "no progress"]

LEVELS: Mapping[str, float] = {
    "lost diversity": 0.015,
    "few realistic modes": 0.005,
    "copies": 0.012,
    "out of range": 0.005,
    "no progress": 0.012,
}
"""How often each test may be wrong in a healthy run; together at most 5 %."""

# A loss so many times as large as it was in the first half of the run has diverged; this is a
# rule, not a test.
_EXPLODED = 1000.0
# Looks before "the last third" means anything.
_FEWEST = 18
# Progress is to have reduced what is left of the distance by this share within the last third.
_PROGRESS = 0.1
# The part of a level that goes to the bounds of earlier looks, the rest going to the evidence.
_FOR_BOUNDS = 1 / 6
# Over how many of the latest looks a rate is bounded.
_WINDOWS = (1, 4, 16)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm.

    Attributes:
        kind: What is wrong.
        step: Step of the look, or of the call, that raised it.
        text: What was found, in a sentence.
        p: The anytime-valid p-value or level of the test; None for a rule, which has no chance
            of error to state.
    """

    kind: Kind
    step: int
    text: str
    p: float | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the alarms count at one look. All samples are drawn afresh, and so independent.

    Attributes:
        pairs: Disjoint pairs of samples.
        near: Pairs that lie as near to each other as 2 % of the pairs of real samples.
        realistic: Such pairs of which the first lies near real samples.
        n: Samples.
        far: Samples three times as far out as any real one.
        copies: Samples that are copies of training samples, or None where these are not known.
    """

    pairs: int
    near: int
    realistic: int
    n: int
    far: int
    copies: int | None = None


@final
@dataclass(slots=True)
class RateTest:
    """Tests whether a rate has come to lie above a bound, at every look.

    Attributes:
        level: How often it may be wrong, over all looks.
        margin: By what factor the rate must exceed ``base``.
        base: The rate of real samples.
        relative: Whether the bound also follows the lowest rate that the run has had.
        lowest: Upper confidence bound of that rate.
        evidence: Of the looks so far.
        recent: Counts and trials of the latest looks.
    """

    level: float
    margin: float
    base: float
    relative: bool = False
    lowest: float = 1.0
    evidence: ChangeEvidence = field(default_factory=ChangeEvidence)
    recent: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    @property
    def bound(self) -> float:
        """The rate that must be exceeded now."""
        return min(1.0, self.margin * max(self.base, self.lowest if self.relative else 0.0))

    def update(self, count: int, n: int) -> bool:
        """Adds a look and returns whether the test rejects."""
        self.evidence.update(log_evidence_of_rate(count, n, self.bound))
        if not self.relative:
            return self.evidence.exceeds(self.level)
        self._bound_lowest(count, n)
        return self.evidence.exceeds((1 - _FOR_BOUNDS) * self.level)

    def _bound_lowest(self, count: int, n: int) -> None:
        """Bounds the lowest rate so far by mean rates of the latest looks, which are no lower.

        Counts of several looks, whose rates may differ, spread no more than binomial ones with
        their mean rate (Hoeffding, 1956, https://doi.org/10.1214/aoms/1177728178).
        """
        self.recent = [*self.recent, (count, n)][-max(_WINDOWS) :]
        spent = level_of_look(_FOR_BOUNDS * self.level, self.evidence.looks) / len(_WINDOWS)
        for window in _WINDOWS:
            some = self.recent[-window:]
            count, n = (sum(x[i] for x in some) for i in (0, 1))
            self.lowest = min(self.lowest, rate_upper(count, n, spent))

    def state(self) -> dict[str, Any]:
        """Returns plain values for ``load``."""
        recent = [list(x) for x in self.recent]
        return {"lowest": self.lowest, "recent": recent, "evidence": self.evidence.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from what ``state`` returned."""
        self.lowest = float(state["lowest"])
        self.recent = [(int(count), int(n)) for count, n in state["recent"]]
        self.evidence = ChangeEvidence.of_state(state["evidence"])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """The KID of one look.

    Attributes:
        value: The distance.
        variance: Its variance over the fakes of the look; the real samples are those of all looks.
    """

    value: float
    variance: float


@final
class Alarms:
    """All alarms of one run.

    Args:
        near: How many pairs of real samples are as near as ``Counts.near`` counts, as a share.
        copies: How many held-out real samples look like copies, and of how many.
        floor: The KID of held-out real samples, or None without a noise floor.
    """

    def __init__(self, near: float, copies: tuple[int, int], floor: Distance | None) -> None:
        self._floor = floor
        self._distances: list[Distance] = []
        self._near = near
        self._largest: dict[str, float] = {}
        self.raised: dict[Kind, Alarm] = {}
        of_copies = LEVELS["copies"]
        usual = rate_upper(*copies, of_copies / 12) if copies[1] else 0.0
        self._tests = {
            "lost diversity": RateTest(LEVELS["lost diversity"], 2, near, relative=True),
            "few realistic modes": RateTest(
                LEVELS["few realistic modes"], 1, max(0.25, 10 * near)
            ),
            "copies": RateTest(of_copies * 11 / 12, 2, max(0.025, usual)),
            "out of range": RateTest(LEVELS["out of range"], 2, 0.125, relative=True),
        }

    # ------------------------------------------------------------------------
    # Samples of a look.
    # ------------------------------------------------------------------------

    def look(self, step: int, counts: Counts, distance: Distance | None) -> list[Alarm]:
        """Adds a look and returns the alarms that it raises for the first time."""
        found = list(self._of_counts(step, counts))
        if distance is not None:
            self._distances.append(distance)
            found += self._of_progress(step)
        return self._new(found)

    def _of_counts(self, step: int, c: Counts) -> Iterator[Alarm]:
        before = self._tests["lost diversity"].bound / 2
        if self._rejects("lost diversity", c.near, c.pairs):
            yield self._alarm("lost diversity", "collapse", step, self._lost(c, before))
        if self._rejects("few realistic modes", c.realistic, c.pairs):
            text = (
                f"{c.realistic} of {c.pairs} pairs of samples are realistic and nearly the same; "
                f"of real samples {self._near:.1%} of pairs are that near"
            )
            yield self._alarm("few realistic modes", "collapse", step, text)
        if c.copies is not None and self._rejects("copies", c.copies, c.n):
            limit = self._tests["copies"].bound
            text = f"{c.copies} of {c.n} samples are copies of training samples, above {limit:.1%}"
            yield self._alarm("copies", "copying", step, text)
        if self._rejects("out of range", c.far, c.n):
            text = f"{c.far} of {c.n} samples lie three times as far out as any real one"
            yield self._alarm("out of range", "divergence", step, text)

    def _lost(self, c: Counts, before: float) -> str:
        now = c.near / max(c.pairs, 1)
        return (
            f"{c.near} of {c.pairs} pairs of samples are nearly the same ({now:.1%}), more than "
            f"twice {before:.1%}, the larger of real samples and of the best look: less than half "
            "of the effective support is left"
        )

    def _rejects(self, name: str, count: int, n: int) -> bool:
        return self._tests[name].update(count, n)

    def _alarm(self, name: str, kind: Kind, step: int, text: str) -> Alarm:
        return Alarm(kind=kind, step=step, text=text, p=self._tests[name].evidence.p)

    # ------------------------------------------------------------------------
    # Progress over the last third.
    # ------------------------------------------------------------------------

    def _of_progress(self, step: int) -> Iterator[Alarm]:
        """Yields an alarm if the last third reduced what is left by less than a tenth, surely.

        A model goes up and down from look to look by more than its samples do, so that the spread
        between looks counts too.
        """
        t = len(self._distances)
        if t < _FEWEST or self._floor is None:
            return
        last = self._distances[-(t // 3) :]
        h = len(last) // 2
        (before, v), (now, w) = _mean(last[:h]), _mean(last[-h:])
        level = level_of_look(LEVELS["no progress"], t - _FEWEST + 1) / 2
        z, floor, share = t_quantile(1 - level, 2 * h - 2), self._floor, _PROGRESS
        left = now - floor.value
        is_left = left > z * math.sqrt(w + floor.variance)
        gained = before - now - share * left
        spread = math.sqrt(v + (1 + share) ** 2 * w + share**2 * floor.variance)
        if is_left and gained + z * spread < 0:
            yield Alarm(
                kind="no progress",
                step=step,
                text=f"over the last {len(last)} looks KID went from {before:.4g} to {now:.4g}, "
                f"and so by less than {share:.0%} of what is left above the noise floor",
                p=2 * level,
            )

    # ------------------------------------------------------------------------
    # Numbers that are not finite, and losses that explode: rules.
    # ------------------------------------------------------------------------

    def not_finite(self, step: int, what: str) -> list[Alarm]:
        """Raises divergence because ``what`` holds NaN or infinity."""
        return self._new([Alarm(kind="divergence", step=step, text=f"{what}: NaN or infinite")])

    def losses(self, step: int, losses: Mapping[str, float]) -> list[Alarm]:
        """Checks the mean losses since the last check."""
        found: list[Alarm] = []
        for name, value in losses.items():
            if not math.isfinite(value):
                found.append(
                    Alarm(kind="divergence", step=step, text=f"loss {name}: NaN or infinite")
                )
                continue
            usual = self._largest.get(name)
            if usual is not None and abs(value) > _EXPLODED * (1 + usual):
                text = f"loss {name} is {value:.3g}, above {_EXPLODED:,.0f} times what it was"
                found.append(Alarm(kind="divergence", step=step, text=text))
            elif usual is None or len(self._distances) < _FEWEST:
                self._largest[name] = max(usual or 0.0, abs(value))
        return self._new(found)

    def _new(self, found: Sequence[Alarm]) -> list[Alarm]:
        new: list[Alarm] = []
        for alarm in found:
            if alarm.kind not in self.raised:
                self.raised[alarm.kind] = alarm
                new.append(alarm)
        return new

    # ------------------------------------------------------------------------
    # State.
    # ------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Returns plain values for ``load``."""
        return {
            "tests": {name: test.state() for name, test in self._tests.items()},
            "distances": [[d.value, d.variance] for d in self._distances],
            "largest": dict(self._largest),
            "raised": [asdict(a) for a in self.raised.values()],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from what ``state`` returned."""
        for name, test in self._tests.items():
            test.load(state["tests"][name])
        self._distances = [Distance(value=v, variance=w) for v, w in state["distances"]]
        self._largest = dict(state["largest"])
        self.raised = {a["kind"]: Alarm(**a) for a in state["raised"]}


def _mean(some: Sequence[Distance]) -> tuple[float, float]:
    """Returns the mean of some looks and its variance, the larger of two.

    That over fakes, and that by which looks differ.
    """
    h, values = len(some), [d.value for d in some]
    over_fakes = math.fsum(d.variance for d in some) / h**2
    return fmean(values), max(over_fakes, variance(values) / h)
