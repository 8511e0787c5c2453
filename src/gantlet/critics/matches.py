"""One match of a generator and a critic, and cycles among many."""

import math
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.intervals import holm, p_value
from gantlet.critics.calibration import ranks

_Z = 1.959963984540054


def win_rate(fakes: Tensor, reals: Tensor) -> Estimate:
    """Returns how often a critic holds a fake for more real than a held-out real sample.

    The area under the critic's ROC curve, seen from the generator: 0 if the critic is never
    fooled, 1/2 if it is blind; above 1/2 it likes fakes better. The interval is for fresh fakes
    and fresh reals, with the critic as it is.

    Source: DeLong, DeLong and Clarke-Pearson, 1988, https://doi.org/10.2307/2531595.

    Differs from the paper: the variances of the placements are at least ``1 / (4 n)``, so that an
    interval is never a single point.

    Args:
        fakes: Scores of fakes, shape ``(n,)``, at least two.
        reals: Scores of held-out reals, shape ``(m,)``, at least two.
    """
    a, b = ranks(fakes, reals), 1 - ranks(reals, fakes)
    value = float(a.mean())
    variance = sum(_variance(r) / len(r) for r in (a, b))
    half = _Z * math.sqrt(variance)
    return Estimate(
        value=value,
        low=max(0.0, value - half),
        high=min(1.0, value + half),
        n=min(len(fakes), len(reals)),
        better="higher",
        method=f"{len(fakes)} fakes against {len(reals)} held-out reals, DeLong",
    )


def _variance(placements: Tensor) -> float:
    n = len(placements)
    return max(float(placements.var()), 0.25 / n)


def wins_of(rates: Mapping[tuple[str, str], Estimate]) -> set[tuple[str, str]]:
    """Returns who beats whom: win rates told from 1/2 by Holm's procedure over all matches.

    Args:
        rates: The win rate of the first player of a pair against the second.
    """
    pairs = list(rates)
    off = [_from_half(rates[pair]) for pair in pairs]
    sure = holm([p_value(e) for e in off])
    return {
        (a, b) if (e.value or 0.0) > 0 else (b, a)
        for (a, b), e, is_sure in zip(pairs, off, sure, strict=True)
        if is_sure
    }


def _from_half(rate: Estimate) -> Estimate:
    if rate.value is None or rate.low is None or rate.high is None:
        return Estimate.missing("not played")
    # An end cut off at 0 or 1 would make the rate look surer than it is.
    half = max(rate.value - rate.low, rate.high - rate.value)
    value = rate.value - 0.5
    return Estimate(value=value, low=value - half, high=value + half)


def cycles(wins: set[tuple[str, str]], *, longest: int = 4) -> list[tuple[str, ...]]:
    """Returns every cycle of ``longest`` players at most in which each beats the next.

    The last beats the first. A cycle begins with its first player in alphabetical order; cycles
    are sorted by length, then by name.

    Example:
        >>> cycles({("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")})
        [('a', 'b', 'c')]
    """
    beaten: dict[str, list[str]] = {}
    for winner, loser in sorted(wins):
        beaten.setdefault(winner, []).append(loser)
    found = [c for start in sorted(beaten) for c in _from(beaten, [start], longest)]
    return sorted(found, key=lambda c: (len(c), c))


def _from(
    beaten: Mapping[str, Sequence[str]], path: list[str], longest: int
) -> Iterator[tuple[str, ...]]:
    for loser in beaten.get(path[-1], ()):
        if loser == path[0]:
            yield tuple(path)
        elif loser > path[0] and loser not in path and len(path) < longest:
            yield from _from(beaten, [*path, loser], longest)
