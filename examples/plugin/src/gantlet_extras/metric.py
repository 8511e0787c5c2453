"""A metric with an interval: does the model vary as much as the data?"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

import gantlet

_NORMAL = 1.959964  # 97.5 % quantile of the normal distribution


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceRatio:
    """Total variance of fake features over that of real ones; below 1 variety is missing.

    The interval comes from the delta method on the logarithm of the ratio; samples are taken as
    independent.
    """

    better: ClassVar[Literal["lower", "higher"]] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Literal["features", "probabilities", "samples"]] = "features"
    quadratic: ClassVar[bool] = False

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> gantlet.Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``."""
        del rng  # nothing is random
        if min(len(real), len(fake)) < 3:
            return gantlet.Estimate.missing("fewer than 3 samples", better=self.better)
        (v, error), (w, other) = _variance(real), _variance(fake)
        if v == 0 or w == 0:
            return gantlet.Estimate.missing("the features are constant", better=self.better)
        half = _NORMAL * math.hypot(error / v, other / w)
        return gantlet.Estimate(
            value=w / v,
            low=w / v * math.exp(-half),
            high=w / v * math.exp(half),
            n=len(fake),
            unit=self.unit,
            better=self.better,
            method="ratio of total variances, interval by the delta method on its logarithm",
        )


def _variance(x: Tensor) -> tuple[float, float]:
    """Returns the total variance of features and its standard error."""
    squares = (x.double() - x.double().mean(0)).square().sum(1)
    n = len(x)
    return float(squares.sum() / (n - 1)), float(squares.std()) / math.sqrt(n)
