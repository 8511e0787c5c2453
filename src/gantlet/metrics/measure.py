"""Many metrics at once; those that need the same neighbours or products share one pass."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.metric import GroupedMetric, GroupedTrainMetric, Groups, Metric, TrainMetric
from gantlet.core.rng import Rng
from gantlet.core.spec import metrics
from gantlet.metrics.checks import (
    checked,
    checked_groups,
    too_few_groups,
    value_alone,
    without_interval,
)
from gantlet.metrics.copying import SharedPassTrainMetric, TrainNeighbourhoods, judged
from gantlet.metrics.kernel import PlainKernelMetric, measured_together
from gantlet.metrics.neighbour_sharing import Searches
from gantlet.metrics.neighbours import CountingMetric, measure_together
from gantlet.stats.jackknife import ClusteredPaired, Detailed, Paired, estimate_of


def two_sample(text: str) -> Metric:
    """Builds the metric that ``text`` describes, which must compare two sets of features.

    Raises:
        UserError: If it needs training samples, class probabilities or the samples themselves.
    """
    metric = metrics.make(text)
    if isinstance(metric, Metric) and metric.sees == "features":
        return metric
    raise UserError(
        f"{text} is not a distance between two sets of features, which is what is needed here. "
        "Measure it with gantlet evaluate."
    )


NO_TRAIN = "needs the training set: --train"
"""Why a metric that looks at training samples has no value without them."""

Found = Detailed | Estimate

# With fewer groups some metric has no interval.
_LEAST_GROUPS = 4


def measure_all(
    metrics: Mapping[str, Metric | TrainMetric],
    real: Tensor,
    fake: Tensor,
    *,
    train: Tensor | None = None,
    rng: Rng,
    groups: Groups | None = None,
) -> dict[str, Estimate]:
    """Returns the estimate of each metric by name, as each would give alone, but in less time.

    Kernel metrics of many features share products, and so agree with those taken alone to
    rounding; all others to the last bit.

    A metric that fails is a missing estimate with the reason; it does not take the others along.

    Args:
        metrics: Metrics that all see the same, by name.
        real: What they see of held-out samples, shape ``(n, ...)``.
        fake: What they see of samples of the model, shape ``(m, ...)``.
        train: What they see of the training samples, shape ``(t, ...)``, or None where it is not
            known.
        rng: Each metric draws from the stream of its name.
        groups: Which samples belong together. Metrics that know nothing of groups keep their
            value and lose their interval.

    Raises:
        UserError: If the sets cannot be compared, or the groups are not theirs.
    """
    found = detail_all(metrics, real, fake, train=train, rng=rng, groups=groups)
    return {name: estimate_of(one) for name, one in found.items()}


def detail_all(
    metrics: Mapping[str, Metric | TrainMetric],
    real: Tensor,
    fake: Tensor,
    *,
    train: Tensor | None = None,
    rng: Rng,
    groups: Groups | None = None,
    searches: Searches | None = None,
    across: bool = False,
) -> dict[str, Found]:
    """Returns the same with where the uncertainty comes from, for metrics that know it.

    Where others ask for neighbours too, ``searches`` and ``across`` are as ``measure_together``
    takes them.

    Raises:
        UserError: If the sets cannot be compared, or the groups are not theirs.
    """
    _comparable(metrics, real, fake, train)
    groups = checked_groups(groups, len(real), len(fake))
    sharing = {name: m for name, m in metrics.items() if isinstance(m, CountingMetric)}
    together = partial(measure_together, groups=groups, searches=searches, across=across)
    found = _sharing(sharing, real, fake, rng, together)
    found |= _sharing_products(metrics, real, fake, rng, groups)
    found |= _of_training(metrics, real, fake, train, rng=rng, groups=groups)
    for name, metric in metrics.items():
        if name not in found and isinstance(metric, Metric):
            measure = partial(_alone, metric, real, fake, rng.stream(name), groups)
            found[name] = _safely(metric, measure)
    return {name: _finite(found[name]) for name in metrics}


def _comparable(
    metrics: Mapping[str, Metric | TrainMetric], real: Tensor, fake: Tensor, train: Tensor | None
) -> None:
    """Raises what is wrong with the sets themselves, which no metric could mend."""
    if any(m.sees == "features" for m in metrics.values()):
        checked(real, fake)
        if train is not None and any(isinstance(m, TrainMetric) for m in metrics.values()):
            TrainNeighbourhoods(real, fake, train)
    elif real.shape[1:] != fake.shape[1:]:
        raise UserError(
            "real and fake must have the same shape but for their number. "
            f"Got {tuple(real.shape)} and {tuple(fake.shape)}."
        )


class _Together(Protocol):
    """Measures metrics that share a pass."""

    def __call__(
        self,
        metrics: Sequence[CountingMetric],
        real: Tensor,
        fake: Tensor,
        rngs: Sequence[torch.Generator],
    ) -> Sequence[Found]:
        """Returns what each of ``metrics`` says; each has its own generator."""
        ...


def _sharing(
    sharing: Mapping[str, CountingMetric],
    real: Tensor,
    fake: Tensor,
    rng: Rng,
    together: _Together,
) -> dict[str, Found]:
    if not sharing:
        return {}
    try:
        streams = [rng.stream(name) for name in sharing]
        found = together(list(sharing.values()), real, fake, streams)
        return dict(zip(sharing, found, strict=True))
    except Exception:  # noqa: BLE001 - one of them has failed, and none knows which: each alone
        return {
            name: _safely(m, partial(_passing, m, real, fake, rng.stream(name), together))
            for name, m in sharing.items()
        }


def _sharing_products(
    metrics: Mapping[str, Metric | TrainMetric],
    real: Tensor,
    fake: Tensor,
    rng: Rng,
    groups: Groups | None,
) -> dict[str, Found]:
    """Measures kernel metrics together where that saves something, or none of them."""
    if groups is not None:
        return {}
    sharing = {name: m for name, m in metrics.items() if isinstance(m, PlainKernelMetric)}
    try:
        streams = [rng.stream(name) for name in sharing]
        together = measured_together(list(sharing.values()), real, fake, streams)
    except Exception:  # noqa: BLE001 - one of them has failed, and none knows which: each alone
        return {}
    return {} if together is None else dict(zip(sharing, together, strict=True))


def _passing(
    metric: CountingMetric,
    real: Tensor,
    fake: Tensor,
    rng: torch.Generator,
    together: _Together,
) -> Found:
    return together([metric], real, fake, [rng])[0]


def _by_groups(
    metric: GroupedMetric, real: Tensor, fake: Tensor, rng: torch.Generator, groups: Groups | None
) -> Estimate:
    return metric.measure(real, fake, rng=rng, groups=groups)


def _judged_by_groups(
    metric: GroupedTrainMetric,
    sets: tuple[Tensor, Tensor, Tensor],
    rng: torch.Generator,
    groups: Groups | None,
) -> Estimate:
    real, fake, train = sets
    return metric.judge(real, fake, train=train, rng=rng, groups=groups)


def _alone(
    metric: Metric, real: Tensor, fake: Tensor, rng: torch.Generator, groups: Groups | None
) -> Found:
    found = _by_any_groups(metric, real, fake, rng, groups)
    few = too_few_groups(groups, _LEAST_GROUPS)
    if few is None or estimate_of(found).value is not None:
        return found
    # What a collapsed generator makes has a distance all the same: only its error is not known.
    value = estimate_of(_by_any_groups(metric, real, fake, rng, None))
    return value_alone(value, f"no interval: {few}")


def _by_any_groups(
    metric: Metric, real: Tensor, fake: Tensor, rng: torch.Generator, groups: Groups | None
) -> Found:
    """Returns a metric's estimate, without an interval if the metric does not support groups."""
    if isinstance(metric, ClusteredPaired):
        return metric.detail(real, fake, rng=rng, groups=groups)
    if isinstance(metric, GroupedMetric):
        return _by_groups(metric, real, fake, rng, groups)
    if isinstance(metric, Paired):
        found: Found = metric.detail(real, fake, rng=rng)
    else:
        found = metric.measure(real, fake, rng=rng)
    return found if groups is None else _changed(found, without_interval)


