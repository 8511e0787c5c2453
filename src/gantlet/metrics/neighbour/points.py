"""Samples made ready for distances between all pairs, a block at a time."""

import math
from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor

# Numbers that are turned into double precision at a time: half a MB, which stays in a cache.
_NUMBERS = 2**16
# So many rows are enough to place a centre, which need not be exact.
_FOR_CENTRE = 256
# Squares of numbers in this range neither vanish nor overflow in float32.
_SMALL, _LARGE = 1e-12, 1e12


@final
class Points:
    """Samples and the vector that is subtracted from them before products are taken.

    Distances do not see the move, but without it a large mean costs digits. No moved copy is
    kept: rows are moved as they are read, so that sets mapped from disk stay there.

    Attributes:
        x: The samples as they came, shape ``(n, d)``.
        centre: What is subtracted, shape ``(d,)``, float32 numbers in float64.
        scale: What the difference is multiplied by, a power of two.
    """

    def __init__(self, x: Tensor, centre: Tensor, scale: float) -> None:
        self.x = x
        self.centre = centre
        self.scale = scale
        self._lengths: dict[torch.dtype, Tensor] = {}

    def __len__(self) -> int:
        """Returns the number of samples."""
        return len(self.x)

    @property
    def device(self) -> torch.device:
        """Where the samples lie."""
        return self.x.device

    @property
    def width(self) -> int:
        """The number of features."""
        return int(self.x.shape[1])

    def rows(self, part: slice | Tensor, dtype: torch.dtype) -> Tensor:
        """Returns moved and scaled rows."""
        if dtype == torch.float32 and self.x.dtype != torch.float64 and self.scale == 1:
            return self.x[part].to(dtype) - self.centre.to(dtype)
        return ((self.x[part].to(torch.float64) - self.centre) * self.scale).to(dtype)

    def lengths(self, dtype: torch.dtype) -> Tensor:
        """Returns the squared lengths of the rows as they are in ``dtype``, in float64."""
        if dtype not in self._lengths:
            parts = [_squares(self.rows(part, dtype)) for part in row_blocks(self.x)]
            self._lengths[dtype] = torch.cat(parts)
        return self._lengths[dtype]

    def apart(self, i: Tensor, other: "Points", j: Tensor) -> Tensor:
        """Returns the squared distances of pairs of rows, from differences in float64."""
        parts: list[Tensor] = []
        step = max(1, _NUMBERS // self.width)
        for a, b in zip(torch.split(i, step), torch.split(j, step), strict=True):
            parts.append(_squares(_wide(self.x[a]) - _wide(other.x[b])))
        return torch.cat(parts) * self.scale**2


def points(*sets: Tensor) -> list[Points]:
    """Returns the sets with the median of the first as their common centre, and one scale.

    The median of each feature, over some of the rows: an outlier would move the mean so far that
    the digits of all others were lost. The sets must have been checked and not be empty.
    """
    first = sets[0]
    some = first[:: max(1, len(first) // _FOR_CENTRE)]
    # A centre of float32 numbers is subtracted alike in both precisions.
    centre = _wide(some).median(0).values.to(torch.float32).to(torch.float64)
    largest = max(_largest(x, centre) for x in sets)
    fits = _SMALL < largest < _LARGE or largest == 0
    scale = 1.0 if fits else 2.0 ** -math.frexp(largest)[1]
    return [Points(x, centre, scale) for x in sets]


def row_blocks(x: Tensor) -> Iterator[slice]:
    """Yields slices of rows of ``x`` whose double precision copies stay within half a MB."""
    step = max(1, _NUMBERS // max(1, x.shape[1]))
    for start in range(0, len(x), step):
        yield slice(start, min(start + step, len(x)))


def _largest(x: Tensor, centre: Tensor) -> float:
    found = (float((_wide(x[part]) - centre).abs().max()) for part in row_blocks(x))
    return max(found, default=0.0)


def _squares(rows: Tensor) -> Tensor:
    wide = _wide(rows)
    squares: Tensor = torch.linalg.vecdot(wide, wide)
    return squares


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.float64)
