"""The features of a set of samples, in memory or mapped from disk."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.dataset import Source
from gantlet.core.errors import UserError
from gantlet.core.measure import Extract, Features
from gantlet.core.moments import Moments
from gantlet.features.cache import Cache, digest_of

_BLOCK = 4096

Tell = Callable[[float], None]
"""Told the finished share, in [0, 1]."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSet:
    """The features of a set of samples of any modality.

    Attributes:
        rows: One row for each sample, shape ``(n, d)``, float32; perhaps mapped from disk.
        fingerprint: Names extractor, weights and preprocessing.
        probabilities: Class probabilities, shape ``(n, classes)``, or None.
    """

    rows: Tensor
    fingerprint: str
    probabilities: Tensor | None = None

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.rows)

    def moments(self) -> Moments:
        """Returns mean and scatter; those of shards add up to those of the whole."""
        return Moments.of(b.double() for b in torch.split(self.rows, _BLOCK))

    def comparable(self, other: "FeatureSet") -> None:
        """Checks that numbers of both may be compared.

        Raises:
            UserError: If the two come from different extractors, weights or preprocessing.
        """
        if self.fingerprint != other.fingerprint:
            raise UserError(
                f"Features of {self.fingerprint} cannot be compared with those of "
                f"{other.fingerprint}. Extract both in the same way."
            )

    def joined(self, other: "FeatureSet") -> "FeatureSet":
        """Returns both sets as one.

        Raises:
            UserError: If they are not comparable.
        """
        self.comparable(other)
        known = [p for p in (self.probabilities, other.probabilities) if p is not None]
        return FeatureSet(
            rows=torch.cat([self.rows, other.rows]),
            fingerprint=self.fingerprint,
            probabilities=torch.cat(known) if len(known) == 2 else None,
        )


def feature_set(
    features: Features,
    source: Source,
    *,
    block: int,
    device: torch.device | str = "cpu",
    cache: Cache | None = None,
    classes: bool = True,
    tell: Tell = lambda _: None,
) -> FeatureSet:
    """Extracts the features of all samples, a block at a time.

    Args:
        features: The extractor, ready for use.
        source: The samples.
        block: How many samples are looked at together.
        device: Where the extractor works.
        cache: Where features are kept, or None to hold them in memory alone.
        classes: Whether class probabilities are wanted too, where the extractor knows them.
        tell: Is told how far it is.
    """

    def made(extract: Extract, what: str) -> Tensor:
        def parts() -> Iterator[Tensor]:
            for index in torch.split(torch.arange(len(source)), block):
                yield extract(source.take(index).to(device)).cpu()
                tell(float(index[-1] + 1) / len(source))

        if cache is None:
            return torch.cat(list(parts()))
        key = f"{what}/{features.fingerprint}/{block}/{samples}"
        return cache.rows(key, len(source), parts)

    samples = "" if cache is None else digest_of(source, block)
    classify = features.classify if classes else None
    return FeatureSet(
        rows=made(features.extract, "features"),
        fingerprint=features.fingerprint,
        probabilities=None if classify is None else made(classify, "probabilities"),
    )
