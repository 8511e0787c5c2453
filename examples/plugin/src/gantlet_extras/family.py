"""A family that is fitted directly: a kernel density estimate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor

import gantlet


@final
class KernelDensity(gantlet.Density):
    """A Gaussian of one width around every training sample, all equally likely.

    Args:
        space: What one sample is.
        points: The training samples, shape ``(n, *space.shape)``.
        width: The standard deviation of each Gaussian, a scalar.
    """

    points: Tensor
    width: Tensor

    def __init__(self, space: gantlet.Space, points: Tensor, width: Tensor) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("points", points)
        self.register_buffer("width", width)

    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        """Returns ``n`` training samples with noise, shape ``(n, *space.shape)``."""
        del context  # None: nothing is conditioned on
        device = self.points.device
        index = torch.randint(len(self.points), (n,), generator=rng, device=device)
        noise = torch.randn(n, *self.space.shape, generator=rng, device=device)
        return self.points[index] + self.width * noise

    def _log_prob(
        self, x: Tensor, context: Tensor | None, *, rng: torch.Generator
    ) -> gantlet.LogProb:
        """Returns the log-density of ``x``, shape ``(n, *space.shape)``, in nats."""
        del context, rng  # nothing is conditioned on, nothing is sampled
        d = self.space.size
        squares = torch.cdist(x.flatten(1), self.points.flatten(1)).square()
        exponents = -squares / (2 * self.width**2)
        scale = d * torch.log(self.width * math.sqrt(2 * math.pi)) + math.log(len(self.points))
        return gantlet.LogProb(exponents.logsumexp(1) - scale, "exact")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Kde:
    """A kernel density estimate with Scott's rule for the width.

    Source: Scott, Multivariate Density Estimation, 1992, equation 6.42.

    Attributes:
        width: Factor on the width that Scott's rule gives.
    """

    width: Annotated[float, gantlet.Between(1e-3)] = 1.0

    def fit(self, space: gantlet.Space, train: Tensor, *, rng: gantlet.Rng) -> gantlet.FitResult:
        """Returns the estimate from ``train``, shape ``(n, *space.shape)``.

        Raises:
            UserError: If samples are not continuous vectors.
        """
        del rng  # nothing is random
        if space.kind != "vector" or space.levels is not None:
            raise gantlet.UserError(f"kde models continuous vectors. Got {space.label}.")
        scott = len(train) ** (-1 / (space.size + 4))
        width = self.width * scott * train.std(0).mean()
        return gantlet.FitResult(KernelDensity(space, train, width), flops=2.0 * train.numel())

    def restore(self, space: gantlet.Space, state: Mapping[str, Tensor]) -> KernelDensity:
        """Returns a fitted estimate from its saved tensors."""
        return KernelDensity(space, state["points"], state["width"])
