"""The numbers of an evaluation, which differences are significant, and the conclusions."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, final

from torch import Tensor

from gantlet.commands.copies import (
    RateComparison,
    copying,
    duplicates,
    occurs,
    repeated,
    repeating,
)
from gantlet.commands.evaluate.inputs import named
from gantlet.commands.evaluate.sets import FLOOR, EvaluationSets, SamplePart
from gantlet.commands.evaluate.trial import (
    CLASSES,
    ENERGY,
    FINGERPRINT,
    PERMUTED,
    EvaluationTrial,
    Reference,
)
from gantlet.core.errors import UserError
from gantlet.core.estimate import REAL, Estimate, Note, Outcome
from gantlet.core.metric import p_greater_rate
from gantlet.core.spec import metrics
from gantlet.features.inception import FID
from gantlet.report.blocks import Block, Column, Dot, Forest, Group, Section, Table, Verdict
from gantlet.report.format import listed
from gantlet.report.format import text as shown
from gantlet.run.store import Run
from gantlet.stats.intervals import holm, p_value
from gantlet.stats.jackknife import Detailed, detailed_from, difference, unpaired

_MOST = 10_000_000


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All numbers of one set on one extractor.

    Attributes:
        name: What the report calls the set.
        model: The set as it was asked for, or ``REAL``.
        against: "all" where fakes meet the whole reference; "part" for the noise floor, and for
            fakes on equal terms with it where these are others.
        size: How many fakes the set holds, or the one that the floor is for.
        extractor: What was looked at, in written form.
        scores: The numbers, by the written form of the metric.
        influence: What paired differences need, by name.
        permuted: The p-value of the energy distance by permutation, or None.
        notes: What must be known of them.
        fingerprint: Names extractor, weights and preprocessing.
    """

    name: str
    model: str
    against: Reference
    size: int
    extractor: str
    scores: Mapping[str, Estimate]
    influence: Mapping[str, Tensor]
    nearest: Mapping[str, Tensor]
    permuted: float | None
    notes: tuple[Note, ...]
    fingerprint: str

    def detailed(self, metric: str) -> Detailed | None:
        """Returns a number with its influences, or None where they are not known."""
        if metric not in self.scores:
            return None
        return detailed_from(metric, self.scores[metric], self.influence)


def results_of(outcomes: Sequence[Outcome], run: Run) -> list[Result]:
    """Returns the results of all trials that gave numbers of a set as a whole, in their order."""
    good = [o for o in outcomes if o.error is None]
    return [_result(o, run) for o in good if EvaluationTrial.of(o.trial).extractor != CLASSES]


