"""Variational autoencoders (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import UserError, unknown
from gantlet.core.family import refuse_context
from gantlet.core.game import Generative
from gantlet.core.model import Decoder, Density, LogProb
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.nets.encoder import decoder, encoder
from gantlet.nets.likelihoods import Likelihood, likelihood
from gantlet.nets.residual import NetName
from gantlet.nets.scaling import Scaling, bits_per_dim
from gantlet.nets.seeding import seeded

OUTPUTS_AT_ONCE = 2**23
"""Numbers that the decoder gives at a time while a bound is evaluated, for memory's sake."""

# Validation looks at this many importance samples at most.
_VALIDATION_SAMPLES = 8
# Bounds of the logarithm of the posterior's standard deviation, against overflow.
_LOG_STD = 8.0


@final
class VaeModel(Density, Decoder):
    """A latent vector ``z ~ N(0, I)`` and a sample ``x ~ p(x | z)`` around its decoding.

    Args:
        scaling: Between samples and what the encoder sees.
        observed: The distribution of a sample given the decoder's output.
        encoder: From scaled samples to mean and log standard deviation, ``(n, 2 * latent)``.
        decoder: From latent vectors, ``(n, latent)``, to ``(n, observed.per, *space.shape)``.
        latent: Components of a latent vector.
        iwae: Importance samples of the bound.
    """

    def __init__(
        self,
        scaling: Scaling,
        observed: Likelihood,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        latent: int,
        iwae: int,
    ) -> None:
        super().__init__()
        self.space = scaling.space
        self.scaling = scaling
        self.observed = observed
        self.encoder = encoder
        self.decoder = decoder
        self.latent_dim = latent
        self.iwae = iwae

    @property
    @override
    def density_depth(self) -> int:
        return 2

    @override
    def prior(self, n: int, *, rng: torch.Generator) -> Tensor:
        shift = self.scaling.shift
        return torch.randn(
            n, self.latent_dim, generator=rng, device=shift.device, dtype=shift.dtype
        )

    @override
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.observed.mean(self.decoder(z))

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        """Returns ``n`` samples of ``p(x | z)``, with its noise, not just its mean."""
        return self.observed.sample(self.decoder(self.prior(n, rng=rng)), rng=rng)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log standard deviation of ``q(z | x)``, shape ``(n, latent)`` each."""
        # A level stands for the interval [level, level + 1); its middle is half a level up.
        middle = x if self.space.levels is None else x + 0.5
        mean, log_std = self.encoder(self.scaling(middle)).chunk(2, 1)
        return mean, log_std.clamp(-_LOG_STD, _LOG_STD)

    def elbo(self, x: Tensor, *, beta: float, rng: torch.Generator) -> Tensor:
        """Returns ``log p(x | z) - beta KL(q | prior)`` with one ``z ~ q(z | x)``, shape ``(n,)``.

        Source: Kingma and Welling, 2014, equation 10; beta: Higgins et al., 2017.
        """
        mean, log_std = self.posterior(x)
        noise = torch.randn(mean.shape, generator=rng, device=mean.device, dtype=mean.dtype)
        z = mean + log_std.exp() * noise
        divergence = (mean.square() + (2 * log_std).exp() - 1).sum(1) / 2 - log_std.sum(1)
        return self.observed.log_prob(x, self.decoder(z)) - beta * divergence

    def importance_bound(self, x: Tensor, samples: int, *, rng: torch.Generator) -> Tensor:
        """Returns ``log mean_k p(x, z_k) / q(z_k | x)``, shape ``(n,)``, in nats.

        Its expectation bounds ``log p(x)`` from below, the closer the more samples.

        Source: Burda, Grosse and Salakhutdinov, 2016, https://arxiv.org/abs/1509.00519,
        equation 8.
        """
        mean, log_std = self.posterior(x)
        shape = (samples, *mean.shape)
        noise = torch.randn(shape, generator=rng, device=mean.device, dtype=mean.dtype)
        z = mean + log_std.exp() * noise
        # log N(z; 0, I) - log q(z | x); the constants cancel.
        ratio = (noise.square() / 2 - z.square() / 2 + log_std).sum(2)
        weights = ratio + self._log_likelihoods(x, z.flatten(0, 1)).view(samples, -1)
        return torch.logsumexp(weights, 0) - math.log(samples)

    def _log_likelihoods(self, x: Tensor, z: Tensor) -> Tensor:
        """Returns ``log p(x | z)`` of latent vectors that go through all of ``x`` many times."""
        rows = max(1, OUTPUTS_AT_ONCE // (self.space.size * self.observed.per))
        which = torch.arange(len(z), device=x.device) % len(x)
        parts = [
            self.observed.log_prob(x[i], self.decoder(part))
            for part, i in zip(torch.split(z, rows), torch.split(which, rows), strict=True)
        ]
        return torch.cat(parts)

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        value = self.importance_bound(x, self.iwae, rng=rng)
        return LogProb(value, "lower", f"IWAE, {self.iwae} samples")


@final
class VaeGame(Generative):
    """One player, encoder and decoder together, which maximises the evidence lower bound.

    Args:
        model: The player.
        beta: Weight of the divergence from the prior.
    """

    def __init__(self, model: VaeModel, *, beta: float) -> None:
        self._model = model
        self._beta = beta

    @property
    @override
    def players(self) -> Mapping[str, nn.Module]:
        return {"vae": self._model}

    @property
    @override
    def model(self) -> VaeModel:
        return self._model

    @override
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        self._model.scaling.fit(batch)

    @override
    def loss(self, player: str, batch: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns the negative bound in bits for each component of a sample."""
        if player not in self.players:
            raise unknown("player", player, self.players)
        bound = self._model.elbo(batch, beta=self._beta, rng=rng)
        return bits_per_dim(bound.mean(), self._model.space)

    @override
    @torch.no_grad()
    def validate(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns IWAE with 8 samples at most: bits for each component, or nats (continuous)."""
        samples = min(self._model.iwae, _VALIDATION_SAMPLES)
        bound = self._model.importance_bound(x, samples, rng=rng).mean()
        space = self._model.space
        return -bound if space.levels is None else bits_per_dim(bound, space)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Vae:
    """A variational autoencoder for vectors and images.

    The one player, ``vae``, maximises ``E_q log p(x | z) - beta KL(q(z | x) | N(0, I))`` with a
    normal posterior of independent components. A sample is observed as a probability for every
    level (up to 32 of them), as a mixture of discretised logistics (more levels), or as a normal
    distribution whose mean and variance the decoder gives (continuous).

    Source: Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114; for the bound that is
    reported, Burda, Grosse and Salakhutdinov, 2016, https://arxiv.org/abs/1509.00519.

    Differs from the papers: residual convolutions for larger images, and the observation models.

    Attributes:
        latent: Components of a latent vector.
        width: Width of the hidden layers; a convolutional net has a quarter as many channels.
        depth: Hidden layers; residual blocks at each resolution of a convolutional net.
        net: ``mlp``, ``conv``, or ``auto``: convolutions for images larger than
            28x28 grey.
        beta: Weight of the divergence in training; 1 gives the bound.
        mixtures: Logistics in the mixture, where there are more than 32 levels.
        iwae: Importance samples of the bound that is reported.
        ema: Decay of the running average of weights that is sampled and judged; 0 is none.
    """

    latent: Annotated[int, Between(1)] = 16
    width: Annotated[int, Between(4)] = 256
    depth: Annotated[int, Between(0)] = 2
    net: NetName = "auto"
    beta: Annotated[float, Between(0)] = 1.0
    mixtures: Annotated[int, Between(1)] = 5
    iwae: Annotated[int, Between(1)] = 64
    ema: Annotated[float, Between(0, 1, below=True)] = 0.99

    @property
    def solver(self) -> str:
        """Adam with clipped gradients, for the first steps of a mixture of logistics."""
        return "adam:lr=0.002,clip=1.0"

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> VaeGame:
        """Returns an untrained autoencoder for vectors or images, on the device of ``rng``.

        Raises:
            UserError: If ``space`` is neither, or convolutions are asked for on vectors, or
                there is a context.
        """
        refuse_context("vae", context_space)
        if space.kind not in {"vector", "image"}:
            raise UserError(f"vae models vectors and images. Got {space.label}.")
        scaling = Scaling(space)
        observed = likelihood(scaling, mixtures=self.mixtures)
        with seeded(rng.stream("init")):
            inward = encoder(
                space,
                outputs=2 * self.latent,
                width=self.width,
                depth=self.depth,
                net=self.net,
            )
            outward = decoder(
                space,
                latent=self.latent,
                per=observed.per,
                width=self.width,
                depth=self.depth,
                net=self.net,
            )
        model = VaeModel(scaling, observed, inward, outward, latent=self.latent, iwae=self.iwae)
        return VaeGame(model.to(rng.device), beta=self.beta)
