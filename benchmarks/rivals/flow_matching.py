"""Flow matching on a small U-Net (Lipman et al., 2023, https://arxiv.org/abs/2210.02747).

Straight paths from noise to data, uniform times and Euler's rule in 50 steps; vectors get a
perceptron. Differs from the
paper: paths start from the noise itself (as in rectified flow, Liu et al., 2023,
https://arxiv.org/abs/2209.03003); no attention, and a width, a rate of 1e-3 and an average of
weights that suit minutes of one processor.
"""

import copy
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, BATCH, RATE, DECAY, STEPS = 32, 64, 1e-3, 0.995, 50


def convolved(inner: int, outer: int) -> nn.Sequential:
    """Returns normalisation, activation and a 3x3 convolution."""
    norm = nn.GroupNorm(math.gcd(8, inner), inner)
    return nn.Sequential(norm, nn.SiLU(), nn.Conv2d(inner, outer, 3, 1, 1))


class Block(nn.Module):
    """Two convolutions with a residual path, told the time in between."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.first, self.second = convolved(inner, outer), convolved(outer, outer)
        self.time = nn.Linear(4 * WIDTH, outer)
        self.skip = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        inside = self.first(h) + self.time(time)[:, :, None, None]
        return self.skip(h) + self.second(inside)


class UNet(nn.Module):
    """Three resolutions of one block each on the way down, one in the middle, one each back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [WIDTH, 2 * WIDTH, 2 * WIDTH]
        self.time = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.SiLU(), nn.Linear(4 * WIDTH, 4 * WIDTH)
        )
        self.enter = nn.Conv2d(channels, WIDTH, 3, 1, 1)
        self.down = nn.ModuleList(map(Block, [WIDTH, *widths[:2]], widths))
        self.shrink = nn.ModuleList(nn.Conv2d(a, a, 3, 2, 1) for a in widths[:2])
        self.middle = Block(widths[2], widths[2])
        self.up = nn.ModuleList(
            Block(a + b, b) for a, b in zip([widths[2], *widths[:0:-1]], widths[::-1], strict=True)
        )
        self.leave = convolved(WIDTH, channels)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        scale = torch.exp(-math.log(1000) * torch.arange(WIDTH // 2) / (WIDTH // 2))
        angle = 100 * t[:, None] * scale
        time = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        h, seen = self.enter(x), []
        for i, block in enumerate(self.down):
            h = block(h, time)
            seen.append(h)
            h = self.shrink[i](h) if i < len(self.shrink) else h
        h = self.middle(h, time)
        for block in self.up:
            across = seen.pop()
            h = functional.interpolate(h, size=across.shape[2:])
            h = block(torch.cat([h, across], 1), time)
        return self.leave(h)


class Mlp(nn.Sequential):
    """A perceptron of the point and the time."""

    def __init__(self, size: int) -> None:
        layers = [nn.Linear(size + 1, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU()]
        super().__init__(*layers, nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, size))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return super().forward(torch.cat([x, t[:, None]], 1))


def train(x: Tensor, *, seconds: float, seed: int) -> Callable[[int], Tensor]:
    """Trains on images (n, c, h, w) in [0, 255] or vectors (n, d), for so many CPU seconds.

    Returns the sampler: from n to samples like ``x``.
    """
    start = time.process_time()
    torch.manual_seed(seed)
    pictured = x.ndim == 4
    if pictured and min(x.shape[2:]) < 4:
        raise ValueError(f"Images must be 4x4 or larger. Got {tuple(x.shape[2:])}.")
    net = UNet(x.shape[1]) if pictured else Mlp(x.shape[1])
    shift, scale = (127.5, 127.5) if pictured else (x.mean(0), x.std(0).clamp(min=1e-6))
    optimiser = torch.optim.Adam(net.parameters(), RATE)
    average, steps = copy.deepcopy(net), 0
    while time.process_time() - start < seconds:
        for rows in torch.randperm(len(x)).split(BATCH):
            data = (x[rows] - shift) / scale
            noise, t = torch.randn_like(data), torch.rand(len(rows))
            along = t.view(-1, *[1] * (x.ndim - 1))
            found = net((1 - along) * noise + along * data, t)
            optimiser.zero_grad()
            functional.mse_loss(found, data - noise).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            steps += 1
            keep = min(DECAY, (1 + steps) / (10 + steps))
            with torch.no_grad():
                for old, new in zip(average.parameters(), net.parameters(), strict=True):
                    old.lerp_(new, 1 - keep)
            if time.process_time() - start >= seconds:
                break

    @torch.no_grad()
    def sampled(n: int) -> Tensor:
        y = torch.randn(n, *x.shape[1:])
        for i in range(STEPS):
            now = torch.tensor(i / STEPS)
            y = torch.cat([p + average(p, now.expand(len(p))) / STEPS for p in y.split(250)])
        drawn = y * scale + shift
        return drawn.round().clamp(0, 255) if pictured else drawn

    return sampled
