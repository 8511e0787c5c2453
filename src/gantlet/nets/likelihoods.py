"""Observation models: the distribution of a sample given numbers that a network gives."""

import abc
import math
from typing import final

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from gantlet.nets.scaling import Scaling

# More levels than this are described by a mixture of logistics instead of a number each.
_MOST_CATEGORIES = 32
# Bounds of the logarithm of a scale: below, gradients explode; above, digits are lost.
_LEAST_LOG_SCALE = -7.0
_MOST_LOG_SCALE = 7.0
# Where scales start, as logarithms: components of the mixture then just overlap.
_FIRST_LOG_SCALE = -1.5


class Likelihood(abc.ABC):
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
class Categorical(Likelihood):
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
class DiscretisedLogistics(Likelihood):
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
class Gaussian(Likelihood):
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


def likelihood(scaling: Scaling, *, mixtures: int) -> Likelihood:
    """Returns the observation model that suits the space of ``scaling``.

    A probability for every level up to 32 of them, a mixture of discretised logistics for more,
    and a normal distribution where samples are continuous.
    """
    levels = scaling.space.levels
    if levels is None:
        return Gaussian(scaling)
    if levels <= _MOST_CATEGORIES:
        return Categorical(levels)
    return DiscretisedLogistics(levels, mixtures)


def _choice(logits: Tensor, rng: torch.Generator) -> Tensor:
    """Returns the index of one category along axis 1, by the Gumbel-max trick."""
    u = torch.rand(logits.shape, generator=rng, device=logits.device, dtype=torch.float32)
    return (logits - (-u.clamp(1e-20, 1 - 1e-7).log()).log()).argmax(1)


def _wide(x: Tensor) -> Tensor:
    """Returns ``x`` in single precision or better, in which likelihoods are summed."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
