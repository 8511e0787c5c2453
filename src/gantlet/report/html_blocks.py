"""Blocks of the page."""

import base64
import re
from collections.abc import Sequence

from gantlet.report import chart_tables, html_table, pictures, svg_forest, svg_lines, svg_scatter
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
    Scatter,
    Section,
    Table,
    Verdict,
)
from gantlet.report.markup import Markup, breakable, join, tag

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
            return [html_table.render(one)]
        case Lines():
            return [_lines(one)]
        case Scatter():
            return [_chart(svg_scatter.draw(one), one.note, chart_tables.of_scatter(one))]
        case Forest():
            return [_chart(svg_forest.draw(one), one.note, chart_tables.of_forest(one))]
        case Gallery():
            return [*_note(one.note), tag("div", *map(_picture, one.pictures), class_="gallery")]


def _lines(one: Lines) -> Markup:
    drawn = svg_lines.draw(one)
    picture = drawn[0] if len(drawn) == 1 else tag("div", *drawn, class_="panels")
    return _chart(picture, one.note, chart_tables.of_lines(one), is_wide=len(drawn) > 1)


def _chart(picture: Markup, note: str, table: Table, *, is_wide: bool = False) -> Markup:
    caption = [tag("figcaption", note)] if note else []
    numbers = html_table.render(table, with_latex=False)
    return join(
        [
            tag("figure", picture, *caption, class_="wide" if is_wide else "plot"),
            tag("details", tag("summary", "The numbers of this chart"), numbers, class_="numbers"),
        ]
    )


def _note(text: str) -> list[Markup]:
    return [tag("p", text, class_="note")] if text else []


def _picture(one: Picture) -> Markup:
    width, height = pictures.size(one.png)
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
