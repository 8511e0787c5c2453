"""Variational autoencoders (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114."""

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError, unknown
from gantlet.core.model import Decoder, Density, Generative, LogProb, refuse_context
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Later
from gantlet.models.bijections import Affine, Bijection, Chain, Couplings, Permute, dense
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
# Strided convolutions: no map is as large as the image, and wide ones fill the vector unit.
# ----------------------------------------------------------------------------

# The first step of longer sides than this divides them by four; all others halve them, until the
# longer side is at most ``_SMALLEST_MAP``.
_LARGEST_HALVED = 32
_SMALLEST_MAP = 8
# Channels are doubled with each halving, up to this many times the first.
_WIDEST = 4


def reduced(shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Returns height and width from the image to the smallest maps, two at least.

    Example:
        >>> reduced((1, 28, 28)), reduced((3, 64, 48))
        ([(28, 28), (14, 14), (7, 7)], [(64, 48), (16, 12), (8, 6)])
    """
    found = [shape[1:]]
    while len(found) < 2 or max(found[-1]) > _SMALLEST_MAP:
        (height, width), step = found[-1], _first_step(shape) if len(found) == 1 else 2
        found.append((-(-height // step), -(-width // step)))
    return found


def _first_step(shape: tuple[int, int, int]) -> int:
    return 4 if max(shape[1:]) > _LARGEST_HALVED else 2


def _widths(sizes: list[tuple[int, int]], first: int) -> list[int]:
    return [first * min(2**i, _WIDEST) for i in range(len(sizes) - 1)]


def _activated(channels: int) -> list[nn.Module]:
    return [nn.GroupNorm(math.gcd(8, channels), channels), nn.SiLU()]


@final
class StridedEncoder(nn.Module):
    """Convolutions that halve the resolution (quarter it first above 32), then two linear layers.

    Args:
        shape: The shape of one image, ``(channels, height, width)``.
        outputs: How many numbers come out.
        width: Width of the linear layer; the largest maps have an eighth as many channels.

    Source: Radford et al., 2016 (DCGAN), https://arxiv.org/abs/1511.06434.

    Differs from the paper: 3x3 instead of 4x4, for sides of any length, and normalisation of each
    sample on its own (Wu and He, 2018, https://arxiv.org/abs/1803.08494).
    """

    def __init__(self, shape: tuple[int, int, int], *, outputs: int, width: int) -> None:
        super().__init__()
        sizes = reduced(shape)
        widths = [shape[0], *_widths(sizes, max(1, width // 8))]
        layers: list[nn.Module] = []
        steps = [_first_step(shape), *[2] * (len(widths) - 2)]
        for (a, b), step in zip(pairwise(widths), steps, strict=True):
            conv = nn.Conv2d(a, b, 2 * step - 1, stride=step, padding=step - 1)
            layers += [conv, *_activated(b)]
        self.convolutions = nn.Sequential(*layers)
        size = widths[-1] * math.prod(sizes[-1])
        self.head = nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, outputs))

    @override
    def forward(self, y: Tensor) -> Tensor:
        """Returns ``(n, outputs)`` numbers for scaled images ``(n, *shape)``."""
        # Several times as fast on a processor as one channel after the other.
        maps = self.convolutions(y.contiguous(memory_format=torch.channels_last))
        found: Tensor = self.head(maps.flatten(1))
        return found


@final
class StridedDecoder(nn.Module):
    """Two linear layers, then sub-pixel convolutions: four pixels for each, or sixteen at the end.

    Args:
        shape: The shape of one image, ``(channels, height, width)``.
        latent: Latent dimension.
        per: How many numbers describe one component of an image.
        width: As for ``StridedEncoder``.

    Source: Radford et al., 2016 (DCGAN), https://arxiv.org/abs/1511.06434; sub-pixel
    convolutions: Shi et al., 2016, https://arxiv.org/abs/1609.05158.
    """

    def __init__(self, shape: tuple[int, int, int], *, latent: int, per: int, width: int) -> None:
        super().__init__()
        self._sizes = reduced(shape)[::-1]
        self._each = (per, shape[0])
        widths = _widths(self._sizes, max(1, width // 8))[::-1]
        first = (widths[0], *self._sizes[0])
        self.head = nn.Sequential(
            nn.Linear(latent, width),
            nn.SiLU(),
            nn.Linear(width, math.prod(first)),
            nn.Unflatten(1, first),
        )
        outer = [*widths[1:], per * shape[0]]
        steps = [*[2] * (len(widths) - 1), _first_step(shape)]
        self.stages = nn.ModuleList(
            nn.Sequential(
                *_activated(a), nn.Conv2d(a, step**2 * b, 3, padding=1), nn.PixelShuffle(step)
            )
            for a, b, step in zip(widths, outer, steps, strict=True)
        )

    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns ``(n, per, *shape)`` numbers for latent vectors ``(n, latent)``."""
        h: Tensor = self.head(z).contiguous(memory_format=torch.channels_last)
        for stage, (height, width) in zip(self.stages, self._sizes[1:], strict=True):
            h = stage(h)[:, :, :height, :width]
        return h.reshape(len(h), *self._each, *h.shape[2:])


# ----------------------------------------------------------------------------
# Variational autoencoders (Kingma and Welling, 2014), https://arxiv.org/abs/1312.6114.
# ----------------------------------------------------------------------------

OUTPUTS_AT_ONCE = 2**23
"""Numbers that the decoder gives at a time while a bound is evaluated, for memory's sake."""

# Validation looks at this many importance samples at most.
_VALIDATION_SAMPLES = 8
# Bounds of the logarithm of the posterior's standard deviation, against overflow.
_LOG_STD = 8.0


def prior_flow(latent: int, *, layers: int, width: int) -> Bijection:
    """Returns a flow from latent vectors to standard normal codes, which starts as a reordering.

    Source: Chen et al., 2017, https://arxiv.org/abs/1611.02731, section 3.2, with couplings (Dinh
    et al., 2017, https://arxiv.org/abs/1605.08803) in the place of an autoregressive flow.

    Args:
        latent: Latent dimension, 2 at least where there are layers.
        layers: Pairs of couplings; 0 for none.
        width: Width of the two hidden layers of each coupling.
    """
    half = latent // 2
    parts = (half, latent - half)
    # Components of the two halves change places between pairs.
    order = [i for pair in zip(range(half), range(half, 2 * half), strict=True) for i in pair]
    order += range(2 * half, latent)
    found: list[Bijection] = []
    for _ in range(layers):
        nets = (dense(parts[turn], 2 * parts[1 - turn], width=width, depth=2) for turn in (0, 1))
        found += [Couplings(nets, Affine(), parts), Permute(order)]
    return Chain(found)


@final
class VaeModel(Density, Decoder):
    """A latent vector ``z`` and a sample ``x ~ p(x | z)`` around its decoding.

    Latent vectors are what ``flow`` makes of codes ``e ~ N(0, I)``: ``prior`` gives codes, and
    ``decode`` takes them. Without a flow the two are the same.

    Args:
        scaling: Between samples and what the encoder sees.
        observed: The distribution of a sample given the decoder's output.
        encoder: From scaled samples to mean and log standard deviation, ``(n, 2 * latent)``.
        decoder: From latent vectors, ``(n, latent)``, to ``(n, observed.per, *space.shape)``.
        latent: Latent dimension.
        iwae: Importance samples of the bound.
        flow: From latent vectors to standard normal codes; none is the identity.
        means: Whether a sample is the mean of ``p(x | z)``, rounded, and not drawn from it.
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
        flow: Bijection | None = None,
        means: bool = False,
    ) -> None:
        super().__init__()
        self.space = scaling.space
        self.scaling = scaling
        self.observed = observed
        self.encoder = encoder
        self.decoder = decoder
        self.latent_dim = latent
        self.iwae = iwae
        self.flow = Chain(()) if flow is None else flow
        self.means = means

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
        return self.observed.mean(self.decoder(self.flow.inverse(z)))

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        """Returns ``n`` samples of ``p(x | z)``, with its noise unless ``means`` are asked for."""
        rows = max(1, OUTPUTS_AT_ONCE // (self.space.size * self.observed.per))
        parts = torch.split(self.prior(n, rng=rng), rows)
        return torch.cat([self._observed(self.decoder(self.flow.inverse(e)), rng) for e in parts])

    def _observed(self, params: Tensor, rng: torch.Generator) -> Tensor:
        if not self.means:
            return self.observed.sample(params, rng=rng)
        mean = self.observed.mean(params)
        return mean if self.space.levels is None else mean.round()

    @property
    def has_flow(self) -> bool:
        """Whether the prior is learned."""
        return any(True for _ in self.flow.parameters())

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log standard deviation of ``q(z | x)``, shape ``(n, latent)`` each."""
        # A level stands for the interval [level, level + 1); its middle is half a level up.
        middle = x if self.space.levels is None else x + 0.5
        found: Tensor = self.encoder(self.scaling(middle))
        mean, log_std = torch.chunk(found, 2, 1)
        return mean, log_std.clamp(-_LOG_STD, _LOG_STD)

    def elbo(self, x: Tensor, *, beta: float, rng: torch.Generator) -> Tensor:
        """Returns ``log p(x | z) - beta KL(q | prior)`` with one ``z ~ q(z | x)``, shape ``(n,)``.

        Source: Kingma and Welling, 2014, equation 10; beta: Higgins et al., 2017.
        """
        mean, log_std = self.posterior(x)
        noise = torch.randn(mean.shape, generator=rng, device=mean.device, dtype=mean.dtype)
        z = mean + log_std.exp() * noise
        if self.has_flow:
            code: Tensor
            volume: Tensor
            code, volume = self.flow(z)
            divergence = (code.square() - noise.square()).sum(1) / 2 - volume - log_std.sum(1)
        else:
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
        code, volume = self.flow(z.flatten(0, 1))
        # log p(z) - log q(z | x); the constants cancel.
        ratio = (noise.square() / 2 - code.view_as(z).square() / 2 + log_std).sum(2)
        ratio = ratio + volume.view(samples, -1)
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


# Images of up to so many pixels a side are read whole: the handwritten digits of 8x8.
_LARGEST_WHOLE = 8
_PRIOR_WIDTH = 64


class _Settled(NamedTuple):
    """A family's options where none was given, by network."""

    net: Literal["mlp", "conv", "strided"]
    latent: int
    mixtures: int
    prior_layers: int


_WHOLE = _Settled("mlp", latent=16, mixtures=5, prior_layers=0)
_STRIDED = _Settled("strided", latent=32, mixtures=2, prior_layers=2)


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

    Differs from the papers: convolutions for larger images, a learned prior there, and the
    observation models.

    Measured for the default above 8x8: kernel distance (KID, times 1,000) to held-out training
    images on features of a network trained on neither, 60 s of one processor, one seed, batches of
    128. MNIST, LeNet-5: ``strided`` 458, ``mlp`` 653, the plain rival
    ``benchmarks/rivals/conv_vae.py`` 1,272 after 25 s. CIFAR-10 (3,000 images), MobileNet:
    ``strided`` 1,329, ``conv`` 1,542, the rival 1,524; ``mlp`` with the latent numbers, the
    logistics and the prior of ``strided`` 1,239 at an equal bound. Means instead of draws: 480 and
    1,434. With batches of 32, as is usual, means are the nearer: MNIST 344 and with means 274,
    CIFAR-10 1,267 and 1,191, patches of two photos (64x64) 1,671 and 1,653.

    Attributes:
        latent: Latent dimension (none is 16, or 32 with ``net=strided``).
        width: Width of the hidden layers; the largest maps of ``strided`` have an eighth as many
            channels, those of ``conv`` up to 8x8 a quarter.
        depth: Hidden layers; residual blocks at each resolution of ``conv``; not for ``strided``.
        net: ``mlp``, ``strided`` (convolutions that halve the resolution), ``conv`` (residual
            blocks, those of ``gan``), or ``auto``: ``strided`` for images larger than 8x8.
        beta: Weight of the KL divergence in training (beta-VAE); 1 gives the ELBO.
        mixtures: Components of the logistic mixture for data with more than 32 levels (none is 5,
            or 2 with ``net=strided``).
        prior_layers: Pairs of couplings of the flow that is the prior; 0 is the standard normal
            distribution (none is 0, or 2 with ``net=strided``).
        means: Whether samples are the means of ``p(x | z)``, rounded, as in most pictures of
            autoencoders, and not drawn from it (none is true with ``net=strided`` alone); the
            likelihood stays that of draws.
        iwae: Importance samples of the reported bound (IWAE).
        ema: Decay of the exponential moving average of weights (EMA) used for sampling and
            evaluation; 0 disables it.
    """

    latent: Annotated[int, Between(1)] | None = None
    width: Annotated[int, Between(4)] = 256
    depth: Annotated[int, Between(0)] = 2
    net: Literal["auto", "mlp", "conv", "strided"] = "auto"
    beta: Annotated[float, Between(0)] = 1.0
    mixtures: Annotated[int, Between(1)] | None = None
    prior_layers: Annotated[int, Between(0), Later()] | None = None
    means: Annotated[bool | None, Later()] = None
    iwae: Annotated[int, Between(1)] = 64
    ema: Annotated[float, Between(0, 1, below=True)] = 0.99

    @property
    def solver(self) -> str:
        """Adam with clipped gradients, for the first steps of a mixture of logistics."""
        return "adam:lr=0.002,clip=1.0"

    def batch_size(self, space: Space) -> int:
        """Returns the usual size of a batch of samples of ``space``."""
        return 32 if self._settled(space).net == "strided" else 128

    def build(self, space: Space, context_space: Space | None = None, *, rng: Rng) -> VaeGame:
        """Returns an untrained autoencoder for vectors or images, on the device of ``rng``.

        Raises:
            UserError: If ``space`` is neither, or convolutions are asked for on vectors, or
                there is a context, or a flow is asked for over a single latent number.
        """
        refuse_context("vae", context_space)
        if space.kind not in {"vector", "image"}:
            raise UserError(f"vae models vectors and images. Got {space.label}.")
        made = self._settled(space)
        scaling = Scaling(space)
        observed = likelihood(scaling, mixtures=made.mixtures)
        with seeded(rng.stream("init")):
            inward, outward = self._nets(space, made, per=observed.per)
            flow = prior_flow(made.latent, layers=made.prior_layers, width=_PRIOR_WIDTH)
        model = VaeModel(
            scaling,
            observed,
            inward,
            outward,
            latent=made.latent,
            iwae=self.iwae,
            flow=flow,
            means=made.net == "strided" if self.means is None else self.means,
        )
        return VaeGame(model.to(rng.device), beta=self.beta)

    def _settled(self, space: Space) -> _Settled:
        """Returns what the options that depend on the space come down to."""
        net = self.net
        if net == "auto":
            is_large = space.kind == "image" and max(space.shape[1:]) > _LARGEST_WHOLE
            net = "strided" if is_large else "mlp"
        if net == "strided" and space.kind != "image":
            raise UserError(f"net=strided needs images. Got {space.label}; use net=mlp.")
        usual = _STRIDED if net == "strided" else _WHOLE
        found = _Settled(
            net,
            usual.latent if self.latent is None else self.latent,
            usual.mixtures if self.mixtures is None else self.mixtures,
            usual.prior_layers if self.prior_layers is None else self.prior_layers,
        )
        if found.prior_layers and found.latent < 2:
            raise UserError("A prior with layers needs latent=2 or more. Got latent=1.")
        return found

    def _nets(self, space: Space, made: _Settled, *, per: int) -> tuple[nn.Module, nn.Module]:
        """Returns encoder and decoder."""
        width, outputs, latent = self.width, 2 * made.latent, made.latent
        if made.net == "strided":
            channels, height, across = space.shape
            shape = (channels, height, across)
            return (
                StridedEncoder(shape, outputs=outputs, width=width),
                StridedDecoder(shape, latent=latent, per=per, width=width),
            )
        depth, net = self.depth, made.net
        inward = encoder(space, outputs=outputs, width=width, depth=depth, net=net)
        outward = decoder(space, latent=latent, per=per, width=width, depth=depth, net=net)
        return inward, outward
