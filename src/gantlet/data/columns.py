"""Rows of a table with columns of any kind, as rows of numbers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
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
from gantlet.data.cells import Cells
from gantlet.data.checks import Array, finite
from gantlet.data.delimited import MOST_CELLS
from gantlet.data.folders import counted
from gantlet.data.kinds import Parsed, Style, is_missing

_MOST = 32  # categories of a column that have a component of their own
# Of numbers that differ by less, in their size, single precision keeps too few digits.
_FINE = 1e-4


@final
@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, and which components of a sample are its.

    A column of numbers has its value, and whether it is missing where that may be. A column of
    categories has a component for each of them, one for all others and one for missing ones.

    Attributes:
        name: Its name.
        kind: What it holds; times count as days.
        start: The first of its components.
        categories: Those that have a component: of those in several rows the most frequent.
        doubtful: Those of them that would not have one if one row less had them.
        gaps: Whether values may be missing.
        origin: What is taken from the numbers, so that single precision tells them apart: it is 0
            unless they are times, or differ by little of their size.
        style: How the numbers are written.
        middle: The median of the numbers; it stands where one is missing.
        spread: Their standard deviation.
        low: Below this lies one number in two hundred.
        high: Above this lies one number in two hundred.
    """

    name: str
    kind: Literal["number", "time", "category"]
    start: int
    categories: tuple[str, ...] = ()
    doubtful: frozenset[str] = frozenset()
    gaps: bool = True
    origin: float = 0.0
    style: Style = "plain"
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
        value = own[0] + self.origin
        return _moment(value, self.style) if self.kind == "time" else f"{value:.6g}"


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
        """Returns the code of columns of any kind.

        Raises:
            UserError: If they have more components than ``MOST_CELLS`` for all rows.
        """
        columns: list[Column] = []
        for c in places:
            columns.append(_column(table, c, columns[-1].end if columns else 0))
        if columns[-1].end * len(table) > 4 * MOST_CELLS:
            raise UserError(
                f"{table.path} becomes {len(table):,} rows of {columns[-1].end:,} numbers, too "
                "many to be held. Choose columns with columns=A+B, or give fewer rows."
            )
        found = cls(tuple(columns), plain=False)
        x = found.write(table, torch.arange(len(table)))
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
        places, _ = table.places_of([c.name for c in self.columns])
        if self.plain:
            return finite(table.numbers(places), table.path)
        x = np.zeros((len(table), self.columns[-1].end), np.float32)
        for column, c in zip(self.columns, places, strict=True):
            part = x[:, column.start : column.end]
            if column.kind == "category":
                _write_categories(part, column, table.text(c), own)
            else:
                _write_numbers(part, column, table, c)
        return x

    def notes(self, table: Cells) -> tuple[str, ...]:
        """Returns what of the cells of a table is not in its rows, or was guessed, in words."""
        places, told = table.places_of([c.name for c in self.columns])
        odd: list[str] = []
        doubtful: list[str] = []
        for column, c in zip(self.columns, places, strict=True):
            if column.kind == "category":
                continue
            found = table.parsed_as(c, column.kind, column.style)
            if found.odd:
                odd.append(_odd(column, found, len(table)))
            if found.is_doubtful:
                cells = table.text(c)
                doubtful.append(f"{column.name} ({cells[0]!r} as {_shown(column, found)})")
        guessed = f"columns of {table.path.name} that could be read in two ways: "
        both = (guessed + _some(doubtful),) if doubtful else ()
        return (*table.notes, *told, *(f"{table.path.name}: {o}" for o in _few(odd)), *both)

    def losses(self, table: Cells) -> tuple[str, ...]:
        """Returns which columns of the table that it was made from are hardly compared."""
        mixed: list[str] = []
        single: list[str] = []
        for column in self.columns:
            c = table.names.index(column.name)
            share = table.parsed(c).share
            if column.kind == "category" and share > 0.5:
                mixed.append(f"{column.name} ({share:.0%})")
            elif column.kind == "category" and not column.categories:
                single += [column.name] if not is_missing(table.text(c)).all() else []
        told = {
            "read as categories, as too few cells of them are numbers or times": mixed,
            "not compared but for missing values, as no value is there twice": single,
        }
        return tuple(
            f"{counted(len(own), 'column', 'columns')} of {table.path.name} {what}: {_some(own)}"
            for what, own in told.items()
            if own
        )

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


