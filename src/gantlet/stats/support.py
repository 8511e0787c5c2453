"""Size of a support: collisions, modes found, shares of mass, with intervals and tests.

A *collision* is a pair of samples that are equal, or nearer to each other than a threshold. With
``lambda`` the probability that two independent samples collide, ``1 / lambda`` is the *effective
support*: the number of equally likely samples that would collide as often (the exponential of the
Renyi entropy of order 2).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.stats.intervals import LEVEL, Variance, fraction

# ----------------------------------------------------------------------------
# Collisions among samples, and the effective support.
# ----------------------------------------------------------------------------

# By how much, in units of its own deviation for equally likely samples, the variance that pairs
# share through common samples must exceed 0 to count: see ``Collisions.widening``.
_CHANCE = 0.75


@final
@dataclass(frozen=True, slots=True)
class Collisions:
    """The collisions among ``n`` samples.

    Attributes:
        n: How many samples.
        count: How many of their ``n (n - 1) / 2`` pairs collide.
        wedges: How many pairs of colliding pairs share one sample.
    """

    n: int
    count: int
    wedges: int

    @classmethod
    def of(cls, partners: Tensor) -> "Collisions":
        """Returns the collisions from the number of others with which each sample collides.

        Args:
            partners: Whole numbers, shape ``(n,)``; their sum is even.

        Example:
            >>> Collisions.of(torch.tensor([2, 1, 1, 0]))
            Collisions(n=4, count=2, wedges=1)
        """
        own = partners.to(torch.int64)
        return cls(len(own), int(own.sum()) // 2, int((own * (own - 1)).sum()) // 2)

    @property
    def pairs(self) -> float:
        """How many pairs of samples there are."""
        return self.n * (self.n - 1) / 2

    @property
    def rate(self) -> float:
        """The share of pairs that collide: an unbiased estimate of ``lambda``."""
        return self.count / self.pairs

    @property
    def widening(self) -> float:
        r"""The variance of ``count`` over ``count``: 1 for a Poisson count, and without any.

        ``count / pairs`` is a U-statistic of degree 2, of variance (Hoeffding, 1948)

        ``lambda (1 - lambda) / pairs + 4 (n - 2) / (n (n - 1)) zeta``,

        where ``zeta`` is the variance of the probability that a given sample collides: 0 if all
        samples are equally likely, else dominant for many samples. It is estimated without bias,
        from pairs of collisions that share a sample and those that do not, and lowered by
        three quarters of its standard deviation for equally likely samples (``sqrt(8 lambda)``
        times the first term): as it counts as 0 below 0, it would else be too large on average.
        """
        n, count, rate = self.n, self.count, self.rate
        if not count or n < 4:
            return 1.0
        apart = count * (count - 1) - 2 * self.wedges
        zeta = 2 * self.wedges / (n * (n - 1) * (n - 2))
        zeta -= apart / (self.pairs * (n - 2) * (n - 3) / 2)
        second = rate * (1 - rate) / self.pairs
        first = 4 * (n - 2) / (n * (n - 1)) * zeta - _CHANCE * math.sqrt(8 * rate) * second
        # Where almost all pairs collide, the binomial variance vanishes; one pair may yet differ.
        return max((second + max(first, 0.0)) * self.pairs / rate, 1 / count)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Returns the interval of ``lambda``.

        That of a Poisson count (Garwood, 1936), on the scale on which the count has the mean and
        the variance of one: exact for few collisions of equally likely samples, and a gamma
        approximation of the U-statistic otherwise.
        """
        from scipy.special import gammaincinv

        wide, tail = self.widening, (1 - level) / 2
        scaled = self.count / wide
        low = wide * float(gammaincinv(scaled, tail)) if self.count else 0.0
        high = wide * float(gammaincinv(scaled + 1, 1 - tail))
        return low / self.pairs, min(high / self.pairs, 1.0)


