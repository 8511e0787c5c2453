"""Axes, thinning and SVG."""

import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantlet.core.estimate import Estimate
from gantlet.report import charts
from gantlet.report.blocks import Dot, Forest, Group, Lines, Point, Scatter, Series
from gantlet.report.format import lay_out
from gantlet.report.svg import Axis, span

HOSTILE = "</title><script>alert(1)</script>&\"'"
SVG = "{http://www.w3.org/2000/svg}"


def parse(markup):
    return ET.fromstring(markup)


def texts(root):
    return [t.text for t in root.iter(f"{SVG}text")]


def lines(k, n=50, **rest):
    series = [
        Series(
            name=f"s{i}",
            x=list(range(n)),
            y=[j + i for j in range(n)],
            low=[j + i - 1 for j in range(n)],
            high=[j + i + 1 for j in range(n)],
        )
        for i in range(k)
    ]
    return Lines(title="t", x_label="x", y_label="y", series=series, **rest)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 10))
def test_even_ticks_are_inside_even_and_few(low, width, most):
    axis = Axis(low=low, high=low + width, start=0.0, stop=100.0)
    ticks = axis.ticks(most)
    if low + width == low:
        return
    assert len(ticks) <= most + 1
    slack = 1e-6 * max(abs(low), width)
    assert all(low - slack <= t <= low + width + slack for t in ticks)
    assert ticks == sorted(ticks)


def test_log_ticks_are_powers_of_ten_where_there_are_three():
    assert Axis(low=0.5, high=2000, start=0, stop=1, log=True).ticks() == [1, 10, 100, 1000]
    assert Axis(low=0.02, high=0.5, start=0, stop=1, log=True).ticks() == [0.03, 0.1, 0.3]
    narrow = Axis(low=1.01, high=1.1, start=0, stop=1, log=True).ticks()
    assert len(narrow) >= 3
    assert all(1.01 <= t <= 1.1 for t in narrow)
    assert len(Axis(low=1e-30, high=1e30, start=0, stop=1, log=True).ticks()) <= 7


def test_axis_places_ends_and_middle():
    up = Axis(low=1, high=100, start=200.0, stop=0.0, log=True)
    assert up.at(1) == 200
    assert up.at(10) == pytest.approx(100)
    assert up.inside(1e9) == 0
    assert up.inside(-1) == 200
    assert not up.shows(None)
    assert not up.shows(math.nan)


def test_span_shows_all_values_but_not_every_interval():
    low, high = span([1.0, 2.0], [-500.0, 2.5])
    assert -2 < low < 1
    assert high > 2.5
    assert span([], [], log=True) == (1.0, 10.0)
    low, high = span([3.0, 3.0])
    assert low < 3 < high
    low, high = span([0.0])
    assert low < 0 < high


@given(st.lists(st.floats(-100, 100), min_size=0, max_size=300), st.integers(3, 40))
def test_thinning_keeps_ends_and_order(values, most):
    points = list(enumerate(values))
    kept = charts.keep(points, most)
    assert len(kept) == min(len(points), most)
    assert all(a < b for a, b in pairwise(kept))
    if points:
        assert kept[0] == 0
        assert kept[-1] == len(points) - 1


def test_thinning_keeps_a_spike():
    points = [(float(x), 100.0 if x == 5_123 else 0.0) for x in range(10_000)]
    assert 5_123 in charts.keep(points, 50)


def test_few_curves_share_a_chart_and_many_get_panels():
    assert len(charts.draw_lines(lines(5))) == 1
    panels = charts.draw_lines(lines(6))
    assert len(panels) == 6
    root = parse(panels[2])
    assert "s2" in texts(root)
    assert len([p for p in root.iter(f"{SVG}path") if p.get("class") == "other"]) == 5


def test_curves_are_thinned_to_500_points():
    root = parse(charts.draw_lines(lines(1, n=5000))[0])
    curve = next(p for p in root.iter(f"{SVG}path") if p.get("class") == "curve s0")
    assert curve.get("d").count("L") + 1 == 500


