"""The responses of the experiment: how far samples are from a world."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.data import Dataset, KnownSupport
from gantlet.data.manifolds import Manifolds
from gantlet.metrics.transport import random_directions
from gantlet.stats.wasserstein import wasserstein

DIRECTIONS = 64
"""Random projections of the sliced Wasserstein distance."""

NEIGHBOURS, FEW = 3, 1_000
"""Precision and recall: the k-th neighbour of so many samples."""

VOTERS = 15
"""The classifier two-sample test: each sample is judged by so many nearest others."""

NEAR = 2e-4
"""Support: the share of pairs of real samples that are near enough to count as a collision."""

TAIL = 0.02
"""The share of the largest radii from which the Hill estimate is made."""

_SPLITS = 64  # of the pooled real samples, for the standard error of their distance


def mean_distance(x: Tensor, y: Tensor | None = None) -> float:
    """Returns the mean Euclidean distance between samples of two sets, or within one.

    Args:
        x: Samples, shape ``(n, d)``.
        y: Samples, shape ``(m, d)``; None for the distinct pairs of ``x``.
    """
    # By products of matrices: the digits that near pairs lose are lost in the mean.
    table = torch.cdist(x, x if y is None else y, compute_mode="use_mm_for_euclid_dist")
    total = float(table.sum(dtype=torch.float64))
    return total / (len(x) * (len(x) - 1) if y is None else len(x) * len(y))


def _distances(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def null_standard_error(pool: Tensor, n: int, m: int, rng: torch.Generator) -> float:
    """Returns the standard error of the energy distance of ``n`` against ``m`` real samples.

    The pool is split at random again and again; the distance of two samples of one distribution is
    a degenerate U-statistic, whose standard deviation is proportional to ``1 / n + 1 / m``.

    Args:
        pool: Real samples, shape ``(k, d)``, at least four.
        n: Size of one set.
        m: Size of the other.
        rng: Draws the splits.
    """
    half, rest = len(pool) // 2, len(pool) - len(pool) // 2
    order = torch.stack([torch.randperm(len(pool), generator=rng) for _ in range(_SPLITS)], 1)
    first = (order < half).float()
    table = _distances(pool, pool)
    to_first = (table @ first).double()
    first = first.double()
    within = (first * to_first).sum(0)
    across = ((1 - first) * to_first).sum(0)
    other = table.sum(dtype=torch.float64) - within - 2 * across
    energy = (
        2 * across / (half * rest) - within / (half * (half - 1)) - other / (rest * (rest - 1))
    )
    return float(energy.std()) * (1 / n + 1 / m) / (1 / half + 1 / rest)


def hill(radii: Tensor) -> float:
    """Returns the Hill estimate of the reciprocal tail index, from the largest radii.

    The mean of ``log(r_i / r_k)`` over the k largest: 1 / alpha for a tail ``r ** -alpha``.

    Source: Hill, 1975, https://doi.org/10.1214/aos/1176343247.

    Args:
        radii: Positive numbers, shape ``(n,)``.
    """
    k = max(2, round(TAIL * len(radii)))
    top = radii.topk(k).values.clamp(min=1e-12).log()
    return float((top - top[-1]).sum() / (k - 1))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Held-out real samples, and what of them all comparisons share.

    Attributes:
        x: The samples in units of the root mean square distance of the training set to its mean,
            from that mean, shape ``(n, d)``.
        mean: Mean of the training set, shape ``(d,)``.
        unit: That root mean square distance.
        scale: Mean distance of two samples, in this unit.
        directions: Shape ``(d, directions)``.
        projected: The samples along each direction, sorted, shape ``(directions, n)``.
        radii: Distance of each of the first samples to its k-th neighbour, shape ``(few,)``.
        truth: The data set, if its support is known.
    """

    x: Tensor
    mean: Tensor
    unit: float
    scale: float
    directions: Tensor
    projected: Tensor
    radii: Tensor
    truth: KnownSupport | None

    @classmethod
    def of(cls, train: Tensor, test: Tensor, data: Dataset, rng: torch.Generator) -> "Target":
        """Returns the target for a test split, shape ``(n, d)``."""
        mean = train.mean(0)
        unit = float((train - mean).square().sum(1).mean().sqrt())
        x = (test - mean) / unit
        directions = random_directions(x.shape[1], DIRECTIONS, rng=rng, like=x)
        return cls(
            x=x,
            mean=mean,
            unit=unit,
            scale=mean_distance(x),
            directions=directions,
            projected=(x @ directions).T.sort(1).values,
            radii=_ball_radii(x[:FEW]),
            truth=data if isinstance(data, Manifolds) else None,
        )

    def scaled(self, samples: Tensor) -> Tensor:
        """Returns samples, shape ``(n, d)``, in the units of ``x``."""
        return (samples - self.mean) / self.unit

    def energy(self, samples: Tensor) -> float:
        """Returns the unbiased energy distance to samples, shape ``(n, d)``, unscaled.

        ``2 E|X - Y| - E|X - X'| - E|Y - Y'|``, in units of ``unit``.

        Source: Szekely and Rizzo, 2013, https://doi.org/10.1016/j.jspi.2013.03.018.
        """
        y = self.scaled(samples)
        return 2 * mean_distance(self.x, y) - self.scale - mean_distance(y)

    @property
    def of_constant(self) -> float:
        """Energy distance to the mean of the training set, repeated: worth nothing as a model."""
        return 2 * float(self.x.square().sum(1).sqrt().mean()) - self.scale

    def responses(self, samples: Tensor) -> dict[str, float]:
        """Returns every response of samples, shape ``(n, d)``, by name.

        ``energy`` (energy distance), ``sliced`` (squared sliced Wasserstein-2 distance),
        ``precision``, ``recall``, ``c2st_auc`` (of a classifier by nearest neighbours),
        ``support_ratio`` (effective support over that of real samples), ``tail`` (absolute
        difference of the Hill estimates), and where the support is known ``off_support``,
        ``modes`` and ``mode_kl``. All repeat bit for bit.
        """
        y = self.scaled(samples)
        along = (y @ self.directions).T.sort(1).values
        found = {
            "energy": self.energy(samples),
            "sliced": float(wasserstein(self.projected, along, 2).mean()),
            **self._neighbours(y[:FEW]),
            "tail": abs(hill(_norms(y)) - hill(_norms(self.x))),
        }
        return found if self.truth is None else found | support(self.truth, samples)

    def _neighbours(self, y: Tensor) -> dict[str, float]:
        """Returns what the distances of samples say, shape ``(n, d)``.

        Source: precision and recall of Kynkaanniemi et al., 2019,
        https://arxiv.org/abs/1904.06991.
        """
        x = self.x[:FEW]
        gap, real, fake = _distances(y, x), _distances(x, x), _distances(y, y)
        return {
            "precision": float((gap <= self.radii).any(1).double().mean()),
            "recall": float((_ball_radii(y, fake) >= gap.T).any(1).double().mean()),
            "c2st_auc": c2st_auc(real, gap, fake),
            "support_ratio": support_ratio(real, fake),
        }


