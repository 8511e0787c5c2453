"""HTML page of a report, self-contained: no network, library or script is needed to read it.

What stands where is in ``templates``; charts, numbers and safe text are made here.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, cast, final

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined

from gantlet.core.errors import UserError
from gantlet.core.estimate import Spend
from gantlet.report import charts, documents, pictures
from gantlet.report import format as fmt
from gantlet.report.blocks import (
    Block,
    Chart,
    Code,
    Dot,
    Fact,
    Forest,
    Gallery,
    Lines,
    Picture,
    Report,
    Scatter,
    Section,
    Table,
    Waterfall,
)
from gantlet.report.format import Head, Line, Markup, Shown, TableLayout, breakable, lay_out, safe
from gantlet.report.json import dumps

# The page


MOST_BYTES = 10_000_000
"""A page above this is an error: browsers and mail give up on such files."""

# Rows above this are left to report.json, so that a normal page stays below two megabytes.
_MOST_DATA = 1_000_000
# Facts as short as this stand under the title; all are in the run details.
_SHORT, _FEW = 44, 4
_TECHNICAL = frozenset({"Commit", "Started", "Versions", "Machine", "Command"})


def as_html(report: Report) -> str:
    """Returns the page.

    Raises:
        UserError: If it would be larger than ``MOST_BYTES``.
    """
    page = pages().get_template("page.html").render(_view(report)) + "\n"
    size = len(page.encode())
    if size > MOST_BYTES:
        raise UserError(
            f"The page would have {fmt.text(size, 'B')}, above the "
            f"{fmt.text(MOST_BYTES, 'B')} that browsers open with ease. "
            "Put fewer pictures or curves into it."
        )
    return page


def as_fragment(report: Report) -> str:
    """Returns answer, limitations and main table without style, for a notebook."""
    main = next((b for b in report.blocks if isinstance(b, Table)), None)
    table = None if main is None else TableView(main, with_sources=False)
    return pages().get_template("fragment.html").render(report=report, table=table)


def script_of(*names: str) -> tuple[Markup, str]:
    """Returns templates of scripts as one script, and its SHA-256 for the page's policy."""
    script = "\n".join(asset(name) for name in names)
    digest = hashlib.sha256(script.encode()).digest()
    return Markup(script), base64.b64encode(digest).decode("ascii")