def test_a_gap_breaks_the_curve():
    y = [1.0, 2.0, math.nan, 3.0, 4.0]
    chart = Lines(title="t", x_label="x", y_label="y", series=[Series(name="s", x=range(5), y=y)])
    root = parse(charts.draw_lines(chart)[0])
    assert len([p for p in root.iter(f"{SVG}path") if p.get("class") == "curve s0"]) == 2


def test_labels_at_the_ends_of_curves_do_not_overlap():
    flat = [Series(name=f"s{i}", x=[0, 1], y=[1.0, 1.0 + i / 1000]) for i in range(5)]
    chart = Lines(title="t", x_label="x", y_label="y", series=[*flat[:4], flat[4]])
    root = parse(charts.draw_lines(chart)[0])
    places = sorted(
        float(t.get("y")) for t in root.iter(f"{SVG}text") if (t.text or "").startswith("s")
    )
    assert all(b - a >= 15.9 for a, b in pairwise(places))


@pytest.mark.parametrize("y", [[], [math.nan], [0.0, -1.0], [5.0]])
def test_charts_without_usable_points_are_drawn(y):
    series = [Series(name="s", x=[1.0] * len(y), y=y)]
    assert parse(
        charts.draw_lines(
            Lines(title="t", x_label="x", y_label="y", series=series, log_x=True, log_y=True)
        )[0]
    )
    points = [Point(name="p", x=1.0, y=v) for v in y]
    assert parse(
        charts.draw_scatter(
            Scatter(title="t", x_label="x", y_label="y", points=points, log_x=True, log_y=True)
        )
    )
    assert parse(charts.draw_forest(Forest(title="t", unit="1", groups=[])))


def test_front_is_a_staircase_of_what_is_reached():
    points = [
        Point(name="cheap", x=1.0, y=10.0, front=True),
        Point(name="good", x=100.0, y=1.0, front=True),
        Point(name="neither", x=50.0, y=20.0),
    ]
    chart = Scatter(title="t", x_label="x", y_label="y", points=points)
    root = parse(charts.draw_scatter(chart))
    front = next(p for p in root.iter(f"{SVG}path") if p.get("class") == "front").get("d")
    a, corner, b = (tuple(map(float, p.split(","))) for p in front[1:].split("L"))
    # Between the two, the cheap one is the best there is: level first, then down.
    assert corner == (b[0], a[1])
    assert {"cheap", "good", "neither"} <= set(texts(root))


def test_labels_of_points_do_not_overlap_while_there_is_room():
    points = [Point(name=f"point {k}", x=1.0 + k / 50, y=1.0) for k in range(4)]
    points += [Point(name="far", x=10.0, y=9.0)]
    root = parse(charts.draw_scatter(Scatter(title="t", x_label="x", y_label="y", points=points)))
    boxes = [
        (float(t.get("x")), float(t.get("y")), len(t.text) * 6.9)
        for t in root.iter(f"{SVG}text")
        if t.text.startswith("point")
    ]
    for k, (x, y, wide) in enumerate(boxes):
        for other_x, other_y, other_wide in boxes[k + 1 :]:
            apart = x + wide <= other_x or other_x + other_wide <= x or abs(y - other_y) >= 13.9
            assert apart


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_labels_of_points_above_each_other_keep_their_order(order):
    values = {"model-a": 0.001, "model-b": 0.015, "model-c": 0.027}
    named = list(values.items())
    points = [
        Point(name=named[k][0], x=1.95, y=named[k][1], y_low=-0.02, y_high=0.05) for k in order
    ]
    points.append(Point(name="far", x=3.6, y=0.36))
    root = parse(charts.draw_scatter(Scatter(title="t", x_label="x", y_label="y", points=points)))
    places = {t.text: float(t.get("y")) for t in root.iter(f"{SVG}text")}
    assert places["model-a"] > places["model-b"] > places["model-c"]


