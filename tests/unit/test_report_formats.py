"""JSON there and back, CSV, Markdown, LaTeX, terminal."""

import csv
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate, Spend
from gantlet.report import documents, pictures, terminal
from gantlet.report import json as report_json
from gantlet.report.blocks import (
    Caveat,
    Column,
    Dot,
    Fact,
    Facts,
    Forest,
    Gallery,
    Group,
    Lines,
    Picture,
    Point,
    Prose,
    Report,
    Row,
    Scatter,
    Section,
    Series,
    Table,
    Verdict,
)
from gantlet.report.documents import FORMATS, render
from gantlet.report.documents import csv_table as csv_of
from gantlet.report.format import lay_out
from gantlet.report.json import check_rows, summarize

SURE = Estimate(value=1.2, low=1.1, high=1.3, n=3, unit="nats", better="lower", method="t")
GONE = Estimate.missing("a GAN has no density", unit="nats")
NAME = "gan:loss=ns_50%,path=a|b"


def main_table():
    return Table(
        title="Main",
        columns=(
            Column(name="model"),
            Column(
                name="distance", better="lower", help="How far.", best=(NAME,), group="quality"
            ),
            Column(name="likelihood", better="lower", unit="nats"),
            Column(name="cost", unit="FLOP"),
        ),
        rows=((NAME, SURE, GONE, 2e9), ("real", 0.1, SURE, None), ("flow", 4, SURE, 3e9)),
        references=("real",),
        note="A note.",
    )


def example():
    png = pictures.grid(np.zeros((4, 3, 3, 1), dtype=np.uint8))
    return Report(
        title="A title",
        command="compare",
        question={"models": ["gan", "flow"], "kind": "x", "flops": 2e11, "nested": {"a": None}},
        spend=Spend(flops=1e9, examples=10, steps=2, seconds=0.5),
        facts=Facts(items=(Fact(name="date", value="today"),)),
        verdicts=(Verdict(claim="A beats B.", because="1.2 against 1.4."), Verdict(claim="C.")),
        caveats=(Caveat(text="Two seeds only."),),
        rows=(
            Row(data="digits", model=NAME, seed=0, name="distance", estimate=SURE),
            Row(data="digits", model="flow", seed=None, name="likelihood", estimate=GONE),
        ),
        blocks=(
            main_table(),
            Lines(
                title="Curves",
                x_label="x",
                y_label="y",
                series=(
                    Series(name="s", x=(1.0, 2.0), y=(1.0, 2.0), low=(0.0, 1.0), high=(2.0, 3.0)),
                ),
            ),
            Scatter(
                title="Points",
                x_label="x",
                y_label="y",
                points=(Point(name="p", x=1.0, y=2.0, y_low=1.0, y_high=3.0, front=True),),
                log_x=True,
            ),
            Forest(
                title="Forest",
                unit="nats",
                groups=(Group(name="g", dots=(Dot(name="d", estimate=SURE),)),),
                reference=0.0,
            ),
            Gallery(
                title="Pictures", pictures=(Picture(caption="gan", png=png),), note="First 4."
            ),
            Section(
                title="More",
                blocks=(
                    Prose(text="One.\n\nTwo."),
                    Facts(items=(Fact(name="a", value="b"),)),
                    Verdict(claim="D."),
                    Caveat(text="E."),
                    main_table(),
                ),
                open=True,
            ),
        ),
        extra={"pareto": ["gan"]},
    )


ROW = report_json.as_json(example())["rows"][0]
PICTURE = {"kind": "picture", "caption": "c", "png": {"kind": "bytes", "base64": "%"}}
GALLERY = {"kind": "gallery", "title": "t", "pictures": [PICTURE]}
WORDS = {"kind": "table", "title": "t", "columns": [{"name": "c"}], "rows": [[[1]]]}


