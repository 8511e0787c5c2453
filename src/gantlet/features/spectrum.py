"""The covariance of samples that come in blocks: its mean, variances and directions."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

# Directions more than are asked for, and iterations: they make the last ones accurate.
_EXTRA = 32
_ITERATIONS = 5
# So few samples, and numbers of them, are held, since their products are cheaper than any search.
_FEW, _HELD = 1024, 2**25


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """The mean of samples and the eigenvectors of their covariance, largest variance first.

    Attributes:
        mean: Shape ``(d,)``.
        values: The variance along each direction, shape ``(k,)``.
        vectors: Unit directions as columns, shape ``(d, k)``; the largest number of each is
            positive, so that their signs repeat.
        total: The variance along all ``d`` directions together.
    """

    mean: Tensor
    values: Tensor
    vectors: Tensor
    total: float


def exact(rows: Iterable[Tensor]) -> Spectrum:
    """Returns all directions, from the covariance matrix.

    Args:
        rows: Blocks of samples in float64, each ``(n, d)``, of about zero mean and unit size, so
            that moments about zero lose no digits.
    """
    n, first, second = 0, torch.zeros(()), torch.zeros(())
    for x in rows:
        n += len(x)
        first = x.sum(0) + first.to(x)
        second = x.T @ x + second.to(x)
    mean = first / n
    values, vectors = torch.linalg.eigh((second - n * torch.outer(mean, mean)) / max(n - 1, 1))
    return _spectrum(mean, values, vectors, float(values.clamp(min=0).sum()))


def leading(rows: Callable[[], Iterable[Tensor]], k: int, *, rng: torch.Generator) -> Spectrum:
    """Returns the ``k`` leading directions without ever making the covariance matrix.

    At most 1,024 samples of more components are held, if they are at most 34 million numbers: the
    directions are those of the ``(n, n)`` matrix of their products. Others are searched for.

    Source: Halko, Martinsson and Tropp, 2011, https://arxiv.org/abs/0909.4061, Algorithm 4.4;
    Sirovich, 1987, https://doi.org/10.1090/qam/910462, for few samples.

    Args:
        rows: Called once for each of at most seven passes; blocks as for ``exact``.
        k: How many directions.
        rng: Draws the directions to start from; lives on the CPU.
    """
    n, first, square = 0, torch.zeros(()), 0.0
    for x in rows():
        n += len(x)
        first = x.sum(0) + first.to(x)
        square += float((x**2).sum())
    mean, d = first / n, len(first)
    start = torch.randn(d, min(k + _EXTRA, d), generator=rng, dtype=torch.float64).to(mean)
    if n <= min(_FEW, d) and n * d <= _HELD:
        q = _span_of_few(torch.cat(list(rows())) - mean, start)
    else:
        q = _searched(start, rows, mean)
    values, inner = torch.linalg.eigh(q.T @ _covariance_times(q, rows, mean) / max(n - 1, 1))
    total = (square - n * float((mean**2).sum())) / max(n - 1, 1)
    found = _spectrum(mean, values, q @ inner, total)
    return Spectrum(mean=mean, values=found.values[:k], vectors=found.vectors[:, :k], total=total)


def _span_of_few(x: Tensor, start: Tensor) -> Tensor:
    """Returns as many orthonormal columns as ``start`` has, which span the leading directions.

    Args:
        x: Centred rows. Where they are too few, columns of ``start`` make up the rest.
        start: Any directions, shape ``(d, c)``.
    """
    _, weights = torch.linalg.eigh(x @ x.T)
    own = x.T @ weights[:, -start.shape[1] :]
    found: Tensor = torch.linalg.qr(torch.cat([own, start[:, own.shape[1] :]], 1)).Q
    return found


def _searched(start: Tensor, rows: Callable[[], Iterable[Tensor]], mean: Tensor) -> Tensor:
    """Returns orthonormal columns that nearly span the leading directions."""
    q: Tensor = torch.linalg.qr(start).Q
    for _ in range(_ITERATIONS):
        q = torch.linalg.qr(_covariance_times(q, rows, mean)).Q
    return q


def _covariance_times(q: Tensor, rows: Callable[[], Iterable[Tensor]], mean: Tensor) -> Tensor:
    product = torch.zeros_like(q)
    for x in rows():
        centred = x - mean
        product += centred.T @ (centred @ q)
    return product


def _spectrum(mean: Tensor, values: Tensor, vectors: Tensor, total: float) -> Spectrum:
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return Spectrum(mean=mean, values=values, vectors=vectors * largest.sign(), total=total)
