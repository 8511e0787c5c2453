"""Charts as files for papers: readable, whole, and the same each time."""

import builtins
import math
import re
import xml.etree.ElementTree as ET

import pytest

from gantlet.cli.main import run
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.report import json as report_json
from gantlet.report.blocks import (
    Dot,
    Forest,
    Group,
    Lines,
    Point,
    Prose,
    Report,
    Scatter,
    Section,
    Series,
)
from gantlet.report.figures import figures
from gantlet.run.store import write_sealed

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
FIRST_COLOUR = "#0072b2"
NAME = "gan:loss=ns_50%,path=$x^2$"


def example():
    series = [
        Series(name=NAME, x=[1, 10, 100], y=[3.0, math.nan, 1.0], low=[2, 1, 0], high=[4, 3, 2]),
        Series(name="flow", x=[1, 10], y=[2.0, 1.5]),
    ]
    points = [
        Point(name="cheap", x=1.0, y=10.0, front=True),
        Point(name="good", x=100.0, y=1.0, y_low=0.5, y_high=3.0, front=True),
        Point(name=NAME, x=50.0, y=20.0),
    ]
    dots = [
        Dot(name="vae", estimate=Estimate(value=2.0, low=1.0, high=2.5)),
        Dot(name="real", estimate=Estimate.exact(0.5)),
        Dot(name="ar", estimate=Estimate(value=1.0, low=0.5, high=1.5)),
        Dot(name="gone", estimate=Estimate.missing("diverged")),
    ]
    forest = Forest(
        title="Distance",
        unit="nats",
        groups=[Group(name="pixels", dots=dots)],
        better="lower",
        references=["real"],
    )
    return Report(
        title="A title",
        command="compare",
        blocks=[
            Prose(text="none"),
            Lines(title="Curves", x_label="x", y_label="y", series=series, log_x=True),
            Section(
                title="More",
                blocks=[
                    Scatter(
                        title="Points", x_label="cost", y_label="y", points=points, log_x=True
                    ),
                    forest,
                ],
            ),
        ],
    )


def words(svg):
    return ["".join(t.itertext()) for t in ET.parse(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_every_chart_has_a_name_and_is_found_in_any_case():
    assert figures(example()) == ["Curves", "Points", "Distance"]
    drawn = example().figure("curves")
    (axes,) = drawn.axes
    # The numbers are those of the block.
    assert axes.lines[1].get_xdata().tolist() == [1, 10]
    assert axes.get_xscale() == "log"
    assert example().figure("Dist").axes[0].get_xlabel() == "nats, lower is better"


def test_svg_is_readable_and_keeps_its_words_as_text(tmp_path):
    for name, wanted in (
        ("Curves", {"x", "y", "flow", "gan"}),
        ("Points", {"cost", "cheap", "good"}),
        ("Distance", {"vae", "ar", "gone", "pixels"}),
    ):
        example().figure(name, tmp_path / "a.svg")
        found = set(words(tmp_path / "a.svg"))
        assert wanted <= found, found


def test_a_curve_of_one_point_is_drawn_as_a_dot(tmp_path):
    dots = []
    for x in ([2.0], [2.0, 3.0]):
        series = [Series(name="a", x=x, y=x)]
        lines = Lines(title="Curves", x_label="x", y_label="y", series=series)
        report = Report(title="A title", command="compare", blocks=[lines])
        report.figure("Curves", tmp_path / "a.svg")
        dots.append((tmp_path / "a.svg").read_text().count(f"fill: {FIRST_COLOUR}"))
    assert dots[0] > 0
    assert dots[1] == 0


def test_the_forest_is_drawn_best_first(tmp_path):
    example().figure("Distance", tmp_path / "a.svg")
    names = [w for w in words(tmp_path / "a.svg") if w in {"vae", "ar", "gone", "real"}]
    assert names == ["ar", "vae", "gone", "real"]


def test_pdf_is_one_page_of_vectors(tmp_path):
    example().figure("Points", tmp_path / "a.pdf")
    data = (tmp_path / "a.pdf").read_bytes()
    assert data.startswith(b"%PDF-1.")
    assert data.rstrip().endswith(b"%%EOF")
    assert re.search(rb"/Count 1\b", data)
    # Vectors, not a picture of them.
    assert b"/Subtype /Image" not in data
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data)
    assert [float(x) / 72 for x in box.groups()] == pytest.approx([5.5, 3.4])


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_the_same_figure_is_the_same_file(tmp_path, suffix):
    for k in (1, 2):
        example().figure("Points", tmp_path / f"{k}.{suffix}")
    first, second = ((tmp_path / f"{k}.{suffix}").read_bytes() for k in (1, 2))
    assert first == second


def test_unknown_charts_and_formats_are_a_users_error(tmp_path):
    with pytest.raises(UserError, match="Did you mean 'Points'"):
        example().figure("Pionts")
    with pytest.raises(UserError, match=r"format of figures.*\.pdf"):
        example().figure("Points", tmp_path / "a.jpg")
    with pytest.raises(UserError, match="has no charts"):
        Report(title="t", command="c").figure("x")


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    known = builtins.__import__

    def missing(name, *rest, **named):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return known(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"pip install 'gantlet\[figures\]'"):
        example().figure("Points")


def test_the_command_writes_a_figure(tmp_path, capsys):
    write_sealed(tmp_path / "report.json", report_json.as_json(example()))
    out = tmp_path / "points.svg"
    assert run(["report", str(tmp_path), "--figure", "points", "--out", str(out)]) == 0
    assert "cheap" in words(out)
    assert run(["report", str(tmp_path), "--figure", "points"]) == 2
    assert "--out" in capsys.readouterr().err
