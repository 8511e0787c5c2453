"""Two normal distributions fitted to features, and what the distance owes to each sample.

The covariances add ``tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)`` to the Frechet distance, which is the
squared Bures distance. Leaving out one sample changes ``S1`` by a matrix of rank one, so that
the distance without any one sample follows from one eigenvalue problem.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.metrics.spread import Margins, Spread, eigenvectors

# Roots below this part of the largest are rounding.
_FLOOR = 1e-7
# If rounding may have changed the roots by this part of both traces, they are computed again.
_DOUBT = 1e-7
# Steps of log s in the integrals below; their error falls as exp(-pi^2 / step).
_STEP = 0.5


class Coupling(ABC):
    """What the covariances add to the distance of two sets; side 0 is the first set, 1 the other.

    ``u`` are always samples less the mean of their set, float64, shape ``(b, d)``.
    """

    @property
    @abstractmethod
    def value(self) -> float:
        """What the covariances add to the distance."""

    @abstractmethod
    def without(self, side: int, u: Tensor) -> Tensor:
        """Returns the value when each of ``u`` in turn is left out of its set, shape ``(b,)``."""

    @abstractmethod
    def whitened(self, side: int, u: Tensor) -> Tensor:
        """Returns ``u`` in axes in which its covariance is the identity, shape ``(b, r)``."""

    @abstractmethod
    def curvature(self, y: Tensor, z: Tensor) -> Tensor:
        """Returns how each pair of whitened samples moves the value together, shape ``(b,)``.

        With ``e(z) = z z^T - I``, it is ``sum_ij h_ij e_ij(y) e_ij(z)``; half this product of the
        difference of the errors of both covariances with itself is the value's change.
        """

    @property
    @abstractmethod
    def left_over(self) -> float:
        """How far a value less its bias by leaving out each sample lies too low on average.

        For normal samples, to second order in one over their number.
        """


@final
class NoCovariance(Coupling):
    """The covariances add nothing."""

    @property
    @override
    def value(self) -> float:
        return 0.0

    @override
    def without(self, side: int, u: Tensor) -> Tensor:
        return u.new_zeros(len(u))

    @override
    def whitened(self, side: int, u: Tensor) -> Tensor:
        return u[:, :0]

    @override
    def curvature(self, y: Tensor, z: Tensor) -> Tensor:
        return y.new_zeros(len(y))

    @property
    @override
    def left_over(self) -> float:
        return 0.0


@final
@dataclass(frozen=True, slots=True, eq=False)
class Diagonal(Coupling):
    """Variances only: ``sum_k (s_k - t_k)^2`` of the standard deviations ``s`` and ``t``."""

    sides: tuple[Margins, Margins]

    @property
    @override
    def value(self) -> float:
        a, b = (side.variance.sqrt() for side in self.sides)
        return float((a - b).square().sum())

    @override
    def without(self, side: int, u: Tensor) -> Tensor:
        n, variance = self.sides[side].n, self.sides[side].variance
        kept = _kept(n) * (variance - _weight(n) * u**2).clamp_min(0)
        return (kept.sqrt() - self.sides[1 - side].variance.sqrt()).square().sum(1)

    @override
    def whitened(self, side: int, u: Tensor) -> Tensor:
        deviation = self.sides[side].variance.sqrt()
        return u / torch.where(deviation > 0, deviation, torch.ones_like(deviation))

    @override
    def curvature(self, y: Tensor, z: Tensor) -> Tensor:
        a, b = (side.variance.sqrt() for side in self.sides)
        return ((y**2 - 1) * (z**2 - 1)) @ (a * b / 2)

    @property
    @override
    def left_over(self) -> float:
        a, b = (side.variance.sqrt() for side in self.sides)
        # Each feature alone, where E s = (1 - 1 / (4 k) + 1 / (32 k^2)) sigma, k = n - 1.
        n, m = (s.n for s in self.sides)
        return float(a @ b) * _left_over(n, m, 1 / 2, -1 / 16, -1 / 8)


@final
class Full(Coupling):
    """Whole covariances.

    In the axes in which ``S1 S2`` is diagonal and with both sets whitened, a sample is the vector
    ``z``. The roots ``r`` of the eigenvalues of ``S1 S2`` then say everything: leaving out a
    sample of ``n`` multiplies the product by a matrix of rank one, and
    ``pi tr A^(1/2) = int_0^inf log det(I + A / s^2) ds`` turns that into

        ``int log(1 - n / (n-1)^2 sum_k z_k^2 r_k^2 / (s^2 + r_k^2)) ds``.
    """

    def __init__(self, a: Spread, b: Spread) -> None:
        """Solves the eigenvalue problem."""
        self._sides = (a, b)
        self._roots, *self._maps = _axes(a, b)
        self._nodes, self._resolvent = _nodes(self._roots)

    @property
    @override
    def value(self) -> float:
        a, b = self._sides
        return float(a.trace + b.trace - 2 * self._roots.sum())

    @override
    def without(self, side: int, u: Tensor) -> Tensor:
        n, trace, other = self._sides[side].n, self._sides[side].trace, self._sides[1 - side]
        z2, weight = self.whitened(side, u) ** 2, _weight(n)
        # The part of first order is known; only the small rest needs the integral.
        q = weight * z2 @ self._resolvent
        rest = (torch.log1p(-q.clamp_max(1 - 1e-12)) + q) @ self._nodes / math.pi
        root = self._roots.sum() - weight / 2 * (z2 @ self._roots) + rest
        kept = _kept(n)
        without: Tensor = kept * (trace - weight * (u**2).sum(1)) - 2 * math.sqrt(kept) * root
        return without + other.trace

    @override
    def whitened(self, side: int, u: Tensor) -> Tensor:
        return u @ self._maps[side]

    @override
    def curvature(self, y: Tensor, z: Tensor) -> Tensor:
        # h_ij = r_i r_j / (r_i + r_j), as an integral of products.
        pairs = ((y * z) @ self._resolvent) ** 2 @ self._nodes * (2 / math.pi)
        return pairs - (y**2 + z**2 - 1) @ (self._roots / 2)

    @property
    @override
    def left_over(self) -> float:
        if len(self._roots) == 0:
            return 0.0
        terms = expansion(self._resolvent) @ self._nodes * (-2 / math.pi)
        first, second, both = terms.tolist()
        return _left_over(self._sides[0].n, self._sides[1].n, first, second, both)


def bures(a: Spread, b: Spread) -> float:
    """Returns ``tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)``.

    With ``S1 = K K^T`` and ``S2 = L L^T``, the last trace is the sum of the singular values of
    ``K^T L``, or of the roots of the eigenvalues of ``L^T S1 L``, which cost half as much and hold
    half as many digits.
    """
    big, small = _by_rank(a, b)
    values = torch.linalg.eigvalsh(big.congruent(small))
    roots = values.clamp_min(0).sqrt()
    if _doubtful(values, a, b):
        roots = torch.linalg.svdvals(big.root.T @ small.root)
    return float(a.trace + b.trace - 2 * roots.sum())


def _axes(a: Spread, b: Spread) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the roots ``r`` and what turns samples of ``a``, ``b`` into ``z``, ``(d, r)``."""
    big, small = _by_rank(a, b)
    values, axes = eigenvectors(big.congruent(small))
    if _doubtful(values, a, b):
        left, roots, right = torch.linalg.svd(big.root.T @ small.root, full_matrices=False)
        kept = roots > 1e-13 * roots.max()
        roots = roots[kept]
        of_big = small.root @ right.T[:, kept] / roots
        of_small = big.root @ left[:, kept] / roots
    else:
        kept = values > _FLOOR**2 * values.max()
        roots = values[kept].sqrt()
        of_big = small.root @ axes[:, kept] / roots
        of_small = big.times(of_big) / roots
    return (roots, of_big, of_small) if big is a else (roots, of_small, of_big)


