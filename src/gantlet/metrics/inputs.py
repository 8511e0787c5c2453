"""What every metric asks of its two sets of features."""

import torch
from torch import Tensor

from gantlet.core.errors import UserError

# The largest float32; squares of it are still well inside float64.
_LARGEST = 3.4028235e38


def pair(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both sets of features in float64, without gradient, having checked them.

    Sums of squares and differences of large numbers need double precision: in float32 the
    Frechet distance is wrong in its third digit, and a feature of mean 1e4 drowns its own spread.

    Raises:
        UserError: If a set is not a matrix of floating point numbers in the range of float32, or
            if the sets differ in width or device.
    """
    for name, x in (("real", real), ("fake", fake)):
        _check(x, name)
    if real.shape[1] != fake.shape[1]:
        raise UserError(
            "real and fake must have equally many features. "
            f"Got {real.shape[1]} and {fake.shape[1]}; use one extractor for both."
        )
    if real.device != fake.device:
        raise UserError(
            f"real and fake must lie on one device. Got {real.device} and {fake.device}."
        )
    return real.detach().to(torch.float64), fake.detach().to(torch.float64)


def _check(x: Tensor, name: str) -> None:
    if x.ndim != 2 or x.shape[1] == 0:
        raise UserError(
            f"The features of {name} must have shape (n, d) with d at least 1. "
            f"Got {tuple(x.shape)}; flatten samples or use an extractor."
        )
    if not x.is_floating_point():
        raise UserError(f"{name} must be floating point. Got {x.dtype}; call .float() first.")
    bad = int((~(x.double().abs() <= _LARGEST)).any(1).sum())
    if bad:
        raise UserError(
            f"{bad} of the {len(x)} feature vectors of {name} hold NaN, infinity or numbers "
            f"beyond {_LARGEST:.1e}; leave those samples out or report the model as diverged."
        )


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
