"""The Frechet distance, bias-corrected and with an interval, and its extrapolation."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Groups, Sees
from gantlet.metrics.checks import checked, checked_groups, rows, too_few, too_few_groups
from gantlet.stats.intervals import Drawn, Variance, around, drawn_evenly, products_of, total
from gantlet.stats.jackknife import (
    ClusteredPaired,
    Detailed,
    Influence,
    detailed,
    influence_by_group,
    spread,
)
from gantlet.stats.moments import Moments

# ----------------------------------------------------------------------------
# Mean and spread of features that may be mapped from disk.
# ----------------------------------------------------------------------------


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


class FeatureMoments(ABC):
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
    def congruent(self, other: "FeatureMoments") -> Tensor:
        """Returns ``L^T S L`` with the root of ``other``; at and below the diagonal only."""


@final
class Few(FeatureMoments):
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
    def congruent(self, other: FeatureMoments) -> Tensor:
        half = self._root.T @ other.root
        return half.T @ half


@final
class Many(FeatureMoments):
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
    def congruent(self, other: FeatureMoments) -> Tensor:
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


def spread_of(x: Tensor) -> FeatureMoments:
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


# ----------------------------------------------------------------------------
# Two normal distributions fitted to features, and what the distance owes to each sample.
#
# The covariances add ``tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)`` to the Frechet distance, which is the
# squared Bures distance. Leaving out one sample changes ``S1`` by a matrix of rank one, so that
# the distance without any one sample follows from one eigenvalue problem.
# ----------------------------------------------------------------------------

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
        """Returns the second derivative along pairs of whitened samples, shape ``(b,)``.

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

    def __init__(self, a: FeatureMoments, b: FeatureMoments) -> None:
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


def bures(a: FeatureMoments, b: FeatureMoments) -> float:
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


def _axes(a: FeatureMoments, b: FeatureMoments) -> tuple[Tensor, Tensor, Tensor]:
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


def _by_rank(a: FeatureMoments, b: FeatureMoments) -> tuple[FeatureMoments, FeatureMoments]:
    """Returns the two, that with the wider root first."""
    return (a, b) if min(a.n, a.d) >= min(b.n, b.d) else (b, a)


