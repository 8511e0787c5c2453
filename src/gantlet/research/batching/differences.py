"""Differences that are tested together, and how sentences tell them."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar, final

from typing_extensions import override

from gantlet.commands.batch.effects import p_paired
from gantlet.core.estimate import Estimate
from gantlet.research.significance import in_words, sign_of
from gantlet.stats.intervals import holm_adjusted, paired


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
        return sign_of(self.difference, self.p)

    @override
    def __str__(self) -> str:
        """The difference with its interval, and its p-value."""
        return f"{in_words(self.difference)}, p = {self.p:.2g}"


def paired_by_seed(a: Mapping[int, float], b: Mapping[int, float]) -> Estimate | None:
    """Returns the mean of ``a - b`` over the seeds of both, or None with fewer than two."""
    both = sorted(a.keys() & b.keys())
    return paired([a[s] for s in both], [b[s] for s in both]) if len(both) > 1 else None


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
