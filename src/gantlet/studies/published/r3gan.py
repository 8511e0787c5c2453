"""R3GAN on CIFAR-10 (Huang et al., 2024)."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu, softplus
from typing_extensions import override

from gantlet.studies.published.run import Claims, Run, Stated, flops, gradient, slope, zeros

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
class Generator(nn.Module):
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
class Critic(nn.Module):
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
class R3GanRun(Run):
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
    def claims(self) -> Claims:
        return Claims(
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
            return {"generator": Generator(), "critic": Critic()}

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
