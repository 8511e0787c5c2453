"""What a run may spend, and what it has spent."""

from dataclasses import dataclass, fields
from typing import final

from gantlet.core.errors import UserError

_BITS = 1000  # a larger number is no floating point number


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
    """The most a run may spend; whatever runs out first ends it. None is no limit.

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
        for field in fields(self):
            limit = getattr(self, field.name)
            if isinstance(limit, int) and limit.bit_length() > _BITS:
                raise UserError(f"The budget of {field.name} has {limit.bit_length()} bits.")
            if limit is not None and (
                isinstance(limit, (bool, str)) or not hasattr(limit, "real")
            ):
                raise TypeError(f"The budget of {field.name} must be a number. Got {limit!r:.60}.")
            if limit is not None and not 0 < limit < float("inf"):
                raise UserError(f"The budget of {field.name} must be above 0. Got {limit:g}.")

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
        """Whether there is any limit at all."""
        return any(getattr(self, f.name) is not None for f in fields(self))
