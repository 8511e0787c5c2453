"""What follows from a test, and how sentences tell its number."""

from gantlet.core.estimate import Estimate
from gantlet.report.format import text

LEVEL = 0.05
"""Error rate of a test, family-wise where several are made together."""


def sign_of(difference: Estimate, p: float) -> int:
    """Returns 1 or -1 as a difference is distinguished above or below 0, and 0 as it is not.

    Args:
        difference: The difference.
        p: Its p-value, adjusted for all that are tested together.
    """
    if p > LEVEL:
        return 0
    return 1 if (difference.value or 0.0) > 0 else -1


def in_words(e: Estimate) -> str:
    """Returns a number with its interval, as a sentence holds it.

    Example:
        >>> in_words(Estimate(value=0.5, low=0.25, high=1.0, n=3))
        '0.500 (0.250 to 1)'
    """
    if e.value is None:
        return "not measured"
    if e.low is None or e.high is None:
        return f"at least {text(e.value)}" if e.kind == "lower" else text(e.value)
    return f"{text(e.value)} ({text(e.low)} to {text(e.high)})"
