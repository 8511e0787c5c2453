"""Mean and spread of features that may be mapped from disk."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.moments import Moments
from gantlet.metrics.inputs import rows


@dataclass(frozen=True, slots=True, eq=False)
@final
class Margins:
    """Mean and variance of each feature alone.

    Attributes:
        n: How many samples.
        mean: Shape ``(d,)``.
        variance: With divisor ``n - 1``, shape ``(d,)``.
    """

    n: int
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Margins":
        """Goes over ``x``, shape ``(n, d)``, twice, in blocks."""
        n = len(x)
        mean = torch.stack([block.sum(0) / n for block in rows(x)]).sum(0)
        parts = [(block - mean).square().sum(0) / (n - 1) for block in rows(x)]
        return cls(n, mean, torch.stack(parts).sum(0))


class Spread(ABC):
    """Mean and covariance ``S`` of features.

    Attributes:
        n: How many samples.
        d: How many features.
        mean: Shape ``(d,)``.
        trace: That of ``S``, a scalar.
        root: ``L`` with ``L L^T = S``, shape ``(d, r)``, ``r`` at most ``n`` and ``d``.
    """

    n: int
    d: int
    mean: Tensor
    trace: Tensor

    @property
    @abstractmethod
    def root(self) -> Tensor:
        """``L``."""

    @abstractmethod
    def times(self, a: Tensor) -> Tensor:
        """Returns ``S a``, shape ``(d, k)``."""

    @abstractmethod
    def congruent(self, other: "Spread") -> Tensor:
        """Returns ``L^T S L`` with the root of ``other``; at and below the diagonal only."""


@final
class Few(Spread):
    """Of no more samples than features: kept are the samples, less their mean."""

    def __init__(self, x: Tensor) -> None:
        """Takes the features ``x``, shape ``(n, d)``."""
        self.n, self.d = x.shape
        wide = x.to(torch.float64)
        self.mean = wide.mean(0)
        self._root = (wide - self.mean).T / math.sqrt(self.n - 1)
        self.trace = self._root.square().sum()

    @property
    @override
    def root(self) -> Tensor:
        return self._root

    @override
    def times(self, a: Tensor) -> Tensor:
        return self._root @ (self._root.T @ a)

    @override
    def congruent(self, other: Spread) -> Tensor:
        half = self._root.T @ other.root
        return half.T @ half


@final
class Many(Spread):
    """Of more samples than features: kept is the matrix."""

    def __init__(self, moments: Moments) -> None:
        """Takes the moments of two samples or more."""
        self.n, self.d = moments.n, len(moments.mean)
        self.mean, self._matrix = moments.mean, moments.covariance
        self.trace = self._matrix.trace()

    @property
    @override
    def root(self) -> Tensor:
        return self._factor[0]

    @override
    def times(self, a: Tensor) -> Tensor:
        return self._matrix @ a

    @override
    def congruent(self, other: Spread) -> Tensor:
        root = other.root
        if isinstance(other, Many) and other.triangular and root.device.type == "cpu":
            return _sandwich(self._matrix, root)
        return root.T @ self._matrix @ root

    @property
    def triangular(self) -> bool:
        """Whether the root is a lower triangle."""
        return self._factor[1]

    @cached_property
    def _factor(self) -> tuple[Tensor, bool]:
        lower, failed = torch.linalg.cholesky_ex(self._matrix)
        if not failed:
            return lower, True
        variances, axes = eigenvectors(self._matrix)
        return axes * variances.clamp_min(0).sqrt(), False


def spread_of(x: Tensor) -> Spread:
    """Goes over features ``x``, shape ``(n, d)``, once, in blocks if there are many."""
    return Few(x) if len(x) <= x.shape[1] else Many(Moments.of(rows(x)))


def eigenvectors(s: Tensor) -> tuple[Tensor, Tensor]:
    """Returns eigenvalues, ascending, and eigenvectors of what is at and below the diagonal."""
    if s.device.type != "cpu":
        values, axes = torch.linalg.eigh(s)
        return values, axes
    # NumPy's takes two thirds of the time of torch's.
    found = np.linalg.eigh(s.numpy())
    return torch.from_numpy(found.eigenvalues), torch.from_numpy(found.eigenvectors)


def _sandwich(s: Tensor, lower: Tensor) -> Tensor:
    """Returns ``lower^T s lower`` at and below the diagonal, for half the work."""
    from scipy.linalg import get_lapack_funcs

    a, b = s.numpy(), lower.numpy()
    (sygst,) = get_lapack_funcs(("sygst",), (a, b))
    # Fortran sees both transposed, so that the lower triangle is its upper one.
    found, _ = sygst(a.T, b.T, itype=2, lower=0)
    return torch.from_numpy(found.T)
