"""Critics that are hard to fool: trained on attacked samples, or several of them at once.

A critic that calls a sample real once it is moved by little (an adversarial example) tells the
generator little about the data. Adversarial training shows the critic the worst samples within a
radius of those at hand,

    min over D   E max over |p| <= radius  loss(D(x + p), D(G(z) + q))

which for the losses of ``gan`` means real samples moved to lower scores and fake ones to higher.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.games.attack import Ball, Side, pgd

CriticFunction = Callable[[Tensor], Tensor]
"""From samples, shape ``(n, ...)``, to one score each, shape ``(n,)``; higher is more real."""

AttackedName = Literal["none", "real", "fake", "both"]
NormName = Literal["l2", "linf"]
NORMS: Mapping[NormName, float] = {"l2": 2.0, "linf": math.inf}


@final
class CriticEnsemble(nn.Module):
    """Several critics that play as one: each has a loss of its own, and all count the same.

    Its score is the mean of theirs.

    Source: Durugkar et al., 2017 (GMAN), https://arxiv.org/abs/1611.01673; of the ways in which
    it lets discriminators act together, this is their mean.

    Args:
        members: The critics.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns one score for each sample, shape ``(n,)``; higher is more real."""
        return torch.stack([member(x) for member in self.members]).mean(0)


def over_members(critic: CriticFunction, loss: Callable[[CriticFunction], Tensor]) -> Tensor:
    """Returns the loss with a critic, or its mean over the members of an ensemble."""
    if not isinstance(critic, CriticEnsemble):
        return loss(critic)
    return torch.stack([loss(member) for member in critic.members]).mean()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CriticAttack:
    """Perturbs what a critic is trained on, so that it errs as much as it can within a radius.

    The losses of ``gan`` fall with the score of a real sample and rise with that of a fake one,
    paired or not; so the attack climbs or descends the score itself, which has no flat ends. The
    perturbation counts as given: by the envelope theorem the gradient of the inner maximum is that
    at its solution. It is not clipped to the range of the data.

    Source: Zhou and Krähenbühl, 2019, https://openreview.net/forum?id=HJE6X305Fm, for a critic
    that is robust to attacks, here on either side or both; on real samples alone Liu and Hsieh,
    2018 (Rob-GAN), https://arxiv.org/abs/1807.10454, and Liu et al., 2019,
    https://arxiv.org/abs/1912.09670. The attack is that of Madry et al., 2018,
    https://arxiv.org/abs/1706.06083, from the sample itself, not a random start.

    Attributes:
        on: Which samples are perturbed.
        radius: The largest norm of a perturbation of a whole scaled sample.
        steps: Steps of projected gradient descent.
        norm: In which norm.
    """

    on: AttackedName
    radius: float
    steps: int
    norm: NormName

    def __call__(
        self, critic: CriticFunction, real: Tensor, fake: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns the samples that the critic is to be trained on, each with its graph."""
        if self.on in ("real", "both"):
            real = self._moved(critic, real, towards="fake")
        if self.on in ("fake", "both"):
            fake = self._moved(critic, fake, towards="real")
        return real, fake

    def _moved(self, critic: CriticFunction, x: Tensor, *, towards: Side) -> Tensor:
        start, ball = x.detach(), Ball(radius=self.radius, norm=NORMS[self.norm])
        worst = pgd(critic, start, ball, towards=towards, steps=self.steps).x
        return x + (worst - start)
