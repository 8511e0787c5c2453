"""The players of the LGQ GAN: a linear generator and a quadratic critic."""

from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override


@final
class LinearGenerator(nn.Module):
    """``G(z) = A z + b``, or ``A z`` about a mean that is known.

    Args:
        dim: Components of a sample.
        rank: Components of the noise ``z``.
        is_shifted: Whether there is a ``b`` to learn.
    """

    def __init__(self, dim: int, rank: int, *, is_shifted: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.eye(dim, rank, dtype=torch.float64))
        shift = torch.zeros(dim, dtype=torch.float64)
        self.shift = nn.Parameter(shift) if is_shifted else None

    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns samples, shape ``(n, dim)``, from noise of shape ``(n, rank)``."""
        x: Tensor = z @ self.scale.mT
        return x if self.shift is None else x + self.shift

    @property
    def covariance(self) -> Tensor:
        """The covariance of samples, ``A A^T``, where the noise is standard normal."""
        return self.scale @ self.scale.mT


@final
class QuadraticCritic(nn.Module):
    """``D(x) = x^T W x + v^T x + c`` with a symmetric ``W``, or without ``v`` or ``c``.

    ``W`` is held by its coordinates in an orthonormal basis of the symmetric matrices, so that
    gradient descent on them is gradient descent on ``W`` and no coordinate is idle.

    Args:
        dim: Components of a sample.
        is_tilted: Whether there is a ``v`` to learn.
        is_offset: Whether there is a ``c`` to learn; losses of differences of scores need none.
    """

    basis: Tensor

    def __init__(self, dim: int, *, is_tilted: bool = False, is_offset: bool = False) -> None:
        super().__init__()
        self.register_buffer("basis", symmetric_basis(dim))
        self.curve = nn.Parameter(torch.zeros(len(self.basis), dtype=torch.float64))
        tilt = torch.zeros(dim, dtype=torch.float64)
        self.tilt = nn.Parameter(tilt) if is_tilted else None
        self.offset = nn.Parameter(tilt.new_zeros(())) if is_offset else None

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns scores, shape ``(n,)``, of samples of shape ``(n, dim)``."""
        score: Tensor = ((x @ self.matrix) * x).sum(-1)
        if self.tilt is not None:
            score = score + x @ self.tilt
        return score if self.offset is None else score + self.offset

    @property
    def matrix(self) -> Tensor:
        """``W``, shape ``(dim, dim)``."""
        dim = self.basis.shape[-1]
        return (self.curve @ self.basis.flatten(1)).view(dim, dim)

    def mean_score(self, covariance: Tensor, mean: Tensor | None) -> Tensor:
        """Returns the expected score, without ``c``, of samples with these moments, a scalar.

        A mean of None is 0.
        """
        score = (self.matrix * covariance).sum()
        if mean is None:
            return score
        at_mean = (mean @ self.matrix) @ mean
        return score + (at_mean if self.tilt is None else at_mean + self.tilt @ mean)

    def mean_slope(self, covariance: Tensor, mean: Tensor | None) -> Tensor:
        """Returns ``E |grad D|^2`` over samples with these moments, a scalar.

        A mean of None is 0.
        """
        spread = 4 * (self.matrix @ covariance * self.matrix).sum()
        slope = self._slope_at(mean)
        return spread if slope is None else spread + slope.square().sum()

    def _slope_at(self, mean: Tensor | None) -> Tensor | None:
        if mean is None:
            return self.tilt
        slope: Tensor = 2 * self.matrix @ mean
        return slope if self.tilt is None else slope + self.tilt


def symmetric_basis(dim: int) -> Tensor:
    """Returns an orthonormal basis of the symmetric matrices, shape ``(k, dim, dim)``.

    There are ``k = dim (dim + 1) / 2``.

    Example:
        >>> (symmetric_basis(2)[1] ** 2).round(decimals=9).tolist()
        [[0.0, 0.5], [0.5, 0.0]]
    """
    rows, columns = torch.triu_indices(dim, dim)
    each = torch.arange(len(rows))
    basis = torch.zeros(len(rows), dim, dim, dtype=torch.float64)
    height = torch.where(rows == columns, 1.0, 0.5).double().sqrt()
    basis[each, rows, columns] = height
    basis[each, columns, rows] = height
    return basis
