"""Tables of numbers as text."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import numpy as np

from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError, unknown
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.checks import Array, finite, is_file, readable
from gantlet.data.rows import Rows
from gantlet.data.splits import by_share

_MISSING = ("", "?", "na", "n/a", "nan", "null", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Csv:
    """The numeric columns of a text file; each row is a vector.

    Columns are parted by comma, semicolon or tab, whichever the first line has most of. The first
    line is a header unless all of it is numbers.

    Attributes:
        path: The file, in UTF-8.
        columns: The columns to use, by their names or by their numbers from 1; none for all but
            the label.
        label: The column that holds the class of a row, of any text, or none.
        validation: Share of the rows for validation.
        test: Share of the rows for the test.
        limit: Most rows for training, or none.
    """

    path: str
    columns: tuple[str, ...] | None = None
    label: str | None = None
    validation: Annotated[float, Between(0, 1)] = 0.1
    test: Annotated[float, Between(0, 1)] = 0.1
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """Vectors with a component for each column in use."""
        table = _read(Path(self.path).expanduser())
        return Space("vector", (len(self._columns(table)),))

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits.

        Raises:
            UserError: If the file cannot be read, or a value is missing or not a number.
        """
        return by_share(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )

    def whole(self) -> Rows:
        """Returns all rows in the order of the file.

        Raises:
            UserError: If the file cannot be read, or a value is missing or not a number.
        """
        table = _read(Path(self.path).expanduser())
        x = finite(table.numbers(self._columns(table)), table.path)
        labels = None if self.label is None else table.classes(table.place(self.label))
        return Rows(x, labels)

    def _columns(self, table: "_Table") -> list[int]:
        if self.columns is not None:
            return [table.place(name) for name in self.columns]
        apart = None if self.label is None else table.place(self.label)
        return [i for i in range(len(table.names)) if i != apart]


@dataclass(frozen=True, slots=True)
class _Table:
    """The cells of a file, not yet understood.

    Attributes:
        path: The file.
        names: The names of the columns.
        rows: The cells of each row.
        lines: The line of the file in which each row ends, for messages.
    """

    path: Path
    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]

    def place(self, name: str) -> int:
        """Returns the number, from 0, of the column that has a name or a number from 1."""
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and 1 <= int(name) <= len(self.names):
            return int(name) - 1
        raise unknown(f"column of {self.path}", name, self.names)

    def numbers(self, columns: Sequence[int]) -> Array:
        """Returns the given columns as float32, shape ``(rows, columns)``."""
        self._check_missing(columns)
        values = [[_number(row[c]) for c in columns] for row in self.rows]
        for line, row, cells in zip(self.lines, values, self.rows, strict=True):
            if None in row:
                c = columns[row.index(None)]
                raise UserError(
                    f"{self.path}, line {line}, column {self.names[c]!r}: {cells[c]!r} is no "
                    "number. Choose numeric columns with columns=A+B, or label=COLUMN for a class."
                )
        # What single precision cannot hold becomes infinite here and is reported as such.
        with np.errstate(over="ignore"):
            return np.array(values, dtype=np.float64).astype(np.float32)

    def _check_missing(self, columns: Sequence[int]) -> None:
        gaps = [
            (line, self.names[c])
            for line, row in zip(self.lines, self.rows, strict=True)
            for c in columns
            if row[c].strip().lower() in _MISSING
        ]
        if gaps:
            line, name = gaps[0]
            raise UserError(
                f"{self.path} misses {len(gaps)} value{'s' * (len(gaps) > 1)}, the first in line "
                f"{line}, column {name!r}. Fill or remove them."
            )

    def classes(self, column: int) -> Array:
        """Returns the class of each row as a number, by the order of their names."""
        names = [row[column].strip() for row in self.rows]
        return np.unique(names, return_inverse=True)[1]


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _read(path: Path) -> _Table:
    lines, rows = _cells(is_file(path))
    if not rows:
        raise UserError(f"{path} holds no rows.")
    width = len(rows[0])
    for line, row in zip(lines, rows, strict=True):
        if len(row) != width:
            raise UserError(f"{path}, line {line} has {len(row)} columns. The first has {width}.")
    numeric = all(_number(cell) is not None for cell in rows[0])
    if numeric:
        return _Table(path, [str(i + 1) for i in range(width)], rows, lines)
    names = [name.strip() for name in rows[0]]
    if len(set(names)) < width:
        raise UserError(f"{path} names a column twice: {', '.join(names)}. Rename one.")
    if len(rows) == 1:
        raise UserError(f"{path} holds a header and no rows.")
    return _Table(path, names, rows[1:], lines[1:])


def _cells(path: Path) -> tuple[list[int], list[list[str]]]:
    with (
        readable(path, "a table", (OSError, UnicodeDecodeError, csv.Error)),
        path.open(encoding="utf-8-sig", newline="") as file,
    ):
        first = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",;\t", key=first.count))
        pairs = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    return [line for line, _ in pairs], [row for _, row in pairs]
