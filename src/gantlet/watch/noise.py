"""The gradient noise of a game in a loop of the user's own."""

from typing import final

import torch

from gantlet.core.data import Source, Space
from gantlet.core.errors import UserError
from gantlet.core.model import Game, Generative
from gantlet.core.rng import Rng
from gantlet.games.noise import look_at
from gantlet.watch.writers import Entry

NOISE = "noise-scale"
"""What the names of noise scales begin with; a player's follows after a slash."""

_GROUPS = 8


@final
class GradientNoise:
    """The noise scale of each player at a look, from micro-batches of training samples.

    Args:
        game: The game whose modules the loop trains.
        source: The training samples.
        space: Their space.
        batch: Batch size of the loop.
        seed: Seed of samples and noise.

    Raises:
        UserError: If it is no game, its samples are others, or there are too few.
    """

    def __init__(
        self, game: object, source: Source, space: Space, *, batch: int, seed: int
    ) -> None:
        if not isinstance(game, Game):
            raise UserError(
                "game must be gantlet.game({'generator': G, 'critic': D}, losses=...). Got "
                f"{type(game).__name__}."
            )
        if isinstance(game, Generative) and game.model.space.shape != space.shape:
            raise UserError(
                f"The game makes samples of shape {game.model.space.shape}, and the real ones "
                f"have shape {space.shape}. Give the samples that it is trained on."
            )
        self._game, self._source, self._seed = game, source, seed
        self._size = max(batch // 4, 1)

    def entries(self, step: int) -> list[Entry]:
        """Returns the noise scale of each player now, and of all together."""
        stream = Rng(self._seed).stream(f"watch/noise/{step}")
        index = torch.randint(len(self._source), (_GROUPS * self._size,), generator=stream)
        device = next(p for m in self._game.players.values() for p in m.parameters()).device
        noise = Rng(self._seed, str(device)).stream(f"watch/noise/{step}/draws")
        batch = self._source.take(index).to(device)
        with torch.enable_grad():
            seen = look_at(
                self._game,
                None,
                batch,
                step=step,
                rng=noise,
                unit="micro-batch",
                groups=_GROUPS,
            )
        return [
            Entry(step=step, name=f"{NOISE}/{player}", estimate=parts.scale())
            for player, parts in seen.parts["plain"].items()
        ]
