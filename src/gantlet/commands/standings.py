"""The scores of one model over its seeds, and the names of scores."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import final

from gantlet.core.estimate import CONTROL, INFLUENCE, REAL, Better, Estimate, Outcome
from gantlet.core.spec import label, metrics
from gantlet.run.store import Run
from gantlet.run.trials import TypedTrial
from gantlet.stats.intervals import mean
from gantlet.stats.jackknife import Detailed, Influences, detailed_from

# ----------------------------------------------------------------------------
# The names of scores that reports single out, in one place.
# ----------------------------------------------------------------------------

LIKELIHOOD = "likelihood"
TRAINING = "training FLOPs"
TRAINING_TIME = "training wall time"
STEP = "FLOPs per training step"
STEPS = "training steps"
STALENESS = "mean staleness of updates"
SAMPLING = "FLOPs per sample"
SAMPLING_TIME = "wall time of one sample"
SAMPLING_CPU = "CPU time per sample"
DEPTH = "sequential depth of sampling"
INVERSE = "round-trip error fp32"
PARAMETERS = "parameters to sample"

EXACT_COPIES = "exact copies of training samples"
NEAR_COPIES = "near copies of training samples"
NEARER = "nearer to training than to held-out samples"

NO_DISTANCES = frozenset({LIKELIHOOD, EXACT_COPIES, NEAR_COPIES, NEARER})
"""Scores that real data has too, and that are no distances from it."""

SAMPLES = "samples"
"""In place of an extractor: what metrics that see samples themselves are measured on."""

_PIXELS = "pixels"


def ranking_features(features: Sequence[str]) -> str:
    """Returns the features on which models are ranked: the first that are not the raw numbers.

    Distances between raw pixels hardly see what people see, so they rank only where nothing better
    was measured.

    Args:
        features: The extractors of a comparison, in written form or by name.

    Example:
        >>> ranking_features(["pixels", "classifier:features=64"]), ranking_features(["pixels"])
        ('classifier', 'pixels')
    """
    short = [f.partition(":")[0] for f in features]
    return next((name for name in short if name != _PIXELS), _PIXELS)


def quality(features: Sequence[str]) -> str:
    """Returns the distance by which models are ranked: the energy distance on those features.

    Of the distances that are measured it alone is zero for equal distributions only, needs no
    bandwidth and no number of moments, and grows linearly with how far a sample lies, so that a
    few stray samples do not decide; KID's cubic kernel sees three moments and lets them decide.

    Source: Szekely and Rizzo, 2013, https://doi.org/10.1016/j.jspi.2013.03.018.
    """
    return distance("energy", ranking_features(features))


def distance(metric: str, features: str) -> str:
    """Returns the name of the score of a metric on some features, both in written form or by name.

    Example:
        >>> distance("kid:degree=3", "classifier:features=64")
        'kid (classifier)'
        >>> distance("ms-ssim:pairs=9", SAMPLES)
        'ms-ssim'
    """
    short = metric.partition(":")[0]
    return short if features == SAMPLES else f"{short} ({features.partition(':')[0]})"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DistanceTrial(TypedTrial):
    """What a trial measures distances with, where it measures any.

    Attributes:
        metrics: The distances between samples and held-out data, in written form.
        features: The extractors that they are measured on, in written form.
    """

    metrics: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    def distances(self) -> dict[str, tuple[str, str]]:
        """Returns metric and features of each distance that is measured, by its name.

        Names are made, never taken apart: logic asks here whether a score is a distance.

        Example:
            >>> DistanceTrial(metrics=("kid",), features=("pixels", "pca:dims=8")).distances()
            {'kid (pixels)': ('kid', 'pixels'), 'kid (pca)': ('kid', 'pca:dims=8')}
        """
        alone = [m for m in self.metrics if sees_samples(m)]
        rest = [m for m in self.metrics if m not in alone]
        pairs = (*product(rest, self.features), *product(alone, (SAMPLES,)))
        return {distance(m, f): (m, f) for m, f in pairs}


def sees_samples(metric: str) -> bool:
    """Returns whether a metric, in written form, sees samples themselves and no features.

    Of a metric that is not installed, which a report may name all the same, that is not known.
    """
    name = metric.partition(":")[0]
    return name in metrics.names() and metrics.load(name).sees == "samples"


# ----------------------------------------------------------------------------
# What the seeds of one model say together.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, eq=False)
class ModelResults:
    """All finished trials of one model.

    Attributes:
        label: The model as people name it, with those options that are not the default.
        model: The model's written form.
        outcomes: The trials that gave numbers, by seed.
        failures: What became of the others.
        influence: What paired differences need, by seed; empty where it was not kept.
    """

    label: str
    model: str
    outcomes: dict[int, Outcome]
    failures: tuple[str, ...]
    influence: Mapping[int, Influences] = field(default_factory=dict[int, Influences])

    def estimates(self, score: str) -> list[Estimate]:
        """Returns a score of each seed that has a value."""
        each = (_estimate(o, score) for o in self.outcomes.values())
        return [e for e in each if e is not None and e.value is not None]

    def values(self, score: str) -> dict[int, float]:
        """Returns the values of a score by seed, without those that are missing."""
        found = {s: _estimate(o, score) for s, o in self.outcomes.items()}
        return {s: e.value for s, e in found.items() if e is not None and e.value is not None}

    def estimate(self, score: str) -> Estimate:
        """Returns a score over all seeds.

        The interval adds, in quadrature, Student's t over seeds and the interval that one trial
        gives for its finite sample; that is wider than either, never narrower. That of a
        proportion is cut at 0 and 1.
        """
        each = [e for o in self.outcomes.values() if (e := _estimate(o, score)) is not None]
        known = [e for e in each if e.value is not None]
        if not known:
            reason = each[0].method if each else "; ".join(self.failures) or "not measured"
            return Estimate.missing(reason)
        return (known[0] if len(known) == 1 else _combined(known)).possible()

    def sampled(self, score: str) -> Estimate:
        """Returns the mean over the trained models, with the interval of one for its samples.

        That is cautious: what the models' samples add would partly average out.
        """
        return _alike(self.estimates(score))

    def detailed(self, score: str) -> list[Detailed] | None:
        """Returns a score of each seed with its influences, or None where one has none."""
        found = [
            detailed_from(score, e, self.influence.get(seed, {}))
            for seed, o in self.outcomes.items()
            if (e := _estimate(o, score)) is not None and e.value is not None
        ]
        known = [d for d in found if d is not None]
        return known if known and len(known) == len(found) else None

    def as_control(self) -> "ModelResults":
        """Returns the same model judged by as many samples as the noise floor rests on."""
        outcomes, influence = {}, {}
        for seed, o in self.outcomes.items():
            kept = o.details.get(CONTROL)
            thin = o.scores if kept is None else {k: Estimate(**v) for k, v in kept.items()}
            outcomes[seed] = Outcome(trial=o.trial, scores=thin)
            own = self.influence.get(seed, {})
            mark = "" if kept is None else f"{CONTROL}/"
            influence[seed] = {
                k.removeprefix(mark): v for k, v in own.items() if k.startswith(mark)
            }
        return ModelResults(self.label, self.model, outcomes, self.failures, influence)


_REPEAT = (REAL, "memorizer", "codec")


def is_reference(contestant: ModelResults) -> bool:
    """Returns whether a contestant only repeats data: it sets the scale and does not compete."""
    return contestant.model.partition(":")[0] in _REPEAT


def model_results(outcomes: Sequence[Outcome], run: Run | None = None) -> list[ModelResults]:
    """Returns the contestants in the order in which they were named.

    Args:
        outcomes: The trials.
        run: Where the trials kept what paired differences need; None for differences without.
    """
    models = dict.fromkeys(o.trial.model for o in outcomes)
    return [_contestant(m, [o for o in outcomes if o.trial.model == m], run) for m in models]


def ranked_on(everyone: Sequence[ModelResults]) -> str:
    """Returns the name of the features on which these models are ranked."""
    return ranking_features(next((t.features for t in _trials(everyone) if t.features), ()))


def _trials(everyone: Sequence[ModelResults]) -> Iterator[DistanceTrial]:
    return (DistanceTrial.of(o.trial) for c in everyone for o in c.outcomes.values())


def ranking_score(everyone: Sequence[ModelResults]) -> str:
    """Returns the score by which these models are ranked."""
    return quality([ranked_on(everyone)])


def on_ranking_features(everyone: Sequence[ModelResults], metric: str) -> str:
    """Returns the name of a metric on the features on which these models are ranked."""
    return distance(metric, ranked_on(everyone))


def measured_distances(everyone: Sequence[ModelResults]) -> set[str]:
    """Returns the names of all distances that were measured of these models."""
    return {ranking_score(everyone), *measured_with(everyone)}


def measured_with(everyone: Sequence[ModelResults]) -> dict[str, tuple[str, str]]:
    """Returns metric and features of all distances that were measured of these models."""
    return {name: pair for t in _trials(everyone) for name, pair in t.distances().items()}


def rank(group: Sequence[ModelResults], score: str, better: Better) -> list[ModelResults]:
    """Returns those that have the score, best first."""
    known = [(c.estimate(score).value, c) for c in group]
    found = [(v, c) for v, c in known if v is not None]
    sign = 1 if better == "lower" else -1
    return [c for _, c in sorted(found, key=lambda pair: sign * pair[0])]


def best_first(everyone: Sequence[ModelResults]) -> list[ModelResults]:
    """Returns those that compete, the best energy distance first, then the references."""
    competing = [c for c in everyone if not is_reference(c)]
    ranked = rank(competing, ranking_score(everyone), "lower")
    rest = [c for c in competing if c not in ranked]
    return [*ranked, *rest, *(c for c in everyone if is_reference(c))]


def _contestant(model: str, outcomes: Sequence[Outcome], run: Run | None) -> ModelResults:
    good = {o.trial.seed: o for o in outcomes if o.error is None}
    bad = tuple(f"seed {o.trial.seed}: {o.error}" for o in outcomes if o.error is not None)
    kept = {} if run is None else {s: _kept(o, run) for s, o in good.items()}
    return ModelResults(label(model), model, good, bad, kept)


def _kept(outcome: Outcome, run: Run) -> Influences:
    folder = run.folder(outcome.trial)
    # Runs of older versions have none.
    exists = (folder.path / f"{INFLUENCE}.safetensors").exists()
    return folder.load(INFLUENCE) if exists else {}


def _estimate(outcome: Outcome, score: str) -> Estimate | None:
    return outcome.scores.get(score) or outcome.clock.get(score)


def _alike(known: Sequence[Estimate]) -> Estimate:
    if not known:
        return Estimate.missing("not measured")
    first = known[0]
    if len(known) == 1:
        return first
    value = math.fsum(e.value or 0.0 for e in known) / len(known)
    lows = [(e.value or 0.0) - e.low for e in known if e.low is not None]
    highs = [e.high - (e.value or 0.0) for e in known if e.high is not None]
    if len(lows) < len(known):
        return Estimate(
            value=value,
            n=first.n,
            unit=first.unit,
            better=first.better,
            method="none",
            kind=first.kind,
            is_proportion=first.is_proportion,
        )
    return Estimate(
        value=value,
        low=value - math.fsum(lows) / len(lows),
        high=value + math.fsum(highs) / len(highs),
        n=first.n,
        unit=first.unit,
        better=first.better,
        method=f"mean of {len(known)} trained models, each: {first.method}",
        kind=first.kind,
        is_proportion=first.is_proportion,
    )


def _combined(known: Sequence[Estimate]) -> Estimate:
    first = known[0]
    over = mean(
        [e.value for e in known if e.value is not None], unit=first.unit, better=first.better
    )
    inside = [e.half_width for e in known if e.half_width is not None]
    if over.value is None or over.half_width is None:
        return replace(over, kind=first.kind)
    sampling = math.fsum(inside) / len(inside) if inside else 0.0
    half = math.hypot(over.half_width, sampling)
    return Estimate(
        value=over.value,
        low=over.value - half,
        high=over.value + half,
        n=len(known),
        unit=first.unit,
        better=first.better,
        method=f"{over.method}, in quadrature with: {first.method}",
        kind=first.kind,
        is_proportion=first.is_proportion,
    )