def test_json_has_the_agreed_keys():
    data = report_json.as_json(example(), "runs/demo/report.html")
    assert {
        "command",
        "question",
        "spend",
        "rows",
        "verdicts",
        "caveats",
        "report",
    } <= data.keys()
    assert data["report"] == "runs/demo/report.html"
    assert data["spend"] == {"flops": 1e9, "examples": 10, "steps": 2, "seconds": 0.5}
    assert data["pareto"] == ["gan"]
    assert data["rows"][0] == {
        "data": "digits",
        "model": NAME,
        "seed": 0,
        "name": "distance",
        "value": 1.2,
        "low": 1.1,
        "high": 1.3,
        "level": 0.95,
        "n": 3,
        "unit": "nats",
        "better": "lower",
        "method": "t",
    }
    assert data["rows"][1]["value"] is None
    assert data["rows"][1]["method"] == "a GAN has no density"


def test_json_there_and_back_is_the_same_report():
    text = render(example(), "json")
    back = report_json.from_json(json.loads(text))
    assert back == example()
    assert render(back, "json") == text
    for fmt in FORMATS:
        assert render(back, fmt) == render(example(), fmt)


def test_a_summary_makes_the_same_page_from_a_smaller_file():
    whole = example()
    small = report_json.from_json(json.loads(report_json.dumps(summarize(whole))))
    assert render(small, "markdown") == render(whole, "markdown")
    assert len(report_json.dumps(small)) < len(report_json.dumps(whole))
    assert [row.seed for row in small.rows] == [r.seed for r in whole.rows if r.seed is None]
    assert small.extra["left_out"]["rows"] == sum(r.seed is not None for r in whole.rows)
    assert small.extra["left_out"]["pictures"] == 1
    assert "base64,iVBOR" in render(whole, "html")
    page = render(small, "html")
    assert "base64,iVBOR" not in page
    assert "(picture omitted)" in page
    assert summarize(small) == small
    with pytest.raises(UserError, match=r"summary without its \d+ per-trial rows"):
        check_rows(small)
    check_rows(whole)


def test_json_never_holds_nan():
    odd = Estimate(value=math.nan, low=-math.inf, high=1.0, method="t")
    curve = Series(name="s", x=(1.0, 2.0), y=(math.nan, math.inf))
    report = Report(
        title="t",
        command="c",
        question={"x": math.inf},
        rows=[Row(data="d", model="m", seed=1, name="n", estimate=odd)],
        blocks=[
            Lines(title="l", x_label="x", y_label="y", series=[curve]),
            Scatter(
                title="s", x_label="x", y_label="y", points=[Point(name="p", x=math.nan, y=1)]
            ),
        ],
    )
    data = json.loads(report_json.dumps(report), parse_constant=pytest.fail)
    assert data["rows"][0]["value"] is None
    assert "the value was nan" in data["rows"][0]["method"]
    assert "-inf to 1" in data["rows"][0]["method"]
    back = report_json.from_json(data)
    assert all(map(math.isnan, back.blocks[0].series[0].y))
    assert math.isnan(back.blocks[1].points[0].x)
    assert render(back, "html")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": None}, "rows should be a list, but is None"),
        ({"caveats": "ab"}, "caveats should be a list, but is 'ab'"),
        ({"rows": [{"data": "d"}]}, r"rows\[0\]\.model is missing"),
        ({"rows": [ROW, ROW | {"value": "1"}]}, r"rows\[1\]\.estimate\.value should be a number"),
        (
            {"rows": [ROW | {"better": "up"}]},
            r"rows\[0\]\.estimate\.better should be one of lower, higher, but is 'up'",
        ),
        ({"rows": [ROW | {"low": None}]}, r"estimate is wrong: An interval needs both ends\. Was"),
        ({"rows": [ROW | {"sed": 1}]}, r"rows\[0\] has an unknown field 'sed'"),
        ({"blocks": [{"kind": "hologram"}]}, r"blocks\[0\] should be a block .*'hologram'"),
        (
            {"blocks": [{"kind": "prose", "words": "x"}]},
            r"blocks\[0\] has an unknown field 'words'",
        ),
        ({"blocks": [{"kind": "dot", "name": "x", "estimate": None}]}, "should be a block"),
        ({"blocks": [{"kind": "bytes", "base64": "%"}]}, "should be a block"),
        ({"blocks": [GALLERY]}, r"blocks\[0\]\.pictures\[0\]\.png should be bytes in base64"),
        (
            {"blocks": [WORDS]},
            r"blocks\[0\]\.rows\[0\]\[0\] should be text, a number or an estimate",
        ),
        ({"spend": {"euros": 3}}, "spend has an unknown field 'euros'"),
        ({"caveats": [1]}, r"caveats\[0\] should be text, but is 1"),
        ({"schema": 99}, "newer Gantlet"),
    ],
)
def test_a_damaged_report_is_a_users_error(change, message):
    data = report_json.as_json(example()) | change
    with pytest.raises(UserError, match=message) as caught:
        report_json.from_json(data)
    assert "\n" not in str(caught.value)


