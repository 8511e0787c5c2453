"""Charts of a report as vector graphics for papers: PDF or SVG, drawn with matplotlib.

The page draws its charts itself, in colours of its style sheet; here the same blocks become
figures of the width of a text column, black on white, whose text stays text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantlet.core.errors import UserError, unknown
from gantlet.report.blocks import (
    Block,
    Chart,
    Forest,
    Lines,
    Point,
    Report,
    Scatter,
    Section,
    Series,
    Waterfall,
)
from gantlet.report.charts import forest_rows, front_steps, waterfall_lines
from gantlet.report.format import clean, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FORMATS = (".pdf", ".svg", ".png")
_WIDTH, _HEIGHT = 5.5, 3.4  # inches: the text of most conferences
# Colours distinguishable with colour vision deficiency, each with its marker and dash.
# Source: Okabe and Ito, 2008, https://jfly.uni-koeln.de/color/.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9")
_MARKERS = "os^DvPX"
_DASHES = ("-", "--", ":", "-.")
_STYLE: dict[Any, object] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,  # text that can be searched and edited
    "svg.fonttype": "none",
    "svg.hashsalt": "gantlet",  # the same figure is the same file
    "figure.constrained_layout.use": True,
}


def figures(report: Report) -> list[str]:
    """Returns the titles of the charts of a report, by which ``figure`` knows them."""
    return [chart.title for chart in _charts(report.blocks)]


def figure(report: Report, name: str, path: str | Path | None = None) -> Figure:
    """Returns a chart as a matplotlib figure, and writes it where ``path`` is given.

    Args:
        report: The report.
        name: The title of the chart, in any case, or its beginning where that is unique.
        path: A file that ends in ``.pdf``, ``.svg`` or ``.png``.

    Raises:
        UserError: If the chart or the format is unknown, or matplotlib is not installed.
    """
    chart = _found(report, name)
    suffix = "" if path is None else Path(path).suffix.lower()
    if path is not None and suffix not in _FORMATS:
        raise unknown("format of figures", suffix or str(path), _FORMATS)
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise UserError(
            "Figures need matplotlib, not installed here. Run: pip install 'gantlet[figures]'."
        ) from error
    with mpl.rc_context(_STYLE):
        drawn = _drawn(chart)
        if path is not None:
            # Without a date, or no two files would be equal.
            dateless = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(suffix, {})
            drawn.savefig(path, dpi=200, metadata=dateless)
    return drawn


def _charts(blocks: Sequence[Block]) -> Iterator[Chart]:
    for block in blocks:
        if isinstance(block, Section):
            yield from _charts(block.blocks)
        elif isinstance(block, Chart):
            yield block


def _found(report: Report, name: str) -> Chart:
    known = list(_charts(report.blocks))
    if not known:
        raise UserError(f"The report {report.title!r} has no charts, so none called {name!r}.")
    wanted = name.casefold()
    same = [c for c in known if c.title.casefold() == wanted]
    begin = [c for c in known if c.title.casefold().startswith(wanted)]
    for found in (same, begin):
        if len(found) == 1:
            return found[0]
    raise unknown("figure", name, [c.title for c in known])


def _drawn(chart: Chart) -> Figure:
    # Not pyplot: it would keep every figure, and choose a window.
    from matplotlib.figure import Figure

    made = Figure(figsize=(_WIDTH, _height(chart)))
    axes = made.subplots()
    match chart:
        case Lines():
            _lines(chart, axes)
        case Scatter():
            _scatter(chart, axes)
        case Forest():
            _forest(chart, axes)
        case Waterfall():
            _waterfall(chart, axes)
    return made


def _height(chart: Chart) -> float:
    if isinstance(chart, Forest):
        return 0.8 + 0.22 * max(len(list(forest_rows(chart))), 1)
    if isinstance(chart, Waterfall):
        return 0.8 + 0.24 * (len(chart.parts) + 2)
    return _HEIGHT


def _framed(chart: Lines | Scatter, axes: Axes) -> None:
    axes.set_xscale("log" if chart.log_x else "linear")
    axes.set_yscale("log" if chart.log_y else "linear")
    axes.set_xlabel(_plain(chart.x_label))
    axes.set_ylabel(_plain(chart.y_label))


def _lines(chart: Lines, axes: Axes) -> None:
    names = shorten(s.name for s in chart.series)
    _framed(chart, axes)
    for k, series in enumerate(chart.series):
        _curve(series, names[series.name], k, axes)
    if len(chart.series) > 1:
        axes.legend(frameon=False, fontsize=8)


def _curve(series: Series, name: str, k: int, axes: Axes) -> None:
    colour = _COLOURS[k % len(_COLOURS)]
    dash = _DASHES[k // len(_COLOURS) % len(_DASHES)]
    mark = "o" if len(series.x) == 1 else None  # a line of one point is not seen
    axes.plot(
        series.x, series.y, color=colour, linestyle=dash, lw=1.4, marker=mark, label=_plain(name)
    )
    if series.low:
        axes.fill_between(series.x, series.low, series.high, color=colour, alpha=0.15, lw=0)


def _scatter(chart: Scatter, axes: Axes) -> None:
    names = shorten(p.name for p in chart.points)
    _framed(chart, axes)
    steps = front_steps(chart)
    if len(steps) > 1:
        axes.plot(*zip(*steps, strict=True), color=_COLOURS[0], lw=1, linestyle="--")
    for point in chart.points:
        _point(point, axes)
        axes.annotate(
            _plain(names[point.name]),
            (point.x, point.y),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=8,
        )


def _point(point: Point, axes: Axes) -> None:
    colour = _COLOURS[0] if point.front else "#606060"
    axes.errorbar(
        point.x,
        point.y,
        xerr=_bars(point.x, point.x_low, point.x_high),
        yerr=_bars(point.y, point.y_low, point.y_high),
        color=colour,
        marker="o",
        markersize=4.5,
        markerfacecolor=colour if point.front else "white",
        lw=1,
    )


def _forest(chart: Forest, axes: Axes) -> None:
    axes.set_xscale("log" if chart.log else "linear")
    rows = list(forest_rows(chart))
    labels: list[str] = []
    for k, (name, dot, is_full) in enumerate(rows):
        labels.append(_plain(name))
        e = None if dot is None else dot.estimate
        if e is not None and e.value is not None:
            axes.errorbar(
                e.value,
                k,
                xerr=_bars(e.value, e.low, e.high),
                color=_COLOURS[0] if is_full else "#606060",
                marker="o",
                markersize=4.5,
                markerfacecolor=_COLOURS[0] if is_full else "white",
                lw=1,
            )
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    if chart.reference is not None:
        axes.axvline(chart.reference, color="#606060", lw=0.8, linestyle="--")
    arrow = f"{chart.better} is better" if chart.better else ""
    axes.set_xlabel(", ".join(filter(None, ("" if chart.unit == "1" else chart.unit, arrow))))


def _waterfall(chart: Waterfall, axes: Axes) -> None:
    rows = waterfall_lines(chart)
    for k, (dot, start, stop) in enumerate(rows):
        is_total, e = k in (0, len(rows) - 1), dot.estimate
        colour = "#808080" if is_total else _COLOURS[0 if stop >= start else 1]
        bars = None if e.value is None else _bars(e.value, e.low, e.high)
        axes.barh(k, stop - start, 0.6, left=start, color=colour, alpha=0.75)
        axes.errorbar(stop, k, xerr=bars, color="#303030", lw=1, fmt="none")
    names = shorten(dot.name for dot, _, _ in rows)
    axes.set_yticks(range(len(rows)), [_plain(names[dot.name]) for dot, _, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("" if chart.unit == "1" else chart.unit)


def _bars(
    value: float, low: float | None, high: float | None
) -> tuple[tuple[float], tuple[float]] | None:
    """Returns the half-widths of an interval, or None without an interval."""
    if low is None or high is None:
        return None
    return (max(value - low, 0.0),), (max(high - value, 0.0),)


def _plain(text: str) -> str:
    """Returns text that matplotlib does not read as a formula."""
    return clean(text).replace("$", r"\$")
