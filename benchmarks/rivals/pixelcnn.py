"""PixelCNN (van den Oord et al., 2016, https://arxiv.org/abs/1601.00759), plainly in torch.

A masked 7x7 convolution, then 5 residual blocks of 128 channels (1x1 to 64, masked 3x3, 1x1 back)
with ReLU. Grey levels come out as 256 probabilities. Colours come out as the mixture of 10
discretized logistics of PixelCNN++ (Salimans et al., 2017, https://arxiv.org/abs/1701.05517,
equations 2 and 3), which learns them in far fewer steps. Adam with a learning rate of 0.001 that
falls to zero along a cosine, clipping at a norm of 1, batches of 32 up to 32x32 and 8 beyond.
Differs from the papers: 5 blocks in place of 15, for minutes of one processor; no dropout.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, logsigmoid, pad, relu

WIDTH, BLOCKS, MIXTURES, RATE = 128, 5, 10, 1e-3
AT_ONCE = 128


class Masked(nn.Conv2d):
    """A convolution that sees the pixels above and to the left, and with ``own`` its own."""

    def __init__(self, a: int, b: int, side: int, *, own: bool) -> None:
        super().__init__(a, b, side, padding=side // 2)
        mask = torch.ones(side * side)
        mask[side * side // 2 + own :] = 0
        self.register_buffer("mask", mask.view(side, side), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)

    def at(self, x: Tensor, row: int, column: int) -> Tensor:
        """Returns the output at one pixel, ``(n, b, 1, 1)``, of maps with a margin of 3."""
        k = self.padding[0]
        rows, columns = slice(row + 3 - k, row + 4 + k), slice(column + 3 - k, column + 4 + k)
        return conv2d(x[:, :, rows, columns], self.weight * self.mask, self.bias)


class PixelCnn(nn.Module):
    """Parameters of the distribution of each pixel from those before it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = WIDTH // 2
        self.first = Masked(channels, WIDTH, 7, own=False)
        self.down = nn.ModuleList(nn.Conv2d(WIDTH, half, 1) for _ in range(BLOCKS))
        self.mid = nn.ModuleList(Masked(half, half, 3, own=True) for _ in range(BLOCKS))
        self.up = nn.ModuleList(nn.Conv2d(half, WIDTH, 1) for _ in range(BLOCKS))
        outputs = 256 if channels == 1 else 10 * MIXTURES
        self.last = nn.Sequential(
            nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 1), nn.ReLU(), nn.Conv2d(WIDTH, outputs, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns parameters ``(n, outputs, h, w)`` of images between -1 and 1."""
        h = self.first(x)
        for down, mid, up in zip(self.down, self.mid, self.up, strict=True):
            h = h + up(relu(mid(relu(down(relu(h))))))
        return self.last(h)

    @torch.no_grad()
    def sample(self, n: int, shape: tuple[int, int, int]) -> Tensor:
        """Returns images between -1 and 1; each pixel evaluates every layer at its place alone."""
        channels, height, width = shape
        x = pad(torch.zeros(n, *shape), (3, 3, 3, 3))
        maps = [pad(torch.zeros(n, WIDTH // 2, height, width), (3, 3, 3, 3)) for _ in self.mid]
        for row in range(height):
            for column in range(width):
                h = self.first.at(x, row, column)
                parts = zip(self.down, self.mid, self.up, maps, strict=True)
                for down, mid, up, seen in parts:
                    seen[:, :, row + 3, column + 3] = relu(down(relu(h)))[:, :, 0, 0]
                    h = h + up(relu(mid.at(seen, row, column)))
                theta = self.last(h)[:, :, 0, 0]
                drawn = grey(theta) if channels == 1 else colour(theta)
                x[:, :, row + 3, column + 3] = drawn
        return x[:, :, 3:-3, 3:-3]


def grey(theta: Tensor) -> Tensor:
    return torch.multinomial(theta.softmax(1), 1) / 127.5 - 1


def colour(theta: Tensor) -> Tensor:
    """Draws red, then green given red, then blue given both."""
    n = len(theta)
    k = torch.multinomial(theta[:, :MIXTURES].softmax(1), 1)
    parts = theta[:, MIXTURES:].view(n, 3, 3, MIXTURES)
    mean, scale, link = parts[torch.arange(n), :, :, k[:, 0]].unbind(1)
    u = torch.rand(n, 3).clamp(1e-5, 1 - 1e-5)
    noise, link = scale.clamp(min=-7).exp() * (u.log() - (-u).log1p()), link.tanh()
    red = (mean[:, 0] + noise[:, 0]).clamp(-1, 1)
    green = (mean[:, 1] + link[:, 0] * red + noise[:, 1]).clamp(-1, 1)
    blue = mean[:, 2] + link[:, 1] * red + link[:, 2] * green + noise[:, 2]
    return torch.stack([red, green, blue.clamp(-1, 1)], 1)


def colour_log_prob(theta: Tensor, x: Tensor) -> Tensor:
    """Returns the log-probability of each pixel of ``x``, in nats, shape ``(n, h, w)``."""
    n, _, h, w = x.shape
    logits, parts = theta[:, :MIXTURES], theta[:, MIXTURES:].view(n, 3, 3, MIXTURES, h, w)
    mean, scale, link = parts.unbind(1)
    link, y = link.tanh(), x[:, :, None]
    green = mean[:, 1] + link[:, 0] * y[:, 0]
    blue = mean[:, 2] + link[:, 1] * y[:, 0] + link[:, 2] * y[:, 1]
    inverse = (-scale.clamp(min=-7)).exp()
    z, half = (y - torch.stack([mean[:, 0], green, blue], 1)) * inverse, inverse / 255
    low, high = y < -0.999, y > 0.999
    part = logsigmoid(z + half).masked_fill(high, 0) + logsigmoid(half - z).masked_fill(low, 0)
    part = part + (-torch.expm1(-2 * half)).log().masked_fill(low | high, 0)
    return (logits.log_softmax(1) + part.sum(1)).logsumexp(1)


def train(x: Tensor, *, seconds: float, seed: int) -> Callable[[int], Tensor]:
    """Trains on images ``(n, c, h, w)``, float32 in [0, 255], for so many CPU seconds.

    Returns:
        The sampler: a number of samples to images like ``x``.

    Raises:
        ValueError: If samples are not images in grey or colour.
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(f"PixelCNN takes images in grey or colour, not {tuple(x.shape[1:])}")
    begun = time.process_time()
    torch.manual_seed(seed)
    shape = x.shape[1:]
    net, batch = PixelCnn(shape[0]), 32 if x[0, 0].numel() <= 1024 else 8
    adam = torch.optim.Adam(net.parameters(), RATE)
    while (used := (time.process_time() - begun) / seconds) < 1:
        for group in adam.param_groups:
            group["lr"] = RATE * (1 + math.cos(math.pi * used)) / 2
        real = x[torch.randint(len(x), (batch,))]
        theta, y = net(real / 127.5 - 1), real / 127.5 - 1
        if shape[0] == 1:
            loss = cross_entropy(theta, real[:, 0].round().long())
        else:
            loss = -colour_log_prob(theta, y).mean() / 3
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()

    def sample(n: int) -> Tensor:
        sizes = [min(AT_ONCE, n - i) for i in range(0, n, AT_ONCE)]
        drawn = torch.cat([net.sample(size, shape) for size in sizes])
        return ((drawn + 1) * 127.5).round().clamp(0, 255)

    return sample
