"""Estimates with uncertainty, budgets, trials and their outcomes."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, final

from gantlet.core.errors import UserError

# ----------------------------------------------------------------------------
# Budget and resources used.
# ----------------------------------------------------------------------------

_BITS = 1000  # larger integers do not fit a float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """Resources used so far. All but ``seconds`` repeat exactly with the same seed and threads.

    Attributes:
        flops: Floating point operations; a multiply-add counts as two. Training steps and
            validation are both charged.
        examples: Training examples consumed, repeats counted.
        steps: Calls of ``Play.step``.
        seconds: Wall-clock time inside training steps and validation.
    """

    flops: float = 0.0
    examples: int = 0
    steps: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Spend") -> "Spend":
        """Returns the sum of both."""
        return Spend(
            flops=self.flops + other.flops,
            examples=self.examples + other.examples,
            steps=self.steps + other.steps,
            seconds=self.seconds + other.seconds,
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of a run, which ends at the first limit reached. None is no limit.

    Attributes:
        flops: Floating point operations in training, validation included.
        examples: Training examples, repeats counted.
        steps: Training steps.
        seconds: Wall-clock seconds; the only limit that does not repeat exactly.
    """

    flops: float | None = None
    examples: int | None = None
    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Checks every limit.

        Raises:
            UserError: If a limit is not positive and finite.
        """
        for one in fields(self):
            limit = getattr(self, one.name)
            if isinstance(limit, int) and limit.bit_length() > _BITS:
                raise UserError(f"The budget of {one.name} has {limit.bit_length()} bits.")
            if limit is not None and (
                isinstance(limit, (bool, str)) or not hasattr(limit, "real")
            ):
                raise TypeError(f"The budget of {one.name} must be a number. Got {limit!r:.60}.")
            if limit is not None and not 0 < limit < float("inf"):
                raise UserError(f"The budget of {one.name} must be above 0. Got {limit:g}.")

    def used(self, spend: Spend) -> float:
        """Returns the largest fraction of any limit that ``spend`` uses.

        Example:
            >>> Budget(flops=100, steps=10).used(Spend(flops=20, steps=5))
            0.5
        """
        pairs = ((getattr(spend, f.name), getattr(self, f.name)) for f in fields(self))
        return max((spent / limit for spent, limit in pairs if limit is not None), default=0.0)

    def fits(self, spend: Spend) -> bool:
        """Returns whether ``spend`` stays inside every limit."""
        return self.used(spend) <= 1.0

    @property
    def is_limited(self) -> bool:
        """Whether any limit is set."""
        return any(getattr(self, f.name) is not None for f in fields(self))


# ----------------------------------------------------------------------------
# Estimates with uncertainty.
# ----------------------------------------------------------------------------

Better = Literal["lower", "higher"]

Kind = Literal["exact", "lower", "upper", "estimate"]
"""Relation of a value to the quantity of its name: exact, a lower or an upper bound, or a noisy
estimate."""

KINDS_IN_WORDS: Mapping[Kind, str] = {
    "exact": "exact",
    "lower": "lower bound",
    "upper": "upper bound",
    "estimate": "noisy estimate",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A measured value with its uncertainty; never a bare number.

    Attributes:
        value: The estimate, or None if nothing could be measured.
        low: Lower end of the confidence interval, or None without an interval.
        high: Upper end of the confidence interval, or None without an interval.
        level: Confidence level of the interval, in [0, 1].
        n: Number of independent units (samples, seeds, repetitions).
        unit: Unit of the value; "1" for a dimensionless number.
        better: Which direction is better, or None.
        method: How value and interval were obtained, or why one of them is missing. Text for
            readers; logic must not depend on it.
        kind: Relation of the value to the quantity, where one name covers several kinds (a
            likelihood may be exact or a bound); else None.
        also: Further finite numbers, described in ``method``, by name: ``p`` (of a test),
            ``plain`` (plug-in value before bias correction), ``published`` (as computed by the
            usual code), ``real`` (the same on real samples).
        is_proportion: Whether the quantity lies in [0, 1] by definition, as a share of samples
            does. For what is computed from several estimates: outcomes keep it, reports do not.
        has_failed: Whether measuring it ended in an error, which another run need not meet.
            Outcomes keep it, reports do not.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    n: int = 0
    unit: str = "1"
    better: Better | None = None
    method: str = ""
    kind: Kind | None = None
    also: Mapping[str, float] = field(default_factory=dict[str, float], hash=False)
    is_proportion: bool = field(default=False, compare=False)
    has_failed: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        """Checks that value and interval are consistent.

        Raises:
            ValueError: If the interval has one end only or reversed ends, or there is neither an
                interval nor a reason.
        """
        if (self.low is None) != (self.high is None):
            raise ValueError("An interval needs both ends.")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"The interval [{self.low}, {self.high}] is the wrong way round.")
        if self.low is None and not self.method:
            raise ValueError("An estimate without an interval must say why, in method.")

    @classmethod
    def missing(cls, reason: str, *, unit: str = "1", better: Better | None = None) -> "Estimate":
        """Returns an estimate without a value, with the reason."""
        return cls(value=None, unit=unit, better=better, method=reason)

    @classmethod
    def exact(
        cls,
        value: float,
        *,
        method: str = "exact count",
        unit: str = "1",
        n: int = 1,
        better: Better | None = None,
    ) -> "Estimate":
        """Returns an exact number: its interval is the number itself."""
        return cls(
            value=value,
            low=value,
            high=value,
            level=1.0,
            n=n,
            unit=unit,
            better=better,
            method=method,
        )

    def named(self, *, unit: str, better: Better | None) -> "Estimate":
        """Returns the same estimate under another unit and direction."""
        return replace(self, unit=unit, better=better)

    def as_proportion(self) -> "Estimate":
        """Returns the same estimate as that of a proportion, its interval cut to [0, 1]."""
        return replace(self, is_proportion=True).possible()

    def possible(self) -> "Estimate":
        """Returns the same estimate, with the part of its interval that is possible.

        That of a proportion has no end outside of [0, 1], which intervals of equal sides, such as
        Student's t over seeds, may have. Coverage stays what it was.

        Example:
            >>> e = Estimate(value=0.9, low=0.7, high=1.1, is_proportion=True).possible()
            >>> e.low, e.high
            (0.7, 1.0)
        """
        if not self.is_proportion or self.low is None or self.high is None:
            return self
        return replace(self, low=max(self.low, 0.0), high=min(self.high, 1.0))

    def beside(self, **numbers: float) -> "Estimate":
        """Returns the same estimate with additional numbers; non-finite ones are omitted.

        Example:
            >>> Estimate(value=1.0, method="m").beside(p=0.5, real=math.nan).also
            {'p': 0.5}
        """
        finite = {name: x for name, x in numbers.items() if math.isfinite(x)}
        return replace(self, also={**self.also, **finite})

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval, or None without an interval."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2


# ----------------------------------------------------------------------------
# Trials and their outcomes.
# ----------------------------------------------------------------------------

REAL = "real"
"""The name of the model that is held-out real data: the noise floor of every distance."""

INFLUENCE = "influence"
"""Name under which a trial's folder stores influence values for paired differences."""

