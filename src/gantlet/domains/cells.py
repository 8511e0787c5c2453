"""Cells of tables: raw, before types of columns are inferred, and which columns go together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np
import torch
from torch import Tensor

from gantlet.core.errors import UserError, unknown
from gantlet.data.arrays import counted
from gantlet.data.delimited import (
    Delimited,
    Parsed,
    Style,
    check_size,
    floats,
    is_missing,
    number,
    parsed,
)
from gantlet.data.splits import Array, read_once, readable, stamp_of

# Of the cells of another table's column so many must be what those of the real one are.
_LEAST: Final = 0.5


@final
@dataclass(frozen=True, slots=True, eq=False)
class TableCells:
    """The cells of a file.

    Attributes:
        path: The file.
        names: The names of the columns.
        columns: For each column its cells, shape ``(rows,)``: numbers, NaN where one is missing,
            or else text.
        places: The number of each row in the file, from 0, the header left out.
        form: How the file is written, or None where it is not text.
        notes: What was left out or guessed, in words.
    """

    path: Path
    names: Sequence[str]
    columns: Sequence[Array]
    places: Array
    form: Delimited | None = None
    notes: tuple[str, ...] = ()
    _kept: dict[int, Parsed] = field(default_factory=dict[int, Parsed])
    _texts: dict[int, Array] = field(default_factory=dict[int, Array])

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.places)

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

    def some(self, rows: Tensor | None) -> "TableCells":
        """Returns some rows, by their numbers from 0; the cells themselves of None."""
        if rows is None:
            return self
        kept = rows.numpy()
        columns = [c[kept] for c in self.columns]
        return TableCells(self.path, self.names, columns, self.places[kept], self.form, self.notes)

    @property
    def is_numeric(self) -> bool:
        """Whether there is a number in every cell."""
        for c in range(len(self.names)):
            found = self.parsed(c)
            if found.kind != "number" or found.odd or np.isnan(found.values).any():
                return False
        return True

    def parsed(self, column: int) -> Parsed:
        """Returns a column as numbers, times or categories, whichever most of its cells are."""
        if column not in self._kept:
            cells = self.columns[column]
            is_read = cells.dtype.kind == "f"
            self._kept[column] = (
                floats(cells) if is_read else parsed(cells, decimal_comma=self._is_european)
            )
        return self._kept[column]

    def parsed_as(self, column: int, kind: Literal["number", "time"], style: Style) -> Parsed:
        """Returns a column as numbers, or as times, if half of its cells are.

        Args:
            column: Which one.
            kind: What its cells should be.
            style: How they are written, if that fits about as well as any other way.
        """
        found = self.parsed(column)
        if self.columns[column].dtype.kind == "f" or (found.kind, found.style) == (kind, style):
            return found
        comma = self._is_european
        cells = self.columns[column]
        return parsed(cells, style, decimal_comma=comma, share=_LEAST, kind=kind)

    @property
    def _is_european(self) -> bool:
        """Whether columns are parted as where the comma stands before decimals."""
        return self.form is not None and self.form.delimiter == ";"

    def text(self, column: int) -> Array:
        """Returns the cells of a column as they are written, without the blanks around them."""
        if column not in self._texts:
            cells = self.columns[column]
            if cells.dtype.kind == "f" and self.form is not None:
                cells = self.form.written(column)[self.places]
            elif cells.dtype.kind == "f":
                cells = np.array(["" if np.isnan(v) else f"{v:.17g}" for v in cells.tolist()])
            self._texts[column] = np.array([c.strip() for c in cells.tolist()], dtype=object)
        return self._texts[column]

    def places_of(self, names: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
        """Returns the columns of these names, and what else is to be said.

        Where no name fits, they are as many others in their order.

        Raises:
            UserError: If a column is missing.
        """
        if set(names) <= set(self.names):
            more = [name for name in self.names if name not in names]
            note = counted(len(more), "column", "columns")
            note = f"{note} of {self.path.name} that the real table lacks: {some_of(more)}"
            return [self.names.index(name) for name in names], (note,) if more else ()
        if len(names) == len(self.names) and not set(names) & set(self.names):
            note = f"no column of {self.path.name} has a real one's name: matched by order"
            # Where one of the files has no header there is no other way.
            is_named = not (self._is_unnamed(self.names) or self._is_unnamed(names))
            return list(range(len(names))), (note,) if is_named else ()
        lack = next(name for name in names if name not in self.names)
        raise UserError(
            f"{self.path} has no column {lack!r}, which the real table has. "
            f"It has: {some_of(self.names, 20)}."
        )

    @staticmethod
    def _is_unnamed(names: Sequence[str]) -> bool:
        return list(names) == [str(i + 1) for i in range(len(names))]

    def numbers(self, columns: Sequence[int]) -> Array:
        """Returns the given columns as float32, shape ``(rows, columns)``.

        Raises:
            UserError: If a value is missing or not a number; it says where.
        """
        found = np.empty((len(self), len(columns)))
        gaps, first = 0, (len(self), 0)
        for k, c in enumerate(columns):
            own = self.parsed(c)
            if own.kind != "number" or own.odd:
                self._refuse(c)
            missing = np.isnan(own.values).nonzero()[0]
            gaps += len(missing)
            first = min(first, (missing[0], c)) if len(missing) else first
            found[:, k] = own.values
        if gaps:
            row, c = first
            raise UserError(
                f"{self.path} has {counted(gaps, 'missing value', 'missing values')}, the first "
                f"in line {self.line(int(row))}, column {self.names[c]!r}. Fill or drop them, or "
                "read the table as table:path=FILE."
            )
        # What single precision cannot hold becomes infinite here and is reported as such.
        with np.errstate(over="ignore"):
            return found.astype(np.float32)

    def _refuse(self, column: int) -> None:
        """Refuses a column with cells that are not numbers."""
        cells = self.text(column)
        found = parsed(cells, decimal_comma=self._is_european, share=0.0, kind="number")
        is_bad = np.isnan(found.values) & ~is_missing(cells)
        row = int(is_bad.argmax())
        what = "not a number" if number(cells[row]) is None else "infinite or too large"
        raise UserError(
            f"{self.path}, line {self.line(row)}, column {self.names[column]!r}: {cells[row]!r} "
            f"is {what}. Choose numeric columns with columns=A+B, label=COLUMN for a class, or "
            "read columns of any kind with table:path=FILE."
        )

    def line(self, row: int) -> int:
        """Returns the line of the file in which a row ends."""
        place = int(self.places[row])
        return place + 1 if self.form is None else self.form.line(place)

    def classes(self, column: int) -> Array:
        """Returns the class of each row as a number, by the order of their names."""
        return np.unique(self.text(column).astype(str), return_inverse=True)[1]


@read_once(8, stamp_of)
def read_cells(path: Path) -> TableCells:
    """Returns the cells of a file: text of rows, or Parquet.

    Raises:
        UserError: If the file cannot be read as a table, or is too large.
    """
    if path.suffix.lower() == ".parquet":
        frame = _parquet(path)
        return _cells(path, _names(path, [str(name) for name in frame.columns]), frame, None)
    form = Delimited.of(path)
    names = _names(path, form.header) if form.header else [str(i + 1) for i in range(form.width)]
    return _cells(path, names, form.frame(), form)


def _names(path: Path, header: Sequence[str]) -> list[str]:
    names = [name.strip() or f"column {i + 1}" for i, name in enumerate(header)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path} names a column twice: {twice}. Rename one.")
    return names


def _parquet(path: Path) -> Any:
    import pandas as pd

    with readable(path, "a Parquet table"):
        try:
            frame: Any = pd.read_parquet(path)
        except ImportError as error:
            raise UserError(
                f"{path} is a Parquet file, which needs pyarrow: pip install pyarrow, or save the "
                "table as csv."
            ) from error
    check_size(path, frame.shape[1], frame.size)
    if not frame.size:
        raise UserError(f"{path} holds no rows.")
    return frame


def _cells(path: Path, names: Sequence[str], frame: Any, form: Delimited | None) -> TableCells:
    """Returns the cells of a frame, without the rows that are empty."""
    columns = [_column(frame.iloc[:, i], i, form) for i in range(frame.shape[1])]
    notes = () if form is None else form.notes
    empty = np.logical_and.reduce([is_missing(column) for column in columns])
    places = np.arange(len(frame))
    if empty.all():
        raise UserError(f"{path} holds no rows.")
    if empty.any() and len(names) > 1:
        count = counted(int(empty.sum()), "row is", "rows are")
        notes = (*notes, f"{count} empty in {path.name} and left out")
        columns, places = [c[~empty] for c in columns], places[~empty]
    return TableCells(path, names, columns, places, form, notes)


def _column(series: Any, place: int, form: Delimited | None) -> Array:
    """Returns a column as numbers, or as text."""
    kind = series.dtype.kind
    if kind in "iuf":
        numbers: Array = series.to_numpy(np.float64, na_value=np.nan)
        return numbers
    # What was taken for truth values may be written in many ways.
    if kind == "b" and form is not None:
        return form.written(place)
    raw, there = series.astype(object).to_numpy(), series.notna().to_numpy()
    # Cell by cell: a call of pandas for each of thousands of short columns takes seconds.
    texts: Array = np.array([str(v) if t else "" for v, t in zip(raw, there, strict=True)], object)
    return texts


def some_of(names: Sequence[str], most: int = 5) -> str:
    """Returns the first names in words, and whether there are more."""
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


# ----------------------------------------------------------------------------
# Which columns of a table go together, and along what.
# ----------------------------------------------------------------------------

_MOST_COLUMNS = 64
# Columns that are looked at, so that wide tables are read in seconds.
_NUMERIC, _CATEGORIES = 512, 64
# A weaker correlation with a column of categories is no bond.
_SURE = 0.3


@final
@dataclass(frozen=True, slots=True, eq=False)
class Dependence:
    """Two columns and their largest correlation.

    Attributes:
        columns: Which two, by their places.
        weights: Of the components of each, whose sums go together. A column of numbers has one
            component, the normal score of its rank in its own set, so that it does not matter how
            its numbers are spread.
        correlation: Of the two sums.
    """

    columns: tuple[int, int]
    weights: tuple[Tensor, Tensor]
    correlation: float


def dependences(parts: Sequence[tuple[Array, bool]]) -> tuple[Dependence, ...]:
    """Returns the strongest bonds of columns, at most 64.

    Of two columns of numbers it is the correlation of their normal scores; with categories the
    first canonical correlation of their indicators, as in correspondence analysis. Of more than
    512 columns of numbers, and 64 of categories, the first are looked at.

    Source: Hirschfeld, 1935, https://doi.org/10.1017/S0305004100013517.

    Args:
        parts: For each column its components, shape ``(n, k)``, and whether it holds numbers.
    """
    numbers = [i for i, (_, is_number) in enumerate(parts) if is_number][:_NUMERIC]
    categories = [i for i, (_, is_number) in enumerate(parts) if not is_number][:_CATEGORIES]
    scaled = {
        i: _scaled(torch.from_numpy(parts[i][0]).double(), is_number=parts[i][1])
        for i in sorted([*numbers, *categories])
    }
    found = [*_of_numbers(numbers, scaled), *_of_categories(numbers, categories, scaled)]
    return tuple(sorted(found, key=lambda b: (-b.correlation, b.columns))[:_MOST_COLUMNS])


_Scaled = Mapping[int, tuple[Tensor, Tensor]]


def _of_numbers(columns: Sequence[int], scaled: _Scaled) -> Iterator[Dependence]:
    """Yields the strongest bonds of columns of numbers, all of one matrix."""
    if len(columns) < 2:
        return
    z = torch.cat([scaled[i][0] for i in columns], 1)
    matrix = z.T @ z / len(z)
    first, second = torch.triu_indices(len(columns), len(columns), 1)
    strength = matrix[first, second].abs()
    for k in strength.argsort(descending=True, stable=True)[:_MOST_COLUMNS].tolist():
        i, j = columns[int(first[k])], columns[int(second[k])]
        sign = matrix[first[k], second[k]].sign()
        yield Dependence((i, j), (scaled[i][1], sign * scaled[j][1]), float(strength[k]))


def _of_categories(
    numbers: Sequence[int], categories: Sequence[int], scaled: _Scaled
) -> Iterator[Dependence]:
    """Yields the bonds of columns of categories with each other and with some of numbers."""
    mixed = [(min(i, j), max(i, j)) for i in numbers[:_CATEGORIES] for j in categories]
    for i, j in (*combinations(categories, 2), *mixed):
        (z, scale), (z_j, scale_j) = scaled[i], scaled[j]
        u, s, vh = torch.linalg.svd(z.T @ z_j / len(z), full_matrices=False)
        # A column of categories can always be set off against another one a little.
        if float(s[0]) >= max(_SURE, 2 * (z.shape[1] * z_j.shape[1] / len(z)) ** 0.5):
            yield Dependence((i, j), (u[:, 0] * scale, vh[0] * scale_j), float(s[0]))


def normal_scores(x: Tensor) -> Tensor:
    """Returns the normal quantiles of ranks, shape ``(n,)``; equal numbers have their mean rank.

    Example:
        >>> normal_scores(torch.tensor([3.0, 1.0, 2.0])).tolist()[2]
        0.0
    """
    x = x.double().contiguous()
    order = x.sort().values
    low, high = (torch.searchsorted(order, x, right=side) for side in (False, True))
    scores: Tensor = torch.special.ndtri((low + high).double() / (2 * len(x)))
    return scores


def _scaled(x: Tensor, *, is_number: bool) -> tuple[Tensor, Tensor]:
    """Returns scaled components of deviation about 1, and their scale."""
    if is_number:
        scores = normal_scores(x[:, 0])[:, None]
        scale = 1 / scores.std(0, correction=0).clamp_min(1e-6)
        return scores * scale, scale
    mean = x.mean(0)
    scale = torch.where(mean > 0, mean.clamp_min(1e-12).rsqrt(), torch.zeros_like(mean))
    return (x - mean) * scale, scale
