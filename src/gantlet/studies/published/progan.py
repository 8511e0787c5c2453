"""Progressive growing of GANs on CelebA-HQ 1024x1024 (Karras et al., 2018)."""

import itertools
from collections.abc import Iterator, Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv_transpose2d, interpolate, leaky_relu, pad
from typing_extensions import override

from gantlet.studies.published.run import Claims, Run, Stated, flops, gradient, slope, zeros

_SIZES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)


def _width(size: int) -> int:
    """Returns the channels at a resolution: halved with each doubling from 32 pixels on."""
    return min(512, 16384 // size)


@final
class _Resample(nn.Module):
    """Resampling by two and a 3x3 convolution; fused, one 4x4 convolution of stride two."""

    def __init__(self, inputs: int, outputs: int, *, is_up: bool, is_fused: bool) -> None:
        super().__init__()
        self.is_up = is_up
        self.is_fused = is_fused
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))

    @override
    def forward(self, x: Tensor) -> Tensor:
        if self.is_fused:
            return self._fused(x)
        x = interpolate(x, scale_factor=2) if self.is_up else x
        x = torch.conv2d(x, self.weight, self.bias, padding=1)
        return x if self.is_up else avg_pool2d(x, 2)

    def _fused(self, x: Tensor) -> Tensor:
        w = pad(self.weight, (1, 1, 1, 1))
        w = w[..., 1:, 1:] + w[..., :-1, 1:] + w[..., 1:, :-1] + w[..., :-1, :-1]
        if self.is_up:
            return conv_transpose2d(x, w.transpose(0, 1), self.bias, stride=2, padding=1)
        return torch.conv2d(x, w / 4, self.bias, stride=2, padding=1)


