"""The numbers of an evaluation by set and extractor, and which differences are significant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

from torch import Tensor

from gantlet.commands.evaluate.copying import Against, copying, repeating
from gantlet.commands.evaluate.inputs import named
from gantlet.commands.evaluate.sets import ENERGY, FLOOR, PERMUTED
from gantlet.commands.evaluate.trial import FINGERPRINT
from gantlet.core.errors import UserError
from gantlet.core.estimate import REAL, Estimate, Note, Outcome
from gantlet.core.spec import metrics
from gantlet.features.inception import FID
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
    against: str
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
    """Returns the results of all trials that gave numbers, in their order."""
    return [_result(o, run) for o in outcomes if o.error is None]


def _result(outcome: Outcome, run: Run) -> Result:
    parts, folder = outcome.trial.parts, run.folder(outcome.trial)
    return Result(
        name=FLOOR if parts["model"] == REAL else named(parts["model"])[0],
        model=parts["model"],
        against=parts["against"],
        size=int(parts["size"]),
        extractor=parts["extractor"],
        scores=outcome.scores,
        influence=folder.load("influence"),
        nearest=folder.load("nearest"),
        permuted=outcome.details.get(PERMUTED),
        notes=outcome.notes,
        fingerprint=outcome.details[FINGERPRINT],
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
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


def on(results: Sequence[Result], extractor: str) -> list[Judged]:
    """Returns the numbers of all sets on one extractor, in their order."""
    here = [r for r in results if r.extractor == extractor]
    floors = {r.size: r for r in here if r.model == REAL}
    fair = {r.model: r for r in here if r.model != REAL and r.against == "part"}
    return [
        Judged(value=r, fair=fair.get(r.model, r), floor=floors.get(r.size))
        for r in here
        if r.model != REAL and r.against == "all"
    ]


def floors_of(judged: Sequence[Judged]) -> list[Result]:
    """Returns the noise floors of some sets, each once, by size."""
    known = {j.floor.size: j.floor for j in judged if j.floor is not None}
    return [known[size] for size in sorted(known)]


def floor_name(floor: Result, floors: Sequence[Result]) -> str:
    """Returns what a floor is called, with the size that it is for where there are several."""
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
    """Returns how many samples would separate a difference, if it stays as it is."""
    if not apart.value or apart.half_width is None or not apart.n:
        return None
    needed = apart.n * (apart.half_width / abs(apart.value)) ** 2
    return round(needed) if needed < _MOST else None


def called(metric: str, result: Result) -> str:
    """Returns a metric as people name it on these features: FID is one on Inception alone."""
    name = short(metric)
    return "FID, freed of bias" if name == "frechet" and is_fid(result.fingerprint) else name


def is_fid(fingerprint: str) -> bool:
    """Returns whether features are those of the network behind published FIDs."""
    return fingerprint.startswith(FID)


def short(metric: str) -> str:
    """Returns a metric as people name it."""
    return metrics.short(metric) if metric.partition(":")[0] in metrics.names() else metric


def extractor_name(written: str) -> str:
    """Returns an extractor as people name it."""
    return written.partition(":")[0]


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
class Gap:
    """A metric of a set, and of as many held-out real samples.

    Attributes:
        judged: The set.
        metric: In written form.
        apart: By how much the set differs from the floor, on equal terms.
        p: How likely a difference as large is by chance.
        is_significant: Whether it is, by Holm's procedure over all sets and metrics.
    """

    judged: Judged
    metric: str
    apart: Estimate
    p: float
    is_significant: bool = False


def gaps(judged: Sequence[Judged]) -> list[Gap]:
    """Returns the differences from the noise floor of all sets and metrics that have both."""
    found = [g for j in judged for g in _gaps(j)]
    sure = holm([g.p for g in found], level=LEVEL)
    return [replace(g, is_significant=s) for g, s in zip(found, sure, strict=True)]


def _gaps(judged: Judged) -> list[Gap]:
    floor, fair = judged.floor, judged.fair
    if floor is None:
        return []
    apart = {m: _apart(fair, floor, m) for m in fair.scores if m in floor.scores}
    return [
        Gap(judged=judged, metric=m, apart=a, p=_p_of(judged, m, a))
        for m, a in apart.items()
        if a.half_width is not None
    ]


# One sample far from all others has a ball that reaches many: such numbers have heavy tails.
_HEAVY = ("recall", "density")


def _apart(fair: Result, floor: Result, metric: str) -> Estimate:
    """Returns by how much a set differs from the floor, cautiously where tails are heavy."""
    if metric.partition(":")[0] in _HEAVY:
        return unpaired(fair.scores[metric], floor.scores[metric])
    return gap(fair, floor, metric)


def _p_of(judged: Judged, metric: str, apart: Estimate) -> float:
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
    found: Gap | Against
    p: float
    is_significant: bool = False


def variety(results: Sequence[Result]) -> dict[str, list[Sign]]:
    """Returns what speaks for too little variety in each set, by its name."""
    signs = [
        s
        for j in _everywhere(results)
        if j.floor is not None
        for s in [*_poorer(j, j.floor), *_repeats(j, j.floor)]
    ]
    return _judge(results, signs, level=ONE_SIDE)


def copies(results: Sequence[Result]) -> dict[str, list[Sign]]:
    """Returns what speaks for copies of training samples in each set, by its name."""
    signs: list[Sign] = []
    for j in _everywhere(results):
        if j.floor is None or (found := copying(j.fair.nearest, j.floor.nearest)) is None:
            continue
        signs += [
            Sign(kind="copies", fair=j.fair, floor=j.floor, found=found, p=found.p),
            Sign(kind="nearer", fair=j.fair, floor=j.floor, found=found, p=found.also),
        ]
    return _judge(results, signs, level=LEVEL)


def _everywhere(results: Sequence[Result]) -> list[Judged]:
    return [j for e in dict.fromkeys(r.extractor for r in results) for j in on(results, e)]


def _poorer(judged: Judged, floor: Result) -> list[Sign]:
    """Returns the metrics of variety, each with the p-value against one side."""
    return [
        Sign(kind="metric", fair=judged.fair, floor=floor, found=g, p=_one_sided(g))
        for g in _gaps(judged)
        if g.metric.partition(":")[0] in VARIETY
    ]


def _one_sided(one: Gap) -> float:
    value = one.apart.value or 0.0
    is_worse = value > 0 if one.apart.better == "lower" else value < 0
    return one.p / 2 if is_worse else 1 - one.p / 2


def _repeats(judged: Judged, floor: Result) -> list[Sign]:
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
