"""Sample sizes, looks and seeds that show a difference of a given size, from pilot draws."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import final

from gantlet.core.estimate import Estimate
from gantlet.stats.intervals import t_quantile

_MOST, _MOST_LOOKS, _MOST_SEEDS = 10**9, 10_000, 10_000
_BOOTSTRAPS = 400
_FEWEST = 8


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PilotDraw:
    """The variance of one pilot difference between a set and its noise floor, in its parts.

    Attributes:
        n: Samples of the set, and of the noise floor.
        reference: Samples of the reference.
        fake: What the samples of the set add.
        floor: What those of the noise floor add.
        shared: What is left of the reference in the difference.
        differs: Whether the set differs by what is to be detected, or not at all.
    """

    n: int
    reference: int
    fake: float
    floor: float
    shared: float
    differs: bool = True


@final
@dataclass(frozen=True, slots=True)
class Noise:
    """How the variance of a difference falls with the number of samples.

    Each part of ``n`` samples is ``a / n + b / n^2``, as squared distances have one of second
    order; that of the reference is ``c / r + e / n``, as what it adds is itself known from the
    samples.

    Attributes:
        fake: ``a`` and ``b`` of the set.
        floor: The same of the noise floor.
        shared: ``c`` and ``e``.
    """

    fake: tuple[float, float]
    floor: tuple[float, float]
    shared: tuple[float, float]

    @classmethod
    def of(cls, draws: Sequence[PilotDraw]) -> "Noise":
        """Fits the variances of draws of two sizes, or one."""
        return cls(
            _falling([(d.n, d.fake) for d in draws]),
            _falling([(d.n, d.floor) for d in draws]),
            _shared(draws),
        )

    def variance(self, n: float, reference: float, *, looks: int = 1) -> float:
        """Returns the variance with so many samples, the set being the mean over some looks."""
        (a, b), (c, d), (shared, known) = self.fake, self.floor, self.shared
        of_fake = (a / n + b / n**2) / looks
        return of_fake + c / n + d / n**2 + shared / reference + known / n


def _shared(draws: Sequence[PilotDraw]) -> tuple[float, float]:
    """Returns ``c`` and ``e``, neither below zero, of draws with one size of the reference."""
    reference = fmean(d.reference for d in draws)
    sizes = sorted({d.n for d in draws})
    means = [fmean(math.sqrt(d.shared) for d in draws if d.n == n) ** 2 for n in sizes]
    if len(sizes) > 1:
        slope = (means[0] - means[-1]) / (1 / sizes[0] - 1 / sizes[-1])
        slope = min(max(slope, 0.0), means[-1] * sizes[-1])
        return (means[-1] - slope / sizes[-1]) * reference, slope
    return means[0] * reference, 0.0


def _falling(known: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Returns ``a`` and ``b``, neither below zero, of the usual variance at the two sizes.

    That of the mean standard deviation: variances are skewed, and their mean is that of a few.
    """
    sizes = sorted({n for n, _ in known})
    means = [fmean(math.sqrt(v) for m, v in known if m == n) ** 2 for n in sizes]
    if len(sizes) > 1:
        (n, m), (u, v) = (sizes[0], sizes[-1]), (means[0] * sizes[0], means[-1] * sizes[-1])
        b = (u - v) / (1 / n - 1 / m)
        a = v - b / m
        if b >= 0 and a >= 0:
            return a, b
        if a < 0:
            return 0.0, fmean(x * n**2 for n, x in zip(sizes, means, strict=True))
    return fmean(x * n for n, x in zip(sizes, means, strict=True)), 0.0


