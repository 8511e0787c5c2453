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

from gantlet.core.data import Part, Readable, Space
from gantlet.core.errors import UserError, unknown
from gantlet.data.arrays import counted
from gantlet.data.delimited import MOST_CELLS, Parsed, Style, is_missing, number
from gantlet.data.splits import Array, finite
from gantlet.domains.cells import Dependence, TableCells, dependences, some_of
from gantlet.domains.domains import Relearned

# ----------------------------------------------------------------------------
# Rows of a table with columns of any kind, as rows of numbers.
# ----------------------------------------------------------------------------

_MOST = 32  # categories of a column that have a component of their own
# Of numbers that differ by less, in their size, single precision keeps too few digits.
_FINE = 1e-4
_MISSING = "missing"


@final
@dataclass(frozen=True, slots=True)
class TableColumn:
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
    def parts(self) -> tuple[Part, ...]:
        """What its components stand for."""
        if self.kind == "category":
            return (Part("category", self.width),)
        return (Part("number"), Part("flag")) if self.gaps else (Part("number"),)

    @property
    def end(self) -> int:
        """The first component that is not its."""
        return self.start + self.width

    def read(self, x: Sequence[float]) -> str:
        """Returns the value of a row as people read it."""
        own = x[self.start : self.end]
        if self.kind == "category":
            return self._names[max(range(len(own)), key=own.__getitem__)]
        if self.gaps and own[1] > 0.5:
            return _MISSING
        value = own[0] + self.origin
        return _moment(value, self.style) if self.kind == "time" else f"{value:.6g}"

    @property
    def _names(self) -> list[str]:
        """What its components stand for, where it holds categories."""
        return [*self.categories, "another", _MISSING]

    def having(self, x: Tensor, value: str) -> Tensor:
        """Returns which rows have a value, bool, shape ``(n,)``; see ``TableCode.having``.

        Raises:
            UserError: If none can have it.
        """
        own = x[:, self.start : self.end]
        if self.kind == "category":
            if value not in self._names:
                raise unknown(f"value of {self.name}", value, self._names)
            return own.argmax(1) == self._names.index(value)
        missing = own[:, -1] > 0.5 if self.gaps else torch.zeros_like(own[:, 0], dtype=torch.bool)
        if value == _MISSING:
            return missing
        if self.kind == "time":
            return torch.tensor([self.read(row) == value for row in x.tolist()], device=x.device)
        wanted = number(value)
        if wanted is None:
            raise UserError(
                f"Column {self.name} holds numbers. Got {value!r}; give a number or {_MISSING}."
            )
        return ~missing & (own[:, 0] == own.new_tensor(wanted - self.origin))

    def cell(self, x: Sequence[float]) -> str:
        """Returns the value of a row as a file holds it: nothing where it is missing."""
        own = x[self.start : self.end]
        if self.kind == "number" and not (self.gaps and own[1] > 0.5):
            return f"{own[0] + self.origin:.9g}"
        found = self.read(x)
        if self.kind == "category":
            return "" if max(range(len(own)), key=own.__getitem__) == len(own) - 1 else found
        return "" if found == _MISSING else found


