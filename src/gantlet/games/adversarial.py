"""The two losses of a game against a critic, with no more work than they need."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.game import Adversarial
from gantlet.games.distance import energy_distance
from gantlet.games.losses import LOSSES, LossName
from gantlet.games.penalties import PENALTIES, Critic, Judged, PenaltyName


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Rules:
    """How critic and generator are set against each other.

    Attributes:
        loss: Name of the loss.
        penalty: Name of the penalty on the critic's slope.
        gamma: Weight of the penalty, ``gamma / 2 * E |grad D|^2``.
    """

    loss: LossName = "relativistic"
    penalty: PenaltyName = "r1r2"
    gamma: float = 1.0

    def critic(
        self,
        critic: Critic,
        real: Tensor,
        fake: Tensor,
        *,
        rng: torch.Generator,
        coupled: bool = False,
    ) -> Tensor:
        """Returns what the critic minimises, penalty included, a scalar.

        ``real`` and ``fake``, shapes ``(n, ...)``, count as given: nothing behind them is
        differentiated, unless the loss is to be ``coupled`` to what made them. With ``F`` the cost
        of the critic's forward pass on one sample, value and gradient cost at most 6 F for a pair
        without penalty, 9 F with one of R1 and R2, 12 F with both.
        """
        judge = Judged.along if coupled else Judged.by
        seen, made = judge(critic, real), judge(critic, fake)
        loss = LOSSES[self.loss].critic(seen.score, made.score)
        return loss + self.gamma * PENALTIES[self.penalty](critic, seen, made, rng=rng)

    def generator(
        self, critic: Critic, real: Tensor, fake: Tensor, *, coupled: bool = False
    ) -> Tensor:
        """Returns what the generator minimises, a scalar, differentiable in ``fake``.

        Where it is to be ``coupled``, the critic's scores of real samples are differentiated too.
        """
        loss = LOSSES[self.loss]
        score = critic(fake)
        if not loss.is_paired:
            return loss.generator(score, score)
        with torch.set_grad_enabled(coupled):
            seen = critic(real)
        return loss.generator(seen, score)


class AgainstCritic(Adversarial):
    """A game whose losses are played against critics and whose samples are what is selected."""

    @property
    @abc.abstractmethod
    def _scaling(self) -> Callable[[Tensor], Tensor]:
        """Gives samples about zero mean and unit size."""

    @abc.abstractmethod
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        """Returns what ``player`` minimises; ``coupled``, differentiable in all players."""

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        return self._loss(player, batch, rng, coupled=False)

    @override
    def coupled(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        return self._loss(player, batch, rng, coupled=True)

    @override
    @torch.no_grad()
    def validate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns the energy distance between ``x`` and as many samples, components scaled."""
        return self._apart(x, self.model.sample(len(x), rng=rng))

    @override
    def distance(self, x: Tensor, samples: Tensor) -> Tensor | None:
        """Returns the energy distance between two sets of samples, components scaled."""
        return self._apart(x, samples)

    def _apart(self, x: Tensor, samples: Tensor) -> Tensor:
        return energy_distance(self._scaling(x), self._scaling(samples))
