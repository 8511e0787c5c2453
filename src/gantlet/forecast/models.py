"""Regression models that are plain numbers: written as JSON, they predict without a library."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.forecast.estimators import Array, distances

Plain = dict[str, Any]


class Regression(ABC):
    """A fitted function of standardized features."""

    @abstractmethod
    def predict(self, x: Array) -> Array:
        """Returns predictions, shape ``(m,)``, for standardized features, shape ``(m, p)``."""

    @abstractmethod
    def plain(self) -> Plain:
        """Returns the model as plain data."""


@final
@dataclass(frozen=True, slots=True)
class Linear(Regression):
    """A linear function of some columns: weights ``(p,)``, intercept."""

    weights: Array
    intercept: float

    @override
    def predict(self, x: Array) -> Array:
        found: Array = x @ self.weights + self.intercept
        return found

    @override
    def plain(self) -> Plain:
        return {
            "kind": "linear",
            "weights": rounded(self.weights),
            "intercept": float(f"{self.intercept:.6g}"),
        }


@final
@dataclass(frozen=True, slots=True)
class Kernel(Regression):
    """Kernel ridge regression with a Gaussian kernel: points ``(m, p)``, coefficients ``(m,)``."""

    points: Array
    coefficients: Array
    length: float
    intercept: float

    @override
    def predict(self, x: Array) -> Array:
        found: Array = gaussian(x, self.points, self.length) @ self.coefficients + self.intercept
        return found

    @override
    def plain(self) -> Plain:
        return {
            "kind": "kernel",
            "points": [rounded(p, 4) for p in self.points],
            "coefficients": rounded(self.coefficients),
            "length": self.length,
            "intercept": float(f"{self.intercept:.6g}"),
        }


@final
@dataclass(frozen=True, slots=True)
class Trees(Regression):
    """The mean of regression trees, each as arrays over its nodes.

    A tree is ``(feature, threshold, right, value)``: node i is a leaf if ``feature[i] < 0``; else
    points with ``x[feature[i]] <= threshold[i]`` go to node i + 1, others to ``right[i]``.
    """

    trees: Sequence[tuple[Any, Any, Any, Any]]

    @override
    def predict(self, x: Array) -> Array:
        total = np.zeros(len(x))
        for feature, threshold, right, value in self.trees:
            at = np.zeros(len(x), dtype=np.int64)
            while (inner := feature[at] >= 0).any():
                f = np.maximum(feature[at], 0)
                goes_left = x[np.arange(len(x)), f] <= threshold[at]
                at = np.where(inner, np.where(goes_left, at + 1, right[at]), at)
            total += value[at]
        return total / len(self.trees)

    @override
    def plain(self) -> Plain:
        return {
            "kind": "trees",
            "trees": [
                [f.tolist(), rounded(t, 4), r.tolist(), rounded(v, 4)] for f, t, r, v in self.trees
            ],
        }


@final
@dataclass(frozen=True, slots=True)
class Mean(Regression):
    """The mean of several models."""

    models: Sequence[Regression]

    @override
    def predict(self, x: Array) -> Array:
        found: Array = np.mean([m.predict(x) for m in self.models], axis=0)
        return found

    @override
    def plain(self) -> Plain:
        return {"kind": "mean", "models": [m.plain() for m in self.models]}


def rounded(values: Array, digits: int = 6) -> list[float]:
    """Returns numbers with so many significant digits."""
    return [float(f"{v:.{digits}g}") for v in values.tolist()]


def gaussian(x: Array, y: Array, length: float) -> Array:
    """Returns a Gaussian kernel whose length scale grows with the number of features."""
    squares = distances(x, np.array(y)) ** 2
    found: Array = np.exp(-squares / (2 * x.shape[1] * length**2))
    return found


def from_plain(plain: Mapping[str, Any]) -> Regression:
    """Returns the model of plain data.

    Raises:
        UserError: If its kind is not known.
    """
    made = _KINDS.get(plain["kind"])
    if made is None:
        raise UserError(f"The predictor has a model of unknown kind {plain['kind']!r}. Refit it.")
    return made(plain)


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Regression]] = {
    "linear": lambda p: Linear(np.array(p["weights"]), p["intercept"]),
    "kernel": lambda p: Kernel(
        np.array(p["points"]), np.array(p["coefficients"]), p["length"], p["intercept"]
    ),
    "trees": lambda p: Trees(
        [
            (np.array(f), np.array(t, dtype=float), np.array(r), np.array(v, dtype=float))
            for f, t, r, v in p["trees"]
        ]
    ),
    "mean": lambda p: Mean([from_plain(m) for m in p["models"]]),
}


# ----------------------------------------------------------------------------
# Fitting.
# ----------------------------------------------------------------------------

Fit = Callable[[Array, Array], Regression]
"""Fits standardized features ``(m, p)``, the budget in the last column, to targets ``(m,)``."""


def ridge(penalty: float, columns: Sequence[int] | None = None) -> Fit:
    """Returns the fit of a linear function; the last column is always used and not shrunk.

    Args:
        penalty: Penalty on squared weights, in observations.
        columns: The other columns that are used; None for all.
    """

    def fit(x: Array, y: Array) -> Regression:
        used = list(range(x.shape[1] - 1)) if columns is None else list(columns)
        used.append(x.shape[1] - 1)
        part, mean = x[:, used], x[:, used].mean(0)
        moved, level = part - mean, float(y.mean())
        shrink = np.full(len(used), penalty)
        shrink[-1] = 1e-6
        inner = np.linalg.solve(moved.T @ moved + np.diag(shrink), moved.T @ (y - level))
        weights = np.zeros(x.shape[1])
        weights[used] = inner
        return Linear(weights, level - float(mean @ inner))

    return fit


def kernel_ridge(length: float, penalty: float) -> Fit:
    """Returns the fit of kernel ridge regression.

    Args:
        length: Length scale, in standard deviations of a feature.
        penalty: Variance of the noise over that of the function.
    """

    def fit(x: Array, y: Array) -> Regression:
        level = float(y.mean())
        table = gaussian(x, x, length) + penalty * np.eye(len(x))
        solved = np.linalg.solve(table, y - level).astype(np.float64)
        return Kernel(x, solved, length, level)

    return fit


def extra_trees(count: int = 24, leaf: int = 6) -> Fit:
    """Returns the fit of extremely randomized trees (Geurts et al., 2006).

    Args:
        count: Number of trees.
        leaf: Fewest observations in a leaf.
    """

    def fit(x: Array, y: Array) -> Regression:
        from sklearn.ensemble import ExtraTreesRegressor

        forest: Any = ExtraTreesRegressor(
            n_estimators=count, min_samples_leaf=leaf, max_features=0.5, random_state=0, n_jobs=1
        ).fit(x.astype(np.float32), y)
        return Trees([_nodes(e.tree_) for e in forest.estimators_])

    return fit


def _nodes(tree: Any) -> tuple[Any, Any, Any, Any]:
    """Returns the nodes of a tree of scikit-learn, whose left child follows its parent."""
    inner = tree.children_left >= 0
    feature = np.where(inner, tree.feature, -1)
    return (
        feature,
        np.where(inner, tree.threshold, 0.0),
        np.where(inner, tree.children_right, 0),
        np.where(inner, 0.0, tree.value[:, 0, 0]),
    )


def quantile(residuals: Sequence[float], level: float) -> float:
    """Returns the split-conformal quantile of absolute residuals.

    Infinite if there are too few residuals for the level.

    Source: Vovk, Gammerman and Shafer, 2005; Lei et al., 2018.

    Args:
        residuals: Absolute residuals of observations that were not fitted.
        level: Coverage.

    Example:
        >>> quantile([1.0, 2.0, 3.0, 4.0], 0.8), quantile([1.0], 0.9)
        (4.0, inf)
    """
    ordered = sorted(residuals)
    rank = math.ceil(level * (len(ordered) + 1))
    return ordered[rank - 1] if rank <= len(ordered) else math.inf