def _by_rank(a: Spread, b: Spread) -> tuple[Spread, Spread]:
    """Returns the two, that with the wider root first."""
    return (a, b) if min(a.n, a.d) >= min(b.n, b.d) else (b, a)


def _doubtful(values: Tensor, a: Spread, b: Spread) -> bool:
    """Returns whether rounding may have changed the roots of ``values`` noticeably."""
    rounding = 1e-15 * values.max().clamp_min(0)
    change = torch.minimum(rounding / values.clamp_min(0).sqrt(), rounding.sqrt()).nansum()
    return bool(change > _DOUBT * (a.trace + b.trace))


def _nodes(roots: Tensor) -> tuple[Tensor, Tensor]:
    """Returns nodes with their weights, ``(k,)``, and ``r^2 / (s^2 + r^2)`` there, ``(r, k)``.

    For integrals over ``s`` from 0 to infinity by the trapezoidal rule in ``log s``. In it the
    integrands grow as ``s`` below the roots and fall as ``s^-3`` above.
    """
    if len(roots) == 0:
        return roots, roots.new_zeros(0, 0)
    low, high = math.log(float(roots.min())) - 14, math.log(float(roots.max())) + 5
    s = torch.arange(low, high, _STEP, dtype=roots.dtype, device=roots.device).exp()
    squares = roots[:, None] ** 2
    return s * _STEP, squares / (s**2 + squares)