@final
@dataclass(frozen=True, slots=True, eq=False)
class TableCode(Readable):
    """The columns of a table, by which other tables are written.

    Attributes:
        columns: The columns in their order.
        plain: Whether all hold numbers and none is missing, so that rows are plain vectors.
        bonds: Which columns go together.
    """

    columns: tuple[TableColumn, ...]
    plain: bool
    bonds: tuple[Dependence, ...] = ()

    # A function of the cells alone.
    @classmethod
    @lru_cache(maxsize=8)
    def of_numbers(cls, table: TableCells, places: tuple[int, ...]) -> Self:
        """Returns the code of columns of numbers alone.

        Raises:
            UserError: If a value is missing or no number.
        """
        x = finite(table.numbers(places), table.path)
        columns = tuple(
            _with_numbers(TableColumn(table.names[c], "number", i, gaps=False), x[:, i])
            for i, c in enumerate(places)
        )
        return cls(columns, plain=True, bonds=_bonds(columns, x))

    # A function of the cells alone.
    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, table: TableCells, places: tuple[int, ...]) -> Self:
        """Returns the code of columns of any kind.

        Raises:
            UserError: If they have more components than ``MOST_CELLS`` for all rows.
        """
        columns: list[TableColumn] = []
        for c in places:
            columns.append(_column_of(table, c, columns[-1].end if columns else 0))
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
        if self.plain:
            return Space("vector", (self.columns[-1].end,))
        parts = tuple(part for column in self.columns for part in column.parts)
        return Space("table", (self.columns[-1].end,), parts=parts)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The name of each column."""
        return tuple(c.name for c in self.columns)

    def write(self, table: TableCells, own: Tensor | None = None) -> Array:
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

    def notes(self, table: TableCells) -> tuple[str, ...]:
        """Returns notes on cells that were dropped, converted or inferred."""
        places, matching = table.places_of([c.name for c in self.columns])
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
        both = (guessed + some_of(doubtful),) if doubtful else ()
        return (*table.notes, *matching, *(f"{table.path.name}: {o}" for o in _few(odd)), *both)

    def losses(self, table: TableCells) -> tuple[str, ...]:
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
        by_kind = {
            "read as categories, as too few cells of them are numbers or times": mixed,
            "not compared but for missing values, as no value is there twice": single,
        }
        return tuple(
            f"{counted(len(own), 'column', 'columns')} of {table.path.name} {what}: {some_of(own)}"
            for what, own in by_kind.items()
            if own
        )

    def having(self, x: Tensor, name: str, value: str) -> Tensor:
        """Returns which rows, shape ``(n, components)``, have a value in a column, bool, ``(n,)``.

        Args:
            x: The rows.
            name: The name of the column.
            value: A category, a number, a time as rows are read, ``missing`` or ``another``.

        Raises:
            UserError: If there is no such column, or it cannot have the value.
        """
        known = {c.name: c for c in self.columns}
        if name not in known:
            raise unknown("column", name, known)
        return known[name].having(x, value)

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


def _column_of(table: TableCells, c: int, start: int) -> TableColumn:
    name, found = table.names[c], table.parsed(c)
    if found.kind != "category":
        values = found.values[~np.isnan(found.values)]
        column = TableColumn(
            name, found.kind, start, style=found.style, origin=_origin(found, values)
        )
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
    return TableColumn(name, "category", start, tuple(kept), doubtful)


def _spread_over(column: TableColumn, part: Array) -> TableColumn:
    """Returns a column of numbers, spread as in rows, shape ``(n, width)``."""
    there = part[part[:, 1] < 0.5, 0] if column.gaps else part[:, 0]
    return _with_numbers(column, there) if len(there) else column


def _origin(found: Parsed, values: Array) -> float:
    """Returns the origin to subtract so that single precision keeps numbers apart."""
    middle = float(np.round(np.median(values)))
    is_fine = float(values.std()) > _FINE * abs(middle) or not values.std()
    return 0.0 if found.kind == "number" and is_fine else middle


def _with_numbers(column: TableColumn, x: Array) -> TableColumn:
    x = x.astype(np.float64)
    low, middle, high = np.quantile(x, [0.005, 0.5, 0.995]).tolist()
    return replace(column, middle=middle, spread=float(x.std()) or 1.0, low=low, high=high)


def _write_numbers(part: Array, column: TableColumn, table: TableCells, c: int) -> None:
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
    if part.shape[1] > 1:
        part[:, 1] = missing
    elif missing.any():
        raise UserError(
            f"Column {column.name!r} of {table.path} has missing values, that of the real table "
            "has no place for them. Fill them in, or leave the column out with columns=."
        )


def _odd(column: TableColumn, found: Parsed, n: int) -> str:
    what = "numbers" if column.kind == "number" else "times"
    cells = ", ".join(repr(cell) for cell in found.odd[:3])
    more = ", ..." if len(found.odd) > 3 else ""
    summary = (
        f"1 of {n:,} cells is not a {what[:-1]}"
        if found.n_odd == 1
        else (f"{found.n_odd:,} of {n:,} cells are not {what}")
    )
    return f"column {column.name}: {summary} ({cells}{more}), read as missing"


def _few(told: Sequence[str], most: int = 5) -> list[str]:
    left = len(told) - most
    return [*told[:most], *([f"and {left:,} more columns with such cells"] if left > 0 else [])]


def _shown(column: TableColumn, found: Parsed) -> str:
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


def _write_categories(part: Array, column: TableColumn, cells: Array, own: Tensor | None) -> None:
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


def _bonds(columns: Sequence[TableColumn], x: Array) -> tuple[Dependence, ...]:
    """Returns which columns go together in rows, shape ``(n, components)``."""
    parts: list[tuple[Array, bool]] = []
    for c in columns:
        is_number = c.kind != "category"
        own = x[:, c.start : c.start + 1] if is_number else x[:, c.start : c.end]
        parts.append((own, is_number))
    return dependences(parts)


# ----------------------------------------------------------------------------
# Columns learned again from some rows.
# ----------------------------------------------------------------------------

# A category is known that so many of them have. Not two: of a category that two rows of all have
# the reader knows neither, so that it would hang on the judged rows whether it is known.
_KNOWN = 3
# Below and above these shares of their numbers a number is extreme.
_SIDES = (0.01, 0.5, 0.99)
# Vectors of more components have no names for them.
_NAMED = 64


def plain_code(space: Space) -> TableCode | None:
    """Returns the columns of vectors that are not from a table, or None where they are many."""
    if space.size > _NAMED:
        return None
    made = (TableColumn(f"column {i}", "number", i, gaps=False) for i in range(space.size))
    return TableCode(tuple(made), plain=True)


def relearned_table(
    code: TableCode, whole: Tensor, places: Tensor, space: Space | None = None
) -> Relearned:
    """Returns the code learned from some rows: scales, correlations, categories.

    Args:
        code: The columns of the real table.
        whole: All its rows, shape ``(n, components)``.
        places: Those to learn from.
        space: What one sample is, where it is not what the code says.
    """
    changed: list[_Changed] = []
    for column in code.columns:
        start = changed[-1].column.end if changed else 0
        part = whole[:, column.start : column.end]
        learn = _categories_of_some if column.kind == "category" else _numbers_of_some
        changed.append(learn(column, start, part, places))
    columns = tuple(c.column for c in changed)
    own = _written(changed, whole[places], own=False)
    parts = [
        (own[:, c.start : (c.end if c.kind == "category" else c.start + 1)], c.kind != "category")
        for c in columns
    ]
    tied = dependences([(part.numpy(), is_number) for part, is_number in parts])
    found = replace(code, columns=columns, bonds=tied)
    return Relearned(
        code=found,
        space=space or found.space,
        write=lambda x: _written(changed, x, own=False),
        write_own=lambda x: _written(changed, x, own=True),
        rewrites=not code.plain,
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Changed:
    """A column as the discovery half knows it.

    Attributes:
        column: The column.
        before: What it was.
        kept: Which of its categories are known, by their places before.
        once: Which of these no row of the discovery half may lose.
    """

    column: TableColumn
    before: TableColumn
    kept: tuple[int, ...] = ()
    once: tuple[int, ...] = ()

    def write(self, part: Tensor, *, own: bool) -> Tensor:
        """Returns its components, shape ``(n, width)``, of those before."""
        if self.column.kind != "category":
            there = part[:, 1:] < 0.5
            middle = torch.full_like(part[:, :1], self.column.middle)
            value = torch.where(there, part[:, :1], middle) if self.column.gaps else part[:, :1]
            return torch.cat([value, part[:, 1:]], 1)
        known = part[:, list(self.kept)]
        if own:
            known = known * torch.tensor([i in self.once for i in self.kept]).to(known)
        missing = part[:, -1:]
        return torch.cat([known, 1 - missing - known.sum(1, keepdim=True), missing], 1)


def _written(changed: list[_Changed], x: Tensor, *, own: bool) -> Tensor:
    parts = [c.write(x[:, c.before.start : c.before.end], own=own) for c in changed]
    return torch.cat(parts, 1)


def _numbers_of_some(column: TableColumn, start: int, part: Tensor, places: Tensor) -> _Changed:
    x = part[places].double().numpy()
    x = x[x[:, 1] < 0.5, 0] if column.gaps else x[:, 0]
    found = replace(column, start=start)
    if len(x):
        low, middle, high = np.quantile(x, _SIDES).tolist()
        spread = float(x.std()) or 1.0
        found = replace(found, middle=middle, spread=spread, low=low, high=high)
    return _Changed(column=found, before=column)


def _categories_of_some(column: TableColumn, start: int, part: Tensor, places: Tensor) -> _Changed:
    """Returns a column with the categories that several rows of the discovery half have.

    Where the reader has left out the rarer ones by their number among all rows, those are known
    that it would have kept whatever the judged rows hold.
    """
    everyone, own = (p[:, : len(column.categories)].sum(0) for p in (part, part[places]))
    least, counted = _KNOWN, everyone[everyone > 0]
    if len(column.categories) >= _MOST and len(counted):
        # Those of no rows here are doubtful ones, which the reader has written as unknown.
        least = max(_KNOWN, int(counted.min()) + 1)
    kept = tuple((own >= least).nonzero()[:, 0].tolist())
    return _Changed(
        column=replace(column, start=start, categories=tuple(column.categories[i] for i in kept)),
        before=column,
        kept=kept,
        once=tuple((own > least).nonzero()[:, 0].tolist()),
    )
