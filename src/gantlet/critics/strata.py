"""Permutation within strata: is there a difference among samples that are otherwise alike?"""

import torch
from torch import Tensor

from gantlet.critics.line import Pair
from gantlet.metrics.blocks import blocks

_STRATA = 20


def strata_of(known: Tensor) -> Tensor:
    """Returns numbers of about equally many samples, shape ``(n,)``, whose ``known`` is alike.

    Source: Rosenbaum and Rubin, 1984, https://doi.org/10.1080/01621459.1984.10478078.

    Differs from the paper: up to 20 strata, not 5.
    """
    levels = torch.linspace(0, 1, _STRATA + 1, dtype=known.dtype, device=known.device)[1:-1]
    return torch.bucketize(known.contiguous(), torch.unique(torch.quantile(known, levels)))


def stratified(
    z: Pair, strata: Tensor, *, permutations: int, rng: torch.Generator
) -> tuple[float, float]:
    """Returns whether fakes lie higher within strata: the p-value, and by how much.

    The difference is that of the means, fake minus real, in each stratum, weighted by how well it
    is known there; in standard deviations of the real numbers. Labels are dealt out anew within
    each stratum.

    Args:
        z: Numbers, shapes ``(n,)`` and ``(m,)``.
        strata: The stratum of each, real ones first, shape ``(n + m,)``.
        permutations: How often labels are dealt out.
        rng: Deals them out.
    """
    is_fake = torch.arange(len(strata), device=strata.device) >= len(z.real)
    order = strata.argsort(stable=True)
    value, group, fake = z.both()[order], strata[order], is_fake[order].to(z.real)
    count = torch.bincount(group).to(value)
    value = value - (torch.bincount(group, weights=value) / count)[group]
    fakes = torch.bincount(group, weights=fake)
    # In each stratum the first so many are called fake once they are shuffled.
    starts = count.cumsum(0) - count
    first = torch.arange(len(group), device=group.device) - starts[group] < fakes[group]
    seen, beyond = float(value @ fake), 0
    for block in blocks(permutations, len(group)):
        keys = torch.rand(block.stop - block.start, len(group), generator=rng, device=rng.device)
        places = (keys.to(value) + group).argsort(1)
        beyond += int(((value[places] * first).sum(1) >= seen - 1e-9).sum())
    weight = float((fakes * (count - fakes) / count).sum())
    shift = seen / max(weight, 1e-12) / float(z.real.std().clamp_min(1e-12))
    return (1 + beyond) / (1 + permutations), shift
