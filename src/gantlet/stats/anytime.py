"""Tests that may be looked at after every observation: e-values, their mixtures, spent levels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

# ----------------------------------------------------------------------------
# Evidence of one look: an e-value is never negative and has mean 1 or less under the null
# hypothesis, so that its inverse is a p-value.
# ----------------------------------------------------------------------------


def log_evidence_of_rate(count: int, n: int, bound: float) -> float:
    """Returns the log of an e-value against "each of ``n`` trials succeeds at ``bound`` or less".

    The likelihood ratio of a rate spread evenly over ``(bound, 1)`` and of ``bound`` itself. Its
    mean is 1 at ``bound`` and less below, because the ratio grows with ``count``.

    Source: Grunwald, de Heide and Koolen, 2024, https://doi.org/10.1093/jrsssb/qkae011.

    Args:
        count: Successes among independent trials.
        n: Trials.
        bound: The largest rate under the null hypothesis, in (0, 1].

    Example:
        >>> log_evidence_of_rate(30, 100, 0.1) > 10, log_evidence_of_rate(5, 100, 0.1) < 0
        (True, True)
    """
    from scipy.special import betaln, log_ndtr

    if n == 0 or bound >= 1:
        return 0.0
    a, b = count + 1.0, n - count + 1.0
    tail = _log_beta_tail(a, b, bound)
    if tail is None:
        # So far above all plausible rates that only the nearest edge of the mixture counts.
        spread = math.sqrt(a * b / (a + b) ** 2 / (a + b + 1))
        tail = float(log_ndtr((a / (a + b) - bound) / spread))
    log_mixture = float(betaln(a, b)) + tail - math.log1p(-bound)
    missed = (n - count) * math.log1p(-bound)
    return log_mixture - count * math.log(bound) - missed


def _log_beta_tail(a: float, b: float, x: float) -> float | None:
    """Returns the log of the chance that a beta variable exceeds ``x``; None where it is 0."""
    from scipy.special import betainc

    # By the other tail, whose digits are not lost where this one is small.
    tail = float(betainc(b, a, 1 - x))
    return math.log(tail) if tail > 0 else None


def rate_upper(count: int, n: int, level: float) -> float:
    """Returns the exact upper confidence bound of a rate, wrong with probability ``level``.

    Source: Clopper and Pearson, 1934, https://doi.org/10.2307/2331986.

    Example:
        >>> round(rate_upper(0, 100, 0.05), 4)
        0.0295
    """
    from scipy.special import betaincinv

    return float(betaincinv(count + 1, n - count, 1 - level)) if count < n else 1.0


# ----------------------------------------------------------------------------
# Evidence of many looks.
# ----------------------------------------------------------------------------


@final
@dataclass(slots=True)
class ChangeEvidence:
    """Evidence that a null hypothesis, true at first, has stopped being so at some look.

    Looks that agree with the hypothesis cost nothing later: the product of e-values is started
    anew at each look ``s``, with weight ``1 / (s (s + 1))``, and the sum of all is a martingale
    that begins at 1 whenever each e-value has conditional mean 1. By Ville's inequality the sum
    ever exceeds ``1 / level`` with probability ``level`` at most, however often it is looked at
    and whenever one stops.

    Source: Ville, 1939; Shin, Ramdas and Rinaldo, 2024, https://doi.org/10.51387/23-NEJSDS43,
    who sum over starts, here with weights, which turns the average run length into a probability.

    Attributes:
        looks: Looks so far.
        log_started: Log of the sum over the starts so far.
        log_peak: Log of the largest evidence so far; 0 before any.

    Example:
        >>> evidence = ChangeEvidence()
        >>> for log_e in (-1.0, -1.0, -1.0, 9.0):
        ...     evidence.update(log_e)
        >>> evidence.exceeds(0.05)
        True
    """

    looks: int = 0
    log_started: float = -math.inf
    log_peak: float = 0.0

    def update(self, log_evidence: float) -> None:
        """Adds the e-value of a look, as its log."""
        self.looks += 1
        weight = -math.log(self.looks * (self.looks + 1))
        self.log_started = log_evidence + _log_sum(self.log_started, weight)
        self.log_peak = max(self.log_peak, self.log_now)

    @property
    def log_now(self) -> float:
        """Log of the evidence after the last look, the starts that are still to come included."""
        return _log_sum(self.log_started, -math.log(self.looks + 1))

    @property
    def p(self) -> float:
        """The p-value of the hypothesis, valid at every time: 1 over the largest evidence."""
        return math.exp(-self.log_peak)

    def exceeds(self, level: float) -> bool:
        """Returns whether all looks together have rejected the hypothesis at ``level``."""
        return self.log_peak >= -math.log(level)

    def state(self) -> dict[str, float]:
        """Returns plain values from which ``of_state`` continues; minus infinity as a text."""
        started = self.log_started if math.isfinite(self.log_started) else -1e308
        return {"looks": self.looks, "log_started": started, "log_peak": self.log_peak}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "ChangeEvidence":
        """Restores the state that ``state`` returned."""
        started = float(state["log_started"])
        return cls(
            looks=int(state["looks"]),
            log_started=started if started > -1e307 else -math.inf,
            log_peak=float(state["log_peak"]),
        )


def _log_sum(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def level_of_look(level: float, look: int) -> float:
    """Returns the part of ``level`` that look ``look`` (from 1) may spend; all parts sum to it.

    Intervals that are each wrong with such a probability form a confidence sequence: all of them
    are right together, at every look, but with probability ``level``.

    Example:
        >>> sum(level_of_look(0.05, k) for k in range(1, 10_000)) <= 0.05
        True
    """
    return level / (look * (look + 1))
