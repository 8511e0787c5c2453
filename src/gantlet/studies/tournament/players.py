"""Who plays in a tournament, and what its scores are called."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

REALS = "held-out real data"
"""The player that is real data: test samples, which no critic has seen."""

SCALE = "validation data"
"""What critics are calibrated on: real samples that they have not learned from."""

JUDGES = " judges "
"""Stands between critic and player in the names of scores."""


@final
@dataclass(frozen=True, slots=True)
class Player:
    """A generator or a critic.

    Attributes:
        course: Of which training.
        step: After how many steps; None for a final model, or for data.
    """

    course: str
    step: int | None = None

    @property
    def name(self) -> str:
        """What the report calls it."""
        return self.course if self.step is None else f"{self.course} @{self.step}"

    @classmethod
    def named(cls, name: str) -> "Player":
        """Returns the player of a name."""
        course, at, step = name.rpartition(" @")
        return cls(course, int(step)) if at else cls(name)


def sorted_players(names: Sequence[str]) -> Iterator[Player]:
    """Yields players by training and step; real data last."""
    players = [Player.named(name) for name in dict.fromkeys(names)]
    yield from sorted(players, key=lambda p: (p.course == REALS, p.course, p.step or 0))