def expansion(q: Tensor) -> Tensor:
    """Returns the terms of ``E log det(I + A / s^2)`` in one over the numbers of samples.

    ``A`` is the product of the covariances of normal samples. With ``k`` and ``l`` one less than
    the numbers of samples of both, the logarithm lies on average
    ``f (1/k + 1/l) + g (1/k^2 + 1/l^2) + h / (k l)`` above that of the true covariances, and more
    of third order. Found from the moments of Wishart matrices, by pairing their normal numbers.

    Args:
        q: The eigenvalues of ``A (s^2 + A)^(-1)``, shape ``(r, nodes)``.

    Returns:
        ``f``, ``g`` and ``h`` at each node, shape ``(3, nodes)``.
    """
    t1, t2, t3, t4 = ((q**power).sum(0) for power in range(1, 5))
    first = -(t1**2 + t2) / 2
    # A third of the third moment of the error of one covariance, less a quarter of the fourth.
    second = (t1**3 + 3 * t1 * t2 + 4 * t3) / 3
    second -= (2 * t1**2 * t2 + t2**2 + 4 * t1 * t3 + 5 * t4) / 4
    # How the error of the other covariance moves t1 and t2, and the spread of t1.
    of_t1 = -t1 * (t1 - t2) - (t2 - t3)
    of_t2 = of_t1 + (2 * t1 - t2) * (t1 - t2) - 2 * (t1 - 1) * (t2 - t3) - 3 * (t3 - t4)
    both = -(2 * t1 * of_t1 + of_t2) / 2 - (t2 - 2 * t3 + t4)
    return torch.stack([first, second, both])


def _left_over(n: int, m: int, first: float, second: float, both: float) -> float:
    """Returns how far leaving out each sample takes off too much.

    Of ``f / (n-1)`` it takes off ``1 / ((n-1) (n-2))`` of ``f`` too much, of ``g / (n-1)^2`` about
    twice what there is, of ``h / ((n-1) (m-1))`` as well.
    """
    alone = sum(1 / ((k - 1) * (k - 2)) for k in (n, m))
    return (first + second) * alone + both / ((n - 1) * (m - 1))


def _weight(n: int) -> float:
    """How much of ``u u^T`` leaves the covariance with a sample, before it is scaled."""
    return n / (n - 1) ** 2


def _kept(n: int) -> float:
    """How the divisor of the covariance scales it when a sample leaves."""
    return (n - 1) / (n - 2)
