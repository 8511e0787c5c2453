"""The report of the study: answers, each from a stated test, then tables and charts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from gantlet.commands import standings
from gantlet.commands.compare.report import pareto
from gantlet.commands.standings import ModelResults
from gantlet.core.estimate import REAL, Better, Estimate
from gantlet.probes.network_probe import AUC
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Column,
    Dot,
    Forest,
    Group,
    Lines,
    Point,
    Scatter,
    Section,
    Series,
    Table,
    Verdict,
)
from gantlet.report.format import text
from gantlet.research.modalities.equal_overlap import STATISTICS, OverlapCourse, at_overlap, common
from gantlet.research.modalities.kind_claims import (
    TOPICS,
    Claim,
    KindResults,
    claims_of,
    course_of,
    decided,
    matched_claims,
    ratio,
)
from gantlet.research.modalities.kind_designs import LIKELIHOOD, Arm, Place
from gantlet.research.significance import LEVEL
from gantlet.stats.intervals import mean


@final
@dataclass(frozen=True)
class StudyFindings:
    """What the whole study found.

    Attributes:
        kinds: The results of each kind of data.
        walks: Those of each walk model at every part of the budget, by its name.
    """

    kinds: Sequence[KindResults]
    walks: Mapping[str, Sequence[ModelResults]]

    @cached_property
    def courses(self) -> dict[str, OverlapCourse]:
        """The overlap and statistics of each walk model over its training."""
        return {name: course_of(found) for name, found in self.walks.items()}

    @cached_property
    def claims(self) -> list[Claim]:
        """All claims, with p-values that are adjusted for all of them."""
        on_kinds = [c for results in self.kinds for c in claims_of(results)]
        return decided([*on_kinds, *matched_claims(self.courses)])


# ----------------------------------------------------------------------------
# Answers.
# ----------------------------------------------------------------------------


def answers(found: StudyFindings) -> list[Verdict]:
    """Returns for every question what is not distinguished, then what is, either way."""
    count = len(found.claims)
    topics = ((words, [c for c in found.claims if c.topic == t]) for t, words in TOPICS.items())
    said = [_answer(words, of, count) for words, of in topics if of]
    return said or [Verdict(claim="No model gave numbers.", because="See the failed trials.")]


def _answer(question: str, claims: Sequence[Claim], count: int) -> Verdict:
    undecided = "; ".join(c.subject for c in claims if c.sign == 0) or "none"
    decided_ = "; ".join(c.found for c in claims if c.sign) or "none"
    numbers = "; ".join(f"{c.number}, p = {c.p:.2g}" for c in claims)
    return Verdict(
        claim=f"{question} Not distinguished: {undecided}. Distinguished: {decided_}.",
        because=f"Tests over seeds, Welch's t, {100 * LEVEL:g} % for all {count} of the study "
        f"together (Holm): {numbers}.",
    )


def caveats(place: Place) -> list[Caveat]:
    """Returns what limits the answers."""
    return [
        Caveat(
            text=f"{place.seeds} seeds for each model: only large effects pass Holm's procedure, "
            "and what is not distinguished is not shown to be absent."
        ),
        Caveat(
            text="Spreads are those of the priors and techniques that were chosen: a design "
            "with a poorer prior would give the prior a larger part. Cells that no model fills "
            "are left out, and spreads are over pairs of cells that differ in one factor alone."
        ),
        Caveat(
            text="Models spend equal FLOPs in training, small models on small data, with one "
            "set of options each. Those that are fitted spend less. At larger budgets "
            "adversarial training may close gaps that are found here."
        ),
        Caveat(
            text="Distances below the noise floor count as the floor. Distances are energy "
            "distances on the features that suit the kind of data; other features may rank "
            "otherwise. All are for one split of each data set."
        ),
    ]


# ----------------------------------------------------------------------------
# Tables and charts of all kinds together.
# ----------------------------------------------------------------------------


def blocks(found: StudyFindings) -> Iterator[Block]:
    """Yields tables and charts: all kinds together, each kind, walks at equal overlap."""
    yield _summary(found)
    yield from _shares(found)
    for results in found.kinds:
        yield Section(
            title=results.design.title.capitalize(), blocks=list(_of(results)), open=True
        )
    if any(found.courses.values()):
        yield Section(
            title="Walk models at equal overlap", blocks=list(_matched(found.courses)), open=True
        )
    yield _sampling(found)
    yield _tests(found)


def _summary(found: StudyFindings) -> Table:
    rows: list[list[Cell]] = []
    for results in found.kinds:
        known = results.layout.is_comparable()
        factors = results.layout.factors() if known else (None, None)
        share = results.layout.share() if known else None
        rows.append([results.design.title, share, *factors, *_gaps(found, results)])
    return Table(
        title="Prior against technique",
        columns=[
            Column(name="data"),
            Column(name="the prior's part", help="Of both spreads; one half is a tie."),
            Column(name="factor with the prior", help="Of two models that differ in it alone."),
            Column(name="factor with the technique", help="Of two that differ in it alone."),
            Column(name="over likelihood", group="Adversarial", better="lower"),
            Column(name="over trivial", group="Adversarial", better="lower"),
        ],
        rows=rows,
        note="Factors are of the energy distance. The last two columns: distance of the "
        "adversarial model of the line-up over that of the likelihood model and of the trivial "
        "one. Intervals over seeds, 95 %, each for itself.",
    )


def _gaps(found: StudyFindings, results: KindResults) -> list[Cell]:
    title = results.design.title
    wanted = [results.design.of_role(role).label for role in ("likelihood", "trivial")]
    ends = {c.models: ratio(c.test.estimate) for c in found.claims if c.models}
    return [ends.get((title, label)) for label in wanted]


def _shares(found: StudyFindings) -> Iterator[Block]:
    dots = [
        Dot(name=r.design.title, estimate=share)
        for r in found.kinds
        if r.layout.is_comparable() and (share := r.layout.share()).value is not None
    ]
    if dots:
        yield Forest(
            title="The prior's part of what changes the distance",
            unit="1",
            groups=[Group(name="", dots=dots)],
            reference=0.5,
            note="Right of one half the distance changes more with the prior, left of it with the "
            "technique. 95 % intervals over seeds.",
        )


# ----------------------------------------------------------------------------
# One kind of data.
# ----------------------------------------------------------------------------


def _of(results: KindResults) -> Iterator[Block]:
    yield _models(results)
    yield from _distances(results)
    yield from _trade_off(results)


def _models(results: KindResults) -> Table:
    scores = _scores(results)
    known = [(a, m) for a in results.design.arms if (m := results.of(a)) is not None]
    rows: list[list[Cell]] = [
        [a.label, a.prior or None, a.technique or None, *(m.estimate(s) for s in scores)]
        for a, m in known
        if m.outcomes
    ]
    real = next((m for m in results.models if m.model == REAL and m.outcomes), None)
    name = "held-out real data"
    if real is not None:
        rows.append([name, None, None, *(real.estimate(s) for s in scores)])
    return Table(
        title=f"Models of {results.design.title}",
        columns=[
            Column(name="model"),
            Column(name="prior"),
            Column(name="technique"),
            *(Column(name=s, better=_better(known, s)) for s in scores),
        ],
        rows=rows,
        references=[name] if real is not None else [],
        note="Means over seeds with 95 % intervals over seeds and samples. A distance below "
        f"{text(results.floor)} is at the noise floor.",
    )


def _scores(results: KindResults) -> list[str]:
    wanted = [
        results.score,
        results.named("precision"),
        results.named("recall"),
        *(m if standings.sees_samples(m) else results.named(m) for m in results.design.metrics),
        *results.design.shown,
        standings.EXACT_COPIES,
        standings.NEARER,
        standings.STEPS,
    ]
    return [s for s in wanted if any(m.values(s) for m in results.models if m.model != REAL)]


def _better(known: Sequence[tuple[Arm, ModelResults]], score: str) -> Better | None:
    found = (e for _, m in known for e in m.estimates(score))
    return next((e.better for e in found), None)


def _distances(results: KindResults) -> Iterator[Block]:
    groups: dict[str, list[Dot]] = {}
    for arm in results.design.arms:
        logs = results.logs(arm)
        if logs:
            dot = Dot(name=arm.prior or arm.label, estimate=ratio(mean(logs)))
            groups.setdefault(arm.technique or "outside of the design", []).append(dot)
    if groups:
        yield Forest(
            title=f"Distance to held-out {results.design.title}, by technique",
            unit="1",
            groups=[Group(name=name, dots=dots) for name, dots in groups.items()],
            reference=results.floor,
            better="lower",
            log=True,
            note=f"{results.score.capitalize()}, geometric means over seeds with 95 % intervals. "
            "The line is the noise floor.",
        )


def _trade_off(results: KindResults) -> Iterator[Block]:
    x, y = results.named("precision"), results.named("recall")
    known: list[tuple[str, Estimate, Estimate]] = []
    for arm in results.design.arms:
        found = results.of(arm)
        if found is not None and found.values(x) and found.values(y):
            known.append((arm.label, found.estimate(x), found.estimate(y)))
    front = pareto([(-(a.value or 0.0), -(b.value or 0.0)) for _, a, b in known])
    points = [_point(name, a, b, i in front) for i, (name, a, b) in enumerate(known)]
    if len(points) > 1:
        yield Scatter(
            title=f"Quality and coverage of {results.design.title}",
            x_label=x,
            y_label=y,
            points=points,
            x_better="higher",
            y_better="higher",
            note="Means over seeds; bars are 95 % intervals.",
        )


def _point(name: str, x: Estimate, y: Estimate, front: bool) -> Point:
    return Point(
        name=name,
        x=x.value or 0.0,
        y=y.value or 0.0,
        x_low=x.low,
        x_high=x.high,
        y_low=y.low,
        y_high=y.high,
        front=front,
    )


# ----------------------------------------------------------------------------
# Walks at equal overlap.
# ----------------------------------------------------------------------------

_NAMES = (*STATISTICS, AUC)


def _matched(found: Mapping[str, OverlapCourse]) -> Iterator[Block]:
    for name in _NAMES:
        yield _course(found, name)
    yield _at_equal(found)


def _course(found: Mapping[str, OverlapCourse], name: str) -> Lines:
    is_ratio = name in STATISTICS
    return Lines(
        title=f"{name.capitalize() if is_ratio else name} against the edges that are copied",
        x_label="edge overlap",
        y_label=f"{name}, real network = 1" if is_ratio else name,
        series=[_series(label, course, name) for label, course in found.items() if course],
        note="Each point is the mean over seeds after one share of the budget, or of one option.",
    )


def _series(label: str, course: OverlapCourse, name: str) -> Series:
    """Returns the means over seeds of the points of one rank in overlap."""
    ordered = [sorted(points, key=lambda p: p.overlap) for points in course.values()]
    x, y = [], []
    for points in zip(*ordered, strict=False):
        values = [p.values[name] for p in points if name in p.values]
        if values:
            x.append(math.fsum(p.overlap for p in points) / len(points))
            y.append(math.fsum(values) / len(values))
    return Series(name=label, x=x, y=y)


def _at_equal(found: Mapping[str, OverlapCourse]) -> Table:
    """Returns all models beside each other at the overlap that each and the likelihood pass."""
    first = LIKELIHOOD
    rows: list[list[Cell]] = []
    for name, course in found.items():
        overlap = None if name == first else common(course, found.get(first, {}))
        if overlap is not None:
            for label, of in ((name, course), (f"{first}, beside {name}", found[first])):
                values: list[Cell] = [_mean_at(of, overlap, n) for n in _NAMES]
                rows.append([label, overlap, *values])
    return Table(
        title="Networks at equal overlap",
        columns=[
            Column(name="model"),
            Column(name="overlap"),
            *(Column(name=n, better="higher" if n == AUC else None) for n in _NAMES),
        ],
        rows=rows,
        note="Statistics relative to the real network: 1 is right. Each pair is read out at the "
        "largest overlap that all trainings of both pass, linearly between points of the course.",
    )


def _mean_at(course: OverlapCourse, overlap: float, name: str) -> Estimate:
    found = mean(at_overlap(course, overlap, name))
    return found.as_proportion() if name == AUC else found


# ----------------------------------------------------------------------------
# The cost of samples, and all tests.
# ----------------------------------------------------------------------------


def _sampling(found: StudyFindings) -> Table:
    scores = (
        standings.SAMPLING,
        standings.DEPTH,
        standings.SAMPLING_CPU,
        standings.PARAMETERS,
    )
    rows: list[list[Cell]] = []
    for results in found.kinds:
        for role in ("trivial", "likelihood", "adversarial"):
            arm = results.design.of_role(role)
            model = results.of(arm)
            if model is not None and model.outcomes:
                cells = [model.estimate(s) for s in scores]
                rows.append([f"{results.design.title}: {arm.label}", *cells])
    return Table(
        title="The cost of a sample",
        columns=[
            Column(name="model"),
            Column(name="operations", unit="FLOP", better="lower"),
            Column(name="sequential depth", better="lower"),
            Column(name="CPU time", unit="s", better="lower"),
            Column(name="parameters", better="lower"),
        ],
        rows=rows,
        note="Trivial, likelihood and adversarial model of each line-up. CPU times depend on the "
        "machine and its load.",
    )


def _tests(found: StudyFindings) -> Table:
    rows: list[list[Cell]] = [
        [c.subject, c.found if c.sign else "not distinguished", c.test.estimate, c.p]
        for c in found.claims
    ]
    return Table(
        title="All tests",
        columns=[
            Column(name="about"),
            Column(name="decision"),
            Column(name="difference", mixed=True),
            Column(name="p", help="Adjusted for all tests of the study (Holm)."),
        ],
        rows=rows,
        note="Differences of log distances, log times, spreads and errors of log ratios.",
    )
