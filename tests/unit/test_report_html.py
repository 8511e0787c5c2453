"""The page as text; tests/browser opens it."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.report import html, pictures
from gantlet.report.blocks import (
    Caveat,
    Column,
    Dot,
    Fact,
    Facts,
    Gallery,
    Lines,
    Picture,
    Prose,
    Report,
    Row,
    Section,
    Series,
    Table,
    Verdict,
)
from gantlet.report.documents import csv_table, latex_table
from gantlet.report.format import clean, tag


class Page(HTMLParser):
    """Collects tags, texts and attributes."""

    def __init__(self, text):
        super().__init__()
        self.in_script = False
        self.tags, self.texts, self.attributes, self.scripts = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.in_script = name == "script"
        if self.in_script:
            self.scripts.append("")
        self.attributes += [(name, k, v) for k, v in attributes]

    def handle_data(self, data):
        self.texts.append(data)
        if self.in_script:
            self.scripts[-1] += data

    def handle_endtag(self, name):
        self.in_script = False


def page_of(name):
    table = Table(
        title=name,
        columns=[Column(name="model", help=name), Column(name=name, unit=name, better="lower")],
        rows=[
            [name, Estimate(value=1.0, low=0.5, high=2.0, method=name)],
            ["b", Estimate.missing(name or "x")],
        ],
        note=name,
    )
    row = Row(data="d", model=name, seed=0, name="x", estimate=Estimate(value=1.0, method="m"))
    return html.as_html(
        Report(
            title=name,
            command="compare",
            question={name: name},
            verdicts=[Verdict(claim=name, because=name)],
            rows=[row],
            blocks=[table, Section(title=name, blocks=[Prose(text=name)])],
        )
    )


def test_nothing_is_fetched_and_only_our_script_runs():
    text = page_of("gan")
    page = Page(text)
    policy = next(v for _, k, v in page.attributes if k == "content" and "default-src" in v)
    script = page.scripts[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    sources = [v for _, k, v in page.attributes if k in {"src", "href"}]
    assert all(v.startswith(("data:", "#")) for v in sources)
    assert not any(k.startswith("on") or k == "style" for _, k, _ in page.attributes)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=40).filter(lambda name: name != "1"))  # the unit of no unit
def test_any_name_is_text(name):
    plain, odd = Page(page_of("plain")), Page(page_of(name))
    drop = ("wbr", "p")  # paragraphs depend on the empty lines of the text
    assert [t for t in odd.tags if t not in drop] == [t for t in plain.tags if t not in drop]
    data = json.loads(odd.scripts[0])
    assert data["rows"][0]["model"] == name
    assert data["title"] == name


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", '"><b x="', "]]>"],
)
def test_hostile_names_are_text(name):
    page = Page(page_of(name))
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert name in page.texts or name in "".join(page.texts)
    assert ("th", "title", name) in page.attributes


def test_tag_escapes_children_and_attributes():
    assert tag("a", "<", tag("b", "&"), title='"', data_x=1.5, hidden=False) == (
        '<a title="&quot;" data-x="1.5">&lt;<b>&amp;</b></a>'
    )
    assert clean("a\r\nb\tc\u202e") == "a\nb\tc\ufffd"


def test_a_page_that_is_too_large_is_an_error():
    noise = np.random.default_rng(0).integers(0, 255, 8_000_000, dtype=np.uint8).tobytes()
    head = pictures.grid(np.zeros((1, 2, 2, 1), dtype=np.uint8))
    huge = Gallery(title="g", pictures=[Picture(caption="c", png=head + noise)])
    with pytest.raises(UserError, match=r"10\.7 MB, above the 10\.0 MB"):
        html.as_html(Report(title="t", command="c", blocks=[huge]))


def test_long_curves_do_not_make_a_large_page():
    n = 100_000
    x, y = np.arange(n).tolist(), np.random.default_rng(0).normal(size=n).tolist()
    series = [Series(name=f"s{k}", x=x, y=y, low=y, high=y) for k in range(3)]
    chart = Lines(title="t", x_label="x", y_label="y", series=series)
    assert len(html.as_html(Report(title="t", command="c", blocks=[chart]))) < 100_000


def test_a_report_without_anything_is_a_page():
    assert "No conclusion can be drawn." in html.as_html(Report(title="t", command="c"))


def test_grid_shows_samples_in_their_order_with_gaps_between():
    samples = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    png = pictures.grid(samples, columns=3)
    assert pictures.size(png) == (3 * 3 + 2, 2 * 2 + 1)
    image = np.asarray(Image.open(io.BytesIO(png)).convert("LA"))
    assert [image[0, 0, 0], image[0, 4, 0], image[0, 8, 0]] == [0, 1, 2]
    assert [image[3, 0, 0], image[3, 4, 0]] == [3, 4]
    assert image[3, 8, 1] == image[2, 0, 1] == image[0, 3, 1] == 0


def test_grid_in_colour_and_below_the_cap():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 64, 3), dtype=np.uint8)
    png = pictures.grid(noise)
    assert len(png) <= pictures.MOST_BYTES
    image = np.asarray(Image.open(io.BytesIO(png)))
    assert (image[:64, :64, :3] == noise[0]).all()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((0, 2, 2, 1), np.uint8), "at least one"),
        (np.zeros((2, 2, 2), np.uint8), r"Got \(2, 2, 2\)"),
        (np.zeros((2, 2, 2, 4), np.uint8), "1 or 3"),
        (np.zeros((2, 2, 2, 1)), "float64"),
    ],
)
def test_grid_refuses_what_is_no_image(samples, message):
    with pytest.raises(UserError, match=message):
        pictures.grid(samples)


def test_points_are_drawn_where_they_are():
    square = np.array([[0.0, 0.0], [1.0, 1.0], [np.nan, 0.0]])
    png = pictures.points(np.array([[1.0, 1.0]]), around=square)
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))
    y, x = np.argwhere(image[..., 3] > 0).mean(0) / image.shape[0]
    # Up is up: the point (1, 1) is at the top right, one twentieth inside.
    assert (x, y) == (pytest.approx(0.955, abs=0.01), pytest.approx(0.045, abs=0.01))


def test_points_need_two_coordinates():
    with pytest.raises(UserError, match="shape"):
        pictures.points(np.zeros((3, 3)))
    with pytest.raises(UserError, match="no finite points"):
        pictures.points(np.full((3, 2), np.nan))


def test_size_refuses_other_files():
    with pytest.raises(UserError, match="not a PNG"):
        pictures.size(b"GIF89a")


def test_a_page_of_very_many_rows_stays_small():
    estimate = Estimate(value=1.0, low=0.0, high=2.0, n=3, method="a long word on how " * 10)
    rows = [Row(data="d", model="m", seed=i, name="x", estimate=estimate) for i in range(10_000)]
    page = html.as_html(Report(title="Many", command="study", rows=rows))
    assert len(page) < 2_000_000
    assert "the rows are in report.json" in page


def full():
    """A report with everything that the page treats in its own way."""
    cells = [
        ["flow", Estimate(value=1.0, low=0.9, high=1.1), Estimate(value=2.0, n=5, method="of 5")],
        ["gan", Estimate(value=3.0, low=0.5, high=5.1), Estimate(value=2.5, n=3, method="of 3")],
        ["real", 0.5, None],
    ]
    table = Table(
        title="Main",
        columns=[
            Column(name="model"),
            Column(name="energy (pixels)", better="lower", best=["flow"], group="Quality"),
            Column(name="time", unit="s", better="lower", group="Cost"),
        ],
        rows=cells,
        references=["real"],
    )
    small = pictures.grid(np.zeros((64, 8, 8, 1), dtype=np.uint8))
    score = Dot(name="energy (pixels)", estimate=Estimate(value=1.0, low=0.9, high=1.1))
    shown = [Picture(caption="flow", png=small, scores=[score])]
    return Report(
        title="T",
        command="compare",
        question={"models": ["flow", "gan"]},
        facts=Facts(items=[Fact(name="Seeds", value="0, 1"), Fact(name="Commit", value="abc")]),
        verdicts=[Verdict(claim="flow and gan are not significantly different.")],
        caveats=[Caveat(text="Two seeds only.")],
        blocks=[
            table,
            Gallery(title="Samples", pictures=shown, note="The first."),
            Section(title="Folded", blocks=[Prose(text="x")]),
        ],
    )


class Nested(HTMLParser):
    """Fails where an element is closed that is not open, or stays open."""

    VOID = frozenset({"meta", "link", "img", "br", "wbr"})

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        known = dict(attributes)
        assert len(known) == len(attributes), f"{name} has an attribute twice"
        self.ids += [known["id"]] if "id" in known else []
        self.links += [known["href"]] if known.get("href", "").startswith("#") else []
        if name == "p":
            assert "p" not in self.open
        if name not in self.VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name


def test_the_page_is_well_formed_and_every_link_leads_somewhere():
    for report in (full(), Report(title="t", command="c")):
        page = Nested(html.as_html(report))
        assert len(page.ids) == len(set(page.ids))
        assert {link[1:] for link in page.links} <= set(page.ids)
    Nested(full()._repr_html_())


def test_navigation_is_on_top_and_names_every_part():
    text = html.as_html(full())
    nav = text[text.index("<nav") : text.index("</nav>")]
    assert text.index("<nav") < text.index("<main")
    for title in ("Answer", "Limitations", "Main", "Samples", "Folded", "Run details"):
        assert f">{title}</a>" in nav


def test_run_details_are_folded_but_for_the_few_that_matter():
    text = html.as_html(full())
    assert '<details class="section" id="details">' in text
    glance = text[text.index('class="glance"') : text.index("</header>")]
    assert "Seeds: 0, 1" in glance
    assert "abc" not in glance
    assert "abc" in text[text.index('id="details"') :]


def test_small_samples_are_shown_larger_with_their_scores_and_open_on_a_click():
    text = html.as_html(full())
    figure = text[text.index('<details class="zoom"') : text.index("</figure>")]
    # 8 images of 8 pixels with 7 gaps, four times as large.
    assert f'width="{4 * (8 * 8 + 7)}"' in figure
    assert 'class="pixels"' in figure
    assert "image-rendering: pixelated" in text
    assert figure.count("<img") == 1
    assert "<dt>energy (pixels)</dt>" in figure
    assert "<dd>1.00 ± 0.10</dd>" in figure


def test_only_the_significant_best_is_bold_and_units_stand_in_the_head():
    text = html.as_html(full())
    table = text[text.index("<table>") : text.index("</table>")]
    assert [b.strip() for b in re.findall(r"<b>([^<]*)</b>", table)] == ["1.00"]
    head = table[: table.index("</thead>")]
    assert re.findall(r"<small>([^<]*)</small>", head) == ["s"]
    assert 'class="unit"' not in table
    groups = re.findall(r'<th colspan="(\d)" scope="colgroup"><span>(\w+)', head)
    assert groups == [("1", "Quality"), ("1", "Cost")]


def test_an_unknown_interval_has_its_footnote_and_alike_ones_share_it():
    text = html.as_html(full())
    marks = re.findall(r"± \?(<sup>\w</sup>)?", text[text.index("<table>") :])
    assert marks[:2] == ["<sup>a</sup>"] * 2
    assert "<sup>a</sup> no interval: of 3 to 5</p>" in text


def test_a_table_that_is_too_wide_says_so_without_a_script():
    def classes(columns):
        heads = [Column(name="model"), *(Column(name=f"metric {k}") for k in range(columns))]
        row = ["gan", *(Estimate(value=1.5, low=1.4, high=1.6) for _ in range(columns))]
        page = html.as_html(
            Report(title="t", command="c", blocks=[Table(title="T", columns=heads, rows=[row])])
        )
        return re.search(r'<div class="(table[^"]*)">', page)[1].split()

    assert classes(2) == ["table"]
    assert classes(6) == ["table", "over-phone"]
    assert classes(30) == ["table", "over-phone", "over-page"]


def test_columns_of_one_title_are_told_by_their_group_where_groups_are_not_shown():
    heads = [Column(name="model")]
    heads += [Column(name="time", unit="s", group=group) for group in ("Training", "Sampling")]
    table = Table(title="T", columns=heads, rows=[["gan", 1.0, 2.0]])
    assert csv_table(table).splitlines()[0] == "model,Training: time (s),Sampling: time (s)"
    assert "Sampling: time" in latex_table(table)
