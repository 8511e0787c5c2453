"""Estimators of what makes a distribution hard to model: pure functions of arrays of points.

What each gives where the truth is known is in ``tests/unit/test_profile.py``.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import scipy.special
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


def distances(a: Array, b: Array) -> Array:
    """Returns all Euclidean distances, shape ``(len(a), len(b))``."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * (a @ b.T)
    np.maximum(squares, 0, out=squares)
    if a is b:
        np.fill_diagonal(squares, 0)
    roots: Array = np.sqrt(squares, out=squares)
    return roots


# ----------------------------------------------------------------------------
# Intrinsic dimension.
# ----------------------------------------------------------------------------


def levina_bickel(reach: Array) -> float:
    """Returns the intrinsic dimension by maximum likelihood, pooled over points.

    Biased downwards in high dimensions: about 8.9 for a 10-sphere with 1,500 points.

    Source: Levina and Bickel, 2004, with the pooling of MacKay and Ghahramani, 2005.

    Args:
        reach: Distances to the nearest neighbours, shape ``(n, k)``, nearest first, ``k >= 2``.

    Returns:
        The dimension; NaN if all neighbours of all points are equally far, as on a lattice.
    """
    total = float(np.log(reach[:, -1:] / reach[:, :-1]).mean())
    return 1 / total if total > 0 else math.nan


def two_nn(reach: Array, discard: float = 0.1) -> float:
    """Returns the intrinsic dimension from the ratio of the two nearest distances.

    Source: Facco et al., 2017, https://doi.org/10.1038/s41598-017-11873-y.

    Args:
        reach: Distances to the nearest neighbours, shape ``(n, k)``, nearest first, ``k >= 2``.
        discard: Share of the largest ratios that is left out.

    Returns:
        The dimension; NaN if all ratios are one, as on a lattice.
    """
    logs = np.sort(np.log(reach[:, 1] / reach[:, 0]))
    n = len(logs)
    kept = logs[: int(n * (1 - discard))]
    tail = -np.log1p(-np.arange(len(kept)) / n)
    squares = float((kept**2).sum())
    return float((kept * tail).sum()) / squares if squares > 0 else math.nan


# ----------------------------------------------------------------------------
# Connectedness.
# ----------------------------------------------------------------------------


def tree_edges(distances: Array) -> Array:
    """Returns the lengths of the edges of a minimum spanning tree, shape ``(n - 1,)``.

    They are the times at which components merge: persistent homology of dimension zero.

    Args:
        distances: All distances, shape ``(n, n)``.
    """
    near = distances[0].copy()
    outside = np.ones(len(near), dtype=bool)
    outside[0] = False
    edges = np.empty(len(near) - 1)
    for i in range(len(edges)):
        j = int(np.where(outside, near, np.inf).argmin())
        edges[i] = near[j]
        outside[j] = False
        np.minimum(near, distances[j], out=near)
    return edges


# ----------------------------------------------------------------------------
# The Lipschitz constant that any push-forward of a Gaussian needs.
# ----------------------------------------------------------------------------

_GRID = 512


