"""Contracts of extractors, metrics and probes."""

import abc
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from gantlet.core.data import Code, Dataset, Space, Splits
from gantlet.core.estimate import Better, Estimate
from gantlet.core.model import Model
from gantlet.core.rng import Rng

# ----------------------------------------------------------------------------
# Exact and rank tests of two independent samples, each against one side.
# ----------------------------------------------------------------------------


def p_greater_rate(count: int, n: int, other: int, m: int) -> float:
    """Returns the one-sided p-value of "rate ``count / n`` is not greater than ``other / m``".

    Fisher's exact test. Source: Fisher, 1935, https://doi.org/10.2307/2342435.

    Example:
        >>> round(p_greater_rate(8, 10, 2, 10), 4)
        0.0115
    """
    both, most = count + other, min(n, count + other)
    ways = _log_choose(n + m, n)
    terms = (
        _log_choose(both, k) + _log_choose(n + m - both, n - k) - ways
        for k in range(count, most + 1)
        if n - k <= n + m - both
    )
    return min(math.fsum(math.exp(t) for t in terms), 1.0)


def p_smaller_values(x: Tensor, y: Tensor) -> float:
    """Returns the one-sided p-value of "``x`` is not smaller than ``y``" by ranks.

    Mann-Whitney U test, normal approximation with corrections for ties and continuity; 1 if a
    sample is empty. Source: Mann and Whitney, 1947, https://doi.org/10.1214/aoms/1177730491.

    Args:
        x: Numbers, shape ``(n,)``.
        y: Numbers, shape ``(m,)``.
    """
    n, m = len(x), len(y)
    if not n or not m:
        return 1.0
    _, places, counts = torch.unique(torch.cat([x, y]), return_inverse=True, return_counts=True)
    ends = counts.cumsum(0)
    ranks = (2 * ends - counts + 1).double() / 2
    above = float(ranks[places[:n]].sum()) - n * (n + 1) / 2 - n * m / 2
    total = n + m
    ties = float((counts.double() ** 3 - counts).sum()) / (total * max(total - 1, 1))
    variance = n * m / 12 * (total + 1 - ties)
    if variance <= 0:
        return 1.0
    return statistics.NormalDist().cdf((above + 0.5) / math.sqrt(variance))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


# ----------------------------------------------------------------------------
# Contracts of measurements.
# ----------------------------------------------------------------------------

Sees = Literal["features", "probabilities", "samples"]
"""Input of a metric: feature vectors of an extractor, class probabilities of a classifier, or the
samples themselves, shape ``(n, *space.shape)``, levels scaled to [0, 1]."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A fitted extractor.

    Attributes:
        extract: Maps samples, shape ``(n, *space.shape)``, to float32 vectors ``(n, d)``.
        note: Description and quality in one sentence for the report ("test accuracy 97.2 %").
        fingerprint: Identifies extractor, weights and preprocessing; numbers with different
            fingerprints must not be compared.
        classify: Maps samples to class probabilities, shape ``(n, classes)``, float32; None for
            extractors without classes.
        head: Maps the vectors of ``extract`` to what ``classify`` returns of their samples, to the
            last bit where both are asked in the same blocks; None where that cannot be told from
            the vectors. It spares a second run of the network.
        maps: Maps samples to an intermediate map of the network, shape ``(n, c, h, w)``, float32;
            None for extractors without one.
    """

    extract: "Extract"
    note: str
    fingerprint: str
    classify: "Extract | None" = None
    head: "Extract | None" = None
    maps: "Extract | None" = None


class Extract(Protocol):
    """A function from samples to vectors."""

    def __call__(self, x: Tensor) -> Tensor:
        """Returns one vector for each sample of ``x``, shape ``(n, d)``."""
        ...


@runtime_checkable
class Extractor(Protocol):
    """Settings of a feature extractor; a frozen dataclass.

    Attributes:
        learns: Whether it is trained on the data. Other extractors are loaded before anything
            else, so that missing weights are reported at once.
    """

    learns: ClassVar[bool]

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor for samples of ``space``; it may be fitted on the training split.

        Raises:
            UserError: If it does not support such samples.
        """
        ...


class NotForRanking(abc.ABC):
    """An extractor taken from a model under evaluation, which must not be used for rankings."""

    @property
    @abc.abstractmethod
    def why(self) -> str:
        """Why it must not be used for rankings, and what to do instead."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Groups of dependent samples: same subject, prompt or source, or copies of one another.

    Samples of one group are not independent: resampling and permutations act on whole groups.

    Attributes:
        real: The group of each real sample, int64, shape ``(n,)``; any numbers, equal within a
            group. None if all samples are independent.
        fake: The group of each fake sample, int64, shape ``(m,)``; likewise. Groups of the two
            sets are unrelated, even with equal numbers.
    """

    real: Tensor | None = None
    fake: Tensor | None = None


@runtime_checkable
class Metric(Protocol):
    """A number that compares fake samples with real ones; a frozen dataclass.

    Attributes:
        better: Which direction is better.
        unit: Its unit; "1" for a dimensionless number.
        sees: Kind of its input.
        quadratic: Whether its cost grows faster than linearly in the number of samples, or its
            memory grows with it; large sets are then subsampled.
    """

    better: ClassVar[Better]
    unit: ClassVar[str]
    sees: ClassVar[Sees]
    quadratic: ClassVar[bool]

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares real and fake inputs, for features of shapes ``(n, d)`` and ``(m, d)``.

        They may be memory-mapped and larger than memory: a metric that is not quadratic processes
        them in blocks.
        """
        ...


