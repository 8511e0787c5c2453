"""Text files of rows and columns, not yet understood."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

import numpy as np
from torch import Tensor

from gantlet.core.errors import UserError, unknown
from gantlet.data.checks import Array, is_file, readable

_MISSING = ("", "?", "na", "n/a", "nan", "null", "none")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Cells:
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

    def chosen(self, columns: Sequence[str] | None, label: str | None) -> tuple[int, ...]:
        """Returns the columns of these names or numbers; of none, all but the label."""
        if columns is not None:
            return tuple(self.place(name) for name in columns)
        apart = None if label is None else self.place(label)
        return tuple(i for i in range(len(self.names)) if i != apart)

    def some(self, rows: Tensor | None) -> "Cells":
        """Returns some rows, by their numbers from 0; the cells themselves of None."""
        if rows is None:
            return self
        places = rows.tolist()
        kept, lines = [self.rows[i] for i in places], [self.lines[i] for i in places]
        return Cells(self.path, self.names, kept, lines)

    @property
    def is_numeric(self) -> bool:
        """Whether there is a number in every cell."""
        return all(number(c) is not None and not is_missing(c) for row in self.rows for c in row)

    def places(self, names: Sequence[str]) -> list[int]:
        """Returns the columns of these names, or as many of others in their order.

        Raises:
            UserError: If a column is missing.
        """
        if set(names) <= set(self.names):
            return [self.names.index(name) for name in names]
        if len(names) == len(self.names) and not set(names) & set(self.names):
            return list(range(len(names)))
        lack = next(name for name in names if name not in self.names)
        raise UserError(
            f"{self.path} has no column {lack!r}, which the real table has. "
            f"It has: {', '.join(self.names)}."
        )

    def numbers(self, columns: Sequence[int]) -> Array:
        """Returns the given columns as float32, shape ``(rows, columns)``."""
        self._check_missing(columns)
        values = [[number(row[c]) for c in columns] for row in self.rows]
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
            if is_missing(row[c])
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


def is_missing(cell: str) -> bool:
    """Returns whether nothing stands in a cell."""
    return cell.strip().lower() in _MISSING


def number(cell: str) -> float | None:
    """Returns the number that a cell holds, or None."""
    try:
        return float(cell)
    except ValueError:
        return None


def read_cells(path: Path) -> Cells:
    """Returns the cells of a file.

    Raises:
        UserError: If the file cannot be read as a table.
    """
    stat = is_file(path).stat()
    return _read_once(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _read_once(path: Path, *_stamp: int) -> Cells:
    lines, rows = _cells(path)
    if not rows:
        raise UserError(f"{path} holds no rows.")
    width = len(rows[0])
    for line, row in zip(lines, rows, strict=True):
        if len(row) != width:
            raise UserError(f"{path}, line {line} has {len(row)} columns. The first has {width}.")
    numeric = all(number(cell) is not None for cell in rows[0])
    if numeric:
        return Cells(path, [str(i + 1) for i in range(width)], rows, lines)
    names = [name.strip() for name in rows[0]]
    if len(set(names)) < width:
        raise UserError(f"{path} names a column twice: {', '.join(names)}. Rename one.")
    if len(rows) == 1:
        raise UserError(f"{path} holds a header and no rows.")
    return Cells(path, names, rows[1:], lines[1:])


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