def _norms(x: Tensor) -> Tensor:
    return x.square().sum(1).sqrt()


def _ball_radii(x: Tensor, table: Tensor | None = None) -> Tensor:
    """Returns the distance of each sample to its k-th neighbour, shape ``(n,)``."""
    k = min(NEIGHBOURS, len(x) - 1)
    return (_distances(x, x) if table is None else table).kthvalue(k + 1, dim=1).values


def c2st_auc(real: Tensor, gap: Tensor, fake: Tensor) -> float:
    """Returns the AUC of telling real from fake samples by their nearest neighbours.

    The score of a sample is the share of real ones among its nearest others, real and fake: about
    .5 for samples of one distribution, 1 where each set is apart. Of two equal sets it is a
    little below .5, since a sample is not among its own neighbours.

    Source: Lopez-Paz and Oquab, 2017, https://arxiv.org/abs/1610.06545. Differs from the paper:
    samples are left out one at a time in the place of a test split, and the area under the curve
    is taken, not the accuracy.

    Args:
        real: Distances of real samples, shape ``(m, m)``.
        gap: Distances of fake to real ones, shape ``(n, m)``.
        fake: Distances of fake samples, shape ``(n, n)``.
    """
    from scipy.stats import rankdata

    m = len(real)
    table = torch.cat([torch.cat([real, gap.T], 1), torch.cat([gap, fake], 1)])
    table.fill_diagonal_(math.inf)
    nearest = table.topk(min(VOTERS, len(table) - 1), dim=1, largest=False).indices
    score = (nearest < m).double().mean(1)
    ranks = torch.from_numpy(rankdata(score.numpy()))
    below = float(ranks[:m].sum()) - m * (m + 1) / 2
    return below / (m * (len(score) - m))


def support_ratio(real: Tensor, fake: Tensor) -> float:
    """Returns the effective support of fake samples as a share of that of real ones.

    The chance that two samples collide is the reciprocal of the effective support; a pair is a
    collision where it is nearer than a small share of the pairs of real samples. Half a collision
    is added to both counts.

    Source: Arora, Risteski and Zhang, 2018 (birthday test), https://arxiv.org/abs/1706.08224, with
    a threshold from real samples in the place of human eyes.

    Args:
        real: Distances of real samples, shape ``(m, m)``.
        fake: Distances of fake samples, shape ``(n, n)``.
    """
    apart = _pairs(real).sort().values
    count = max(1, round(NEAR * len(apart)))
    threshold = apart[count - 1]
    pairs = _pairs(fake)
    near = float((apart <= threshold).sum()), float((pairs <= threshold).sum())
    return (near[0] + 0.5) / len(apart) * len(pairs) / (near[1] + 0.5)


def _pairs(table: Tensor) -> Tensor:
    return table[torch.ones_like(table, dtype=torch.bool).triu(1)]


def support(truth: KnownSupport, samples: Tensor) -> dict[str, float]:
    """Returns what known modes and support say of samples, shape ``(n, d)``.

    ``off_support`` is the share that is off the support; a mode counts among ``modes`` if a sample
    on the support is nearest to it; ``mode_kl`` is the divergence in nats of the shares of the
    modes among samples on the support from the true ones; where there are none, that of the
    rarest mode alone.
    """
    on = truth.on_support(samples)
    weights = truth.weights
    counts = torch.bincount(truth.modes_of(samples)[on], minlength=len(weights)).double()
    share = counts / counts.sum().clamp(min=1)
    seen = share > 0
    kl = float((share[seen] * (share[seen] / weights[seen]).log()).sum())
    return {
        "off_support": 1 - float(on.double().mean()),
        "modes": float(seen.sum()),
        "mode_kl": kl if bool(seen.any()) else -math.log(float(weights.min())),
    }
