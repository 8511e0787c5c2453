"""Parts that the U-nets of diffusion models share."""

import math
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, silu
from typing_extensions import override


@final
class Residual(nn.Module):
    """Normalise, convolve, add the time, normalise, convolve; with a shortcut.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        time: Size of the embedding of time.
        resample: Whether the image is halved or doubled first.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        time: int,
        resample: Literal["up", "down"] | None = None,
    ) -> None:
        super().__init__()
        self.resample = resample
        self.norms = nn.ModuleList([nn.GroupNorm(32, inputs), nn.GroupNorm(32, outputs)])
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time, outputs)
        self.last = nn.Conv2d(outputs, outputs, 3, padding=1)
        is_same = inputs == outputs and resample is None
        self.shortcut = nn.Identity() if is_same else nn.Conv2d(inputs, outputs, 1)

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.first(self._resampled(silu(self.norms[0](x))))
        h = h + self.time(t)[..., None, None]
        out: Tensor = self.last(silu(self.norms[1](h))) + self.shortcut(self._resampled(x))
        return out

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample is None:
            return x
        return interpolate(x, scale_factor=2) if self.resample == "up" else avg_pool2d(x, 2)


@final
class Attention(nn.Module):
    """Every pixel attends to every pixel; with a shortcut.

    Args:
        channels: Channels that come in and go out.
        heads: Attention heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    @override
    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        shape = (n, 3, self.heads, c // self.heads, height * width)
        q, k, v = self.qkv(self.norm(x)).view(shape).mT.unbind(1)
        h = nn.functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = x + self.out(h.mT.reshape(x.shape))
        return out


def sinusoids(t: Tensor, size: int) -> Tensor:
    """Returns the sines and cosines of times, shapes ``(n,)`` to ``(n, size)``."""
    steps = torch.arange(size // 2, device=t.device, dtype=t.dtype)
    angles = t[:, None] * (-math.log(10000) * steps / (size // 2)).exp()
    return torch.cat([angles.cos(), angles.sin()], 1)
