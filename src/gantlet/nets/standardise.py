"""An affine map that gives data of any scale zero mean and about unit variance."""

from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

# The smallest spread of a component, as a fraction of that of the whole. Without it a pixel that
# happens to be constant in the first batch would turn later values into hundreds of deviations.
_FLOOR = 0.1


@final
class Standardise(nn.Module):
    """Subtracts a mean and divides by a standard deviation that are set once from data.

    The identity until ``fit`` is called.

    Args:
        shape: The shape of one sample.
        each: Whether every component has a mean and deviation of its own, or all share one.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: tuple[int, ...], *, each: bool) -> None:
        super().__init__()
        self._copies = 1 if each else torch.Size(shape).numel()
        inner = shape if each else (1,) * len(shape)
        self.register_buffer("mean", torch.zeros(inner))
        self.register_buffer("std", torch.ones(inner))

    @torch.no_grad()
    def fit(self, y: Tensor) -> None:
        """Sets the map from samples, shape ``(n, *shape)``."""
        mean, whole = y.mean(), y.std(correction=0).clamp(min=1e-12)
        if self._copies > 1:
            self.mean.fill_(mean)
            self.std.fill_(whole)
        else:
            self.mean.copy_(y.mean(0))
            self.std.copy_(y.std(0, correction=0).clamp(min=_FLOOR * whole))

    @override
    def forward(self, y: Tensor) -> Tensor:
        """Returns standardised samples."""
        return (y - self.mean) / self.std

    def inverse(self, u: Tensor) -> Tensor:
        """Returns the samples behind standardised ones."""
        return u * self.std + self.mean

    def log_volume(self) -> Tensor:
        """Returns ``log |det du/dy|`` of a whole sample in nats, a scalar."""
        return -self.std.log().sum() * self._copies
