"""A waterfall: drawn, as a table, in every format and as a figure."""

import re
import xml.etree.ElementTree as ET

import pytest

from gantlet.core.estimate import Estimate
from gantlet.report import charts
from gantlet.report.blocks import Dot, Report, Waterfall
from gantlet.report.documents import render
from gantlet.report.json import as_json, from_json


def number(value, half):
    return Estimate(value=value, low=value - half, high=value + half)


def example(start=10.0):
    parts = [
        Dot(name="n", estimate=number(6.0, 1.0)),
        Dot(name="<JPEG>", estimate=number(-2.0, 3.0)),
        Dot(
            name="unexplained rest", estimate=Estimate(value=1.0, method="no interval: published")
        ),
    ]
    return Waterfall(
        title="From A to B",
        unit="1",
        start=Dot(name="A", estimate=number(start, 1.0)),
        parts=tuple(parts),
        end=Dot(name="B", estimate=number(start + 5, 1.0)),
        note="A note.",
    )


def bars(chart):
    """Returns left, width and class of each bar."""
    root = ET.fromstring(str(charts.draw_waterfall(chart)))
    found = [e for e in root.iter() if e.tag.endswith("rect")]
    return [(float(e.get("x")), float(e.get("width")), e.get("class")) for e in found]


def test_each_bar_begins_where_the_last_one_ended():
    a, n, jpeg, rest, b = bars(example())
    assert n[0] == pytest.approx(a[0] + a[1], abs=0.2)
    assert jpeg[0] + jpeg[1] == pytest.approx(n[0] + n[1], abs=0.2)
    assert rest[0] == pytest.approx(jpeg[0], abs=0.2)
    assert b[0] + b[1] == pytest.approx(rest[0] + rest[1], abs=0.2)
    assert n[1] == pytest.approx(3 * jpeg[1], rel=0.02)
    assert [x[2] for x in (a, n, jpeg, rest)] == [
        "bar total",
        "bar s0",
        "bar s1 open",
        "bar s0 open",
    ]


def test_parts_that_are_small_beside_the_totals_are_seen():
    a, n, *_, b = bars(example(start=5000.0))
    assert n[1] > 100
    assert max(a[1], b[1]) < 3


def whisker_ends(chart):
    """Returns the two ends of each interval."""
    root = ET.fromstring(str(charts.draw_waterfall(chart)))
    paths = [e.get("d") for e in root.iter() if e.get("class") == "whisker"]
    return [[float(x) for x in re.findall(r"[ML]([\d.]+),", d)][:2] for d in paths]


@pytest.mark.parametrize("start", [10.0, 5000.0])
def test_intervals_of_totals_are_around_the_end_of_their_bar(start):
    chart = example(start)
    drawn, ends = bars(chart), whisker_ends(chart)
    unit = drawn[1][1] / 6.0  # of the first part, in pixels
    top = drawn[1][0] + unit  # where the low end is, there may be no axis
    assert ends[0][1] == pytest.approx(top, abs=0.3)
    assert ends[-1] == pytest.approx([top + 3 * unit, top + 5 * unit], abs=0.3)


def test_a_figure_shows_no_more_than_bars_and_intervals():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    drawn = Report(title="t", command="why", blocks=[example(5000.0)]).figure("From A")
    (axes,) = drawn.axes
    assert axes.get_xlim() == pytest.approx((5000.0, 5010.0), abs=12.0)


def test_all_formats_have_the_numbers():
    report = Report(title="t", command="why", blocks=[example()])
    for form in ("text", "html", "markdown", "latex"):
        shown = render(report, form)
        assert "From A to B" in shown, form
        assert "unexplained rest" in shown, form
    assert "&lt;JPEG&gt;" in render(report, "html")
    assert from_json(as_json(report)).blocks == tuple(report.blocks)
    table = charts.waterfall_table(example())
    assert [row[2] for row in table.rows] == [10.0, 16.0, 14.0, 15.0, 15.0]


def test_a_figure_has_a_bar_for_each_line():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    drawn = Report(title="t", command="why", blocks=[example()]).figure("From A")
    (axes,) = drawn.axes
    assert len(axes.patches) == 5
    assert next(iter(axes.get_yticklabels())).get_text() == "A"