def _of_training(
    metrics: Mapping[str, Metric | TrainMetric],
    real: Tensor,
    fake: Tensor,
    train: Tensor | None,
    *,
    rng: Rng,
    groups: Groups | None,
) -> dict[str, Found]:
    judges = {name: m for name, m in metrics.items() if isinstance(m, TrainMetric)}
    if train is None:
        return {
            name: Estimate.missing(NO_TRAIN, unit=m.unit, better=m.better)
            for name, m in judges.items()
        }
    found: dict[str, Found] = {}
    scene: TrainNeighbourhoods | None = None
    for name, metric in judges.items():
        if isinstance(metric, SharedPassTrainMetric):
            scene = scene or TrainNeighbourhoods(real, fake, train, groups=groups)
        sets = (real, fake, train)
        measure = partial(_judged, metric, scene, sets, rng.stream(name), groups)
        found[name] = _safely(metric, measure)
    return found


def _judged(
    metric: TrainMetric,
    scene: TrainNeighbourhoods | None,
    sets: tuple[Tensor, Tensor, Tensor],
    rng: torch.Generator,
    groups: Groups | None,
) -> Estimate:
    real, fake, train = sets
    if isinstance(metric, SharedPassTrainMetric) and scene is not None:
        return judged(metric, scene, rng)
    if isinstance(metric, GroupedTrainMetric):
        return _judged_by_groups(metric, sets, rng, groups)
    found = metric.judge(real, fake, train=train, rng=rng)
    return found if groups is None else without_interval(found)


def _safely(metric: Metric | TrainMetric | CountingMetric, measure: Callable[[], Found]) -> Found:
    """Returns the result of ``measure``, or why it failed: one metric never takes others along."""
    has_failed = False
    try:
        return measure()
    except UserError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - of whatever kind: it is told, and the rest goes on
        reason, has_failed = f"failed: {type(error).__name__}: {error}", True
    missing = Estimate.missing(" ".join(reason.split()), unit=metric.unit, better=metric.better)
    return replace(missing, has_failed=has_failed)


def _finite(found: Found) -> Found:
    return _changed(found, _as_number)


def _as_number(found: Estimate) -> Estimate:
    """Returns the estimate, missing where it is not finite, without limits that are NaN."""
    if found.value is not None and not math.isfinite(found.value):
        reason = f"gave {found.value}, not a finite number; {found.method}".rstrip("; ")
        return Estimate.missing(reason, unit=found.unit, better=found.better)
    if found.low is not None and found.high is not None and math.isnan(found.high - found.low):
        return without_interval(found, "no interval: its limits are not numbers")
    return found


def _changed(found: Found, change: Callable[[Estimate], Estimate]) -> Found:
    if isinstance(found, Estimate):
        return change(found)
    changed = change(found.estimate)
    return found if changed is found.estimate else replace(found, estimate=changed)
