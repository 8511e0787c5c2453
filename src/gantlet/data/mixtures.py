"""Mixtures of equally likely round Gaussians."""

import math

import torch
from torch import Tensor


def log_density(x: Tensor, means: Tensor, std: float) -> Tensor:
    """Returns the log-density in nats of ``x``, shape ``(n, d)``, as shape ``(n,)``.

    Args:
        x: Where.
        means: The centres, shape ``(modes, d)``.
        std: Standard deviation of each component in each direction.
    """
    d = x.shape[1]
    distance = torch.cdist(
        x.double(), means.to(x.device), compute_mode="donot_use_mm_for_euclid_dist"
    )
    exponent = -0.5 * (distance / std).square()
    log_z = math.log(len(means)) + d * (math.log(std) + 0.5 * math.log(2 * math.pi))
    return (exponent.logsumexp(1) - log_z).to(x.dtype)


def draw(n: int, rng: torch.Generator, means: Tensor, std: float) -> tuple[Tensor, Tensor]:
    """Returns ``n`` samples, shape ``(n, d)``, and the component of each, shape ``(n,)``."""
    mode = torch.randint(len(means), (n,), generator=rng)
    noise = torch.randn(n, means.shape[1], generator=rng, dtype=means.dtype)
    return means[mode] + std * noise, mode
