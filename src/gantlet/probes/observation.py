"""Observation models: the distribution of a sample around what a decoder gives."""

import abc
import math
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

# A probability of exactly 0 or 1 would make one wrong component infinitely unlikely.
_LEAST = 1e-6


class Observation(abc.ABC):
    """A distribution with independent components around ``y``, the output of a decoder.

    Samples and outputs are flat, shape ``(n, size)``.
    """

    @abc.abstractmethod
    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns ``log p(x | y)`` in nats, shape ``(n,)``."""

    @abc.abstractmethod
    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns the gradient of ``log p(x | y)`` with respect to ``y``, shape ``(n, size)``."""

    @abc.abstractmethod
    def sample(self, y: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns one sample around each output."""

    @abc.abstractmethod
    def rows(self, index: Tensor) -> "Observation":
        """Returns the distribution of the rows at ``index``, where rows differ."""


@final
class Gaussian(Observation):
    """Independent normal noise around the output.

    Args:
        sigma: Its standard deviation, above 0: of every component ``(size,)``, of every row
            ``(n, 1)``, of both ``(n, size)``, or one number ``(1,)``.
    """

    def __init__(self, sigma: Tensor) -> None:
        self.sigma = sigma
        self._precision = sigma.square().reciprocal()

    @override
    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        distance = ((x - y) / self.sigma).square().sum(1)
        return -0.5 * distance - self.log_volume(x.shape[1])

    @override
    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.sub(x, y).mul_(self._precision)

    @override
    def sample(self, y: Tensor, *, rng: torch.Generator) -> Tensor:
        noise = torch.randn(y.shape, generator=rng, device=y.device, dtype=y.dtype)
        return y + self.sigma * noise

    @override
    def rows(self, index: Tensor) -> "Gaussian":
        return Gaussian(self.sigma[index]) if self.sigma.ndim == 2 else self

    def log_volume(self, size: int) -> Tensor:
        """Returns the logarithm of the normalising constant of ``size`` components."""
        spread = self.sigma.log()
        total = spread.sum(-1) if spread.shape[-1] == size else size * spread.squeeze(-1)
        return total + 0.5 * size * math.log(2 * math.pi)


@final
class Bernoulli(Observation):
    """Components that are 0 or 1; the output is the probability of 1, kept inside (0, 1)."""

    @override
    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        p = y.clamp(_LEAST, 1 - _LEAST)
        return (x * p.log() + (1 - x) * (-p).log1p()).sum(1)

    @override
    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        p = y.clamp(_LEAST, 1 - _LEAST)
        return (x - p) / (p * (1 - p))

    @override
    def sample(self, y: Tensor, *, rng: torch.Generator) -> Tensor:
        uniform = torch.rand(y.shape, generator=rng, device=y.device, dtype=y.dtype)
        return (uniform < y.clamp(_LEAST, 1 - _LEAST)).to(y.dtype)

    @override
    def rows(self, index: Tensor) -> "Bernoulli":
        return self
