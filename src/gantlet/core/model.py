"""What a trained model can do; an ability is a class."""

import abc
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.space import Space

LogProbKind = Literal["exact", "lower", "estimate"]


class Model(nn.Module, abc.ABC):
    """A generator of samples. A subclass is either abstract or final.

    Public methods check the context and then call the method of the same name with an underscore,
    which is what a subclass implements: there, a context is one row for each sample, or None.

    Attributes:
        space: What one sample is.
        context_space: What a sample is conditioned on, or None for an unconditional model.
    """

    space: Space
    context_space: Space | None = None

    @property
    def sample_depth(self) -> int:
        """How many network evaluations, each waiting for the one before, give a sample."""
        return 1

    def sample(self, n: int, *, context: Tensor | None = None, rng: torch.Generator) -> Tensor:
        """Returns ``n`` samples, shape ``(n, *space.shape)``, on the device of ``rng``.

        Samples of a discrete space are whole numbers ``0 .. levels - 1``. No gradient is kept.

        Args:
            n: How many.
            context: What each is conditioned on, shape ``(n, *context_space.shape)``; None, and
                only None, for an unconditional model.
            rng: Where the randomness comes from.

        Raises:
            UserError: If ``context`` is not what ``context_space`` asks for.
        """
        return self._sample(n, self.checked_context(context, n), rng=rng)

    @abc.abstractmethod
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        """Implements ``sample``."""

    def checked_context(self, context: Tensor | None, n: int) -> Tensor | None:
        """Returns ``context``, having checked that it is what ``n`` samples need.

        Raises:
            UserError: If the model is unconditional and there is a context, or it is conditional
                and there is none, not one for each sample, or not of ``context_space``.
        """
        if self.context_space is None:
            if context is not None:
                raise UserError(
                    "This model is unconditional: context must be None. "
                    f"Got a context of shape {tuple(context.shape)}."
                )
            return None
        if context is None:
            raise UserError(
                f"This model is conditional: context must hold {self.context_space.label} for "
                f"each of {n} samples. Got None."
            )
        self.context_space.check(context, "context")
        if len(context) != n:
            raise UserError(
                f"context must have {n} rows, one for each sample. Got {len(context)}."
            )
        return context


class Cached(Model):
    """A model that keeps what it has computed of a sample so far while it goes on.

    Without the cache it computes everything anew at each step, and gives the same samples.
    """

    @override
    def sample(
        self,
        n: int,
        *,
        context: Tensor | None = None,
        rng: torch.Generator,
        cached: bool = True,
    ) -> Tensor:
        """Returns ``n`` samples as every model does, with or without the cache."""
        return self._sample(n, self.checked_context(context, n), rng=rng, cached=cached)

    @override
    @abc.abstractmethod
    def _sample(
        self, n: int, context: Tensor | None, *, rng: torch.Generator, cached: bool = True
    ) -> Tensor:
        """Implements ``sample``."""


class Decoder(Model):
    """A model that maps latent vectors to samples: a GAN's generator, a VAE's decoder."""

    latent_dim: int

    @abc.abstractmethod
    def prior(self, n: int, *, rng: torch.Generator) -> Tensor:
        """Returns ``n`` latent vectors from the prior, shape ``(n, latent_dim)``."""

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns the mean sample of each latent vector, shape ``(n, *space.shape)``.

        Differentiable in ``z``; for a discrete space the levels are not rounded.

        Raises:
            UserError: If ``context`` is not what ``context_space`` asks for.
        """
        return self._decode(z, self.checked_context(context, len(z)))

    @abc.abstractmethod
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Implements ``decode``."""


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

    def log_prob(
        self, x: Tensor, context: Tensor | None = None, *, rng: torch.Generator
    ) -> LogProb:
        """Returns the log-probability of ``x``, shape ``(n, *space.shape)``, in nats.

        On a continuous space this is a log-density; on a discrete one the log of a probability,
        so that the uniform model gives exactly ``-space.size * log(levels)``. A density on
        uniformly dequantised data is a lower bound of it. ``rng`` serves dequantisation and
        sampled bounds. Differentiable in the parameters. Of a conditional model it is the
        probability given ``context``.

        Raises:
            UserError: If ``context`` is not what ``context_space`` asks for.
        """
        return self._log_prob(x, self.checked_context(context, len(x)), rng=rng)

    @abc.abstractmethod
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        """Implements ``log_prob``."""


class Invertible(Density):
    """A density with a bijection between samples and codes.

    On a discrete space the bijection is on dequantised samples, real numbers in
    ``[0, levels)``.
    """

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns the code of ``x`` and ``log |det d code / d x|``.

        Shapes ``(n, space.size)`` and ``(n,)``.

        Raises:
            UserError: If ``context`` is not what ``context_space`` asks for.
        """
        return self._encode(x, self.checked_context(context, len(x)))

    @abc.abstractmethod
    def _encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Implements ``encode``."""

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns the sample, not rounded, of each code, shape ``(n, *space.shape)``.

        Raises:
            UserError: If ``context`` is not what ``context_space`` asks for.
        """
        return self._decode(z, self.checked_context(context, len(z)))

    @abc.abstractmethod
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Implements ``decode``."""