@final
class Generator(nn.Module):
    """From 512 numbers to an image, two convolutions at each resolution."""

    def __init__(self, *, is_fused: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(512, 512 * 16, bias=False)
        self.bias = nn.Parameter(torch.zeros(512, 1, 1))
        self.first = nn.Conv2d(512, 512, 3, padding=1)
        pairs = list(itertools.pairwise(_SIZES))
        self.ups = nn.ModuleList(
            _Resample(_width(s), _width(t), is_up=True, is_fused=is_fused) for s, t in pairs
        )
        self.convs = nn.ModuleList(nn.Conv2d(_width(t), _width(t), 3, padding=1) for _, t in pairs)
        self.to_rgb = nn.ModuleList(nn.Conv2d(_width(s), 3, 1) for s in _SIZES)

    @override
    def forward(self, z: Tensor, size: int) -> Tensor:
        """Returns images of ``size`` pixels from latent vectors, shape ``(n, 512)``."""
        level = _SIZES.index(size)
        x = self.dense(_normal(z)).view(-1, 512, 4, 4) + self.bias
        x = _normal(leaky_relu(self.first(_normal(leaky_relu(x, 0.2))), 0.2))
        for up, conv in zip(self.ups[:level], self.convs[:level], strict=True):
            x = _normal(leaky_relu(up(x), 0.2))
            x = _normal(leaky_relu(conv(x), 0.2))
        image: Tensor = self.to_rgb[level](x)
        return image


@final
class Critic(nn.Module):
    """From an image to a score: the generator turned round, with the spread of the batch."""

    def __init__(self, *, is_fused: bool) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(_SIZES))
        self.from_rgb = nn.ModuleList(nn.Conv2d(3, _width(s), 1) for s in _SIZES)
        self.convs = nn.ModuleList(nn.Conv2d(_width(t), _width(t), 3, padding=1) for _, t in pairs)
        self.downs = nn.ModuleList(
            _Resample(_width(t), _width(s), is_up=False, is_fused=is_fused) for s, t in pairs
        )
        self.last = nn.Conv2d(513, 512, 3, padding=1)
        self.dense = nn.Sequential(nn.Linear(512 * 16, 512), nn.LeakyReLU(0.2), nn.Linear(512, 1))

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns one score for each image, shape ``(n,)``."""
        level = _SIZES.index(x.shape[-1])
        x = leaky_relu(self.from_rgb[level](x), 0.2)
        for conv, down in zip(self.convs[:level][::-1], self.downs[:level][::-1], strict=True):
            x = leaky_relu(down(leaky_relu(conv(x), 0.2)), 0.2)
        spread = x.std(0).mean().expand(len(x), 1, 4, 4)
        x = leaky_relu(self.last(torch.cat([x, spread], 1)), 0.2)
        score: Tensor = self.dense(x.flatten(1)).squeeze(1)
        return score


def _normal(x: Tensor) -> Tensor:
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


@final
class ProGanRun(Run):
    """Progressive GAN: WGAN with gradient penalty, one critic step for each generator step.

    Differs from the paper: the second output layer that blends two resolutions while one grows
    into the next is left out of the count (below 0.1 %).

    Args:
        is_fused: Whether resampling and convolution are one operation, as in the authors' code;
            one after the other they take more than twice the operations.
    """

    _batch = 4  # The group over which the critic takes the spread.

    def __init__(self, *, is_fused: bool = True) -> None:
        self._is_fused = is_fused

    @property
    @override
    def name(self) -> str:
        return "Progressive GAN, CelebA-HQ 1024"

    @property
    @override
    def source(self) -> str:
        return (
            "Karras et al., 2018, https://arxiv.org/abs/1710.10196; "
            "tkarras/progressive_growing_of_gans config.py, preset-v2-8gpus"
        )

    @property
    @override
    def claims(self) -> Claims:
        return Claims(
            images=Stated(value=12e6, source="the authors' config.py", is_read=True),
            gpus=Stated(value=8, source="the authors' README, V100", is_read=True),
            days=Stated(value=2, source="the authors' README", is_read=True),
            note="600,000 images at 4 pixels, then 1.2 million at each size up to 512, and the "
            "rest at 1024.",
        )

    @property
    @override
    def passes(self) -> Mapping[str, float]:
        return {"generator": 4, "critic": 14}

    @override
    def networks(self) -> Mapping[str, nn.Module]:
        with torch.device("meta"):
            return {
                "generator": Generator(is_fused=self._is_fused),
                "critic": Critic(is_fused=self._is_fused),
            }

    @override
    def forward(self) -> Mapping[str, float]:
        return self.forward_at(_SIZES[-1])

    def forward_at(self, size: int) -> Mapping[str, float]:
        """Returns the operations of one forward pass of each network at ``size`` pixels."""
        generator, critic = self.networks().values()
        n = self._batch
        with torch.no_grad():
            g = flops(lambda: generator(zeros(n, 512), size))
            d = flops(lambda: critic(zeros(n, 3, size, size)))
        return {"generator": g / n, "critic": d / n}

    @override
    def step(self) -> float:
        return self.step_at(_SIZES[-1])

    def step_at(self, size: int) -> float:
        """Returns the operations of training for one real image of ``size`` pixels."""
        generator, critic = self.networks().values()
        z, real = zeros(self._batch, 512), zeros(self._batch, 3, size, size)

        def step() -> None:
            with torch.no_grad():
                fake = generator(z, size)
            mixed = torch.lerp(real, fake, 0.5).requires_grad_()
            score = critic(mixed)
            penalty = (slope(score, mixed).sqrt() - 1).square().mean()
            gradient(critic(fake).mean() - critic(real).mean() + penalty, [critic])
            gradient(-critic(generator(z, size)).mean(), [generator])

        return flops(step) / self._batch

    def schedule(self) -> Iterator[tuple[int, float]]:
        """Yields each resolution and how many images are shown at it."""
        left = 0.0 if self.claims.images is None else self.claims.images.value
        for size in _SIZES[:-1]:
            # 600,000 while it grows in, but for the first, and as many when it is there.
            shown = 0.6e6 if size == _SIZES[0] else 1.2e6
            left -= shown
            yield size, shown
        yield _SIZES[-1], left

    @override
    def total(self, step: float) -> float | None:
        *growing, (_, rest) = self.schedule()
        return rest * step + sum(images * self.step_at(size) for size, images in growing)

    @override
    def sample(self) -> float:
        return self.forward()["generator"]

    @property
    @override
    def sampling(self) -> str:
        return "one pass of the generator"
