"""All parameters of a game as one vector, and the gradients of all players at it."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn

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
        self.of = own_parameters(game)
        self.all = [p for parameters in self.of.values() for p in parameters]
        self.sizes = {name: sum(p.numel() for p in own) for name, own in self.of.items()}
        # Steps are copied here, where their parts need not be found anew.
        self._step = torch.zeros_like(self.read())
        self._parts = self.views(self._step)
        modules = [m for player in game.players.values() for m in player.modules()]
        self._buffers = [(m, name) for m in modules for name, _ in m.named_buffers(recurse=False)]

    @torch.no_grad()
    def read(self) -> Tensor:
        """Returns a copy of where the players stand."""
        return flat(self.all)

    def views(self, vector: Tensor) -> list[Tensor]:
        """Returns the parts of a vector in the shapes of the parameters."""
        parts = torch.split(vector, [p.numel() for p in self.all])
        return [part.view(p.shape) for part, p in zip(parts, self.all, strict=True)]

    @torch.no_grad()
    def write(self, place: Tensor) -> None:
        """Puts the players at ``place``, exactly."""
        for parameter, part in zip(self.all, self.views(place), strict=True):
            parameter.copy_(part)

    @torch.no_grad()
    def move(self, step: Tensor) -> None:
        """Moves the players by ``step``."""
        self._step.copy_(step)
        for parameter, part in zip(self.all, self._parts, strict=True):
            parameter.add_(part)

    @contextmanager
    def ahead(self, step: Tensor) -> Generator[None]:
        """Moves players by ``step``, and afterwards puts them back exactly where they were."""
        home = [p.data for p in self.all]
        self._step.copy_(step)
        for parameter, at, part in zip(self.all, home, self._parts, strict=True):
            parameter.data = at + part
        try:
            yield
        finally:
            for parameter, at in zip(self.all, home, strict=True):
                parameter.data = at

    @contextmanager
    def visit(self) -> Generator[None]:
        """Lets players be moved, and afterwards puts them back exactly where they were.

        Buffers, such as running means of networks, are put back too: they learn from the look of
        a step that is taken at home.
        """
        home = [p.data for p in self.all]
        buffers = [b.clone() for b in self._present()]
        for parameter, at in zip(self.all, home, strict=True):
            parameter.data = at.clone()
        try:
            yield
        finally:
            for parameter, at in zip(self.all, home, strict=True):
                parameter.data = at
            for buffer, kept in zip(self._present(), buffers, strict=True):
                buffer.copy_(kept)

    def _present(self) -> list[Tensor]:
        return [getattr(module, name) for module, name in self._buffers]

    def gradients(self, look: Look) -> tuple[list[Tensor], Losses]:
        """Returns each player's gradient of its own loss, in all its parts, and the losses."""
        found: list[Tensor] = []
        losses: dict[str, float] = {}
        for name, own in self.of.items():
            loss = self.game.loss(name, look.batch, rng=look.rng())
            found += torch.autograd.grad(loss, own)
            losses[name] = loss.item()
        return found, losses


def own_parameters(game: Game) -> dict[str, list[nn.Parameter]]:
    """Returns what each player moves."""
    return {
        name: [p for p in player.parameters() if p.requires_grad]
        for name, player in game.players.items()
    }


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """Returns the numbers of all tensors as a new vector."""
    return torch.cat([t.reshape(-1) for t in tensors])
