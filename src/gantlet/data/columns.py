"""Rows of a table with columns of any kind, as rows of numbers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Literal, Self, final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.code import Readable
from gantlet.core.errors import UserError
from gantlet.core.space import Space
from gantlet.data.bonds import Bond, bonds
from gantlet.data.cells import Cells, is_missing, number
from gantlet.data.checks import Array, finite

_MOST = 32  # categories of a column that have a component of their own


@final
@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, and which components of a sample are its.

    A column of numbers has its value, and whether it is missing where that may be. A column of
    categories has a component for each of them, one for all others and one for missing ones.

    Attributes:
        name: Its name.
        kind: What it holds; dates count as days.
        start: The first of its components.
        categories: Those that have a component: of those in several rows the most frequent.
        doubtful: Those of them that would not have one if one row less had them.
        gaps: Whether values may be missing.
        middle: The median of the numbers; it stands where one is missing.
        spread: Their standard deviation.
        low: Below this lies one number in two hundred.
        high: Above this lies one number in two hundred.
    """

    name: str
    kind: Literal["number", "date", "category"]
    start: int
    categories: tuple[str, ...] = ()
    doubtful: frozenset[str] = frozenset()
    gaps: bool = True
    middle: float = 0.0
    spread: float = 1.0
    low: float = 0.0
    high: float = 0.0

    @property
    def width(self) -> int:
        """How many components it has."""
        return len(self.categories) + 2 if self.kind == "category" else 1 + self.gaps

    @property
    def end(self) -> int:
        """The first component that is not its."""
        return self.start + self.width

    def read(self, x: Sequence[float]) -> str:
        """Returns the value of a row as people read it."""
        own = x[self.start : self.end]
        if self.kind == "category":
            names = [*self.categories, "another", "missing"]
            return names[max(range(len(own)), key=own.__getitem__)]
        if self.gaps and own[1] > 0.5:
            return "missing"
        return str(date.fromordinal(round(own[0]))) if self.kind == "date" else f"{own[0]:.6g}"


@final
@dataclass(frozen=True, slots=True, eq=False)
class TableCode(Readable):
    """The columns of a table, by which other tables are written.

    Attributes:
        columns: The columns in their order.
        plain: Whether all hold numbers and none is missing, so that rows are plain vectors.
        bonds: Which columns go together.
    """

    columns: tuple[Column, ...]
    plain: bool
    bonds: tuple[Bond, ...] = ()

    @classmethod
    @lru_cache(maxsize=8)
    def of_numbers(cls, table: Cells, places: tuple[int, ...]) -> Self:
        """Returns the code of columns of numbers alone.

        Raises:
            UserError: If a value is missing or no number.
        """
        x = finite(table.numbers(places), table.path)
        columns = tuple(
            _with_numbers(Column(table.names[c], "number", i, gaps=False), x[:, i])
            for i, c in enumerate(places)
        )
        return cls(columns, plain=True, bonds=_bonds(columns, x))

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, table: Cells, places: tuple[int, ...]) -> Self:
        """Returns the code of columns of any kind."""
        columns: list[Column] = []
        for c in places:
            start = columns[-1].end if columns else 0
            columns.append(_column(table.names[c], [row[c].strip() for row in table.rows], start))
        found = cls(tuple(columns), plain=False)
        x = found.write(table, torch.arange(len(table.rows)))
        return cls(tuple(columns), plain=False, bonds=_bonds(found.columns, x))

    @override
    def relearned(self, x: Tensor) -> Self:
        """Returns the code with spreads and bonds learned from rows, shape ``(n, components)``."""
        rows = x.cpu().numpy()
        columns = tuple(
            c if c.kind == "category" else _spread_over(c, rows[:, c.start : c.end])
            for c in self.columns
        )
        return replace(self, columns=columns, bonds=_bonds(columns, rows))

    @property
    @override
    def space(self) -> Space:
        """All components of all columns side by side."""
        return Space("vector" if self.plain else "table", (self.columns[-1].end,))

    def write(self, table: Cells, own: Tensor | None = None) -> Array:
        """Returns the rows of a table with these columns, shape ``(n, components)``.

        Args:
            table: The rows.
            own: The places of those that the code was made from. There a category that has a
                component only because of the row itself is another one: so that a category is
                known to a row of the same source as often as to one of these.

        Raises:
            UserError: If a column is missing, or a value where none may be.
        """
        places = table.places([c.name for c in self.columns])
        if self.plain:
            return finite(table.numbers(places), table.path)
        x = np.zeros((len(table.rows), self.columns[-1].end), np.float32)
        for column, c in zip(self.columns, places, strict=True):
            cells = [row[c].strip() for row in table.rows]
            part = x[:, column.start : column.end]
            if column.kind == "category":
                _write_categories(part, column, cells, own)
            else:
                _write_numbers(part, column, cells)
        return x

    @override
    def read(self, x: Tensor) -> Sequence[str]:
        """Returns rows as text, each value with the name of its column."""
        rows: list[list[float]] = x.tolist()
        return [", ".join(f"{c.name}={c.read(row)}" for c in self.columns) for row in rows]


