"""Tables with columns of any kind."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

import torch
from torch import Tensor

from gantlet.core.code import Code
from gantlet.core.dataset import Splits
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.cells import Cells, read_cells
from gantlet.data.columns import TableCode, table_code
from gantlet.data.rows import Rows
from gantlet.data.splits import by_share


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Table:
    """A file of rows, whose columns hold numbers, times or categories; values may be missing.

    A column holds numbers, or times, where nine in ten of its cells that are not empty do; the
    others count as missing, which is said. Else it holds categories, of which the 32 most frequent
    are told apart. Columns are parted by tab, semicolon, bar or comma, whichever gives all rows
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
        return by_share(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )

    def whole(self) -> Rows:
        """Returns all rows in the order of the file.

        Raises:
            UserError: If the file cannot be read.
        """
        table = self._cells()
        labels = None if self.label is None else table.classes(table.place(self.label))
        code = self.code()
        notes = (*code.notes(table), *code.losses(table))
        return Rows(code.write(table, torch.arange(len(table))), labels, notes)

    def code(self, rows: Tensor | None = None) -> TableCode:
        """Returns the columns of the file.

        Args:
            rows: The rows that it is learned from, by their numbers from 0; None for all.

        Raises:
            UserError: If the file cannot be read.
        """
        table = self._cells().some(rows)
        return TableCode.of(table, table.chosen(self.columns, self.label))

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[Rows, str]:
        """Returns all rows with the columns of a code.

        Args:
            code: Of this table or of another.
            own: The rows that it was learned from, where they are of this table.

        Raises:
            UserError: If a column is missing.
        """
        found, table = table_code(code, self.path), self._cells()
        return Rows(found.write(table, own)), "; ".join(found.notes(table))

    def _cells(self) -> Cells:
        return read_cells(Path(self.path).expanduser())