@final
@dataclass(frozen=True, slots=True)
class Noises:
    """The noise of sets that do not differ, and of sets that differ by what is to be detected.

    The variance of a squared distance grows with the distance. A test meets small differences with
    small standard errors, so that its critical difference lies between the two.

    Attributes:
        equal: Of sets without a difference.
        differing: Of sets with it.
    """

    equal: Noise
    differing: Noise

    @classmethod
    def of(cls, draws: Sequence[PilotDraw]) -> "Noises":
        """Fits both; that of differing sets stands for both where there are no others."""
        differing = Noise.of([d for d in draws if d.differs])
        equal = [d for d in draws if not d.differs]
        return cls(Noise.of(equal) if equal else differing, differing)

    def variances(self, n: float, reference: float, *, looks: int = 1) -> tuple[float, float]:
        """Returns the variance without and with the difference."""
        equal, differing = (
            noise.variance(n, reference, looks=looks) for noise in (self.equal, self.differing)
        )
        return equal, differing


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be shown, and by which test.

    Attributes:
        detect: The difference, above zero.
        tests: Over how many tests Holm's procedure goes; a single one must pass its first step.
        power: How often the difference is to be found.
        level: The family-wise error rate.
    """

    detect: float
    tests: int = 1
    power: float = 0.8
    level: float = 0.05

    def found(self, variances: tuple[float, float], tests: int | None = None) -> float:
        """Returns how often the difference is found.

        The variance is taken as linear in the difference ``D`` that is found, so that the critical
        one solves ``D^2 = z^2 (v + (w - v) D / detect)``.

        Args:
            variances: Without the difference, ``v``, and with it, ``w``.
            tests: How many tests share the level, if not those of the question.
        """
        normal, (v, w) = NormalDist(), variances
        if not w > 0:
            return 1.0
        z2 = normal.inv_cdf(1 - self.level / (2 * (tests or self.tests))) ** 2
        half = z2 * (w - v) / self.detect / 2
        critical = half + math.sqrt(half**2 + z2 * v)
        return normal.cdf((self.detect - critical) / math.sqrt(w))

    def shows(self, variances: tuple[float, float], tests: int | None = None) -> bool:
        """Returns whether it is found as often as wanted."""
        return self.found(variances, tests) >= self.power


def samples(noise: Noises, asked: Question, reals: int) -> int | None:
    """Returns how many samples a set needs, or None where the real samples do not suffice.

    As many of the ``reals`` are the noise floor, and the others the reference, as ``evaluate``
    divides them.
    """
    most = reals // 2
    if most < _FEWEST or not asked.shows(noise.variances(most, reals - most)):
        return None
    return _least(lambda n: asked.shows(noise.variances(n, reals - n)), _FEWEST, most)


def reals_needed(noise: Noises, asked: Question) -> int | None:
    """Returns the fewest real samples with which some number of samples would do."""

    def suffices(n: int) -> bool:
        return asked.shows(noise.variances(n, n))

    return 2 * _least(suffices, _FEWEST, _MOST) if suffices(_MOST) else None


def looks(noise: Noises, asked: Question, look: int, reals: int) -> int | None:
    """Returns how many looks of ``look`` samples would do, if the generator stays as it is.

    Each look may be tested: the level is divided among them. None where the noise floor and the
    reference, which are the same at all looks, are too noisy.
    """
    if reals < 2 * look:
        return None

    def suffices(k: int) -> bool:
        return asked.shows(noise.variances(look, reals - look, looks=k), asked.tests * k)

    # A level divided by more looks asks for more: the first that suffices is not far.
    return next((k for k in _growing(_MOST_LOOKS) if suffices(k)), None)


def _growing(most: int) -> list[int]:
    """Returns whole numbers up to ``most``, all of the first and every twentieth or so later."""
    found, k = [1], 1
    while k < most:
        k = max(k + 1, round(k * 1.05))
        found.append(k)
    return found


def seeds(variance: float, asked: Question) -> int | None:
    """Returns how many seeds a paired t-test needs, at least 2; None where too many.

    Args:
        variance: Of the difference of two models within a seed.
        asked: What is to be shown.
    """
    if not variance > 0:
        return 2
    size = asked.detect / math.sqrt(variance)

    def suffices(k: int) -> bool:
        return _t_power(k, size, asked.level / asked.tests) >= asked.power

    return _least(suffices, 2, _MOST_SEEDS) if suffices(_MOST_SEEDS) else None


def _t_power(k: int, size: float, level: float) -> float:
    """Returns the power of the two-sided t-test of ``k`` differences of mean ``size`` and SD 1."""
    from scipy.special import nctdtr

    critical = t_quantile(1 - level / 2, k - 1)
    centre = min(size * math.sqrt(k), 37.0)  # beyond, it is certain, and the function gives up
    return 1 - float(nctdtr(k - 1, centre, critical))


def _least(suffices: Callable[[int], bool], low: int, high: int) -> int:
    """Returns the least whole number that suffices, if all above it do and ``high`` does."""
    while low < high:
        middle = (low + high) // 2
        if suffices(middle):
            high = middle
        else:
            low = middle + 1
    return high


def with_interval(
    draws: Sequence[PilotDraw],
    found: Callable[[Noises], int | None],
    *,
    unit: str,
    method: str,
    why: str,
    seed: int = 0,
) -> Estimate:
    """Returns a planned number with the interval of a bootstrap over the pilot draws.

    Source: Efron, 1979, https://doi.org/10.1214/aos/1176344552; the interval of percentiles.

    Args:
        draws: The pilot draws.
        found: The number by the noise; None where none would do.
        unit: What it counts.
        method: How it was found.
        why: Why there is none, where there is none.
        seed: Seeds the bootstrap.
    """
    value = found(Noises.of(draws))
    if value is None:
        return Estimate.missing(why, unit=unit)
    rng, drawn = random.Random(seed), list[float]()
    kinds = sorted({(d.n, d.differs) for d in draws})
    sizes = [[d for d in draws if (d.n, d.differs) == kind] for kind in kinds]
    for _ in range(_BOOTSTRAPS):
        again = found(Noises.of([d for some in sizes for d in rng.choices(some, k=len(some))]))
        drawn.append(math.inf if again is None else again)
    drawn.sort()
    low, high = drawn[_BOOTSTRAPS // 40], drawn[-1 - _BOOTSTRAPS // 40]
    if math.isinf(high):
        return Estimate(
            value=value,
            n=len(draws),
            unit=unit,
            method=f"{method}; no interval: in some redraws no number suffices",
        )
    return Estimate(
        value=value,
        low=min(low, value),
        high=max(high, value),
        n=len(draws),
        unit=unit,
        method=method,
    )
