"""How much of a distance goes with the prior, and how much with the technique.

A design is cells ``(prior, technique)``, some of them empty, with the log distance of each seed.
Two cells that share their technique differ in the prior alone, and the other way round.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from statistics import fmean
from typing import NamedTuple, final

from gantlet.core.estimate import Estimate
from gantlet.stats.intervals import LEVEL as CONFIDENCE
from gantlet.stats.intervals import Variance, t_above, t_quantile, total


class DesignCell(NamedTuple):
    """A cell of a design.

    Attributes:
        prior: Its prior, by name.
        technique: Its technique, by name.
    """

    prior: str
    technique: str


@final
@dataclass(frozen=True, slots=True)
class Tested:
    """A number that is tested against a limit, by Welch's t.

    Attributes:
        estimate: The number.
        p: The p-value of the limit, two-sided.
        limit: The limit.
    """

    estimate: Estimate
    p: float
    limit: float = 0.0


def tested(value: float, variance: Variance, *, n: int, method: str) -> Tested:
    """Returns a number with Student's t interval, and its test against 0.

    Args:
        value: The number.
        variance: Its variance.
        n: Of how many trainings.
        method: In words.
    """
    scale = math.sqrt(max(variance.value, 0.0))
    half = t_quantile((1 + CONFIDENCE) / 2, variance.df) * scale if scale > 0 else 0.0
    # Without any spread, as where all are at the floor, nothing can be said of the noise.
    p = 2 * t_above(abs(value) / scale, variance.df) if scale > 0 else 1.0
    estimate = Estimate(value=value, low=value - half, high=value + half, n=n, method=method)
    return Tested(estimate, min(1.0, p))


def difference(a: Sequence[float], b: Sequence[float]) -> Tested:
    """Returns the difference of the means of two groups, by Welch's t.

    Source: Welch, 1947, https://doi.org/10.1093/biomet/34.1-2.28.

    Example:
        >>> d = difference([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
        >>> d.estimate.value, round(d.p, 3)
        (-1.0, 0.288)
    """
    return weighted({"a": a, "b": b}, {"a": 1.0, "b": -1.0})


def weighted(values: Mapping[str, Sequence[float]], weights: Mapping[str, float]) -> Tested:
    """Returns a weighted sum of the means of groups, each with a variance of its own.

    Args:
        values: At least two of each group.
        weights: One for each group.
    """
    found = math.fsum(w * fmean(values[k]) for k, w in weights.items())
    parts = [_variance(values[k], w) for k, w in weights.items()]
    n = sum(len(values[k]) for k in weights)
    return tested(found, total(parts), n=n, method=f"over {n} trainings, Welch's t")


def _variance(values: Sequence[float], weight: float) -> Variance:
    """Returns that of a weighted mean."""
    n = len(values)
    centre = fmean(values)
    spread = math.fsum((v - centre) ** 2 for v in values) / (n - 1) / n
    return Variance.of_squares(weight * weight * spread, n - 1)


# ----------------------------------------------------------------------------
# Prior against technique.
# ----------------------------------------------------------------------------


class Contrast(NamedTuple):
    """The difference of two levels of a factor.

    Attributes:
        a: One level.
        b: The other.
        test: By how much the log distance of the first is larger.
    """

    a: str
    b: str
    test: Tested


@final
@dataclass(frozen=True)
class Layout:
    """The log distances of a design.

    Attributes:
        values: By cell, those of every seed; cells have two or more.
    """

    values: Mapping[DesignCell, Sequence[float]]

    def pairs(self, *, prior: bool) -> list[tuple[DesignCell, DesignCell]]:
        """Returns the pairs of cells that differ in the prior alone, or in the technique alone."""
        return [
            (a, b)
            for a, b in combinations(self.values, 2)
            if (a.technique == b.technique if prior else a.prior == b.prior)
        ]

    @cached_property
    def prior(self) -> float:
        """The spread with the prior: the mean square of ``difference / sqrt(2)`` of its pairs.

        It is a variance, without what the noise of means adds to it, and may fall below 0.
        """
        return self._spread(self.pairs(prior=True))

    @cached_property
    def technique(self) -> float:
        """The spread with the technique, likewise."""
        return self._spread(self.pairs(prior=False))

    def is_comparable(self) -> bool:
        """Returns whether there are pairs of both kinds."""
        return bool(self.pairs(prior=True)) and bool(self.pairs(prior=False))

    def against(self) -> Tested:
        """Returns the spread with the prior less that with the technique, with its test.

        The variance is that of the delta method, with one of each cell (Welch, Satterthwaite).
        """
        up, down = self._slopes(prior=True), self._slopes(prior=False)
        slopes = {c: up[c] - down[c] for c in self.values}
        return self._along(self.prior - self.technique, slopes)

    def share(self) -> Estimate:
        """Returns the prior's part of both spreads, from 0 to 1; one half is a tie."""
        a, b = max(self.prior, 0.0), max(self.technique, 0.0)
        if a + b == 0:
            return Estimate.missing("cells do not differ beyond their noise")
        up, down = self._slopes(prior=True), self._slopes(prior=False)
        slopes = {c: (b * up[c] - a * down[c]) / (a + b) ** 2 for c in self.values}
        found = self._along(a / (a + b), slopes).estimate
        low, high = max(0.0, found.low or 0.0), min(1.0, 1.0 if found.high is None else found.high)
        return replace(found, low=low, high=high)

    def factors(self) -> tuple[float, float]:
        """Returns by what factor two cells differ that differ in the prior, and in the technique.

        The root of the mean square of the log ratio, as a ratio.
        """
        squares = (max(self.prior, 0.0), max(self.technique, 0.0))
        first, second = (math.exp(math.sqrt(2 * s)) for s in squares)
        return first, second

    def largest(self, *, prior: bool) -> Contrast | None:
        """Returns the difference of two priors, or of two techniques, with the least p-value.

        Of each two levels the mean over all cells that both have with the same other factor. The
        p-value is multiplied by the number of pairs of levels (Bonferroni).
        """
        found = list(self.contrasts(prior=prior))
        if not found:
            return None
        best = min(found, key=lambda c: c.test.p)
        return best._replace(test=replace(best.test, p=min(1.0, len(found) * best.test.p)))

    def contrasts(self, *, prior: bool) -> Iterator[Contrast]:
        """Yields the difference of each two priors, or of each two techniques."""
        place = 0 if prior else 1
        levels = dict.fromkeys(cell[place] for cell in self.values)
        for a, b in combinations(levels, 2):
            pairs = ((x, y) if x[place] == a else (y, x) for x, y in self.pairs(prior=prior))
            both = [(x, y) for x, y in pairs if (x[place], y[place]) == (a, b)]
            if both:
                yield Contrast(a, b, self._mean_difference(both))

    def _mean_difference(self, pairs: Sequence[tuple[DesignCell, DesignCell]]) -> Tested:
        values = {"/".join(c): self.values[c] for pair in pairs for c in pair}
        signs = {0: 1.0, 1: -1.0}
        weights = {
            "/".join(c): signs[i] / len(pairs) for pair in pairs for i, c in enumerate(pair)
        }
        return weighted(values, weights)

    def _spread(self, pairs: Sequence[tuple[DesignCell, DesignCell]]) -> float:
        return fmean(
            (self._means[a] - self._means[b]) ** 2 / 2
            - (self._noise[a].value + self._noise[b].value) / 2
            for a, b in pairs
        )

    def _slopes(self, *, prior: bool) -> dict[DesignCell, float]:
        """Returns how a spread changes with the mean of each cell."""
        pairs = self.pairs(prior=prior)
        slopes = dict.fromkeys(self.values, 0.0)
        for a, b in pairs:
            gap = (self._means[a] - self._means[b]) / len(pairs)
            slopes[a] += gap
            slopes[b] -= gap
        return slopes

    def _along(self, value: float, slopes: Mapping[DesignCell, float]) -> Tested:
        noise = self._noise
        parts = [
            Variance(s * s * noise[c].value, s**4 * noise[c].noise) for c, s in slopes.items()
        ]
        n = sum(map(len, self.values.values()))
        method = f"over {n} trainings in {len(self.values)} cells, delta method, Student's t"
        return tested(value, total(parts), n=n, method=method)

    @cached_property
    def _means(self) -> dict[DesignCell, float]:
        return {c: fmean(v) for c, v in self.values.items()}

    @cached_property
    def _noise(self) -> dict[DesignCell, Variance]:
        return {c: _variance(v, 1.0) for c, v in self.values.items()}
