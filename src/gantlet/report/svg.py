"""Pieces that all charts share: the frame, markers, error bars, text. No library, no network.

Colours are classes of the page's style sheet, so that one chart serves light, dark and paper.
"""

from dataclasses import dataclass
from typing import final

from gantlet.report import numbers
from gantlet.report.axis import Axis
from gantlet.report.markup import Markup, clean, join, tag

CHARACTER = 6.9  # mean width of one character of a label, in pixels
SERIES = 5  # colours that are told apart on white and on black, with a marker and dash each

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
    parts = [_horizontal(size, y.at(t), numbers.tick(t)) for t in y.ticks(most)]
    return parts + [_vertical(size, x.at(t), numbers.tick(t)) for t in x.ticks(most)]


def text(
    x: float, y: float, words: str, *, class_: str = "tick", anchor: str | None = None
) -> Markup:
    """Returns a line of text."""
    return tag("text", words, x=_px(x), y=_px(y), class_=class_, text_anchor=anchor)


def short(words: str, width: float) -> str:
    """Returns ``words``, cut with an ellipsis where they are wider than ``width`` pixels."""
    most = max(int(width / CHARACTER), 2)
    words = clean(words)
    return words if len(words) <= most else words[: most - 1] + "…"


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Returns a straight line."""
    return tag("line", x1=_px(x1), y1=_px(y1), x2=_px(x2), y2=_px(y2), class_=class_)


def path(points: list[tuple[float, float]], class_: str, *, close: bool = False) -> Markup:
    """Returns a line through ``points``."""
    d = "M" + "L".join(f"{_px(x)},{_px(y)}" for x, y in points) + ("Z" if close else "")
    return tag("path", d=d, class_=class_)


def marker(x: float, y: float, index: int, class_: str, words: str = "") -> Markup:
    """Returns marker number ``index``; ``words`` appear where the pointer rests on it."""
    return tag(
        "path",
        *([tag("title", words)] if words else []),
        d=_MARKERS[index % len(_MARKERS)],
        transform=f"translate({_px(x)} {_px(y)})",
        class_=class_,
    )


def whisker(axis: Axis, low: float, high: float, across: float, class_: str) -> Markup:
    """Returns an interval along ``axis``; an end that leaves the chart becomes an arrow head."""
    a, b = axis.inside(low), axis.inside(high)
    strokes = [[(a, across), (b, across)], _end(axis, low, a, across), _end(axis, high, b, across)]
    upright = axis.stop < axis.start
    d = "".join(
        "M" + "L".join(f"{_px(y if upright else x)},{_px(x if upright else y)}" for x, y in stroke)
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


def _px(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