def lipschitz_along(z: Array) -> float:
    """Returns the largest Lipschitz constant that a cut of one projection asks for.

    A push-forward of a standard normal by a map with Lipschitz constant L satisfies
    ``phi(Phi^-1(F(t))) / f(t) <= L`` at every cut t, by the Gaussian isoperimetric inequality;
    here F is the empirical distribution, and f a kernel estimate with a narrow kernel. It is
    divided by the standard deviation of the projection: a Gaussian has 1, two equal Gaussians
    whose means are D standard deviations apart ``exp(D^2 / 8) / sqrt(1 + D^2 / 4)``.

    Source: Salmona et al., 2022, https://arxiv.org/abs/2206.14476.

    Args:
        z: The projection of the points, shape ``(n,)``.
    """
    n, spread = len(z), float(z.std())
    if spread <= 1e-9:
        return 1.0
    low, high = float(z.min()), float(z.max())
    step = (high - low) / (_GRID - 1)
    counts = np.bincount(np.rint((z - low) / step).astype(int), minlength=_GRID)
    quartiles = np.quantile(z, [0.25, 0.75])
    width = min(spread, float(quartiles[1] - quartiles[0]) / 1.34) or spread
    h = max(0.6 * width * n**-0.2, 1.5 * step)
    offsets = np.arange(-int(4 * h / step) - 1, int(4 * h / step) + 2) * step
    kernel = np.exp(-0.5 * (offsets / h) ** 2) / (h * math.sqrt(2 * math.pi))
    f = np.convolve(counts, kernel)[len(offsets) // 2 :][:_GRID] / n
    mass = (np.cumsum(counts) - counts / 2) / n
    # Beyond these the density is that of a handful of points.
    inside = (mass > 0.02) & (mass < 0.98)
    mass, f = mass[inside], np.maximum(f[inside], 0.2 / (n * h))
    if not len(mass):
        return 1.0
    quantile = scipy.special.ndtri(mass)
    needed = np.exp(-0.5 * quantile**2) / math.sqrt(2 * math.pi) / f
    return float(needed.max()) / spread


def between_centres(x: Array, random: np.random.Generator) -> list[Array]:
    """Returns unit vectors between the centres of k-means, k from 2 to 8."""
    found = []
    for k in range(2, min(9, len(x) // 5)):
        centres = _lloyd(x, k, random)
        for i in range(len(centres)):
            for j in range(i):
                v = centres[i] - centres[j]
                size = float(np.linalg.norm(v))
                if size > 1e-9:
                    found.append(v / size)
    return found


def _lloyd(x: Array, k: int, random: np.random.Generator) -> Array:
    """Returns the centres of k-means after a few rounds, from a k-means++ start."""
    centres = x[random.integers(len(x))][None]
    nearest = ((x - centres[0]) ** 2).sum(1)
    while len(centres) < k and nearest.sum() > 0:
        new = x[random.choice(len(x), p=nearest / nearest.sum())]
        centres = np.vstack([centres, new])
        nearest = np.minimum(nearest, ((x - new) ** 2).sum(1))
    for _ in range(8):
        ones = np.eye(len(centres))[distances(x, centres).argmin(1)]
        sizes = ones.sum(0)[:, None]
        # A centre without points stays where it is.
        centres = np.where(sizes > 0, (ones.T @ x) / np.maximum(sizes, 1), centres)
    found: Array = centres
    return found


# ----------------------------------------------------------------------------
# Tails.
# ----------------------------------------------------------------------------


def hill(radii: Array, share: float = 0.02) -> float:
    """Returns the Hill estimate of the inverse tail exponent: 1/nu for a Student t.

    Source: Hill, 1975.

    Args:
        radii: Distances to the centre, shape ``(n,)``.
        share: Share of the largest radii that is used, at least five.
    """
    ordered = np.sort(radii)[::-1]
    k = min(max(5, int(share * len(ordered))), len(ordered) - 1)
    return float(np.log(ordered[:k] / ordered[k]).mean())


# ----------------------------------------------------------------------------
# Modes.
# ----------------------------------------------------------------------------


def dip(z: Array) -> float:
    """Returns the dip: the largest distance of a distribution function to a unimodal one.

    Source: Hartigan and Hartigan, 1985, https://doi.org/10.1214/aos/1176346577. Ties are handled
    as jumps of the distribution function.

    Args:
        z: Numbers, shape ``(n,)``.
    """
    values, counts = np.unique(z, return_counts=True)
    above = np.cumsum(counts).astype(np.float64)
    below: Array = above - counts
    n, low, high, deepest = len(z), 0, len(values) - 1, 1.0
    while high > low:
        part = slice(low, high + 1)
        x, a, b = values[part], below[part], above[part]
        minorant, lower = _hull(x, a, convex=True)
        majorant, upper = _hull(x, b, convex=False)
        gap = majorant - minorant
        corners = np.union1d(lower, upper)
        at = int(corners[gap[corners].argmax()])
        if gap[at] <= deepest:
            break
        left = at if at in lower else int(lower[lower <= at].max())
        right = at if at in upper else int(upper[upper >= at].min())
        outside = [(b - minorant)[: left + 1].max(), (majorant - a)[right:].max()]
        deepest = max(deepest, *outside)
        if left == 0 and right == len(x) - 1:
            break
        low, high = low + left, low + right
    return float(deepest / (2 * n))


def _hull(x: Array, y: Array, *, convex: bool) -> tuple[Array, NDArray[np.int64]]:
    """Returns the greatest convex minorant (or least concave majorant) and its corners."""
    sign = 1.0 if convex else -1.0
    corners: list[int] = []
    points = list(zip(x.tolist(), (sign * y).tolist(), strict=True))
    for i, (px, py) in enumerate(points):
        while len(corners) > 1:
            (ax, ay), (bx, by) = points[corners[-2]], points[corners[-1]]
            if (by - ay) * (px - ax) < (py - ay) * (bx - ax):
                break
            corners.pop()
        corners.append(i)
    at = np.array(corners)
    return np.interp(x, x[at], y[at]), at


MIXTURE_AXES = 8
"""Leading principal components on which a mixture is fitted."""

_ROUNDS = 25
_COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
# Two equal Gaussians overlap by less when they are more than 3.4 standard deviations apart.
_OVERLAP = 0.05


@final
@dataclass(frozen=True, slots=True)
class Mixture:
    """A Gaussian mixture.

    Attributes:
        weights: Shape ``(k,)``.
        means: Shape ``(k, d)``.
        covariances: Shape ``(k, d, d)``.
        overlap: Mean posterior probability of component j for points of component i, ``(k, k)``.
    """

    weights: Array
    means: Array
    covariances: Array
    overlap: Array

    def modes(self) -> "Modes":
        """Returns groups of components that overlap.

        Source: Hennig, 2010, https://doi.org/10.1007/s11634-010-0058-3 (merging by directly
        estimated misclassification probabilities).
        """
        k = len(self.weights)
        group = np.arange(k)
        for i, j in np.argwhere(np.triu(np.maximum(self.overlap, self.overlap.T), 1) > _OVERLAP):
            group[group == group[i]] = group[j]
        names = np.unique(group)
        weights = np.array([self.weights[group == g].sum() for g in names])
        if len(names) < 2:
            return Modes(weights, 0.0)
        nearest = [
            min(self._apart(i, j) for i in range(k) for j in range(k) if group[i] == g != group[j])
            for g in names
        ]
        return Modes(weights, float(np.average(nearest, weights=weights)))

    def _apart(self, i: int, j: int) -> float:
        """Returns the distance of two means in mean standard deviations along the line."""
        line = self.means[i] - self.means[j]
        size = float(np.linalg.norm(line))
        if size <= 1e-12:
            return 0.0
        v = line / size
        spreads = [math.sqrt(max(float(v @ self.covariances[m] @ v), 1e-12)) for m in (i, j)]
        return min(size / (sum(spreads) / 2), 100.0)


@final
@dataclass(frozen=True, slots=True)
class Modes:
    """Groups of components of a mixture that overlap.

    Attributes:
        weights: The weight of each, shape ``(k,)``.
        separation: Mean distance to the nearest other group, in standard deviations along the
            line between the two nearest components; 0 for a single group.
    """

    weights: Array
    separation: float


def mixture(x: Array, random: np.random.Generator) -> Mixture:
    """Fits mixtures of growing size until BIC has risen twice in a row, and returns the best."""
    best, least = _fit(x, 1, random)
    rises = 0
    for k in _COMPONENTS[1:]:
        if k * (x.shape[1] + 1) > len(x) // 3:
            break
        fitted, bic = _fit(x, k, random)
        if bic < least:
            best, least, rises = fitted, bic, 0
        else:
            rises += 1
            if rises == 2:
                break
    return best


def _fit(x: Array, k: int, random: np.random.Generator) -> tuple[Mixture, float]:
    """Fits a mixture of ``k`` Gaussians by expectation maximization; returns it and its BIC."""
    n, d = x.shape
    centres = _lloyd(x, k, random)
    share: Array = np.eye(len(centres))[distances(x, centres).argmin(1)]
    products = _products(x)
    # No cluster is thinner than a thousandth of the spread.
    least = 1e-6 * float(x.var(0).sum())
    fitted, before, likelihood = _maximized(x, products, share, least), -math.inf, -math.inf
    for _ in range(_ROUNDS):
        logs = _log_joint(x, products, fitted)
        total = np.asarray(scipy.special.logsumexp(logs, axis=1, keepdims=True))
        likelihood = float(total.mean())
        fitted = _maximized(x, products, np.exp(logs - total), least)
        if likelihood - before < 2e-3:
            break
        before = likelihood
    free = k - 1 + k * d + k * d * (d + 1) // 2
    return fitted, -2 * n * likelihood + free * math.log(n)


def _products(x: Array) -> Array:
    """Returns all products of two coordinates of each point, shape ``(n, d * d)``."""
    return (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)


def _maximized(x: Array, products: Array, share: Array, least: float) -> Mixture:
    """Returns the mixture for the share of each component in each point, ``(n, k)``."""
    sizes = share.sum(0) + 1e-9
    means = (share.T @ x) / sizes[:, None]
    d = x.shape[1]
    second = (share.T @ products).reshape(-1, d, d) / sizes[:, None, None]
    covariances = second - means[:, :, None] * means[:, None, :]
    values, vectors = np.linalg.eigh(covariances)
    values = np.maximum(values, 0) + least
    covariances = (vectors * values[:, None, :]) @ vectors.transpose(0, 2, 1)
    overlap = (share.T @ share) / sizes[:, None]
    return Mixture(sizes / sizes.sum(), means, covariances, overlap)


def _log_joint(x: Array, products: Array, of: Mixture) -> Array:
    """Returns the log density of each component at each point with its weight, ``(n, k)``."""
    k, d = of.means.shape
    inverses = np.linalg.inv(of.covariances)
    pulls = np.einsum("kij,kj->ki", inverses, of.means)
    squares = products @ inverses.reshape(k, -1).T - 2 * (x @ pulls.T)
    squares += (pulls * of.means).sum(1)
    volumes = np.linalg.slogdet(of.covariances)[1] + d * math.log(2 * math.pi)
    logs: Array = np.log(of.weights) - 0.5 * (np.maximum(squares, 0) + volumes)
    return logs


# ----------------------------------------------------------------------------
# Smoothness.
# ----------------------------------------------------------------------------

_FREQUENCIES = np.arange(1, 1201) / 40


def fine_structure(z: Array) -> float:
    """Returns by how much the finest scale of a projection is below its coarsest.

    The squared characteristic function, without its bias, falls to one half at one frequency and
    is above 0.02 for the last time at another; this is their ratio, at most 30. A Gaussian has
    2.4, a uniform distribution 3.7, whose sharp edges need high frequencies.

    Args:
        z: The projection of the points, shape ``(n,)``.
    """
    n, spread = len(z), float(z.std())
    if spread <= 1e-12:
        return 1.0
    half = _half_frequency(z / spread)
    angles = np.outer(_FREQUENCIES * half, z / spread)
    power = _power(angles, n)
    above = np.flatnonzero(power > max(0.02, 8 / n))
    last = _FREQUENCIES[above[-1]] if len(above) else _FREQUENCIES[0]
    return float(max(last, 1.0))


def _power(angles: Array, n: int) -> Array:
    plain: Array = np.cos(angles).mean(1) ** 2 + np.sin(angles).mean(1) ** 2
    return (n * plain - 1) / (n - 1)


def _half_frequency(z: Array) -> float:
    grid = np.arange(1, 401) / 100
    below = np.flatnonzero(_power(np.outer(grid, z), len(z)) < 0.5)
    return float(grid[below[0]]) if len(below) else float(grid[-1])
