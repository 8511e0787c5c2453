"""Tables of the page: sortable where scripts run, whole where they do not."""

from gantlet.report import csv, latex
from gantlet.report.blocks import Table
from gantlet.report.markup import Markup, breakable, join, tag
from gantlet.report.tabular import Head, Layout, Line, Shown, lay_out

_BEST = "Bold: the best, and all whose interval overlaps with its own."
_APART = "Below the inner line: for comparison only, not in competition."
_FIGURE_SPACE, _POINT_SPACE = "\u2007", "\u2008"  # as wide as a digit and as a full stop


def render(table: Table, *, with_latex: bool = True) -> Markup:
    """Returns a table with its notes; scripts add buttons to sort and to copy it."""
    layout = lay_out(table)
    sources = [tag("template", csv.table(table), data_copy="CSV")]
    if with_latex:
        sources.insert(0, tag("template", latex.table(table), data_copy="LaTeX"))
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
            tag("thead", tag("tr", *map(_head, layout.heads))),
            tag("tbody", *competing),
            *([tag("tbody", *references, class_="references")] if references else []),
        ),
        # A region that scrolls must be reachable by keyboard.
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=layout.title,
    )


def _head(head: Head) -> Markup:
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
