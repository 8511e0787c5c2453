"""Whether fake samples lie nearer to each other than real ones do: copies, too little variety."""

import torch
from torch import Tensor

from gantlet.core.rng import Rng
from gantlet.critics.halves import Halves, nearness_of
from gantlet.critics.line import Pair
from gantlet.metrics.blocks import blocks, squared_distances

# So many samples of each set are looked at, and so many neighbours of each: that none of them is
# of its own set happens once in 10^15.
_MOST, _NEIGHBOURS = 1500, 50
# A copy is nearer than half of the distance of this quantile, and than this share of the mean.
_NEAREST, _COPY = 0.01, 0.1
# Squared distances below this share of the mean are rounding.
_EQUAL = 1e-9


def repeats_p(features: Pair, *, permutations: int, rng: Rng) -> float:
    """Returns how often labels at random part the two sets as far by how near the nearest is.

    How near the nearest sample of its own set is depends on all of that set, so halves of it are
    not independent. Here everything is measured anew after labels are dealt out over all samples,
    which is right whatever depends on what.

    Args:
        features: All samples, as many real as fake ones, whitened by all of them or not at all:
            real samples in the frame of real ones lie otherwise than fake ones do.
        permutations: How often labels are dealt out.
        rng: Deals them out.
    """
    both = torch.cat([features.real[:_MOST], features.fake[:_MOST]]).float()
    n = len(both)
    far = torch.cat([squared_distances(both[b], both).sqrt() for b in blocks(n, n)])
    far.fill_diagonal_(torch.inf)
    near = far.topk(min(_NEIGHBOURS, n - 1), dim=1, largest=False)
    far.fill_diagonal_(0.0)
    is_fake = torch.arange(n, device=both.device) >= n // 2
    generator, whole = rng.stream("repeats"), far.sum(1)

    def apart(labels: Tensor) -> Tensor:
        return _apart(labels, far @ labels.T.to(far), whole, near.values, near.indices)

    seen, beyond = float(apart(is_fake[None]).abs()), 0
    for block in blocks(permutations, n):
        keys = torch.rand(block.stop - block.start, n, generator=generator, device=rng.device)
        dealt = is_fake[keys.argsort(1).to(both.device)]
        beyond += int((apart(dealt).abs() >= seen - 1e-7).sum())
    return (1 + beyond) / (1 + permutations)


def _apart(labels: Tensor, to_fake: Tensor, whole: Tensor, far: Tensor, whose: Tensor) -> Tensor:
    """Returns the difference of the mean nearness, fake minus real, for each row of labels.

    Args:
        labels: Which samples are called fake, shape ``(k, n)``.
        to_fake: The sum of distances of each sample to these, shape ``(n, k)``.
        whole: The sum of distances of each sample to all, shape ``(n,)``.
        far: Distances of each to its neighbours, the nearest first, shape ``(n, c)``.
        whose: Which these are.
    """
    found: list[Tensor] = []
    half = len(whole) // 2
    for row, fake in zip(labels, to_fake.T, strict=True):
        first = (row[whose] == row[:, None]).to(torch.uint8).argmax(1, keepdim=True)
        mean = torch.where(row, fake, whole - fake) / half
        value = nearness_of(far.gather(1, first)[:, 0], mean)
        found.append(value[row].mean() - value[~row].mean())
    return torch.stack(found)


def distinct(halves: Halves, fake: Tensor) -> Tensor:
    """Returns the places of fake samples of which none is a copy of one before it.

    A copy lies nearer than half of what one real sample in a hundred does to its nearest other.
    Copies are no evidence of anything else: a thousand copies of one bright image do not make a
    set too bright. Where one real sample in a hundred or more is equal to another (rows of few
    categories, short lines), equal fakes are no copies, and all of them count.

    Args:
        halves: What whitens features, and real samples.
        fake: Features of the fakes, shape ``(n, d)``.
    """
    z = halves.frame(fake)
    real = halves.seek_features.real[:_MOST]
    far = squared_distances(real, real)
    size = far.mean()
    far.fill_diagonal_(torch.inf)
    nearest = float(far.min(1).values.quantile(_NEAREST))
    if nearest <= _EQUAL * float(size):
        return torch.arange(len(z), device=z.device)
    limit = min(nearest / 4, float(size) * _COPY**2)
    is_copy = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    for block in blocks(len(z), len(z)):
        near = squared_distances(z[block], z) <= limit
        before = (
            torch.arange(len(z), device=z.device)
            < torch.arange(block.start, block.stop, device=z.device)[:, None]
        )
        is_copy[block] = (near & before).any(1)
    return (~is_copy).nonzero()[:, 0]