def test_committed_reports_open_and_are_written_as_they_were():
    folder = Path(__file__).parents[2] / "docs" / "results"
    files = [json.loads(f.read_text()) for f in sorted(folder.glob("*.json"))]
    reports = [data for data in files if "verdicts" in data]
    assert len(reports) >= 10
    for data in reports:
        report = report_json.from_json(data)
        back = report_json.as_json(report, data["report"])
        # Fields that came later have their defaults.
        assert _lacks(data, back) in ([], ["schema"])
        assert report_json.from_json(back) == report


def _lacks(old, new):
    """Returns what is in ``new`` alone, having checked that all of ``old`` is in it."""
    if isinstance(old, dict):
        extra = sorted(new.keys() - old.keys())
        for key in old.keys() - {"checksum"}:
            _lacks(old[key], new[key])
        return extra
    if isinstance(old, list):
        assert len(old) == len(new)
        for a, b in zip(old, new, strict=True):
            _lacks(a, b)
        return []
    assert (old, type(old)) == (new, type(new))
    return []


def test_another_file_is_not_a_report():
    with pytest.raises(UserError, match="not a report: it has no caveats, command"):
        report_json.from_json({"question": {}})


def test_extra_keys_never_replace_the_agreed_ones():
    report = Report(title="t", command="c", extra={"rows": "mine", "more": 1})
    data = report_json.as_json(report)
    assert data["rows"] == []
    assert data["more"] == 1


def test_what_cannot_be_written_is_an_error():
    with pytest.raises(TypeError, match="cannot hold object"):
        report_json.as_json(Report(title="t", command="c", question={"x": object()}))


def test_csv_is_tidy():
    rows = list(csv.DictReader(io.StringIO(render(example(), "csv"))))
    assert [r["model"] for r in rows] == [NAME, "flow"]
    assert float(rows[0]["value"]) == 1.2
    assert rows[1]["value"] == ""
    assert rows[1]["seed"] == ""
    assert rows[1]["method"] == "a GAN has no density"


def test_frame_equals_the_rows():
    frame = example().to_frame()
    rows = list(csv.DictReader(io.StringIO(render(example(), "csv"))))
    assert list(frame.columns) == list(rows[0])
    assert len(frame) == len(rows) == len(example().rows)
    for found, row in zip(frame.to_dict("records"), example().rows, strict=True):
        assert [found[k] for k in ("data", "model", "name")] == [row.data, row.model, row.name]
        e = row.estimate
        for name in ("value", "low", "high", "level", "n"):
            wanted = getattr(e, name)
            assert math.isnan(found[name]) if wanted is None else found[name] == wanted
        words = [None if pd.isna(found[k]) else found[k] for k in ("unit", "better", "method")]
        assert words == [e.unit, e.better, e.method]
    assert frame["seed"].isna().tolist() == [False, True]
    assert frame["seed"].dtype == "Int64"
    assert Report(title="t", command="c").to_frame().empty


