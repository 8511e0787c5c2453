"""Dots with their intervals, one below the other."""

from gantlet.core.estimate import Estimate
from gantlet.report import numbers, svg
from gantlet.report.axis import Axis, span
from gantlet.report.blocks import Dot, Forest, Group
from gantlet.report.labels import shorten
from gantlet.report.markup import Markup, clean
from gantlet.report.numbers import Scale
from gantlet.report.svg import Size
from gantlet.report.tabular import ARROWS, best_set

_LINE = 25.0
_GROUP = 30.0


def draw(chart: Forest) -> Markup:
    """Returns the chart. Full dots: the best set, or what is separated from the reference."""
    size = _size(chart)
    across = _axis(chart, size)
    by = numbers.common_scale([_value(d.estimate) for d in _dots(chart)], chart.unit)
    parts = _frame(chart, across, size)
    names = shorten(d.name for d in _dots(chart))
    y = size.top
    for group in chart.groups:
        if group.name:
            y += _GROUP
            parts.append(svg.text(4, y - 6, svg.short(group.name, size.width - 8), class_="panel"))
        for dot, is_full in zip(group.dots, _full(chart, group), strict=True):
            middle = y + _LINE / 2
            name = svg.short(names[dot.name], size.left - 12)
            number = _number(dot.estimate, by)
            parts.append(svg.text(4, middle + 4, name, class_="name"))
            parts += _interval(dot, across, middle, is_full=is_full)
            parts.append(
                svg.text(size.width - 4, middle + 4, number, class_="number", anchor="end")
            )
            y += _LINE
    return svg.picture(size, clean(chart.title), _describe(chart), parts)


def _dots(chart: Forest) -> list[Dot]:
    return [d for g in chart.groups for d in g.dots]


def _size(chart: Forest) -> Size:
    dots = _dots(chart)
    longest = max(map(len, shorten(d.name for d in dots).values()), default=0)
    rows = len(dots) * _LINE + sum(_GROUP for g in chart.groups if g.name)
    left = min(max(longest * svg.CHARACTER + 16, 70), 190)
    return Size(left=left, right=128, top=6, bottom=46, height=rows + 52)


def _axis(chart: Forest, size: Size) -> Axis:
    found = [d.estimate for d in _dots(chart) if d.estimate.value is not None]
    values = [_value(e) for e in found]
    if chart.reference is not None:
        values.append(chart.reference)
    low, high = span(values, [end for e in found for end in (e.low, e.high)], log=chart.log)
    return svg.axes(size, x=(low, high, chart.log), y=(0.0, 1.0, False))[0]


def _value(estimate: Estimate) -> float:
    return float("nan") if estimate.value is None else estimate.value


def _full(chart: Forest, group: Group) -> list[bool]:
    if chart.better is not None:
        competing = [None if d.name in chart.references else d.estimate for d in group.dots]
        return best_set(competing, chart.better)
    return [_is_apart(d.estimate, chart.reference) for d in group.dots]


def _is_apart(estimate: Estimate, reference: float | None) -> bool:
    if reference is None:
        return True
    if estimate.low is None or estimate.high is None:
        return False
    return estimate.low > reference or estimate.high < reference


def _frame(chart: Forest, across: Axis, size: Size) -> list[Markup]:
    bottom = size.height - size.bottom
    parts = [
        svg.line(across.at(t), size.top, across.at(t), bottom, "grid") for t in across.ticks()
    ]
    parts += [
        svg.text(across.at(t), bottom + 17, numbers.tick(t), anchor="middle")
        for t in across.ticks()
    ]
    if chart.reference is not None and across.shows(chart.reference):
        place = across.at(chart.reference)
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
        return [svg.text(across.start + 8, y + 4, svg.short(e.method, room))]
    parts: list[Markup] = []
    if e.low is not None and e.high is not None and e.low < e.high:
        parts.append(svg.whisker(across, e.low, e.high, y, f"whisker {'s0' if is_full else ''}"))
    words = f"{dot.name}: {numbers.text(e)}; {numbers.origin(e)}"
    shape = "mark s0" if is_full else "mark hollow"
    return [*parts, svg.marker(across.at(value), y, 0, shape, words)]


def _number(estimate: Estimate, by: Scale | None) -> str:
    written = numbers.write(estimate, by or numbers.scale_of(estimate))
    is_missing = written.value == numbers.MISSING
    suffix = "" if by or is_missing else numbers.scale_of(estimate).suffix
    return " ".join(filter(None, (written.value, written.spread, suffix)))


def _describe(chart: Forest) -> str:
    named = [d for d in _dots(chart) if d.estimate.value is not None]
    words = "; ".join(f"{d.name} {numbers.text(d.estimate)}" for d in named[:12])
    return f"Values with intervals: {words}." if words else "Nothing could be measured."
