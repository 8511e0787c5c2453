"""Repeats and copies: samples that occur twice, or lie closer to others than real ones do."""

import math
import statistics
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import final

import torch
from torch import Tensor

from gantlet.core.data import Source, Space
from gantlet.core.metric import p_greater_rate, p_smaller_values
from gantlet.data.splits import Subset
from gantlet.features.base import block_of
from gantlet.metrics.checks import checked
from gantlet.metrics.neighbour_search import (
    Nearest,
    Points,
    edge,
    knn,
    nearest_distance_within,
    points,
)
from gantlet.metrics.neighbour_sharing import Searches

# ----------------------------------------------------------------------------
# Samples that occur more than once: within a set, or in two sets.
# ----------------------------------------------------------------------------

# Odd numbers of splitmix64, https://doi.org/10.1145/2714064.2660195, as signed ones.
_MIX = -0x4B47D0C5A91A1B4F | 1
_STEP = -0x61C8864680B583EB


def digests(source: Source, space: Space) -> Tensor:
    """Returns a number for each sample, equal where samples are; int64, shape ``(n,)``.

    Levels are rounded first, so that the same image read from another kind of file is the same.
    Of a billion pairs of different samples one is taken for equal with a probability of 1e-10.
    """
    parts = [
        _digest(source.take(index), space.levels is not None)
        for index in torch.split(torch.arange(len(source)), block_of(space))
    ]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)


def _digest(x: Tensor, is_level: bool) -> Tensor:
    rows = (x.round() if is_level else x).flatten(1).float()
    # Adding 0 turns -0 into 0, which is equal to it but not bit by bit.
    bits = (rows + 0.0).contiguous().view(torch.int32)
    # Whole numbers end in zeros as floats do, which a sum of multiples would keep.
    folded = (bits ^ (bits >> 16)).long()
    weights = _mixed(torch.arange(1, bits.shape[1] + 1) * _STEP) | 1
    return _mixed((folded * weights).sum(1))


def _mixed(x: Tensor) -> Tensor:
    """Returns whole numbers whose bits all depend on all bits of ``x``."""
    for shift in (30, 27, 31):
        # The mask makes the shift that of unsigned numbers.
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * _MIX
    return x


@final
class KnownDigests:
    """Digests of samples that were read before: each sample of a set is read for them once.

    Parts of a set, and parts of these, share what is known of it. Several threads may share it.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[int, bool], _Held] = OrderedDict()
        self._lock = RLock()

    def __len__(self) -> int:
        """Returns the number of sets of which anything is kept."""
        return len(self._held)

    def of(self, source: Source, space: Space) -> Tensor:
        """Returns what ``digests`` does."""
        places, base = torch.arange(len(source)), source
        while isinstance(base, Subset):
            places, base = base.places[places], base.source
        with self._lock:
            # The object is held, so that its number stays its own.
            key = (id(base), space.levels is not None)
            held = self._held.setdefault(key, _Held.nothing(base))
            self._held.move_to_end(key)
            if len(self._held) > _KNOWN:
                self._held.popitem(last=False)
            missing: Tensor = torch.unique(places[~held.known[places]])
            if len(missing):
                held.values[missing] = digests(Subset(base, missing), space)
                held.known[missing] = True
            return held.values[places]


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A set, which of its samples are known, and their digests."""

    source: Source
    known: Tensor
    values: Tensor

    @classmethod
    def nothing(cls, source: Source) -> "_Held":
        n = len(source)
        known, values = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.int64)
        return cls(source, known, values)


# So many sets.
_KNOWN = 64


def occurs(x: Tensor, among: Tensor) -> Tensor:
    """Returns which of the samples ``x`` also are in another set, both given by ``digests``."""
    found: Tensor = torch.isin(x, among)
    return found


def repeated(x: Tensor) -> int:
    """Returns the number of samples that equal an earlier one of the same set."""
    return len(x) - len(torch.unique(x))


def duplicates(x: Tensor, others: Sequence[Tensor]) -> Tensor | None:
    """Returns which samples are the same one twice, as groups, or None where none are.

    Equal samples of a discrete distribution, such as rows of a small table, are independent, and
    then other sets hold them too. Only where two samples of a set are equal four times as often as
    two of different sets are they taken for copies of one another.

    Args:
        x: The samples, by ``digests``, shape ``(n,)``.
        others: Other sets, by ``digests``.
    """
    within = _coincidences(x)
    if not within or any(_BY_COPYING * _meetings(x, y) >= within for y in others):
        return None
    labels: Tensor = torch.unique(x, return_inverse=True)[1]
    return labels


# From how much more often on equal samples of a set are copies of one another.
_BY_COPYING = 4


def _coincidences(x: Tensor) -> float:
    """Returns how often two samples of a set are equal."""
    counts = torch.unique(x, return_counts=True)[1].double()
    return float((counts * (counts - 1)).sum()) / max(len(x) * (len(x) - 1), 1)


def _meetings(x: Tensor, y: Tensor) -> float:
    """Returns how often a sample of one set and one of another are equal."""
    ordered = y.sort().values
    left, right = (torch.searchsorted(ordered, x, right=side) for side in (False, True))
    return float((right - left).double().sum()) / max(len(x) * len(y), 1)


def is_by_descent(x: Tensor, y: Tensor) -> bool:
    """Returns whether two sets share samples because one was taken from the other.

    Not so where samples of both sets, each by itself, are equal about as often: by chance.
    """
    chance = min(_coincidences(x), _coincidences(y))
    return _meetings(x, y) > _BY_COPYING * chance


