"""Tables before they are rendered: best set, references, footnotes, digits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantlet.core.estimate import Estimate
from gantlet.report.blocks import Column, Series, Table
from gantlet.report.format import BEST, lay_out, merged, pattern, shorten


def around(value, half):
    return Estimate(value=value, low=value - half, high=value + half, method="t")


def table(cells, references=(), **head):
    return Table(
        title="t",
        columns=[Column(name="model"), Column(name="x", **head)],
        rows=[[f"m{k}", c] for k, c in enumerate(cells)],
        references=references,
    )


def test_only_what_a_test_found_best_is_bold():
    # All intervals apart: that alone makes nothing bold.
    cells = [around(1.0, 0.01), around(2.0, 0.01), None]
    assert not lay_out(table(cells, better="lower")).has_best
    layout = lay_out(table(cells, better="lower", best=["m1", "m2"]))
    # What is missing is not bold, whoever says so.
    assert [line.cells[1].best for line in layout.lines] == [False, True, False]
    assert layout.below[0] == ("", BEST)


def test_references_come_last_and_never_win():
    layout = lay_out(table([0.1, 0.5, 0.2], references=["m0"], better="lower", best=["m2"]))
    assert [line.cells[0].value for line in layout.lines] == ["m1", "m2", "m0"]
    assert [line.is_reference for line in layout.lines] == [False, False, True]
    assert [line.cells[1].best for line in layout.lines] == [False, True, False]


def test_missing_numbers_get_a_footnote_each_reason_once():
    gone = Estimate.missing("no density")
    layout = lay_out(table([gone, 1.0, gone, Estimate(value=2.0, method="one seed"), None]))
    assert layout.footnotes == (("a", "no density"), ("b", "no interval: one seed"))
    assert [line.cells[1].mark for line in layout.lines] == ["a", "", "a", "b", ""]
    assert [line.cells[1].number for line in layout.lines] == [None, 1.0, None, 2.0, None]


def test_reasons_that_differ_in_numbers_only_share_a_footnote():
    cells = [
        Estimate(value=float(n), n=n, method=f"median of {n} runs, batch of 64, fp32")
        for n in (5, 1, 3)
    ]
    layout = lay_out(table([*cells, Estimate.missing("diverged at step 1,200")]))
    assert [line.cells[1].mark for line in layout.lines] == ["a", "a", "a", "b"]
    assert layout.footnotes == (
        ("a", "no interval: median of 1 to 5 runs, batch of 64, fp32"),
        ("b", "diverged at step 1,200"),
    )
    # So do the methods in the key of the columns.
    assert layout.heads[1].methods == ("median of 1 to 5 runs, batch of 64, fp32",)


@given(st.lists(st.text("an 12.,e+-#", max_size=12), max_size=6))
def test_merging_keeps_texts_without_numbers_and_gives_one_for_each_pattern(texts):
    found = merged(texts)
    assert [pattern(t) for t in dict.fromkeys(texts) if len(pattern(t)) == 1] == [
        pattern(t) for t in found if len(pattern(t)) == 1
    ]
    assert len(found) == len({pattern(t) for t in texts})


def test_neighbours_of_one_group_share_a_head():
    columns = [Column(name="model"), *(Column(name=n, group=g) for n, g in ("aA", "bA", "cB"))]
    layout = lay_out(Table(title="t", columns=columns, rows=[["m", 1, 2, 3]]))
    assert layout.groups == [("", 1), ("A", 2), ("B", 1)]


def test_common_unit_is_in_the_head_and_others_in_the_cells():
    together = lay_out(table([3.4e9, 2e11], unit="FLOP"))
    assert together.heads[1].unit == "GFLOP"
    assert [line.cells[1].text for line in together.lines] == ["3.40", "200"]
    far = lay_out(table([2e6, 2e11], unit="FLOP"))
    assert far.heads[1].unit == "MFLOP"
    assert [line.cells[1].text for line in far.lines] == ["2.00", "200,000"]
    apart = lay_out(table([2e3, 2e11], unit="FLOP"))
    assert not apart.heads[1].unit
    assert [line.cells[1].text for line in apart.lines] == ["2.00 kFLOP", "200 GFLOP"]


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
