"""Networks that score samples."""

from typing import final

from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.space import Space
from gantlet.nets.mlp import leaky, mlp
from gantlet.nets.residual import (
    Down,
    NetName,
    Residual,
    channels,
    convolution,
    is_convolutional,
    sizes,
)
from gantlet.nets.spectral import normalise


@final
class Critic(nn.Module):
    """Features of a sample and a linear score of them.

    Args:
        body: Maps scaled samples, shape ``(n, *space.shape)``, to features ``(n, size)``.
        size: Number of features.
    """

    def __init__(self, body: nn.Module, size: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(size, 1)

    def features(self, x: Tensor) -> Tensor:
        """Returns what the score is a linear function of, shape ``(n, size)``."""
        features: Tensor = self.body(x)
        return features

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns one score for each sample, shape ``(n,)``; higher is more real."""
        score: Tensor = self.head(self.features(x))
        return score.squeeze(1)


def critic(
    space: Space, *, width: int, depth: int, spectral: bool = False, net: NetName = "auto"
) -> Critic:
    """Returns an untrained critic of scaled samples of ``space``, without normalisation layers.

    Args:
        space: What one sample is.
        width: Width of the hidden layers of an MLP; a convolutional net has ``width // 4``
            channels up to 8x8 and fewer above.
        depth: Hidden layers of an MLP; residual blocks at each resolution of a convolutional net.
        spectral: Whether every layer is divided by its spectral norm.
        net: ``mlp``, ``conv``, or ``auto``: convolutions for images larger than
            32x32 in colour.

    Raises:
        UserError: If convolutions are asked for on what is no image.
    """
    if is_convolutional(space, net):
        # A layer of zeros has no direction to be normalised along.
        made = _convolutional(space, width, depth, zero=not spectral)
    else:
        layers = mlp(space.size, *[width] * depth)
        made = Critic(nn.Sequential(nn.Flatten(), layers, leaky()), width)
    if spectral:
        normalise(made)
    return made


def _convolutional(space: Space, width: int, depth: int, *, zero: bool) -> Critic:
    steps = sizes(space)
    widths = [channels(width, size) for size in steps]
    layers: list[nn.Module] = [convolution(space.shape[0], widths[0])]
    for i, wide in enumerate(widths):
        layers += [Down(widths[i - 1], wide)] if i else []
        layers += [Residual(wide, zero=zero) for _ in range(depth)]
    height, across = steps[-1]
    body = nn.Sequential(*layers, leaky(), nn.Flatten())
    return Critic(body, widths[-1] * height * across)
