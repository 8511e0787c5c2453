"""EDM on CIFAR-10 (Karras et al., 2022)."""

from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from typing_extensions import override

from gantlet.studies.published.run import Claims, Stated, zeros
from gantlet.studies.published.single import Regression
from gantlet.studies.published.unet import Attention, Residual, sinusoids

_BASE, _WIDTH, _TIME, _BLOCKS, _LEVELS, _ATTEND = 128, 256, 512, 4, 3, 1
_CLASSES, _AUGMENT = 10, 9
_EVALUATIONS = 2 * 18 - 1  # Heun's method with 18 steps; the last one needs no second look.


@final
class _Block(nn.Module):
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
        self.residual = Residual(inputs + skip, _WIDTH, _TIME, resample)
        self.attention = Attention(_WIDTH, heads=1) if attends else nn.Identity()

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.attention(self.residual(x, t))
        return out


def _down() -> nn.ModuleList:
    blocks = nn.ModuleList()
    for level in range(_LEVELS):
        if level:
            blocks.append(_Block(_WIDTH, resample="down"))
        for i in range(_BLOCKS):
            inputs = _BASE if level == i == 0 else _WIDTH
            blocks.append(_Block(inputs, attends=level == _ATTEND))
    return blocks


def _up() -> nn.ModuleList:
    """Returns the levels of the way up, each the blocks that resample and those fed with skips."""
    levels = nn.ModuleList()
    for level in reversed(range(_LEVELS)):
        is_deepest = level == _LEVELS - 1
        middle = [_Block(_WIDTH, attends=True), _Block(_WIDTH)]
        first = middle if is_deepest else [_Block(_WIDTH, resample="up")]
        # The last skip of all is that of the first convolution, which is narrower.
        skips = [_WIDTH] * _BLOCKS + [_BASE if level == 0 else _WIDTH]
        fed = [_Block(_WIDTH, skip=s) for s in skips[:-1]]
        fed.append(_Block(_WIDTH, skip=skips[-1], attends=level == _ATTEND))
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
    def claims(self) -> Claims:
        return Claims(
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
