"""Tables as text: what parts their columns, whether they have a header, and their records."""

import csv
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, final

from gantlet.core.errors import UserError
from gantlet.data.checks import Array, readable
from gantlet.data.encodings import read_text
from gantlet.data.kinds import MISSING, looks_like_data

MOST_COLUMNS: Final = 10_000
"""Columns of the widest table that is read."""

MOST_CELLS: Final = 2**27
"""Cells of the largest table that is read: a gigabyte of numbers."""

# What may part columns: the first that gives all of the first rows one width.
_DELIMITERS = "\t;|,"
_LOOKED_AT = 50


@final
@dataclass(frozen=True, slots=True)
class Delimited:
    """How the records of a text are told apart.

    Attributes:
        path: The file.
        delimiter: What parts columns.
        header: The names of the columns, or nothing where the first record is one of data.
        width: How many columns there are.
        notes: What had to be guessed, in words.
    """

    path: Path
    delimiter: str
    header: tuple[str, ...]
    width: int
    notes: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> "Delimited":
        """Returns how a file is written.

        Raises:
            UserError: If it is not text, holds no rows, or is too large.
        """
        text, notes = read_text(path, "a table")
        with readable(path, "a table"):
            delimiter = _delimiter(text)
            records = [row for _, row in islice(_records(text, delimiter), 2)]
        if not records:
            raise UserError(f"{path} holds no rows.")
        first = records[0]
        check_size(path, len(first), text.count(delimiter) + text.count("\n"))
        header = () if looks_like_data(first) else tuple(first)
        if header and len(records) == 1:
            raise UserError(f"{path} holds a header and no rows.")
        return cls(path, delimiter, header, len(first), notes)

    def frame(self) -> Any:
        """Returns the table, numbers as such.

        Raises:
            UserError: If rows are not of one width, or it cannot be read.
        """
        frame = self._read(na_values=[*MISSING], low_memory=False)
        # Of a row that is too short the last cells are missing.
        if bool(frame.iloc[:, -1].isna().any()):
            self._check_widths(read_text(self.path, "a table")[0])
        return frame

    def written(self, column: int) -> Array:
        """Returns the cells of a column as they are written."""
        frame = self._read(usecols=[column], dtype=str, na_filter=False)
        cells: Array = frame.iloc[:, 0].to_numpy(object)
        return cells

    def line(self, record: int) -> int:
        """Returns the line in which a record ends, the header not counted among the records."""
        records = _records(read_text(self.path, "a table")[0], self.delimiter)
        return next((line for line, _ in islice(records, record + bool(self.header), None)), 0)

    def _read(self, **options: Any) -> Any:
        import pandas as pd

        text, _ = read_text(self.path, "a table")
        with readable(self.path, "a table"), warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            try:
                return pd.read_csv(
                    io.StringIO(text),
                    sep=self.delimiter,
                    header=0 if self.header else None,
                    names=list(range(self.width)),
                    index_col=False,
                    keep_default_na=False,
                    skipinitialspace=self.delimiter != "\t",
                    **options,
                )
            except (pd.errors.ParserError, pd.errors.ParserWarning):
                self._check_widths(text)
                raise

    def _check_widths(self, text: str) -> None:
        for line, row in _records(text, self.delimiter):
            if len(row) != self.width:
                raise UserError(
                    f"{self.path}, line {line} has {len(row)} columns. The first has {self.width}."
                )


def check_size(path: Path, columns: int, cells: int) -> None:
    """Refuses tables that are too large.

    Raises:
        UserError: If there are more than ``MOST_COLUMNS`` columns or ``MOST_CELLS`` cells.
    """
    if columns > MOST_COLUMNS:
        raise UserError(
            f"{path} has {columns:,} columns; at most {MOST_COLUMNS:,} are read. Save vectors as "
            "an array (npy or npz)."
        )
    if cells > MOST_CELLS:
        raise UserError(
            f"{path} has about {cells:,} cells; at most {MOST_CELLS:,} are read. Divide it."
        )


def _delimiter(text: str) -> str:
    """Returns what parts the columns, quoted text left out."""
    widths = {d: _widths(text, d) for d in _DELIMITERS}
    for delimiter, found in widths.items():
        if len(set(found)) == 1 and found[0] > 1:
            return delimiter
    return max(reversed(_DELIMITERS), key=lambda d: widths[d][0] if widths[d] else 0)


def _widths(text: str, delimiter: str) -> list[int]:
    """Returns how many columns the first records have, of none where they cannot be read so.

    Of a wide table, what parts nothing leaves a whole line as one cell, which may be too long.
    """
    try:
        return [len(row) for _, row in islice(_records(text, delimiter), _LOOKED_AT)]
    except csv.Error:
        return []


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the records of a text that are not blank, each with the line where it ends."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t"
    )
    for row in reader:
        if row and (len(row) > 1 or row[0].strip()):
            yield reader.line_num, row
