"""The outcomes of one kind of data, and the claims that are tested on them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, final

from gantlet.commands import standings
from gantlet.commands.standings import ModelResults, on_ranking_features, ranking_score
from gantlet.core.estimate import REAL, Estimate
from gantlet.core.spec import families
from gantlet.probes.network_probe import AUC
from gantlet.report.format import text
from gantlet.research.modalities.equal_overlap import (
    STATISTICS,
    NetworkPoint,
    OverlapCourse,
    at_overlap,
    common,
    point_of,
)
from gantlet.research.modalities.kind_designs import (
    AUDIO,
    BOTH,
    LIKELIHOOD,
    NETGAN,
    REINFORCE,
    THEN_REINFORCE,
    THEN_RELAXED,
    Arm,
    Design,
)
from gantlet.research.modalities.variance_components import (
    Contrast,
    DesignCell,
    Layout,
    Tested,
    difference,
)
from gantlet.research.significance import in_words, sign_of
from gantlet.stats.intervals import exponential, holm_adjusted

ENOUGH = 2
"""A model needs so many trainings to be compared."""

_LEAST = 1e-12

# ----------------------------------------------------------------------------
# One kind of data.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class KindResults:
    """The models of one kind of data, and held-out real data.

    Attributes:
        design: What was compared.
        models: What was found of each, real data among them.
    """

    design: Design
    models: Sequence[ModelResults]

    @property
    def score(self) -> str:
        """The name of the distance by which models are judged."""
        return ranking_score(self.models)

    @cached_property
    def floor(self) -> float:
        """The upper end of the distance of held-out real data, which counts as the noise floor."""
        real = next((m for m in self.models if m.model == REAL), None)
        found = None if real is None else real.estimate(self.score)
        ends = [] if found is None else [e for e in (found.high, found.value) if e is not None]
        return max([*ends, _LEAST])

    def of(self, arm: Arm) -> ModelResults | None:
        """Returns what was found of an arm, or None."""
        model = families.resolve(arm.model)
        return next((m for m in self.models if m.model == model), None)

    def logs(self, arm: Arm) -> list[float]:
        """Returns the log distance of each training; below the floor it counts as the floor."""
        found = self.of(arm)
        values = {} if found is None else found.values(self.score)
        return [math.log(max(v, self.floor)) for v in values.values()]

    @cached_property
    def layout(self) -> Layout:
        """The log distances of all priors and techniques."""
        known = {DesignCell(a.prior, a.technique): self.logs(a) for a in self.design.crossed()}
        return Layout({c: v for c, v in known.items() if len(v) >= ENOUGH})

    def named(self, metric: str) -> str:
        """Returns the name of a metric on the features that judge."""
        return on_ranking_features(self.models, metric)


# ----------------------------------------------------------------------------
# Claims.
# ----------------------------------------------------------------------------

Topic = Literal["against", "levels", "line-up", "matched", "players", "sampling"]

TOPICS: Mapping[Topic, str] = {
    "against": "Does the distance depend more on the prior or on the technique?",
    "levels": "Is there a better prior, or a better technique?",
    "line-up": "Adversarial training beside the likelihood and a trivial baseline.",
    "matched": "The same walk model by different techniques, at equal overlap.",
    "players": "Reinforcement for both players, as the article suggests for discrete data.",
    "sampling": "The cost of a sample.",
}
"""The questions, in the order of the report."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A number that is tested against 0.

    Attributes:
        topic: To which question it belongs.
        subject: What it is about, where nothing is distinguished.
        above: What is true if it is above 0.
        below: What is true if it is below 0.
        test: The test.
        number: The number as a sentence has it.
        p: Its p-value, adjusted for all claims of the study (Holm).
        models: The kind of data and the baseline, where an adversarial model is compared with one.
    """

    topic: Topic
    subject: str
    above: str
    below: str
    test: Tested
    number: str
    p: float = 1.0
    models: tuple[str, str] | None = None

    @property
    def sign(self) -> int:
        """1 or -1 as it is distinguished above or below 0, and 0 as it is not."""
        return sign_of(self.test.estimate, self.p)

    @property
    def found(self) -> str:
        """What is true, where it is distinguished."""
        return self.above if self.sign > 0 else self.below


def decided(claims: Sequence[Claim]) -> list[Claim]:
    """Returns claims with p-values that are adjusted for all of them (Holm)."""
    adjusted = holm_adjusted([c.test.p for c in claims])
    return [replace(c, p=p) for c, p in zip(claims, adjusted, strict=True)]


def ratio(log: Estimate) -> Estimate:
    """Returns the ratio of a difference of logarithms, with its interval."""
    return exponential(log, method=f"ratio of {log.method}")


def factor(log: Estimate) -> str:
    """Returns a difference of logarithms as a factor, as a sentence has it."""
    return f"factor {in_words(ratio(log))}"


# ----------------------------------------------------------------------------
# The claims on one kind of data.
# ----------------------------------------------------------------------------


def claims_of(results: KindResults) -> Iterator[Claim]:
    """Yields all claims on one kind of data."""
    yield from _against(results)
    yield from _levels(results)
    yield from _line_up(results)
    yield from _players(results)
    yield from _sampling(results)


def _against(results: KindResults) -> Iterator[Claim]:
    layout, title = results.layout, results.design.title
    if not layout.is_comparable():
        return
    prior, technique = layout.factors()
    yield Claim(
        topic="against",
        subject=title,
        above=f"on {title} more on the prior",
        below=f"on {title} more on the technique",
        test=layout.against(),
        number=f"{title}: the prior's part of both is {in_words(layout.share())}, and two models "
        f"differ by a factor of {text(prior)} with the prior and {text(technique)} with the "
        "technique",
    )


def _levels(results: KindResults) -> Iterator[Claim]:
    title = results.design.title
    for prior, what in ((True, "prior"), (False, "technique")):
        best = results.layout.largest(prior=prior)
        if best is not None:
            yield _level(title, what, best)


def _level(title: str, what: str, found: Contrast) -> Claim:
    a, b, test = found
    return _nearer("levels", title, (a, b), test, subject=f"{title}, {what}")


def _nearer(
    topic: Topic,
    title: str,
    pair: tuple[str, str],
    test: Tested,
    *,
    subject: str,
    models: tuple[str, str] | None = None,
) -> Claim:
    """Returns the claim on which of a pair is nearer to the data; above 0 it is the second."""
    a, b = pair
    return Claim(
        topic=topic,
        subject=subject,
        above=f"{title}: {b} is nearer to the data than {a}",
        below=f"{title}: {a} is nearer to the data than {b}",
        test=test,
        number=f"{title}, {a} against {b}: {factor(test.estimate)}",
        models=models,
    )


def _line_up(results: KindResults) -> Iterator[Claim]:
    title, design = results.design.title, results.design
    adversarial = design.of_role("adversarial")
    mine = results.logs(adversarial)
    for other in (design.of_role("likelihood"), design.of_role("trivial")):
        theirs = results.logs(other)
        if min(len(mine), len(theirs)) < ENOUGH:
            continue
        a, b = adversarial.label, other.label
        about = f"{title}, {a} and {b}"
        test = difference(mine, theirs)
        yield _nearer("line-up", title, (a, b), test, subject=about, models=(title, b))


def _players(results: KindResults) -> Iterator[Claim]:
    """Compares reinforcement for both players with that for the generator alone."""
    title = results.design.title
    for one, both in _of_techniques(results.design, REINFORCE, BOTH):
        a, b = results.logs(both), results.logs(one)
        if min(len(a), len(b)) < ENOUGH:
            continue
        test = difference(a, b)
        where = f"{title}, {one.prior}"
        yield Claim(
            topic="players",
            subject=where,
            above=f"{where}: a critic with a gradient of its own is nearer to the data",
            below=f"{where}: a critic by reinforcement is nearer to the data",
            test=test,
            number=f"{where}, both against the generator alone: {factor(test.estimate)}",
        )


def _of_techniques(design: Design, first: str, second: str) -> Iterator[tuple[Arm, Arm]]:
    for a in design.crossed():
        b = design.arm(a.prior, second)
        if a.technique == first and b is not None:
            yield a, b


def _sampling(results: KindResults) -> Iterator[Claim]:
    """Compares the time of a sample of the adversarial model and of the likelihood model."""
    title, design = results.design.title, results.design
    if design.kind != AUDIO.kind:
        return
    pair = [design.of_role("adversarial"), design.of_role("likelihood")]
    found = [_times(results, arm) for arm in pair]
    if min(map(len, found)) < ENOUGH:
        return
    a, b = (arm.label for arm in pair)
    test = difference(found[0], found[1])
    yield Claim(
        topic="sampling",
        subject=f"{title}, {a} and {b}",
        above=f"{title}: {b} samples in less time than {a}",
        below=f"{title}: {a} samples in less time than {b}",
        test=test,
        number=f"{title}, CPU time of {a} over that of {b}: {in_words(ratio(test.estimate))}",
    )


def _times(results: KindResults, arm: Arm) -> list[float]:
    found = results.of(arm)
    values = {} if found is None else found.values(standings.SAMPLING_CPU)
    return [math.log(v) for v in values.values() if v > 0]


# ----------------------------------------------------------------------------
# The claims on walk models at equal overlap.
# ----------------------------------------------------------------------------

_COMPARED = tuple((name, LIKELIHOOD) for name in (THEN_RELAXED, THEN_REINFORCE, NETGAN))


def course_of(found: Sequence[ModelResults]) -> OverlapCourse:
    """Returns the points of one model, by seed."""
    points: dict[int, list[NetworkPoint]] = {}
    for model in found:
        for seed, outcome in model.outcomes.items():
            point = point_of(outcome)
            if point is not None:
                points.setdefault(seed, []).append(point)
    return points


def matched_claims(found: Mapping[str, OverlapCourse]) -> Iterator[Claim]:
    """Yields the claims on techniques at equal overlap.

    Args:
        found: The course of each of ``COURSES``.
    """
    for a, b in _COMPARED:
        overlap = common(found.get(a, {}), found.get(b, {}))
        if overlap is None:
            continue
        for name in (*STATISTICS, AUC):
            yield from _matched(found, (a, b), overlap, name)


def _matched(
    found: Mapping[str, OverlapCourse], pair: tuple[str, str], overlap: float, name: str
) -> Iterator[Claim]:
    a, b = pair
    sides = [_errors(at_overlap(found[side], overlap, name), name) for side in pair]
    if min(map(len, sides)) < ENOUGH:
        return
    test = difference(sides[0], sides[1])
    at = f"{name} of {a} and {b} at overlap {text(overlap)}"
    unit = "AUC lower by" if name == AUC else "error of the log ratio larger by"
    yield Claim(
        topic="matched",
        subject=at,
        above=f"{b} has the better {name} than {a} at overlap {text(overlap)}",
        below=f"{a} has the better {name} than {b} at overlap {text(overlap)}",
        test=test,
        number=f"{at}: {unit} {in_words(test.estimate)}",
    )


def _errors(values: Sequence[float], name: str) -> list[float]:
    """Returns how far values are from the best; ratios to the real one in logarithms."""
    if name == AUC:
        return [1 - v for v in values]
    return [abs(math.log(v)) for v in values if v > 0]
