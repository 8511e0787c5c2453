"""What charts are drawn with: axes with their ticks, and pieces of SVG in pixels."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

from gantlet.report import format as fmt
from gantlet.report.format import Markup, clean, join, tag

# ----------------------------------------------------------------------------
# Axes: what range they show, where a number stands on them, and their ticks.
# ----------------------------------------------------------------------------


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


# ----------------------------------------------------------------------------
# Pieces of SVG.
# ----------------------------------------------------------------------------

CHARACTER = 6.9  # mean width of one character of a label, in pixels

_MARKERS = (
    "M-4.2,0A4.2,4.2 0 1 1 4.2,0A4.2,4.2 0 1 1 -4.2,0Z",  # circle
    "M-3.8,-3.8H3.8V3.8H-3.8Z",  # square
    "M0,-5L4.6,3.6H-4.6Z",  # triangle
    "M0,-5.2L4.6,0L0,5.2L-4.6,0Z",  # diamond
    "M0,5L4.6,-3.6H-4.6Z",  # triangle, tip down
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A chart's size and margins in pixels."""

    width: float = 560
    height: float = 360
    left: float = 56
    right: float = 16
    top: float = 14
    bottom: float = 48


def picture(size: Size, title: str, description: str, parts: list[Markup]) -> Markup:
    """Returns a whole SVG, with words for those who cannot see it."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        *parts,
        viewBox=f"0 0 {size.width:g} {size.height:g}",
        role="img",
        class_="chart",
        xmlns="http://www.w3.org/2000/svg",
    )


def axes(
    size: Size, *, x: tuple[float, float, bool], y: tuple[float, float, bool]
) -> tuple[Axis, Axis]:
    """Returns the axes across and up for two ranges (low, high, whether logarithmic)."""
    across = Axis(low=x[0], high=x[1], log=x[2], start=size.left, stop=size.width - size.right)
    up = Axis(low=y[0], high=y[1], log=y[2], start=size.height - size.bottom, stop=size.top)
    return across, up


def frame(size: Size, x: Axis, y: Axis, x_label: str, y_label: str) -> list[Markup]:
    """Returns grid, ticks and labels. The label of the axis up stands above it, to be read."""
    parts = ticks(size, x, y)
    middle = (size.left + size.width - size.right) / 2
    parts.append(text(middle, size.height - 8, x_label, class_="label", anchor="middle"))
    parts.append(text(4, 15, y_label, class_="label"))
    return parts


def ticks(size: Size, x: Axis, y: Axis, most: int = 6) -> list[Markup]:
    """Returns the grid and its numbers."""
    parts = [_horizontal(size, y.at(t), fmt.tick(t)) for t in y.ticks(most)]
    return parts + [_vertical(size, x.at(t), fmt.tick(t)) for t in x.ticks(most)]


def text(
    x: float, y: float, words: str, *, class_: str = "tick", anchor: str | None = None
) -> Markup:
    """Returns a line of text."""
    return tag("text", words, x=px(x), y=px(y), class_=class_, text_anchor=anchor)


def cut(words: str, width: float) -> str:
    """Returns ``words``, cut with an ellipsis where they are wider than ``width`` pixels."""
    most = max(int(width / CHARACTER), 2)
    words = clean(words)
    return words if len(words) <= most else words[: most - 1] + "…"


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Returns a straight line."""
    return tag("line", x1=px(x1), y1=px(y1), x2=px(x2), y2=px(y2), class_=class_)


def path(points: list[tuple[float, float]], class_: str, *, close: bool = False) -> Markup:
    """Returns a line through ``points``."""
    d = "M" + "L".join(f"{px(x)},{px(y)}" for x, y in points) + ("Z" if close else "")
    return tag("path", d=d, class_=class_)


def marker(x: float, y: float, index: int, class_: str, words: str = "") -> Markup:
    """Returns marker number ``index``; ``words`` appear where the pointer rests on it."""
    return tag(
        "path",
        *([tag("title", words)] if words else []),
        d=_MARKERS[index % len(_MARKERS)],
        transform=f"translate({px(x)} {px(y)})",
        class_=class_,
    )


def whisker(axis: Axis, low: float, high: float, across: float, class_: str) -> Markup:
    """Returns an interval along ``axis``; an end that leaves the chart becomes an arrow head."""
    a, b = axis.inside(low), axis.inside(high)
    strokes = [[(a, across), (b, across)], _end(axis, low, a, across), _end(axis, high, b, across)]
    upright = axis.stop < axis.start
    d = "".join(
        "M" + "L".join(f"{px(y if upright else x)},{px(x if upright else y)}" for x, y in stroke)
        for stroke in strokes
    )
    return tag("path", d=d, class_=class_)


def _end(axis: Axis, number: float, place: float, across: float) -> list[tuple[float, float]]:
    if axis.shows(number):
        return [(place, across - 3), (place, across + 3)]
    inward = 5.0 if place == min(axis.start, axis.stop) else -5.0
    return [(place + inward, across - 4), (place, across), (place + inward, across + 4)]


def _horizontal(size: Size, y: float, words: str) -> Markup:
    return join(
        [
            line(size.left, y, size.width - size.right, y, "grid"),
            text(size.left - 8, y + 4, words, anchor="end"),
        ]
    )


def _vertical(size: Size, x: float, words: str) -> Markup:
    bottom = size.height - size.bottom
    return join(
        [
            line(x, bottom, x, bottom + 4, "axis"),
            text(x, bottom + 19, words, anchor="middle"),
        ]
    )


def px(number: float) -> str:
    """Returns a place in pixels as SVG has it, to a tenth."""
    return f"{number:.1f}".removesuffix(".0")
