"""Flow-GAN (Grover, Dhar and Ermon, 2018): a flow that answers to a critic and to likelihood."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError, unknown
from gantlet.core.model import Generative, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Later
from gantlet.models.flow import Arch, CouplingName, FlowModel, Layers, MaximumLikelihood
from gantlet.models.gan import AdversarialGame, critic, penalty_interval
from gantlet.models.losses import AdversarialObjective, LossName, LossOptions, PenaltyName
from gantlet.models.nets import PlayerNetName, Scaling, seeded


@final
class FlowGanGame(AdversarialGame):
    """The critic separates real from fake; the flow makes it err and keeps real samples likely.

    For discrete levels, the critic sees real samples dequantised with uniform noise, which
    is what the flow models, and fakes before they are rounded.

    Args:
        model: The flow.
        net: The critic, of scaled samples.
        rules: Loss and penalty.
        weight: Weight of the negative log-probability, in bits per dimension; finite.
    """

    def __init__(
        self, model: FlowModel, net: nn.Module, rules: AdversarialObjective, weight: float
    ) -> None:
        self._model = model
        self._critic = net
        self._rules = rules
        self._weight = weight
        self._likelihood = MaximumLikelihood(model, player="flow", prepare=model.prepare)

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"critic": self._critic, "flow": self._model}

    @property
    @override
    def model(self) -> FlowModel:
        return self._model

    @override
    def _scores(self, x: Tensor, context: Tensor | None) -> Tensor:
        # A level stands for the interval [level, level + 1); its middle is half a level up.
        middle = 0.5 if self._model.space.levels else 0.0
        score: Tensor = self._critic(self._model.scaling(x + middle))
        return score

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self._model.prepare(batch, rng=rng)

    @property
    @override
    def _scaling(self) -> Scaling:
        return self._model.scaling

    @override
    def _loss(self, player: str, batch: Tensor, rng: torch.Generator, *, coupled: bool) -> Tensor:
        if player == "critic":
            with torch.set_grad_enabled(coupled):
                real, fake = self._see(batch, rng)
            return self._rules.critic(self._critic, real, fake, rng=rng, coupled=coupled)
        if player == "flow":
            real, fake = self._see(batch, rng)
            adversarial = self._rules.generator(self._critic, real, fake, coupled=coupled)
            if self._weight == 0:
                return adversarial
            return adversarial + self._weight * self._likelihood.loss(player, batch, rng=rng)
        raise unknown("player", player, self.players)

    def _see(self, batch: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns real samples and as many fakes, as the critic sees them."""
        real = self._model.scaling.noisy(batch, rng=rng)
        return real, self._model.scaled_samples(len(batch), rng=rng)

    @override
    @torch.no_grad()
    def validate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns the negative log-likelihood, or without a weight the energy distance."""
        if self._weight > 0:
            return self._likelihood.validate(x, rng=rng)
        return super().validate(x, rng=rng)

    @override
    def distance(self, x: Tensor, samples: Tensor) -> Tensor | None:
        """Returns the energy distance, components scaled, where that is what validation is."""
        return None if self._weight > 0 else self._apart(x, samples)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class FlowGan(LossOptions):
    """A flow trained against a critic and by likelihood at once.

    The critic plays as in ``gan``. The flow minimises the adversarial loss of a GAN's generator
    plus ``weight`` times ``-log p(x)`` of real samples in bits per dimension. With
    ``weight=0`` it is a GAN whose generator happens to have a density; with ``weight=inf`` there
    is no critic and it is ``flow``.

    Source: Grover, Dhar and Ermon, 2018, https://arxiv.org/abs/1705.08868, equation 7.

    Differs from the paper: the likelihood is in bits per dimension, so that one weight
    means the same on all data; the critic's loss is that of ``gan``, by default relativistic
    with R1 and R2 and not Wasserstein with a gradient penalty; the flow is that of ``flow``.

    Attributes:
        weight: Weight of the likelihood, from 0 (purely adversarial) to inf (likelihood alone).
        loss: Adversarial loss.
        penalty: Gradient penalty.
        penalty_every: One pair in so many of a batch is penalised; 0 takes 4 with strided
            convolutions and 1 otherwise.
        gamma: Weight of the penalty, ``gamma / 2 * E |grad D|^2`` on scaled samples.
        critic_width: Width of the critic's hidden layers; strided convolutions have half as many
            channels, residual ones a quarter.
        critic_depth: The critic's hidden layers, strided convolutions of the smallest maps, or
            residual blocks at each resolution.
        net: The critic's: ``mlp``, ``strided``, ``conv``, or ``auto``, as for ``gan``: strided
            convolutions for images larger than 28x28 grey.
        spectral: Whether the critic's layers are divided by their spectral norms.
        coupling: How the flow's layers change a component: ``affine``, ``spline``, ``planar``.
        layers: Number of flow layers; for Glow, per level.
        width: Hidden units, or channels, of each layer's network.
        depth: Hidden layers of each layer's network.
        levels: Resolutions of Glow; none halves the sides down to 4, three times at most.
        arch: ``auto`` takes ``glow`` for images above 8 x 8 with even sides, else ``realnvp``.
        ema: Decay of the exponential moving average (EMA) of the flow's weights; 0 disables it.
    """

    weight: Annotated[float, Between(0, math.inf)] = 1.0
    loss: LossName = "relativistic"
    penalty: PenaltyName = "r1r2"
    penalty_every: Annotated[int, Between(0), Later()] = 0
    gamma: Annotated[float, Between(0)] = 3.0
    critic_width: Annotated[int, Between(4)] = 256
    critic_depth: Annotated[int, Between(1)] = 2
    net: PlayerNetName = "auto"
    spectral: bool = False
    coupling: CouplingName = "affine"
    layers: Annotated[int, Between(1)] = 8
    width: Annotated[int, Between(1)] = 128
    depth: Annotated[int, Between(1)] = 2
    levels: Annotated[int, Between(1)] | None = None
    arch: Arch = "auto"
    ema: Annotated[float, Between(0, 1)] = 0.99

    @property
    def solver(self) -> str:
        """Adam; without momentum against a critic, as for ``gan``."""
        if math.isinf(self.weight):
            return "adam:lr=0.001"
        return "adam:lr=0.001,beta1=0.0,beta2=0.99"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> Generative:
        """Returns an untrained game for samples of ``space``, on the device of ``rng``.

        Raises:
            UserError: If no such flow or critic fits the space, or there is a context.
        """
        refuse_context("flow-gan", context_space)
        if math.isnan(self.weight) or self.weight < 0:
            raise UserError(f"flow-gan:weight must be from 0 to inf. Got {self.weight:g}.")
        model = self._model(space, rng)
        if math.isinf(self.weight):
            return MaximumLikelihood(model, player="flow", prepare=model.prepare)
        with seeded(rng.stream("init of the critic")):
            judge = critic(
                space,
                width=self.critic_width,
                depth=self.critic_depth,
                spectral=self.spectral,
                net=self.net,
            )
        every = penalty_interval(self.penalty_every, space, self.net)
        rules = replace(self.rules, every=every)
        return FlowGanGame(model, judge.to(rng.device), rules, self.weight)

    def _model(self, space: Space, rng: Rng) -> FlowModel:
        layers = Layers(
            arch=self.arch,
            coupling=self.coupling,
            layers=self.layers,
            width=self.width,
            depth=self.depth,
            levels=self.levels,
        )
        with seeded(rng.stream("init")):
            return FlowModel(space, layers.build(space)).to(rng.device)
