"""Terminal output of a report: verdicts, main table, limitations, and the path of the page."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from textwrap import wrap
from typing import final

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table as Grid
from rich.text import Text
from typing_extensions import override

from gantlet.report import charts
from gantlet.report.blocks import (
    Block,
    Caveat,
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
from gantlet.report.format import BEST, Head, Shown, TableLayout, clean, lay_out, shorten

_GAP = 2  # blanks between columns, of which the box is one
_WORDS = 76  # a line of prose longer than this is hard to read
_NAMES = 30  # a column of names is folded there


@final
class _Output(Console):
    """Standard output; what goes wrong in writing to it is for the command line to explain."""

    @override
    def on_broken_pipe(self) -> None:
        """Hands the error on, where the usual way is to end the program as if it had failed.

        Raises:
            BrokenPipeError: Always.
        """
        raise BrokenPipeError("standard output was closed")


def show(report: Report, console: Console | None = None, *, path: str | None = None) -> None:
    """Prints verdicts, the main table, the first code, caveats and the path of the report."""
    console = console or _Output()
    _heading(console, report.title)
    for verdict in report.verdicts:
        _verdict(console, verdict)
    main = next((b for b in report.blocks if isinstance(b, Table)), None)
    if main is not None:
        _table(console, main)
    code = next((b for b in report.blocks if isinstance(b, Code)), None)
    if code is not None:
        _code(console, code)
    _caveats(console, report.caveats)
    if path is not None:
        console.print(Text(f"Report: {clean(path)}"), soft_wrap=True)


def render(report: Report, *, width: int = 100) -> str:
    """Returns every block as plain text, ``width`` columns wide; charts are tables."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False)
    _heading(console, report.title)
    for verdict in report.verdicts:
        _verdict(console, verdict)
    for block in report.blocks:
        _block(console, block)
    _caveats(console, report.caveats)
    _block(console, report.facts)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def progress(*, silent: bool = False) -> Progress:
    """Returns a bar on standard error, to be used in a ``with``.

    It prints nothing when ``silent`` or when standard error is not a terminal.
    """
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=silent or not console.is_terminal,
        transient=True,
    )


def _block(console: Console, block: Block) -> None:
    match block:
        case Table():
            _table(console, block)
        case Lines() | Scatter() | Forest() | Waterfall():
            _table(console, charts.as_table(block))
        case Section():
            _heading(console, block.title)
            for inner in block.blocks:
                _block(console, inner)
        case _:
            _words(console, block)


def _words(console: Console, block: Facts | Verdict | Caveat | Prose | Code | Gallery) -> None:
    match block:
        case Facts():
            for fact in block.items:
                _prose(console, Text(clean(f"{fact.name}: {fact.value}")))
        case Verdict():
            _verdict(console, block)
        case Caveat():
            _caveats(console, [block])
        case Prose():
            _prose(console, Text(clean(block.text)), after=1)
        case Code():
            _code(console, block)
        case Gallery():
            names = "; ".join(p.caption for p in block.pictures)
            _prose(console, Text(clean(f"{block.title} (pictures): {names}")), after=1)


def _heading(console: Console, title: str) -> None:
    console.print(Text(clean(title), style="bold underline"))
    console.print()


def _verdict(console: Console, verdict: Verdict) -> None:
    _prose(console, Text(clean(verdict.claim), style="bold"))
    if verdict.because:
        _prose(console, Text(clean(verdict.because)), indent=2)
    console.print()


def _code(console: Console, code: Code) -> None:
    """Prints lines as they are, so that they can be copied: nothing is wrapped."""
    _prose(console, Text(clean(code.title), style="bold"), after=1)
    for line in code.text.splitlines():
        console.print(Text(clean(f"    {line}")), soft_wrap=True)
    console.print()
    if code.note:
        _prose(console, Text(clean(code.note), style="dim"), after=1)


def _caveats(console: Console, caveats: Sequence[Caveat]) -> None:
    for caveat in caveats:
        _prose(console, Text(f"Note: {clean(caveat.text)}", style="dim"))
    if caveats:
        console.print()


def _prose(console: Console, text: Text, *, indent: int = 0, after: int = 0) -> None:
    for line in text.wrap(console, min(console.width, _WORDS) - indent):
        line.rstrip()
        console.print(Text(" " * indent) + line)
    for _ in range(after):
        console.print()


