"""A report as Markdown, for issues, pull requests and notes."""

import re
from collections.abc import Sequence

from gantlet.report import chart_tables
from gantlet.report.blocks import (
    Block,
    Caveat,
    Facts,
    Forest,
    Gallery,
    Lines,
    Prose,
    Report,
    Scatter,
    Section,
    Table,
    Verdict,
)
from gantlet.report.markup import clean
from gantlet.report.tabular import Layout, Shown, lay_out

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$&])")


def render(report: Report) -> str:
    """Returns the whole report; pictures are named only."""
    parts = [f"# {_line(report.title)}"]
    parts += [_verdict(v) for v in report.verdicts]
    parts += [_block(b, 2) for b in report.blocks]
    if report.caveats:
        parts.append("## Read with care")
        parts.append("\n".join(f"- {_safe(c.text)}" for c in report.caveats))
    if report.facts.items:
        parts += ["## How this was made", _facts(report.facts)]
    return "\n\n".join(parts) + "\n"


def table(block: Table) -> str:
    """Returns one table, in the form that GitHub and Pandoc read."""
    layout = lay_out(block)
    heads = [_head(layout, k) for k in range(len(layout.heads))]
    rule = ["---:" if h.is_number else ":---" for h in layout.heads]
    rows = [[_cell(c) for c in line.cells] for line in layout.lines]
    lines = [f"| {' | '.join(row)} |" for row in (heads, rule, *rows)]
    return "\n".join(lines) + _below(layout)


def _block(block: Block, level: int) -> str:
    match block:
        case Facts():
            return _facts(block)
        case Verdict():
            return _verdict(block)
        case Caveat():
            return f"> {_line(block.text)}"
        case Prose():
            return _safe(block.text)
        case Section():
            inner = [_block(b, min(level + 1, 6)) for b in block.blocks]
            return "\n\n".join([_title(block.title, level), *inner])
        case _:
            return _titled(block, level)


def _titled(block: Table | Lines | Scatter | Forest | Gallery, level: int) -> str:
    title = _title(block.title, level)
    match block:
        case Table():
            return f"{title}\n\n{table(block)}"
        case Lines():
            return f"{title}\n\n{table(chart_tables.of_lines(block))}"
        case Scatter():
            return f"{title}\n\n{table(chart_tables.of_scatter(block))}"
        case Forest():
            return f"{title}\n\n{table(chart_tables.of_forest(block))}"
        case Gallery():
            names = "; ".join(_safe(p.caption) for p in block.pictures)
            return f"{title}\n\nPictures, to be seen in report.html: {names}."


def _title(title: str, level: int) -> str:
    return f"{'#' * level} {_line(title)}"


def _verdict(verdict: Verdict) -> str:
    because = f" {_line(verdict.because)}" if verdict.because else ""
    return f"**{_line(verdict.claim)}**{because}"


def _facts(facts: Facts) -> str:
    return "\n".join(f"- {_line(f.name)}: {_line(f.value)}" for f in facts.items)


def _head(layout: Layout, k: int) -> str:
    head = layout.heads[k]
    unit = f"({head.unit})" if head.unit else ""
    return " ".join(filter(None, (_line(head.name), _line(unit), head.arrow)))


def _cell(cell: Shown) -> str:
    shown = _line(cell.text)
    if cell.best:
        shown = f"**{shown}**"
    return f"{shown} ({cell.mark})" if cell.mark else shown


def _below(layout: Layout) -> str:
    parts: Sequence[str] = [
        "Bold: the best, and all whose interval overlaps with its own." if layout.has_best else "",
        _safe(layout.note),
        *(f"({letter}) {_safe(why)}" for letter, why in layout.footnotes),
    ]
    return "".join(f"\n\n{p}" for p in parts if p)


def _safe(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", clean(text))


def _line(text: str) -> str:
    return _safe(" ".join(text.split()))
