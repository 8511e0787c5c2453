"""Validation of the inputs of metrics: feature sets, groups, duplicates."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.metric import Groups
from gantlet.stats.moments import blocks


def equal_rows(*sets: Tensor) -> tuple[Tensor, ...]:
    """Returns numbers from 0 for the rows of the sets, one for all rows that are equal.

    Args:
        sets: Shapes ``(n, d)``, ``(m, d)``, ...

    Returns:
        Of each set, int64, shapes ``(n,)``, ``(m,)``, ...

    Example:
        >>> equal_rows(torch.tensor([[1.0], [2.0], [1.0]]), torch.tensor([[2.0]]))
        (tensor([0, 1, 0]), tensor([1]))
    """
    number = torch.unique(torch.cat(sets), dim=0, return_inverse=True)[1]
    return tuple(number.split([len(x) for x in sets]))


def without_duplicates(train: Tensor, real: Tensor) -> Tensor:
    """Returns the rows of ``train`` once each, unless repeats lie in the nature of the data.

    They do where new samples repeat those of the training, too, at least half as often as these
    repeat one another.

    Args:
        train: Shape ``(t, d)``.
        real: Samples of the same distribution that were not trained on, shape ``(n, d)``.
    """
    if len(train) == 0 or len(real) == 0:
        return train
    of_train, of_real = equal_rows(train, real)
    count = of_train.bincount(minlength=int(of_real.max()) + 1)
    kinds = int((count > 0).sum())
    repeated, met = 1 - kinds / len(train), float((count[of_real] > 0).double().mean())
    if kinds == len(train) or met >= repeated / 2:
        return train
    ordered, order = of_train.sort(stable=True)
    first = torch.cat([ordered.new_ones(1, dtype=torch.bool), ordered[1:] != ordered[:-1]])
    return train[order[first].sort().values]


IGNORED = "no interval: this metric assumes independent samples, here they are grouped"
"""Why a metric that knows nothing of groups has no interval where there are some."""


def checked_groups(groups: Groups | None, n: int, m: int) -> Groups | None:
    """Returns the groups numbered from 0 without gaps, or None where no two samples share one.

    Args:
        groups: Which of the samples belong together.
        n: How many real samples there are.
        m: How many fake samples there are.

    Raises:
        UserError: If there is not one whole number for each sample.
    """
    if groups is None:
        return None
    found = Groups(_dense(groups.real, n, "real"), _dense(groups.fake, m, "fake"))
    return None if found.real is None and found.fake is None else found


def too_few_groups(groups: Groups | None, least: int) -> str | None:
    """Returns why there are too few groups, or None if each set has ``least``.

    Args:
        groups: As `checked_groups` returns them.
        least: How many of each are needed.
    """
    if groups is None:
        return None
    for name, labels in (("real", groups.real), ("fake", groups.fake)):
        if labels is not None and (count := int(labels.max()) + 1) < least:
            return f"needs at least {least} groups of {name} samples, got {count}"
    return None


def independent_count(labels: Tensor | None, n: int) -> int:
    """Returns the number of independent draws among ``n`` samples: groups, if there are some."""
    return n if labels is None else int(labels.max()) + 1


def without_interval(found: Estimate, reason: str = IGNORED) -> Estimate:
    """Returns the same value without an interval, and says why in its method."""
    if found.low is None:
        return found
    return replace(found, low=None, high=None, method=f"{found.method}; {reason}".lstrip("; "))


def value_alone(found: Estimate, reason: str) -> Estimate:
    """Returns the value without interval, p-value or what else needs independent samples."""
    if found.value is None:
        return found
    return replace(found, low=None, high=None, method=reason, also={})


def _dense(labels: Tensor | None, n: int, name: str) -> Tensor | None:
    if labels is None:
        return None
    if labels.shape != (n,) or labels.is_floating_point() or labels.is_complex():
        raise UserError(
            f"The groups of {name} must be one whole number for each of its {n} samples. "
            f"Got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    known, dense = torch.unique(labels, return_inverse=True)
    return dense if len(known) < n else None


# The largest float32; squares of it are still well inside float64.
_LARGEST = 3.4028235e38
# Numbers that stay in a processor's cache: 1 MB in float64.
_CACHED = 2**17
# Rows from which the centre is computed.
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


def checked_with_train(real: Tensor, fake: Tensor, train: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns all three sets as ``checked`` does.

    Args:
        real: Features of held-out samples, shape ``(n, d)``.
        fake: Features of the model, shape ``(m, d)``.
        train: Features of the training, shape ``(t, d)``.

    Raises:
        UserError: As ``pair`` does.
    """
    x, y = checked(real, fake)
    return x, y, checked(train, y, names=("train", "fake"))[0]


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
    """Returns the number of rows that hold NaN, infinity or too large a number."""
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


def too_few_of_three(real: Tensor, fake: Tensor, train: Tensor, least: int) -> str | None:
    """Returns why three sets are too small, or None if each has ``least`` samples."""
    sizes = [len(x) for x in (real, fake, train)]
    if min(sizes) >= least:
        return None
    return (
        f"needs at least {least} real, fake and training samples, "
        f"got {sizes[0]}, {sizes[1]} and {sizes[2]}"
    )


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
        """Returns the rows ``order`` of ``x``, shape ``(len(order), d)``, in blocks."""
        out, start = x.new_empty(len(order), x.shape[1], dtype=self.dtype), 0
        for block in _few_rows(x, order):
            out[start : start + len(block)] = block.sub_(self.centre).mul_(1 / self.scale)
            start += len(block)
        return out


def _few_rows(x: Tensor, order: Tensor | None = None) -> Iterator[Tensor]:
    """Yields the rows of ``x`` in float64, in blocks that stay in a processor's cache.

    Copied, each into the same memory as the one before.
    """
    step, n = max(1, _CACHED // x.shape[1]), len(x) if order is None else len(order)
    room = x.new_empty(min(step, n), x.shape[1], dtype=torch.float64)
    for start in range(0, n, step):
        part = slice(start, start + step)
        taken = x[part] if order is None else x.index_select(0, order[part])
        yield room[: len(taken)].copy_(taken)
