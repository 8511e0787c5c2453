"""What the players of a GAN minimise: losses of critic scores, and penalties on their slope."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus
from typing_extensions import override

from gantlet.core.errors import unknown
from gantlet.models.robust import CriticAttack, CriticFunction, over_members

# ----------------------------------------------------------------------------
# Penalties on the slope of the critic, which keep it from running away.
#
# All are halves of means over samples, so that a penalty of weight ``gamma`` adds the
# ``gamma / 2 * E |grad D|^2`` of the papers on R1 and R2.
# ----------------------------------------------------------------------------

PenaltyName = Literal["none", "r1", "r2", "r1r2", "gp"]


@final
@dataclass(frozen=True, slots=True)
class Scored:
    """Samples and what a critic says of them, with the graph between the two.

    Attributes:
        x: The samples, shape ``(n, ...)``, which require a gradient.
        score: One score for each sample, shape ``(n,)``.
        critic: What gave the scores.
    """

    x: Tensor
    score: Tensor
    critic: CriticFunction

    @classmethod
    def by(cls, critic: CriticFunction, x: Tensor) -> "Scored":
        """Returns ``x``, cut off from what made it, judged by ``critic``."""
        return cls.along(critic, x.detach())

    @classmethod
    def along(cls, critic: CriticFunction, x: Tensor) -> "Scored":
        """Returns ``x`` judged by ``critic``, with the graph behind it where there is one."""
        is_ready = x.requires_grad or _is_transformed()
        seen = x if is_ready else x.detach().requires_grad_()
        return cls(seen, _precise(critic(seen)), critic)

    @property
    def total(self) -> Callable[[Tensor], Tensor]:
        """The sum of the scores, as a function of the samples."""
        return lambda x: self.critic(x).sum()


class Penalty(abc.ABC):
    """A scalar that is added, times ``gamma``, to the critic's loss."""

    @abc.abstractmethod
    def __call__(
        self, critic: CriticFunction, real: Scored, fake: Scored, *, rng: torch.Generator
    ) -> Tensor:
        """Returns the penalty, differentiable in the critic's parameters, in fp32 or better.

        Penalties at the real and fake samples themselves reuse the scores of the loss.
        """


@final
class NoPenalty(Penalty):
    """Nothing at all."""

    @override
    def __call__(
        self, critic: CriticFunction, real: Scored, fake: Scored, *, rng: torch.Generator
    ) -> Tensor:
        return torch.zeros((), device=real.score.device)


@final
class R1(Penalty):
    """Half the mean squared slope at real samples.

    Source: Mescheder et al., 2018, https://arxiv.org/abs/1801.04406, section 4.
    """

    @override
    def __call__(
        self, critic: CriticFunction, real: Scored, fake: Scored, *, rng: torch.Generator
    ) -> Tensor:
        return _half_mean_square(real)


@final
class R2(Penalty):
    """Half the mean squared slope at fake samples.

    Source: Mescheder et al., 2018, https://arxiv.org/abs/1801.04406, section 4.
    """

    @override
    def __call__(
        self, critic: CriticFunction, real: Scored, fake: Scored, *, rng: torch.Generator
    ) -> Tensor:
        return _half_mean_square(fake)


@final
class R1R2(Penalty):
    """The sum of R1 and R2.

    Source: Huang et al., 2024 (R3GAN), https://arxiv.org/abs/2501.05441.
    """

    @override
    def __call__(
        self, critic: CriticFunction, real: Scored, fake: Scored, *, rng: torch.Generator
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
        self, critic: CriticFunction, real: Scored, fake: Scored, *, rng: torch.Generator
    ) -> Tensor:
        x, y = real.x, fake.x
        shape = (len(x), *(1,) * (x.ndim - 1))
        t = torch.rand(shape, generator=rng, device=x.device, dtype=x.dtype)
        (slope,) = _slopes(Scored.along(critic, torch.lerp(y, x, t)))
        norm: Tensor = torch.linalg.vector_norm(slope, dim=1)
        return (norm - 1).square().mean() / 2


def _half_mean_square(*judged: Scored) -> Tensor:
    squares = [g.square().sum(1).mean() for g in _slopes(*judged)]
    return torch.stack(squares).sum() / 2


def _slopes(*judged: Scored) -> list[Tensor]:
    """Returns the gradient of each score in its own sample, shapes ``(n, size)``."""
    # A critic judges each sample alone, so the gradient of the sum holds them all.
    gradients: Sequence[Tensor]
    if _is_transformed():
        gradients = [torch.func.grad(j.total)(j.x) for j in judged]
    else:
        total = torch.stack([j.score.sum() for j in judged]).sum()
        gradients = torch.autograd.grad(total, [j.x for j in judged], create_graph=True)
    return [_precise(g).reshape(len(g), -1) for g in gradients]


def _is_transformed() -> bool:
    """Returns whether ``torch.func`` transforms the caller, inside of which it alone takes slopes.

    It calls the critic once more, so that it is left to where per-example gradients need it.
    """
    inside: Any = torch._C  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    level: int | None = inside._functorch.maybe_current_level()  # noqa: SLF001
    return level is not None


