"""What every metric asks of its two sets of features."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.metrics.blocks import blocks

# The largest float32; squares of it are still well inside float64.
_LARGEST = 3.4028235e38
# Numbers that stay in a processor's cache: 1 MB in float64.
_CACHED = 2**17
# So many rows are enough to place a centre.
_FOR_CENTRE = 256


def pair(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both sets of features in float64, without gradient, having checked them.

    Sums of squares and differences of large numbers need double precision: in float32 the
    Frechet distance is wrong in its third digit, and a feature of mean 1e4 drowns its own spread.

    Raises:
        UserError: If a set is not a matrix of floating point numbers in the range of float32, or
            if the sets differ in width or device.
    """
    real, fake = checked(real, fake)
    return real.to(torch.float64), fake.to(torch.float64)


def checked(
    real: Tensor, fake: Tensor, *, names: tuple[str, str] = ("real", "fake")
) -> tuple[Tensor, Tensor]:
    """Returns both sets as they are, without gradient, having checked them block by block.

    For sets that may be mapped from disk: read them with ``rows``.

    Args:
        real: Features, shape ``(n, d)``.
        fake: Features, shape ``(m, d)``.
        names: What errors call the two.

    Raises:
        UserError: As ``pair`` does.
    """
    for name, x in zip(names, (real, fake), strict=True):
        _check(x, name)
    both = " and ".join(names)
    if real.shape[1] != fake.shape[1]:
        raise UserError(
            f"{both} must have equally many features. "
            f"Got {real.shape[1]} and {fake.shape[1]}; use one extractor for both."
        )
    if real.device != fake.device:
        raise UserError(f"{both} must lie on one device. Got {real.device} and {fake.device}.")
    return real.detach(), fake.detach()


def rows(x: Tensor) -> Iterator[Tensor]:
    """Yields the rows of ``x`` in float64, in blocks within 32 MB; one empty block if none."""
    if len(x) == 0:
        yield x.to(torch.float64)
    for block in blocks(*x.shape):
        yield x[block].to(torch.float64)


def _check(x: Tensor, name: str) -> None:
    if x.ndim != 2 or x.shape[1] == 0:
        raise UserError(
            f"The features of {name} must have shape (n, d) with d at least 1. "
            f"Got {tuple(x.shape)}; flatten samples or use an extractor."
        )
    if not x.is_floating_point():
        raise UserError(f"{name} must be floating point. Got {x.dtype}; call .float() first.")
    bad = sum(_bad(x[block]) for block in blocks(*x.shape))
    if bad:
        raise UserError(
            f"{bad} of the {len(x)} feature vectors of {name} hold NaN, infinity or numbers "
            f"beyond {_LARGEST:.1e}; leave those samples out or report the model as diverged."
        )


def _bad(x: Tensor) -> int:
    """Returns how many rows hold what is no number or too large a one."""
    low, high = torch.aminmax(x.detach())  # much faster than to look at each number; NaN stays
    if -low.double() <= _LARGEST and high.double() <= _LARGEST:
        return 0
    return int((~(x.double().abs() <= _LARGEST)).any(1).sum())


def too_few(real: Tensor, fake: Tensor, least: int) -> str | None:
    """Returns why two sets are too small to be compared, or None if each has ``least`` samples.

    Example:
        >>> too_few(torch.zeros(9, 2), torch.zeros(1, 2), 2)
        'needs at least 2 real and 2 fake samples, got 9 and 1'
    """
    n, m = len(real), len(fake)
    if min(n, m) >= least:
        return None
    return f"needs at least {least} real and {least} fake samples, got {n} and {m}"


def about_zero(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both sets moved by one vector so that their union has mean zero.

    For distances, which do not see the move but lose digits to a large mean.
    """
    centre = (x.sum(0) + y.sum(0)) / (len(x) + len(y))
    return x - centre, y - centre


def about_a_sample(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both sets moved by one vector of which each feature is one of ``x``: its median.

    For clusters, which rounding may tip over: a mean far from zero is rounded, a number of the set
    is not, so that sets moved by what is exact come out the same to the last bit.
    """
    if len(x) == 0:
        return x, y
    # Of some rows, as a centre need not be exact; an outlier must not be it.
    centre = x[:: max(1, len(x) // _FOR_CENTRE)].median(0).values
    return x - centre, y - centre


def centre_and_scale(x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """Returns the mean of the union of both sets and the root mean square about it.

    The mean has shape ``(d,)``; the scale is 1 where all samples are equal.

    Example:
        >>> centre_and_scale(torch.zeros(3, 2), torch.full((3, 2), 2.0))
        (tensor([1., 1.], dtype=torch.float64), 1.0)
    """
    n = len(x) + len(y)
    centre = sum((b.sum(0) / n for z in (x, y) for b in _few_rows(z)), torch.zeros(()).to(x))
    square = sum(
        float(b.sub_(centre).flatten().dot(b.flatten())) for z in (x, y) for b in _few_rows(z)
    )
    return centre, math.sqrt(square / (n * x.shape[1])) or 1.0


@final
@dataclass(frozen=True, slots=True, eq=False)
class Standard:
    """Moves and scales features, and narrows them if wanted.

    Attributes:
        centre: What becomes zero, shape ``(d,)``.
        scale: What becomes one.
        dtype: What the features are to be afterwards; on the way there they are in float64.
    """

    centre: Tensor
    scale: float
    dtype: torch.dtype

    def of(self, x: Tensor, order: Tensor) -> Tensor:
        """Returns the rows ``order`` of ``x``, shape ``(n, d)``, in blocks."""
        out, start = x.new_empty(x.shape, dtype=self.dtype), 0
        for block in _few_rows(x, order):
            out[start : start + len(block)] = block.sub_(self.centre).mul_(1 / self.scale)
            start += len(block)
        return out


def _few_rows(x: Tensor, order: Tensor | None = None) -> Iterator[Tensor]:
    """Yields the rows of ``x`` in float64, in blocks that stay in a processor's cache.

    Copied, each into the same memory as the one before.
    """
    step = max(1, _CACHED // x.shape[1])
    room = x.new_empty(min(step, len(x)), x.shape[1], dtype=torch.float64)
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        taken = x[part] if order is None else x.index_select(0, order[part])
        yield room[: len(taken)].copy_(taken)
