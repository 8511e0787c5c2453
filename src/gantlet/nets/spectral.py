"""Layers whose largest singular value is held at 1."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrize import register_parametrization
from typing_extensions import override


@final
class SpectralNorm(nn.Module):
    """Divides a weight by its largest singular value, found by power iteration.

    A convolution's weight counts as a matrix with one row for each output channel.

    Source: Miyato et al., 2018, https://arxiv.org/abs/1802.05957, Algorithm 1.
    Differs from the paper: ``iterations`` from a fixed start in place of one from where the last
    forward pass ended, so that a loss depends on its weights and inputs alone. Where the largest
    singular values lie close together the result is a few per cent too small.

    Args:
        weight: A weight of the shape to be divided.
        iterations: Multiplications with the weight and its transpose.
    """

    start: Tensor

    def __init__(self, weight: Tensor, iterations: int = 16) -> None:
        super().__init__()
        self.iterations = iterations
        columns = weight.flatten(1).shape[1]
        self.register_buffer("start", normalize(torch.randn(columns), dim=0))

    @override
    def forward(self, weight: Tensor) -> Tensor:
        """Returns the weight, divided."""
        W = weight.flatten(1)
        with torch.no_grad():
            v = self.start
            for _ in range(self.iterations):
                u = normalize(W.mv(v), dim=0)
                v = normalize(W.t().mv(u), dim=0)
            u = normalize(W.mv(v), dim=0)
        # For singular vectors u and v, d sigma / dW = u v^T.
        sigma = u.dot(W.mv(v))
        return weight / sigma


def normalise(net: nn.Module) -> None:
    """Holds every linear and convolutional layer inside ``net`` at spectral norm 1."""
    for layer in list(net.modules()):
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            register_parametrization(layer, "weight", SpectralNorm(layer.weight))
