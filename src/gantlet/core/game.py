"""The one idea: a model in training is a game, named players each with parameters and a loss."""

import abc
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gantlet.core.model import Model


class Game(abc.ABC):
    """Players and their losses. A flow is a game of one player, a GAN a game of two."""

    @property
    @abc.abstractmethod
    def players(self) -> Mapping[str, nn.Module]:
        """The players by name, in order of play."""

    @abc.abstractmethod
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns what ``player`` minimises on real samples, a scalar.

        Differentiable in that player's parameters. The same ``batch`` and the same state of
        ``rng`` give the same loss, so that solvers can look at one loss from several points.
        """

    def coupled(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns the number that ``loss`` does, differentiable in the parameters of all players.

        For what asks how a player's loss depends on the others: Jacobians, and solvers that look
        ahead. A game whose ``loss`` cuts the others off, to save work, overrides it.
        """
        return self.loss(player, batch, rng=rng)


class Generative(Game):
    """A game whose outcome can be sampled."""

    @property
    @abc.abstractmethod
    def model(self) -> Model:
        """What is sampled and judged."""

    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        """Sets what depends on data (standardisation, actnorm) from one batch of real samples.

        Called once, before the first step; most games have nothing to set.
        """

    @abc.abstractmethod
    def validate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns how badly the model fits held-out samples, a scalar; lower is better.

        Used to select the best step of a run. No gradient is kept.
        """

    def distance(self, x: Tensor, samples: Tensor) -> Tensor | None:
        """Returns the validation loss of a model that gave ``samples``, a scalar, or None.

        None where ``validate`` looks at the model itself, as a likelihood does, and not at its
        samples. With real samples in place of a model's it gives the noise floor of validation.

        Args:
            x: Held-out samples, shape ``(n, *space.shape)``.
            samples: What a model gave, shape ``(m, *space.shape)``.
        """
        del x, samples
        return None


class Adversarial(Generative):
    """A game with a critic, which tells real from fake."""

    def critic(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns one score for each sample, shape ``(n,)``; higher is more real.

        Args:
            x: The samples, shape ``(n, *space.shape)``.
            context: What each is conditioned on, as the model's ``context_space`` says.

        Raises:
            UserError: If ``context`` is not what ``context_space`` asks for.
        """
        return self._scores(x, self.model.checked_context(context, len(x)))

    @abc.abstractmethod
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Implements ``critic``."""
