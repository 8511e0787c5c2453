"""A report for spreadsheets and data frames: one estimate a row."""

import csv
import io
from collections.abc import Iterable

from gantlet.core.estimate import Estimate
from gantlet.report import plain
from gantlet.report.blocks import Cell, Report, Table

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
    csv.writer(out, lineterminator="\n").writerows(rows)
    # A file name that is no UTF-8 must not stop the file from being written.
    return out.getvalue().encode("utf-8", "replace").decode("utf-8")
