"""What a trained model can do; an ability is a class."""

import abc
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.space import Space

LogProbKind = Literal["exact", "lower", "estimate"]


class Model(nn.Module, abc.ABC):
    """A generator of samples. A subclass is either abstract or final."""

    space: Space

    @property
    def sample_depth(self) -> int:
        """How many network evaluations, each waiting for the one before, give a sample."""
        return 1

    @abc.abstractmethod
    def sample(self, n: int, *, rng: torch.Generator) -> Tensor:
        """Returns ``n`` samples, shape ``(n, *space.shape)``, on the device of ``rng``.

        Samples of a discrete space are whole numbers ``0 .. levels - 1``. No gradient is kept.
        """


class Cached(Model):
    """A model that keeps what it has computed of a sample so far while it goes on.

    Without the cache it computes everything anew at each step, and gives the same samples.
    """

    @override
    @abc.abstractmethod
    def sample(self, n: int, *, rng: torch.Generator, cached: bool = True) -> Tensor:
        """Returns ``n`` samples as every model does, with or without the cache."""


class Decoder(Model):
    """A model that maps latent vectors to samples: a GAN's generator, a VAE's decoder."""

    latent_dim: int

    @abc.abstractmethod
    def prior(self, n: int, *, rng: torch.Generator) -> Tensor:
        """Returns ``n`` latent vectors from the prior, shape ``(n, latent_dim)``."""

    @abc.abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Returns the mean sample of each latent vector, shape ``(n, *space.shape)``.

        Differentiable in ``z``; for a discrete space the levels are not rounded.
        """


@final
@dataclass(frozen=True, slots=True)
class LogProb:
    """Log-probabilities in nats, and what kind of number they are.

    Attributes:
        value: One number for each sample, shape ``(n,)``.
        kind: Whether a value is exact, a lower bound, or a noisy estimate.
        method: How it was obtained, in a few words ("IWAE, 64 samples").
    """

    value: Tensor
    kind: LogProbKind
    method: str = ""


class Density(Model):
    """A model that can say how likely a sample is."""

    @property
    def density_depth(self) -> int:
        """How many network evaluations, each waiting for the one before, give a log_prob."""
        return 1

    @abc.abstractmethod
    def log_prob(self, x: Tensor, *, rng: torch.Generator) -> LogProb:
        """Returns the log-probability of ``x``, shape ``(n, *space.shape)``, in nats.

        On a continuous space this is a log-density; on a discrete one the log of a probability,
        so that the uniform model gives exactly ``-space.size * log(levels)``. A density on
        uniformly dequantised data is a lower bound of it. ``rng`` serves dequantisation and
        sampled bounds. Differentiable in the parameters.
        """


class Invertible(Density):
    """A density with a bijection between samples and codes.

    On a discrete space the bijection is on dequantised samples, real numbers in
    ``[0, levels)``.
    """

    @abc.abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the code of ``x`` and ``log |det d code / d x|``.

        Shapes ``(n, space.size)`` and ``(n,)``.
        """

    @abc.abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Returns the sample, not rounded, of each code, shape ``(n, *space.shape)``."""
