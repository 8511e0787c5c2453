"""A report as one page that needs nothing else: no network, no library, no script to be read."""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import cast

from gantlet.core.budget import Spend
from gantlet.core.errors import UserError
from gantlet.report import charts, images, text
from gantlet.report import format as fmt
from gantlet.report.blocks import (
    Block,
    Caveat,
    Fact,
    Facts,
    Forest,
    Gallery,
    Lines,
    Picture,
    Prose,
    Report,
    Scatter,
    Section,
    Table,
    Verdict,
)
from gantlet.report.format import Head, Layout, Line, Markup, Shown, breakable, join, lay_out, tag
from gantlet.report.json import dumps

# The page


MOST_BYTES = 10_000_000
"""A page above this is an error: browsers and mail give up on such files."""

# Rows above this are left to report.json, so that a normal page stays below two megabytes.
_MOST_DATA = 1_000_000


def as_html(report: Report) -> str:
    """Returns the page.

    Raises:
        UserError: If it would be larger than ``MOST_BYTES``.
    """
    body = [
        _top(report),
        tag("main", *_main(report)),
        _foot(report),
        _data(report),
        tag("script", Markup(_asset("page.js"))),
    ]
    page = "<!doctype html>\n" + tag("html", _head(report), tag("body", *body), lang="en")
    size = len(page.encode())
    if size > MOST_BYTES:
        raise UserError(
            f"The page would have {fmt.text(size, 'B')}, above the "
            f"{fmt.text(MOST_BYTES, 'B')} that browsers open with ease. "
            "Put fewer pictures or curves into it."
        )
    return page + "\n"


@cache
def _asset(name: str) -> str:
    return files("gantlet.report").joinpath(name).read_text(encoding="utf-8")


def _head(report: Report) -> Markup:
    digest = hashlib.sha256(_asset("page.js").encode()).digest()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{base64.b64encode(digest).decode('ascii')}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", report.title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(_asset("page.css"))),
    )


def _top(report: Report) -> Markup:
    return tag(
        "header", tag("p", f"gantlet {report.command}", class_="kicker"), tag("h1", report.title)
    )


def _main(report: Report) -> list[Markup]:
    before, after = _around_main_table(report)
    drawn = blocks(report.blocks, 2)
    return [
        tag("div", _answer(report), _made(report), class_="opening"),
        *drawn[:before],
        *_caveats(report),
        *_contents(report.blocks, before)[: after > 2],
        *drawn[before:],
    ]


def _around_main_table(report: Report) -> tuple[int, int]:
    """Returns how many blocks come up to the main table, and how many after it."""
    found = (k for k, b in enumerate(report.blocks, start=1) if isinstance(b, Table))
    before = next(found, 0)
    return before, len(report.blocks) - before


def _answer(report: Report) -> Markup:
    verdicts = [verdict(v) for v in report.verdicts]
    none = [tag("p", "No conclusion can be drawn.", class_="claim")]
    return tag("section", tag("h2", "Answer"), *(verdicts or none), class_="answer")


def _made(report: Report) -> Markup:
    items = [*report.facts.items, *_spent(report.spend)]
    return tag("section", tag("h2", "How this was made"), facts(items), class_="made")


def _spent(spend: Spend | None) -> list[Fact]:
    if spend is None:
        return []
    parts = (
        fmt.text(spend.flops, "FLOP"),
        f"{spend.examples:,} examples",
        f"{spend.steps:,} steps",
        fmt.text(spend.seconds, "s"),
    )
    return [Fact(name="Spent in training", value=", ".join(parts))]


def _caveats(report: Report) -> list[Markup]:
    if not report.caveats:
        return []
    items = [tag("li", c.text) for c in report.caveats]
    return [tag("section", tag("h2", "Read with care"), tag("ul", *items), class_="caveats")]


def _contents(blocks: Sequence[Block], before: int) -> list[Markup]:
    links = [
        tag("li", tag("a", b.title, href=f"#b{k}"))
        for k, b in enumerate(blocks[before:], start=before + 1)
        if isinstance(b, Table | Lines | Scatter | Forest | Gallery | Section)
    ]
    return [tag("nav", tag("ul", *links), aria_label="On this page")]


def _foot(report: Report) -> Markup:
    items = [Fact(name=k, value=_words(v)) for k, v in report.question.items()]
    asked = [
        tag(
            "details",
            tag("summary", "The question, with every setting written out"),
            facts(items),
        )
    ]
    return tag("footer", *(asked if items else []), tag("p", class_="tools", id="tools"))