def effective_support(found: Collisions, *, level: float = LEVEL, what: str = "") -> Estimate:
    """Returns ``1 / lambda`` with its interval; without a collision, why there is only a bound.

    Source: Arora and Zhang, 2017, https://arxiv.org/abs/1706.08224, for the idea; here all pairs
    count instead of the size at which a duplicate becomes as likely as not.

    Args:
        found: The collisions.
        level: Confidence level.
        what: What the samples are, for the method.

    Example:
        >>> e = effective_support(Collisions(n=1000, count=500, wedges=500))
        >>> round(e.value), round(e.low), round(e.high)
        (999, 915, 1093)
    """
    seen = f"{found.count:,} of {found.pairs:,.0f} pairs{what} collide"
    if not found.count:
        bound = 1 / _rate_above(found, level)
        return Estimate.missing(f"{seen}: at least {bound:.3g} ({level:.0%}, one-sided)")
    low, high = found.interval(level)
    return Estimate(
        value=1 / found.rate,
        low=max(1 / high, 1.0),
        high=1 / low,
        level=level,
        n=found.n,
        method=f"1 / share of colliding pairs; {seen}; gamma interval with the variance of a "
        f"U-statistic, {found.widening:.3g} times that of a Poisson count",
    ).beside(collisions=float(found.count))


def _rate_above(found: Collisions, level: float) -> float:
    """Returns the upper limit of the rate where no pair collides."""
    return -math.log(1 - level) / found.pairs


def support_ratio(fake: Collisions, real: Collisions, *, level: float = LEVEL) -> Estimate:
    """Returns the effective support of ``fake`` over that of ``real``, with interval and p-value.

    Given the sum of two Poisson counts, one of them is binomial (Przyborowski and Wilenski, 1940,
    https://doi.org/10.2307/2332612); each count is first put on the scale on which it has the
    variance of one. ``also["p"]`` is the one-sided p-value of "the ratio is not below 1";
    ``also["fake"]`` and ``also["real"]`` are the counts.

    Args:
        fake: Collisions of the samples to judge.
        real: Those of real samples, under the same threshold, which neither set has chosen.
        level: Confidence level.

    Example:
        >>> few, many = Collisions(1000, 50, 2), Collisions(1000, 500, 250)
        >>> e = support_ratio(many, few)
        >>> round(e.value, 3), round(e.low, 3), round(e.high, 3), e.also["p"] < 1e-9
        (0.1, 0.073, 0.134, True)
    """
    from scipy.special import betaincinv

    a, b = fake.count / fake.widening, real.count / real.widening
    # The probability that a collision on the common scale is a fake one, if both rates are equal.
    exposure = [c.pairs / c.widening for c in (fake, real)]
    tail = (1 - level) / 2
    low = float(betaincinv(a, b + 1, tail)) if a else 0.0
    high = float(betaincinv(a + 1, b, 1 - tail)) if b else 1.0
    p = _at_least(a, b, exposure[0] / sum(exposure))
    counts = f"{fake.count:,} and {real.count:,} collisions"
    beside = {"p": p, "fake": float(fake.count), "real": float(real.count)}
    if not fake.count or not real.count:
        return Estimate.missing(f"{counts}: no ratio without both").beside(**beside)
    scale = exposure[0] / exposure[1]
    return Estimate(
        value=real.rate / fake.rate,
        low=scale * (1 - high) / high,
        high=scale * (1 - low) / low,
        level=level,
        n=min(fake.n, real.n),
        better="higher",
        method=f"{counts}; conditional binomial interval and one-sided p-value, counts scaled to "
        "the variance of Poisson counts",
    ).beside(**beside)


def _at_least(a: float, b: float, share: float) -> float:
    """Returns the probability of at least ``a`` successes of ``a + b``, for real numbers too."""
    from scipy.special import betainc

    return float(betainc(a, b + 1, share)) if a > 0 else 1.0


def size_of_collision(support: float) -> float:
    """Returns the number of samples among which a collision has probability 1/2.

    Of ``N`` equally likely samples, ``s`` hold a collision with probability
    ``1 - exp(-s (s - 1) / (2 N))``, so that ``s`` is about ``1.18 sqrt(N)``.

    Example:
        >>> round(size_of_collision(1000), 1)
        37.7
    """
    return (1 + math.sqrt(1 + 8 * support * math.log(2))) / 2


