"""Between the numbers of a space and the numbers that networks like: the one place for it."""

import math
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.space import Space
from gantlet.nets.affine import AffineMap


@final
class Scaling(AffineMap):
    """An affine map from samples to numbers of about zero mean and unit size, and back.

    A discrete space is dequantised first: uniform noise in [0, 1) is added to the level, so
    that for any density ``p`` on real numbers ``E_u log p(x + u) <= log P(x)`` bounds the
    probability of the level (Theis et al., 2016, https://arxiv.org/abs/1511.01844, section 3.1).
    Its map is fixed, ``[0, levels)`` to ``[-1, 1)``; that of a continuous space is set from data
    by ``fit``.

    Args:
        space: The space of the samples.
    """

    def __init__(self, space: Space) -> None:
        half = (space.levels or 0) / 2
        # Images and discrete spaces share one scale; each column of a vector has its own.
        each = self._is_fitted_per_component(space)
        super().__init__(space.shape, each=each, shift=half, scale=half or 1.0)
        self.space = space

    @staticmethod
    def _is_fitted_per_component(space: Space) -> bool:
        return space.levels is None and space.kind != "image"

    @override
    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Sets the map of a continuous space from samples, shape ``(n, *space.shape)``."""
        if self.space.levels is not None:
            return
        if self._is_fitted_per_component(self.space):
            std, mean = torch.std_mean(x, dim=0)
        else:
            std, mean = torch.std_mean(x)
        self.shift.copy_(mean.expand_as(self.shift))
        self.scale.copy_(torch.where(std > 0, std, torch.ones_like(std)).expand_as(self.scale))

    def dequantise(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns real numbers in ``[x, x + 1)`` for a discrete space, else ``x``."""
        if self.space.levels is None:
            return x
        # Drawn in one precision, so that a model made precise sees the same noise.
        return x + torch.rand(x.shape, generator=rng, device=x.device).to(x.dtype)

    def noisy(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns scaled samples, those of a discrete space dequantised: what critics see."""
        y: Tensor = self(self.dequantise(x, rng=rng))
        return y

    def samples(self, y: Tensor) -> Tensor:
        """Returns samples of the space: those of a discrete one are rounded down and clamped."""
        x = self.inverse(y)
        return x if self.space.levels is None else x.floor().clamp(0, self.space.levels - 1)


def bits_per_dim(nats: Tensor, space: Space) -> Tensor:
    """Returns negative log-probabilities in bits for each component of a sample.

    Example:
        >>> space = Space("image", (1, 8, 8), 17)
        >>> uniform = torch.tensor(-64 * math.log(17))
        >>> round(bits_per_dim(uniform, space).item(), 4) == round(math.log2(17), 4)
        True
    """
    return -nats / (space.size * math.log(2))
