"""Tables: data sets, attributes and files."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Code, Source, Space, Splits, all_samples
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.data.splits import ArraySplit, finite, random_split
from gantlet.domains.attributes import AttributeTable
from gantlet.domains.cells import TableCells, read_cells
from gantlet.domains.domains import Domain, Relearned, Writer, columns, ending
from gantlet.domains.table_attributes import table_attributes
from gantlet.domains.table_code import TableCode, relearned_table, table_code

# ----------------------------------------------------------------------------
# Tables of numbers as text.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Csv:
    """The numeric columns of a text file; each row is a vector.

    Columns are parted by tab, semicolon, bar or comma, whichever gives all rows one width. The
    first line is a header unless all of it is numbers and times.

    Attributes:
        path: The file: text, packed (.gz) or not, or Parquet.
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
        table = read_cells(Path(self.path).expanduser())
        return Space("vector", (len(table.chosen(self.columns, self.label)),))

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits.

        Raises:
            UserError: If the file cannot be read, or a value is missing or not a number.
        """
        return random_split(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )

    def whole(self) -> ArraySplit:
        """Returns all rows in the order of the file.

        Raises:
            UserError: If the file cannot be read, or a value is missing or not a number.
        """
        table = read_cells(Path(self.path).expanduser())
        x = finite(table.numbers(table.chosen(self.columns, self.label)), table.path)
        labels = None if self.label is None else table.classes(table.place(self.label))
        return ArraySplit(x, labels, self.code().notes(table))

    def code(self, rows: Tensor | None = None) -> TableCode:
        """Returns the columns, and how they are spread.

        Args:
            rows: The rows that it is learned from, by their numbers from 0; None for all.

        Raises:
            UserError: If the file cannot be read, or a value is missing or not a number.
        """
        table = read_cells(Path(self.path).expanduser()).some(rows)
        return TableCode.of_numbers(table, table.chosen(self.columns, self.label))

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[ArraySplit, str]:
        """Returns all rows with the columns of a code.

        Args:
            code: Of this table or of another.
            own: The rows that it was learned from, where they are of this table.

        Raises:
            UserError: If a column is missing, or holds what cannot be used.
        """
        table = read_cells(Path(self.path).expanduser())
        found = table_code(code, self.path)
        return ArraySplit(found.write(table, own)), "; ".join(found.notes(table))


# ----------------------------------------------------------------------------
# Tables with columns of any kind.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Table:
    """A file of rows, whose columns hold numbers, times or categories; values may be missing.

    A column holds numbers, or times, where nine in ten of its cells that are not empty do; the
    others count as missing, which is said. Else it holds categories, of which the 32 most frequent
    are distinguished. Columns are parted by tab, semicolon, bar or comma, whichever gives all rows
    one width. The first line is a header unless all of it is numbers and times.

    Attributes:
        path: The file: text, packed (.gz) or not, or Parquet.
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
        """The components of all columns side by side."""
        return self.code().space

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits.

        Raises:
            UserError: If the file cannot be read.
        """
        return random_split(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )

    def whole(self) -> ArraySplit:
        """Returns all rows in the order of the file.

        Raises:
            UserError: If the file cannot be read.
        """
        table = self._cells()
        labels = None if self.label is None else table.classes(table.place(self.label))
        code = self.code()
        notes = (*code.notes(table), *code.losses(table))
        return ArraySplit(code.write(table, torch.arange(len(table))), labels, notes)

    def code(self, rows: Tensor | None = None) -> TableCode:
        """Returns the columns of the file.

        Args:
            rows: The rows that it is learned from, by their numbers from 0; None for all.

        Raises:
            UserError: If the file cannot be read.
        """
        table = self._cells().some(rows)
        return TableCode.of(table, table.chosen(self.columns, self.label))

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[ArraySplit, str]:
        """Returns all rows with the columns of a code.

        Args:
            code: Of this table or of another.
            own: The rows that it was learned from, where they are of this table.

        Raises:
            UserError: If a column is missing.
        """
        found, table = table_code(code, self.path), self._cells()
        return ArraySplit(found.write(table, own)), "; ".join(found.notes(table))

    def _cells(self) -> TableCells:
        return read_cells(Path(self.path).expanduser())


# ----------------------------------------------------------------------------
# The kind of sample.
# ----------------------------------------------------------------------------

_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")


def read_table(path: Path) -> "Csv | Table | None":
    """Returns the reader of a file of rows: vectors if all cells are numeric, else a table.

    None where the name of the file is not one of a table.
    """
    if not path.is_file() or ending(path) not in _ENDINGS:
        return None
    kind = Csv if read_cells(path).is_numeric else Table
    return kind(path=str(path))


@final
class TableDomain(Domain):
    """Rows of a table with columns of numbers, times and categories."""

    endings: ClassVar[tuple[str, ...]] = _ENDINGS
    metrics: ClassVar[tuple[str, ...]] = (
        "column-similarity",
        "pair-similarity",
        "c2st-auc",
        "dcr",
        "disclosure",
        "tstr",
    )
    is_metric: ClassVar[bool] = False
    models: ClassVar[tuple[str, ...]] = ("independent", "copula", "tree-chain", "table-gan")

    @override
    def attributes(self, space: Space, x: Tensor, code: Code | None) -> AttributeTable:
        """Returns columns, their extremes, missing values, categories and correlations."""
        return table_attributes(code, x) if isinstance(code, TableCode) else columns(space, x)

    @override
    def reader(self, path: Path, *, skip_bad: int = 0) -> Table | None:
        """Reads tables in which some cell does not hold a number."""
        found = read_table(path)
        return found if isinstance(found, Table) else None

    @override
    def features(self, code: Code | None, *, labelled: bool) -> tuple[str, ...]:
        """Principal components."""
        return ("pca",)

    @override
    def depends_on_set(self, code: Code | None) -> bool:
        """Correlations of columns are those of ranks within a set."""
        return isinstance(code, TableCode)

    @override
    def relearned(
        self, code: Code | None, space: Space, source: Source, places: Tensor
    ) -> Relearned | None:
        """Learns categories, and how columns are spread and correlated."""
        return (
            relearned_table(code, all_samples(source), places)
            if isinstance(code, TableCode)
            else None
        )

    @override
    def writers(self, space: Space, code: Code | None) -> Mapping[str, Writer]:
        """Writes rows with a header, where the columns are known."""
        return table_writers(code)


def table_writers(code: Code | None) -> Mapping[str, Writer]:
    """Returns the writer of rows as text, missing values as empty cells; needs the columns."""
    if not isinstance(code, TableCode):
        return {}
    return {".csv": lambda path, x: _write_rows(path, code, x)}


def _write_rows(path: Path, code: TableCode, x: Tensor) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([c.name for c in code.columns])
        rows: list[list[float]] = x.tolist()
        table.writerows([c.cell(row) for c in code.columns] for row in rows)
