"""A game against a critic as the zero-sum game of the first paper on GANs."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from typing_extensions import override

from gantlet.core.errors import UserError, unknown
from gantlet.core.game import Adversarial, Game
from gantlet.core.model import Decoder


def worth(real: Tensor, fake: Tensor) -> Tensor:
    """Returns ``V = 1/2 E log D(x) + 1/2 E log(1 - D(G(z)))`` of scores as logits, a scalar.

    It is at most 0, and ``-log 2`` where the critic is blind.

    Source: Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661, eq. 1, halved as in Grnarova
    et al., 2019, https://arxiv.org/abs/1811.05512, eq. 1.

    Args:
        real: Scores of real samples, shape ``(n,)``.
        fake: Scores of generated samples, shape ``(m,)``.
    """
    return 0.5 * logsigmoid(real).mean() + 0.5 * logsigmoid(-fake).mean()


@final
class Minimax(Game):
    """The same players, but the critic raises ``worth`` and the generator lowers it.

    What a critic and a generator train with need not be zero-sum, and may hold penalties; this
    reading makes different trainings comparable. It needs scores that are logits: those of the
    losses ``ns``; a relativistic critic's scores are known but for a constant, which is then taken
    for what it happens to be.

    Args:
        game: A game whose model decodes noise.

    Raises:
        UserError: If its model does not.
    """

    def __init__(self, game: Adversarial) -> None:
        if not isinstance(game.model, Decoder):
            raise UserError("The zero-sum reading needs a generator that decodes noise.")
        self._game = game
        self._model: Decoder = game.model

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return self._game.players

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        if player not in self.players:
            raise unknown("player", player, self.players)
        value = self.value(batch, rng=rng)
        return -value if player == "critic" else value

    def value(self, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns ``worth`` on real samples and as many of the generator's, a scalar."""
        z = self._model.prior(len(batch), rng=rng)
        real, fake = (self._seen(x, rng) for x in (batch, self._model.decode(z)))
        return worth(self._game.critic(real), self._game.critic(fake))

    def _seen(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Returns samples as a critic may see them: the round ones of levels with noise."""
        if self._model.space.levels is None:
            return x
        return x + torch.rand(x.shape, generator=rng, device=x.device, dtype=x.dtype) - 0.5
