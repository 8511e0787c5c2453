"""Axes of charts: what range they show, where a number stands on them, and their ticks."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A straight or logarithmic axis.

    Attributes:
        low: The number at ``start``.
        high: The number at ``stop``.
        start: Where the axis begins, in pixels.
        stop: Where it ends, in pixels; smaller than ``start`` for an axis that goes up.
        log: Whether it is logarithmic.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def at(self, number: float) -> float:
        """Returns the place of ``number`` in pixels, perhaps outside."""
        a, b, x = (_log(v, self.log) for v in (self.low, self.high, number))
        return self.start + (x - a) / (b - a) * (self.stop - self.start)

    def inside(self, number: float) -> float:
        """Returns the place of ``number``, moved to the nearer end where it is outside."""
        if self.log and number <= 0:
            return self.start
        low, high = sorted((self.start, self.stop))
        return min(max(self.at(number), low), high)

    def shows(self, number: float | None) -> bool:
        """Returns whether ``number`` has a place on the axis."""
        return number is not None and math.isfinite(number) and self.low <= number <= self.high

    def ticks(self, most: int = 6) -> list[float]:
        """Returns the round numbers that get a tick, at most about ``most``."""
        return _log_ticks(self.low, self.high, most) if self.log else self._even_ticks(most)

    def _even_ticks(self, most: int) -> list[float]:
        step = _round_step((self.high - self.low) / max(most, 1))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        # Rounded, or 3 * 0.1 would be written 0.30000000000000004.
        return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def span(
    numbers: Iterable[float], around: Iterable[float | None] = (), *, log: bool = False
) -> tuple[float, float]:
    """Returns the range of an axis that shows all of ``numbers`` with some air.

    Ends of intervals (``around``) widen it, but to no more than twice the width that the
    numbers need on either side: with two seeds an interval can be a hundred times as wide.
    """
    values = [_log(x, log) for x in numbers if _is_usable(x, log)]
    if not values:
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = min(values), max(values)
    ends = [_log(x, log) for x in around if x is not None and _is_usable(x, log)]
    needs = max(high - low, 0.25 if log else 0.1 * abs(high), 1e-12)
    bottom = max(min([low, *ends]), low - 2 * needs)
    top = min(max([high, *ends]), high + 2 * needs)
    air = 0.06 * max(top - bottom, needs)
    bottom, top = bottom - air, top + air
    return (10**bottom, 10**top) if log else (bottom, top)


def finite(numbers: Sequence[float], *, log: bool) -> list[bool]:
    """Returns a mask of the numbers that can be drawn on an axis."""
    return [_is_usable(x, log) for x in numbers]


def _is_usable(x: float, log: bool) -> bool:
    return math.isfinite(x) and (x > 0 or not log)


def _log(x: float, log: bool) -> float:
    return math.log10(x) if log else x


def _round_step(size: float) -> float:
    decade = 10.0 ** math.floor(math.log10(size))
    return next(f * decade for f in (1, 2, 2.5, 5, 10) if f * decade >= size * 0.999)


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    whole = [10.0**k for k in range(first, last + 1) if low <= 10.0**k <= high]
    if len(whole) >= 3:
        return whole[:: math.ceil(len(whole) / most)]
    for factors in ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        fine = [f * 10.0**k for k in range(first, last + 1) for f in factors]
        found = [float(f"{x:.12g}") for x in fine if low <= x <= high]
        if len(found) >= 3:
            return found
    return Axis(low=low, high=high, start=0.0, stop=1.0).ticks(most)
