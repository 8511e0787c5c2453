"""Penalties on the slope of the critic, which keep it from running away.

All are halves of means over samples, so that a penalty of weight ``gamma`` adds the
``gamma / 2 * E |grad D|^2`` of the papers on R1 and R2.
"""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor
from typing_extensions import override

Critic = Callable[[Tensor], Tensor]
PenaltyName = Literal["none", "r1", "r2", "r1r2", "gp"]


@final
@dataclass(frozen=True, slots=True)
class Judged:
    """Samples and what a critic says of them, with the graph between the two.

    Attributes:
        x: The samples, shape ``(n, ...)``, which require a gradient.
        score: One score for each sample, shape ``(n,)``.
    """

    x: Tensor
    score: Tensor

    @classmethod
    def by(cls, critic: Critic, x: Tensor) -> "Judged":
        """Returns ``x``, cut off from what made it, judged by ``critic``."""
        return cls.along(critic, x.detach())

    @classmethod
    def along(cls, critic: Critic, x: Tensor) -> "Judged":
        """Returns ``x`` judged by ``critic``, with the graph behind it where there is one."""
        seen = x if x.requires_grad else x.detach().requires_grad_()
        return cls(seen, critic(seen))


class Penalty(abc.ABC):
    """A scalar that is added, times ``gamma``, to the critic's loss."""

    @abc.abstractmethod
    def __call__(
        self, critic: Critic, real: Judged, fake: Judged, *, rng: torch.Generator
    ) -> Tensor:
        """Returns the penalty, differentiable in the critic's parameters, in fp32 or better.

        Penalties at the real and fake samples themselves reuse the scores of the loss.
        """


@final
class NoPenalty(Penalty):
    """Nothing at all."""

    @override
    def __call__(
        self, critic: Critic, real: Judged, fake: Judged, *, rng: torch.Generator
    ) -> Tensor:
        return torch.zeros((), device=real.score.device)


@final
class R1(Penalty):
    """Half the mean squared slope at real samples.

    Source: Mescheder et al., 2018, https://arxiv.org/abs/1801.04406, section 4.
    """

    @override
    def __call__(
        self, critic: Critic, real: Judged, fake: Judged, *, rng: torch.Generator
    ) -> Tensor:
        return _half_mean_square(real)


@final
class R2(Penalty):
    """Half the mean squared slope at fake samples.

    Source: Mescheder et al., 2018, https://arxiv.org/abs/1801.04406, section 4.
    """

    @override
    def __call__(
        self, critic: Critic, real: Judged, fake: Judged, *, rng: torch.Generator
    ) -> Tensor:
        return _half_mean_square(fake)


@final
class R1R2(Penalty):
    """The sum of R1 and R2.

    Source: Huang et al., 2024 (R3GAN), https://arxiv.org/abs/2501.05441.
    """

    @override
    def __call__(
        self, critic: Critic, real: Judged, fake: Judged, *, rng: torch.Generator
    ) -> Tensor:
        return _half_mean_square(real, fake)


@final
class GradientPenalty(Penalty):
    """Half the mean squared distance of the slope from 1, between real and fake.

    Each real sample is joined to one fake by a line, and the slope is taken at a uniform point
    of it: its norm over all components of the sample.

    Source: Gulrajani et al., 2017, https://arxiv.org/abs/1704.00028, eq. 3.
    Differs from the paper: the factor 1/2; its ``lambda = 10`` is ``gamma = 20`` here.
    """

    @override
    def __call__(
        self, critic: Critic, real: Judged, fake: Judged, *, rng: torch.Generator
    ) -> Tensor:
        x, y = real.x, fake.x
        shape = (len(x), *(1,) * (x.ndim - 1))
        t = torch.rand(shape, generator=rng, device=x.device, dtype=x.dtype)
        (slope,) = _slopes(Judged.along(critic, torch.lerp(y, x, t)))
        norm: Tensor = torch.linalg.vector_norm(slope, dim=1)
        return (norm - 1).square().mean() / 2


def _half_mean_square(*judged: Judged) -> Tensor:
    squares = [g.square().sum(1).mean() for g in _slopes(*judged)]
    return torch.stack(squares).sum() / 2


def _slopes(*judged: Judged) -> list[Tensor]:
    """Returns the gradient of each score in its own sample, shapes ``(n, size)``."""
    # A critic judges each sample alone, so the gradient of the sum holds them all.
    total = torch.stack([j.score.sum() for j in judged]).sum()
    gradients = torch.autograd.grad(total, [j.x for j in judged], create_graph=True)
    return [_precise(g).reshape(len(g), -1) for g in gradients]


def _precise(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


PENALTIES: Mapping[PenaltyName, Penalty] = {
    "none": NoPenalty(),
    "r1": R1(),
    "r2": R2(),
    "r1r2": R1R2(),
    "gp": GradientPenalty(),
}
