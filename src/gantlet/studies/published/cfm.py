"""Conditional flow matching on CIFAR-10 (Tong et al., 2024)."""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu
from typing_extensions import override

from gantlet.studies.published.run import Claims, Stated, zeros
from gantlet.studies.published.single import Regression
from gantlet.studies.published.unet import Attention, Residual, sinusoids

_WIDTHS, _TIME, _BLOCKS, _ATTEND, _HEAD = (128, 256, 256, 256), 512, 2, 1, 64
_EVALUATIONS = 100  # Euler's method with the authors' default number of steps.


@final
class _Block(nn.Module):
    """A residual block, perhaps with attention."""

    def __init__(self, inputs: int, level: int) -> None:
        super().__init__()
        width = _WIDTHS[level]
        self.residual = Residual(inputs, width, _TIME)
        self.attention = Attention(width, width // _HEAD) if level == _ATTEND else nn.Identity()

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.attention(self.residual(x, t))
        return out


@final
class CfmNet(nn.Module):
    """The U-net of guided diffusion: 32, 16, 8 and 4 pixels, attention at 16 and in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.ModuleList([nn.Linear(_WIDTHS[0], _TIME), nn.Linear(_TIME, _TIME)])
        self.first = nn.Conv2d(3, _WIDTHS[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        width, skips = _WIDTHS[0], [_WIDTHS[0]]
        for level in range(len(_WIDTHS)):
            for _ in range(_BLOCKS):
                self.down.append(_Block(width, level))
                width = _WIDTHS[level]
                skips.append(width)
            if level < len(_WIDTHS) - 1:
                self.shrink.append(nn.Conv2d(width, width, 3, 2, padding=1))
                skips.append(width)
        self.middle = nn.ModuleList([Residual(width, width, _TIME) for _ in range(2)])
        self.attention = Attention(width, width // _HEAD)
        for level in reversed(range(len(_WIDTHS))):
            for _ in range(_BLOCKS + 1):
                self.up.append(_Block(width + skips.pop(), level))
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
            if i % _BLOCKS == _BLOCKS - 1 and i < len(self.down) - 1:
                x = self.shrink[i // _BLOCKS](x)
                skips.append(x)
        x = self.middle[1](self.attention(self.middle[0](x, t)), t)
        for i, block in enumerate(self.up):
            x = block(torch.cat([x, skips.pop()], 1), t)
            if i % (_BLOCKS + 1) == _BLOCKS and i < len(self.up) - 1:
                x = self.grow[i // (_BLOCKS + 1)](interpolate(x, scale_factor=2))
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
    def claims(self) -> Claims:
        return Claims(
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
        return _EVALUATIONS
