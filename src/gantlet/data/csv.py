"""Tables of numbers as text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, final

from torch import Tensor

from gantlet.core.code import Code
from gantlet.core.dataset import Splits
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.cells import read_cells
from gantlet.data.checks import finite
from gantlet.data.columns import TableCode, table_code
from gantlet.data.rows import Rows
from gantlet.data.splits import by_share


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
        return by_share(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )

    def whole(self) -> Rows:
        """Returns all rows in the order of the file.

        Raises:
            UserError: If the file cannot be read, or a value is missing or not a number.
        """
        table = read_cells(Path(self.path).expanduser())
        x = finite(table.numbers(table.chosen(self.columns, self.label)), table.path)
        labels = None if self.label is None else table.classes(table.place(self.label))
        return Rows(x, labels, self.code().notes(table))

    def code(self, rows: Tensor | None = None) -> TableCode:
        """Returns the columns, and how they are spread.

        Args:
            rows: The rows that it is learned from, by their numbers from 0; None for all.

        Raises:
            UserError: If the file cannot be read, or a value is missing or not a number.
        """
        table = read_cells(Path(self.path).expanduser()).some(rows)
        return TableCode.of_numbers(table, table.chosen(self.columns, self.label))

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[Rows, str]:
        """Returns all rows with the columns of a code.

        Args:
            code: Of this table or of another.
            own: The rows that it was learned from, where they are of this table.

        Raises:
            UserError: If a column is missing, or holds what cannot be used.
        """
        table = read_cells(Path(self.path).expanduser())
        found = table_code(code, self.path)
        return Rows(found.write(table, own)), "; ".join(found.notes(table))
