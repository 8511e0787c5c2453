"""What an extractor, a metric and a probe are."""

import abc
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from gantlet.core.data import Space, Splits
from gantlet.core.estimate import Better, Estimate
from gantlet.core.model import Model
from gantlet.core.rng import Rng

# ----------------------------------------------------------------------------
# Exact and rank tests of two independent samples, each against one side.
# ----------------------------------------------------------------------------


def more_often(count: int, n: int, other: int, m: int) -> float:
    """Returns the p-value against "``count`` of ``n`` is no more often than ``other`` of ``m``".

    Exact where the ``n`` and the ``m`` are exchangeable: how often a random ``n`` of all would
    hold as many. Source: Fisher, 1935, https://doi.org/10.2307/2342435.

    Example:
        >>> round(more_often(8, 10, 2, 10), 4)
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


def smaller(x: Tensor, y: Tensor) -> float:
    """Returns the p-value against "``x`` is not smaller than ``y``" from ranks, ties counted half.

    The normal limit with the correction for ties and continuity; 1 where one of them is empty.
    Source: Mann and Whitney, 1947, https://doi.org/10.1214/aoms/1177730491.

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
# What a measurement is.
# ----------------------------------------------------------------------------

Sees = Literal["features", "probabilities", "samples"]
"""What a metric is given: vectors of an extractor, class probabilities of a classifier, or the
samples themselves, shape ``(n, *space.shape)``, levels scaled to [0, 1]."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """An extractor that is ready for use, and what the report must say of it.

    Attributes:
        extract: Turns samples, shape ``(n, *space.shape)``, into float32 vectors ``(n, d)``.
        note: What it is and how good it is, in one sentence ("test accuracy 97.2 %").
        fingerprint: Names extractor, weights and preprocessing; numbers with different
            fingerprints must not be compared.
        classify: Turns samples into class probabilities, shape ``(n, classes)``, float32, or
            None where the extractor knows no classes.
    """

    extract: "Extract"
    note: str
    fingerprint: str
    classify: "Extract | None" = None


class Extract(Protocol):
    """A function from samples to vectors."""

    def __call__(self, x: Tensor) -> Tensor:
        """Returns one vector for each sample of ``x``, shape ``(n, d)``."""
        ...


@runtime_checkable
class Extractor(Protocol):
    """Settings of one way to see samples as vectors; a frozen dataclass.

    Attributes:
        learns: Whether it learns from the data, which takes time. One that does not is made ready
            before anything else is done, so that missing weights are told at once.
    """

    learns: ClassVar[bool]

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor for samples of ``space``; it may learn from the train split.

        Raises:
            UserError: If it cannot see such samples.
        """
        ...


class Partisan(abc.ABC):
    """An extractor that comes from a model which may be judged: for lists, never for ranks."""

    @property
    @abc.abstractmethod
    def why(self) -> str:
        """Why it cannot rank, and what to do instead."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Which samples belong together: of one subject, prompt or source, or copies of one another.

    Samples of one group are not independent, so that intervals and permutations must move whole
    groups.

    Attributes:
        real: The group of each real sample, int64, shape ``(n,)``; any numbers, equal within a
            group. None where every sample is a group of its own.
        fake: The group of each fake sample, int64, shape ``(m,)``; likewise. Groups of the two
            sets have nothing to do with each other, whatever their numbers.
    """

    real: Tensor | None = None
    fake: Tensor | None = None


@runtime_checkable
class Metric(Protocol):
    """A number that compares fake samples with real ones; a frozen dataclass.

    Attributes:
        better: Which direction is better.
        unit: In what it is measured; "1" for a pure number.
        sees: What it is given.
        quadratic: Whether its work grows faster than the number of samples, or its memory with
            that number; then it is given a part of large sets.
    """

    better: ClassVar[Better]
    unit: ClassVar[str]
    sees: ClassVar[Sees]
    quadratic: ClassVar[bool]

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares what it sees of both, for features shapes ``(n, d)`` and ``(m, d)``.

        They may be mapped from disk, larger than memory: a metric that is not quadratic goes over
        them in blocks.
        """
        ...


@runtime_checkable
class TrainMetric(Protocol):
    """A number that also looks at what the model learned from; a frozen dataclass.

    Attributes:
        better: Which direction is better.
        unit: In what it is measured; "1" for a pure number.
        sees: What it is given.
        quadratic: Whether its work grows faster than the number of samples, or its memory with
            that number; then it is given a part of large sets.
    """

    better: ClassVar[Better]
    unit: ClassVar[str]
    sees: ClassVar[Sees]
    quadratic: ClassVar[bool]

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Compares fake samples with held-out real ones and with those of the training."""
        ...


class Clustered(abc.ABC):
    """A metric whose interval holds for samples that come in groups.

    One that is not loses its interval where there are groups.
    """

    __slots__ = ()

    @abc.abstractmethod
    def measure(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Estimate:
        """Compares as a `Metric` does; samples of one group count as one that was drawn."""


class ClusteredTrain(abc.ABC):
    """A metric with training samples whose interval holds for samples that come in groups."""

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
        """Compares as a `TrainMetric` does; samples of one group count as one that was drawn."""


@final
@dataclass(frozen=True, slots=True)
class Findings:
    """What a probe found.

    Attributes:
        scores: Numbers that repeat exactly with the same seed and threads.
        clock: Numbers of this machine at this hour: times, rates, memory.
    """

    scores: Mapping[str, Estimate]
    clock: Mapping[str, Estimate]


@runtime_checkable
class Probe(Protocol):
    """Numbers that need the model itself: density, speed, inverse; a frozen dataclass."""

    def inspect(self, model: Model, real: Tensor, *, rng: Rng) -> Findings:
        """Measures ``model`` against real samples, shape ``(n, *space.shape)``."""
        ...
