"""Variational autoencoders (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114."""

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError, unknown
from gantlet.core.model import Decoder, Density, Generative, LogProb, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.gan import critic, generator
from gantlet.models.nets import (
    WHOLE_CODED,
    NetName,
    Scaling,
    bits_per_dim,
    is_convolutional,
    mlp,
    seeded,
)

# ----------------------------------------------------------------------------
# Observation models: the distribution of a sample given numbers that a network gives.
# ----------------------------------------------------------------------------

# More levels than this are described by a mixture of logistics instead of a number each.
_MOST_CATEGORIES = 32
# Bounds of the logarithm of a scale: below, gradients explode; above, digits are lost.
_LEAST_LOG_SCALE = -7.0
_MOST_LOG_SCALE = 7.0
# Where scales start, as logarithms: components of the mixture then just overlap.
_FIRST_LOG_SCALE = -1.5


class DecoderLikelihood(abc.ABC):
    """A distribution of samples whose components are independent given ``params``.

    ``params`` has shape ``(n, per, *space.shape)``.

    Attributes:
        per: How many numbers describe one component of a sample.
    """

    per: int

    @abc.abstractmethod
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """Returns the log-probability (or log-density) of samples in nats, shape ``(n,)``."""

    @abc.abstractmethod
    def mean(self, params: Tensor) -> Tensor:
        """Returns mean samples, not rounded, shape ``(n, *space.shape)``."""

    @abc.abstractmethod
    def sample(self, params: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns one sample of each distribution, shape ``(n, *space.shape)``."""


@final
class CategoricalLikelihood(DecoderLikelihood):
    """A probability for every level; ``params`` holds the logits.

    Args:
        levels: How many values a component can take.
    """

    def __init__(self, levels: int) -> None:
        self.per = levels

    @override
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        losses = functional.cross_entropy(_wide(params), x.long(), reduction="none")
        return -losses.flatten(1).sum(1)

    @override
    def mean(self, params: Tensor) -> Tensor:
        levels = torch.arange(self.per, device=params.device, dtype=params.dtype)
        return params.softmax(1).movedim(1, -1) @ levels

    @override
    def sample(self, params: Tensor, *, rng: torch.Generator) -> Tensor:
        return _choice(params, rng).to(params.dtype)


@final
class DiscretisedLogistics(DecoderLikelihood):
    """A mixture of logistic distributions, of which each level takes the part that rounds to it.

    The lowest and highest level take the tails as well. On a scale from -1 to 1, ``params`` holds
    the logits of the components, their locations (relative to an even spread), and the logarithms
    of their scales.

    Source: Salimans et al., 2017, https://arxiv.org/abs/1701.05517, equation 2.

    Differs from the paper: colours are independent given ``params``, each with its own mixture.

    Args:
        levels: How many values a component can take.
        mixtures: How many logistic distributions are mixed.
    """

    def __init__(self, levels: int, mixtures: int) -> None:
        self.per = 3 * mixtures
        self.levels = levels
        self.mixtures = mixtures

    @override
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        logits, location, log_scale = self._parts(_wide(params))
        level = x.unsqueeze(1)
        inverse = (-log_scale).exp()
        u = ((2 * level + 1) / self.levels - 1 - location) * inverse
        width = 2 / self.levels * inverse
        # With a, b = u + width/2, u - width/2 the level has probability
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(-width)), which never cancels.
        below = functional.logsigmoid(u + width / 2)
        above = functional.logsigmoid(width / 2 - u)
        inside = torch.log(-torch.expm1(-width))
        is_low, is_high = level == 0, level == self.levels - 1
        part = (
            below.masked_fill(is_high, 0)
            + above.masked_fill(is_low, 0)
            + inside.masked_fill(is_low | is_high, 0)
        )
        mixed = torch.logsumexp(logits.log_softmax(1) + part, 1)
        return mixed.flatten(1).sum(1)

    @override
    def mean(self, params: Tensor) -> Tensor:
        """Returns the mean of the locations, each clamped to the levels; tails are ignored."""
        logits, location, _ = self._parts(params)
        level = (((location + 1) * self.levels - 1) / 2).clamp(0, self.levels - 1)
        return (logits.softmax(1) * level).sum(1)

    @override
    def sample(self, params: Tensor, *, rng: torch.Generator) -> Tensor:
        logits, location, log_scale = self._parts(params)
        chosen = _choice(logits, rng).unsqueeze(1)
        u = torch.rand(chosen.shape, generator=rng, device=params.device, dtype=params.dtype)
        noise = torch.logit(u, eps=1e-6) * log_scale.gather(1, chosen).exp()
        y = (location.gather(1, chosen) + noise).squeeze(1)
        return ((y + 1) / 2 * self.levels).floor().clamp(0, self.levels - 1)

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, location, log_scale = params.chunk(3, 1)
        ends = (self.mixtures - 1) / self.mixtures
        spread = torch.linspace(
            -ends, ends, self.mixtures, device=params.device, dtype=params.dtype
        )
        location = location + spread.view(-1, *[1] * (params.ndim - 2))
        log_scale = (log_scale + _FIRST_LOG_SCALE).clamp(_LEAST_LOG_SCALE, _MOST_LOG_SCALE)
        return logits, location, log_scale


@final
class GaussianLikelihood(DecoderLikelihood):
    """A normal distribution; ``params`` holds scaled means and logarithms of standard deviations.

    The logarithm has a soft floor of -7, so that no density grows without bound.

    Args:
        scaling: Between samples and scaled numbers.
    """

    def __init__(self, scaling: Scaling) -> None:
        self.per = 2
        self.scaling = scaling

    @override
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        mean, log_std = self._parts(_wide(params))
        u: Tensor = (self.scaling(x) - mean) * (-log_std).exp()
        density = -0.5 * (u.square() + math.log(2 * math.pi)) - log_std
        return density.flatten(1).sum(1) + self.scaling.log_volume()

    @override
    def mean(self, params: Tensor) -> Tensor:
        return self.scaling.inverse(self._parts(params)[0])

    @override
    def sample(self, params: Tensor, *, rng: torch.Generator) -> Tensor:
        mean, log_std = self._parts(params)
        noise = torch.randn(mean.shape, generator=rng, device=mean.device, dtype=mean.dtype)
        return self.scaling.inverse(mean + noise * log_std.exp())

    @staticmethod
    def _parts(params: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = params.unbind(1)
        return mean, functional.softplus(log_std - _LEAST_LOG_SCALE) + _LEAST_LOG_SCALE


def likelihood(scaling: Scaling, *, mixtures: int) -> DecoderLikelihood:
    """Returns the observation model that suits the space of ``scaling``.

    A probability for every level up to 32 of them, a mixture of discretised logistics for more,
    and a normal distribution where samples are continuous.
    """
    levels = scaling.space.levels
    if levels is None:
        return GaussianLikelihood(scaling)
    if levels <= _MOST_CATEGORIES:
        return CategoricalLikelihood(levels)
    return DiscretisedLogistics(levels, mixtures)


def _choice(logits: Tensor, rng: torch.Generator) -> Tensor:
    """Returns the index of one category along axis 1, by the Gumbel-max trick."""
    u = torch.rand(logits.shape, generator=rng, device=logits.device, dtype=torch.float32)
    return (logits - (-u.clamp(1e-20, 1 - 1e-7).log()).log()).argmax(1)


def _wide(x: Tensor) -> Tensor:
    """Returns ``x`` in single precision or better, in which likelihoods are summed."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def encoder(
    space: Space, *, outputs: int, width: int, depth: int, net: NetName = "auto"
) -> nn.Module:
    """Returns an untrained map of scaled samples ``(n, *space.shape)`` to ``(n, outputs)``.

    Args:
        space: What one sample is.
        outputs: How many numbers come out.
        width: Width of the hidden layers of an MLP; a convolutional net has ``width // 4``
            channels up to 8x8 and fewer above.
        depth: Hidden layers of an MLP; residual blocks at each resolution of a convolutional net.
        net: ``mlp``, ``conv``, or ``auto``: convolutions for images larger than
            28x28 grey.

    Raises:
        UserError: If convolutions are asked for where samples are not images.
    """
    if not is_convolutional(space, net, whole=WHOLE_CODED):
        return nn.Sequential(nn.Flatten(), mlp(space.size, *[width] * depth, outputs))
    judge = critic(space, width=width, depth=depth, net="conv")
    return nn.Sequential(judge.body, nn.Linear(judge.head.in_features, outputs))


