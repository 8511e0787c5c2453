"""The game of one player: maximum likelihood."""

import math
from collections.abc import Mapping
from typing import Protocol, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import unknown
from gantlet.core.game import Generative
from gantlet.core.model import Density


class Prepare(Protocol):
    """Sets what depends on data in a model."""

    def __call__(self, batch: Tensor, *, rng: torch.Generator) -> None:
        """Sets it from one batch of real samples."""
        ...


@final
class MaximumLikelihood(Generative):
    """One player, whose loss is the negative log-probability of real samples.

    The loss is in bits for each component of a sample (on a continuous space, of the density),
    so that one learning rate serves samples of all sizes.

    Args:
        model: The player.
        player: Its name.
        prepare: Sets what depends on data in it, where anything does.
    """

    def __init__(self, model: Density, *, player: str, prepare: Prepare | None = None) -> None:
        self._model = model
        self._player = player
        self._prepare = prepare

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {self._player: self._model}

    @property
    @override
    def model(self) -> Density:
        return self._model

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        if self._prepare is not None:
            self._prepare(batch, rng=rng)

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        if player != self._player:
            raise unknown("player", player, self.players)
        return self._bits(self._model.log_prob(batch, rng=rng).value)

    @override
    @torch.no_grad()
    def validate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns the loss on a discrete space, and nats for each sample on a continuous one."""
        parts = [
            self._model.log_prob(part, rng=rng).value
            for part in x.tensor_split(list(range(512, len(x), 512)))
        ]
        value = torch.cat(parts)
        return -value.mean() if self._model.space.levels is None else self._bits(value)

    def _bits(self, nats: Tensor) -> Tensor:
        return -nats.mean() / (self._model.space.size * math.log(2))
