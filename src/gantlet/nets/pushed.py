"""Noise pushed through a network to samples: the generator of a GAN."""

from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.model import Decoder
from gantlet.core.space import Space
from gantlet.nets.scaling import Scaling


@final
class Generator(Decoder):
    """Maps standard normal noise to samples.

    Args:
        space: What one sample is.
        latent: Components of the noise.
        net: Maps noise ``(n, latent)`` to scaled samples ``(n, *space.shape)``.
    """

    def __init__(self, space: Space, latent: int, net: nn.Module) -> None:
        super().__init__()
        self.space = space
        self.latent_dim = latent
        self.net = net
        self.scaling = Scaling(space)
        # A level stands for the interval [level, level + 1); its middle is half a level up.
        self.middle = 0.5 if space.levels else 0.0

    @override
    def prior(self, n: int, *, rng: torch.Generator) -> Tensor:
        shift = self.scaling.shift
        noise = torch.randn(n, self.latent_dim, generator=rng, device=shift.device)
        return noise.to(shift.dtype)

    @override
    def forward(self, z: Tensor) -> Tensor:
        """Returns scaled samples, shape ``(n, *space.shape)``; levels are not rounded."""
        y: Tensor = self.net(z)
        return y

    @override
    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.scaling.inverse(self(z)) - self.middle

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        return self.scaling.samples(self(self.prior(n, rng=rng)))
