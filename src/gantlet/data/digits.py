"""Handwritten digits of 8x8 pixels, from scikit-learn; no file is needed."""

from dataclasses import dataclass
from typing import Annotated, final

import numpy as np
import torch

from gantlet.core.dataset import InMemory, Splits
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.splits import Subset, official

_TEST = 360


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Digits:
    """1,797 handwritten digits, 8x8 pixels with 17 grey levels, ten classes.

    The test split is the same for every seed: the last 360 of
    ``numpy.random.RandomState(0).permutation(1797)``. Validation is taken from the other 1,437.

    Source: Alpaydin and Kaynak, 1998, https://archive.ics.uci.edu/dataset/80, the test part, as
    scikit-learn ships it.

    Attributes:
        validation: How many of the 1,437 samples become validation, chosen by the seed.
        limit: Most samples for training, or none.
    """

    validation: Annotated[int, Between(1, 1436)] = 180
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """One grey channel of 8x8 pixels with 17 levels."""
        return Space("image", (1, 8, 8), 17)

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits; the labels are the digits."""
        from sklearn.datasets import load_digits

        pixels, digits = load_digits(return_X_y=True)
        x = torch.from_numpy(pixels.astype(np.uint8)).reshape(-1, 1, 8, 8)
        everything = InMemory(x, torch.from_numpy(digits.astype(np.int64)))
        order = torch.from_numpy(np.random.RandomState(0).permutation(len(x)))
        return official(
            Subset(everything, order[:-_TEST]),
            Subset(everything, order[-_TEST:]),
            validation=self.validation,
            limit=self.limit,
            rng=rng,
        )
