"""Who plays in a tournament, and how its scores are kept."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

from torch import Tensor

REALS = "held-out real data"
"""The player that is real data: test samples, which no critic has seen."""

SCALE = "validation data"
"""What critics are calibrated on: real samples that they have not learned from."""


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


Scores: TypeAlias = Mapping[tuple[Player, Player], Tensor]
"""The scores, shape ``(n,)``, that a critic gives to the samples of a player, by both."""


def sorted_players(players: Iterable[Player]) -> Iterator[Player]:
    """Yields each player once, by training and step; real data last."""
    once = dict.fromkeys(players)
    yield from sorted(once, key=lambda p: (p.course == REALS, p.course, p.step or 0))


def as_tensors(scores: Scores) -> dict[str, Tensor]:
    """Returns scores as a trial's folder can keep them; ``from_tensors`` reads them again."""
    return {
        json.dumps([critic.course, critic.step, player.course, player.step]): x
        for (critic, player), x in scores.items()
    }


def from_tensors(tensors: Mapping[str, Tensor]) -> Scores:
    """Returns the scores that ``as_tensors`` wrote, or an earlier version of it."""
    return {_pair(name): x for name, x in tensors.items()}


def _pair(name: str) -> tuple[Player, Player]:
    if not name.startswith("["):
        # Version 0.1 kept them by "gan #0 @20 judges gan #0 @10".
        critic, player = name.split(" judges ")
        return _named(critic), _named(player)
    first, first_step, second, second_step = json.loads(name)
    return Player(first, first_step), Player(second, second_step)


def _named(name: str) -> Player:
    course, at, step = name.rpartition(" @")
    return Player(course, int(step)) if at else Player(name)