def _column(table: Cells, c: int, start: int) -> Column:
    name, found = table.names[c], table.parsed(c)
    if found.kind != "category":
        values = found.values[~np.isnan(found.values)]
        column = Column(name, found.kind, start, style=found.style, origin=_origin(found, values))
        return _with_numbers(column, values - column.origin)
    cells = table.text(c)
    there: list[str] = cells[~is_missing(cells)].tolist()
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


def _origin(found: Parsed, values: Array) -> float:
    """Returns what to take from numbers that single precision would not tell apart."""
    middle = float(np.round(np.median(values)))
    is_fine = float(values.std()) > _FINE * abs(middle) or not values.std()
    return 0.0 if found.kind == "number" and is_fine else middle


def _with_numbers(column: Column, x: Array) -> Column:
    x = x.astype(np.float64)
    low, middle, high = np.quantile(x, [0.005, 0.5, 0.995]).tolist()
    return replace(column, middle=middle, spread=float(x.std()) or 1.0, low=low, high=high)


def _write_numbers(part: Array, column: Column, table: Cells, c: int) -> None:
    """Writes numbers; what is none counts as missing.

    Raises:
        UserError: If most of what is there is none.
    """
    if column.kind == "category":
        return
    found, cells = table.parsed_as(c, column.kind, column.style), table.columns[c]
    if found.kind != column.kind and not is_missing(cells).all():
        what = "numbers" if column.kind == "number" else "times"
        raise UserError(
            f"Column {column.name!r} of {table.path} does not hold {what}, as that of the real "
            f"table does: its first cell is {table.text(c)[0]!r}. Bring both into one form, or "
            "leave it out with columns=."
        )
    with np.errstate(over="ignore"):
        values = (found.values - column.origin).astype(np.float32)
    missing = ~np.isfinite(values)
    part[:, 0] = np.where(missing, column.middle, values)
    part[:, 1] = missing


def _odd(column: Column, found: Parsed, n: int) -> str:
    what = "numbers" if column.kind == "number" else "times"
    cells = ", ".join(repr(cell) for cell in found.odd[:3])
    more = ", ..." if len(found.odd) > 3 else ""
    told = (
        f"1 of {n:,} cells is not a {what[:-1]}"
        if found.n_odd == 1
        else (f"{found.n_odd:,} of {n:,} cells are not {what}")
    )
    return f"column {column.name}: {told} ({cells}{more}), read as missing"


def _few(told: Sequence[str], most: int = 5) -> list[str]:
    left = len(told) - most
    return [*told[:most], *([f"and {left:,} more columns with such cells"] if left > 0 else [])]


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


def _shown(column: Column, found: Parsed) -> str:
    value = float(found.values[0])
    if np.isnan(value):
        return "missing"
    return _moment(value, column.style) if column.kind == "time" else f"{value:.6g}"


def _moment(days: float, style: Style) -> str:
    """Returns days since 1970 as people write them; of a clock the time of the day."""
    seconds = round(days * 86_400)
    if style == "clock":
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return f"{days:.0f} days after 1970"
    is_day = not seconds % 86_400
    return moment.strftime("%Y-%m-%d" if is_day else "%Y-%m-%d %H:%M:%S")


def _write_categories(part: Array, column: Column, cells: Array, own: Tensor | None) -> None:
    level = {category: i for i, category in enumerate(column.categories)}
    other, missing = len(column.categories), len(column.categories) + 1
    where = np.array([level.get(cell, other) for cell in cells.tolist()])
    where[is_missing(cells)] = missing
    if own is not None and column.doubtful:
        doubtful = np.array([cell in column.doubtful for cell in cells.tolist()])
        is_own = np.zeros(len(cells), bool)
        is_own[own.numpy()] = True
        where[doubtful & is_own] = other
    part[np.arange(len(cells)), where] = 1.0


def _bonds(columns: Sequence[Column], x: Array) -> tuple[Bond, ...]:
    """Returns which columns go together in rows, shape ``(n, components)``."""
    parts: list[tuple[Array, bool]] = []
    for c in columns:
        is_number = c.kind != "category"
        own = x[:, c.start : c.start + 1] if is_number else x[:, c.start : c.end]
        parts.append((own, is_number))
    return bonds(parts)