def decoder(
    space: Space, *, latent: int, per: int, width: int, depth: int, net: NetName = "auto"
) -> nn.Module:
    """Returns an untrained map of vectors ``(n, latent)`` to ``(n, per, *space.shape)``.

    Args:
        space: What one sample is.
        latent: Latent dimension.
        per: How many numbers describe one component of a sample.
        width: As for ``encoder``.
        depth: As for ``encoder``.
        net: As for ``encoder``.

    Raises:
        UserError: If convolutions are asked for where samples are not images.
    """
    kind: NetName = "conv" if is_convolutional(space, net, whole=WHOLE_CODED) else "mlp"
    first, *rest = space.shape
    stacked = Space(space.kind, (per * first, *rest))
    made = generator(stacked, latent=latent, width=width, depth=depth, net=kind)
    return nn.Sequential(made, nn.Unflatten(1, (per, first)))


# ----------------------------------------------------------------------------
# Variational autoencoders (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114.
# ----------------------------------------------------------------------------

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
        latent: Latent dimension.
        iwae: Importance samples of the bound.
    """

    def __init__(
        self,
        scaling: Scaling,
        observed: DecoderLikelihood,
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
        """Returns the negative bound in bits per dimension of a sample."""
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
        latent: Latent dimension.
        width: Width of the hidden layers; a convolutional net has a quarter as many channels.
        depth: Hidden layers; residual blocks at each resolution of a convolutional net.
        net: ``mlp``, ``conv``, or ``auto``: convolutions for images larger than
            28x28 grey.
        beta: Weight of the KL divergence in training (beta-VAE); 1 gives the ELBO.
        mixtures: Components of the logistic mixture for data with more than 32 levels.
        iwae: Importance samples of the reported bound (IWAE).
        ema: Decay of the exponential moving average of weights (EMA) used for sampling and
            evaluation; 0 disables it.
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
