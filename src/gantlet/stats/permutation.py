"""Permutation tests, stratified ones too, and effect sizes in one dimension."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.stats.intervals import around, proportion
from gantlet.stats.moments import blocks
from gantlet.stats.wasserstein import transport, wasserstein


def ranks(scores: Tensor, reals: Tensor) -> Tensor:
    """Returns for each score the share of held-out reals that it exceeds, ties half.

    The isotonic map that makes real samples uniform on [0, 1], estimated by the empirical
    distribution of ``reals``. Any increasing change of a critic, such as another loss or scale,
    leaves it as it is. Its mean over fakes is the probability that the critic holds a fake for
    more real than a real sample: 1/2 where they are indistinguishable.

    Args:
        scores: Scores of samples, shape ``(n,)``.
        reals: Scores of held-out real samples, shape ``(m,)``.

    Example:
        >>> ranks(torch.tensor([0.0, 2.0, 9.0]), torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist()
        [0.0, 0.375, 1.0]
    """
    order = reals.sort().values
    below = torch.searchsorted(order, scores.contiguous(), right=False)
    up_to = torch.searchsorted(order, scores.contiguous(), right=True)
    return (below + up_to).double() / (2 * len(reals))


# A list has about so many suspects, and names get this part of its level.
_SUSPECTS, _PART = 8, 0.4


def detectable_shift(h: int, *, level: float, smallest: float, power: float = 0.9) -> float:
    """Returns the smallest difference of the means, in deviations, that is found so often.

    That of a two-sided test of normal means of ``h`` samples each, at the level that is left to
    one of eight suspects; and so that the measured difference is above ``smallest`` as often.

    Args:
        h: How many held-out samples of each set there are.
        level: The level of the whole list.
        smallest: The minimum effect size.
        power: How often it shall be found.

    Example:
        >>> round(detectable_shift(600, level=0.05, smallest=0.2), 3)
        0.274
    """
    normal, error = NormalDist(), math.sqrt(2 / h)
    beyond = normal.inv_cdf(1 - _PART * level / _SUSPECTS / 2)
    lucky = normal.inv_cdf(power)
    return max((beyond + lucky) * error, smallest + lucky * error)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TwoSamples:
    """The same kind of numbers of real and of fake samples.

    Attributes:
        real: Shape ``(n, d)`` or ``(n,)``.
        fake: Shape ``(m, d)`` or ``(m,)``.
    """

    real: Tensor
    fake: Tensor

    def both(self) -> Tensor:
        """Returns real ones, then fake ones."""
        return torch.cat([self.real, self.fake])

    def column(self, j: int) -> "TwoSamples":
        """Returns one column of both."""
        return TwoSamples(real=self.real[:, j], fake=self.fake[:, j])

    def shift(self) -> Tensor:
        """Returns the difference of the means, fake minus real."""
        return self.fake.mean(0) - self.real.mean(0)


Kind = Literal["location", "scale", "shape"]

_BINS = 16

Score = Callable[[Tensor], Tensor]
"""Turns numbers, shape ``(n,)``, into scores: above 0 is more fake than real."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EffectSize:
    """How far fake numbers lie from real ones.

    Attributes:
        size: The Wasserstein distance of order 2, its bias removed, in standard deviations of the
            real numbers.
        location: The part of its square that the difference of the means makes, in [0, 1].
        scale: The part that the difference of the standard deviations makes.
        shift: The difference of the means, fake minus real, in the same unit.
    """

    size: Estimate
    location: float
    scale: float
    shift: float

    @property
    def kind(self) -> Kind:
        """What makes the largest part of it."""
        parts: dict[Kind, float] = {"location": self.location, "scale": self.scale}
        parts["shape"] = 1 - self.location - self.scale
        return max(parts, key=lambda name: parts[name])


def gap(real: Tensor, fake: Tensor, *, rng: torch.Generator) -> EffectSize:
    """Compares two sets of numbers, shapes ``(n,)`` and ``(m,)``.

    ``W_2^2 = (difference of means)^2 + (difference of deviations)^2 + rest``, the rest being that
    of shapes; the interval is the block jackknife's for the square, its ends under the root.
    """
    spread = real.std().clamp_min(1e-12)
    x, y = (real - real.mean()) / spread, (fake - real.mean()) / spread
    found = transport(x[:, None], y[:, None], x.new_ones(1, 1), 2, rng=rng)
    square = around(found.plain - found.bias, found.variance, n=min(len(x), len(y)), method="")
    shift, wider = float(y.mean() - x.mean()), float(y.std() - x.std())
    whole = max(found.plain, 1e-12)
    location = min(shift**2 / whole, 1.0)
    return EffectSize(
        size=_root(square),
        location=location,
        scale=min(wider**2 / whole, 1 - location),
        shift=shift,
    )


def p_values(real: Tensor, fake: Tensor, *, permutations: int, rng: torch.Generator) -> Tensor:
    """Returns the permutation p-value of a difference of means for each column, shape ``(d,)``.

    Args:
        real: Shape ``(n, d)``.
        fake: Shape ``(m, d)``.
        permutations: The number of label permutations.
        rng: Draws the permutations.
    """
    both = torch.cat([real, fake])
    both = (both - both.mean(0)) / both.std(0).clamp_min(1e-12)
    n, m = len(real), len(fake)
    # With the mean of all at zero, the sum over one set decides the difference of the means.
    seen = both[n:].sum(0).abs()
    beyond = torch.zeros_like(seen)
    for block in blocks(permutations, n + m):
        keys = torch.rand(block.stop - block.start, n + m, generator=rng, device=rng.device)
        labels = smallest(keys, m).to(both)
        beyond += ((labels @ both).abs() >= seen - 1e-9).sum(0)
    return (1 + beyond) / (1 + permutations)


def p_value(real: Tensor, fake: Tensor, *, permutations: int, rng: torch.Generator) -> float:
    """Returns the permutation p-value of ``W_2`` between samples ``(n,)`` and ``(m,)``."""
    n, m = len(real), len(fake)
    both = torch.cat([real, fake]).sort().values
    seen = wasserstein(real.sort().values[None], fake.sort().values[None], 2)
    beyond = 0
    for block in blocks(permutations, n + m):
        keys = torch.rand(block.stop - block.start, n + m, generator=rng, device=rng.device)
        is_real = smallest(keys, n).to(both.device)
        # Of the sorted whole, so that what is taken out of it is sorted too.
        whole = both.expand(len(keys), -1)
        x, y = whole[is_real].view(-1, n), whole[~is_real].view(-1, m)
        beyond += int((wasserstein(x, y, 2) >= seen - 1e-12).sum())
    return (1 + beyond) / (1 + permutations)


def smallest(keys: Tensor, k: int) -> Tensor:
    """Returns which are the ``k`` smallest numbers of each row, exactly ``k`` even if some tie.

    Which of the permuted labels are of the first set: found by selection in linear time, where a
    sort would also say their order, which nobody asks.

    Args:
        keys: Numbers, shape ``(rows, n)``.
        k: How many, from 1 to ``n``.

    Example:
        >>> smallest(torch.tensor([[0.3, 0.1, 0.2], [0.5, 0.6, 0.4]]), 2).tolist()
        [[False, True, True], [True, False, True]]
    """
    numbers = keys.cpu().numpy()
    found = torch.from_numpy(numbers <= np.partition(numbers, k - 1, axis=1)[:, k - 1 : k])
    tied = (found.sum(1) != k).nonzero()[:, 0]
    if len(tied):
        chosen = keys[tied].argsort(1)[:, :k].cpu()
        found[tied] = torch.zeros(len(tied), keys.shape[1], dtype=torch.bool).scatter_(
            1, chosen, value=True
        )
    return found


def score_of(real: Tensor, fake: Tensor) -> Score:
    """Returns the log of how many times likelier a number is among the fake ones.

    Counted in bins of equal share of both together, with neighbours' counts mixed in.
    """
    both = torch.cat([real, fake])
    inner = torch.linspace(0, 1, _BINS + 1, dtype=both.dtype, device=both.device)[1:-1]
    edges = torch.unique(torch.quantile(both[:: max(1, len(both) // 100_000)], inner))
    smooth = [
        _smooth(torch.bucketize(v.contiguous(), edges), len(edges) + 1) for v in (fake, real)
    ]
    ratio = (smooth[0] / smooth[0].sum() / (smooth[1] / smooth[1].sum())).log()
    return lambda v: ratio[torch.bucketize(v.contiguous(), edges)]


def accuracy(score: Score, real: Tensor, fake: Tensor) -> Estimate:
    """Returns the balanced accuracy of the sign of a score."""
    h = min(len(real), len(fake))
    right = int((score(fake[:h]) > 0).sum()) + int((score(real[:h]) <= 0).sum())
    return proportion(right, 2 * h, of="held-out samples classified correctly by this flaw alone")


def _smooth(places: Tensor, bins: int) -> Tensor:
    counts = torch.bincount(places, minlength=bins).double() + 1
    padded = torch.cat([counts[:1], counts, counts[-1:]])
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4


def _root(square: Estimate) -> Estimate:
    method = "square root of the squared distance on held-out samples, block jackknife"
    if square.value is None or square.low is None or square.high is None:
        return Estimate.missing(square.method)
    low, value, high = (math.sqrt(max(v, 0.0)) for v in (square.low, square.value, square.high))
    return Estimate(value=value, low=low, high=high, n=square.n, better="lower", method=method)


_STRATA = 20


def strata_of(known: Tensor) -> Tensor:
    """Returns numbers of about equally many samples, shape ``(n,)``, whose ``known`` is alike.

    Source: Rosenbaum and Rubin, 1984, https://doi.org/10.1080/01621459.1984.10478078.

    Differs from the paper: up to 20 strata, not 5.
    """
    levels = torch.linspace(0, 1, _STRATA + 1, dtype=known.dtype, device=known.device)[1:-1]
    return torch.bucketize(known.contiguous(), torch.unique(torch.quantile(known, levels)))


def stratified(
    z: TwoSamples, strata: Tensor, *, permutations: int, rng: torch.Generator
) -> tuple[float, float]:
    """Returns whether fakes lie higher within strata: the p-value, and by how much.

    The difference is that of the means, fake minus real, in each stratum, weighted by how well it
    is known there; in standard deviations of the real numbers. Labels are permuted within each
    stratum.

    Args:
        z: Numbers, shapes ``(n,)`` and ``(m,)``.
        strata: The stratum of each, real ones first, shape ``(n + m,)``.
        permutations: The number of label permutations.
        rng: Draws the permutations.
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
