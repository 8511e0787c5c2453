"""Mean and covariance of rows that come in blocks, from shards that may be merged."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import final

from torch import Tensor


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