def test_an_interval_that_leaves_the_chart_ends_in_an_arrow():
    dots = [
        Dot(name="narrow", estimate=Estimate(value=1.0, low=0.9, high=1.1)),
        Dot(name="wide", estimate=Estimate(value=1.2, low=-90.0, high=90.0)),
        Dot(name="gone", estimate=Estimate.missing("diverged at step 3")),
    ]
    root = parse(
        charts.draw_forest(Forest(title="t", unit="nats", groups=[Group(name="g", dots=dots)]))
    )
    whiskers = [p.get("d") for p in root.iter(f"{SVG}path") if "whisker" in p.get("class")]
    assert [d.count("L") for d in whiskers] == [3, 5]
    assert {"narrow", "wide", "gone", "diverged at step 3", "g"} <= set(texts(root))


def test_forest_fills_what_is_separated():
    dots = [
        Dot(name="apart", estimate=Estimate(value=1.0, low=0.5, high=1.5)),
        Dot(name="not", estimate=Estimate(value=0.1, low=-0.5, high=0.7)),
        Dot(name="one seed", estimate=Estimate(value=3.0, method="one seed")),
    ]
    chart = Forest(title="t", unit="1", groups=[Group(name="", dots=dots)], reference=0.0)
    marks = [p.get("class") for p in parse(charts.draw_forest(chart)).iter(f"{SVG}path")]
    assert [m for m in marks if m.startswith("mark")] == ["mark s0", "mark hollow", "mark hollow"]


def test_a_forest_with_a_direction_is_drawn_best_first():
    values = {"b": 2.0, "gone": None, "c": 3.0, "real": 0.1, "a": 1.0}
    dots = [
        Dot(
            name=n,
            estimate=Estimate.missing("diverged") if v is None else Estimate.exact(v),
        )
        for n, v in values.items()
    ]
    drawn = {}
    for better in ("lower", "higher", None):
        chart = Forest(
            title="t",
            unit="1",
            groups=[Group(name="", dots=dots)],
            better=better,
            references=["real"],
        )
        drawn[better] = [t for t in texts(parse(charts.draw_forest(chart))) if t in values]
        rows = [row[0] for row in charts.forest_table(chart).rows]
        assert rows == drawn[better]
    assert drawn["lower"] == ["a", "b", "c", "gone", "real"]
    assert drawn["higher"] == ["c", "b", "a", "gone", "real"]
    assert drawn[None] == list(values)


def test_references_are_not_the_best_of_a_forest():
    dots = [
        Dot(name="real", estimate=Estimate(value=0.1, low=0.0, high=0.2)),
        Dot(name="gan", estimate=Estimate(value=1.0, low=0.9, high=1.1)),
    ]
    chart = Forest(
        title="t",
        unit="1",
        groups=[Group(name="", dots=dots)],
        better="lower",
        references=["real"],
    )
    marks = [p.get("class") for p in parse(charts.draw_forest(chart)).iter(f"{SVG}path")]
    assert [m for m in marks if m.startswith("mark")] == ["mark s0", "mark hollow"]
    layout = lay_out(charts.forest_table(chart))
    assert [line.is_reference for line in layout.lines] == [False, True]


def test_hostile_names_are_text_in_every_chart():
    point = Point(name=HOSTILE, x=1.0, y=1.0, front=True)
    dot = Dot(name=HOSTILE, estimate=Estimate(value=1.0, low=0.5, high=2.0))
    drawn = [
        charts.draw_scatter(Scatter(title=HOSTILE, x_label=HOSTILE, y_label="y", points=[point])),
        charts.draw_forest(
            Forest(title=HOSTILE, unit=HOSTILE, groups=[Group(name=HOSTILE, dots=[dot])])
        ),
        *charts.draw_lines(
            Lines(
                title=HOSTILE,
                x_label="x",
                y_label=HOSTILE,
                series=[Series(name=HOSTILE, x=[1, 2], y=[1, 2])] * 6,
            )
        ),
    ]
    for markup in drawn:
        root = parse(markup)
        assert not list(root.iter(f"{SVG}script"))
        assert HOSTILE in root.find(f"{SVG}title").text
        assert root.find(f"{SVG}desc").text
