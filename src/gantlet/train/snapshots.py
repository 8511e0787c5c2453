"""All players' weights now and then over a training, for tournaments."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.game import Generative


@final
@dataclass(frozen=True, slots=True)
class Snapshots:
    """When to take snapshots, and where to put them.

    One is taken whenever another part of the budget is used up, and one at the end. What is taken
    depends on the budget used alone: a training that goes on from a checkpoint takes the same.

    Attributes:
        count: Into how many parts the budget is divided; a training with fewer steps gives fewer.
        save: Called with ``snapshot-001`` and so on, and the tensors.
    """

    count: int
    save: Callable[[str, Mapping[str, Tensor]], None]

    def due(self, before: float, used: float) -> int | None:
        """Returns the number of the snapshot due when this share of the budget is used, or None.

        Example:
            >>> takes = Snapshots(4, lambda name, tensors: None)
            >>> takes.due(0.2, 0.24), takes.due(0.24, 0.26)
            (None, 1)
        """
        part = math.floor(used * self.count)
        return min(part, self.count) if part > math.floor(before * self.count) else None

    def last(self, used: float) -> int:
        """Returns the number of the snapshot at the end of a training."""
        return min(self.count, math.floor(used * self.count) + 1)

    def take(self, number: int, game: Generative, model: Mapping[str, Tensor], step: int) -> None:
        """Saves all players, the weights that samples come from, averaged or not, and the step."""
        players = {
            f"players/{name}/{key}": value
            for name, player in game.players.items()
            for key, value in player.state_dict().items()
        }
        sampled = {f"model/{key}": value for key, value in model.items()}
        self.save(f"snapshot-{number:03d}", {**players, **sampled, "step": torch.tensor(step)})