def _result(outcome: Outcome, run: Run) -> Result:
    spec, folder = EvaluationTrial.of(outcome.trial), run.folder(outcome.trial)
    return Result(
        name=FLOOR if spec.model == REAL else named(spec.model)[0],
        model=spec.model,
        against=spec.against,
        size=spec.size,
        extractor=spec.extractor,
        scores=outcome.scores,
        influence=folder.load("influence"),
        nearest=folder.load("nearest"),
        permuted=outcome.details.get(PERMUTED),
        notes=outcome.notes,
        fingerprint=outcome.details[FINGERPRINT],
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSet:
    """The numbers of one set on one extractor.

    Attributes:
        value: Of all its samples against the whole reference.
        fair: Of as many samples as the noise floor has, against the reference that it has; the
            same as ``value`` where that is so.
        floor: Of the noise floor, or None where there is none.
    """

    value: Result
    fair: Result
    floor: Result | None


def on(results: Sequence[Result], extractor: str) -> list[ScoredSet]:
    """Returns the numbers of all sets on one extractor, in their order."""
    here = [r for r in results if r.extractor == extractor]
    floors = {r.size: r for r in here if r.model == REAL}
    fair = {r.model: r for r in here if r.model != REAL and r.against == "part"}
    return [
        ScoredSet(value=r, fair=fair.get(r.model, r), floor=floors.get(r.size))
        for r in here
        if r.model != REAL and r.against == "all"
    ]


def floors_of(judged: Sequence[ScoredSet]) -> list[Result]:
    """Returns the noise floors of some sets, each once, by size."""
    known = {j.floor.size: j.floor for j in judged if j.floor is not None}
    return [known[size] for size in sorted(known)]


def floor_name(floor: Result, floors: Sequence[Result]) -> str:
    """Returns the name of a floor, with its sample size where there are several."""
    return floor.name if len(floors) < 2 else f"{floor.name}, n = {floor.size:,}"


def gap(a: Result, b: Result, metric: str) -> Estimate:
    """Returns the number of ``a`` minus that of ``b``, paired where the real side is shared.

    Raises:
        UserError: If the two were taken on different features.
    """
    if a.fingerprint != b.fingerprint:
        raise UserError(
            f"{a.name} was measured on {a.fingerprint}, {b.name} on {b.fingerprint}: such numbers "
            "are not compared. Measure both on the same features."
        )
    first, second = a.detailed(metric), b.detailed(metric)
    if first is not None and second is not None and first.real.shape == second.real.shape:
        return difference(first, second)
    return unpaired(a.scores[metric], b.scores[metric])


def samples_needed(apart: Estimate) -> int | None:
    """Returns the number of samples that would separate a difference, if it stays as it is."""
    if not apart.value or apart.half_width is None or not apart.n:
        return None
    needed = apart.n * (apart.half_width / abs(apart.value)) ** 2
    return round(needed) if needed < _MOST else None


def metric_label(metric: str, result: Result) -> str:
    """Returns a metric as people name it on these features: FID is one on Inception alone."""
    name = short(metric)
    return "FID (bias-corrected)" if name == "frechet" and is_fid(result.fingerprint) else name


def is_fid(fingerprint: str) -> bool:
    """Returns whether features are those of the network behind published FIDs."""
    return fingerprint.startswith(FID)


def short(metric: str) -> str:
    """Returns a metric as people name it."""
    return metrics.short(metric) if metric.partition(":")[0] in metrics.names() else metric


def extractor_name(written: str) -> str:
    """Returns an extractor as people name it."""
    return written.partition(":")[0]


def features_named(written: str) -> str:
    """Returns features as sentences and titles name them.

    Example:
        >>> features_named("classifier:features=64"), features_named("pixels")
        ('classifier features', 'raw values')
    """
    name = extractor_name(written)
    return _RAW.get(name, f"{name} features")


_RAW = {"pixels": "raw values", "samples": "whole samples", "pairs": "pairs"}
"""What is no feature of anything, by the name that stands for it."""


# ----------------------------------------------------------------------------
# Fakes beside held-out real samples: which differences are significant.
# ----------------------------------------------------------------------------

LEVEL = 0.05
"""How likely any of the claims of one kind is wrong where all samples are as good as real ones."""

ONE_SIDE = LEVEL / 2
"""The same for too little variety, which is one side of a difference."""

VARIETY = ("recall", "coverage", "beta-recall", "vendi", "ms-ssim")
"""The metrics that fall where kinds of samples are missing."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FloorGap:
    """A metric of a set, and of as many held-out real samples.

    Attributes:
        judged: The set.
        metric: In written form.
        apart: By how much the set differs from the floor, on equal terms.
        p: How likely a difference as large is by chance.
        is_significant: Whether it is, by Holm's procedure over all sets and metrics.
    """

    judged: ScoredSet
    metric: str
    apart: Estimate
    p: float
    is_significant: bool = False


def gaps(judged: Sequence[ScoredSet]) -> list[FloorGap]:
    """Returns the differences from the noise floor of all sets and metrics that have both."""
    found = [g for j in judged for g in _gaps(j)]
    sure = holm([g.p for g in found], level=LEVEL)
    return [replace(g, is_significant=s) for g, s in zip(found, sure, strict=True)]


def _gaps(judged: ScoredSet) -> list[FloorGap]:
    floor, fair = judged.floor, judged.fair
    if floor is None:
        return []
    apart = {m: _apart(fair, floor, m) for m in fair.scores if m in floor.scores}
    return [
        FloorGap(judged=judged, metric=m, apart=a, p=_p_of(judged, m, a))
        for m, a in apart.items()
        if a.half_width is not None
    ]


# One sample far from all others has a ball that reaches many: such numbers have heavy tails.
HEAVY = ("recall", "density")
"""Metrics whose differences are not paired."""


def _apart(fair: Result, floor: Result, metric: str) -> Estimate:
    """Returns by how much a set differs from the floor, cautiously where tails are heavy."""
    if metric.partition(":")[0] in HEAVY:
        return unpaired(fair.scores[metric], floor.scores[metric])
    return gap(fair, floor, metric)


def _p_of(judged: ScoredSet, metric: str, apart: Estimate) -> float:
    """Returns the p-value of a difference; that of the energy distance also by permutation."""
    p, permuted = p_value(apart), judged.value.permuted
    if metric.partition(":")[0] != ENERGY or permuted is None:
        return p
    return min(1.0, 2 * min(p, permuted))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """What speaks for a lack of variety, or for copies, in one set.

    Attributes:
        kind: A metric that is worse, near-duplicates within the set, samples that nearly equal
            training samples, or all that lie nearer to them than they should.
        fair: The set.
        floor: As many held-out real samples.
        found: A difference, or how often something is so among both.
        p: How likely it is by chance.
        is_significant: Whether it is, by Holm's procedure over all signs of the kind.
    """

    kind: Literal["metric", "repeats", "copies", "nearer"]
    fair: Result
    floor: Result
    found: FloorGap | RateComparison
    p: float
    is_significant: bool = False


def variety(results: Sequence[Result]) -> dict[str, list[Sign]]:
    """Returns the evidence for low diversity of each set, by its name."""
    signs = [
        s
        for j in _everywhere(results)
        if j.floor is not None
        for s in [*_poorer(j, j.floor), *_repeats(j, j.floor)]
    ]
    return _judge(results, signs, level=ONE_SIDE)


def copies(results: Sequence[Result]) -> dict[str, list[Sign]]:
    """Returns the evidence for copies of training samples in each set, by its name."""
    signs: list[Sign] = []
    for j in _everywhere(results):
        if j.floor is None or (found := copying(j.fair.nearest, j.floor.nearest)) is None:
            continue
        signs += [
            Sign(kind="copies", fair=j.fair, floor=j.floor, found=found, p=found.p),
            Sign(kind="nearer", fair=j.fair, floor=j.floor, found=found, p=found.also),
        ]
    return _judge(results, signs, level=LEVEL)


def _everywhere(results: Sequence[Result]) -> list[ScoredSet]:
    return [j for e in dict.fromkeys(r.extractor for r in results) for j in on(results, e)]


def _poorer(judged: ScoredSet, floor: Result) -> list[Sign]:
    """Returns the metrics of variety, each with the p-value against one side."""
    return [
        Sign(kind="metric", fair=judged.fair, floor=floor, found=g, p=_one_sided(g))
        for g in _gaps(judged)
        if g.metric.partition(":")[0] in VARIETY
    ]


def _one_sided(one: FloorGap) -> float:
    value = one.apart.value or 0.0
    is_worse = value > 0 if one.apart.better == "lower" else value < 0
    return one.p / 2 if is_worse else 1 - one.p / 2


def _repeats(judged: ScoredSet, floor: Result) -> list[Sign]:
    found = repeating(judged.fair.nearest, floor.nearest)
    if found is None:
        return []
    return [Sign(kind="repeats", fair=judged.fair, floor=floor, found=found, p=found.p)]


def _judge(
    results: Sequence[Result], signs: Sequence[Sign], *, level: float
) -> dict[str, list[Sign]]:
    """Returns the signs of each set, marked by Holm's procedure over all of them."""
    names = dict.fromkeys(j.value.name for j in _everywhere(results))
    found: dict[str, list[Sign]] = {name: [] for name in names}
    sure = holm([s.p for s in signs], level=level)
    for s, is_sure in zip(signs, sure, strict=True):
        found[s.fair.name].append(replace(s, is_significant=is_sure))
    return found


def significant(signs: Mapping[str, Sequence[Sign]]) -> dict[str, list[Sign]]:
    """Returns the sets that have significant signs, with these, the clearest first."""
    sure = {n: [s for s in some if s.is_significant] for n, some in signs.items()}
    return {n: sorted(some, key=lambda s: s.p) for n, some in sure.items() if some}


# ----------------------------------------------------------------------------
# The conclusions of an evaluation, in sentences.
# ----------------------------------------------------------------------------

# ----------------------------------------------------------------------------
# Samples that sets share and should not: what was judged is what it is judged by.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSamples:
    """How many samples of a set are samples of the reference.

    Attributes:
        name: What the report calls the set.
        count: How many.
        n: Of how many.
        is_beyond_chance: Whether held-out real samples occur in the reference less often.
    """

    name: str
    count: int
    n: int
    is_beyond_chance: bool

    @property
    def is_reference(self) -> bool:
        """Whether most of the set was taken from the reference, so that it tests nothing."""
        return self.is_beyond_chance and 2 * self.count > self.n


def taken_from_reference(same: Sequence[SharedSamples]) -> frozenset[str]:
    """Returns the names of the sets that are mostly samples of the reference."""
    return frozenset(s.name for s in same if s.is_reference)


def independent(results: Sequence[Result], same: Sequence[SharedSamples]) -> list[Result]:
    """Returns the results without those of sets that were taken from the reference.

    The distance of such a set to the reference says nothing about a model: it is neither ranked
    nor tested.
    """
    taken = taken_from_reference(same)
    return [r for r in results if r.name not in taken]


def same_samples(sets: EvaluationSets) -> list[SharedSamples]:
    """Returns for each set how many of its samples the reference holds too."""
    reference = sets.digests_of(None)
    found: list[tuple[str, int, int, float]] = []
    for fake in sets.asked.fakes:
        part = SamplePart(whole=sets.fake(fake))
        count = int(occurs(part.digests(), reference).sum())
        p = _by_chance(sets, fake, count, part.n) if count else 1.0
        found.append((named(fake)[0], count, part.n, p))
    sure = holm([p for *_, p in found], level=LEVEL)
    return [
        SharedSamples(name=name, count=count, n=n, is_beyond_chance=s)
        for (name, count, n, _), s in zip(found, sure, strict=True)
    ]


def _by_chance(sets: EvaluationSets, fake: str, count: int, n: int) -> float:
    """Returns the p-value against "held-out real samples occur in the reference as often"."""
    floor = sets.floor(n)
    if floor is None:
        # Nothing to compare with: only what is all the same is called so.
        return 0.0 if count == n else 1.0
    reference, ours = floor.real.digests(), sets.fair_part(fake).digests()
    shared, chance = (int(occurs(x, reference).sum()) for x in (ours, floor.other.digests()))
    return p_greater_rate(shared, len(ours), chance, floor.other.n)


def shared_words(sets: EvaluationSets, same: list[SharedSamples]) -> Iterator[str]:
    """Yields in words which sets share samples, or hold some twice."""
    for one in same:
        if one.count == one.n:
            yield (
                f"All {one.n:,} samples of {one.name} are the same as samples of the reference: "
                "distances between them say nothing about a model."
            )
        elif one.count:
            yield (
                f"{one.count:,} of {one.n:,} samples of {one.name} are the same as samples of the "
                "reference."
            )
    trained = int(sets.leaked().sum())
    if trained:
        yield (
            f"{trained:,} of {sets.real.n:,} samples of the reference are training samples "
            "too. Give a reference that the models have not seen."
        )
    yield from _twice(sets)


def _twice(sets: EvaluationSets) -> Iterator[str]:
    train = sets.train
    judged = [(named(f)[0], sets.fake(f), False) for f in sets.asked.fakes]
    for name, chosen, is_real in [("the reference", sets.real, True), *judged]:
        x = SamplePart(whole=chosen).digests()
        count = repeated(x)
        if count:
            is_copied = duplicates(x, sets.drawn_apart(from_fakes=is_real)) is not None
            how = (
                "More than by chance: equal samples count as one group in intervals and splits."
                if is_copied
                else "So do samples of other sets: they count as independent."
            )
            yield (
                f"{count:,} of {chosen.n:,} samples of {name} repeat another one of it exactly. "
                f"{how}"
            )
    count = 0 if train is None else repeated(SamplePart(whole=train).digests())
    if train is not None and count:
        yield f"{count:,} of {train.n:,} training samples repeat another one exactly."


# ----------------------------------------------------------------------------
# Several sets, ranked by paired differences on the same real samples.
# ----------------------------------------------------------------------------

_SHOWN = 12


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RankedPair:
    """Two sets, how far the first is behind the second, and whether that is sure."""

    worse: str
    better: str
    gap: Estimate
    separated: bool


def ranked(results: Sequence[Result], extractor: str, metric: str) -> list[Result]:
    """Returns the sets that have a number, best first."""
    fakes = [j.value for j in on(results, extractor)]
    known = [r for r in fakes if metric in r.scores and r.scores[metric].value is not None]
    sign = -1 if known and known[0].scores[metric].better == "higher" else 1
    return sorted(known, key=lambda r: sign * (r.scores[metric].value or 0.0))


def pairs(order: Sequence[Result], metric: str) -> list[RankedPair]:
    """Returns all pairs of ranked sets; those that Holm's procedure separates are marked."""
    every = [
        (worse, better, gap(worse, better, metric)) for better, worse in combinations(order, 2)
    ]
    separated = holm([p_value(g) for *_, g in every], level=LEVEL)
    return [
        RankedPair(worse=worse.name, better=better.name, gap=g, separated=s)
        for (worse, better, g), s in zip(every, separated, strict=True)
    ]


def ranking_verdict(results: Sequence[Result], extractor: str, metric: str) -> Iterator[Verdict]:
    """Says which set is best, and which pairs do not differ significantly."""
    order = ranked(results, extractor, metric)
    if len(order) < 2:
        return
    found = pairs(order, metric)
    best = order[0]
    level = [p.worse for p in found if p.better == best.name and not p.separated]
    behind = [p.worse for p in found if p.better == best.name and p.separated]
    by = f"{short(metric)}, {features_named(extractor)}"
    number = shown(best.scores[metric])
    open_ = [p for p in found if not p.separated]
    yield Verdict(
        claim=_best_claim(best.name, level, behind, f"{by}: {number}"),
        because=f"Best first: {', '.join(r.name for r in order)}. {_open_pairs(found, open_)} "
        f"By Holm's procedure over {_counted(len(found), 'pair')} at {LEVEL * 100:g} %.",
    )


def _best_claim(best: str, level: Sequence[str], behind: Sequence[str], number: str) -> str:
    """Returns the sentence on sets not distinguishable from the first, then the order."""
    if not level:
        others = {1: behind[0], 2: "both others"}.get(len(behind), f"all {len(behind)} others")
        return f"{best} is significantly better than {others} ({number})."
    same = f"{listed([best, *level])} are not significantly different"
    tail = f"; {listed(behind)} {_are(behind)} significantly worse" if behind else ""
    return f"{same}{tail} ({number} for {best})."


def _open_pairs(found: Sequence[RankedPair], open_: Sequence[RankedPair]) -> str:
    """Says which pairs are not significantly different."""
    if not open_:
        return "All pairs differ significantly."
    if len(open_) == len(found):
        return "No pair differs significantly."
    summary = ", ".join(f"{p.better} / {p.worse}" for p in open_[:_SHOWN])
    more = f" and {len(open_) - _SHOWN} more" if len(open_) > _SHOWN else ""
    return f"Not significantly different: {summary}{more}."


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def ranking_section(results: Sequence[Result], extractor: str, metric: str) -> Iterator[Block]:
    """Yields how far each set is behind the best, and all pairs."""
    order = ranked(results, extractor, metric)
    if len(order) < 2:
        return
    found = pairs(order, metric)
    first = order[0]
    yield Forest(
        title=f"Gap to {first.name} in {short(metric)}, {features_named(extractor)}",
        unit=first.scores[metric].unit,
        groups=[
            Group(
                name="",
                dots=[Dot(name=p.worse, estimate=p.gap) for p in found if p.better == first.name],
            )
        ],
        reference=0.0,
        better=first.scores[metric].better,
        note="Differences on the same real samples, with 95 % intervals.",
    )
    rows = [[p.better, p.worse, p.gap, "yes" if p.separated else "no"] for p in found]
    heads = ("better", "worse", "difference", "significant?")
    table = Table(
        title="Every pair",
        columns=[Column(name=h) for h in heads],
        rows=rows,
        note=f"Significant: by Holm's procedure over all pairs, at {LEVEL * 100:g} %.",
    )
    yield Section(title="Every pair of sets", blocks=[table])


# ----------------------------------------------------------------------------
# The answers of an evaluation, in sentences.
# ----------------------------------------------------------------------------

_NAMED = 3


def verdicts(
    results: Sequence[Result],
    first: str,
    rank: str,
    *,
    same: Sequence[SharedSamples] = (),
    why_no_floor: Mapping[int, str] | None = None,
) -> list[Verdict]:
    """Returns the verdicts, most important first.

    Args:
        results: All numbers.
        first: The extractor to speak of.
        rank: The metric by which several sets are ranked.
        same: How many samples of each set the reference holds.
        why_no_floor: Why there is no noise floor, by the size of the sets that it is for.
    """
    free = independent(results, same)
    judged = on(free, first)
    signs = (copies(free), variety(free))
    # A set that only repeats or copies has few metrics with an interval, and differs all the same.
    alarmed = {name for some in signs for name in significant(some)}
    return [
        *_same(same),
        *ranking_verdict(free, first, rank),
        *_differences(judged, alarmed),
        *_unmeasured([j for j in judged if j.value.name not in alarmed], why_no_floor or {}),
        *_alarms(*signs),
    ]


def claims(
    results: Sequence[Result], first: str, same: Sequence[SharedSamples]
) -> dict[str, dict[str, bool | None]]:
    """Returns the claims about each set, by its name: True, False, or None for untested.

    Args:
        results: All numbers.
        first: The extractor that the verdicts speak of.
        same: How many samples of each set the reference holds.
    """
    taken, free = taken_from_reference(same), independent(results, same)
    found = gaps(on(free, first))
    signs = {"copies of training samples": copies(free), "too little variety": variety(free)}
    by_set: dict[str, dict[str, bool | None]] = {}
    for name in dict.fromkeys(j.value.name for j in on(results, first)):
        ours = [g.is_significant for g in found if g.judged.value.name == name]
        by_set[name] = {
            "samples of the reference": name in taken,
            "differs from real data": any(ours) if ours else None,
        }
        for what, some in signs.items():
            of_it = some.get(name, [])
            by_set[name][what] = any(s.is_significant for s in of_it) if of_it else None
    return by_set


def _same(same: Sequence[SharedSamples]) -> Iterator[Verdict]:
    """Says which sets were taken from the reference."""
    for one in same:
        if not one.is_beyond_chance:
            continue
        how = "all" if one.count == one.n else f"{one.count:,} of"
        yield Verdict(
            claim=f"{one.name} and the reference are the same samples: {how} {one.n:,} occur in "
            "both."
            if one.is_reference
            else f"{one.count:,} of {one.n:,} samples of {one.name} are samples of the reference.",
            because="Held-out real samples do so less often. Give samples of the model, or a "
            "reference that they were not taken from.",
        )


def _alarms(
    copied: Mapping[str, Sequence[Sign]], narrow: Mapping[str, Sequence[Sign]]
) -> Iterator[Verdict]:
    """Says which sets hold copies of training samples, and of which variety is missing."""
    yield from _alarm(copied, "contains", "contain", "copies of training samples")
    what = "too little variety: kinds of samples are missing or repeat"
    yield from _alarm(narrow, "has", "have", what)


def _alarm(
    signs: Mapping[str, Sequence[Sign]], one: str, several: str, what: str
) -> Iterator[Verdict]:
    """Says of all sets with significant signs at once what they have, with the signs of each."""
    bad = significant(signs)
    if not bad:
        return
    if len(signs) == 1:
        ((name, found),) = bad.items()
        summary = "; ".join(dict.fromkeys(_sign(s) for s in found[:_NAMED]))
        yield Verdict(claim=f"{name} {one} {what}.", because=f"{summary}.")
        return
    summary = ". ".join(f"{name}: {_sign(found[0])}" for name, found in bad.items())
    does = one if len(bad) == 1 else several
    who = f"All {len(bad)} sets" if len(bad) == len(signs) else f"{len(bad)} of {len(signs)} sets"
    yield Verdict(claim=f"{who} {does} {what}.", because=f"{summary}.")


def _sign(sign: Sign) -> str:
    if isinstance(sign.found, FloorGap):
        return _against(sign.found)
    where = f"on {features_named(sign.fair.extractor)}"
    if sign.kind == "nearer":
        return (
            f"{where}, its samples are nearer to training samples than held-out real samples are, "
            f"and nearer than to the reference ({p_words(sign.p)})"
        )
    does = "repeat another sample" if sign.kind == "repeats" else "nearly equal a training sample"
    return _counts(sign.found, f"{does} {where}")


def p_words(value: float) -> str:
    """Returns a p-value in words; one that rounding makes 0 is no 0."""
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"


def _counts(found: RateComparison, what: str) -> str:
    return (
        f"{found.count:,} of {found.n:,} samples {what}, against {found.floor_count:,} of "
        f"{found.floor_n:,} held-out real samples ({p_words(found.p)})"
    )


def _against(one: FloorGap) -> str:
    judged, floor = one.judged, one.judged.floor
    ours = shown(judged.fair.scores[one.metric])
    theirs = "–" if floor is None else shown(floor.scores[one.metric])
    name = f"{short(one.metric)} ({extractor_name(judged.value.extractor)})"
    return f"{name} {ours}, real samples {theirs}"


def _unmeasured(judged: Sequence[ScoredSet], why: Mapping[int, str]) -> Iterator[Verdict]:
    """Says of which sets nothing could be measured, and which could not be compared."""
    for one in judged:
        name, scores = one.value.name, one.value.scores
        where = features_named(one.value.extractor)
        if all(e.value is None for e in scores.values()):
            reasons = dict.fromkeys(f"{short(m)}: {e.method}" for m, e in scores.items())
            yield Verdict(
                claim=f"Nothing could be measured of {name} on {where}.",
                because=f"{'; '.join(reasons) or 'No metric looks at features'}.",
            )
        elif not gaps([one]):
            reason = why.get(one.value.size, "no metric has an interval")
            yield Verdict(
                claim=f"Whether {name} differs from real data could not be tested.",
                because=f"{reason[0].upper()}{reason[1:]}.",
            )


def _differences(judged: Sequence[ScoredSet], alarmed: Container[str]) -> Iterator[Verdict]:
    """Says which sets are not significantly different from real data, and which differ.

    Args:
        judged: The sets on the extractor to speak of.
        alarmed: Sets that another test has found to differ, which are never called equal.
    """
    found = gaps(judged)
    all_of = {n: [g for g in found if g.judged.value.name == n] for n in _names(found)}
    known = {
        name: some
        for name, some in all_of.items()
        if name not in alarmed or any(g.is_significant for g in some)
    }
    if len(judged) == 1 and known:
        ((name, ours),) = known.items()
        yield _one(name, ours)
    elif known:
        yield from _several(known)


def _names(found: Sequence[FloorGap]) -> list[str]:
    return list(dict.fromkeys(g.judged.value.name for g in found))


def _one(name: str, found: Sequence[FloorGap]) -> Verdict:
    clearest = sorted((g for g in found if g.is_significant), key=lambda g: g.p)
    where = features_named(found[0].judged.value.extractor)
    if not clearest:
        return Verdict(
            claim=f"{name} is not significantly different from real data on any of {len(found)} "
            f"metrics ({where}).",
            because=f"By Holm's procedure over all metrics at 5 %, n = {found[0].apart.n:,}. "
            "More samples or other features may show a difference.",
        )
    summary = "; ".join(_against(g) for g in clearest[:_NAMED])
    return Verdict(
        claim=f"{name} differs significantly from real data on {len(clearest)} of {len(found)} "
        f"metrics ({where}){_rest(found)}.",
        because=f"Most clearly: {summary}. By Holm's procedure over all metrics at 5 %, "
        f"n = {found[0].apart.n:,}.",
    )


def _rest(found: Sequence[FloorGap]) -> str:
    """Names the metrics that do not differ significantly, where they are few."""
    names = [short(g.metric) for g in found if not g.is_significant]
    if not names:
        return ""
    return f"; not on {listed(names)}" if len(names) <= _NAMED else f"; not on {len(names)} others"


def _share(n: int, of: int) -> str:
    """Returns the number of sets that differ, as the beginning of a sentence."""
    if n == of:
        return "Both sets differ" if of == 2 else f"All {of} sets differ"
    return f"{n} of {of} sets {'differs' if n == 1 else 'differ'}"


def _several(known: Mapping[str, Sequence[FloorGap]]) -> Iterator[Verdict]:
    counts = {name: sum(g.is_significant for g in some) for name, some in known.items()}
    where = features_named(next(iter(known.values()))[0].judged.value.extractor)
    by = "By Holm's procedure over all sets and metrics at 5 %"
    equal = [name for name, count in counts.items() if not count]
    if equal:
        yield Verdict(
            claim=f"Not significantly different from real data: {listed(equal)} ({where}).",
            because=f"{by}; more samples or other features may show a difference.",
        )
    apart = [f"{name} ({counts[name]} of {len(known[name])})" for name in counts if counts[name]]
    if apart:
        yield Verdict(
            claim=f"{_share(len(apart), len(known))} significantly from real data ({where}).",
            because=f"Metrics that differ: {', '.join(apart)}. {by}.",
        )
