"""Charts as SVG and as tables, without external libraries.

Colours are classes of the page's style sheet, so that one chart serves light, dark and paper. The
tables are for those who cannot see a chart, and for formats without pictures.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, pairwise

from gantlet.core.estimate import Better, Estimate
from gantlet.report import format as fmt
from gantlet.report import svg
from gantlet.report.blocks import (
    Cell,
    Chart,
    Column,
    Dot,
    Forest,
    Group,
    Lines,
    Point,
    Scatter,
    Series,
    Table,
    Waterfall,
)
from gantlet.report.format import ARROWS, Markup, UnitScale, clean, join, shorten, tag
from gantlet.report.svg import CHARACTER, Axis, Size, finite, span

# Thinning


def keep(points: Sequence[tuple[float, float]], most: int) -> list[int]:
    """Returns the indices of at most ``most`` points that keep the shape of the line.

    From each of ``most - 2`` equal runs of points the one is taken that spans the largest
    triangle with the point taken before and the mean of the next run; the ends stay.

    Source: S. Steinarsson, "Downsampling time series for visual representation", University of
    Iceland, 2013, section 4.2 (largest triangle, three buckets).
    """
    n = len(points)
    if n <= most:
        return list(range(n))
    edges = [1 + (n - 2) * i // (most - 2) for i in range(most - 1)] + [n]
    kept = [0]
    for start, stop, after in zip(edges, edges[1:-1], edges[2:], strict=False):
        following = points[stop:after]
        mean = (
            sum(p[0] for p in following) / len(following),
            sum(p[1] for p in following) / len(following),
        )
        last = points[kept[-1]]
        kept.append(max(range(start, stop), key=lambda i: _area(last, points[i], mean)))
    return [*kept, n - 1]


def _area(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return abs((a[0] - c[0]) * (b[1] - a[1]) - (a[0] - b[0]) * (c[1] - a[1]))


# Curves


SERIES = 5  # colours distinguishable on white and on black, with a marker and dash each
POINTS = 500  # of each curve; more cannot be resolved on a screen
_MARKED = 16  # curves with at most this many points show a marker for each

Run = list[tuple[float, float, float, float]]  # neighbouring points: x, y, low, high in pixels


def draw_lines(chart: Lines) -> list[Markup]:
    """Returns one chart, or a panel per curve if there are too many to distinguish."""
    if len(chart.series) <= SERIES:
        return [_together(chart)]
    return [_panel(chart, k) for k in range(len(chart.series))]


def _together(chart: Lines) -> Markup:
    names = [s.name for s in chart.series]
    longest = max(map(len, shorten(names).values()), default=0)
    size = Size(top=32, right=min(24 + longest * CHARACTER, 170))
    x, y = _line_axes(chart, size)
    curves = [_runs(s, x, y) for s in chart.series]
    parts = svg.frame(size, x, y, chart.x_label, chart.y_label)
    parts += [_band(runs, f"band s{k}") for k, runs in enumerate(curves)]
    parts += [_draw_curve(runs, k) for k, runs in enumerate(curves)]
    parts += _end_labels(names, curves, size)
    return svg.picture(size, clean(chart.title), _describe_lines(chart, chart.series), parts)


def _panel(chart: Lines, index: int) -> Markup:
    """Returns one curve in colour before all others in grey, on axes that all panels share."""
    size = Size(width=280, height=200, left=48, right=10, top=40, bottom=40)
    x, y = _line_axes(chart, size)
    one = chart.series[index]
    name = shorten(s.name for s in chart.series)[one.name]
    parts = [svg.text(4, 15, svg.cut(name, size.width), class_="panel")]
    parts += _small_frame(chart, size, x, y)
    others = [s for k, s in enumerate(chart.series) if k != index]
    parts += [_run_path(run, "other") for s in others for run in _runs(s, x, y, most=100)]
    runs = _runs(one, x, y)
    parts += [_band(runs, "band s0"), _draw_curve(runs, 0)]
    return svg.picture(
        size, f"{clean(chart.title)}: {one.name}", _describe_lines(chart, [one]), parts
    )


def _small_frame(chart: Lines, size: Size, x: Axis, y: Axis) -> list[Markup]:
    parts = svg.ticks(size, x, y, most=4)
    parts.append(svg.text(4, 31, svg.cut(chart.y_label, size.width), class_="tick"))
    middle = (size.left + size.width - size.right) / 2
    label = svg.cut(chart.x_label, size.width)
    parts.append(svg.text(middle, size.height - 5, label, class_="tick", anchor="middle"))
    return parts


def _line_axes(chart: Lines, size: Size) -> tuple[Axis, Axis]:
    ends = [v for s in chart.series for v in (*s.low, *s.high)]
    x = _tight([v for s in chart.series for v in s.x], log=chart.log_x)
    y = span([v for s in chart.series for v in s.y], ends, log=chart.log_y)
    return svg.axes(size, x=(*x, chart.log_x), y=(*y, chart.log_y))


def _tight(values: list[float], *, log: bool) -> tuple[float, float]:
    """Returns a range without air, so that curves begin and end at the frame."""
    usable = [v for v, ok in zip(values, finite(values, log=log), strict=True) if ok]
    if usable and min(usable) < max(usable):
        return min(usable), max(usable)
    return span(values, log=log)


def _runs(series: Series, x: Axis, y: Axis, most: int = POINTS) -> list[Run]:
    """Returns the unbroken pieces of a curve in pixels, thinned to ``most`` points in all."""
    low, high = series.low or series.y, series.high or series.y
    has_place = [
        a and b
        for a, b in zip(finite(series.x, log=x.log), finite(series.y, log=y.log), strict=True)
    ]
    runs: list[Run] = [[]]
    for ok, *point in zip(has_place, series.x, series.y, low, high, strict=True):
        if ok:
            a, b, c, d = point
            runs[-1].append((x.at(a), y.at(b), y.inside(c), y.inside(d)))
        elif runs[-1]:
            runs.append([])
    share = most / max(sum(map(len, runs)), 1)
    return [_thinned(run, max(int(len(run) * share), 3)) for run in runs if run]


def _thinned(run: Run, most: int) -> Run:
    return [run[i] for i in keep([(p[0], p[1]) for p in run], most)]


def _band(runs: list[Run], class_: str) -> Markup:
    wide = [run for run in runs if len(run) > 1 and any(p[2] != p[3] for p in run)]
    outlines = [
        [(p[0], p[2]) for p in run] + [(p[0], p[3]) for p in reversed(run)] for run in wide
    ]
    return join([svg.path(points, class_, close=True) for points in outlines])


def _draw_curve(runs: list[Run], index: int) -> Markup:
    points = [p for run in runs for p in run]
    marked = points if len(points) <= _MARKED else points[-1:]
    return join(
        [
            *(_run_path(run, f"curve s{index}") for run in runs),
            *(svg.marker(p[0], p[1], index, f"mark s{index}") for p in marked),
        ]
    )


def _run_path(run: Run, class_: str) -> Markup:
    return svg.path([(p[0], p[1]) for p in run], class_)


def _end_labels(names: Sequence[str], curves: list[list[Run]], size: Size) -> list[Markup]:
    """Returns the names at the ends of the curves, moved apart where they would overlap."""
    ends = [(runs[-1][-1][1], k) for k, runs in enumerate(curves) if runs]
    places = _apart([y for y, _ in ends], size.top, size.height - size.bottom)
    left = size.width - size.right + 10
    short = shorten(names)
    return [
        svg.text(left, y + 4, svg.cut(short[names[k]], size.right - 10), class_=f"name s{k}")
        for y, (_, k) in zip(places, ends, strict=True)
    ]


def _apart(places: list[float], top: float, bottom: float, gap: float = 16) -> list[float]:
    """Returns ``places`` in their order, at least ``gap`` apart and above ``bottom``."""
    order = sorted(range(len(places)), key=lambda k: places[k])
    moved = list(places)
    last = top - gap
    for k in order:
        last = moved[k] = max(places[k], last + gap)
    last = bottom + gap
    for k in reversed(order):
        last = moved[k] = min(moved[k], last - gap)
    return moved


def _describe_lines(chart: Lines, series: Sequence[Series]) -> str:
    names = ", ".join(s.name for s in series)
    return f"{chart.y_label} against {chart.x_label} for {names}. The table below has the numbers."


# Points


Box = tuple[float, float, float, float]  # left, top, right, bottom

_LABEL_HEIGHT = 14.0  # of a label
_ACROSS: dict[Better | None, str] = {"lower": "← better", "higher": "better →", None: ""}
_UP: dict[Better | None, str] = {"lower": "↓ better", "higher": "↑ better", None: ""}


def draw_scatter(chart: Scatter) -> Markup:
    """Returns the chart; points of the front are full and joined, the others hollow."""
    size = Size(height=400, top=32, right=24)
    points = _usable(chart)
    x, y = _scatter_axes(chart, points, size)
    x_label = "\u2003".join(filter(None, (chart.x_label, _ACROSS[chart.x_better])))
    y_label = "\u2003".join(filter(None, (chart.y_label, _UP[chart.y_better])))
    parts = svg.frame(size, x, y, x_label, y_label)
    front = [(x.at(a), y.at(b)) for a, b in front_steps(chart)]
    parts += [svg.path(front, "front")] if len(front) > 1 else []
    parts += [w for p in points for w in _whiskers(p, x, y)]
    parts += [_point_marker(p, x, y) for p in points]
    parts += _point_labels(points, x, y, size, front=front)
    return svg.picture(size, clean(chart.title), _describe_scatter(chart, points), parts)


def _usable(chart: Scatter) -> list[Point]:
    across = finite([p.x for p in chart.points], log=chart.log_x)
    up = finite([p.y for p in chart.points], log=chart.log_y)
    return [p for p, a, b in zip(chart.points, across, up, strict=True) if a and b]


def _scatter_axes(chart: Scatter, points: list[Point], size: Size) -> tuple[Axis, Axis]:
    x = span(
        [p.x for p in points], [e for p in points for e in (p.x_low, p.x_high)], log=chart.log_x
    )
    y = span(
        [p.y for p in points], [e for p in points for e in (p.y_low, p.y_high)], log=chart.log_y
    )
    return svg.axes(size, x=(*x, chart.log_x), y=(*y, chart.log_y))


def front_steps(chart: Scatter) -> list[tuple[float, float]]:
    """Returns the edge of what the front reaches: a staircase, since nothing lies between."""
    corners: list[tuple[float, float]] = []
    for a, b in sorted((p.x, p.y) for p in _usable(chart) if p.front):
        if corners:
            before = corners[-1]
            corners.append((before[0], b) if chart.x_better == "higher" else (a, before[1]))
        corners.append((a, b))
    return corners


def _whiskers(point: Point, x: Axis, y: Axis) -> list[Markup]:
    class_ = "whisker s0" if point.front else "whisker"
    parts: list[Markup] = []
    if point.x_low is not None and point.x_high is not None and point.x_low < point.x_high:
        parts.append(svg.whisker(x, point.x_low, point.x_high, y.at(point.y), class_))
    if point.y_low is not None and point.y_high is not None and point.y_low < point.y_high:
        parts.append(svg.whisker(y, point.y_low, point.y_high, x.at(point.x), class_))
    return parts


def _point_marker(point: Point, x: Axis, y: Axis) -> Markup:
    words = f"{point.name}: {fmt.text(point.x)}, {fmt.text(point.y)}"
    class_ = "mark s0" if point.front else "mark hollow"
    return svg.marker(x.at(point.x), y.at(point.y), 0, class_, words)


def _point_labels(
    points: list[Point], x: Axis, y: Axis, size: Size, *, front: list[tuple[float, float]]
) -> list[Markup]:
    """Returns the names, each where it covers least of what is drawn or named already."""
    taken = [_around(x.at(p.x), y.at(p.y), 6) for p in points]
    taken += [box for p in points for box in _whisker_boxes(p, x, y)]
    taken += [_along(a, b) for a, b in pairwise(front)]
    short = shorten(p.name for p in points)
    names = {id(p): svg.cut(short[p.name], 190) for p in points}
    boxes: list[tuple[Point, Box]] = []
    for p in sorted(points, key=lambda p: not p.front):
        width = len(names[id(p)]) * CHARACTER
        box = _best_place(x.at(p.x), y.at(p.y), width, taken, size)
        taken.append(box)
        boxes.append((p, box))
    return [
        svg.text(box[0], box[3] - 3, names[id(p)], class_="name s0" if p.front else "name")
        for p, box in _in_order(boxes, x, y)
    ]


def _in_order(boxes: list[tuple[Point, Box]], x: Axis, y: Axis) -> list[tuple[Point, Box]]:
    """Returns the labels, of points above each other in the order of these points.

    Labels that had to make way must not name each other's points.
    """
    found = sorted(boxes, key=lambda pair: y.at(pair[0].y))
    for i, j in combinations(range(len(found)), 2):
        (p, above), (q, below) = found[i], found[j]
        is_above = abs(x.at(p.x) - x.at(q.x)) < _SAME_PLACE and y.at(p.y) < y.at(q.y)
        if is_above and above[1] > below[1]:
            found[i] = p, (above[0], below[1], above[2], below[3])
            found[j] = q, (below[0], above[1], below[2], above[3])
    return found


_SAME_PLACE = 12.0  # pixels from one point to another, across


def _best_place(x: float, y: float, width: float, taken: Sequence[Box], size: Size) -> Box:
    places = [
        (left, top, left + width, top + _LABEL_HEIGHT)
        for gap in (8.0, 16.0, 28.0)
        for left, top in (
            (x + gap, y - _LABEL_HEIGHT - gap / 4),
            (x + gap, y + gap / 4),
            (x - gap - width, y - _LABEL_HEIGHT - gap / 4),
            (x - gap - width, y + gap / 4),
            (x - width / 2, y - _LABEL_HEIGHT - gap),
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


def _describe_scatter(chart: Scatter, points: list[Point]) -> str:
    front = ", ".join(p.name for p in points if p.front)
    ends = f" On the Pareto front: {front}." if front else ""
    return (
        f"{chart.y_label} against {chart.x_label}, {len(points)} points with intervals.{ends} "
        "The table below has the numbers."
    )


# Rows of names, bars or dots, and numbers: forests and waterfalls


_ROW = 25.0  # height of a row
_GROUP = 30.0  # height of the name of a group


def _rows_size(names: Iterable[str], height: float) -> Size:
    longest = max(map(len, shorten(names).values()), default=0)
    left = min(max(longest * CHARACTER + 24, 70), 196)
    return Size(left=left, right=128, top=6, bottom=46, height=height + 52)


def _grid(across: Axis, size: Size) -> list[Markup]:
    """Returns the upright lines of the ticks, and the numbers below them."""
    bottom, places = size.height - size.bottom, [(t, across.at(t)) for t in across.ticks()]
    return [
        *(svg.line(x, size.top, x, bottom, "grid") for _, x in places),
        *(svg.text(x, bottom + 17, fmt.tick(t), anchor="middle") for t, x in places),
    ]


def _row(name: str, drawn: list[Markup], number: str, y: float, size: Size) -> list[Markup]:
    """Returns a row: its name at the left, what is drawn, its number at the right."""
    short = svg.cut(name, size.left - 12)
    return [
        svg.text(4, y + 4, short, class_="name"),
        *drawn,
        svg.text(size.width - 4, y + 4, number, class_="number", anchor="end"),
    ]


def _value(estimate: Estimate) -> float:
    return float("nan") if estimate.value is None else estimate.value


def _written(estimate: Estimate, by: UnitScale | None) -> str:
    written = fmt.write(estimate, by or fmt.scale_of(estimate))
    is_missing = written.value == fmt.MISSING
    suffix = "" if by or is_missing else fmt.scale_of(estimate).suffix
    spread = "(no interval)" if written.spread == fmt.UNKNOWN else written.spread
    return " ".join(filter(None, (written.value, spread, suffix)))


# Forests


def draw_forest(chart: Forest) -> Markup:
    """Returns the chart. Full dots compete and, where a line is drawn, lie apart from it."""
    size = _forest_size(chart)
    across = _forest_axis(chart, size)
    by = fmt.common_scale([_value(d.estimate) for d in _dots(chart)], chart.unit)
    parts = _forest_frame(chart, across, size)
    y = size.top
    for name, dot, is_full in forest_rows(chart):
        if dot is None:
            y += _GROUP
            parts.append(svg.text(4, y - 6, svg.cut(name, size.width - 8), class_="panel"))
            continue
        middle = y + _ROW / 2
        drawn = _interval(dot, across, middle, is_full=is_full)
        parts += _row(name, drawn, _written(dot.estimate, by), middle, size)
        y += _ROW
    return svg.picture(size, clean(chart.title), _describe_forest(chart), parts)


def _dots(chart: Forest) -> list[Dot]:
    return [d for g in chart.groups for d in g.dots]


def _forest_size(chart: Forest) -> Size:
    dots = _dots(chart)
    height = len(dots) * _ROW + sum(_GROUP for g in chart.groups if g.name)
    return _rows_size((d.name for d in dots), height)


def _forest_axis(chart: Forest, size: Size) -> Axis:
    found = [d.estimate for d in _dots(chart) if d.estimate.value is not None]
    values = [_value(e) for e in found]
    if chart.reference is not None:
        values.append(chart.reference)
    low, high = span(values, [end for e in found for end in (e.low, e.high)], log=chart.log)
    return svg.axes(size, x=(low, high, chart.log), y=(0.0, 1.0, False))[0]


def forest_rows(chart: Forest) -> Iterator[tuple[str, Dot | None, bool]]:
    """Yields the lines from top to bottom: name, dot (None for the name of a group), if full."""
    names = shorten(d.name for d in _dots(chart))
    for group in chart.groups:
        if group.name:
            yield group.name, None, False
        for dot in _ordered(chart, group):
            yield names[dot.name], dot, _is_full(chart, dot)


def _ordered(chart: Forest, group: Group) -> list[Dot]:
    """Returns the dots of a group best first, where best means something; references last."""
    if chart.better is None or chart.reference is not None:
        return list(group.dots)
    sign = 1 if chart.better == "lower" else -1

    def place(dot: Dot) -> tuple[bool, bool, float]:
        value = _value(dot.estimate)
        is_missing = math.isnan(value)
        return dot.name in chart.references, is_missing, 0.0 if is_missing else sign * value

    return sorted(group.dots, key=place)


def _is_full(chart: Forest, dot: Dot) -> bool:
    if dot.name in chart.references:
        return False
    return _is_apart(dot.estimate, chart.reference)


def _is_apart(estimate: Estimate, reference: float | None) -> bool:
    if reference is None:
        return True
    if estimate.low is None or estimate.high is None:
        return False
    return estimate.low > reference or estimate.high < reference


def _forest_frame(chart: Forest, across: Axis, size: Size) -> list[Markup]:
    parts = _grid(across, size)
    if chart.reference is not None and across.shows(chart.reference):
        place = across.at(chart.reference)
        bottom = size.height - size.bottom
        parts.append(svg.line(place, size.top, place, bottom, "reference"))
    arrow = f"{ARROWS[chart.better]} {chart.better} is better" if chart.better else ""
    label = "\u2003".join(filter(None, ("" if chart.unit == "1" else chart.unit, arrow)))
    middle = (size.left + size.width - size.right) / 2
    parts.append(svg.text(middle, size.height - 8, label, class_="label", anchor="middle"))
    return parts


def _interval(dot: Dot, across: Axis, y: float, *, is_full: bool) -> list[Markup]:
    e = dot.estimate
    value = _value(e)
    if not across.shows(value):
        room = across.stop - across.start
        return [svg.text(across.start + 8, y + 4, svg.cut(e.method, room))]
    parts: list[Markup] = []
    if e.low is not None and e.high is not None and e.low < e.high:
        parts.append(svg.whisker(across, e.low, e.high, y, f"whisker {'s0' if is_full else ''}"))
    words = f"{dot.name}: {fmt.text(e)}; {fmt.origin(e)}"
    shape = "mark s0" if is_full else "mark hollow"
    return [*parts, svg.marker(across.at(value), y, 0, shape, words)]


def _describe_forest(chart: Forest) -> str:
    named = [d for d in _dots(chart) if d.estimate.value is not None]
    words = "; ".join(f"{d.name} {fmt.text(d.estimate)}" for d in named[:12])
    return f"Values with intervals: {words}." if words else "Nothing could be measured."


# Waterfalls


_BAR = 13.0
# Parts that together are less than this share of the totals would not be seen beside them.
_SEEN = 0.25


def draw_waterfall(chart: Waterfall) -> Markup:
    """Returns the chart; bars of parts whose interval excludes 0 are full, others hollow."""
    lines = waterfall_lines(chart)
    size = _rows_size((dot.name for dot, _, _ in lines), len(lines) * _ROW)
    across = _waterfall_axis(lines, size)
    by = fmt.common_scale([_value(dot.estimate) for dot, _, _ in lines], chart.unit)
    parts = _grid(across, size)
    short = shorten(dot.name for dot, _, _ in lines)
    for k, (dot, low, high) in enumerate(lines):
        middle = size.top + (k + 0.5) * _ROW
        drawn = _bar(dot, across, (low, high), middle, is_total=k in (0, len(lines) - 1))
        if k + 1 < len(lines):
            place = across.at(high)
            drawn.append(svg.line(place, middle, place, middle + _ROW, "reference"))
        parts += _row(short[dot.name], drawn, _written(dot.estimate, by), middle, size)
    return svg.picture(size, clean(chart.title), _describe_waterfall(chart), parts)


def waterfall_lines(chart: Waterfall) -> list[tuple[Dot, float, float]]:
    """Returns each line with where its bar begins and ends.

    Those of the totals begin at 0, unless the parts are too small to be seen beside them: then
    totals are a mark only.
    """
    first, last = (_value(dot.estimate) for dot in (chart.start, chart.end))
    at, found = first, list[tuple[Dot, float, float]]()
    for dot in chart.parts:
        step = _value(dot.estimate)
        found.append((dot, at, at + (0.0 if math.isnan(step) else step)))
        at = found[-1][2]
    ends = [first, last, *(end for _, _, end in found)]
    is_cut = max(ends) - min(ends) < _SEEN * max(map(abs, ends))
    start, stop = (first, last) if is_cut else (0.0, 0.0)
    return [(chart.start, start, first), *found, (chart.end, stop, last)]


def _waterfall_axis(lines: list[tuple[Dot, float, float]], size: Size) -> Axis:
    """Returns an axis of all bars, and of intervals as far as twice the width of these."""
    ends = [x for _, start, stop in lines for x in (start, stop) if math.isfinite(x)] or [0.0]
    around = [
        start + end
        for dot, start, _ in lines[1:-1]
        for end in (dot.estimate.low, dot.estimate.high)
        if end is not None and math.isfinite(start + end)
    ]
    low, high = min(ends), max(ends)
    width = (high - low) or abs(high) or 1.0
    low, high = max(min([low, *around]), low - width), min(max([high, *around]), high + width)
    air = 0.06 * (high - low)
    return svg.axes(size, x=(low - air, high + air, False), y=(0.0, 1.0, False))[0]


def _bar(
    dot: Dot, across: Axis, ends: tuple[float, float], y: float, *, is_total: bool
) -> list[Markup]:
    """Returns a bar with its interval, which is that of its length."""
    e, (start, stop) = dot.estimate, ends
    if not (math.isfinite(start) and math.isfinite(stop)):
        return []
    left, right = sorted((across.at(start), across.at(stop)))
    is_full = not is_total and _is_apart(e, 0.0)
    shape = "bar total" if is_total else f"bar s{0 if stop >= start else 1}"
    found = [
        tag(
            "rect",
            tag("title", f"{dot.name}: {fmt.text(e)}; {fmt.origin(e)}"),
            x=svg.px(left),
            y=svg.px(y - _BAR / 2),
            width=svg.px(max(right - left, 1.5)),
            height=svg.px(_BAR),
            class_=shape if is_full or is_total else f"{shape} open",
        )
    ]
    if e.low is not None and e.high is not None and e.low < e.high:
        # The bar of a total may begin elsewhere than at 0, its interval does not.
        base = 0.0 if is_total else start
        found.append(svg.whisker(across, base + e.low, base + e.high, y, "whisker"))
    return found


def _describe_waterfall(chart: Waterfall) -> str:
    dots = (chart.start, *chart.parts, chart.end)
    words = "; ".join(f"{d.name} {fmt.text(d.estimate)}" for d in dots)
    return f"From the first number to the last one, part by part: {words}."


# Charts as tables


TABLE_POINTS = 20  # of each curve; report.json has them all


def as_table(chart: Chart) -> Table:
    """Returns any chart as a table."""
    match chart:
        case Lines():
            return lines_table(chart)
        case Scatter():
            return scatter_table(chart)
        case Forest():
            return forest_table(chart)
        case Waterfall():
            return waterfall_table(chart)


def lines_table(chart: Lines) -> Table:
    """Returns the curves as rows, at most ``TABLE_POINTS`` of each."""
    rows = [row for s in chart.series for row in _curve_rows(s)]
    is_thinned = any(len(s.x) > TABLE_POINTS for s in chart.series)
    return Table(
        title=chart.title,
        columns=[
            Column(name="curve"),
            Column(name=chart.x_label or "x"),
            Column(name=chart.y_label or "y"),
        ],
        rows=rows,
        note=f"{TABLE_POINTS} points of each curve; report.json in the run folder has all."
        if is_thinned
        else "",
    )


def scatter_table(chart: Scatter) -> Table:
    """Returns the points as rows."""
    return Table(
        title=chart.title,
        columns=[
            Column(name="name"),
            Column(name=chart.x_label or "x", better=chart.x_better),
            Column(name=chart.y_label or "y", better=chart.y_better),
            Column(name="on the front"),
        ],
        rows=[
            [
                p.name,
                _estimate(p.x, p.x_low, p.x_high),
                _estimate(p.y, p.y_low, p.y_high),
                "yes" if p.front else "no",
            ]
            for p in chart.points
        ],
    )


def forest_table(chart: Forest) -> Table:
    """Returns the dots as rows."""
    has_groups = any(g.name for g in chart.groups)
    rows: list[list[Cell]] = [
        [*([g.name] if has_groups else []), d.name, d.estimate]
        for g in chart.groups
        for d in _ordered(chart, g)
    ]
    # Across groups the best means nothing.
    better = None if has_groups else chart.better
    value = Column(name="value", better=better, unit=chart.unit)
    names = [Column(name="group")] if has_groups else []
    return Table(
        title=chart.title,
        columns=[*names, Column(name="name"), value],
        rows=rows,
        note=chart.note,
        references=[] if has_groups else chart.references,
    )


def waterfall_table(chart: Waterfall) -> Table:
    """Returns the numbers as rows, each with where it leads to."""
    rows: list[list[Cell]] = [
        [dot.name, dot.estimate, end] for dot, _, end in waterfall_lines(chart)
    ]
    return Table(
        title=chart.title,
        columns=[
            Column(name="part"),
            Column(name="value", unit=chart.unit),
            Column(name="running total", unit=chart.unit),
        ],
        rows=rows,
        note=chart.note,
        references=[chart.start.name, chart.end.name],
    )


def _curve_rows(series: Series) -> list[list[Cell]]:
    points = [
        (x, y) if math.isfinite(x) and math.isfinite(y) else (0.0, 0.0)
        for x, y in zip(series.x, series.y, strict=True)
    ]
    return [
        [
            series.name,
            series.x[i],
            _estimate(
                series.y[i],
                series.low[i] if series.low else None,
                series.high[i] if series.high else None,
            ),
        ]
        for i in keep(points, TABLE_POINTS)
    ]


def _estimate(value: float, low: float | None, high: float | None) -> Estimate | float:
    if low is None or high is None:
        return value
    # The ends of a band without width may differ in their last digits, either way round.
    return Estimate(value=value, low=min(low, high), high=max(low, high))
