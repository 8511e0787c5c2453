"""Text formats of a report: Markdown, LaTeX and CSV."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from gantlet.core.errors import unknown
from gantlet.core.estimate import Estimate
from gantlet.report import charts
from gantlet.report.blocks import (
    Block,
    Caveat,
    Cell,
    Chart,
    Code,
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
    Waterfall,
)
from gantlet.report.format import BEST, Head, Line, Shown, TableLayout, clean, heads_alone, lay_out
from gantlet.report.json import ESTIMATE, estimate_fields

if TYPE_CHECKING:
    from pandas import DataFrame

# One report, any format


FORMATS = {
    "html": "gantlet.report.html:as_html",
    "json": "gantlet.report.json:dumps",
    "markdown": "gantlet.report.documents:as_markdown",
    "md": "gantlet.report.documents:as_markdown",
    "latex": "gantlet.report.documents:as_latex",
    "tex": "gantlet.report.documents:as_latex",
    "csv": "gantlet.report.documents:as_csv",
    "text": "gantlet.report.terminal:render",
}
"""Where each format is written; loaded when it is asked for."""


def render(report: Report, fmt: str) -> str:
    """Returns ``report`` in the format ``fmt``, one of ``FORMATS``.

    Raises:
        UserError: If the format is not known.
    """
    if fmt not in FORMATS:
        raise unknown("format", fmt, FORMATS)
    module, _, name = FORMATS[fmt].partition(":")
    write: Callable[[Report], str] = getattr(import_module(module), name)
    return write(report)


# Markdown, for issues, pull requests and notes


_MD_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$&])")


def as_markdown(report: Report) -> str:
    """Returns the whole report; pictures are named only."""
    parts = [f"# {_md_line(report.title)}"]
    parts += [_md_verdict(v) for v in report.verdicts]
    parts += [_md_block(b, 2) for b in report.blocks]
    if report.caveats:
        parts.append("## Limitations")
        parts.append("\n".join(f"- {_md_safe(c.text)}" for c in report.caveats))
    if report.facts.items:
        parts += ["## Run details", _md_facts(report.facts)]
    return "\n\n".join(parts) + "\n"


def markdown_table(block: Table) -> str:
    """Returns one table, in the form that GitHub and Pandoc read."""
    layout = lay_out(block)
    heads = [_md_head(layout, k) for k in range(len(layout.heads))]
    rule = ["---:" if h.is_number else ":---" for h in layout.heads]
    rows = [[_md_cell(c) for c in line.cells] for line in layout.lines]
    lines = [f"| {' | '.join(row)} |" for row in (heads, rule, *rows)]
    return "\n".join(lines) + _md_below(layout)


def _md_block(block: Block, level: int) -> str:
    match block:
        case Facts():
            return _md_facts(block)
        case Verdict():
            return _md_verdict(block)
        case Caveat():
            return f"> {_md_line(block.text)}"
        case Prose():
            return _md_safe(block.text)
        case Section():
            inner = [_md_block(b, min(level + 1, 6)) for b in block.blocks]
            return "\n\n".join([_md_title(block.title, level), *inner])
        case _:
            return _md_titled(block, level)


def _md_titled(block: Code | Table | Chart | Gallery, level: int) -> str:
    title = _md_title(block.title, level)
    match block:
        case Code():
            return f"{title}\n\n{_md_code(block)}"
        case Table():
            return f"{title}\n\n{markdown_table(block)}"
        case Lines() | Scatter() | Forest() | Waterfall():
            return f"{title}\n\n{markdown_table(charts.as_table(block))}"
        case Gallery():
            names = "; ".join(_md_safe(p.caption) for p in block.pictures)
            return f"{title}\n\nPictures, to be seen in report.html: {names}."


def _md_code(code: Code) -> str:
    """Returns lines of a program, indented: whatever signs they hold, they end with it."""
    lines = "\n".join(f"    {line}".rstrip() for line in clean(code.text).splitlines())
    return f"{lines}\n\n{_md_safe(code.note)}" if code.note else lines


def _md_title(title: str, level: int) -> str:
    return f"{'#' * level} {_md_line(title)}"


def _md_verdict(verdict: Verdict) -> str:
    because = f" {_md_line(verdict.because)}" if verdict.because else ""
    return f"**{_md_line(verdict.claim)}**{because}"


def _md_facts(facts: Facts) -> str:
    return "\n".join(f"- {_md_line(f.name)}: {_md_line(f.value)}" for f in facts.items)


def _md_head(layout: TableLayout, k: int) -> str:
    head = layout.heads[k]
    unit = f"({head.unit})" if head.unit else ""
    return " ".join(filter(None, (_md_line(head.alone), _md_line(unit), head.arrow)))


def _md_cell(cell: Shown) -> str:
    shown = _md_line(cell.text)
    if cell.best:
        shown = f"**{shown}**"
    return f"{shown} ({cell.mark})" if cell.mark else shown


def _md_below(layout: TableLayout) -> str:
    parts = [
        f"({mark}) {_md_safe(note)}" if mark else _md_safe(note) for mark, note in layout.below
    ]
    return "".join(f"\n\n{p}" for p in parts)


def _md_safe(text: str) -> str:
    return _MD_SPECIAL.sub(r"\\\1", clean(text))


def _md_line(text: str) -> str:
    return _md_safe(" ".join(text.split()))


# LaTeX with booktabs, for papers


TEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "–": "--",
    "µ": r"\textmu{}",
    "∞": r"$\infty$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "\ufffd": "?",
}
_RAISED = re.compile("10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def as_latex(report: Report) -> str:
    """Returns every table of ``report``, and every forest and scatter chart as a table."""
    head = [f"% {_tex_comment(report.title)}", r"% Needs \usepackage{booktabs,textcomp}."]
    head += [f"% {_tex_comment(v.claim)}" for v in report.verdicts]
    tables = [latex_table(t) for t in _tex_tables(report.blocks)]
    return "\n".join(head) + "\n\n" + "\n".join(tables)


def latex_table(block: Table) -> str:
    """Returns one table with its caption."""
    layout = lay_out(block)
    align = "".join("r" if h.is_number else "l" for h in layout.heads)
    body = [_tex_row(line) for line in layout.lines]
    split = next((k for k, line in enumerate(layout.lines) if line.is_reference), None)
    if split:
        body.insert(split, r"\midrule")
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_tex_caption(layout)}}}",
        rf"  \begin{{tabular}}{{{align}}}",
        *(f"    {x}" for x in (r"\toprule", _tex_heads(layout.heads), r"\midrule", *body)),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex_safe(text: str) -> str:
    r"""Returns ``text`` with everything escaped that LaTeX would read as a command.

    Example:
        >>> latex_safe("50 % of x_1")
        '50 \\% of x\\_1'
    """
    parts = _RAISED.split(" ".join(clean(text).split()))
    # Every second part is the exponent of a power of ten.
    return "".join(
        f"$10^{{{p.translate(_LOWERED)}}}$" if k % 2 else "".join(TEX_ESCAPES.get(c, c) for c in p)
        for k, p in enumerate(parts)
    )


def _tex_tables(blocks: Sequence[Block]) -> list[Table]:
    found: list[Table] = []
    for block in blocks:
        match block:
            case Table():
                found.append(block)
            case Scatter() | Forest() | Waterfall():
                found.append(charts.as_table(block))
            case Section():
                found += _tex_tables(block.blocks)
            case _:
                continue
    return found


def _tex_heads(heads: Sequence[Head]) -> str:
    return " & ".join(_tex_head(h) for h in heads) + r" \\"


def _tex_head(head: Head) -> str:
    unit = f"({head.unit})" if head.unit else ""
    return latex_safe(" ".join(filter(None, (head.alone, unit, head.arrow))))


def _tex_row(line: Line) -> str:
    return " & ".join(_tex_cell(c) for c in line.cells) + r" \\"


def _tex_cell(cell: Shown) -> str:
    shown = rf"\textbf{{{latex_safe(cell.text)}}}" if cell.best else latex_safe(cell.text)
    return rf"{shown}$^{{\mathrm{{{cell.mark}}}}}$" if cell.mark else shown


def _tex_caption(layout: TableLayout) -> str:
    parts = [f"{layout.title}.", layout.note, BEST if layout.has_best else ""]
    notes = [rf"$^{{\mathrm{{{letter}}}}}$ {latex_safe(why)}." for letter, why in layout.footnotes]
    return " ".join([*(latex_safe(p) for p in parts if p), *notes])


def _tex_comment(text: str) -> str:
    return " ".join(clean(text).split())


# CSV, for spreadsheets and data frames: one estimate a row


# What makes a spreadsheet compute; full-width signs and a blank before them do, too.
_FORMULA = "=+-@\t\r\uff1d\uff0b\uff0d\uff20"
_BLANKS = " \n\u00a0"
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


_HEAD = ("data", "model", "seed", "name", *ESTIMATE)


def as_csv(report: Report) -> str:
    """Returns the tidy rows of ``report`` with a head; empty where a number is missing."""
    rows = [[r.data, r.model, r.seed, r.name, *_csv_fields(r.estimate)] for r in report.rows]
    return _csv_written([_HEAD, *rows])


def frame(report: Report) -> "DataFrame":
    """Returns the tidy rows of ``report`` as a pandas data frame, with the columns of the CSV."""
    import pandas as pd

    rows = [[r.data, r.model, r.seed, r.name, *_csv_fields(r.estimate)] for r in report.rows]
    found = pd.DataFrame(rows, columns=list(_HEAD))
    numbers = {"value": float, "low": float, "high": float, "level": float}
    return found.astype({**numbers, "seed": "Int64", "n": "Int64"})


def csv_table(block: Table) -> str:
    """Returns one table with unrounded numbers; estimates get a column for each end."""
    has_ends = [any(isinstance(row[k], Estimate) for row in block.rows) for k in _places(block)]
    head: list[object] = []
    titles = heads_alone(block.columns)
    for column, title, wide in zip(block.columns, titles, has_ends, strict=True):
        name = title if column.unit == "1" else f"{title} ({column.unit})"
        head += [name, f"{name} low", f"{name} high"] if wide else [name]
    rows = [
        [x for c, wide in zip(row, has_ends, strict=True) for x in _csv_cells(c, wide=wide)]
        for row in block.rows
    ]
    return _csv_written([head, *rows])


def _places(block: Table) -> range:
    return range(len(block.columns))


def _csv_cells(cell: Cell, *, wide: bool) -> list[object]:
    if isinstance(cell, Estimate):
        fields = estimate_fields(cell)
        return [fields["value"], fields["low"], fields["high"]]
    return [cell, None, None] if wide else [cell]


def _csv_fields(estimate: Estimate) -> list[object]:
    fields = estimate_fields(estimate)
    return [fields[name] for name in ESTIMATE]


def _csv_written(rows: Iterable[Iterable[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(map(_csv_harmless, row) for row in rows)
    return out.getvalue()


def _csv_harmless(cell: object) -> object:
    """Returns a cell that a spreadsheet shows as it is.

    Text that begins like a formula gets an apostrophe, unless it is a number; control characters
    and halves of characters are replaced.

    Source: OWASP, https://owasp.org/www-community/attacks/CSV_Injection.
    """
    if not isinstance(cell, str):
        return cell
    text = clean(cell)
    begins = text.lstrip(_BLANKS)[:1]
    return f"'{text}" if begins in _FORMULA and begins and not _NUMBER.fullmatch(text) else text
