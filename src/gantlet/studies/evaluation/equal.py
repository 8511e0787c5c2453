"""Samples that occur more than once: within a set, or in two sets."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gantlet.core.dataset import Source
from gantlet.core.space import Space
from gantlet.features.frozen import block_of

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


def occurs(x: Tensor, among: Tensor) -> Tensor:
    """Returns which of the samples ``x`` also are in another set, both given by ``digests``."""
    found: Tensor = torch.isin(x, among)
    return found


def repeated(x: Tensor) -> int:
    """Returns how many samples equal an earlier one of the same set."""
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
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n, m = int(a.max()) + 1, int(b.max()) + 1
    edges = coo_array((np.ones(len(a)), (a.numpy(), b.numpy() + n)), shape=(n + m, n + m))
    _, found = connected_components(edges, directed=False)
    whole = torch.from_numpy(found).long()
    labels: Tensor = torch.unique(whole[a], return_inverse=True)[1]
    return labels


def one_of_each(groups: Tensor | None, n: int) -> Tensor:
    """Returns the places of the first sample of each group, in order, or of all ``n``."""
    if groups is None:
        return torch.arange(n)
    order = groups.argsort(stable=True)
    first = torch.ones(n, dtype=torch.bool)
    first[1:] = groups[order[1:]] != groups[order[:-1]]
    return order[first].sort().values