def first_collisions(latest: Tensor) -> list[int]:
    """Returns the sizes of consecutive batches, each ended by its first collision.

    Samples in random order join a batch until one collides with another of it; then the next
    batch begins. So the sizes are independent draws of the number of samples that the birthday
    test needs. A last batch without collision is left out.

    Args:
        latest: Of each sample the place of the latest earlier one that it collides with, -1 for
            none, shape ``(n,)``.

    Example:
        >>> first_collisions(torch.tensor([-1, -1, 0, -1, 3, -1]))
        [3, 2]
    """
    sizes, start = list[int](), 0
    for place, other in enumerate(latest.tolist()):
        if other >= start:
            sizes.append(place - start + 1)
            start = place + 1
    return sizes


# ----------------------------------------------------------------------------
# Shares, and modes.
# ----------------------------------------------------------------------------


def wilson(count: int, n: int, *, of: str = "samples") -> Estimate:
    """Returns ``count / n`` with Wilson's interval.

    Source: Wilson, 1927, https://doi.org/10.2307/2276774.

    Example:
        >>> e = wilson(8, 10)
        >>> round(e.low, 3), e.value, round(e.high, 3)
        (0.49, 0.8, 0.943)
    """
    if not n:
        return Estimate.missing(f"no {of}")
    share = count / n
    method = f"{count:,} of {n:,} {of}, Wilson's interval"
    return fraction(share, Variance(share * (1 - share) / n), n=n, method=method)


def fewer_than(count: int, n: int, share: float) -> float:
    """Returns the one-sided p-value of "the probability is not below ``share``": exact binomial.

    Example:
        >>> fewer_than(0, 10, 0.5) == 0.5**10
        True
    """
    from scipy.special import bdtr

    return min(float(bdtr(count, n, share)), 1.0)


def divergence(counts: Tensor, shares: Tensor) -> float:
    """Returns ``KL(counts / n, shares)`` in nats; 0 without counts.

    Example:
        >>> round(divergence(torch.tensor([10, 0]), torch.tensor([0.5, 0.5])), 4)
        0.6931
    """
    p = counts.double() / counts.sum().clamp_min(1)
    seen = p > 0
    return max(float((p[seen] * (p[seen] / shares.double()[seen]).log()).sum()), 0.0)


def reverse_divergence(counts: Tensor, shares: Tensor) -> float:
    """Returns ``KL(shares, (counts + 1/2) / (n + modes / 2))`` in nats.

    A mode without a sample would make it infinite; half a sample is added to each (Krichevsky and
    Trofimov, 1981).
    """
    q, p = counts.double() + 0.5, shares.double()
    kept = p > 0
    return max(float((p[kept] * (p[kept] / (q / q.sum())[kept]).log()).sum()), 0.0)


_DRAWS = 400

Measure = Callable[[Tensor, Tensor], float]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ModeSummary:
    """How the samples of a set lie on modes of known probability.

    Attributes:
        modes: Modes with at least one sample on their support.
        high_quality: Share of samples on the support of a mode.
        divergence: ``KL(samples, truth)`` of the histogram of samples on the support: what the
            literature on mode collapse calls reverse KL.
        reverse: ``KL(truth, samples)``, with half a sample added to each mode.
    """

    modes: Estimate
    high_quality: Estimate
    divergence: Estimate
    reverse: Estimate


