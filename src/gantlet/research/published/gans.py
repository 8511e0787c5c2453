"""Published GANs: progressive growing, R3GAN."""

import itertools
from collections.abc import Iterator, Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    avg_pool2d,
    conv_transpose2d,
    interpolate,
    leaky_relu,
    pad,
    softplus,
)
from typing_extensions import override

from gantlet.research.published.run import (
    PublishedClaims,
    PublishedRun,
    Stated,
    flops,
    gradient,
    slope,
    zeros,
)

_WIDTH, _GROUPS, _BLOCKS, _STAGES, _LATENT, _CLASSES = 768, 96, 2, 4, 64, 10


@final
class _Block(nn.Module):
    """A residual block 1x1, 3x3 in groups, 1x1, twice as wide inside; no normalisation."""

    def __init__(self) -> None:
        super().__init__()
        wide = 2 * _WIDTH
        self.narrow = nn.Conv2d(_WIDTH, wide, 1, bias=False)
        self.grouped = nn.Conv2d(wide, wide, 3, padding=1, groups=_GROUPS, bias=False)
        self.back = nn.Conv2d(wide, _WIDTH, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(2, wide, 1, 1))

    @override
    def forward(self, x: Tensor) -> Tensor:
        h = leaky_relu(self.narrow(x) + self.bias[0], 0.2)
        h = leaky_relu(self.grouped(h) + self.bias[1], 0.2)
        out: Tensor = x + self.back(h)
        return out


def _stages() -> nn.ModuleList:
    blocks = (nn.Sequential(*(_Block() for _ in range(_BLOCKS))) for _ in range(_STAGES))
    return nn.ModuleList(blocks)


@final
class R3Generator(nn.Module):
    """From a latent vector and a class to an image of 32 pixels, in four stages from 4."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(_CLASSES, _LATENT, bias=False)
        self.dense = nn.Linear(2 * _LATENT, _WIDTH, bias=False)
        self.basis = nn.Parameter(torch.zeros(_WIDTH, 4, 4))
        self.stages = _stages()
        self.to_rgb = nn.Conv2d(_WIDTH, 3, 1, bias=False)

    @override
    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        z = torch.cat([z, self.embed(label)], 1)
        x = self.basis * self.dense(z)[..., None, None]
        for i, stage in enumerate(self.stages):
            x = interpolate(x, scale_factor=2, mode="bilinear") if i else x
            x = stage(x)
        image: Tensor = self.to_rgb(x)
        return image


@final
class R3Critic(nn.Module):
    """The generator turned round; the score is a product with the embedded class."""

    def __init__(self) -> None:
        super().__init__()
        self.from_rgb = nn.Conv2d(3, _WIDTH, 1, bias=False)
        self.stages = _stages()
        self.basis = nn.Conv2d(_WIDTH, _WIDTH, 4, groups=_WIDTH, bias=False)
        self.dense = nn.Linear(_WIDTH, _WIDTH, bias=False)
        self.embed = nn.Linear(_CLASSES, _WIDTH, bias=False)

    @override
    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        x = self.from_rgb(x)
        for i, stage in enumerate(self.stages):
            x = avg_pool2d(x, 2) if i else x
            x = stage(x)
        features = self.dense(self.basis(x).flatten(1))
        score: Tensor = (features * self.embed(label)).sum(1)
        return score


@final
class R3GanRun(PublishedRun):
    """R3GAN: relativistic loss with R1 and R2 at every step, one generator step for each.

    Differs from the paper: the low-pass filters of the resampling are not counted.
    """

    @property
    @override
    def name(self) -> str:
        return "R3GAN, CIFAR-10"

    @property
    @override
    def source(self) -> str:
        return (
            "Huang et al., 2024, https://arxiv.org/abs/2501.05441; "
            "brownvc/R3GAN train.py, preset CIFAR10, --cond=1"
        )

    @property
    @override
    def claims(self) -> PublishedClaims:
        return PublishedClaims(
            images=Stated(value=250e6, source="the paper's table 9, quoted in brownvc/R3GAN #18"),
            gpus=Stated(value=8, source="the paper, quoted in brownvc/R3GAN #19, L40"),
            days=Stated(value=4, source="the paper, quoted in brownvc/R3GAN #19"),
            note="The README's command names no end: 10,000 million images.",
        )

    @property
    @override
    def passes(self) -> Mapping[str, float]:
        # 12 for the critic's step on a pair, and in the generator's step one pass on real images
        # and one with the gradient of the input on fake ones.
        return {"generator": 4, "critic": 15}

    @override
    def networks(self) -> Mapping[str, nn.Module]:
        with torch.device("meta"):
            return {"generator": R3Generator(), "critic": R3Critic()}

    @override
    def forward(self) -> Mapping[str, float]:
        generator, critic = self.networks().values()
        label = zeros(1, _CLASSES)
        with torch.no_grad():
            g = flops(lambda: generator(zeros(1, _LATENT), label))
            d = flops(lambda: critic(zeros(1, 3, 32, 32), label))
        return {"generator": g, "critic": d}

    @override
    def step(self) -> float:
        generator, critic = self.networks().values()
        z, label = zeros(1, _LATENT), zeros(1, _CLASSES)
        real = zeros(1, 3, 32, 32).requires_grad_()

        def critic_step() -> None:
            with torch.no_grad():
                drawn = generator(z, label)
            fake = drawn.requires_grad_()
            scores = critic(real, label), critic(fake, label)
            penalty = slope(scores[0], real) + slope(scores[1], fake)
            gradient((softplus(scores[1] - scores[0]) + penalty).mean(), [critic])

        def generator_step() -> None:
            with torch.no_grad():
                truth = critic(real, label)
            score = critic(generator(z, label), label)
            gradient(softplus(truth - score).mean(), [generator])

        return flops(critic_step) + flops(generator_step)

    @override
    def sample(self) -> float:
        return self.forward()["generator"]

    @property
    @override
    def sampling(self) -> str:
        return "one pass of the generator"


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
class ProGanGenerator(nn.Module):
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
class ProGanCritic(nn.Module):
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
class ProGanRun(PublishedRun):
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
    def claims(self) -> PublishedClaims:
        return PublishedClaims(
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
                "generator": ProGanGenerator(is_fused=self._is_fused),
                "critic": ProGanCritic(is_fused=self._is_fused),
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