CONTROL = "control"
"""Marks numbers measured with the sample size of the noise floor."""

Failure = Literal["diverged", "cannot", "failed"]
"""Why a trial has no numbers: its training diverged, which is a result; the model cannot be
trained or measured on this data; or another error, possibly transient, such as out of memory."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One model on one data set with one seed under one budget, as plain data.

    Attributes:
        parts: The written form of each component with all defaults written out, by role, and
            plain settings as text: ``{"model": "gan:latent=32,...", "batch": "128"}``.
        budget: Budget of the trial.
        seed: Random seed of the trial.
    """

    parts: Mapping[str, str]
    budget: Budget = field(default_factory=Budget)
    seed: int = 0

    @property
    def model(self) -> str:
        """The model in written form, or what else is tried; the key where nothing says."""
        return self.parts.get("model", self.key)

    @property
    def data(self) -> str:
        """The data set in written form; empty where the trial has none."""
        return self.parts.get("data", "")

    @property
    def key(self) -> str:
        """A short name for the trial; equal trials have equal keys.

        Example:
            >>> Trial(parts={"model": "gan"}).key == Trial(parts={"model": "gan"}).key
            True
        """
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


Topic = Literal["training", "features", "meter", "pairs"]
"""Topic of a note: training, feature extraction, operations that the meter could not count, or
the pairing of outputs and targets."""


@final
@dataclass(frozen=True, slots=True)
class Note:
    """A note on a trial for the reader of the report.

    Attributes:
        text: One sentence, without capital and full stop.
        about: Its topic, by which a report selects notes.
    """

    text: str
    about: Topic


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a trial.

    Attributes:
        trial: The trial.
        spend: Resources used in training. Its ``seconds`` are stored with the clock.
        scores: Measurements that repeat exactly, by name.
        clock: Hardware-dependent measurements, by name: times, rates, memory.
        notes: Notes for the reader of the report.
        details: Further results for the report of the study, plain JSON values.
        error: Why the trial failed or diverged, or None.
        failure: Kind of failure, or None without an error.
    """

    trial: Trial
    spend: Spend = field(default_factory=Spend)
    scores: Mapping[str, Estimate] = field(default_factory=dict[str, Estimate])
    clock: Mapping[str, Estimate] = field(default_factory=dict[str, Estimate])
    notes: tuple[Note, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    error: str | None = None
    failure: Failure | None = None

    def __post_init__(self) -> None:
        """Treats an error without a stated kind as possibly transient."""
        if (self.error is None) != (self.failure is None):
            object.__setattr__(self, "failure", None if self.error is None else "failed")
