"""Samples that are read: lines of text, rows of a table."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from gantlet.report.blocks import Cell, Column, Table

_LONGEST = 200  # characters of a sample


def lines_table(title: str, shown: Mapping[str, Sequence[str]], note: str) -> Table:
    """Returns samples side by side, in quotes.

    Args:
        title: What the table shows.
        shown: The samples of each column.
        note: How they were chosen.
    """
    rows: list[list[Cell]] = [
        [str(k), *("–" if text is None else _quoted(text) for text in texts)]
        for k, texts in enumerate(zip_longest(*shown.values()), 1)
    ]
    columns = [Column(name="place"), *(Column(name=name) for name in shown)]
    return Table(title=title, columns=columns, rows=rows, note=note)


def _quoted(text: str) -> str:
    cut = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return f"“{cut}”"
