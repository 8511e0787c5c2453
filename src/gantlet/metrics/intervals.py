"""From a value and its variance to an estimate."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import t_quantile

LEVEL = 0.95


@final
@dataclass(frozen=True, slots=True)
class Variance:
    """A variance that was itself estimated.

    Attributes:
        value: The variance.
        noise: The variance of ``value``; 0 where it is as good as known.
    """

    value: float
    noise: float = 0.0

    @classmethod
    def of_squares(cls, value: float, df: float) -> "Variance":
        """Returns the variance estimated from ``df`` independent squares of normal numbers."""
        return cls(value, 2 * value * value / df)

    @property
    def df(self) -> float:
        """The degrees of freedom that fit value and noise."""
        return 2 * self.value * self.value / self.noise if self.noise > 0 else math.inf


def total(parts: Iterable[Variance]) -> Variance:
    """Returns the variance of a sum of independent parts.

    Its degrees of freedom are those of Satterthwaite, 1946, https://doi.org/10.2307/3002019.

    Example:
        >>> total([Variance.of_squares(1.0, 10), Variance.of_squares(1.0, 10)]).df
        20.0
    """
    known = list(parts)
    return Variance(math.fsum(p.value for p in known), math.fsum(p.noise for p in known))


def around(value: float, variance: Variance, *, n: int, method: str) -> Estimate:
    """Returns ``value`` with the interval of Student's t, or why there is none."""
    half = _quantile(variance) * math.sqrt(max(variance.value, 0.0))
    if not math.isfinite(value) or not math.isfinite(half):
        return Estimate.missing("the features are too large for double precision")
    return Estimate(
        value=value, low=value - half, high=value + half, level=LEVEL, n=n, method=method
    )


def fraction(value: float, variance: Variance, *, n: int, method: str) -> Estimate:
    """Returns a fraction in [0, 1] with Wilson's interval at its effective sample size.

    The effective size is that at which a plain count would have this variance; at 0 and 1,
    where the variance says nothing, it is the number ``n`` of samples that were counted.

    Source: Wilson, 1927, https://doi.org/10.2307/2276774.

    Example:
        >>> e = fraction(1.0, Variance(0.0), n=100, method="")
        >>> round(e.low, 3), e.value, e.high
        (0.963, 1.0, 1.0)
    """
    spread = value * (1 - value)
    size = spread / variance.value if spread > 0 and variance.value > 0 else n
    z = _quantile(variance) ** 2 / size
    centre = (value + z / 2) / (1 + z)
    half = math.sqrt(z * spread + z**2 / 4) / (1 + z)
    # Rounding must not push the value out of its own interval.
    low, high = min(centre - half, value), max(centre + half, value)
    return Estimate(
        value=value, low=max(low, 0.0), high=min(high, 1.0), level=LEVEL, n=n, method=method
    )


def _quantile(variance: Variance) -> float:
    return t_quantile((1 + LEVEL) / 2, variance.df)
