"""Intervals from a handful of repeats: means, paired differences, and how many would separate."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from gantlet.core.estimate import Better, Estimate


def t_quantile(p: float, df: float) -> float:
    """Returns the ``p`` quantile of Student's t with ``df`` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(df, p))


def mean(
    values: Sequence[float],
    *,
    level: float = 0.95,
    unit: str = "1",
    better: Better | None = None,
    of: str = "seeds",
) -> Estimate:
    """Returns the mean of independent repeats with Student's t interval.

    Example:
        >>> e = mean([1.0, 2.0, 3.0])
        >>> round(e.low, 3), e.value, round(e.high, 3)
        (-0.484, 2.0, 4.484)
    """
    n = len(values)
    if n == 0:
        return Estimate.missing(f"no {of}", unit=unit, better=better)
    centre = math.fsum(values) / n
    if n == 1:
        return Estimate(
            value=centre,
            n=1,
            unit=unit,
            better=better,
            method=f"one of the {of} only: no interval",
        )
    half = t_quantile((1 + level) / 2, n - 1) * _standard_error(values)
    return Estimate(
        value=centre,
        low=centre - half,
        high=centre + half,
        level=level,
        n=n,
        unit=unit,
        better=better,
        method=f"mean of {n} {of}, Student's t",
    )


def paired(
    a: Sequence[float],
    b: Sequence[float],
    *,
    level: float = 0.95,
    unit: str = "1",
    of: str = "seeds",
) -> Estimate:
    """Returns the mean of ``a[i] - b[i]`` with Student's t interval.

    Raises:
        ValueError: If the lengths differ.
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    return mean(differences, level=level, unit=unit, of=f"paired {of}")


def proportion(
    count: int,
    n: int,
    *,
    level: float = 0.95,
    unit: str = "1",
    better: Better | None = None,
    of: str = "samples",
) -> Estimate:
    """Returns ``count / n`` of independent trials with the exact binomial interval.

    Source: Clopper and Pearson, 1934, https://doi.org/10.2307/2331986.

    Example:
        >>> e = proportion(8, 10)
        >>> round(e.low, 3), e.value, round(e.high, 3)
        (0.444, 0.8, 0.975)
    """
    from scipy.special import betaincinv

    if n == 0:
        return Estimate.missing(f"no {of}", unit=unit, better=better)
    tail = (1 - level) / 2
    return Estimate(
        value=count / n,
        low=float(betaincinv(count, n - count + 1, tail)) if count > 0 else 0.0,
        high=float(betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0,
        level=level,
        n=n,
        unit=unit,
        better=better,
        method=f"{count} of {n} {of}, exact binomial interval",
    )


def percentage(count: int, n: int, *, of: str, why: str) -> Estimate:
    """Returns ``100 count / n`` with the exact binomial interval, in per cent.

    Args:
        count: How often it was so.
        n: Of how many independent trials.
        of: What a trial is, in the plural.
        why: Why there is no number where there was no trial.
    """
    found = proportion(count, n, of=of)
    if found.value is None or found.low is None or found.high is None:
        return Estimate.missing(why, unit="%")
    return replace(
        found, value=100 * found.value, low=100 * found.low, high=100 * found.high, unit="%"
    )


def p_value(difference: Estimate) -> float:
    """Returns the two-sided p-value of "no difference" that fits the interval, as if normal.

    Where the two sides of the interval differ, the one that faces zero counts.

    Example:
        >>> round(p_value(Estimate(value=1.0, low=0.0, high=2.0)), 3)
        0.05
    """
    value, low, high = difference.value, difference.low, difference.high
    if value is None or low is None or high is None or value == 0:
        return 1.0
    side = value - low if value > 0 else high - value
    z = statistics.NormalDist().inv_cdf((1 + difference.level) / 2)
    return math.erfc(abs(value) / side * z / math.sqrt(2)) if side > 0 else 0.0


def holm(p_values: Sequence[float], *, level: float = 0.05) -> list[bool]:
    """Returns which of several null hypotheses fall if none may fall wrongly but with ``level``.

    Source: Holm, 1979, https://www.jstor.org/stable/4615733.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [True, False, False]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    fallen = [False] * len(p_values)
    for rank, i in enumerate(order):
        if p_values[i] > level / (len(order) - rank):
            break
        fallen[i] = True
    return fallen


def is_separated(difference: Estimate) -> bool:
    """Returns whether the interval of a difference excludes zero."""
    if difference.low is None or difference.high is None:
        return False
    return difference.low > 0 or difference.high < 0


def _standard_error(values: Sequence[float]) -> float:
    n = len(values)
    centre = math.fsum(values) / n
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (n - 1) / n)