@cache
def pages() -> Environment:
    """Returns the templates; everything they show is escaped, and a missing name is an error."""
    made = Environment(
        loader=PackageLoader("gantlet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"breakable": breakable, "paragraphs": _paragraphs, "kind": _kind}
    views: dict[str, Any] = {
        "Chart": ChartView,
        "TableView": TableView,
        "PictureView": PictureView,
    }
    made.filters.update(filters)
    made.globals.update(views)
    return made


def _shown(value: object) -> object:
    """Returns a value for a template, with text escaped."""
    if isinstance(value, Undefined) or hasattr(value, "__html__"):
        return value
    return safe(value) if isinstance(value, str) else value


def _kind(block: object) -> str:
    return type(block).__name__


def _paragraphs(text: str) -> list[str]:
    """Returns the paragraphs of a text, which empty lines part."""
    return [p for p in re.split(r"\n\s*\n", text.strip()) if p]


@cache
def asset(name: str) -> str:
    """Returns the text of a template."""
    return files("gantlet.report").joinpath("templates", name).read_text(encoding="utf-8")


def _view(report: Report) -> dict[str, object]:
    """Returns everything that the page shows, by the names that its template uses."""
    script, digest = script_of("sort.js", "page.js")
    main = _main_table(report.blocks)
    details = [*report.facts.items, *_spent(report.spend)]
    return {
        "report": report,
        "css": Markup(asset("page.css")),
        "script": script,
        "digest": digest,
        "glance": _glance(report.facts.items),
        "before": report.blocks[:main],
        "after": report.blocks[main:],
        "contents": list(_contents(report.blocks)),
        "details": details,
        "question": [Fact(name=k, value=_words(v)) for k, v in report.question.items()],
        "data": _data(report),
    }


def _main_table(blocks: Sequence[Block]) -> int:
    """Returns the number of blocks up to the main table, 0 without a table."""
    return next((k for k, b in enumerate(blocks, start=1) if isinstance(b, Table)), 0)


def _glance(facts: Sequence[Fact]) -> list[Fact]:
    """Returns the first facts that are short enough to stand under the title."""
    short = [f for f in facts if len(f.name) + len(f.value) <= _SHORT]
    return [f for f in short if f.name not in _TECHNICAL][:_FEW]


_TITLED = Code | Table | Chart | Gallery | Section


def _contents(blocks: Sequence[Block]) -> Iterator[tuple[str, str]]:
    """Yields anchor and title of every block that has a title."""
    for k, block in enumerate(blocks, start=1):
        if isinstance(block, _TITLED):
            yield f"b{k}", block.title


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
        with_note = {
            **report.extra,
            "note": "the rows are in report.json, to keep this page small",
        }
        text = dumps(replace(report, rows=(), extra=with_note), blocks=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


# Blocks


_SHOWN = 288  # pixels across, of a picture; one up to _WIDEST is shown as it is
_WIDEST = 320


@final
class ChartView:
    """A chart of the page, and the table of its numbers.

    Args:
        block: The chart.
    """

    def __init__(self, block: Chart) -> None:
        self.note = block.note
        self.pictures = _drawn(block)
        self.table = TableView(charts.as_table(block), with_latex=False)


def _drawn(block: Chart) -> list[Markup]:
    match block:
        case Lines():
            return charts.draw_lines(block)
        case Scatter():
            return [charts.draw_scatter(block)]
        case Forest():
            return [charts.draw_forest(block)]
        case Waterfall():
            return [charts.draw_waterfall(block)]


@final
class PictureView:
    """A picture of the page, with the numbers of what it shows.

    Args:
        one: The picture.
    """

    def __init__(self, one: Picture) -> None:
        self.scores = [_score(d) for d in one.scores]
        self.sounds = [
            "data:audio/wav;base64," + base64.b64encode(s).decode("ascii") for s in one.sounds
        ]
        self.is_left_out = not one.png  # of a summary
        self.caption = f"{one.caption} (picture omitted)" if self.is_left_out else one.caption
        if self.is_left_out:
            return
        width, height = pictures.size(one.png)
        scale = _scale(width)
        self.source = "data:image/png;base64," + base64.b64encode(one.png).decode("ascii")
        self.alternative = one.description or f"Samples: {one.caption}"
        self.width, self.height = round(width * scale), round(height * scale)
        self.is_small = width <= _WIDEST


def _score(dot: Dot) -> tuple[str, str, str]:
    """Returns name, number and origin of a number beside a picture."""
    e = dot.estimate
    number = e.method if e.value is None else fmt.text(e)
    return dot.name, number, fmt.origin(e)


def _scale(width: int) -> float:
    """Returns by how much a picture is enlarged: whole numbers, so that its pixels stay square."""
    if width <= _WIDEST:
        return float(max(_SHOWN // width, 1))
    return _SHOWN / width


# Tables: sortable where scripts run, whole where they do not


_FIGURE_SPACE, _POINT_SPACE = "\u2007", "\u2008"  # as wide as a digit and as a full stop


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CellView:
    """A cell of the page.

    Attributes:
        cell: The written cell.
        pad: The blanks that put its point under that of the others.
        sort: What it is sorted by, or None for text and what is missing.
    """

    cell: Shown
    pad: str
    sort: str | None


@final
class TableView:
    """A table of the page.

    Args:
        table: The table.
        with_latex: Whether it can be copied as LaTeX.
        with_sources: Whether it can be copied at all.
    """

    def __init__(
        self, table: Table, *, with_latex: bool = True, with_sources: bool = True
    ) -> None:
        layout = lay_out(table)
        self.layout = layout
        self.has_groups = any(h.group for h in layout.heads)
        self.starts = _starts(layout)
        places = [_places(layout, k) for k in range(len(layout.heads))]
        self.competing = [_row(line, places) for line in layout.lines if not line.is_reference]
        self.references = [_row(line, places) for line in layout.lines if line.is_reference]
        self.over = _over(layout)
        self.key = [(h.alone, _meaning(h)) for h in layout.heads if h.help or h.methods]
        self.sources: Mapping[str, str] = {}
        if with_sources:
            latex = {"LaTeX": documents.latex_table(table)} if with_latex else {}
            self.sources = {**latex, "CSV": documents.csv_table(table)}


_CHARACTER, _SMALLER, _GAP = 7.8, 0.82, 15.0  # pixels, of a table on the page
_ROOM = (("phone", 360.0), ("page", 1130.0))


def _over(layout: TableLayout) -> str:
    """Returns the classes of what a table is probably too wide for, where no script measures it.

    Heads break between words, numbers and their intervals do not.
    """
    width = sum(_column_width(layout, k) for k in range(len(layout.heads)))
    return " ".join(f"over-{name}" for name, room in _ROOM if width > room)


def _column_width(layout: TableLayout, k: int) -> float:
    head, cells = layout.heads[k], [line.cells[k] for line in layout.lines]
    words = [len(word) * _SMALLER for word in re.split(r"[\s:=,/+|@-]", head.name)]
    if head.is_number:
        words += [len(f"{c.value} {c.suffix}") for c in cells]
        words += [len(c.spread) * _SMALLER for c in cells]
    else:
        words += [min(len(c.value), 16) for c in cells]
    return max(words, default=0) * _CHARACTER + _GAP


def _starts(layout: TableLayout) -> set[int]:
    """Returns the indices of columns that begin a group, except the first."""
    starts, k = set[int](), 0
    for _, wide in layout.groups:
        starts.add(k)
        k += wide
    return starts - {0}


def _row(line: Line, places: list[int]) -> list[CellView]:
    return [_cell(c, p) for c, p in zip(line.cells, places, strict=True)]


def _cell(cell: Shown, places: int) -> CellView:
    if cell.number is None:
        return CellView(cell=cell, pad="", sort=None)
    return CellView(cell=cell, pad=_padding(cell.value, places), sort=repr(cell.number))


def _places(layout: TableLayout, k: int) -> int:
    """Returns the number of decimals of a column, or 0 if units differ."""
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


def _meaning(head: Head) -> str:
    methods = f"From: {'; '.join(head.methods)}." if head.methods else ""
    return " ".join(filter(None, (head.help, methods)))