def test_notebooks_show_answer_main_table_and_limitations():
    shown = example()._repr_html_()
    order = ["A beats B.", "<table>", "a GAN has no density", "Two seeds only."]
    places = [shown.index(words) for words in order]
    assert places == sorted(places)
    assert "<script" not in shown
    assert "<style" not in shown
    hostile = Report(title="<script>alert(1)</script>", command="c")._repr_html_()
    assert "<script" not in hostile


def test_markdown_table_has_direction_best_and_footnote():
    lines = documents.markdown_table(main_table()).splitlines()
    assert lines[0] == "| model | distance ↓ | likelihood (nats) ↓ | cost (GFLOP) |"
    assert lines[1] == "| :--- | ---: | ---: | ---: |"
    assert lines[2] == r"| gan:loss=ns\_50%,path=a\|b | **1.20 ± 0.10** | – (a) | 2.00 |"
    assert lines[4].startswith("| real |")
    assert "(a) a GAN has no density" in lines


def test_markdown_text_is_never_markup():
    shown = documents.as_markdown(Report(title="<b> *x* [y](z) `c` | $d$ &amp;", command="c"))
    assert shown == "# \\<b\\> \\*x\\* \\[y\\](z) \\`c\\` \\| \\$d\\$ \\&amp;\n"


def test_latex_table_is_escaped_and_marks_the_best():
    shown = documents.latex_table(main_table())
    assert r"gan:loss=ns\_50\%,path=a\textbar{}b & \textbf{1.20 $\pm$ 0.10} & --$^{" in shown
    assert r"distance $\downarrow$ & likelihood (nats) $\downarrow$ & cost (GFLOP) \\" in shown
    assert r"\caption{Main. A note. Bold:" in shown
    body = shown.split(r"\midrule")
    assert len(body) == 3
    assert "real" in body[2]


def test_latex_powers_of_ten():
    assert documents.latex_safe("3.2 ×10⁻⁷") == r"3.2 $\times$$10^{-7}$"
    assert documents.latex_safe("a 10² b") == "a $10^{2}$ b"


@given(st.text())
def test_latex_leaves_no_special_character_alone(words):
    shown = documents.latex_safe(words)
    for command in sorted(documents.TEX_ESCAPES.values(), key=len, reverse=True):
        shown = shown.replace(command, "")
    shown = re.sub(r"\$10\^\{-?\d+\}\$", "", shown)
    assert not set(shown) & set("\\{}$&#%_^~")


def console(width, **settings):
    return Console(file=io.StringIO(), width=width, **settings)


def test_terminal_gives_the_answer_first_and_the_path_last():
    out = console(80)
    terminal.show(example(), out, path="runs/demo/report.html")
    shown = out.file.getvalue()
    order = ["A beats B.", "1.2 against 1.4.", "Main", "Two seeds only.", "runs/demo/report.html"]
    places = [shown.index(words) for words in order]
    assert places == sorted(places)
    assert shown.rstrip().endswith("Report: runs/demo/report.html")
    assert "1.20 ± 0.10*" in shown
    assert "distance ↓" in shown
    assert "a: a GAN has no density" in shown


def test_terminal_marks_the_best_in_bold_where_it_can():
    out = console(80, force_terminal=True, color_system="standard")
    terminal.show(example(), out)
    shown = out.file.getvalue()
    assert "\x1b[1m1.20 ± 0.10\x1b[0m" in shown
    assert "*" not in shown


def wide_table():
    names = [f"measurement number {k}" for k in range(12)]
    columns = [Column(name="model"), *(Column(name=n, better="lower") for n in names)]
    return Table(
        title="Wide", columns=columns, rows=[["gan:a=1", *[SURE] * 12], ["x" * 90, *[1] * 12]]
    )


@pytest.mark.parametrize("width", [40, 80, 120])
def test_terminal_folds_wide_tables(width):
    out = console(width)
    terminal.show(Report(title="t", command="c", blocks=[wide_table()]), out)
    lines = out.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.count("1.20 ± 0.10") for line in lines) == 12
    assert "…" not in out.file.getvalue()


