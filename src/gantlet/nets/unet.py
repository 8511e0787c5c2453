"""A small U-Net that gives a velocity for an image and a time."""

import math
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from gantlet.nets.velocity import TimeFeatures, zeroed

# The resolution is halved while the shorter side stays at this or above, and the number of
# channels doubled until it is this many times the first.
_SMALLEST_SIDE = 7
_WIDEST = 4


@final
class TimedBlock(nn.Module):
    """Two convolutions with a residual path; the time scales and shifts between them (FiLM).

    Args:
        inner: Channels that come in.
        outer: Channels that go out.
        time_width: Width of what describes the time.
    """

    def __init__(self, inner: int, outer: int, time_width: int) -> None:
        super().__init__()
        self.norm1 = _norm(inner)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.film = nn.Linear(time_width, 2 * outer)
        self.norm2 = _norm(outer)
        self.conv2 = zeroed(nn.Conv2d(outer, outer, 3, padding=1))
        self.skip = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)

    @override
    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """Returns maps, shape ``(n, outer, height, width)``; ``time`` is ``(n, time_width)``."""
        scale, shift = self.film(time)[:, :, None, None].chunk(2, 1)
        inside = self.norm2(self.conv1(functional.silu(self.norm1(h))))
        inside = self.conv2(functional.silu(inside * (1 + scale) + shift))
        out: Tensor = self.skip(h) + inside
        return out


@final
class Stage(nn.Module):
    """Blocks at one resolution, which change the number of channels in the first.

    Args:
        inner: Channels that come in.
        outer: Channels that go out.
        time_width: Width of what describes the time.
        depth: How many blocks.
    """

    def __init__(self, inner: int, outer: int, time_width: int, depth: int) -> None:
        super().__init__()
        widths = [inner, *[outer] * depth]
        self.blocks = nn.ModuleList(TimedBlock(a, b, time_width) for a, b in pairwise(widths))

    @override
    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """Returns maps, shape ``(n, outer, height, width)``; ``time`` is ``(n, time_width)``."""
        for block in self.blocks:
            h = block(h, time)
        return h


@final
class UNet(nn.Module):
    """Residual blocks on the way down and up again, with what was seen on the way joined in.

    The last layer starts at zero, and with it the velocity.

    Args:
        shape: The shape of one image, ``(channels, height, width)``, of any size from 2x2.
        width: Channels at the full resolution; doubled at each lower one, four times at most.
        depth: Residual blocks at each resolution, each way.
        time_features: How many frequencies describe the time.

    Source: Ho et al., 2020, https://arxiv.org/abs/2006.11239, appendix B, after Ronneberger et
    al., 2015, https://arxiv.org/abs/1505.04597.

    Differs from the paper: no attention and no dropout; resampling by averages and copies; one
    connection across for each resolution; the time also scales (FiLM), not only shifts.
    """

    def __init__(
        self, shape: tuple[int, int, int], *, width: int, depth: int, time_features: int
    ) -> None:
        super().__init__()
        channels, *size = shape
        self.sizes = _sizes((size[0], size[1]))
        widths = [width * min(2**i, _WIDEST) for i in range(len(self.sizes))]
        known = 4 * width
        self.time = nn.Sequential(
            TimeFeatures(time_features), nn.Linear(2 * time_features, known), nn.SiLU()
        )
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(
            Stage(a, b, known, depth) for a, b in pairwise([width, *widths[:-1]])
        )
        self.bottom = Stage(widths[-2], widths[-1], known, depth)
        self.up = nn.ModuleList(Stage(a + b, a, known, depth) for a, b in pairwise(widths))
        self.leave = nn.Sequential(
            _norm(width), nn.SiLU(), zeroed(nn.Conv2d(width, channels, 3, padding=1))
        )

    @override
    def forward(self, y: Tensor, t: Tensor) -> Tensor:
        """Returns the velocity at points ``y``, shape ``(n, *shape)``, and times ``(n,)``."""
        time: Tensor = self.time(t)
        h: Tensor = self.enter(y)
        seen: list[Tensor] = []
        for stage in self.down:
            h = stage(h, time)
            seen.append(h)
            h = functional.avg_pool2d(h, 2, ceil_mode=True)
        h = self.bottom(h, time)
        for i in reversed(range(len(self.up))):
            h = functional.interpolate(h, size=self.sizes[i])
            h = self.up[i](torch.cat([seen[i], h], 1), time)
        velocity: Tensor = self.leave(h)
        return velocity


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, channels), channels)


def _sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns height and width at each resolution, two at least."""
    sizes = [size]
    while len(sizes) < 2 or min(size) >= 2 * _SMALLEST_SIDE:
        size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
        sizes.append(size)
    return sizes
