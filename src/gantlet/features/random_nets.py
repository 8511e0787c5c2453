"""Networks with random weights that are never trained."""

import math
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d, relu
from typing_extensions import override

from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.nets.residual import sizes

# How fast the Fourier features turn, in radians for one standard deviation of the data.
_SCALES = (1.0, 2.0, 4.0, 8.0)


def orthogonal(rows: int, columns: int, *, rng: torch.Generator) -> Tensor:
    """Returns a random matrix, float32, whose rows or columns, the fewer, are orthonormal.

    Made in double precision, so that every machine rounds to the same weights.

    Source: Saxe et al., 2014, https://arxiv.org/abs/1312.6120.
    """
    made = torch.empty(rows, columns, dtype=torch.float64)
    return nn.init.orthogonal_(made, generator=rng).float()


@final
class RandomConvolutions(nn.Module):
    """Random 3x3 convolutions at halving resolutions, each pooled to a mean over four quarters.

    Args:
        space: Images.
        features: About how many features; each resolution has an equal share.
        rng: Its streams "conv/0", "conv/1", ... decide.
    """

    def __init__(self, space: Space, features: int, *, rng: Rng) -> None:
        super().__init__()
        steps = len(sizes(space))
        width = max(1, features // (4 * steps))
        widths = [space.shape[0], *[width] * steps]
        self.names = [f"weight{i}" for i in range(steps)]
        for i, (a, b) in enumerate(pairwise(widths)):
            weight = orthogonal(b, 9 * a, rng=rng.stream(f"conv/{i}"))
            self.register_buffer(self.names[i], weight.reshape(b, a, 3, 3))

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns features of scaled images, shape ``(n, d)``."""
        found: list[Tensor] = []
        for i, name in enumerate(self.names):
            x = avg_pool2d(x, 2, ceil_mode=True) if i else x
            x = relu(conv2d(x, self.get_buffer(name), padding=1)) * math.sqrt(2)
            found.append(adaptive_avg_pool2d(x, 2).flatten(1))
        return torch.cat(found, 1)


@final
class RandomFourier(nn.Module):
    """Cosines of random projections at four scales.

    Args:
        space: Samples of any kind; they are read as vectors.
        features: How many features, rounded down to a multiple of four.
        rng: Its streams "fourier" and "phase" decide.
    """

    weight: Tensor
    phase: Tensor

    def __init__(self, space: Space, features: int, *, rng: Rng) -> None:
        super().__init__()
        each, d = features // len(_SCALES), space.size
        stream = rng.stream("fourier")
        parts = [torch.randn(each, d, generator=stream) * s / math.sqrt(d) for s in _SCALES]
        phase = torch.rand(each * len(_SCALES), generator=rng.stream("phase"))
        self.register_buffer("weight", torch.cat(parts))
        self.register_buffer("phase", 2 * math.pi * phase)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns features of scaled samples, shape ``(n, d)``."""
        return torch.cos(x.flatten(1) @ self.weight.T + self.phase)
