"""What the trials of an evaluation say, set by set and extractor by extractor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from gantlet.core.components import metrics
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.trial import REAL, Note, Outcome
from gantlet.features.inception import FID
from gantlet.metrics.paired import Detailed, difference, unpaired
from gantlet.store.run import Run
from gantlet.studies.evaluation.floor import FLOOR
from gantlet.studies.evaluation.inputs import named
from gantlet.studies.evaluation.pairing import FINGERPRINT
from gantlet.studies.evaluation.permuting import PERMUTED
from gantlet.studies.influences import detailed

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
        return detailed(metric, self.scores[metric], self.influence)


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