def _table(console: Console, table: Table) -> None:
    layout = _with_short_names(lay_out(table))
    is_plain = console.color_system is None
    _prose(console, Text(layout.title, style="bold"))
    least = [_width(layout, k, is_plain=is_plain) for k in range(len(layout.heads))]
    # Names give way where a number would not fit beside them.
    least[:1] = [
        min(w, max(4, console.width - _GAP - max(least[1:], default=0))) for w in least[:1]
    ]
    for group in _fold(least, console.width):
        widths = _grown(layout, {k: least[k] for k in group}, console.width)
        console.print(_grid(layout, widths, is_plain=is_plain))
        console.print()
    for line in _below(layout, is_plain=is_plain):
        _prose(console, Text(line, style="dim"))
    console.print()


def _with_short_names(layout: TableLayout) -> TableLayout:
    """Returns ``layout`` with the written forms in its first column cut to what differs.

    The full forms are in every other format.
    """
    short = shorten(line.cells[0].value for line in layout.lines)
    lines = tuple(
        replace(
            line, cells=(replace(line.cells[0], value=short[line.cells[0].value]), *line.cells[1:])
        )
        for line in layout.lines
    )
    return replace(layout, lines=lines)


def _width(layout: TableLayout, k: int, *, is_plain: bool) -> int:
    """Returns the width of a column: numbers are never broken, names and heads are."""
    head = layout.heads[k]
    cells = [_cell(line.cells[k], is_plain=is_plain).cell_len for line in layout.lines]
    if head.is_number:
        return max([*map(cell_len, _title(head).split(" ")), cell_len(head.unit), *cells, 4])
    return min(max([*cells, len(head.alone), 4]), _NAMES)


def _title(head: Head) -> str:
    """Returns name and direction, which stay on one line."""
    return "\u00a0".join(filter(None, (head.alone, head.arrow)))


def _head(head: Head, width: int) -> list[str]:
    """Returns the lines of a head: its title, broken between words, and its unit."""
    lines = [line.replace("\u00a0", " ") for line in wrap(_title(head), width)]
    return [*lines, head.unit] if head.unit else lines


def _fold(widths: list[int], width: int) -> list[list[int]]:
    """Returns which columns go into which table, so that none is wider than ``width``.

    The names of the rows come first in each.
    """
    groups: list[list[int]] = [[0]]
    for k in range(1, len(widths)):
        used = sum(widths[i] + _GAP for i in groups[-1])
        if used + widths[k] > width and len(groups[-1]) > 1:
            groups.append([0])
        groups[-1].append(k)
    return groups


def _grown(layout: TableLayout, widths: Mapping[int, int], width: int) -> dict[int, int]:
    """Returns wider columns where heads and names would be broken and there is room."""
    spare = width - sum(widths.values()) - _GAP * (len(widths) - 1)
    found = dict(widths)
    for k, least in widths.items():
        head = layout.heads[k]
        whole = (
            [_title(head)] if head.is_number else [line.cells[k].value for line in layout.lines]
        )
        more = max(map(cell_len, whole), default=0) - least
        found[k] += max(0, min(more, spare))
        spare -= found[k] - least
    return found


def _grid(layout: TableLayout, widths: Mapping[int, int], *, is_plain: bool) -> Grid:
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, _GAP - 1, 0, 0))
    for k, width in widths.items():
        head = layout.heads[k]
        grid.add_column(
            Text("\n".join(_head(head, width))),
            justify="right" if head.is_number else "left",
            vertical="bottom",
            width=width,
            overflow="fold",
        )
    for line, after in zip_longest(layout.lines, layout.lines[1:]):
        cells = [_cell(line.cells[k], is_plain=is_plain) for k in widths]
        is_last = after is not None and after.is_reference and not line.is_reference
        grid.add_row(*cells, end_section=is_last, style="dim" if line.is_reference else "")
    return grid


def _cell(cell: Shown, *, is_plain: bool) -> Text:
    text = Text(cell.value, style="bold" if cell.best else "")
    rest = " ".join(filter(None, (cell.spread, cell.suffix)))
    if rest:
        text.append(f" {rest}")
    if cell.mark:
        text.append(f" {cell.mark}")
    if is_plain and cell.best:
        text.append("*")
    return text


def _below(layout: TableLayout, *, is_plain: bool) -> list[str]:
    lines = [f"{letter}: {why}" for letter, why in layout.footnotes]
    if layout.has_best:
        lines.insert(0, BEST.replace("Bold", "*", 1) if is_plain else BEST)
    return [*lines, layout.note] if layout.note else lines
