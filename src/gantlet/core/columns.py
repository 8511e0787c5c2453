"""Columns of a table: which components of a row are numbers, gaps and categories."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, final, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gantlet.core.data import Code, Space
from gantlet.core.errors import UserError


@final
@dataclass(frozen=True, slots=True)
class ColumnSlice:
    """The components of one column.

    Attributes:
        kind: "number", or "category": one of several.
        start: The first component.
        width: How many components there are: a number has one, or two where values may be
            missing; a category has an indicator for each value, or one for two of them.
    """

    kind: Literal["number", "category"]
    start: int
    width: int

    @property
    def end(self) -> int:
        """The first component that is not its."""
        return self.start + self.width

    @property
    def gaps(self) -> bool:
        """Whether numbers may be missing; the second component is then 1, else 0."""
        return self.kind == "number" and self.width == 2

    @property
    def values(self) -> int:
        """How many values a category has."""
        return max(self.width, 2)

    def of(self, x: Tensor) -> Tensor:
        """Returns the components of rows, shape ``(n, width)``."""
        return x[:, self.start : self.end]

    def present(self, x: Tensor) -> Tensor:
        """Returns which rows have a value, bool, shape ``(n,)``."""
        if self.gaps:
            return x[:, self.start + 1] < 0.5
        return torch.ones(len(x), dtype=torch.bool, device=x.device)

    def filler(self, x: Tensor) -> Tensor:
        """Returns the number that stands where one is missing in ``x``, a scalar; else 0."""
        missing = ~self.present(x)
        return x[missing, self.start].median() if bool(missing.any()) else x.new_zeros(())

    def codes(self, x: Tensor) -> Tensor:
        """Returns which value of a category rows have, int64, shape ``(n,)``."""
        own = self.of(x)
        return own.argmax(1) if self.width > 1 else (own[:, 0] > 0.5).long()

    def coded(self, codes: Tensor) -> Tensor:
        """Returns the components of codes of a category, float32, shape ``(n, width)``."""
        if self.width == 1:
            return codes[:, None].float()
        return one_hot(codes, self.width).float()


def columns_of(space: Space) -> tuple[ColumnSlice, ...]:
    """Returns the columns of a table, or of a vector of numbers.

    Raises:
        UserError: If a sample is no row of a table.

    Example:
        >>> [(c.kind, c.start) for c in columns_of(Space("vector", (2,)))]
        [('number', 0), ('number', 1)]
    """
    is_row = space.levels is None and len(space.shape) == 1
    if not is_row or space.kind not in {"table", "vector"}:
        raise UserError(f"Rows of a table or vectors of numbers are needed. Got {space.label}.")
    if space.parts:
        return tuple(_columns(space))
    return number_columns(space.size)


def _columns(space: Space) -> Iterator[ColumnSlice]:
    start, parts = 0, space.parts
    for i, part in enumerate(parts):
        after_number = part.kind == "flag" and i > 0 and parts[i - 1].kind == "number"
        if part.kind == "number":
            gaps = i + 1 < len(parts) and parts[i + 1].kind == "flag"
            yield ColumnSlice("number", start, 1 + gaps)
        elif not after_number:
            yield ColumnSlice("category", start, part.width)
        start += part.width


def number_columns(count: int) -> tuple[ColumnSlice, ...]:
    """Returns the columns of samples of which nothing is known: each component is a number."""
    return tuple(ColumnSlice("number", i, 1) for i in range(count))


@runtime_checkable
class NamedColumns(Protocol):
    """A code whose columns have names."""

    @property
    def column_names(self) -> Sequence[str]:
        """The name of each column, in their order."""
        ...


def names_of(columns: Sequence[ColumnSlice], code: Code | None) -> tuple[str, ...]:
    """Returns the name of each column: those of the code, or numbers from 1."""
    if isinstance(code, NamedColumns) and len(code.column_names) == len(columns):
        return tuple(code.column_names)
    return tuple(str(i + 1) for i in range(len(columns)))
