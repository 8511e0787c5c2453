"""Points with error bars, direct labels and the Pareto front."""

from collections.abc import Sequence
from itertools import pairwise

from gantlet.core.estimate import Better
from gantlet.report import numbers, svg
from gantlet.report.axis import Axis, finite, span
from gantlet.report.blocks import Point, Scatter
from gantlet.report.labels import shorten
from gantlet.report.markup import Markup, clean
from gantlet.report.svg import Size

Box = tuple[float, float, float, float]  # left, top, right, bottom

_HEIGHT = 14.0  # of a label
_ACROSS: dict[Better | None, str] = {"lower": "← better", "higher": "better →", None: ""}
_UP: dict[Better | None, str] = {"lower": "↓ better", "higher": "↑ better", None: ""}


def draw(chart: Scatter) -> Markup:
    """Returns the chart; points of the front are full and joined, the others hollow."""
    size = Size(height=400, top=32, right=24)
    points = _usable(chart)
    x, y = _axes(chart, points, size)
    x_label = "\u2003".join(filter(None, (chart.x_label, _ACROSS[chart.x_better])))
    y_label = "\u2003".join(filter(None, (chart.y_label, _UP[chart.y_better])))
    parts = svg.frame(size, x, y, x_label, y_label)
    front = _steps(chart, points, x, y)
    parts += [svg.path(front, "front")] if len(front) > 1 else []
    parts += [w for p in points for w in _whiskers(p, x, y)]
    parts += [_marker(p, x, y) for p in points]
    parts += _labels(points, x, y, size, front=front)
    return svg.picture(size, clean(chart.title), _describe(chart, points), parts)


def _usable(chart: Scatter) -> list[Point]:
    across = finite([p.x for p in chart.points], log=chart.log_x)
    up = finite([p.y for p in chart.points], log=chart.log_y)
    return [p for p, a, b in zip(chart.points, across, up, strict=True) if a and b]


def _axes(chart: Scatter, points: list[Point], size: Size) -> tuple[Axis, Axis]:
    x = span(
        [p.x for p in points], [e for p in points for e in (p.x_low, p.x_high)], log=chart.log_x
    )
    y = span(
        [p.y for p in points], [e for p in points for e in (p.y_low, p.y_high)], log=chart.log_y
    )
    return svg.axes(size, x=(*x, chart.log_x), y=(*y, chart.log_y))


def _steps(chart: Scatter, points: list[Point], x: Axis, y: Axis) -> list[tuple[float, float]]:
    """Returns the edge of what the front reaches: a staircase, since nothing lies between."""
    front = sorted((p.x, p.y) for p in points if p.front)
    corners: list[tuple[float, float]] = []
    for a, b in front:
        if corners:
            before = corners[-1]
            corner = (before[0], y.at(b)) if chart.x_better == "higher" else (x.at(a), before[1])
            corners.append(corner)
        corners.append((x.at(a), y.at(b)))
    return corners


def _whiskers(point: Point, x: Axis, y: Axis) -> list[Markup]:
    class_ = "whisker s0" if point.front else "whisker"
    parts: list[Markup] = []
    if point.x_low is not None and point.x_high is not None and point.x_low < point.x_high:
        parts.append(svg.whisker(x, point.x_low, point.x_high, y.at(point.y), class_))
    if point.y_low is not None and point.y_high is not None and point.y_low < point.y_high:
        parts.append(svg.whisker(y, point.y_low, point.y_high, x.at(point.x), class_))
    return parts


def _marker(point: Point, x: Axis, y: Axis) -> Markup:
    words = f"{point.name}: {numbers.text(point.x)}, {numbers.text(point.y)}"
    class_ = "mark s0" if point.front else "mark hollow"
    return svg.marker(x.at(point.x), y.at(point.y), 0, class_, words)


def _labels(
    points: list[Point], x: Axis, y: Axis, size: Size, *, front: list[tuple[float, float]]
) -> list[Markup]:
    """Returns the names, each where it covers least of what is drawn or named already."""
    taken = [_around(x.at(p.x), y.at(p.y), 6) for p in points]
    taken += [box for p in points for box in _whisker_boxes(p, x, y)]
    taken += [_along(a, b) for a, b in pairwise(front)]
    short = shorten(p.name for p in points)
    parts: list[Markup] = []
    for p in sorted(points, key=lambda p: not p.front):
        name = svg.short(short[p.name], 190)
        box = _best_place(x.at(p.x), y.at(p.y), len(name) * svg.CHARACTER, taken, size)
        taken.append(box)
        class_ = "name s0" if p.front else "name"
        parts.append(svg.text(box[0], box[3] - 3, name, class_=class_))
    return parts


def _best_place(x: float, y: float, width: float, taken: Sequence[Box], size: Size) -> Box:
    places = [
        (left, top, left + width, top + _HEIGHT)
        for gap in (8.0, 16.0, 28.0)
        for left, top in (
            (x + gap, y - _HEIGHT - gap / 4),
            (x + gap, y + gap / 4),
            (x - gap - width, y - _HEIGHT - gap / 4),
            (x - gap - width, y + gap / 4),
            (x - width / 2, y - _HEIGHT - gap),
            (x - width / 2, y + gap),
        )
    ]
    return min(places, key=lambda box: sum(_shared(box, t) for t in taken) + 9 * _out(box, size))


def _along(a: tuple[float, float], b: tuple[float, float]) -> Box:
    """Returns the box around a straight piece of the front."""
    (left, right), (top, bottom) = sorted((a[0], b[0])), sorted((a[1], b[1]))
    return left - 2, top - 2, right + 2, bottom + 2


def _around(x: float, y: float, radius: float) -> Box:
    return x - radius, y - radius, x + radius, y + radius


def _whisker_boxes(point: Point, x: Axis, y: Axis) -> list[Box]:
    boxes: list[Box] = []
    if point.x_low is not None and point.x_high is not None:
        a, b = sorted((x.inside(point.x_low), x.inside(point.x_high)))
        boxes.append((a, y.at(point.y) - 3, b, y.at(point.y) + 3))
    if point.y_low is not None and point.y_high is not None:
        a, b = sorted((y.inside(point.y_low), y.inside(point.y_high)))
        boxes.append((x.at(point.x) - 3, a, x.at(point.x) + 3, b))
    return boxes


def _shared(a: Box, b: Box) -> float:
    """Returns the area that two boxes share."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    tall = min(a[3], b[3]) - max(a[1], b[1])
    return wide * tall if wide > 0 and tall > 0 else 0.0


def _out(box: Box, size: Size) -> float:
    """Returns the area of ``box`` that is outside the frame."""
    inner = (size.left, size.top - 6, size.width - 2, size.height - size.bottom)
    return (box[2] - box[0]) * (box[3] - box[1]) - _shared(box, inner)


def _describe(chart: Scatter, points: list[Point]) -> str:
    front = ", ".join(p.name for p in points if p.front)
    ends = f" On the Pareto front: {front}." if front else ""
    return (
        f"{chart.y_label} against {chart.x_label}, {len(points)} points with intervals.{ends} "
        "The table below has the numbers."
    )
