"""Normalizing flows as models: a bijection from samples to codes of a simple base density."""

import abc
import math
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.model import Invertible, LogProb, LogProbKind
from gantlet.core.space import Space
from gantlet.nets.bijections.bijection import Bijection
from gantlet.nets.scaling import Scaling


class Base(nn.Module, abc.ABC):
    """The density of codes."""

    @abc.abstractmethod
    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns the log-density of codes, shape ``(n, size)``, in nats, shape ``(n,)``."""

    @abc.abstractmethod
    def sample(self, like: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns codes of the shape, type and device of ``like``."""


@final
class StandardNormal(Base):
    """Independent normal components with mean 0 and variance 1."""

    @override
    def forward(self, z: Tensor) -> Tensor:
        return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))

    @override
    def sample(self, like: Tensor, *, rng: torch.Generator) -> Tensor:
        return torch.randn(like.shape, generator=rng, device=like.device, dtype=like.dtype)


@final
class FlowModel(Invertible):
    """A normalizing flow: ``log p(x) = log p_base(f(x)) + log |det df/dx|``.

    Source: Rezende and Mohamed, 2015, https://arxiv.org/abs/1505.05770, equation 5; Dinh,
    Sohl-Dickstein and Bengio, 2017, https://arxiv.org/abs/1605.08803, equation 3.

    Args:
        space: The space of the samples.
        bijection: From scaled samples, shape ``(n, *space.shape)``, to codes ``(n, space.size)``.
        base: The density of codes; it has no parameters to fit unless it brings some.
        limits: Where log-probabilities are not exact on continuous samples, what they are
            instead, and why in a few words.
    """

    def __init__(
        self,
        space: Space,
        bijection: Bijection,
        base: Base | None = None,
        *,
        limits: tuple[LogProbKind, str] | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self._limits = limits
        self.scaling = Scaling(space)
        self.bijection = bijection
        self.base = StandardNormal() if base is None else base

    @property
    @override
    def sample_depth(self) -> int:
        return self.bijection.depths[1]

    @property
    @override
    def density_depth(self) -> int:
        return self.bijection.depths[0]

    @torch.no_grad()
    def prepare(self, batch: Tensor, *, rng: torch.Generator) -> None:
        """Sets scaling and standardisation from real samples."""
        self.scaling.fit(batch)
        self.bijection.prepare(self.scaling.noisy(batch, rng=rng))

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        z, log_det = self.encode(self.scaling.dequantise(x, rng=rng))
        value = self.base(z) + log_det
        if self._limits is not None:
            kind, why = self._limits
            return LogProb(value, kind, f"change of variables, {why}")
        if self.space.levels is None:
            return LogProb(value, "exact", "change of variables")
        return LogProb(value, "lower", "change of variables, one uniform dequantisation")

    @override
    def _encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_det = self.bijection(self.scaling(x))
        return z, log_det + self.scaling.log_volume()

    @override
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.scaling.inverse(self.bijection.inverse(z))

    def scaled_samples(self, n: int, *, rng: torch.Generator) -> Tensor:
        """Returns samples as networks see them, scaled and not rounded, with their gradient."""
        like = self.scaling.scale.new_empty(n, self.space.size)
        return self.bijection.inverse(self.base.sample(like, rng=rng))

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        return self.scaling.samples(self.scaled_samples(n, rng=rng))
