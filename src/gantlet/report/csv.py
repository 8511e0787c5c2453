"""A report for spreadsheets and data frames: one estimate a row."""

import csv
import io
import re
from collections.abc import Iterable

from gantlet.core.estimate import Estimate
from gantlet.report import plain
from gantlet.report.blocks import Cell, Report, Table
from gantlet.report.markup import clean

# What makes a spreadsheet compute; full-width signs and a blank before them do, too.
_FORMULA = "=+-@\t\r\uff1d\uff0b\uff0d\uff20"
_BLANKS = " \n\u00a0"
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")

_ESTIMATE = ("value", "low", "high", "level", "n", "unit", "better", "method")


def render(report: Report) -> str:
    """Returns the tidy rows of ``report`` with a head; empty where a number is missing."""
    head = ["data", "model", "seed", "name", *_ESTIMATE]
    rows = [[r.data, r.model, r.seed, r.name, *_fields(r.estimate)] for r in report.rows]
    return _written([head, *rows])


def table(block: Table) -> str:
    """Returns one table with unrounded numbers; estimates get a column for each end."""
    has_ends = [any(isinstance(row[k], Estimate) for row in block.rows) for k in _over(block)]
    head: list[object] = []
    for column, wide in zip(block.columns, has_ends, strict=True):
        name = column.name if column.unit == "1" else f"{column.name} ({column.unit})"
        head += [name, f"{name} low", f"{name} high"] if wide else [name]
    rows = [
        [x for c, wide in zip(row, has_ends, strict=True) for x in _cells(c, wide=wide)]
        for row in block.rows
    ]
    return _written([head, *rows])


def _over(block: Table) -> range:
    return range(len(block.columns))


def _cells(cell: Cell, *, wide: bool) -> list[object]:
    if isinstance(cell, Estimate):
        fields = plain.estimate(cell)
        return [fields["value"], fields["low"], fields["high"]]
    return [cell, None, None] if wide else [cell]


def _fields(estimate: Estimate) -> list[object]:
    fields = plain.estimate(estimate)
    return [fields[name] for name in _ESTIMATE]


def _written(rows: Iterable[Iterable[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(map(_harmless, row) for row in rows)
    return out.getvalue()


def _harmless(cell: object) -> object:
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
