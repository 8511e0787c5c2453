"""Whether fake samples lie nearer to each other than real ones do: copies, too little variety."""

import torch
from torch import Tensor

from gantlet.core.rng import Rng
from gantlet.critics.halves import Pair, nearness_of
from gantlet.metrics.blocks import blocks, squared_distances

# So many samples of each set are looked at, and so many neighbours of each: that none of them is
# of its own set happens once in 10^15.
_MOST, _NEIGHBOURS = 1500, 50


def repeats_p(features: Pair, *, permutations: int, rng: Rng) -> float:
    """Returns how often labels at random part the two sets as far by how near the nearest is.

    How near the nearest sample of its own set is depends on all of that set, so halves of it are
    not independent. Here everything is measured anew after labels are dealt out over all samples,
    which is right whatever depends on what.

    Args:
        features: All samples, as many real as fake ones.
        permutations: How often labels are dealt out.
        rng: Deals them out.
    """
    both = torch.cat([features.real[:_MOST], features.fake[:_MOST]])
    n = len(both)
    far = torch.cat([squared_distances(both[b], both).sqrt() for b in blocks(n, n)])
    far.fill_diagonal_(torch.inf)
    near = far.topk(min(_NEIGHBOURS, n - 1), dim=1, largest=False)
    far.fill_diagonal_(0.0)
    is_fake = torch.arange(n, device=both.device) >= n // 2
    generator = rng.stream("repeats")
    seen, beyond = abs(_apart(far, near.values, near.indices, is_fake)), 0
    for _ in range(permutations):
        dealt = torch.randperm(n, generator=generator, device=generator.device).to(both.device)
        beyond += abs(_apart(far, near.values, near.indices, is_fake[dealt])) >= seen - 1e-12
    return (1 + beyond) / (1 + permutations)


def _apart(far: Tensor, near: Tensor, whose: Tensor, is_fake: Tensor) -> float:
    """Returns the difference of the mean nearness, fake minus real."""
    is_own = is_fake[whose] == is_fake[:, None]
    first = is_own.to(torch.uint8).argmax(1, keepdim=True)
    nearest = near.gather(1, first)[:, 0]
    sums = far @ torch.stack([~is_fake, is_fake], 1).to(far)
    mean = sums.gather(1, is_fake.long()[:, None])[:, 0] / (len(far) // 2)
    value = nearness_of(nearest, mean)
    return float(value[is_fake].mean() - value[~is_fake].mean())
