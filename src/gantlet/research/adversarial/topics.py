"""What the study may conclude: claims, each with the numbers of every seed, and their tests.

A claim is a difference that should be above zero. It is tested over seeds by Student's t,
two-sided, and all claims of one topic share an error rate of 5 % by Holm's procedure. What is not
significant is not decided, either way.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final

from gantlet.core.estimate import Estimate, Outcome
from gantlet.core.spec import Spec, datasets
from gantlet.report.format import text as shown
from gantlet.research.adversarial.arms import (
    ARMS,
    BATCHES,
    EARLY,
    GAMMAS,
    KINDS,
    KNOWN,
    MOMENTUM,
    NONE,
    R1,
    RADII,
    ROBUST,
    AdversarialTrial,
    penalised_at,
    trained_at,
)
from gantlet.research.adversarial.trial import (
    COSINE,
    DENSITY,
    EFFICIENCY,
    GAP,
    HELD_COSINE,
    KIN,
    NEAREST,
    QUALITY,
    TO_REAL,
    at,
    transfer_of,
    worth_of,
)
from gantlet.research.distributions.analysis import student_p
from gantlet.stats.intervals import exponential, holm_adjusted, mean

LEVEL = 0.05

# ----------------------------------------------------------------------------
# The numbers of all trainings, by data set, arm and seed.
# ----------------------------------------------------------------------------


@final
class Results:
    """The scores of the trainings that succeeded.

    Args:
        outcomes: Those of the study.
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._scores: dict[tuple[str, str], dict[int, Mapping[str, Estimate]]] = {}
        for o in outcomes:
            if o.error is None:
                trial = AdversarialTrial.of(o.trial)
                self._scores.setdefault((trial.data, trial.arm), {})[trial.seed] = o.scores

    @property
    def data(self) -> list[str]:
        """The data sets in written form, in the order of the study."""
        return list(dict.fromkeys(data for data, _ in self._scores))

    def arms(self, data: str) -> list[str]:
        """Returns the names of the arms on a data set, in the order of the design."""
        return [arm for arm in ARMS if (data, arm) in self._scores]

    def values(self, data: str, arm: str, name: str) -> dict[int, float]:
        """Returns a score of each seed that has it."""
        found = self._scores.get((data, arm), {})
        pairs = ((seed, scores.get(name)) for seed, scores in found.items())
        return {seed: e.value for seed, e in pairs if e is not None and e.value is not None}

    def over_seeds(self, data: str, arm: str, name: str) -> Estimate:
        """Returns the mean of a score over seeds."""
        return mean(list(self.values(data, arm, name).values()))

    def ratio_over_seeds(self, data: str, arm: str, above: str, below: str) -> Estimate:
        """Returns the geometric mean over seeds of one score divided by another."""
        logs = _log_ratios(self.values(data, arm, above), self.values(data, arm, below))
        return as_ratio(mean(list(logs)))


def _log_ratios(a: Mapping[int, float], b: Mapping[int, float]) -> tuple[float, ...]:
    """Returns ``log a / b`` of the seeds where both are above zero."""
    both = [s for s in a if s in b and a[s] > 0 and b[s] > 0]
    return tuple(math.log(a[s] / b[s]) for s in both)


def _gaps(a: Mapping[int, float], b: Mapping[int, float]) -> dict[int, float]:
    return {s: a[s] - b[s] for s in a if s in b}


def _differences(a: Mapping[int, float], b: Mapping[int, float]) -> tuple[float, ...]:
    return tuple(_gaps(a, b).values())


def as_ratio(logs: Estimate) -> Estimate:
    """Returns a mean of logarithms as a geometric mean with its interval.

    Example:
        >>> e = as_ratio(mean([math.log(2.0), math.log(8.0)]))
        >>> round(e.value, 6)
        4.0
    """
    return exponential(logs, method=f"geometric {logs.method}")


# ----------------------------------------------------------------------------
# Claims and what is decided of them.
# ----------------------------------------------------------------------------

