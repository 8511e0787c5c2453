"""What a measurement is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from gantlet.core.dataset import Splits
from gantlet.core.estimate import Better, Estimate
from gantlet.core.model import Model
from gantlet.core.rng import Rng
from gantlet.core.space import Space


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """An extractor that is ready for use, and what the report must say of it.

    Attributes:
        extract: Turns samples, shape ``(n, *space.shape)``, into float32 vectors ``(n, d)``.
        note: What it is and how good it is, in one sentence ("test accuracy 97.2 %").
        fingerprint: Names extractor, weights and preprocessing; numbers with different
            fingerprints must not be compared.
    """

    extract: "Extract"
    note: str
    fingerprint: str


class Extract(Protocol):
    """A function from samples to vectors."""

    def __call__(self, x: Tensor) -> Tensor:
        """Returns one vector for each sample of ``x``, shape ``(n, d)``."""
        ...


@runtime_checkable
class Extractor(Protocol):
    """Settings of one way to see samples as vectors; a frozen dataclass."""

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor for samples of ``space``; it may learn from the train split.

        Raises:
            UserError: If it cannot see such samples.
        """
        ...


@runtime_checkable
class Metric(Protocol):
    """A number that compares fake features with real ones; a frozen dataclass."""

    better: ClassVar[Better]
    unit: ClassVar[str]

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``."""
        ...


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
