"""A number that says how sure it is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, final

Better = Literal["lower", "higher"]

Kind = Literal["exact", "lower", "upper", "estimate"]
"""What a value is of the quantity that it is named after: the quantity itself for each sample, a
lower or an upper bound of it, or a noisy estimate."""

KINDS_IN_WORDS: Mapping[Kind, str] = {
    "exact": "exact",
    "lower": "lower bound",
    "upper": "upper bound",
    "estimate": "noisy estimate",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A measured value with its uncertainty; never a bare number.

    Attributes:
        value: The estimate, or None where nothing could be measured.
        low: Lower end of the confidence interval, or None where there is none.
        high: Upper end of the confidence interval, or None where there is none.
        level: Confidence of the interval, in [0, 1].
        n: How many independent units (samples, seeds, repeats) the estimate rests on.
        unit: In what the value is measured; "1" for a pure number.
        better: Which direction is better, or None where neither is.
        method: How value and interval were obtained, or why one of them is missing. For people:
            nothing may be decided by what it says.
        kind: What the value is of the quantity, where numbers of several kinds stand under one
            name (a likelihood may be exact or a bound); None where there is one kind only.
        also: Finite numbers that stand beside the value and that ``method`` tells in words, by
            name: ``p`` (of a test), ``plain`` (before its bias was taken off), ``published`` (as
            the usual code gives it), ``real`` (the same of real samples).
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    n: int = 0
    unit: str = "1"
    better: Better | None = None
    method: str = ""
    kind: Kind | None = None
    also: Mapping[str, float] = field(default_factory=dict[str, float], hash=False)

    def __post_init__(self) -> None:
        """Checks that value and interval fit together.

        Raises:
            ValueError: If the interval is half open or the wrong way round, or if there is
                neither an interval nor a word on why.
        """
        if (self.low is None) != (self.high is None):
            raise ValueError("An interval needs both ends.")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"The interval [{self.low}, {self.high}] is the wrong way round.")
        if self.low is None and not self.method:
            raise ValueError("An estimate without an interval must say why, in method.")

    @classmethod
    def missing(cls, reason: str, *, unit: str = "1", better: Better | None = None) -> "Estimate":
        """Returns the estimate of what could not be measured."""
        return cls(value=None, unit=unit, better=better, method=reason)

    @classmethod
    def exact(
        cls,
        value: float,
        *,
        method: str = "exact count",
        unit: str = "1",
        n: int = 1,
        better: Better | None = None,
    ) -> "Estimate":
        """Returns a number that was counted, not sampled: its interval is the number itself."""
        return cls(
            value=value,
            low=value,
            high=value,
            level=1.0,
            n=n,
            unit=unit,
            better=better,
            method=method,
        )

    def named(self, *, unit: str, better: Better | None) -> "Estimate":
        """Returns the same estimate under another unit and direction."""
        return replace(self, unit=unit, better=better)

    def beside(self, **numbers: float) -> "Estimate":
        """Returns the same estimate with more numbers beside it; what is not finite is left out.

        Example:
            >>> Estimate(value=1.0, method="m").beside(p=0.5, real=math.nan).also
            {'p': 0.5}
        """
        finite = {name: x for name, x in numbers.items() if math.isfinite(x)}
        return replace(self, also={**self.also, **finite})

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval, or None where there is none."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2
