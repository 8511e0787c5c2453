"""Affine maps that are set once from data, and the volume that they take up."""

import abc
import math

import torch
from torch import Tensor, nn
from typing_extensions import override


class AffineMap(nn.Module, abc.ABC):
    """``y = (x - shift) / scale``, for each component of a sample or with one scale for all.

    Args:
        shape: The shape of one sample.
        each: Whether every component has a shift and scale of its own, or all share one.
        shift: The shift until it is set from data.
        scale: The scale until it is set from data.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, shape: tuple[int, ...], *, each: bool, shift: float = 0.0, scale: float = 1.0
    ) -> None:
        super().__init__()
        inner = shape if each else (1,) * len(shape)
        self._copies = math.prod(shape) // math.prod(inner)
        self.register_buffer("shift", torch.full(inner, shift))
        self.register_buffer("scale", torch.full(inner, scale))

    @abc.abstractmethod
    def fit(self, x: Tensor) -> None:
        """Sets the map from samples, shape ``(n, *shape)``."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns mapped samples."""
        return (x - self.shift) / self.scale

    def inverse(self, y: Tensor) -> Tensor:
        """Returns the samples behind mapped ones; differentiable."""
        return y * self.scale + self.shift

    def log_volume(self) -> Tensor:
        """Returns ``log |det dy/dx|`` of the whole sample in nats, a scalar.

        Add it to the log-density of ``y`` to have that of ``x``.
        """
        return -self.scale.log().sum() * self._copies
