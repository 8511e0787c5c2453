"""Networks that give a velocity for a point and a time: time features, and a perceptron."""

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override


@final
class TimeFeatures(nn.Module):
    """The first sines and cosines of a Fourier series on [0, 1], which networks read better.

    Args:
        count: How many frequencies; each gives a sine and a cosine.
    """

    frequencies: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * torch.arange(1.0, count + 1))

    @override
    def forward(self, t: Tensor) -> Tensor:
        """Returns the features of times ``t``, shape ``(n,)``: shape ``(n, 2 * count)``."""
        angle = t[:, None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos()], 1)


@final
class VelocityMlp(nn.Module):
    """A residual perceptron; the time scales and shifts what enters each block (FiLM).

    The last layer starts at zero, and with it the velocity.

    Args:
        shape: The shape of one sample.
        width: Width of every hidden layer.
        depth: How many residual blocks.
        time_features: How many frequencies describe the time.

    Source: FiLM, Perez et al., 2018, https://arxiv.org/abs/1709.07871, equation (2).
    """

    def __init__(
        self, shape: tuple[int, ...], *, width: int, depth: int, time_features: int
    ) -> None:
        super().__init__()
        size, moments = math.prod(shape), 2 * time_features
        self.time = TimeFeatures(time_features)
        self.enter = nn.Linear(size + moments, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.films = nn.ModuleList(nn.Linear(moments, 2 * width) for _ in range(depth))
        self.leave = zeroed(nn.Linear(width, size))

    @override
    def forward(self, y: Tensor, t: Tensor) -> Tensor:
        """Returns the velocity at points ``y``, shape ``(n, *shape)``, and times ``(n,)``."""
        moments = self.time(t)
        h: Tensor = self.enter(torch.cat([y.flatten(1), moments], 1))
        for block, film in zip(self.blocks, self.films, strict=True):
            scale, shift = film(moments).chunk(2, 1)
            h = h + block(functional.silu(h * (1 + scale) + shift))
        velocity: Tensor = self.leave(functional.silu(h))
        return velocity.view_as(y)


def zeroed(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """Returns ``layer`` with all its weights set to zero."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
