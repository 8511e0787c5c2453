"""Jackknives and influence functions: bias, variance, paired differences."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Estimate
from gantlet.core.metric import GroupedMetric, Groups
from gantlet.stats.intervals import (
    LEVEL,
    Curvature,
    Variance,
    around,
    squared_distance,
    total,
)

# ----------------------------------------------------------------------------
# Two generators judged by the same real samples: the difference of their numbers.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Detailed:
    """An estimate and where its uncertainty comes from.

    Attributes:
        estimate: The number.
        real: What each real sample, group or fold of them adds to the number, centred, so that
            ``real.var() / len(real)`` is the part of the variance that comes from the real side.
        rest: The other part of the variance: from the fake side, and of second order.
    """

    estimate: Estimate
    real: Tensor
    rest: Variance


def estimate_of(found: Detailed | Estimate) -> Estimate:
    """Returns the number alone."""
    return found.estimate if isinstance(found, Detailed) else found


class Paired(ABC):
    """A metric that can tell where its uncertainty comes from."""

    __slots__ = ()

    @abstractmethod
    def detail(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Detailed:
        """Compares as ``measure`` does, and tells what each real sample adds.

        The real samples must come in the same order, and ``rng`` must be in the same state, for
        all generators that are to be compared.

        Raises:
            UserError: If the two sets cannot be compared.
        """

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares what the metric sees of both, for features shapes ``(n, d)`` and ``(m, d)``.

        Args:
            real: Of the real samples.
            fake: Of the fake samples.
            rng: Draws all that is random.

        Raises:
            UserError: If the two sets cannot be compared.
        """
        return self.detail(real, fake, rng=rng).estimate


