"""Published diffusion models: EDM, conditional flow matching."""

import math
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, silu
from typing_extensions import override

from gantlet.research.published.run import PublishedClaims, Regression, Stated, zeros


@final
class ResidualBlock(nn.Module):
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
class UNetAttention(nn.Module):
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


_WIDTHS, _CFM_TIME, _CFM_BLOCKS, _CFM_ATTEND, _HEAD = (128, 256, 256, 256), 512, 2, 1, 64
_CFM_EVALUATIONS = 100  # Euler's method with the authors' default number of steps.


@final
class _CfmBlock(nn.Module):
    """A residual block, perhaps with attention."""

    def __init__(self, inputs: int, level: int) -> None:
        super().__init__()
        width = _WIDTHS[level]
        self.residual = ResidualBlock(inputs, width, _CFM_TIME)
        self.attention = (
            UNetAttention(width, width // _HEAD) if level == _CFM_ATTEND else nn.Identity()
        )

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.attention(self.residual(x, t))
        return out


@final
class CfmNet(nn.Module):
    """The U-net of guided diffusion: 32, 16, 8 and 4 pixels, attention at 16 and in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.ModuleList(
            [nn.Linear(_WIDTHS[0], _CFM_TIME), nn.Linear(_CFM_TIME, _CFM_TIME)]
        )
        self.first = nn.Conv2d(3, _WIDTHS[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        width, skips = _WIDTHS[0], [_WIDTHS[0]]
        for level in range(len(_WIDTHS)):
            for _ in range(_CFM_BLOCKS):
                self.down.append(_CfmBlock(width, level))
                width = _WIDTHS[level]
                skips.append(width)
            if level < len(_WIDTHS) - 1:
                self.shrink.append(nn.Conv2d(width, width, 3, 2, padding=1))
                skips.append(width)
        self.middle = nn.ModuleList([ResidualBlock(width, width, _CFM_TIME) for _ in range(2)])
        self.attention = UNetAttention(width, width // _HEAD)
        for level in reversed(range(len(_WIDTHS))):
            for _ in range(_CFM_BLOCKS + 1):
                self.up.append(_CfmBlock(width + skips.pop(), level))
                width = _WIDTHS[level]
            if level:
                self.grow.append(nn.Conv2d(width, width, 3, padding=1))
        self.norm = nn.GroupNorm(32, width)
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        t = silu(self.time[1](silu(self.time[0](sinusoids(t, _WIDTHS[0])))))
        x = self.first(x)
        skips = [x]
        for i, block in enumerate(self.down):
            x = block(x, t)
            skips.append(x)
            if i % _CFM_BLOCKS == _CFM_BLOCKS - 1 and i < len(self.down) - 1:
                x = self.shrink[i // _CFM_BLOCKS](x)
                skips.append(x)
        x = self.middle[1](self.attention(self.middle[0](x, t)), t)
        for i, block in enumerate(self.up):
            x = block(torch.cat([x, skips.pop()], 1), t)
            if i % (_CFM_BLOCKS + 1) == _CFM_BLOCKS and i < len(self.up) - 1:
                x = self.grow[i // (_CFM_BLOCKS + 1)](interpolate(x, scale_factor=2))
        out: Tensor = self.last(silu(self.norm(x)))
        return out


@final
class CfmRun(Regression):
    """Flow matching with independent or optimal-transport pairs: the network is the same.

    Differs from the paper: samples are costed for Euler's method, since how often the adaptive
    method looks at the network depends on the trained weights.
    """

    @property
    @override
    def name(self) -> str:
        return "Flow matching, CIFAR-10"

    @property
    @override
    def source(self) -> str:
        return (
            "Tong et al., 2024, https://arxiv.org/abs/2302.00482; "
            "atong01/conditional-flow-matching examples/images/cifar10"
        )

    @property
    @override
    def claims(self) -> PublishedClaims:
        return PublishedClaims(
            images=Stated(
                value=400_000 * 128, source="the authors' train_cifar10.py", is_read=True
            ),
            gpus=Stated(value=1, source="a user in conditional-flow-matching #105, V100"),
            days=Stated(value=2.5, source="a user in conditional-flow-matching #105"),
        )

    @override
    def network(self) -> CfmNet:
        return CfmNet()

    @override
    def look(self, network: nn.Module) -> Tensor:
        found: Tensor = network(zeros(1, 3, 32, 32), zeros(1))
        return found

    @property
    @override
    def evaluations(self) -> int:
        return _CFM_EVALUATIONS


_BASE, _WIDTH, _TIME, _BLOCKS, _LEVELS, _ATTEND = 128, 256, 512, 4, 3, 1
_CLASSES, _AUGMENT = 10, 9
_EVALUATIONS = 2 * 18 - 1  # Heun's method with 18 steps; the last one needs no second look.


@final
class _EdmBlock(nn.Module):
    """A residual block, perhaps with attention.

    Args:
        inputs: Channels that come in.
        skip: Channels that come in from the way down, or 0.
        attends: Whether there is attention.
        resample: Whether the image is halved or doubled first.
    """

    def __init__(
        self,
        inputs: int,
        *,
        skip: int = 0,
        attends: bool = False,
        resample: Literal["up", "down"] | None = None,
    ) -> None:
        super().__init__()
        self.residual = ResidualBlock(inputs + skip, _WIDTH, _TIME, resample)
        self.attention = UNetAttention(_WIDTH, heads=1) if attends else nn.Identity()

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.attention(self.residual(x, t))
        return out


def _down() -> nn.ModuleList:
    blocks = nn.ModuleList()
    for level in range(_LEVELS):
        if level:
            blocks.append(_EdmBlock(_WIDTH, resample="down"))
        for i in range(_BLOCKS):
            inputs = _BASE if level == i == 0 else _WIDTH
            blocks.append(_EdmBlock(inputs, attends=level == _ATTEND))
    return blocks


def _up() -> nn.ModuleList:
    """Returns the levels of the way up, each the blocks that resample and those fed with skips."""
    levels = nn.ModuleList()
    for level in reversed(range(_LEVELS)):
        is_deepest = level == _LEVELS - 1
        middle = [_EdmBlock(_WIDTH, attends=True), _EdmBlock(_WIDTH)]
        first = middle if is_deepest else [_EdmBlock(_WIDTH, resample="up")]
        # The last skip of all is that of the first convolution, which is narrower.
        skips = [_WIDTH] * _BLOCKS + [_BASE if level == 0 else _WIDTH]
        fed = [_EdmBlock(_WIDTH, skip=s) for s in skips[:-1]]
        fed.append(_EdmBlock(_WIDTH, skip=skips[-1], attends=level == _ATTEND))
        levels.append(nn.ModuleList([nn.ModuleList(first), nn.ModuleList(fed)]))
    return levels


@final
class EdmNet(nn.Module):
    """The DDPM++ U-net: levels of 32, 16 and 8 pixels, all 256 wide, attention at 16."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Linear(_CLASSES, _BASE)
        self.augment = nn.Linear(_AUGMENT, _BASE, bias=False)
        self.time = nn.ModuleList([nn.Linear(_BASE, _TIME), nn.Linear(_TIME, _TIME)])
        self.first = nn.Conv2d(3, _BASE, 3, padding=1)
        self.down, self.up = _down(), _up()
        self.norm = nn.GroupNorm(32, _WIDTH)
        self.last = nn.Conv2d(_WIDTH, 3, 3, padding=1)

    @override
    def forward(self, x: Tensor, noise: Tensor, label: Tensor, augment: Tensor) -> Tensor:
        t = sinusoids(noise, _BASE) + self.label(label) + self.augment(augment)
        for layer in self.time:
            t = silu(layer(t))
        x = self.first(x)
        skips = [x]
        for block in self.down:
            x = block(x, t)
            skips.append(x)
        for level in self.up.children():
            first, fed = level.children()
            for block in first.children():
                x = block(x, t)
            for block in fed.children():
                x = block(torch.cat([x, skips.pop()], 1), t)
        out: Tensor = self.last(silu(self.norm(x)))
        return out


@final
class EdmRun(Regression):
    """EDM: one denoising loss, Heun's method with 18 steps to sample; class-conditional."""

    @property
    @override
    def name(self) -> str:
        return "EDM, CIFAR-10"

    @property
    @override
    def source(self) -> str:
        return (
            "Karras et al., 2022, https://arxiv.org/abs/2206.00364; "
            "NVlabs/edm train.py, --arch=ddpmpp --cond=1"
        )

    @property
    @override
    def claims(self) -> PublishedClaims:
        return PublishedClaims(
            images=Stated(value=200e6, source="the authors' train.py", is_read=True),
            gpus=Stated(value=8, source="the authors' README, V100", is_read=True),
            days=Stated(value=2, source="the authors' README, about", is_read=True),
        )

    @override
    def network(self) -> EdmNet:
        return EdmNet()

    @override
    def look(self, network: nn.Module) -> Tensor:
        inputs = zeros(1, 3, 32, 32), zeros(1), zeros(1, _CLASSES), zeros(1, _AUGMENT)
        found: Tensor = network(*inputs)
        return found

    @property
    @override
    def evaluations(self) -> int:
        return _EVALUATIONS