def _words(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return fmt.text(value)
    if isinstance(value, list | tuple):
        return "; ".join(map(_words, cast("Sequence[object]", value)))
    return json.dumps(value, ensure_ascii=False, default=str)


def _data(report: Report) -> Markup:
    """Returns the tidy result for machines; as ``<`` never occurs, it cannot end its element."""
    text = dumps(report, blocks=False)
    if len(text) > _MOST_DATA:
        told = {**report.extra, "note": "the rows are in report.json, to keep this page small"}
        text = dumps(replace(report, rows=(), extra=told), blocks=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return tag("script", Markup(text), type="application/json", id="report")


# Blocks


_SHOWN = 240  # pixels across, of a picture; one up to _WIDEST is shown as it is
_WIDEST = 280


def blocks(found: Sequence[Block], level: int, prefix: str = "b") -> list[Markup]:
    """Returns blocks under headings of ``level``; the anchor of the first is ``prefix`` + 1."""
    return [block(b, level, f"{prefix}{k}") for k, b in enumerate(found, start=1)]


def block(one: Block, level: int, anchor: str) -> Markup:
    """Returns one block."""
    match one:
        case Section():
            inner = blocks(one.blocks, min(level + 1, 6), f"{anchor}-")
            title = tag(f"h{level}", one.title)
            return tag(
                "details",
                tag("summary", title),
                *inner,
                class_="section",
                id=anchor,
                open=one.open,
            )
        case Facts():
            return facts(one.items)
        case Verdict():
            return verdict(one)
        case Caveat():
            return tag("p", one.text, class_="caveat")
        case Prose():
            return tag("div", *paragraphs(one.text), class_="prose")
        case _:
            head = tag(f"h{level}", one.title)
            return tag("section", head, *_body(one), class_="block", id=anchor)


def verdict(one: Verdict) -> Markup:
    """Returns an answer and what it rests on."""
    because = [tag("p", one.because, class_="because")] if one.because else []
    return tag("div", tag("p", one.claim, class_="claim"), *because, class_="verdict")


def facts(items: Sequence[Fact]) -> Markup:
    """Returns names and values."""
    return tag(
        "dl",
        *(tag("div", tag("dt", f.name), tag("dd", f.value)) for f in items),
        class_="facts",
    )


def paragraphs(text: str) -> list[Markup]:
    """Returns text with its paragraphs, which empty lines part."""
    return [tag("p", p) for p in re.split(r"\n\s*\n", text.strip()) if p]


def _body(one: Table | Lines | Scatter | Forest | Gallery) -> list[Markup]:
    match one:
        case Table():
            return [shown_table(one)]
        case Lines():
            return [_curves(one)]
        case Scatter():
            return [_chart(charts.draw_scatter(one), one.note, charts.scatter_table(one))]
        case Forest():
            return [_chart(charts.draw_forest(one), one.note, charts.forest_table(one))]
        case Gallery():
            return [*_note(one.note), tag("div", *map(_picture, one.pictures), class_="gallery")]


def _curves(one: Lines) -> Markup:
    drawn = charts.draw_lines(one)
    picture = drawn[0] if len(drawn) == 1 else tag("div", *drawn, class_="panels")
    return _chart(picture, one.note, charts.lines_table(one), is_wide=len(drawn) > 1)


def _chart(picture: Markup, note: str, table: Table, *, is_wide: bool = False) -> Markup:
    caption = [tag("figcaption", note)] if note else []
    numbers = shown_table(table, with_latex=False)
    return join(
        [
            tag("figure", picture, *caption, class_="wide" if is_wide else "plot"),
            tag("details", tag("summary", "The numbers of this chart"), numbers, class_="numbers"),
        ]
    )


def _note(text: str) -> list[Markup]:
    return [tag("p", text, class_="note")] if text else []


def _picture(one: Picture) -> Markup:
    width, height = images.size(one.png)
    scale = _scale(width)
    image = tag(
        "img",
        src="data:image/png;base64," + base64.b64encode(one.png).decode("ascii"),
        alt=one.description or f"Samples: {one.caption}",
        width=round(width * scale),
        height=round(height * scale),
        class_="pixels" if scale > 1 else None,
    )
    return tag("figure", image, tag("figcaption", breakable(one.caption)))


def _scale(width: int) -> float:
    """Returns by how much a picture is enlarged: whole numbers, so that its pixels stay square."""
    if width <= _WIDEST:
        return float(max(_SHOWN // width, 1))
    return _SHOWN / width


# Tables: sortable where scripts run, whole where they do not


_BEST = "Bold: the best, and all whose interval overlaps with its own."
_APART = "Below the inner line: for comparison only, not in competition."
_FIGURE_SPACE, _POINT_SPACE = "\u2007", "\u2008"  # as wide as a digit and as a full stop


def shown_table(table: Table, *, with_latex: bool = True) -> Markup:
    """Returns a table with its notes; scripts add buttons to sort and to copy it."""
    layout = lay_out(table)
    sources = [tag("template", text.csv_table(table), data_copy="CSV")]
    if with_latex:
        sources.insert(0, tag("template", text.latex_table(table), data_copy="LaTeX"))
    return tag("div", _scroll(layout), _below(layout), *sources, class_="table")


def _scroll(layout: Layout) -> Markup:
    places = [_places(layout, k) for k in range(len(layout.heads))]
    competing = [_row(line, places) for line in layout.lines if not line.is_reference]
    references = [_row(line, places) for line in layout.lines if line.is_reference]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", layout.title),
            tag("thead", tag("tr", *map(_column_head, layout.heads))),
            tag("tbody", *competing),
            *([tag("tbody", *references, class_="references")] if references else []),
        ),
        # A region that scrolls must be reachable by keyboard.
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=layout.title,
    )


def _column_head(head: Head) -> Markup:
    label = [tag("span", head.name, class_="head")]
    if head.better:
        words = f"{head.better} is better"
        label.append(tag("span", f"\u00a0{head.arrow}", role="img", aria_label=words, title=words))
    unit = [tag("small", head.unit)] if head.unit else []
    return tag(
        "th",
        tag("span", *label, class_="sort"),
        *unit,
        scope="col",
        class_="n" if head.is_number else None,
        title=head.help or None,
        data_better=head.better or None,
    )


def _row(line: Line, places: list[int]) -> Markup:
    first, *rest = line.cells
    cells = [_cell(c, p) for c, p in zip(rest, places[1:], strict=True)]
    return tag("tr", tag("th", breakable(first.text), scope="row"), *cells)


def _cell(cell: Shown, places: int) -> Markup:
    if not cell.is_number:
        return tag("td", breakable(cell.value))
    pad = "" if cell.number is None else _padding(cell.value, places)
    value = f"{cell.value}{pad}"
    parts: list[Markup | str] = [tag("b", value) if cell.best else value]
    if cell.suffix:
        parts.append(tag("span", f" {cell.suffix}", class_="unit"))
    if cell.spread:
        parts.append(tag("small", cell.spread + pad))
    if cell.mark:
        parts.append(tag("sup", cell.mark))
    return tag("td", *parts, class_="n", title=cell.why or None, data_sort=_sortable(cell))


def _sortable(cell: Shown) -> str | None:
    return None if cell.number is None else repr(cell.number)


def _places(layout: Layout, k: int) -> int:
    """Returns how many digits after the point a column has, or 0 where units differ."""
    cells = [line.cells[k] for line in layout.lines]
    if any(c.suffix for c in cells):
        return 0
    return max((_after_point(c.value) for c in cells if c.number is not None), default=0)


def _after_point(value: str) -> int:
    return len(value.partition(".")[2])


def _padding(value: str, places: int) -> str:
    """Returns the blanks that put the point of ``value`` under that of the others."""
    missing = places - _after_point(value)
    if missing <= 0:
        return ""
    return _FIGURE_SPACE * missing + ("" if "." in value else _POINT_SPACE)


def _below(layout: Layout) -> Markup:
    parts = [tag("p", layout.note, class_="note")] if layout.note else []
    if layout.has_best:
        parts.append(tag("p", _BEST, class_="note"))
    if any(line.is_reference for line in layout.lines):
        parts.append(tag("p", _APART, class_="note"))
    parts += [
        tag("p", tag("sup", letter), f" {why}", class_="note") for letter, why in layout.footnotes
    ]
    return join([*parts, *_key(layout)])


def _key(layout: Layout) -> list[Markup]:
    """Returns what the columns mean and how their numbers were obtained, folded away."""
    told = [h for h in layout.heads if h.help or h.methods]
    if not told:
        return []
    items = [part for h in told for part in (tag("dt", h.name), tag("dd", *_meaning(h)))]
    return [tag("details", tag("summary", "What the columns mean"), tag("dl", *items))]


def _meaning(head: Head) -> list[str]:
    methods = f"From: {'; '.join(head.methods)}." if head.methods else ""
    return [" ".join(filter(None, (head.help, methods)))]
