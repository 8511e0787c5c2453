"""Every chart as a table: for those who cannot see it, and for formats without pictures."""

import math

from gantlet.core.estimate import Estimate
from gantlet.report import thin
from gantlet.report.blocks import Cell, Column, Forest, Lines, Scatter, Series, Table

POINTS = 20  # of each curve; report.json has them all


def of_lines(chart: Lines) -> Table:
    """Returns the curves as rows, at most ``POINTS`` of each."""
    rows = [row for s in chart.series for row in _curve(s)]
    is_thinned = any(len(s.x) > POINTS for s in chart.series)
    return Table(
        title=chart.title,
        columns=[
            Column(name="curve"),
            Column(name=chart.x_label or "x"),
            Column(name=chart.y_label or "y"),
        ],
        rows=rows,
        note=f"{POINTS} points of each curve; report.json in the run folder has all."
        if is_thinned
        else "",
    )


def of_scatter(chart: Scatter) -> Table:
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


def of_forest(chart: Forest) -> Table:
    """Returns the dots as rows."""
    has_groups = any(g.name for g in chart.groups)
    rows: list[list[Cell]] = [
        [*([g.name] if has_groups else []), d.name, d.estimate]
        for g in chart.groups
        for d in g.dots
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


def _curve(series: Series) -> list[list[Cell]]:
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
        for i in thin.keep(points, POINTS)
    ]


def _estimate(value: float, low: float | None, high: float | None) -> Estimate | float:
    if low is None or high is None:
        return value
    return Estimate(value=value, low=low, high=high)
