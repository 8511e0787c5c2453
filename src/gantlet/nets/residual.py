"""Residual convolutions without normalisation, at halving resolutions.

Source: Huang et al., 2024 (R3GAN), https://arxiv.org/abs/2501.05441.
Differs from the paper: blocks are two plain 3x3 convolutions, since grouped ones are slow on a
CPU; resampling is by averages and bilinear interpolation; channels halve above 8x8.
"""

from typing import Literal, final

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.space import Space
from gantlet.nets.mlp import leaky

NetName = Literal["auto", "mlp", "conv"]

# The smallest feature maps are at most this high and wide.
_BOTTOM = 4
WHOLE = 3 * 32 * 32
"""Images of up to so many components (32x32 in colour) are read whole by the players of GANs: at
budgets of one processor a perceptron makes far more steps than a convolutional net. On CIFAR-10,
120 s of one processor gave a Frechet distance of 17.8 with it and of 134 with convolutions."""

WHOLE_CODED = 28 * 28
"""The same for autoencoders, up to 28x28 grey; beyond that nothing was measured for them."""


def is_convolutional(space: Space, net: NetName, *, whole: int = WHOLE) -> bool:
    """Returns whether samples of ``space`` are best read by convolutions.

    Args:
        space: What one sample is.
        net: What was asked for.
        whole: Images of up to so many components are read whole where nothing was.

    Raises:
        UserError: If convolutions are asked for on what is no image.
    """
    if net == "conv" and space.kind != "image":
        raise UserError(f"net=conv needs images. Got {space.label}; use net=mlp.")
    is_large = space.kind == "image" and space.size > whole
    return net == "conv" or (net == "auto" and is_large)


def sizes(space: Space) -> list[tuple[int, int]]:
    """Returns height and width at each resolution, from the image to at most 4x4.

    Example:
        >>> sizes(Space("image", (1, 28, 28)))
        [(28, 28), (14, 14), (7, 7), (4, 4)]
    """
    _, height, width = space.shape
    found = [(height, width)]
    while max(height, width) > _BOTTOM:
        height, width = (height + 1) // 2, (width + 1) // 2
        found.append((height, width))
    return found


def channels(width: int, size: tuple[int, int]) -> int:
    """Returns how many channels maps of ``size`` have in a net of ``width``.

    A quarter of ``width`` up to 8x8, halved with each doubling of the side, so that all larger
    resolutions cost about the same.

    Example:
        >>> [channels(256, (side, side)) for side in (4, 8, 16, 28, 64)]
        [64, 64, 32, 16, 8]
    """
    doublings = max(0, (max(size) - 1).bit_length() - 3)
    return max(1, (width // 4) >> doublings)


def convolution(a: int, b: int) -> nn.Conv2d:
    """Returns a 3x3 convolution that keeps height and width."""
    return nn.Conv2d(a, b, 3, padding=1)


@final
class Residual(nn.Module):
    """Adds two convolutions of the activated input to it.

    Args:
        width: Number of channels.
        zero: Whether the last convolution starts at zero, and so the block as the identity.
    """

    def __init__(self, width: int, *, zero: bool = True) -> None:
        super().__init__()
        last = convolution(width, width)
        if zero:
            for parameter in last.parameters():
                nn.init.zeros_(parameter)
        self.branch = nn.Sequential(leaky(), convolution(width, width), leaky(), last)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns maps of the shape of ``x``."""
        change: Tensor = self.branch(x)
        return x + change


@final
class Down(nn.Module):
    """Averages squares of four pixels, rounding the size up, then mixes channels."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns maps, shape ``(n, b, ceil(height / 2), ceil(width / 2))``."""
        y: Tensor = self.mix(avg_pool2d(x, 2, ceil_mode=True))
        return y


@final
class Up(nn.Module):
    """Mixes channels, then interpolates to ``size``."""

    def __init__(self, a: int, b: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.mix = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns maps, shape ``(n, b, *size)``."""
        return interpolate(self.mix(x), size=self.size, mode="bilinear", align_corners=False)
