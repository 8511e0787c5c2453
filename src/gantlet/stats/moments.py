"""Mean, covariance, leading directions; rows in blocks."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import final

import torch
from torch import Tensor

BLOCK_NUMBERS = 2**22
"""Numbers in one block: 32 MB in float64."""


def blocks(n: int, width: int) -> Iterator[slice]:
    """Yields slices that cover ``range(n)``; a block of rows of ``width`` stays within 32 MB.

    Example:
        >>> list(blocks(3, 2**21))
        [slice(0, 2, None), slice(2, 3, None)]
    """
    step = max(1, BLOCK_NUMBERS // max(width, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Returns the squared Euclidean distance of each row of ``x`` to each of ``y``.

    Shape ``(len(x), len(y))``; never negative. Twins come out at about 1e-16 of their squared
    length rather than at 0.
    """
    lengths = (x**2).sum(1)[:, None] + (y**2).sum(1)
    return torch.addmm(lengths, x, y.T, alpha=-2).clamp_min_(0)


def products(a: Tensor, b: Tensor) -> Tensor:
    """Returns ``a b^T``; on a CPU by NumPy, which needs half the work where ``a`` is ``b``."""
    if a.device.type != "cpu":
        return a @ b.T
    return torch.from_numpy(a.numpy() @ b.numpy().T)


# Directions more than are asked for, and iterations: they make the last ones accurate.
_EXTRA = 32
_ITERATIONS = 5
# So few samples, and numbers of them, are held, since their products are cheaper than any search.
_FEW, _HELD = 1024, 2**25


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalAxes:
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


def exact(rows: Iterable[Tensor]) -> PrincipalAxes:
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


def leading(
    rows: Callable[[], Iterable[Tensor]], k: int, *, rng: torch.Generator
) -> PrincipalAxes:
    """Returns the ``k`` leading directions without ever making the covariance matrix.

    At most 1,024 samples of more components are held, if they are at most 34 million numbers: the
    directions are those of the ``(n, n)`` matrix of their products. Others are searched for.

    Source: Halko, Martinsson and Tropp, 2011, https://arxiv.org/abs/0909.4061, Algorithm 4.4;
    Sirovich, 1987, https://doi.org/10.1090/qam/910462 (part I, the method of snapshots), for few
    samples.

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
    return PrincipalAxes(
        mean=mean, values=found.values[:k], vectors=found.vectors[:, :k], total=total
    )


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


def _spectrum(mean: Tensor, values: Tensor, vectors: Tensor, total: float) -> PrincipalAxes:
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return PrincipalAxes(mean=mean, values=values, vectors=vectors * largest.sign(), total=total)


@dataclass(frozen=True, slots=True, eq=False)
@final
class Moments:
    """How many rows there were, their mean, and the sum of squares and products about it.

    All in float64: in float32 a feature of mean 1e4 drowns its own spread.

    Attributes:
        n: How many rows.
        mean: Their mean, shape ``(d,)``.
        scatter: The sum of ``(x - mean) (x - mean)^T`` over the rows, shape ``(d, d)``.
    """

    n: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, blocks: Iterable[Tensor]) -> "Moments":
        """Returns the moments of all rows of the blocks, float64, shapes ``(b, d)``; one pass.

        Sums are taken about the mean of the first block, which keeps the digits that a large mean
        would cost, and moved to the mean of all at the end.

        Raises:
            ValueError: If there is no block.

        Example:
            >>> import torch
            >>> rows = torch.tensor([[0.0, 1.0], [2.0, 1.0]], dtype=torch.float64)
            >>> Moments.of([rows[:1], rows[1:]]).covariance
            tensor([[2., 0.],
                    [0., 0.]], dtype=torch.float64)
        """
        left = iter(blocks)
        first = next(left, None)
        if first is None:
            raise ValueError("Moments need at least one block of rows.")
        n, d = 0, first.shape[1]
        origin = first.sum(0) / max(len(first), 1)
        total, scatter = first.new_zeros(d), first.new_zeros(d, d)
        for x in chain((first,), left):
            moved = x - origin
            n, total = n + len(x), total + moved.sum(0)
            add_gram(scatter, moved)
        shift = total / max(n, 1)
        return cls(n, origin + shift, mirrored(scatter.addr_(shift, shift, alpha=-n)))

    def __add__(self, other: "Moments") -> "Moments":
        """Returns the moments of the rows of both, as if they had been taken together.

        Source: Chan, Golub and LeVeque, 1983, https://doi.org/10.1080/00031305.1983.10483115.
        """
        n = self.n + other.n
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.n / max(n, 1))
        scatter = self.scatter + other.scatter
        scatter.addr_(apart, apart, alpha=self.n * other.n / max(n, 1))
        return Moments(n, mean, scatter)

    @property
    def covariance(self) -> Tensor:
        """The covariance, with divisor ``n - 1``, shape ``(d, d)``; needs two rows."""
        return self.scatter / (self.n - 1)


def add_gram(gram: Tensor, x: Tensor) -> None:
    """Adds ``x^T x`` to ``gram``, on a CPU only at and above its diagonal, for half the work.

    Args:
        gram: Float64, shape ``(d, d)``, contiguous.
        x: Float64, shape ``(b, d)``, contiguous.
    """
    if x.device.type != "cpu" or len(x) == 0:
        gram.addmm_(x.T, x)
        return
    from scipy.linalg import get_blas_funcs

    a, c = x.numpy(), gram.numpy()
    (syrk,) = get_blas_funcs(("syrk",), (a, c))
    # Fortran sees both transposed: the part below its diagonal is the one above ours.
    syrk(1.0, a.T, 1.0, c.T, lower=1, overwrite_c=1)


def mirrored(upper: Tensor) -> Tensor:
    """Returns the symmetric matrix that ``upper`` has at and above its diagonal."""
    return upper.triu().add_(upper.triu(1).T)