@given(
    st.lists(st.sampled_from([1, 12.5, 1e9, SURE, GONE, 10**8]), min_size=1, max_size=12),
    st.integers(45, 140),
)
def test_terminal_never_cuts_a_number(cells, width):
    columns = [Column(name="model"), *(Column(name=f"n{k}") for k in range(len(cells)))]
    table = Table(title="t", columns=columns, rows=[["a" * 35, *cells]])
    out = console(width)
    terminal.show(Report(title="t", command="c", blocks=[table]), out)
    body = out.file.getvalue().split("─\n", 1)[1]
    wanted = [c.text for line in lay_out(table).lines for c in line.cells[1:]]
    for words in set(wanted):
        assert len(re.findall(rf"(?<!\S){re.escape(words)}(?!\S)", body)) >= wanted.count(words)


def test_terminal_reads_no_markup_and_no_escapes():
    out = console(80, force_terminal=True, color_system="standard")
    terminal.show(Report(title="[red]x[/red] \x1b[2J", command="c"), out)
    assert "[red]x[/red] \ufffd[2J" in out.file.getvalue()


def test_text_shows_every_block():
    shown = render(example(), "text")
    for words in (
        "Curves",
        "Points",
        "Forest",
        "Pictures",
        "More",
        "One.",
        "D.",
        "E.",
        "date: today",
    ):
        assert words in shown


def test_progress_is_silent_without_a_terminal(capsys):
    with terminal.progress() as bar:
        task = bar.add_task("[bold]training", total=2)
        bar.advance(task)
    with terminal.progress(silent=True) as bar:
        bar.advance(bar.add_task("training", total=1))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("fmt", sorted(FORMATS))
def test_file_names_that_are_no_utf8_can_be_written(fmt):
    name = "images:path=\udcff"
    row = Row(data=name, model=name, seed=0, name="x", estimate=SURE)
    table = Table(title=name, columns=[Column(name="model")], rows=[[name]])
    report = Report(title=name, command="c", question={"a": name}, rows=[row], blocks=[table])
    assert render(report, fmt).encode("utf-8")


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+1+1", "'+1+1"),
        ("-1+1", "'-1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        (" =1", "' =1"),
        ("\uff1d1", "'\uff1d1"),
        ("-dash", "'-dash"),
        ("-1.5", "-1.5"),
        ("+2e-3", "+2e-3"),
        ("a=b", "a=b"),
        ("red\x1b[31m", "red\ufffd[31m"),
        ("caf\udce9", "caf\ufffd"),
        ("", ""),
    ],
)
def test_cells_that_a_spreadsheet_would_compute_are_text(cell, written):
    minus = Estimate.exact(-1.5, better="lower")
    table = Table(
        title="t", columns=[Column(name=cell), Column(name="v")], rows=[[cell, minus], [cell, -2]]
    )
    rows = list(csv.reader(io.StringIO(csv_of(table))))
    assert [row[0] for row in rows] == [written] * 3
    assert [row[1] for row in rows[1:]] == ["-1.5", "-2"]
    row = Row(data=cell, model=cell, seed=0, name=cell, estimate=minus)
    report = Report(title="t", command="c", rows=[row])
    (found,) = list(csv.reader(io.StringIO(render(report, "csv"))))[1:]
    assert found[:2] == [written] * 2
    assert found[4] == "-1.5"


def test_a_line_break_in_a_name_begins_no_heading():
    report = Report(
        title="a\n# b", command="c", facts=Facts(items=[Fact(name="x", value="y\n# z")])
    )
    assert "\n\\# b" not in render(report, "markdown")
    assert not re.search(r"(?m)^#+ b|^# z", render(report, "markdown"))


def test_unknown_format_suggests_one():
    with pytest.raises(UserError, match="Did you mean 'latex'"):
        render(example(), "latx")


def test_example_of_the_docs_runs():
    docs = Path(__file__).parents[2] / "docs" / "report.md"
    (code,) = re.findall(r"```python\n(.*?)```", docs.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(code, names)
    assert names["page"].startswith("<!doctype html>")
    assert "\\textbf{0.0410 $\\pm$ 0.0060}" in names["table"]