Topic = Literal["exists", "accident", "reasons", "robustness", "factors", "prototype"]
Decision = Literal["holds", "contrary", "open"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A number that is expected above a limit, usually a difference above zero.

    Attributes:
        topic: The claims of one topic share an error rate.
        holds: What is true if it is above zero.
        contrary: What is true if it is below.
        values: The number of every seed; logarithms of ratios where ``is_ratio``.
        is_ratio: Whether it is shown as a ratio.
        limit: What it is compared with, in the units of the values.
        is_below: Whether it is expected below the limit.
        subject: Of which arm it is said; empty where the sentence names all that it is about.
        place: On which data.
    """

    topic: Topic
    holds: str
    contrary: str
    values: tuple[float, ...]
    is_ratio: bool = False
    limit: float = 0.0
    is_below: bool = False
    subject: str = ""
    place: str = ""

    @property
    def tested(self) -> Estimate:
        """By how much the limit is passed on the side that is expected, over seeds."""
        sign = -1.0 if self.is_below else 1.0
        return mean([sign * (v - self.limit) for v in self.values])

    @property
    def shown(self) -> Estimate:
        """The number itself."""
        found = mean(list(self.values))
        return as_ratio(found) if self.is_ratio else found

    @property
    def about(self) -> str:
        """Arm and data as people name them."""
        return " ".join(filter(None, (self.subject, self.place)))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A claim and its test.

    Attributes:
        claim: The claim.
        estimate: The mean over seeds, as a ratio where the claim is of one.
        p: The p-value, adjusted for the claims of the topic.
        decision: What follows.
    """

    claim: Claim
    estimate: Estimate
    p: float
    decision: Decision

    @property
    def says(self) -> str:
        """What is true, or what is not decided."""
        return self.claim.contrary if self.decision == "contrary" else self.claim.holds

    @property
    def number(self) -> str:
        """The difference in words."""
        return f"{'factor ' if self.claim.is_ratio else ''}{shown(self.estimate)}"


def decide(claims: Sequence[Claim], *, level: float = LEVEL) -> list[Decided]:
    """Tests the claims of one topic.

    Example:
        >>> made = Claim(topic="exists", holds="up", contrary="down", values=(1.0, 1.1, 0.9))
        >>> [d.decision for d in decide([made])]
        ['holds']
    """
    found = [c.tested for c in claims]
    adjusted = holm_adjusted([student_p(e, e.n - 1) for e in found])
    decided: list[Decided] = []
    for claim, e, p in zip(claims, found, adjusted, strict=True):
        side: Decision = "holds" if (e.value or 0.0) > 0 else "contrary"
        decision: Decision = side if p <= level else "open"
        decided.append(Decided(claim=claim, estimate=claim.shown, p=p, decision=decision))
    return decided


def claims_of(results: Results) -> Iterator[Claim]:
    """Yields the claims about all data sets, topic by topic."""
    for data in results.data:
        for topic, claims in _CLAIMS.items():
            if topic != "prototype" or data == results.data[0]:
                yield from (c for c in claims(_On(results, data, topic)) if len(c.values) > 1)


_CHOICE = re.compile(r"\{([^|{}]*)\|([^|{}]*)\}")


def both_ways(sentence: str) -> tuple[str, str]:
    """Returns what a sentence says where its claim holds, and where the contrary does.

    Example:
        >>> both_ways("the generator is {nearer to|farther from} the data")
        ('the generator is nearer to the data', 'the generator is farther from the data')
    """
    return _CHOICE.sub(r"\1", sentence), _CHOICE.sub(r"\2", sentence)


_Score: TypeAlias = tuple[str, str]
"""An arm and the name of a score."""


@final
class _On:
    """The results on one data set, and claims about them that belong to one topic.

    Each claim is a sentence with ``{what holds|the contrary}`` in it.
    """

    def __init__(self, results: Results, data: str, topic: Topic, subject: str = "") -> None:
        self._results = results
        self._topic: Topic = topic
        self._subject = subject
        self.data = data

    def about(self, arm: str) -> "_On":
        """Returns the same, for claims about one arm."""
        return _On(self._results, self.data, self._topic, arm)

    def has(self, *arms: str) -> bool:
        """Returns whether all these arms were trained."""
        return set(arms) <= set(self._results.arms(self.data))

    def arms(self, *, but: str = "") -> list[str]:
        """Returns the kinds that were trained."""
        trained = self._results.arms(self.data)
        return [k for k in KINDS if k in trained and k != but]

    def __call__(self, arm: str, name: str) -> dict[int, float]:
        """Returns a score of each seed."""
        return self._results.values(self.data, arm, name)

    def more(self, says: str, a: _Score, b: _Score) -> Claim:
        """Claims that a score of one arm is above one of another."""
        return self.above(says, _differences(self(*a), self(*b)))

    def times(self, says: str, a: _Score, b: _Score, *, limit: float = 1.0) -> Claim:
        """Claims that their ratio is above a limit."""
        made = self.above(says, _log_ratios(self(*a), self(*b)), limit=math.log(limit))
        return replace(made, is_ratio=True)

    def above(
        self,
        says: str,
        values: Iterable[float],
        *,
        limit: float = 0.0,
        is_below: bool = False,
    ) -> Claim:
        """Claims that numbers of every seed are above a limit, or below."""
        holds, contrary = both_ways(says)
        return Claim(
            topic=self._topic,
            holds=holds,
            contrary=contrary,
            values=tuple(values),
            limit=limit,
            is_below=is_below,
            subject=self._subject,
            place=f"on {Spec.parse(self.data).name}",
        )


# ----------------------------------------------------------------------------
# A: is there a small perturbation that makes a fake look real?
# ----------------------------------------------------------------------------


def _exists(on: _On) -> Iterator[Claim]:
    for arm in on.arms():
        yield on.about(arm).times(
            "fakes look real {nearer|no nearer} than the nearest real sample",
            (arm, NEAREST),
            (arm, TO_REAL),
        )
    for arm in on.arms(but=NONE):
        yield on.about(arm).times(
            "fakes look real {farther away|nearer} than with the plain critic",
            (arm, TO_REAL),
            (NONE, TO_REAL),
        )


# ----------------------------------------------------------------------------
# B: is the generator's update such an attack?
# ----------------------------------------------------------------------------


_TRANSFER = transfer_of("update")
_HALF = 0.5


def _accident(on: _On) -> Iterator[Claim]:
    for arm in on.arms():
        yield on.about(arm).above(
            "the update points {along the critic's gradient, on latents it did not see|against "
            "the critic's gradient}",
            on(arm, HELD_COSINE).values(),
        )
        yield on.about(arm).above(
            "fresh critics confirm {less|more} than half of what the update gains from its critic",
            on(arm, _TRANSFER).values(),
            limit=_HALF,
            is_below=True,
        )
        yield on.about(arm).more(
            "fresh critics confirm {more|less} of the update than of the strongest attack",
            (arm, _TRANSFER),
            (arm, transfer_of("attack")),
        )
        if datasets.resolve(KNOWN) == on.data:
            yield on.about(arm).above(
                "the update {raises|lowers} the true log-density of fakes",
                on(arm, worth_of("update")).values(),
            )
    for arm in on.arms(but=NONE):
        yield on.about(arm).more(
            "fresh critics confirm {more|less} of the update than with the plain critic",
            (arm, _TRANSFER),
            (NONE, _TRANSFER),
        )


# ----------------------------------------------------------------------------
# The article's three reasons why the update may be no attack.
# ----------------------------------------------------------------------------


def _reasons(on: _On) -> Iterator[Claim]:
    for arm in (NONE, R1, ROBUST):
        yield on.about(arm).more(
            "fresh critics confirm {more|less} of a step right after the critic's own than of "
            "another step against the same critic",
            (arm, _TRANSFER),
            (arm, at(_TRANSFER, way="1 step")),
        )
        pairs = (
            ("20 steps against one critic", "20 steps", "1 step", "a single step"),
            ("the same latents for 20 steps", "20 steps, same z", "20 steps", "new ones"),
            ("moving samples by themselves", "1 step on samples", "1 step", "moving parameters"),
        )
        for much, a, b, little in pairs:
            yield on.about(arm).more(
                f"{much} fools the critic {{better|less}}, for its length, than {little}",
                (arm, at(EFFICIENCY, way=a)),
                (arm, at(EFFICIENCY, way=b)),
            )
            yield on.about(arm).more(
                f"fresh critics confirm {{less|more}} of {much} than of {little}",
                (arm, at(_TRANSFER, way=b)),
                (arm, at(_TRANSFER, way=a)),
            )


# ----------------------------------------------------------------------------
# C: does robustness of the critic improve training?
# ----------------------------------------------------------------------------


def _robustness(on: _On) -> Iterator[Claim]:
    for arm in on.arms(but=NONE):
        yield on.about(arm).times(
            "the generator is {nearer to|farther from} the data than with the plain critic",
            (NONE, QUALITY),
            (arm, QUALITY),
        )
        yield on.about(arm).times(
            "the duality gap is {smaller|larger} than with the plain critic",
            (NONE, GAP),
            (arm, GAP),
        )
        if datasets.resolve(KNOWN) == on.data:
            yield on.about(arm).more(
                "samples have a {higher|lower} true log-density than with the plain critic",
                (arm, DENSITY),
                (NONE, DENSITY),
            )
    yield from _doses(on, "the radius of adversarial training", [trained_at(r) for r in RADII])
    yield from _doses(on, "the weight of R1", [penalised_at(g) for g in GAMMAS])


def _doses(on: _On, what: str, arms: Sequence[str]) -> Iterator[Claim]:
    """Yields claims on a dose, from none to the largest: monotone transfer, best in between."""
    if not on.has(NONE, *arms):
        return
    doses = [NONE, *arms]
    yield on.above(
        f"attacks transfer the {{better|worse}} to fresh critics, the larger {what} is",
        slopes(on, doses, transfer_of("attack")),
    )
    yield on.above(
        f"fakes look real the {{farther away|nearer}}, the larger {what} is",
        slopes(on, doses, TO_REAL, log=True),
    )
    first, last = arms[0], arms[-1]
    yield on.times(
        "{too much harms: the generator is farther from|more helps: the generator is nearer to} "
        f"the data at {last} than at {first}",
        (last, QUALITY),
        (first, QUALITY),
    )


def slopes(
    on: Callable[[str, str], Mapping[int, float]],
    doses: Sequence[str],
    name: str,
    *,
    log: bool = False,
) -> list[float]:
    """Returns for every seed the slope of a score over the ranks of the doses.

    Args:
        on: Gives the scores of an arm by seed.
        doses: The arms, smallest dose first.
        name: The score.
        log: Whether the logarithm of the score is taken, which must be above zero.
    """
    each = [on(arm, name) for arm in doses]
    seeds = [s for s in each[0] if all(s in e and (not log or e[s] > 0) for e in each)]
    rank = [i - (len(doses) - 1) / 2 for i in range(len(doses))]
    square = math.fsum(r * r for r in rank)
    found: list[float] = []
    for seed in seeds:
        y = [math.log(e[seed]) if log else e[seed] for e in each]
        found.append(math.fsum(r * v for r, v in zip(rank, y, strict=True)) / square)
    return found


# ----------------------------------------------------------------------------
# Batch size, optimizer, stage of training; which samples are attacked.
# ----------------------------------------------------------------------------


def _factors(on: _On) -> Iterator[Claim]:
    least, most = min(BATCHES), max(BATCHES)
    few, many = BATCHES[least], BATCHES[most]
    if on.has(few, many):
        small, large = (_gaps(on(arm, COSINE), on(arm, HELD_COSINE)) for arm in (few, many))
        yield on.above(
            f"batch {least}: the update attacks its own batch {{more|less}} than other latents",
            small.values(),
        )
        yield on.above(
            "the update attacks its own batch the {more|less}, the smaller the batch "
            f"({least} against {most})",
            _differences(small, large),
        )
        yield on.more(
            f"fresh critics confirm {{more|less}} of the update at batch {most} than at {least}",
            (many, _TRANSFER),
            (few, _TRANSFER),
        )
    if on.has(MOMENTUM, R1):
        yield on.more(
            "fresh critics confirm {more|less} of the update with Adam's momentum than without",
            (MOMENTUM, _TRANSFER),
            (R1, _TRANSFER),
        )
    for arm in (NONE, R1, ROBUST):
        yield on.about(arm).more(
            "fresh critics confirm {more|less} of the update late in training than early",
            (arm, _TRANSFER),
            (arm, at(_TRANSFER, EARLY)),
        )
    real, fake = (f"{ROBUST}, {side} only" for side in ("real", "fake"))
    if on.has(real, fake, ROBUST):
        yield on.times(
            "attacks on real samples alone {bring the generator nearer to|leave the generator "
            "farther from} the data than on fakes alone",
            (fake, QUALITY),
            (real, QUALITY),
        )


# ----------------------------------------------------------------------------
# What an earlier, smaller experiment found: one to three seeds, no intervals.
# ----------------------------------------------------------------------------


_PILOT = 0.05, 2.0, 1 / 3, 10.0
"""Limits that the pilot's numbers lie well beyond: of a transfer near zero, of a ratio of
distances, of an efficiency, of a ratio of qualities."""


def _prototype(on: _On) -> Iterator[Claim]:
    """Yields what a pilot on 8x8 digits with three fresh critics reported, to be replicated."""
    kin = at(transfer_of("attack"), way=KIN)
    small, twice, third, ten = _PILOT
    yield on.about(NONE).above(
        f"{{less|more}} than {small:g} of an attack transfers to critics of the same kind",
        on(NONE, kin).values(),
        limit=small,
        is_below=True,
    )
    for a, b in ((R1, NONE), (ROBUST, NONE), (ROBUST, R1)):
        yield on.more(
            f"attacks transfer {{better|worse}} among critics with {a} than with {b}",
            (a, kin),
            (b, kin),
        )
    yield on.times(
        f"R1 makes the distance to real {{more|less}} than {twice:g} times as large",
        (R1, TO_REAL),
        (NONE, TO_REAL),
        limit=twice,
    )
    yield on.times(
        f"fakes look real {{farther away|nearer}} with {ROBUST} than with {R1}",
        (ROBUST, TO_REAL),
        (R1, TO_REAL),
    )
    for arm in (NONE, R1):
        yield on.about(arm).above(
            "an update fools the critic {less|more} than a third as well as the strongest attack",
            on(arm, EFFICIENCY).values(),
            limit=third,
            is_below=True,
        )
    yield on.times(
        f"without R1 the generator ends {{more|less}} than {ten:g} times as far from the data",
        (NONE, QUALITY),
        (R1, QUALITY),
        limit=ten,
    )


_CLAIMS: Mapping[Topic, Callable[[_On], Iterator[Claim]]] = {
    "exists": _exists,
    "accident": _accident,
    "reasons": _reasons,
    "robustness": _robustness,
    "factors": _factors,
    "prototype": _prototype,
}
