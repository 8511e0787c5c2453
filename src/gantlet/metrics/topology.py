"""The Geometry Score: persistent homology of both sets."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantlet.core.errors import UserError
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Sees
from gantlet.core.spec import Between
from gantlet.metrics.checks import pair, too_few
from gantlet.stats.intervals import Variance, around
from gantlet.stats.moments import blocks, squared_distances

HELD_DISTANCES = 2**26
"""Distances that are held at once: 256 MB in single precision."""

# Up to this share of points, farther than so many times the usual distance, are outliers, which
# would set the end of time and make all landmarks neighbours of each other at once.
_OUTLYING, _FARTHEST = 0.01, 5.0
# Triangles that witnesses may look at in all runs together: some minutes.
_MOST_WORK = 5e8


class TooDenseError(UserError):
    """So many landmarks are within reach that the complex takes too long."""


def living_times(
    x: Tensor, *, landmarks: int, gamma: float, most: int, runs: int, rng: torch.Generator
) -> Tensor:
    """Returns the share of time in which ``x`` has 0, 1, ... holes, shape ``(runs, most)``.

    Each run draws landmarks among the points and grows a witness complex on them, from 0 to
    ``gamma`` times the largest distance of a point to a landmark; holes are those of dimension
    one. Time spent with ``most`` or more holes is left out, and so are a few outliers: at most 1 %
    of the points, whose median distance is above five times the usual one.

    Source: Khrulkov and Oseledets, 2018, https://arxiv.org/abs/1802.02664, Algorithm 1; the
    complex is that of de Silva and Carlsson, 2004, https://doi.org/10.2312/SPBG/SPBG04/157-166.

    Differs from the paper: landmarks are drawn without repetition; outliers are left out.

    Args:
        x: Points, shape ``(n, d)``, float64.
        landmarks: How many landmarks; all points where there are fewer.
        gamma: The end of time, over the largest distance to a landmark.
        most: The number of distinct hole counts.
        runs: How many times landmarks are drawn.
        rng: Draws them.

    Raises:
        TooDenseError: If the work would take minutes.
        UserError: If gudhi is not installed.
    """
    different = torch.unique(x, dim=0)
    if len(different) < len(x):
        # A point adds nothing when it comes again, but a crowd of them takes minutes.
        x = different
    x = _about_the_bulk(x)
    count = min(landmarks, len(x))
    chosen = torch.stack(
        [torch.randperm(len(x), generator=rng, device=rng.device)[:count] for _ in range(runs)]
    ).to(x.device)
    found: list[NDArray[np.float64]] = []
    spent = 0.0
    for table in map(_without_outliers, _distances(x, chosen)):
        end = gamma * float(table.max())
        near = _nearest(table, end)
        spent += _work(near, end)
        # What the first run takes, all will: better to know before than after.
        if spent * (runs if not found else 1) > _MOST_WORK:
            raise TooDenseError(
                f"takes too long: at gamma {gamma:.3g} most of the {count} landmarks are within "
                "reach of each other; choose a smaller gamma or fewer landmarks"
            )
        found.append(_holes(near, end, most))
    return torch.from_numpy(np.stack(found)).to(x.device)


def _about_the_bulk(x: Tensor) -> Tensor:
    """Returns the same shape about its median, of size one, whatever outliers there are."""
    moved = x - x.median(0).values
    size = moved.abs().amax(1)
    scale = float(size.median()) or float(size.max()) or 1.0
    # Beyond this nothing is near anything, and squares stay finite in single precision.
    return (moved / scale).clamp_(-1e15, 1e15)


def _distances(x: Tensor, chosen: Tensor) -> Iterator[NDArray[np.float32]]:
    """Yields for each row of ``chosen`` the distances of all points to those, ``(n, count)``.

    Rounds share landmarks, so each is looked at once for as many rounds as memory allows.
    """
    n, count = len(x), chosen.shape[1]
    step = len(chosen) if n * n <= HELD_DISTANCES else max(1, HELD_DISTANCES // (n * count))
    for rounds in torch.split(chosen, step):
        unique, where = torch.unique(rounds, return_inverse=True)
        table = x.new_empty(len(unique), n, dtype=torch.float32)
        for block in blocks(len(unique), n):
            squares = squared_distances(x[unique[block]], x)
            squares.scatter_(1, unique[block, None], 0)  # to itself, without rounding
            table[block] = squares.sqrt_()
        for rows in where:
            yield table[rows].T.contiguous().cpu().numpy()


def _without_outliers(distances: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns distances of shape ``(n, landmarks)`` without a few points that are far away."""
    from_points, from_landmarks = np.median(distances, axis=1), np.median(distances, axis=0)
    limit = _FARTHEST * float(np.median(from_points))
    far = from_points > limit
    if not 0 < far.sum() <= max(1, _OUTLYING * len(far)):
        return distances
    return distances[~far][:, from_landmarks <= limit]


