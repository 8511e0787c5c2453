"""A denoising diffusion model on a small U-Net (Ho et al., 2020, https://arxiv.org/abs/2006.11239).

Differs from the paper: the cosine schedule and strided sampling of its successors (Nichol and
Dhariwal, 2021, https://arxiv.org/abs/2102.09672; DDIM, Song et al., 2021,
https://arxiv.org/abs/2010.02502, 50 steps), no attention, and a width, a rate of 1e-3 and an
average of weights that suit minutes of one processor instead of days of eight accelerators.
"""

import copy
import itertools
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, BATCH, RATE, DECAY = 32, 64, 1e-3, 0.995
TIMES, SAMPLED = 1000, 50


class Block(nn.Module):
    """Two convolutions with a residual path, told the time in between."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(math.gcd(8, inner), inner), nn.SiLU(), nn.Conv2d(inner, outer, 3, 1, 1)
        )
        self.time = nn.Linear(4 * WIDTH, outer)
        self.second = nn.Sequential(
            nn.GroupNorm(8, outer), nn.SiLU(), nn.Conv2d(outer, outer, 3, 1, 1)
        )
        self.skip = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        inside = self.first(h) + self.time(time)[:, :, None, None]
        return self.skip(h) + self.second(inside)


class UNet(nn.Module):
    """Three resolutions of one block each on the way down, two in the middle, one each back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        a, b, c = WIDTH, 2 * WIDTH, 2 * WIDTH
        self.time = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.SiLU())
        self.enter = nn.Conv2d(channels, a, 3, 1, 1)
        self.down = nn.ModuleList([Block(a, a), Block(a, b), Block(b, c)])
        self.shrink = nn.ModuleList([nn.Conv2d(a, a, 3, 2, 1), nn.Conv2d(b, b, 3, 2, 1)])
        self.middle = Block(c, c)
        self.up = nn.ModuleList([Block(c + c, c), Block(c + b, b), Block(b + a, a)])
        self.leave = nn.Sequential(nn.GroupNorm(8, a), nn.SiLU(), nn.Conv2d(a, channels, 3, 1, 1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        scale = torch.exp(-math.log(10000) * torch.arange(WIDTH // 2) / (WIDTH // 2))
        angle = 1000 * t[:, None] * scale
        time = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        h, seen = self.enter(x), []
        for i, block in enumerate(self.down):
            h = block(h, time)
            seen.append(h)
            h = self.shrink[i](h) if i < 2 else h
        h = self.middle(h, time)
        for block in self.up:
            across = seen.pop()
            h = functional.interpolate(h, size=across.shape[2:])
            h = block(torch.cat([h, across], 1), time)
        return self.leave(h)


def signal(t: Tensor) -> Tensor:
    """Returns what is left of the variance of an image at times ``t`` in [0, 1]."""
    return ((t + 0.008) / 1.008 * math.pi / 2).cos().square().clamp(1e-4, 0.9999)


def train(x: Tensor, *, seconds: float, seed: int) -> Callable[[int], Tensor]:
    """Trains on images ``x``, shape (n, c, h, w) in [0, 255], for so many CPU seconds.

    Returns the sampler: from n to images like ``x``.
    """
    start = time.process_time()
    torch.manual_seed(seed)
    if x.ndim != 4 or min(x.shape[2:]) < 4:
        raise ValueError(f"Images must be 4x4 or larger. Got samples of {tuple(x.shape[1:])}.")
    net = UNet(x.shape[1])
    optimiser = torch.optim.Adam(net.parameters(), RATE)
    average, steps = copy.deepcopy(net), 0
    while time.process_time() - start < seconds:
        for rows in torch.randperm(len(x)).split(BATCH):
            clean = x[rows] / 127.5 - 1
            t = (torch.randint(1, TIMES + 1, (len(rows),)) / TIMES).float()
            kept, noise = signal(t).view(-1, 1, 1, 1), torch.randn_like(clean)
            found = net(kept.sqrt() * clean + (1 - kept).sqrt() * noise, t)
            optimiser.zero_grad()
            functional.mse_loss(found, noise).backward()
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
        grid = torch.linspace(1, 0, SAMPLED + 1)
        for now, then in itertools.pairwise(grid):
            before, after = signal(now), signal(then)
            noise = torch.cat([average(part, now.expand(len(part))) for part in y.split(250)])
            clean = ((y - (1 - before).sqrt() * noise) / before.sqrt()).clamp(-1, 1)
            noise = (y - before.sqrt() * clean) / (1 - before).sqrt()
            y = after.sqrt() * clean + (1 - after).sqrt() * noise
        return ((y.clamp(-1, 1) + 1) * 127.5).round()

    return sampled