def _doubtful(values: Tensor, a: FeatureMoments, b: FeatureMoments) -> bool:
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
    """Returns the overcorrection of leaving out each sample.

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


# ----------------------------------------------------------------------------
# The Frechet distance of features, freed of its bias and with an interval.
# ----------------------------------------------------------------------------

Covariance = Literal["full", "diagonal", "none"]

_METHOD = (
    "plug-in {:.4g}, jackknife bias-corrected (closed form, second order under normality); "
    "interval by inverting a test, with first- and second-order influence functions and a "
    "skewness correction"
)
_CAVEAT = (
    "; with fewer than four samples per feature some bias remains: about 0.1 standard errors "
    "for normal features, 2 or more (upwards) with heavier tails"
)
_BY_GROUPS = "; {} real and {} fake groups"
_BIASED = (
    "plug-in {:.4g}, jackknife bias-corrected; no interval: {} "
    "samples of {} features leave part of the bias unknown"
)
# From how many samples of each set the part of second order is estimated, and its eigenvalues.
_PAIRS, _SOME = 2048, 64
# Of so many samples of one group, at most, the pairs are looked at; and how many at once.
_OF_GROUP, _AT_ONCE = 8, 2**21
# Pairs of one group, at most, that estimate the remaining bias.
_SAME = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Frechet(ClusteredPaired):
    """The Frechet distance between normal distributions fitted to the features.

    It is ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``. Computed as it stands, it is too high by
    an amount that grows with ``d^2 / n`` and is often many times the distance itself; the value
    here is corrected by leaving out one sample at a time, and so may be negative. The method
    states the plug-in value. It may be called FID only on the features of Inception.

    Source: Dowson and Landau, 1982, https://doi.org/10.1016/0047-259X(82)90077-X; on features,
    Heusel et al., 2017, https://arxiv.org/abs/1706.08500.

    Differs from the paper: the bias is removed; the trace comes from the eigenvalues of a
    symmetric matrix in float64 instead of a matrix root.

    Attributes:
        covariance: ``full``; ``diagonal``, of the variances of single features only, which needs
            far fewer samples and does not see correlations; or ``none``, the squared distance of
            the means.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = False

    covariance: Covariance = "full"

    @override
    def detail(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Detailed:
        x, y = checked(real, fake)
        groups = checked_groups(groups, len(x), len(y))
        if reason := too_few(x, y, 3) or too_few_groups(groups, 3):
            missing = Estimate.missing(reason, better=self.better)
            return Detailed(missing, x.new_zeros(len(x)), Variance(0.0))
        made = FittedNormals(x, y, self.covariance, groups).detail(rng)
        estimate = made.estimate.named(unit=self.unit, better=self.better)
        return replace(made, estimate=estimate)


def between(a: FeatureMoments, b: FeatureMoments) -> float:
    """Returns the plain Frechet distance of two sets of which mean and covariance are known."""
    return float((a.mean - b.mean).square().sum()) + bures(a, b)


@final
class FittedNormals:
    """Normal distributions fitted to two sets.

    Attributes:
        plain: Their distance, biased upwards.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        covariance: Covariance = "full",
        groups: Groups | None = None,
    ) -> None:
        """Takes features, shapes ``(n, d)`` and ``(m, d)``; solves one eigenvalue problem."""
        self._sets = (x, y)
        self._groups = (None, None) if groups is None else (groups.real, groups.fake)
        self._full = covariance == "full"
        fit = spread_of if self._full else Margins.of
        self._fits = a, b = fit(x), fit(y)
        self._coupling = _coupling(a, b, covariance)
        self._shift = a.mean - b.mean
        self.plain = float(self._shift @ self._shift) + self._coupling.value

    def detail(self, rng: torch.Generator) -> Detailed:
        """Returns the distance less its bias, with its interval."""
        units, d = [self._units(side) for side in (0, 1)], self._sets[0].shape[1]
        n = min(units)
        each = [self.influences(side) for side in (0, 1)]
        value = self.plain + sum(float(i.mean()) for i in each)
        influences = [influence_by_group(i, g) for i, g in zip(each, self._groups, strict=True)]
        if self._full and n <= d + 1:
            method = _BIASED.format(self.plain, n, d)
            alone = Estimate(value=value, n=n, method=method).beside(plain=self.plain)
            return Detailed(alone, influences[0], Variance(0.0))
        value += self._coupling.left_over - sum(self._left_by_groups(s, rng) for s in (0, 1))
        method = _METHOD.format(self.plain) + _CAVEAT * (self._full and n < 4 * d)
        (a, i), (b, j) = (self._some(side, rng) for side in (0, 1))
        blocks = (self._sums(a, a), self._sums(b, b), self._sums(a, b))
        if self._groups == (None, None):
            twice = self.second_order(rng)
        else:
            twice = self._second_by_groups(*blocks)
            method += _BY_GROUPS.format(*units)
        centred = [each - each.mean() for each in influences]
        adds = (centred[0][i.places], centred[1][j.places])
        bent = products_of((units[0], units[1]), (i, j), blocks, adds)
        real, fake = (Influence(i, t) for i, t in zip(influences, twice, strict=True))
        made = detailed(value, real, fake, bent, method=method)
        return replace(made, estimate=made.estimate.beside(plain=self.plain))

    def corrected(self) -> float:
        """Returns the value of ``detail`` alone, of samples none of which belong together."""
        x, y = self._sets
        value = self.plain + sum(float(self.influences(side).mean()) for side in (0, 1))
        is_biased = self._full and min(len(x), len(y)) <= x.shape[1] + 1
        return value if is_biased else value + self._coupling.left_over

    def _units(self, side: int) -> int:
        """Returns the number of samples or groups of a set."""
        group = self._groups[side]
        return len(self._sets[side]) if group is None else int(group.max()) + 1

    def influences(self, side: int) -> Tensor:
        """Returns ``n - 1`` times what leaving out each sample takes off the plain distance."""
        n = len(self._sets[side])
        shift = self._shift if side == 0 else -self._shift
        parts: list[Tensor] = []
        for block in rows(self._sets[side]):
            u = block - self._fits[side].mean
            means = (shift - u / (n - 1)).square().sum(1)
            without = means + self._coupling.without(side, u)
            parts.append((self.plain - without) * (n - 1))
        return torch.cat(parts)

    def second_order(self, rng: torch.Generator) -> tuple[float, float]:
        """Returns for each side the variance that comes from what pairs of samples add.

        What a sample of one side adds with one of the other is halved between them.
        ``rng`` draws up to 2048 pairs.
        """
        n, m = (len(x) for x in self._sets)
        a, b = (self._drawn(side, rng) for side in (0, 1))
        few = min(len(a.u), len(b.u))
        across = 4 / (n * m) * self._together(a.cut(few), b.cut(few))
        of_x, of_y = (
            2 / k**2 * self._together(drawn, drawn.rolled()) + across / 2
            for k, drawn in ((n, a), (m, b))
        )
        return of_x, of_y

    def _second_by_groups(self, xx: Tensor, yy: Tensor, xy: Tensor) -> tuple[float, float]:
        """Returns the value of ``second_order`` from the sums over pairs of groups."""
        across = float(xy.square().mean()) * 4 / (self._units(0) * self._units(1))
        found: list[float] = []
        for side, within in enumerate((xx, yy)):
            off = float(within.square().sum() - within.diagonal().square().sum())
            pairs = len(within) * (len(within) - 1)
            found.append(2 / self._units(side) ** 2 * off / pairs + across / 2)
        return found[0], found[1]

    def _left_by_groups(self, side: int, rng: torch.Generator) -> float:
        """Returns the bias that pairs of one group add, which single samples do not show."""
        group = self._groups[side]
        if group is None:
            return 0.0
        n, size = len(group), group.bincount()
        pairs = int((size * (size - 1)).sum())
        first = torch.multinomial(
            (size - 1)[group].double().cpu(), _SAME, replacement=True, generator=rng
        ).to(group.device)
        # Another one of its group, evenly.
        place, starts = group.argsort(stable=True), size.cumsum(0) - size
        rank = place.argsort() - starts[group]
        step = (
            1
            + (
                torch.rand(_SAME, generator=rng, device=rng.device).to(size.device)
                * (size[group[first]] - 1)
            ).long()
        )
        other = place[starts[group[first]] + (rank[first] + step) % size[group[first]]]
        total_ = 0.0
        for part in torch.split(torch.arange(_SAME, device=group.device), 1024):
            a, b = (self._taken(side, which[part]) for which in (first, other))
            total_ += float(self._added(a, b).sum())
        return total_ / _SAME * pairs / n**2

    def _some(self, side: int, rng: torch.Generator) -> tuple["_Some", Drawn]:
        """Returns samples of some groups, and which groups, or samples, these are."""
        units, group = self._units(side), self._groups[side]
        device = self._sets[side].device
        drawn = drawn_evenly(units, rng, device, most=_SOME)
        chosen = drawn.places
        if group is None:
            return _Some(self._taken(side, chosen), None, len(chosen)), drawn
        place = torch.full((units,), -1, device=device).index_copy_(
            0, chosen, torch.arange(len(chosen), device=device)
        )
        order = torch.randperm(len(group), generator=rng, device=rng.device).to(device)
        order = order[group[order].argsort(stable=True)]
        size = group.bincount()
        rank = torch.arange(len(group), device=device) - (size.cumsum(0) - size)[group[order]]
        kept = order[(rank < _OF_GROUP) & (place[group[order]] >= 0)]
        # So that the groups' sums over samples become means over groups.
        scale = size[group[kept]] / size[group[kept]].clamp_max(_OF_GROUP) * (units / len(group))
        return _Some(
            self._taken(side, kept), (place[group[kept]], scale.double()), len(chosen)
        ), drawn

    def _sums(self, a: "_Some", b: "_Some") -> Tensor:
        """Returns the joint contributions of pairs of samples, summed over groups."""
        rows: list[Tensor] = []
        step = max(1, _AT_ONCE // (len(b.drawn.u) * a.drawn.u.shape[1]))
        for part in torch.split(torch.arange(len(a.drawn.u), device=a.drawn.u.device), step):
            i = part.repeat_interleave(len(b.drawn.u))
            j = torch.arange(len(b.drawn.u), device=i.device).repeat(len(part))
            rows.append(self._added(a.drawn.of(i), b.drawn.of(j)).view(len(part), -1))
        return a.summed(b.summed(torch.cat(rows).T).T)

    def _added(self, a: "_Drawn", b: "_Drawn") -> Tensor:
        """Returns the joint contributions of pairs of samples."""
        return (a.u * b.u).sum(1) + self._coupling.curvature(a.z, b.z) / 2

    def _together(self, a: "_Drawn", b: "_Drawn") -> float:
        """Returns the mean square of what pairs of samples add together."""
        return float(self._added(a, b).square().mean())

    def _drawn(self, side: int, rng: torch.Generator) -> "_Drawn":
        x = self._sets[side]
        order = torch.randperm(len(x), generator=rng, device=rng.device)[:_PAIRS].to(x.device)
        return self._taken(side, order)

    def _taken(self, side: int, which: Tensor) -> "_Drawn":
        u = self._sets[side][which].to(torch.float64) - self._fits[side].mean
        return _Drawn(u, self._coupling.whitened(side, u))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """Some samples less the mean of their set, as they are and whitened."""

    u: Tensor
    z: Tensor

    def cut(self, n: int) -> "_Drawn":
        return _Drawn(self.u[:n], self.z[:n])

    def of(self, which: Tensor) -> "_Drawn":
        return _Drawn(self.u[which], self.z[which])

    def rolled(self) -> "_Drawn":
        return _Drawn(self.u.roll(1, 0), self.z.roll(1, 0))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Some:
    """Some samples, and to which of ``count`` groups they are summed with which weight."""

    drawn: _Drawn
    groups: tuple[Tensor, Tensor] | None
    count: int

    def summed(self, rows: Tensor) -> Tensor:
        """Returns the sums over groups of ``rows``, one for each sample."""
        if self.groups is None:
            return rows
        place, scale = self.groups
        sums = rows.new_zeros(self.count, rows.shape[1])
        return sums.index_add_(0, place, rows * scale[:, None])


def _coupling(
    a: FeatureMoments | Margins, b: FeatureMoments | Margins, covariance: Covariance
) -> Coupling:
    if isinstance(a, FeatureMoments) and isinstance(b, FeatureMoments):
        return Full(a, b)
    if isinstance(a, Margins) and isinstance(b, Margins) and covariance == "diagonal":
        return Diagonal((a, b))
    return NoCovariance()


_POINTS = 15
# The smallest share of the samples, if it leaves four samples a feature; at most half.
_LEAST, _PER_FEATURE = 0.1, 4
_INFINITY_METHOD = (
    "linear extrapolation over {} sizes, {:.0%} to 100 % of the samples, plug-in {:.4g}; "
    "interval from first- and second-order influence functions"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class FrechetInfinity:
    """The Frechet distance extrapolated to infinite sample size (FID-infinity).

    It estimates what ``frechet`` estimates, with up to twice the spread, and is here because
    papers use it. It may be called FID-infinity only on the features of Inception.

    Source: Chong and Forsyth, 2020, https://arxiv.org/abs/1911.07023, section 4.

    Differs from the paper: both sets are thinned by the same share, so that the bias of both goes,
    where the paper thins the generated set alone; the sizes begin at a tenth, or at four samples
    a feature if that is more, instead of at 5000; smaller sets lie inside larger ones; samples
    are independent draws, not Sobol points.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = False

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` draws the subsets.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = checked(real, fake)
        d = x.shape[1]
        if reason := too_few(x, y, 2 * d + 4):
            return Estimate.missing(f"{reason}: twice the features", better=self.better)
        found = _estimate(x, y, rng)
        return found.named(unit=self.unit, better=self.better)


def _estimate(x: Tensor, y: Tensor, rng: torch.Generator) -> Estimate:
    n = min(len(x), len(y))
    least = min(0.5, max(_LEAST, _PER_FEATURE * x.shape[1] / n))
    shares = torch.linspace(least, 1.0, _POINTS, dtype=torch.float64)
    nested = zip(_growing(x, shares, rng), _growing(y, shares, rng), strict=True)
    plain = torch.tensor([between(a, b) for a, b in nested], dtype=torch.float64)
    weights = _intercept(1 / shares)
    method = _INFINITY_METHOD.format(_POINTS, least, float(plain[-1]))
    variance = _variance(x, y, shares, weights, rng)
    return around(float(weights @ plain), variance, n=n, method=method)


def _growing(x: Tensor, shares: Tensor, rng: torch.Generator) -> Iterator[Many]:
    """Yields the spread of ever larger shares of ``x``, each inside the next; reads it once."""
    order = torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)
    seen, ends = None, [round(len(x) * share) for share in shares.tolist()]
    for start, end in zip([0, *ends], ends, strict=False):
        drawn = order[start:end].sort().values
        more = Moments.of(rows(x[drawn]))
        seen = more if seen is None else seen + more
        yield Many(seen)


def _intercept(t: Tensor) -> Tensor:
    """Returns the weights that turn values at ``t`` into their least-squares line at 0."""
    centred = t - t.mean()
    weights: Tensor = 1 / len(t) - t.mean() * centred / centred.square().sum()
    return weights


def _variance(
    x: Tensor, y: Tensor, shares: Tensor, weights: Tensor, rng: torch.Generator
) -> Variance:
    """Returns the variance of the weighted sum of distances of nested shares of the samples.

    A sample's influence on it is its influence on one distance times the sum of ``w_k / f_k`` over
    the shares that hold it; that of a pair times the sum of ``w_k / f_k^2``. Their mean squares
    are the two factors here.
    """
    larger = torch.maximum(shares[:, None], shares)
    first, second = (float(weights @ larger**-power @ weights) for power in (1, 2))
    fitted, parts = FittedNormals(x, y), []
    for side, twice in enumerate(fitted.second_order(rng)):
        raw = spread(fitted.influences(side))
        value = first * max(raw.value - 2 * twice, 0.0) + second * twice
        parts.append(Variance(value, first * first * raw.noise))
    return total(parts)