def _work(near: NDArray[np.float64], end: float) -> float:
    """Returns the approximate number of triangles that all witnesses look at."""
    distances = near[:, :, 1]
    reach = distances[:, min(3, distances.shape[1] - 1)] + end
    k = (distances <= reach[:, None]).sum(1).astype(np.float64)
    return float((k * (k - 1) * (k - 2) / 6).sum())


def _holes(near: NDArray[np.float64], end: float, most: int) -> NDArray[np.float64]:
    """Returns the shares of time for number and distance of the nearest, ``(n, k, 2)``."""
    if end == 0:
        # A single point, repeated, never has a hole.
        return shares(np.zeros((0, 2)), 1.0, most)
    tree = _witness_complex(near).create_simplex_tree(max_alpha_square=end, limit_dimension=2)
    tree.compute_persistence(homology_coeff_field=2, min_persistence=0)
    lives = tree.persistence_intervals_in_dimension(1).reshape(-1, 2)
    return shares(lives.clip(max=end), end, most)


def _nearest(distances: NDArray[np.float32], end: float) -> NDArray[np.float64]:
    """Returns number and distance of the nearest landmarks, nearest first, ``(n, k, 2)``.

    A triangle and the nearest landmark outside it are all within the fourth nearest; what lies
    further than ``end`` beyond that is never reached, so ``k`` is where all witnesses may stop.
    """
    order = distances.argsort(axis=1)
    near = np.take_along_axis(distances, order, axis=1)
    reach = near[:, min(3, near.shape[1] - 1)] + np.float32(end * (1 + 1e-6))
    k = min(int((near <= reach[:, None]).sum(1).max()) + 1, near.shape[1])
    return np.stack([order[:, :k], near[:, :k]], axis=2, dtype=np.float64)


def shares(lives: NDArray[np.float64], end: float, most: int) -> NDArray[np.float64]:
    """Returns the share of the time from 0 to ``end`` in which 0, 1, ... things live.

    Args:
        lives: Birth and death of each, between 0 and ``end``, shape ``(things, 2)``.
        end: The end of time, above 0.
        most: The number of distinct hole counts; time with more is left out.

    Example:
        >>> shares(np.array([[0.0, 0.5], [0.25, 1.0]]), 1.0, 3).tolist()
        [0.0, 0.75, 0.25]
    """
    births, deaths = np.sort(lives[:, 0]), np.sort(lives[:, 1])
    times = np.unique(np.concatenate([[0.0, end], births, deaths]))
    alive = np.searchsorted(births, times[:-1], "right") - np.searchsorted(
        deaths, times[:-1], "right"
    )
    spent = np.bincount(alive, weights=times[1:] - times[:-1], minlength=most)
    share: NDArray[np.float64] = spent[:most] / end
    return share


def _witness_complex(table: NDArray[np.float64]) -> Any:
    try:
        import gudhi
    except ImportError as error:
        raise UserError(
            "The Geometry Score needs the package gudhi, which is not installed: "
            "install gantlet[topology]."
        ) from error
    return gudhi.WitnessComplex(table)