def summary_of_modes(
    counts: Tensor, n: int, weights: Tensor, *, rng: torch.Generator
) -> ModeSummary:
    """Returns how samples lie on modes of known probability.

    Divergences are plug-in values, as they are published; their intervals are those of the
    expected plug-in value at this sample size, by bootstrap, so that they can be compared with
    ``perfect_sampler`` of the same size.

    Args:
        counts: Samples on the support of each mode, shape ``(modes,)``.
        n: How many samples there are in all.
        weights: The probability of each mode, shape ``(modes,)``.
        rng: Draws the bootstrap samples; on the CPU.
    """
    inside = int(counts.sum())
    modes = Estimate.exact(
        float((counts > 0).sum()),
        n=n,
        unit="modes",
        better="higher",
        method=f"modes of {len(counts)} with a sample on their support: counted in these samples; "
        "other samples may differ",
    )
    drawn = _histograms(counts.double() / max(inside, 1), inside, rng) if inside else []
    return ModeSummary(
        modes=modes,
        high_quality=wilson(inside, n).named(unit="1", better="higher"),
        divergence=_resampled(divergence, counts, weights, drawn),
        reverse=_resampled(reverse_divergence, counts, weights, drawn),
    )


def perfect_sampler(
    n: int, weights: Tensor, ceiling: float, *, rng: torch.Generator
) -> ModeSummary:
    """Returns what ``n`` samples of the truth itself give: the mean, and the range of 95 %.

    The share on the support is known, the others are simulated. Plug-in divergences of a perfect
    sampler are about ``(modes - 1) / (2 n)``, not 0.

    Args:
        n: How many samples.
        weights: The probability of each mode, shape ``(modes,)``.
        ceiling: The probability that a sample lies on the support of its mode.
        rng: Draws the samples; on the CPU.
    """
    from scipy.special import bdtrik

    w = weights.double() / weights.sum()
    shares = torch.cat([w * ceiling, w.new_tensor([max(1 - ceiling, 0.0)])])
    drawn = [counts[:-1] for counts in _histograms(shares, n, rng)]
    ends = [min(max(math.ceil(float(bdtrik(q, n, ceiling))), 0), n) / n for q in (0.025, 0.975)]
    quality = Estimate(
        value=ceiling,
        low=min(ends[0], ceiling),
        high=max(ends[1], ceiling),
        n=n,
        method=f"a perfect sampler: {_RANGE.format(n)}, exact",
    )
    return ModeSummary(
        modes=_range([float((c > 0).sum()) for c in drawn], n, "modes"),
        high_quality=quality,
        divergence=_range([divergence(c, w) for c in drawn], n, "nats"),
        reverse=_range([reverse_divergence(c, w) for c in drawn], n, "nats"),
    )


_RANGE = "mean and range of 95 % of sets of {:,} samples"


def _range(values: Sequence[float], n: int, unit: str) -> Estimate:
    low, high = _middle(values)
    return Estimate(
        value=math.fsum(values) / len(values),
        low=low,
        high=high,
        n=n,
        unit=unit,
        method=f"a perfect sampler: {_RANGE.format(n)}, {len(values)} simulated",
    )


def _resampled(
    measure: Measure, counts: Tensor, weights: Tensor, drawn: Sequence[Tensor]
) -> Estimate:
    if not drawn:
        return Estimate.missing("no sample on the support", unit="nats", better="lower")
    value = measure(counts, weights)
    again = [measure(c, weights) for c in drawn]
    centre = math.fsum(again) / len(again)
    low, high = _middle(again)
    return Estimate(
        value=value,
        low=max(value - (high - centre), 0.0),
        high=value + (centre - low),
        n=int(counts.sum()),
        unit="nats",
        better="lower",
        method=f"plug-in value for {int(counts.sum()):,} samples on the support; interval of its "
        f"expectation at this size, {len(again)} bootstrap samples",
    )


def _middle(values: Sequence[float]) -> tuple[float, float]:
    """Returns the 2.5 % and the 97.5 % quantile."""
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = torch.tensor(values, dtype=torch.float64).quantile(ends).tolist()
    return low, high


def _histograms(shares: Tensor, n: int, rng: torch.Generator) -> list[Tensor]:
    """Returns draws of ``n`` samples with these probabilities as counts."""
    ends = shares.double().cumsum(0)
    ends = ends / ends[-1]
    places = (
        torch.searchsorted(ends, torch.rand(n, generator=rng, dtype=torch.float64), right=True)
        for _ in range(_DRAWS)
    )
    return [p.clamp_max(len(ends) - 1).bincount(minlength=len(ends)) for p in places]