class ClusteredPaired(Paired, GroupedMetric):
    """A paired metric whose interval holds for samples that come in groups, too."""

    __slots__ = ()

    @abstractmethod
    @override
    def detail(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Detailed:
        """Compares as ``measure`` does, and returns the influence of each real sample or group.

        The real samples must come in the same order, in the same groups, and ``rng`` must be in
        the same state, for all generators that are to be compared.

        Raises:
            UserError: If the two sets cannot be compared.
        """

    @final
    @override
    def measure(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Estimate:
        """Compares what the metric sees of both, for features shapes ``(n, d)`` and ``(m, d)``.

        Args:
            real: Of the real samples.
            fake: Of the fake samples.
            rng: Draws all that is random.
            groups: Which samples belong together.

        Raises:
            UserError: If the two sets cannot be compared.
        """
        return self.detail(real, fake, rng=rng, groups=groups).estimate


def difference(a: Detailed, b: Detailed) -> Estimate:
    """Returns the number of ``a`` minus that of ``b``, both taken against the same real samples.

    What the real samples add to both cancels, as in a paired t-test.

    Raises:
        ValueError: If the two were not taken against equally many real samples or folds.
    """
    if a.real.shape != b.real.shape:
        raise ValueError(f"Different real sides: {tuple(a.real.shape)}, {tuple(b.real.shape)}.")
    rough = unpaired(a.estimate, b.estimate)
    if rough.value is None or rough.half_width is None:
        # Where one has no interval, its influences are not to be trusted either.
        return rough
    shared, k = a.real - b.real, len(a.real)
    own = Variance.of_squares(float(shared.var()) / k, k - 1)
    found = around(
        rough.value,
        total((own, a.rest, b.rest)),
        n=min(a.estimate.n, b.estimate.n),
        method="paired on the same real samples, Student's t",
    )
    return found.named(unit=a.estimate.unit, better=a.estimate.better)


def unpaired(a: Estimate, b: Estimate) -> Estimate:
    """Returns ``a`` minus ``b`` as if they rested on different real samples, which is cautious.

    Each interval keeps its own sides, which may differ: those of counts and of shares do.

    Source: Zou and Donner, 2008, https://doi.org/10.1002/sim.3095, equation 4.
    """
    if a.value is None or b.value is None:
        return Estimate.missing("one of the two values is missing", unit=a.unit)
    value = a.value - b.value
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Estimate(value=value, unit=a.unit, better=a.better, method="no interval of one")
    return Estimate(
        value=value,
        low=value - math.hypot(a.value - a.low, b.high - b.value),
        high=value + math.hypot(a.high - a.value, b.value - b.low),
        n=min(a.n, b.n),
        unit=a.unit,
        better=a.better,
        method="samples treated as independent; half-widths of both intervals in quadrature",
    )


def variance_of_mean(terms: Tensor, group: Tensor | None = None) -> Variance:
    """Returns the variance of the mean of ``terms``; 0 where all are of one group.

    Sums over groups are taken as independent, the terms of one group as dependent on each other
    in whatever way.

    Args:
        terms: Float64, shape ``(n,)``.
        group: The group of each, numbered from 0, or None where all are independent.

    Example:
        >>> x = torch.tensor([1.0, 1.0, 3.0, 3.0], dtype=torch.float64)
        >>> variance_of_mean(x).value < variance_of_mean(x, torch.tensor([0, 0, 1, 1])).value
        True
    """
    if group is not None:
        terms = by_group(terms - terms.mean(), group)
    g = len(terms)
    return Variance.of_squares(float(terms.var()) / g, g - 1) if g > 1 else Variance(0.0)


def by_group(terms: Tensor, group: Tensor | None) -> Tensor:
    """Returns the sums of ``terms`` over groups, scaled so that their mean is that of ``terms``.

    Args:
        terms: Float64, shape ``(..., n)``.
        group: The group of each, numbered from 0 without gaps, or None where each is its own.

    Returns:
        Shape ``(..., groups)``.

    Example:
        >>> by_group(torch.tensor([1.0, 3.0, 8.0]).double(), torch.tensor([0, 0, 1])).tolist()
        [2.6666666666666665, 5.333333333333333]
    """
    if group is None:
        return terms
    sums = torch.zeros(*terms.shape[:-1], int(group.max()) + 1).to(terms)
    sums.index_add_(-1, group, terms)
    return sums * (sums.shape[-1] / terms.shape[-1])


def spread(influence: Tensor) -> Variance:
    """Returns the variance of a number from each sample's influence on it, all samples' together.

    Args:
        influence: By how much each sample moves the number, times ``n``, shape ``(n,)``.
    """
    n = len(influence)
    value = float(influence.var()) / n
    if not value > 0:
        return Variance(value)
    # Fourth powers of unit numbers, so that large features do not overflow.
    unit = (influence - influence.mean()) / math.sqrt(value * n)
    noise = max(float(unit.pow(4).mean()) - 1, 0.0) / n
    return Variance(value, noise * value * value)


def influence_by_group(influence: Tensor, group: Tensor | None) -> Tensor:
    """Returns the influence of each group on the number, times the number of groups.

    Args:
        influence: By how much each sample moves the number, times ``n``, shape ``(n,)``.
        group: The group of each sample, from 0 without gaps; None where no two share one.
    """
    if group is None:
        return influence
    count = int(group.max()) + 1
    sums = influence.new_zeros(count).index_add_(0, group, influence - influence.mean())
    return sums * (count / len(influence))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Influence:
    """What the samples of one set add to a number.

    Attributes:
        influence: By how much each sample moves the number, times ``n``, shape ``(n,)``; or each
            group, times the number of groups.
        twice: The part of second order, which the variance of ``influence`` holds twice.
    """

    influence: Tensor
    twice: float = 0.0


def detailed(
    value: float,
    real: Influence,
    fake: Influence,
    bent: Curvature,
    *,
    method: str,
    level: float = LEVEL,
) -> Detailed:
    """Returns the estimate of a squared distance of two independent sides, with its detail.

    The part of second order is taken off once, and always left once: near equality the rest is
    nothing but noise around zero.

    Args:
        value: The squared distance, without bias.
        real: What the real samples add.
        fake: What the fake samples add.
        bent: How its distribution changes with the true distance.
        method: How it was obtained.
        level: Confidence level of the interval.
    """
    n, second = min(len(real.influence), len(fake.influence)), real.twice + fake.twice
    of_real, of_fake = spread(real.influence), spread(fake.influence)
    both = total((of_real, of_fake))
    variance = Variance(max(both.value - second, second), both.noise)
    share = variance.value / both.value if both.value > 0 else 1.0
    centred = real.influence - real.influence.mean()
    return Detailed(
        squared_distance(value, both, second, bent, n=n, method=method, level=level),
        centred * math.sqrt(share),
        Variance(of_fake.value * share, of_fake.noise * share * share),
    )


Influences = Mapping[str, Tensor]


def influences(found: Mapping[str, Detailed | Estimate]) -> dict[str, Tensor]:
    """Returns the influence of each real sample on each number, and the remaining variance."""
    kept: dict[str, Tensor] = {}
    for name, one in found.items():
        if isinstance(one, Detailed):
            rest = torch.tensor([one.rest.value, one.rest.noise], dtype=torch.float64)
            kept |= {f"{name}/real": one.real.double().cpu(), f"{name}/rest": rest}
    return kept


def estimates(found: Mapping[str, Detailed | Estimate]) -> dict[str, Estimate]:
    """Returns the numbers alone."""
    return {k: e.estimate if isinstance(e, Detailed) else e for k, e in found.items()}


def detailed_from(name: str, estimate: Estimate, kept: Influences) -> Detailed | None:
    """Returns a number with its influences, or None where they were not kept."""
    real, rest = kept.get(f"{name}/real"), kept.get(f"{name}/rest")
    if real is None or rest is None:
        return None
    return Detailed(estimate, real, Variance(*rest.tolist()))


FOLDS = 20


def folds(
    n: int,
    *,
    rng: torch.Generator,
    device: torch.device,
    most: int = FOLDS,
    group: Tensor | None = None,
) -> Tensor:
    """Returns the fold of each of ``n`` samples, shape ``(n,)``.

    There are 20 folds of equal size to within one, or ``n`` or ``most`` if that is fewer. They are
    drawn at random, so that samples in sorted order do no harm. Where samples come in groups,
    numbered from 0 without gaps, whole groups are dealt.
    """
    if group is not None:
        return folds(int(group.max()) + 1, rng=rng, device=device, most=most)[group]
    order = torch.randperm(n, generator=rng, device=rng.device)
    return (order % min(FOLDS, n, most)).to(device)


@final
@dataclass(frozen=True, slots=True)
class Jackknifed:
    """What leaving out folds says of a statistic.

    Attributes:
        bias: How far the statistic lies above its value for an infinite sample, to first order.
        variance: Its variance.
    """

    bias: float
    variance: Variance


def jackknife(whole: Tensor, left_out: Tensor, fold: Tensor) -> Jackknifed:
    """Returns bias and variance of the statistic ``whole``, a scalar.

    Source: Busing, Meijer and van der Leeden, 1999, https://doi.org/10.1023/A:1008800423698,
    who allow folds of unequal size.

    Args:
        whole: The statistic of all samples.
        left_out: The statistic without each fold, shape ``(folds,)``.
        fold: The fold of each sample, shape ``(n,)``.
    """
    g, n = len(left_out), len(fold)
    m = fold.bincount(minlength=g).to(left_out)
    h = n / m
    corrected = g * whole - ((1 - m / n) * left_out).sum()
    pseudo = h * whole - (h - 1) * left_out
    variance = ((pseudo - corrected) ** 2 / (h - 1)).mean()
    return Jackknifed(float(whole - corrected), Variance.of_squares(float(variance), g - 1))


def shared(changes: Tensor) -> Variance:
    """Returns the part of the variance of a mean that comes from what its terms share.

    The terms ``z_j`` of a mean depend on each other through samples that they share, such as the
    centres of balls. When a fold of those is left out, the products of the changes of *different*
    terms estimate the covariance of the terms. Products of a change with itself are left out: they
    are what makes the jackknife too wide here, and ``var(z) / J`` holds their part already. May
    be negative.

    Args:
        changes: How leaving out each fold changes each term, over ``J``, shape ``(folds, J)``.
    """
    g = len(changes)
    centred = changes - changes.mean(0)
    everything = float(centred.sum(1).square().sum()) * (g - 1) / g
    own = float(centred.square().sum()) * (g - 1) / g
    return Variance(everything - own, Variance.of_squares(everything, g - 1).noise)


@dataclass(frozen=True, slots=True)
@final
class VarianceParts:
    """Where the uncertainty of a number comes from.

    Attributes:
        real: What each real sample, group or fold of them adds to the number, centred.
        rest: The variance that does not come from ``real``.
        whole: The whole variance.
    """

    real: Tensor
    rest: Variance
    whole: Variance


def over_fakes(terms: Tensor, by_real: Tensor, groups: Groups | None = None) -> VarianceParts:
    """Returns the spread of a mean over fake samples, whose terms share the real ones.

    Args:
        terms: The terms, shape ``(m,)``.
        by_real: How they change without each fold of real samples, shape ``(folds, m)``.
        groups: Which samples belong together, numbered from 0, if any do.
    """
    g, group = len(by_real), None if groups is None else groups.fake
    own = _own(terms, group)
    share = shared(_added(by_real, group))
    moved = by_real.mean(1)
    influence = (g - 1) * (moved.mean() - moved)
    everything = float(influence.var()) / g
    # Of what a fold changes, only the part that different terms have in common is variance of
    # the mean. The influences are made smaller to that part, so that differences can be paired.
    common = max(share.value, 0.0)
    shrunk = influence * (math.sqrt(common / everything) if everything > 0 else 0.0)
    whole = _limited(own.value + common, own.noise + share.noise, _df(groups, group, g))
    return VarianceParts(shrunk, own, whole)


def over_reals(
    terms: Tensor, changes: Sequence[Tensor], groups: Groups | None = None
) -> VarianceParts:
    """Returns the spread of a mean over real samples, whose terms share samples.

    Args:
        terms: The terms, shape ``(n,)``.
        changes: How they change without each fold of the real and of the fake samples, each of
            shape ``(folds, n)``.
        groups: Which samples belong together, numbered from 0, if any do.
    """
    group = None if groups is None else groups.real
    own = _own(terms, group)
    shares = [shared(_added(change, group)) for change in changes]
    common = max(math.fsum(s.value for s in shares), 0.0)
    noise = math.fsum(s.noise for s in shares)
    df = _df(groups, group, *(len(change) for change in changes))
    whole = _limited(own.value + common, own.noise + noise, df)
    return VarianceParts(by_group(terms - terms.mean(), group), _limited(common, noise, df), whole)


def _own(terms: Tensor, group: Tensor | None) -> Variance:
    """Returns the variance of the mean of the terms if groups of them shared nothing."""
    if group is None:
        return Variance(float(terms.var()) / len(terms))
    return variance_of_mean(terms, group)


def _added(changes: Tensor, group: Tensor | None) -> Tensor:
    """Returns the changes of the mean by each term, or group of terms, ``(folds, groups)``."""
    added = by_group(changes, group)
    return added / added.shape[1]


def _df(groups: Groups | None, group: Tensor | None, *folds: int) -> int:
    """Returns the fewest degrees of freedom that any part of a variance has."""
    if groups is None:
        return FOLDS - 1
    terms = FOLDS if group is None else int(group.max()) + 1
    return min(FOLDS, terms, *folds) - 1


def _limited(value: float, noise: float, df: int) -> Variance:
    """Returns a variance with no fewer degrees of freedom than the folds of one side have."""
    return Variance(value, min(noise, 2 * value * value / df))


def over_balls(
    held: tuple[Tensor, Tensor, Tensor], fold: Tensor, groups: Groups | None = None
) -> VarianceParts:
    """Returns the spread of a mean over balls around real samples, of what fakes they hold.

    Args:
        held: The term of each ball, shape ``(n,)``, and its terms without each fold of the real
            and of the fake samples, shapes ``(folds, n)``.
        fold: The fold of each real sample, shape ``(n,)``.
        groups: Which samples belong together, numbered from 0, if any do.
    """
    terms, by_real, by_fake = held
    return over_reals(terms, [without_own_fold(terms, by_real, fold), by_fake - terms], groups)


def without_own_fold(terms: Tensor, changed: Tensor, fold: Tensor) -> Tensor:
    """Returns the changes of the terms of a mean when each fold of samples is left out.

    A term that is left out takes itself with it, and fewer terms share the mean.

    Args:
        terms: The terms, shape ``(n,)``.
        changed: The terms without each fold, shape ``(folds, n)``; those left out are not used.
        fold: The fold of each, shape ``(n,)``.
    """
    left_out = fold == torch.arange(len(changed), device=fold.device)[:, None]
    fewer = len(terms) / (~left_out).sum(1, keepdim=True)
    return torch.where(left_out, terms.mean() - terms, changed - terms) * fewer