@runtime_checkable
class TrainMetric(Protocol):
    """A number that also uses the training set of the model; a frozen dataclass.

    Attributes:
        better: Which direction is better.
        unit: Its unit; "1" for a dimensionless number.
        sees: Kind of its input.
        quadratic: Whether its cost grows faster than linearly in the number of samples, or its
            memory grows with it; large sets are then subsampled.
    """

    better: ClassVar[Better]
    unit: ClassVar[str]
    sees: ClassVar[Sees]
    quadratic: ClassVar[bool]

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Compares fake samples with held-out real ones and with the training samples."""
        ...


class GroupedMetric(abc.ABC):
    """A metric whose interval is valid for grouped samples.

    Other metrics report no interval for grouped samples.
    """

    __slots__ = ()

    @abc.abstractmethod
    def measure(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Estimate:
        """Like ``Metric.measure``; groups, not samples, are the independent units."""


class GroupedTrainMetric(abc.ABC):
    """A metric with training samples whose interval is valid for grouped samples."""

    __slots__ = ()

    @abc.abstractmethod
    def judge(
        self,
        real: Tensor,
        fake: Tensor,
        *,
        train: Tensor,
        rng: torch.Generator,
        groups: Groups | None = None,
    ) -> Estimate:
        """Like ``TrainMetric.judge``; groups, not samples, are the independent units."""


class SpaceMetric(abc.ABC):
    """Settings of a metric that must know what samples are: levels, components, code.

    It is a ``Metric`` or a ``TrainMetric`` too, and what measures is the one that ``on`` returns.
    """

    __slots__ = ()

    @abc.abstractmethod
    def on(self, space: Space, code: Code | None) -> Metric | TrainMetric:
        """Returns the metric for samples of a space.

        Args:
            space: What one sample is.
            code: What the numbers of a sample stand for, where they are not plain numbers.

        Raises:
            UserError: If it does not support such samples.
        """


def metric_on(
    metric: Metric | TrainMetric, space: Space, code: Code | None
) -> Metric | TrainMetric:
    """Returns the metric that measures samples of a space.

    Raises:
        UserError: If it does not support such samples.
    """
    return metric.on(space, code) if isinstance(metric, SpaceMetric) else metric


@final
@dataclass(frozen=True, slots=True)
class Findings:
    """The results of a probe.

    Attributes:
        scores: Results that repeat exactly with the same seed and threads.
        clock: Hardware-dependent measurements: times, rates, memory.
        details: What a report needs besides, as plain JSON values.
    """

    scores: Mapping[str, Estimate]
    clock: Mapping[str, Estimate]
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


@runtime_checkable
class Probe(Protocol):
    """A measurement that needs the model itself: density, speed, inverse; a frozen dataclass."""

    def inspect(self, model: Model, real: Tensor, *, rng: Rng) -> Findings:
        """Measures ``model`` against real samples, shape ``(n, *space.shape)``."""
        ...


@runtime_checkable
class DataProbe(Protocol):
    """A measurement of a model that needs more of the data than held-out samples; frozen.

    Such as the training samples, the code, or the known truth of a made data set.
    """

    def examine(
        self, model: Model, real: Tensor, *, data: Dataset, splits: Splits, rng: Rng
    ) -> Findings:
        """Measures ``model`` against real samples and what else is known of the data.

        Args:
            model: The model.
            real: Held-out samples, shape ``(n, *space.shape)``.
            data: The settings of the data set.
            splits: Its splits, with their code.
            rng: From which every random number follows.
        """
        ...


class FeatureProbe(abc.ABC):
    """A ``DataProbe`` that measures on features.

    A comparison gives it those that it ranks on, fitted once for all models.
    """

    __slots__ = ()

    @abc.abstractmethod
    def on(self, extractor: str, features: Features) -> DataProbe:
        """Returns the probe with an extractor, in written form, that is already fitted."""
