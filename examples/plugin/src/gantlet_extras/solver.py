"""A solver: every player takes steps of one length along its average gradient."""

from dataclasses import dataclass
from typing import Annotated, Any, final

import torch
from torch import Tensor

import gantlet


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Normalized:
    """Normalized gradient descent with momentum, all players at once.

    Each player keeps a running average of its gradient and takes a step of length ``lr`` along it.

    Source: Cutkosky and Mehta, 2020, https://arxiv.org/abs/2002.03305, Algorithm 1.

    Attributes:
        lr: Length of a step of one player.
        momentum: Decay of the average of gradients.
    """

    lr: Annotated[float, gantlet.Between(0)] = 1e-2
    momentum: Annotated[float, gantlet.Between(0, 1, below=True)] = 0.9

    def start(self, game: gantlet.Game) -> gantlet.Play:
        """Returns the solver, ready to play ``game``."""
        return NormalizedPlay(game, self.lr, self.momentum)


@final
class NormalizedPlay(gantlet.Play):
    """The solver at work on one game, with the average gradient of each player."""

    def __init__(self, game: gantlet.Game, lr: float, momentum: float) -> None:
        self._game = game
        self._lr, self._momentum = lr, momentum
        self._averages = {
            name: [torch.zeros_like(w) for w in player.parameters()]
            for name, player in game.players.items()
        }

    def step(self, batch: Tensor, *, rng: torch.Generator) -> dict[str, float]:
        """Moves every player and returns the losses they saw."""
        noise = rng.get_state()
        losses = {}
        for name, player in self._game.players.items():  # all look before anybody moves
            rng.set_state(noise)  # at the same batch with the same noise
            loss = self._game.loss(name, batch, rng=rng)
            losses[name] = loss.item()
            weights = list(player.parameters())
            gradients = torch.autograd.grad(loss, weights, materialize_grads=True)
            for average, gradient in zip(self._averages[name], gradients, strict=True):
                average.lerp_(gradient, 1 - self._momentum)
        for name, player in self._game.players.items():
            self._move(list(player.parameters()), self._averages[name])
        return losses

    @torch.no_grad()
    def _move(self, weights: list[Tensor], averages: list[Tensor]) -> None:
        length = torch.stack([average.norm() for average in averages]).norm()
        for weight, average in zip(weights, averages, strict=True):
            weight.sub_(average * (self._lr / length.clamp_min(1e-30)))

    def state_dict(self) -> dict[str, Any]:
        """Returns the averages, from which training goes on bit by bit."""
        return {"averages": self._averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up the averages that ``state_dict`` returned."""
        self._averages = {
            name: [kept.clone() for kept in averages]
            for name, averages in state["averages"].items()
        }
