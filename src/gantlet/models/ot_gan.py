"""Generators trained by optimal transport between minibatches: OT-GAN and Sinkhorn-GAN.

``ot-gan`` (Salimans et al., 2018, https://arxiv.org/abs/1803.05573) compares two halves of real
and two of fake samples by transport costs ``W`` between them, in such a way that the loss is
unbiased at every batch size:

    W(x, y) + W(x, y') + W(x', y) + W(x', y') - 2 W(x, x') - 2 W(y, y')

``sinkhorn-gan`` (Genevay et al., 2018, https://arxiv.org/abs/1706.00292) compares whole batches
by the Sinkhorn divergence

    2 W(x, y) - W(x, x) - W(y, y)

with entropic ``W``. The generator descends the loss. A critic, where there is one, climbs it: it
learns features, and the cost of two samples is ``1 - cos`` of the angle between theirs.
"""

import abc
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError, unknown
from gantlet.core.model import refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.gan import Generator, ScaledGame, critic, generator
from gantlet.models.matching import (
    Exact,
    Matching,
    MatchingName,
    Sinkhorn,
    cosine_cost,
    minibatch_energy_distance,
    sinkhorn_divergence,
    square_cost,
)
from gantlet.models.nets import PlayerNetName, seeded


@final
class FeatureNetwork(nn.Module):
    """A critic without scores: features of a sample, of which angles alone count.

    Args:
        body: Maps scaled samples, shape ``(n, *space.shape)``, to hidden units ``(n, hidden)``.
        hidden: Number of hidden units.
        size: Number of features.
    """

    def __init__(self, body: nn.Module, hidden: int, size: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(hidden, size)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the features of each sample, shape ``(n, size)``."""
        features: Tensor = self.head(self.body(x))
        return features


class TransportLoss(abc.ABC):
    """A distance of two batches of features that the generator descends."""

    def check(self, n: int) -> None:
        """Checks that a batch of ``n`` samples has a loss.

        Raises:
            UserError: If it has none.
        """
        del n

    @abc.abstractmethod
    def __call__(self, real: Tensor, fake: Tensor) -> Tensor:
        """Returns the distance, a scalar, of features of shape ``(n, size)``; differentiable."""


@final
@dataclass(frozen=True, slots=True)
class EnergyLoss(TransportLoss):
    """The minibatch energy distance of OT-GAN.

    Attributes:
        match: How halves of a batch are matched.
    """

    match: Matching

    @override
    def check(self, n: int) -> None:
        if n < 2 or n % 2:
            raise UserError(
                f"ot-gan compares two halves of a batch: its size must be even. Got {n}; "
                f"give --batch {n + 1}."
            )

    @override
    def __call__(self, real: Tensor, fake: Tensor) -> Tensor:
        return minibatch_energy_distance(real, fake, self.match)


@final
@dataclass(frozen=True, slots=True)
class DivergenceLoss(TransportLoss):
    """The Sinkhorn divergence of whole batches.

    Attributes:
        match: Sinkhorn's algorithm.
        angles: Whether a cost is one of angles, or of differences.
    """

    match: Sinkhorn
    angles: bool

    @override
    def __call__(self, real: Tensor, fake: Tensor) -> Tensor:
        ground = cosine_cost if self.angles else square_cost
        return sinkhorn_divergence(real, fake, self.match, ground=ground)


@final
class TransportGame(ScaledGame):
    """The generator descends a transport distance in features, which the critic climbs.

    It is not ``Adversarial``: a single sample has no score. Of discrete samples both players see
    what the critic of ``gan`` sees: uniform noise one level wide is added to real and fake ones.

    Args:
        model: The generator.
        net: The critic, of scaled samples; without one they are compared as they are.
        transport: What the players play for.
    """

    def __init__(
        self, model: Generator, net: FeatureNetwork | None, transport: TransportLoss
    ) -> None:
        super().__init__(model, net)
        self._features = nn.Flatten() if net is None else net
        self._transport = transport

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        if player not in self.players:
            raise unknown("player", player, self.players)
        self._transport.check(len(batch))
        climbs = player == "critic"
        with torch.set_grad_enabled(coupled or climbs):
            real: Tensor = self._features(self._see(batch, rng))
        z = self._model.prior(len(batch), rng=rng)
        with torch.set_grad_enabled(coupled or not climbs):
            made = self._see(self._model.decode(z), rng)
        distance = self._transport(real, self._features(made))
        return -distance if climbs else distance


class TransportOptions(abc.ABC):
    """The options that both families share, as they describe them."""

    __slots__ = ()

    latent: int
    width: int
    depth: int
    net: PlayerNetName
    features: int

    @property
    @abc.abstractmethod
    def _family(self) -> str:
        """The family's name, for messages."""

    @property
    @abc.abstractmethod
    def _is_learned(self) -> bool:
        """Whether a critic learns the features that are compared."""

    @property
    @abc.abstractmethod
    def _transport(self) -> TransportLoss:
        """What the players play for."""

    def build(
        self, space: Space, context_space: Space | None = None, *, rng: Rng
    ) -> TransportGame:
        """Returns an untrained game for vectors or images.

        Raises:
            UserError: If ``space`` is neither, or convolutions are asked for on vectors, or
                there is a context.
        """
        refuse_context(self._family, context_space)
        if space.kind not in {"vector", "image"}:
            raise UserError(f"{self._family} models vectors and images. Got {space.label}.")
        width, depth, net = self.width, self.depth, self.net
        with seeded(rng.stream("init")):
            made = generator(space, latent=self.latent, width=width, depth=depth, net=net)
            judge = None
            if self._is_learned:
                scored = critic(space, width=width, depth=depth, net=net)
                judge = FeatureNetwork(scored.body, scored.head.in_features, self.features)
        model = Generator(space, self.latent, made).to(rng.device)
        judge = None if judge is None else judge.to(rng.device)
        return TransportGame(model, judge, self._transport)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class OtGan(TransportOptions):
    """OT-GAN: transport between minibatches, in learned features, for vectors and images.

    A batch is split in two halves, and halves are matched with each other. The critic makes one
    step for every five of the generator: it must not run ahead, since a loss in features that
    change fast teaches little.

    Source: Salimans et al., 2018 (OT-GAN), https://arxiv.org/abs/1803.05573, Algorithm 1.

    Differs from the paper: exact assignment in place of Sinkhorn's algorithm with 500 iterations
    at ``epsilon`` 1/500, which is slower by far and further from the optimum
    (``matching=sinkhorn,epsilon=0.002,iterations=500``); batches of 128 in place of 8000 unless
    asked for; learning rate 1e-3 in place of 3e-4; 64 features from a linear layer in place of
    16384 concatenated ReLUs; an MLP up to 28x28 grey, and the strided convolutions of ``gan``
    for larger images; no weight normalisation.

    Attributes:
        matching: How the halves of batches are matched: by exact assignment, or by Sinkhorn's
            algorithm.
        epsilon: Weight of the entropy in Sinkhorn's algorithm; costs lie between 0 and 2.
        iterations: Iterations of Sinkhorn's algorithm.
        features: Number of features, the angles between which are compared.
        latent: Latent dimension.
        width: Width of the hidden layers; strided convolutions have half as many channels.
        depth: Hidden layers; convolutions of the smallest maps.
        net: ``mlp``, ``strided`` convolutions, ``conv`` for residual ones, with a quarter as many
            channels and ``depth`` blocks at each resolution, or ``auto``: strided convolutions
            for images larger than 28x28 grey.
        ema: Decay of the exponential moving average (EMA) of the generator's weights.
    """

    matching: MatchingName = "exact"
    epsilon: Annotated[float, Between(1e-4)] = 0.01
    iterations: Annotated[int, Between(1)] = 100
    features: Annotated[int, Between(2)] = 64
    latent: Annotated[int, Between(1)] = 32
    width: Annotated[int, Between(4)] = 128
    depth: Annotated[int, Between(1)] = 2
    net: PlayerNetName = "auto"
    ema: Annotated[float, Between(0, 1, below=True)] = 0.995

    @property
    def solver(self) -> str:
        """Adam, five steps of the generator for one of the critic."""
        return "adam:lr=0.001,beta1=0.5,beta2=0.999,steps=1+5"

    @property
    @override
    def _family(self) -> str:
        return "ot-gan"

    @property
    @override
    def _is_learned(self) -> bool:
        return True

    @property
    @override
    def _transport(self) -> EnergyLoss:
        if self.matching == "exact":
            return EnergyLoss(Exact())
        return EnergyLoss(Sinkhorn(self.epsilon, self.iterations))


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class SinkhornGan(TransportOptions):
    """A generator trained by the Sinkhorn divergence of batches, for vectors and images.

    Without learned features there is no critic: the generator descends the divergence of scaled
    samples under half the mean squared difference of their components.

    Source: Genevay et al., 2018, https://arxiv.org/abs/1706.00292; value and gradient as Feydy et
    al., 2019, https://arxiv.org/abs/1810.08278.

    Differs from the paper: the plan is held fixed where the loss is differentiated, in place of
    differentiation through the iterations, which is left to second derivatives; the entropy
    counts in the value; learned features are compared by their angles, which bounds the cost, in
    place of clipped weights; Adam in place of RMSProp; the networks of ``gan``.

    Attributes:
        learned: Whether a critic learns the features that are compared.
        epsilon: Weight of the entropy in Sinkhorn's algorithm, where a typical cost is 1.
        iterations: Iterations of Sinkhorn's algorithm.
        features: Number of learned features.
        latent: Latent dimension.
        width: Width of the hidden layers; strided convolutions have half as many channels.
        depth: Hidden layers; convolutions of the smallest maps.
        net: ``mlp``, ``strided`` convolutions, ``conv`` for residual ones, with a quarter as many
            channels and ``depth`` blocks at each resolution, or ``auto``: strided convolutions
            for images larger than 28x28 grey.
        ema: Decay of the exponential moving average (EMA) of the generator's weights.
    """

    learned: bool = False
    epsilon: Annotated[float, Between(1e-4)] = 0.02
    iterations: Annotated[int, Between(1)] = 30
    features: Annotated[int, Between(2)] = 64
    latent: Annotated[int, Between(1)] = 32
    width: Annotated[int, Between(4)] = 128
    depth: Annotated[int, Between(1)] = 2
    net: PlayerNetName = "auto"
    ema: Annotated[float, Between(0, 1, below=True)] = 0.995

    @property
    def solver(self) -> str:
        """Adam; with learned features, five steps of the generator for one of the critic."""
        alone = "adam:lr=0.001,beta1=0.5,beta2=0.999"
        return f"{alone},steps=1+5" if self.learned else alone

    @property
    @override
    def _family(self) -> str:
        return "sinkhorn-gan"

    @property
    @override
    def _is_learned(self) -> bool:
        return self.learned

    @property
    @override
    def _transport(self) -> DivergenceLoss:
        return DivergenceLoss(Sinkhorn(self.epsilon, self.iterations), angles=self.learned)