def _precise(x: Tensor) -> Tensor:
    """Returns scores or slopes that networks compute in bf16 in fp32, others as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


PENALTIES: Mapping[PenaltyName, Penalty] = {
    "none": NoPenalty(),
    "r1": R1(),
    "r2": R2(),
    "r1r2": R1R2(),
    "gp": GradientPenalty(),
}


# ----------------------------------------------------------------------------
# What critic and generator minimise, as functions of the critic's scores alone.
#
# A score has shape ``(n,)`` and is higher for what looks more real; losses are means over it.
# ----------------------------------------------------------------------------

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
class MinimaxLoss(AdversarialLoss):
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
    "minimax": MinimaxLoss(),
    "hinge": Hinge(),
    "wgan": Wasserstein(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class AdversarialObjective:
    """Loss and penalty of critic and generator.

    Attributes:
        loss: Name of the loss.
        penalty: Name of the penalty on the critic's slope.
        gamma: Weight of the penalty, ``gamma / 2 * E |grad D|^2``.
        every: The penalty is a mean over one pair in so many of a batch: the gradient that is
            expected is the same, its cost so many times less. Lazy regularisation (Karras et al.,
            2020, https://arxiv.org/abs/1912.04958, appendix B) takes the whole batch in one step
            of so many, and scales it; here all steps are alike, and a loss depends on its batch,
            its weights and its noise alone.
        rule: A loss in the place of the one that is named, or None.
        attack: What perturbs the samples that the critic is trained on, or None.
    """

    loss: LossName = "relativistic"
    penalty: PenaltyName = "r1r2"
    gamma: float = 1.0
    every: int = 1
    rule: AdversarialLoss | None = None
    attack: CriticAttack | None = None

    @property
    def _rule(self) -> AdversarialLoss:
        return LOSSES[self.loss] if self.rule is None else self.rule

    def of(
        self,
        player: str,
        critic: CriticFunction,
        real: Tensor,
        made: Callable[[], Tensor],
        *,
        rng: torch.Generator,
        coupled: bool = False,
    ) -> Tensor:
        """Returns the loss of ``critic`` or of ``generator``, a scalar.

        Args:
            player: Which of the two.
            critic: The critic, of samples as it sees them.
            real: Real samples, shape ``(n, ...)``.
            made: Returns as many fakes, differentiable in the generator; of the critic's loss
                nothing behind them is differentiated, unless it is ``coupled``.
            rng: Draws what the penalty needs.
            coupled: Whether the loss is to be differentiable in both players.

        Raises:
            UserError: If there is no such player.
        """
        if player == "critic":
            with torch.set_grad_enabled(coupled):
                fake = made()
            return self.critic(critic, real, fake, rng=rng, coupled=coupled)
        if player == "generator":
            return self.generator(critic, real, made(), coupled=coupled)
        raise unknown("player", player, ("critic", "generator"))

    def critic(
        self,
        critic: CriticFunction,
        real: Tensor,
        fake: Tensor,
        *,
        rng: torch.Generator,
        coupled: bool = False,
    ) -> Tensor:
        """Returns the critic's loss, penalty included, a scalar.

        ``real`` and ``fake``, shapes ``(n, ...)``, count as given: nothing behind them is
        differentiated, unless the loss is to be ``coupled`` to what made them. With ``F`` the cost
        of the critic's forward pass on one sample, value and gradient cost at most 6 F for a pair
        without penalty, 9 F with one of R1 and R2, 12 F with both; what is beyond 6 F is divided
        by ``every``. An attack adds at most 3 F for each of its steps on each sample, and an
        ensemble costs as much as its members together.
        """
        return over_members(
            critic, lambda one: self._of_critic(one, real, fake, rng=rng, coupled=coupled)
        )

    def _of_critic(
        self,
        critic: CriticFunction,
        real: Tensor,
        fake: Tensor,
        *,
        rng: torch.Generator,
        coupled: bool,
    ) -> Tensor:
        if self.attack is not None:
            real, fake = self.attack(critic, real, fake)
        if not coupled:
            real, fake = real.detach(), fake.detach()
        every = self.every if self.gamma > 0 and self.penalty != "none" else 1
        seen, made = (Scored.along(critic, x[::every]) for x in (real, fake))
        loss = self._rule.critic(
            _scores(seen, real, every, critic), _scores(made, fake, every, critic)
        )
        return loss + self.gamma * PENALTIES[self.penalty](critic, seen, made, rng=rng)

    def generator(
        self, critic: CriticFunction, real: Tensor, fake: Tensor, *, coupled: bool = False
    ) -> Tensor:
        """Returns the generator's loss, a scalar, differentiable in ``fake``.

        Where it is to be ``coupled``, the critic's scores of real samples are differentiated too.
        Of a ``CriticEnsemble`` both losses are the means of those against each member.
        """
        return over_members(
            critic, lambda one: self._of_generator(one, real, fake, coupled=coupled)
        )

    def _of_generator(
        self, critic: CriticFunction, real: Tensor, fake: Tensor, *, coupled: bool
    ) -> Tensor:
        loss = self._rule
        score = _precise(critic(fake))
        if not loss.is_paired:
            return loss.generator(score, score)
        with torch.set_grad_enabled(coupled):
            seen = _precise(critic(real))
        return loss.generator(seen, score)


def _scores(judged: Scored, x: Tensor, every: int, critic: CriticFunction) -> Tensor:
    """Returns the scores of ``x``, of which one in ``every`` is judged, those of these first."""
    if len(judged.x) == len(x):
        return judged.score
    others = torch.tensor([i for i in range(len(x)) if i % every], device=x.device)
    return torch.cat([judged.score, critic(x[others])])


class LossOptions(abc.ABC):
    """The options of families that train a critic by a loss and a penalty."""

    __slots__ = ()

    loss: LossName
    penalty: PenaltyName
    gamma: float

    @property
    def rules(self) -> AdversarialObjective:
        """Loss and penalty."""
        return AdversarialObjective(loss=self.loss, penalty=self.penalty, gamma=self.gamma)
