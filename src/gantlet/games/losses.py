"""What critic and generator minimise, as functions of the critic's scores alone.

A score has shape ``(n,)`` and is higher for what looks more real; losses are means over it.
"""

import abc
from collections.abc import Mapping
from typing import Literal, final

from torch import Tensor
from torch.nn.functional import relu, softplus
from typing_extensions import override

LossName = Literal["relativistic", "ns", "minimax", "hinge", "wgan"]


class AdversarialLoss(abc.ABC):
    """One way to set a critic and a generator against each other."""

    @property
    def is_paired(self) -> bool:
        """Whether the generator's loss looks at the scores of real samples too."""
        return False

    @abc.abstractmethod
    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Returns the critic's loss, a scalar, from scores of shape ``(n,)``."""

    @abc.abstractmethod
    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Returns the generator's loss, a scalar, from scores of shape ``(n,)``."""


@final
class Relativistic(AdversarialLoss):
    """Each fake sample is judged against one real sample: ``f(t) = softplus(-t)`` of the gap.

    Source: Jolicoeur-Martineau, 2018, https://arxiv.org/abs/1807.00734 (RSGAN); with the
    penalties R1 and R2 as Huang et al., 2024 (R3GAN), https://arxiv.org/abs/2501.05441.
    """

    @property
    @override
    def is_paired(self) -> bool:
        return True

    @override
    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(fake - real).mean()

    @override
    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(real - fake).mean()


@final
class NonSaturating(AdversarialLoss):
    """The original game with logits for scores; the generator climbs ``log D`` of its fakes.

    Source: Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661, section 3.
    """

    @override
    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-real).mean() + softplus(fake).mean()

    @override
    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-fake).mean()


@final
class Minimax(AdversarialLoss):
    """The original game as it was first written: the generator descends what the critic climbs.

    Source: Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661, eq. 1. Its generator learns
    little from a critic that is sure; ``NonSaturating`` is what is trained.
    """

    @override
    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-real).mean() + softplus(fake).mean()

    @override
    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return -softplus(fake).mean()


@final
class Hinge(AdversarialLoss):
    """The critic stops caring once it separates by a margin of 1 on either side.

    Source: Lim and Ye, 2017, https://arxiv.org/abs/1705.02894.
    """

    @override
    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return relu(1 - real).mean() + relu(1 + fake).mean()

    @override
    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return -fake.mean()


@final
class Wasserstein(AdversarialLoss):
    """The difference of mean scores; a distance only where the critic is 1-Lipschitz.

    Source: Arjovsky et al., 2017, https://arxiv.org/abs/1701.07875, eq. 2.
    Differs from the paper: weights are not clipped; a penalty or spectral norm takes that role.
    """

    @override
    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    @override
    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return -fake.mean()


LOSSES: Mapping[LossName, AdversarialLoss] = {
    "relativistic": Relativistic(),
    "ns": NonSaturating(),
    "minimax": Minimax(),
    "hinge": Hinge(),
    "wgan": Wasserstein(),
}
