"""Tables before they are rendered: best set, references, footnotes, digits."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantlet.core.estimate import Estimate
from gantlet.report.blocks import Column, Series, Table
from gantlet.report.format import best_set, lay_out, shorten


def around(value, half):
    return Estimate(value=value, low=value - half, high=value + half, method="t")


def table(cells, references=(), **head):
    return Table(
        title="t",
        columns=[Column(name="model"), Column(name="x", **head)],
        rows=[[f"m{k}", c] for k, c in enumerate(cells)],
        references=references,
    )


def test_best_set_is_all_that_overlaps_with_the_best():
    cells = [around(1.0, 0.2), around(1.3, 0.2), around(1.5, 0.2), None, around(0.9, 0.05)]
    assert best_set(cells, "lower") == [True, False, False, False, True]
    assert best_set(cells, "higher") == [False, True, True, False, False]
    assert best_set(cells, None) == [False] * 5


def test_best_set_without_intervals_is_the_best_alone():
    assert best_set([1, 2.0, Estimate(value=1.0, method="one seed")], "lower") == [
        True,
        False,
        True,
    ]
    assert best_set([None, Estimate.missing("none"), math.nan], "lower") == [False] * 3


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6)), min_size=1, max_size=8),
    st.sampled_from(["lower", "higher"]),
)
def test_best_set_agrees_with_its_definition(pairs, better):
    cells = [around(*p) for p in pairs]
    best = (min if better == "lower" else max)(cells, key=lambda e: e.value)
    overlap = [e.low <= best.high and e.high >= best.low for e in cells]
    found = best_set(cells, better)
    assert found[cells.index(best)]
    ties = [e for e in cells if e.value == best.value]
    if len(ties) == 1:
        assert found == overlap


def test_references_come_last_and_never_win():
    layout = lay_out(table([0.1, 0.5, 0.2], references=["m0"], better="lower"))
    assert [line.cells[0].value for line in layout.lines] == ["m1", "m2", "m0"]
    assert [line.is_reference for line in layout.lines] == [False, False, True]
    assert [line.cells[1].best for line in layout.lines] == [False, True, False]


def test_missing_numbers_get_a_footnote_each_reason_once():
    gone = Estimate.missing("no density")
    layout = lay_out(table([gone, 1.0, gone, Estimate(value=2.0, method="one seed"), None]))
    assert layout.footnotes == (("a", "no density"), ("b", "one seed"))
    assert [line.cells[1].mark for line in layout.lines] == ["a", "", "a", "b", ""]
    assert [line.cells[1].number for line in layout.lines] == [None, 1.0, None, 2.0, None]


def test_common_unit_is_in_the_head_and_others_in_the_cells():
    together = lay_out(table([3.4e9, 2e11], unit="FLOP"))
    assert together.heads[1].unit == "GFLOP"
    assert [line.cells[1].text for line in together.lines] == ["3.40", "200"]
    apart = lay_out(table([2e6, 2e11], unit="FLOP"))
    assert not apart.heads[1].unit
    assert [line.cells[1].text for line in apart.lines] == ["2.00 MFLOP", "200 GFLOP"]


def test_control_characters_are_made_visible():
    layout = lay_out(Table(title="\x1b[31m", columns=[Column(name="a\u202e")], rows=[["\x00"]]))
    assert layout.title == "\ufffd[31m"
    assert layout.heads[0].name == "a\ufffd"
    assert layout.lines[0].cells[0].value == "\ufffd"


def test_rows_and_series_must_fit():
    with pytest.raises(ValueError, match="2 cells, 1 columns"):
        Table(title="t", columns=[Column(name="a")], rows=[["x", 1]])
    with pytest.raises(ValueError, match="differ in length"):
        Series(name="s", x=[1, 2], y=[1])
    with pytest.raises(ValueError, match="differ in length"):
        Series(name="s", x=[1, 2], y=[1, 2], low=[0, 0])


def test_short_names_keep_what_differs():
    names = ["gan:loss=ns,latent=8", "gan:loss=wgan,latent=8", "flow", "vae:latent=4", "a: b=c"]
    assert list(shorten(names).values()) == ["gan:loss=ns", "gan:loss=wgan", "flow", "vae", "a"]


def test_short_names_never_become_equal():
    names = ["gan:a=1", "gan", "gan a=1", "gan:a=1,b", "x:y=1"]
    short = shorten(names)
    assert len(set(short.values())) == len(names)
    assert short["gan:a=1,b"] == "gan:a=1,b"
