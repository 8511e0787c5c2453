"""The dark squares of a board."""

import math
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor

from gantlet.core.dataset import Splits
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.splits import drawn


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Checkerboard:
    """A uniform distribution on every other square of a board around zero.

    The label is the square. A square includes its edges.

    Attributes:
        cells: Squares in each row and column; half of them, the lower left one included, are
            dark.
        width: Length of a square's side.
        n: How many training samples.
        held_out: How many samples each for validation and test.
    """

    cells: Annotated[int, Between(1)] = 4
    width: Annotated[float, Between(1e-6)] = 2.0
    n: Annotated[int, Between(1)] = 10_000
    held_out: Annotated[int, Between(1)] = 2_000

    @property
    def space(self) -> Space:
        """Points of the plane."""
        return Space("vector", (2,))

    @property
    def dark(self) -> Tensor:
        """Column and row of each dark square, shape ``(squares, 2)``."""
        line = torch.arange(self.cells)
        cell = torch.cartesian_prod(line, line)
        return cell[cell.sum(1) % 2 == 0]

    def load(self, *, rng: Rng) -> Splits:
        """Returns independent draws."""
        return drawn(self._draw, n=self.n, held_out=self.held_out, rng=rng)

    def _draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        dark = self.dark
        square = torch.randint(len(dark), (n,), generator=rng)
        place = torch.rand(n, 2, generator=rng, dtype=torch.float64)
        return self.width * (dark[square] + place - self.cells / 2), square

    def log_density(self, x: Tensor) -> Tensor:
        """Returns the log-density of ``x``, shape ``(n, 2)``, in nats, shape ``(n,)``.

        It is minus infinity on the light squares and outside the board.
        """
        place = x.double() / self.width + self.cells / 2
        # A point on an edge lies in the squares on both sides of it.
        low, high = place.ceil() - 1, place.floor()
        inside = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for column in (low[:, 0], high[:, 0]):
            for row in (low[:, 1], high[:, 1]):
                inside |= self._is_dark(column, row)
        level = -math.log(len(self.dark) * self.width**2)
        return torch.where(inside, level, -math.inf).to(x.dtype)

    def _is_dark(self, column: Tensor, row: Tensor) -> Tensor:
        on_board = (column >= 0) & (row >= 0) & (column < self.cells) & (row < self.cells)
        return on_board & ((column + row) % 2 == 0)
