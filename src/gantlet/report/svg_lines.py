"""Curves with bands: one chart for a few, a panel each for many."""

from collections.abc import Sequence

from gantlet.report import svg, thin
from gantlet.report.axis import Axis, finite, span
from gantlet.report.blocks import Lines, Series
from gantlet.report.labels import shorten
from gantlet.report.markup import Markup, clean, join
from gantlet.report.svg import Size

POINTS = 500  # of each curve; more cannot be told apart on a screen
_MARKED = 16  # a curve of at most so many points shows each of them

Run = list[tuple[float, float, float, float]]  # neighbouring points: x, y, low, high in pixels


def draw(chart: Lines) -> list[Markup]:
    """Returns one chart, or a panel for each curve when there are too many to tell apart."""
    if len(chart.series) <= svg.SERIES:
        return [_together(chart)]
    return [_panel(chart, k) for k in range(len(chart.series))]


def _together(chart: Lines) -> Markup:
    names = [s.name for s in chart.series]
    longest = max(map(len, shorten(names).values()), default=0)
    size = Size(top=32, right=min(24 + longest * svg.CHARACTER, 170))
    x, y = _axes(chart, size)
    curves = [_runs(s, x, y) for s in chart.series]
    parts = svg.frame(size, x, y, chart.x_label, chart.y_label)
    parts += [_band(runs, f"band s{k}") for k, runs in enumerate(curves)]
    parts += [_curve(runs, k) for k, runs in enumerate(curves)]
    parts += _labels(names, curves, size)
    return svg.picture(size, clean(chart.title), _describe(chart, chart.series), parts)


def _panel(chart: Lines, index: int) -> Markup:
    """Returns one curve in colour before all others in grey, on axes that all panels share."""
    size = Size(width=280, height=200, left=48, right=10, top=40, bottom=40)
    x, y = _axes(chart, size)
    one = chart.series[index]
    name = shorten(s.name for s in chart.series)[one.name]
    parts = [svg.text(4, 15, svg.short(name, size.width), class_="panel")]
    parts += _small_frame(chart, size, x, y)
    others = [s for k, s in enumerate(chart.series) if k != index]
    parts += [_path(run, "other") for s in others for run in _runs(s, x, y, most=100)]
    runs = _runs(one, x, y)
    parts += [_band(runs, "band s0"), _curve(runs, 0)]
    return svg.picture(size, f"{clean(chart.title)}: {one.name}", _describe(chart, [one]), parts)


def _small_frame(chart: Lines, size: Size, x: Axis, y: Axis) -> list[Markup]:
    parts = svg.ticks(size, x, y, most=4)
    parts.append(svg.text(4, 31, svg.short(chart.y_label, size.width), class_="tick"))
    middle = (size.left + size.width - size.right) / 2
    label = svg.short(chart.x_label, size.width)
    parts.append(svg.text(middle, size.height - 5, label, class_="tick", anchor="middle"))
    return parts


def _axes(chart: Lines, size: Size) -> tuple[Axis, Axis]:
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
    return [run[i] for i in thin.keep([(p[0], p[1]) for p in run], most)]


def _band(runs: list[Run], class_: str) -> Markup:
    wide = [run for run in runs if len(run) > 1 and any(p[2] != p[3] for p in run)]
    outlines = [
        [(p[0], p[2]) for p in run] + [(p[0], p[3]) for p in reversed(run)] for run in wide
    ]
    return join([svg.path(points, class_, close=True) for points in outlines])


def _curve(runs: list[Run], index: int) -> Markup:
    points = [p for run in runs for p in run]
    marked = points if len(points) <= _MARKED else points[-1:]
    return join(
        [
            *(_path(run, f"curve s{index}") for run in runs),
            *(svg.marker(p[0], p[1], index, f"mark s{index}") for p in marked),
        ]
    )


def _path(run: Run, class_: str) -> Markup:
    return svg.path([(p[0], p[1]) for p in run], class_)


def _labels(names: Sequence[str], curves: list[list[Run]], size: Size) -> list[Markup]:
    """Returns the names at the ends of the curves, moved apart where they would overlap."""
    ends = [(runs[-1][-1][1], k) for k, runs in enumerate(curves) if runs]
    places = _apart([y for y, _ in ends], size.top, size.height - size.bottom)
    left = size.width - size.right + 10
    short = shorten(names)
    return [
        svg.text(left, y + 4, svg.short(short[names[k]], size.right - 10), class_=f"name s{k}")
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


def _describe(chart: Lines, series: Sequence[Series]) -> str:
    names = ", ".join(s.name for s in series)
    return f"{chart.y_label} against {chart.x_label} for {names}. The table below has the numbers."
