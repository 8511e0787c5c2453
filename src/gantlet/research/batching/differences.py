"""Differences that are tested together, and how sentences tell them."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar, final

from typing_extensions import override

from gantlet.commands.batch.effects import p_paired
from gantlet.core.estimate import Estimate
from gantlet.report.format import text
from gantlet.stats.intervals import holm_adjusted

LEVEL = 0.05
"""Error rate of a test, family-wise where differences are tested together."""


@final
@dataclass(frozen=True, slots=True)
class PairedTest:
    """A difference that is tested together with others.

    Attributes:
        difference: The mean over seeds, paired.
        p: Its p-value by Student's t, adjusted over all that are tested together (Holm).
    """

    difference: Estimate
    p: float

    @property
    def sign(self) -> int:
        """1 or -1 as it is distinguished above or below 0, and 0 as it is not."""
        if self.p > LEVEL:
            return 0
        return 1 if (self.difference.value or 0) > 0 else -1

    @override
    def __str__(self) -> str:
        """The difference with its interval, and its p-value."""
        return f"{in_words(self.difference)}, p = {self.p:.2g}"


Key = TypeVar("Key", bound=Hashable)


def all_tested(differences: Mapping[Key, Estimate]) -> dict[Key, PairedTest]:
    """Returns differences that are tested together, at a family-wise error rate of 5 %.

    Example:
        >>> far = Estimate(value=1.0, low=0.9, high=1.1, n=5)
        >>> near = Estimate(value=0.1, low=-0.1, high=0.3, n=5)
        >>> [t.sign for t in all_tested({"far": far, "near": near}).values()]
        [1, 0]
    """
    adjusted = holm_adjusted([p_paired(d) for d in differences.values()])
    return {
        key: PairedTest(d, p) for (key, d), p in zip(differences.items(), adjusted, strict=True)
    }


def which(tests: Mapping[str, PairedTest], sign: int) -> str:
    """Returns the names of those with a sign, 0 for those that are not distinguished; or none."""
    return "; ".join(name for name, t in tests.items() if t.sign == sign) or "none"


def each(tests: Mapping[str, PairedTest]) -> str:
    """Returns every difference with its interval and p-value, as a sentence holds them."""
    return "; ".join(f"{name}: {t}" for name, t in tests.items())


def in_words(e: Estimate) -> str:
    """Returns a number with its interval, as a sentence holds it.

    Example:
        >>> in_words(Estimate(value=0.5, low=0.25, high=1.0, n=3))
        '0.500 (0.250 to 1)'
    """
    if e.value is None:
        return "not measured"
    if e.low is None:
        return f"at least {text(e.value)}" if e.kind == "lower" else text(e.value)
    return f"{text(e.value)} ({text(e.low)} to {text(e.high)})"
