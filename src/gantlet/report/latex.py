"""Tables for papers: LaTeX with booktabs."""

import re
from collections.abc import Sequence

from gantlet.report import chart_tables
from gantlet.report.blocks import Block, Forest, Report, Scatter, Section, Table
from gantlet.report.markup import clean
from gantlet.report.tabular import Head, Layout, Line, Shown, lay_out

ESCAPES = {
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
"""How characters that LaTeX reads as commands are written."""
_RAISED = re.compile("10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def render(report: Report) -> str:
    """Returns every table of ``report``, and every forest and scatter chart as a table."""
    head = [f"% {_comment(report.title)}", r"% Needs \usepackage{booktabs,textcomp}."]
    head += [f"% {_comment(v.claim)}" for v in report.verdicts]
    tables = [table(t) for t in _tables(report.blocks)]
    return "\n".join(head) + "\n\n" + "\n".join(tables)


def table(block: Table) -> str:
    """Returns one table with its caption."""
    layout = lay_out(block)
    align = "".join("r" if h.is_number else "l" for h in layout.heads)
    body = [_row(line) for line in layout.lines]
    split = next((k for k, line in enumerate(layout.lines) if line.is_reference), None)
    if split:
        body.insert(split, r"\midrule")
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_caption(layout)}}}",
        rf"  \begin{{tabular}}{{{align}}}",
        *(f"    {x}" for x in (r"\toprule", _heads(layout.heads), r"\midrule", *body)),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def safe(text: str) -> str:
    r"""Returns ``text`` with everything escaped that LaTeX would read as a command.

    Example:
        >>> safe("50 % of x_1")
        '50 \\% of x\\_1'
    """
    parts = _RAISED.split(" ".join(clean(text).split()))
    # Every second part is the exponent of a power of ten.
    return "".join(
        f"$10^{{{p.translate(_LOWERED)}}}$" if k % 2 else "".join(ESCAPES.get(c, c) for c in p)
        for k, p in enumerate(parts)
    )


def _tables(blocks: Sequence[Block]) -> list[Table]:
    found: list[Table] = []
    for block in blocks:
        match block:
            case Table():
                found.append(block)
            case Scatter():
                found.append(chart_tables.of_scatter(block))
            case Forest():
                found.append(chart_tables.of_forest(block))
            case Section():
                found += _tables(block.blocks)
            case _:
                continue
    return found


def _heads(heads: Sequence[Head]) -> str:
    return " & ".join(_head(h) for h in heads) + r" \\"


def _head(head: Head) -> str:
    unit = f"({head.unit})" if head.unit else ""
    return safe(" ".join(filter(None, (head.name, unit, head.arrow))))


def _row(line: Line) -> str:
    return " & ".join(_cell(c) for c in line.cells) + r" \\"


def _cell(cell: Shown) -> str:
    shown = rf"\textbf{{{safe(cell.text)}}}" if cell.best else safe(cell.text)
    return rf"{shown}$^{{\mathrm{{{cell.mark}}}}}$" if cell.mark else shown


def _caption(layout: Layout) -> str:
    parts = [f"{layout.title}.", layout.note]
    if layout.has_best:
        parts.append("Bold: the best, and all whose interval overlaps with its own.")
    notes = [rf"$^{{\mathrm{{{letter}}}}}$ {safe(why)}." for letter, why in layout.footnotes]
    return " ".join([*(safe(p) for p in parts if p), *notes])


def _comment(text: str) -> str:
    return " ".join(clean(text).split())
