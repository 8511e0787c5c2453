"""Samples as they are: every component a feature."""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from gantlet.core.dataset import Splits
from gantlet.core.measure import Features
from gantlet.core.rng import Rng
from gantlet.core.space import Space


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """The components of a sample, levels scaled to [0, 1], nothing learned.

    Source: none needed; the baseline of every learned feature.
    """

    learns: ClassVar[bool] = False

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; there is nothing to fit."""
        del data, rng

        def extract(x: Tensor) -> Tensor:
            return space.unit(x).flatten(1).float()

        return Features(
            extract=extract,
            note=f"the {space.size} components of {space.label}",
            fingerprint=f"pixels/{space.label}",
        )
