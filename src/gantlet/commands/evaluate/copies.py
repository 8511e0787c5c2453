"""Repeats and copies: which samples lie nearer to others than samples of their own lie."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.metric import more_often, smaller
from gantlet.metrics.checks import checked
from gantlet.metrics.neighbour_search import (
    Points,
    edge,
    nearest_among,
    nearest_fellow_of,
    nearest_fellows,
    points,
)

# A copy is at most a third as far from its training sample as that one is from its nearest fellow:
# the mean of two neighbours, the nearest that a blurred sample comes, is half as far.
_COPY = 1 / 3
# Two samples repeat each other if they are nearer than half the distance within which 5 % of the
# real samples have another one, as in the birthday test.
_REPEAT, _QUANTILE = 1 / 2, 0.05


def repeats(real: Tensor, x: Tensor) -> Tensor:
    """Returns how many samples nearly repeat another one, and of how many, shape ``(2,)``.

    Of samples that all repeat one another, all but one count.

    Args:
        real: Features of the reference, which says what is near, shape ``(n, d)``.
        x: Features of the samples, one for each group, shape ``(m, d)``.
    """
    if min(len(real), len(x)) < 3:
        return torch.tensor([0, len(x)])
    base, own = points(*checked(real, x))
    nearest = nearest_fellows(base, 1).distance[:, 0].sort().values
    limit = _REPEAT**2 * nearest[int(_QUANTILE * len(nearest))]
    near = nearest_fellows(own, 1)
    is_near = near.distance[:, 0] <= edge(limit.expand(len(own)), own)
    here = is_near.nonzero()[:, 0]
    return torch.tensor([len(own) - _parts(len(own), here, near.index[here, 0]), len(own)])


def _parts(n: int, a: Tensor, b: Tensor) -> int:
    """Returns into how many parts ``n`` things fall that are tied pair by pair."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(a)), (a.cpu().numpy(), b.cpu().numpy())), shape=(n, n))
    return int(connected_components(edges, directed=False)[0])


def nearest(real: Tensor, x: Tensor, train: Tensor) -> dict[str, Tensor]:
    """Returns how near samples lie to training samples.

    Args:
        real: Features of the reference, shape ``(n, d)``.
        x: Features of the samples, one for each group, shape ``(m, d)``.
        train: Features of the training samples, shape ``(t, d)``.

    Returns:
        For each sample, shape ``(m,)``: its ``distance`` to the nearest training sample; whether
        it is a ``copy`` of that one; which sample of reference and training together is its
        ``owner``, and how much of it is a ``trained`` one, 1, 0 or, in a tie, a half. ``sizes``
        of training set and reference, shape ``(2,)``.
    """
    if min(len(real), len(x), len(train)) < 2:
        return {}
    checked(real, x)
    base, reference, own = points(train, real, x)
    found, other = nearest_among(own, base), nearest_among(own, reference)
    distance, apart = found.distance[:, 0], other.distance[:, 0]
    trained = (distance < apart).double() + 0.5 * (distance == apart).double()
    owner = torch.where(trained > 0, found.index[:, 0], len(train) + other.index[:, 0])
    return {
        "distance": distance.sqrt() / base.scale,
        "copy": _is_copy(base, found.index[:, 0], distance),
        "owner": owner,
        "trained": trained,
        "sizes": torch.tensor([len(train), len(real)]),
    }


def _is_copy(base: Points, index: Tensor, distance: Tensor) -> Tensor:
    owners, which = torch.unique(index, return_inverse=True)
    edges = edge(_COPY**2 * nearest_fellow_of(owners, base), base, owners)
    return distance <= edges[which]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """How often something is so among fakes and among as many held-out real samples.

    Attributes:
        count: Among fakes.
        n: How many fakes.
        floor_count: Among real samples.
        floor_n: How many of these.
        p: How likely so many among the fakes are by chance.
        also: The p-value of what else speaks for it.
    """

    count: int
    n: int
    floor_count: int
    floor_n: int
    p: float
    also: float = 1.0


def repeating(fake: Mapping[str, Tensor], floor: Mapping[str, Tensor]) -> Against | None:
    """Returns whether fakes repeat one another more than real samples do.

    Repeats are rare and nearly independent, so their numbers are taken for those of Poisson:
    given both together, that among the fakes is binomial.
    """
    from scipy.special import bdtrc

    if "repeats" not in fake or "repeats" not in floor:
        return None
    (count, n), (other, m) = fake["repeats"].tolist(), floor["repeats"].tolist()
    if not n or not m:
        return None
    p = float(bdtrc(count - 1, count + other, n / (n + m))) if count else 1.0
    return Against(count=count, n=n, floor_count=other, floor_n=m, p=p)


def copying(fake: Mapping[str, Tensor], floor: Mapping[str, Tensor]) -> Against | None:
    """Returns whether fakes copy training samples, as far as held-out real ones let tell.

    ``p`` is Fisher's exact test on the number of copies. ``also`` is the larger of two p-values:
    fakes lie nearer to training samples than held-out real ones do (Mann and Whitney), and nearer
    to training samples than to as many of the reference. The second keeps blurred or collapsed
    samples, which lie near to all real ones, from being taken for copies.
    """
    if "copy" not in fake or "copy" not in floor:
        return None
    count, n = int(fake["copy"].sum()), len(fake["copy"])
    other, m = int(floor["copy"].sum()), len(floor["copy"])
    return Against(
        count=count,
        n=n,
        floor_count=other,
        floor_n=m,
        p=more_often(count, n, other, m),
        also=max(smaller(fake["distance"], floor["distance"]), _owned(fake)),
    )


def _owned(fake: Mapping[str, Tensor]) -> float:
    """Returns the p-value against "training samples own no more fakes than their number says".

    Which of all real samples are training samples is dealt out at random, in the normal limit.
    """
    t, r = fake["sizes"].tolist()
    total, share = t + r, t / (t + r)
    _, which = torch.unique(fake["owner"], return_inverse=True)
    zeros = torch.zeros(int(which.max()) + 1, dtype=torch.float64)
    weights = zeros.index_add(0, which, torch.ones(len(which), dtype=torch.float64))
    all_of_them = float(weights.sum())
    spread = float((weights**2).sum()) - all_of_them**2 / total
    variance = share * (1 - share) * total / (total - 1) * spread
    if variance <= 0:
        return 1.0
    above = float(fake["trained"].sum()) - share * all_of_them
    return 1 - statistics.NormalDist().cdf(above / math.sqrt(variance))