def table_code(code: object, name: str) -> TableCode:
    """Returns ``code``, having checked that it is of a table.

    Raises:
        UserError: If it is of something else.
    """
    if isinstance(code, TableCode):
        return code
    raise UserError(f"{name} is a table; the real samples are not. Give samples of their kind.")


def _column(name: str, cells: Sequence[str], start: int) -> Column:
    there = [cell for cell in cells if not is_missing(cell)]
    values = [number(cell) for cell in there]
    days = [_days(cell) for cell in there]
    if there and None not in values:
        return _with_numbers(Column(name, "number", start), np.array(values, np.float64))
    if there and None not in days:
        return _with_numbers(Column(name, "date", start), np.array(days, np.float64))
    counts = Counter(there)
    # What a single row has would be in the other set only by chance: it is another one in both.
    often = [category for category in counts if counts[category] > 1]
    order = sorted(often, key=lambda category: (-counts[category], category))
    kept, bar = order[:_MOST], order[_MOST : _MOST + 1]
    # Of a category that a row has, its other rows alone decide.
    doubtful = frozenset(
        c for c in kept if counts[c] == 2 or any((1 - counts[c], c) > (-counts[b], b) for b in bar)
    )
    return Column(name, "category", start, tuple(kept), doubtful)


def _spread_over(column: Column, part: Array) -> Column:
    """Returns a column of numbers, spread as in rows, shape ``(n, width)``."""
    there = part[part[:, 1] < 0.5, 0] if column.gaps else part[:, 0]
    return _with_numbers(column, there) if len(there) else column


def _with_numbers(column: Column, x: Array) -> Column:
    x = x.astype(np.float64)
    low, middle, high = np.quantile(x, [0.005, 0.5, 0.995]).tolist()
    return Column(
        column.name,
        column.kind,
        column.start,
        gaps=column.gaps,
        middle=middle,
        spread=float(x.std()) or 1.0,
        low=low,
        high=high,
    )


def _write_numbers(part: Array, column: Column, cells: Sequence[str]) -> None:
    """Writes numbers; what is none counts as missing."""
    read = number if column.kind == "number" else _days
    values = [None if is_missing(cell) else read(cell) for cell in cells]
    part[:, 0] = [column.middle if v is None or not np.isfinite(v) else v for v in values]
    part[:, 1] = [v is None or not np.isfinite(v) for v in values]


def _write_categories(
    part: Array, column: Column, cells: Sequence[str], own: Tensor | None
) -> None:
    level = {category: i for i, category in enumerate(column.categories)}
    other, missing = len(column.categories), len(column.categories) + 1
    where = [missing if is_missing(cell) else level.get(cell, other) for cell in cells]
    for i in [] if own is None else own.tolist():
        where[i] = other if cells[i] in column.doubtful else where[i]
    part[np.arange(len(cells)), where] = 1.0


def _days(cell: str) -> float | None:
    try:
        return float(date.fromisoformat(cell).toordinal())
    except ValueError:
        return None


def _bonds(columns: Sequence[Column], x: Array) -> tuple[Bond, ...]:
    """Returns which columns go together in rows, shape ``(n, components)``."""
    parts: list[tuple[Array, bool]] = []
    for c in columns:
        is_number = c.kind != "category"
        own = x[:, c.start : c.start + 1] if is_number else x[:, c.start : c.end]
        parts.append((own, is_number))
    return bonds(parts)