def joined(*labels: Tensor | None) -> Tensor | None:
    """Returns the groups of samples that share any label, directly or through others.

    Args:
        labels: Labels of the samples, each of shape ``(n,)``, or None where there are none.

    Returns:
        One label for each sample from 0 on, int64, shape ``(n,)``; None where all differ.
    """
    known = [torch.unique(one, return_inverse=True)[1] for one in labels if one is not None]
    if not known:
        return None
    found = known[0] if len(known) == 1 else _connected(known[0], known[1])
    return None if int(found.max()) + 1 == len(found) else found


def _connected(a: Tensor, b: Tensor) -> Tensor:
    n, m = int(a.max()) + 1, int(b.max()) + 1
    _, whole = _components(a, b + n, n + m)
    labels: Tensor = torch.unique(whole[a], return_inverse=True)[1]
    return labels


def _components(a: Tensor, b: Tensor, n: int) -> tuple[int, Tensor]:
    """Returns how many parts ``n`` things tied pair by pair make, and the part of each."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(a)), (a.cpu().numpy(), b.cpu().numpy())), shape=(n, n))
    count, found = connected_components(edges, directed=False)
    return int(count), torch.from_numpy(found).long()


def one_of_each(groups: Tensor | None, n: int) -> Tensor:
    """Returns the places of the first sample of each group, in order, or of all ``n``."""
    if groups is None:
        return torch.arange(n)
    order = groups.argsort(stable=True)
    first = torch.ones(n, dtype=torch.bool)
    first[1:] = groups[order[1:]] != groups[order[:-1]]
    return order[first].sort().values


# ----------------------------------------------------------------------------
# Samples that nearly repeat one another, and samples close to training samples.
# ----------------------------------------------------------------------------

# A copy is at most a third as far from its training sample as that one is from its nearest fellow:
# the mean of two neighbours, the nearest that a blurred sample comes, is half as far.
_COPY = 1 / 3
# Two samples repeat each other if they are nearer than half the distance within which 5 % of the
# real samples have another one, as in the birthday test.
_REPEAT, _QUANTILE = 1 / 2, 0.05


def repeats(real: Tensor, x: Tensor, searches: Searches | None = None) -> Tensor:
    """Returns the number of near-duplicates and of samples, shape ``(2,)``.

    Of samples that all repeat one another, all but one count.

    Args:
        real: Features of the reference, which says what is near, shape ``(n, d)``.
        x: Features of the samples, one for each group, shape ``(m, d)``.
        searches: Where neighbours within each set are looked up, and kept.
    """
    if min(len(real), len(x)) < 3:
        return torch.tensor([0, len(x)])
    base, own = points(*checked(real, x))
    searches = searches or Searches()
    nearest = searches.first(base).distance[:, 0].sort().values
    limit = _REPEAT**2 * nearest[int(_QUANTILE * len(nearest))]
    near = searches.first(own)
    is_near = near.distance[:, 0] <= edge(limit.expand(len(own)), own)
    here = is_near.nonzero()[:, 0]
    distinct, _ = _components(here, near.index[here, 0], len(own))
    return torch.tensor([len(own) - distinct, len(own)])


def nearest(real: Tensor, x: Tensor, train: Tensor) -> dict[str, Tensor]:
    """Returns the distances of samples from training samples.

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
    found, other = knn(own, base), knn(own, reference)
    distance, apart = found.distance[:, 0], other.distance[:, 0]
    trained = (distance < apart).double() + 0.5 * (distance == apart).double()
    owner = torch.where(trained > 0, found.index[:, 0], len(train) + other.index[:, 0])
    return {
        "distance": distance.sqrt() / base.scale,
        "copy": _is_copy(base, found),
        "owner": owner,
        "trained": trained,
        "sizes": torch.tensor([len(train), len(real)]),
    }


def copies(x: Tensor, train: Tensor) -> Tensor | None:
    """Returns which samples are copies of training samples, as ``nearest`` does, in less time.

    Args:
        x: Features of the samples, shape ``(m, d)``.
        train: Features of the training samples, shape ``(t, d)``.

    Returns:
        Bool, shape ``(m,)``; None with fewer than two of either.
    """
    if min(len(x), len(train)) < 2:
        return None
    base, own = points(*checked(train, x, names=("train", "fake")))
    return _is_copy(base, knn(own, base))


def _is_copy(base: Points, found: Nearest) -> Tensor:
    """Returns which samples are copies of the first of the neighbours found in ``base``.

    The second one bounds how far the first is from its nearest fellow, and settles most samples.
    """
    owner, distance = found.index[:, 0], found.distance[:, 0]
    bound = base.apart(owner, base, found.index[:, 1])
    copied = torch.zeros(len(owner), dtype=torch.bool, device=owner.device)
    unsure = (distance <= edge(_COPY**2 * bound, base, owner)).nonzero()[:, 0]
    if len(unsure):
        owners, which = torch.unique(owner[unsure], return_inverse=True)
        edges = edge(_COPY**2 * nearest_distance_within(owners, base), base, owners)
        copied[unsure] = distance[unsure] <= edges[which]
    return copied


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RateComparison:
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


def repeating(fake: Mapping[str, Tensor], floor: Mapping[str, Tensor]) -> RateComparison | None:
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
    return RateComparison(count=count, n=n, floor_count=other, floor_n=m, p=p)


def copying(fake: Mapping[str, Tensor], floor: Mapping[str, Tensor]) -> RateComparison | None:
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
    return RateComparison(
        count=count,
        n=n,
        floor_count=other,
        floor_n=m,
        p=p_greater_rate(count, n, other, m),
        also=max(p_smaller_values(fake["distance"], floor["distance"]), _owned(fake)),
    )


def _owned(fake: Mapping[str, Tensor]) -> float:
    """Returns the p-value against "training samples own no more fakes than their number says".

    Which of all real samples are training samples is assigned at random, in the normal limit.
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
