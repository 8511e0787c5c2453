"""Squared distances between blocks of two sets, with a bound on their error."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.metrics.neighbour.points import Points

ROWS, COLUMNS = 1024, 2048
"""The size of one block of pairs."""

# From this many features on, products in float32 take most of the time.
_WIDE = 64


def working_dtype(x: Points) -> torch.dtype:
    """Returns in what precision products are taken.

    Float32, whose decisions near an edge are then taken again in float64, unless there are few
    features, or products in float32 have been allowed to be worse than that.
    """
    exact = torch.get_float32_matmul_precision() == "highest"
    return torch.float32 if exact and x.width > _WIDE else torch.float64


def spans(n: int, step: int, start: int = 0) -> Iterator[slice]:
    """Yields slices of ``step`` that cover ``range(start, n)``."""
    for begin in range(start, n, step):
        yield slice(begin, min(begin + step, n))


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a set, ready for products.

    Attributes:
        values: The moved rows, shape ``(b, d)``.
        lengths: Their squared lengths, shape ``(b,)``.
    """

    values: Tensor
    lengths: Tensor


def rows_of(x: Points, part: slice | Tensor, dtype: torch.dtype) -> Rows:
    """Returns rows of ``x`` in ``dtype``."""
    return Rows(x.rows(part, dtype), x.lengths(dtype)[part].to(dtype))


def tile(a: Rows, b: Rows) -> Tensor:
    """Returns the squared distances of each row of ``a`` to each of ``b``; may be below 0."""
    lengths = a.lengths[:, None] + b.lengths
    return torch.addmm(lengths, a.values, b.values.T, alpha=-2, out=lengths)


def slack(dtype: torch.dtype, width: int) -> float:
    """Returns how far a distance may be off, over the sum of both squared lengths.

    The rounding of a product of ``width`` terms grows with the root of their number; this is
    several times that.
    """
    unit = torch.finfo(dtype).eps / 2
    return unit * (8 + 2 * math.sqrt(width))


def edge(distance: Tensor, x: Points, part: slice | Tensor = slice(None)) -> Tensor:
    """Returns squared radii around rows of ``x``, made larger by what rounding may take away.

    So twins and ties lie inside, in whichever way their distance was computed.

    Args:
        distance: Squared distances, shape ``(b, ...)``.
        x: The centres.
        part: Which rows of them.
    """
    lengths = x.lengths(torch.float64)[part].reshape(-1, *[1] * (distance.ndim - 1))
    return distance * (1 + 1e-9) + 4 * slack(torch.float64, x.width) * lengths
