"""Which samples train a classifier and which judge it: groups and equal samples stay together."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.measure import Groups
from gantlet.metrics.duplicates import equal_rows
from gantlet.metrics.groups import checked_groups


@final
@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """The rows of the real and of the fake set that train a classifier, and those that judge it.

    Attributes:
        train: Equally many of each set.
        test: The others; equally many of each set where there are no groups.
        group: The group of each sample of ``test``, numbered from 0 over both sets, or None where
            there are none.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    group: tuple[Tensor, Tensor] | None

    @property
    def too_few(self) -> str | None:
        """Why no classifier can be trained and judged, or None."""
        if min(len(z) for z in (*self.train, *self.test)) > 0:
            return None
        return (
            "cannot be split: equal samples and those of one group stay on one side, and nearly "
            "all of a set are equal or of one group"
        )


def halves(
    group: tuple[Tensor, Tensor] | None,
    sizes: tuple[int, int],
    *,
    rng: torch.Generator,
    device: torch.device,
) -> Halves:
    """Returns a random split in halves; of the larger set as many as the smaller has are used.

    Args:
        group: The group of each sample of both sets, numbered from 0 over both, if there are any.
        sizes: How many samples each set has.
        rng: Draws the split.
        device: Where the sets lie.
    """
    size = min(sizes)
    x, y = (torch.randperm(n, generator=rng, device=rng.device).to(device)[:size] for n in sizes)
    half = size // 2
    if group is None:
        return Halves((x[:half], y[:half]), (x[half:], y[half:]), None)
    known, dense = torch.unique(torch.cat([group[0][x], group[1][y]]), return_inverse=True)
    of_x, of_y = dense.split([size, size])
    trains = _sides(of_x, of_y, len(known), rng)
    most = min(int(trains[of_x].sum()), int(trains[of_y].sum()))
    learn = x[trains[of_x]][:most], y[trains[of_y]][:most]
    test = x[~trains[of_x]], y[~trains[of_y]]
    left = torch.unique(torch.cat([of_x[~trains[of_x]], of_y[~trains[of_y]]]), return_inverse=True)
    judged = left[1].split([len(z) for z in test])
    return Halves(learn, test, (judged[0], judged[1]))


def _sides(x: Tensor, y: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Returns which groups train: the larger ones first, each where samples are fewest.

    So that both sides get half of the real and half of the fake samples, as nearly as may be.
    """
    real, fake = (z.bincount(minlength=count).cpu() for z in (x, y))
    order = torch.randperm(count, generator=rng, device=rng.device).cpu()
    order = order[(real + fake)[order].sort(descending=True, stable=True).indices]
    coins = torch.rand(count, generator=rng, device=rng.device).cpu() < 0.5
    trains, more = coins.tolist(), [0, 0]
    sizes = torch.stack([real, fake], 1).tolist()
    for g in order.tolist():
        lean = more[0] * sizes[g][0] + more[1] * sizes[g][1]
        trains[g] = lean < 0 if lean else trains[g]
        sign = 1 if trains[g] else -1
        more = [m + sign * s for m, s in zip(more, sizes[g], strict=True)]
    return torch.tensor(trains, dtype=torch.bool, device=x.device)


def kept_together(
    real: Tensor, fake: Tensor, groups: Groups | None
) -> tuple[Tensor, Tensor] | None:
    """Returns the group of each sample, numbered from 0 over both sets, or None if all differ.

    Samples of one of ``groups`` belong together, and equal samples do, in one set or in both: a
    classifier must not be judged by what it has learned by heart. But where most of the samples
    that are repeated have twins in both sets, the data are discrete: then repeats are independent.
    """
    known = checked_groups(groups, len(real), len(fake))
    labels = [] if known is None else [_over_both(known, len(real), len(fake))]
    twins = torch.cat(equal_rows(real, fake))
    if len(torch.unique(twins)) < len(twins) and not _discrete(twins, len(real)):
        labels.append(twins)
    if not labels:
        return None
    joined = _joined(labels) if len(labels) > 1 else labels[0]
    return joined[: len(real)], joined[len(real) :]


def _over_both(groups: Groups, n: int, m: int) -> Tensor:
    real, fake = groups.real, groups.fake
    first = torch.arange(n) if real is None else real.cpu()
    second = torch.arange(m) if fake is None else fake.cpu()
    joined = torch.cat([first, second + int(first.max()) + 1])
    device = real.device if real is not None else fake.device if fake is not None else None
    return joined.to(device)


def _discrete(twins: Tensor, n: int) -> bool:
    """Returns whether most samples that are repeated have twins in both sets."""
    count = int(twins.max()) + 1
    real, fake = (z.bincount(minlength=count) for z in (twins[:n], twins[n:]))
    both = real + fake
    shared = both[(real > 1) & (fake > 1)].sum()
    return bool(2 * shared >= both[both > 1].sum())


def _joined(labels: list[Tensor]) -> Tensor:
    """Returns the groups of samples that any of the labels joins, directly or by others."""
    import numpy as np
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(labels[0])
    nodes, start = [], n
    for label in labels:
        nodes.append(label.cpu().numpy() + start)
        start += int(label.max()) + 1
    rows = np.tile(np.arange(n), len(labels))
    edges = coo_matrix((np.ones(len(rows)), (rows, np.concatenate(nodes))), shape=(start, start))
    found = connected_components(edges, directed=False)[1][:n]
    return torch.from_numpy(found).to(labels[0].device, torch.int64)
