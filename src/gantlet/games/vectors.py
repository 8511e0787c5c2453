"""All parameters of a game as one vector, and the gradients of all players at it."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor

from gantlet.core.game import Game
from gantlet.core.solver import Losses


@final
class Look:
    """One batch and one draw of noise, under which losses depend on parameters alone.

    Every player sees the same noise, so that a zero-sum game is one for each look too.

    Args:
        batch: Real samples.
        rng: Says which noise; one number is drawn from it.
    """

    def __init__(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self.batch = batch
        self._device = rng.device
        self._seed = int(torch.randint(2**62, (), generator=rng, device=rng.device))

    def rng(self) -> torch.Generator:
        """Returns a generator of the noise, at its beginning."""
        return torch.Generator(self._device).manual_seed(self._seed)


@final
class Parameters:
    """The parameters of all players, one after the other, as a vector of shape ``(n,)``.

    Args:
        game: The game; its parameters share one type and one device.
    """

    def __init__(self, game: Game) -> None:
        self.game = game
        self.of = {
            name: [p for p in player.parameters() if p.requires_grad]
            for name, player in game.players.items()
        }
        self.all = [p for parameters in self.of.values() for p in parameters]
        self.sizes = {name: sum(p.numel() for p in own) for name, own in self.of.items()}
        self._numels = [p.numel() for p in self.all]

    def read(self) -> Tensor:
        """Returns a copy of where the players stand."""
        return flat([p.detach() for p in self.all])

    def views(self, vector: Tensor) -> list[Tensor]:
        """Returns the parts of a vector in the shapes of the parameters."""
        parts = torch.split(vector, self._numels)
        return [part.view(p.shape) for part, p in zip(parts, self.all, strict=True)]

    @torch.no_grad()
    def write(self, place: Tensor) -> None:
        """Puts the players at ``place``, exactly."""
        for parameter, part in zip(self.all, self.views(place), strict=True):
            parameter.copy_(part)

    @torch.no_grad()
    def move(self, step: Tensor) -> None:
        """Moves the players by ``step``."""
        for parameter, part in zip(self.all, self.views(step), strict=True):
            parameter.add_(part)

    @contextmanager
    def ahead(self, step: Tensor, *, visit: bool = True) -> Generator[None]:
        """Moves the players by ``step``, and afterwards puts them back exactly.

        Buffers, such as running means of networks, are put back too, unless this is no ``visit``
        but the one look of a step, from which they are to learn.
        """
        home = self.read()
        buffers = [b.clone() for b in self._buffers()] if visit else []
        self.write(home + step)
        try:
            yield
        finally:
            self.write(home)
            if visit:
                for buffer, kept in zip(self._buffers(), buffers, strict=True):
                    buffer.copy_(kept)

    def _buffers(self) -> list[Tensor]:
        return [b for player in self.game.players.values() for b in player.buffers()]

    def gradient(self, look: Look) -> tuple[Tensor, Losses]:
        """Returns each player's gradient of its own loss, and the losses."""
        gradients: list[Tensor] = []
        losses: dict[str, float] = {}
        for name, own in self.of.items():
            loss = self.game.loss(name, look.batch, rng=look.rng())
            gradients += torch.autograd.grad(loss, own)
            losses[name] = loss.item()
        return flat(gradients), losses


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """Returns the numbers of all tensors as a new vector."""
    return torch.cat([t.reshape(-1) for t in tensors])