_FOLDS = 10
_METHOD = (
    "{} runs on {} samples of each, gamma {:.3g}; plug-in {:.4g}, bias-corrected; bias and "
    "interval from the variation over runs (landmarks) and over {} folds of the samples; "
    "anti-conservative for a few hundred samples, often conservative for more: empirical "
    "coverage 69-100 % in simulations"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class GeometryScore:
    """The squared difference of mean relative living times (MRLT) of holes, from 0 to 2.

    How long a cloud of points has 0, 1, 2, ... one-dimensional holes while balls around landmarks
    grow. Sees shape alone: neither where the sets lie nor how large they are. The larger set is
    thinned to the size of the smaller, since the number of samples changes the shape. Needs
    gudhi: install ``gantlet[topology]``.

    Source: Khrulkov and Oseledets, 2018, https://arxiv.org/abs/1802.02664, section 5.

    Differs from the paper: landmarks without repetition, bias removed, so that it may be negative
    where the two are alike, fewer runs, as the interval shows whether they are enough, and
    outliers are left out.

    Attributes:
        landmarks: Number of landmarks per run.
        gamma: Maximum scale, relative to the largest distance to a landmark without outliers;
            default: the authors' ``n / 640000``.
        most: The number of distinct hole counts.
        runs: Number of runs (draws of landmarks) per set.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    landmarks: Annotated[int, Between(4, 4096)] = 64
    gamma: Annotated[float, Between(0)] | None = None
    most: Annotated[int, Between(1, 10_000)] = 100
    runs: Annotated[int, Between(20, 1_000_000)] = 100

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` thins, draws and folds.

        Raises:
            UserError: If the features cannot be compared, or gudhi is not installed.
        """
        x, y = pair(real, fake)
        if reason := too_few(x, y, 2 * _FOLDS):
            return Estimate.missing(reason, better=self.better)
        n = min(len(x), len(y))
        gamma = self.gamma or n / 640_000
        try:
            a, b = (self._look(z[_order(z, rng)[:n]], gamma, rng) for z in (x, y))
        except TooDenseError as error:
            return Estimate.missing(str(error), better=self.better)
        # Only the squared difference is left of where either lies.
        way, spread = a.mean - b.mean, a.spread + b.spread
        plain, bias = float(way @ way), float(spread.trace())
        first, second = 4 * float(way @ spread @ way), 2 * float((spread**2).sum())
        method = _METHOD.format(self.runs, n, gamma, plain, _FOLDS)
        variance = Variance.of_squares(max(first, 0.0) + second, 2 * (_FOLDS - 1))
        return around(plain - bias, variance, n=n, method=method).named(
            unit=self.unit, better=self.better
        )

    def _look(self, x: Tensor, gamma: float, rng: torch.Generator) -> "_Shape":
        """Returns the mean living times of ``x``, whose rows are in random order."""
        whole = self._live(x, gamma, self.runs, rng)
        each = math.ceil(self.runs / _FOLDS)
        folds = torch.stack(
            [self._live(fold, gamma, each, rng) for fold in x.tensor_split(_FOLDS)]
        )
        # Means of folds differ by their samples, and by their landmarks less by runs.
        between, within = _spread(folds.mean(1)), torch.stack([_spread(f) for f in folds]).mean(0)
        of_samples = between - within / each
        if of_samples.trace() < 0:
            of_samples = torch.zeros_like(of_samples)
        return _Shape(whole.mean(0), _spread(whole) / self.runs + of_samples / _FOLDS)

    def _live(self, x: Tensor, gamma: float, runs: int, rng: torch.Generator) -> Tensor:
        return living_times(
            x, landmarks=self.landmarks, gamma=gamma, most=self.most, runs=runs, rng=rng
        )


@final
@dataclass(frozen=True, slots=True)
class _Shape:
    """Mean relative living times, shape ``(most,)``, and the covariance of that mean."""

    mean: Tensor
    spread: Tensor


def _spread(x: Tensor) -> Tensor:
    return torch.cov(x.T, correction=1).reshape(x.shape[1], x.shape[1])


def _order(x: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)
