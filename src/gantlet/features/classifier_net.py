"""The network behind the classifier's features."""

from typing import final

from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.space import Space
from gantlet.nets.mlp import leaky, mlp
from gantlet.nets.scaling import Scaling

# Channels of the convolutions, and width of the hidden layers where there are none.
_CHANNELS = (16, 32, 64, 64, 64)
_WIDTH = 128
# Convolutions end at maps of this height and width, though there are at least two.
_BOTTOM = 4


@final
class ClassifierNet(nn.Module):
    """Convolutions for images, an MLP for anything else; features; a linear layer on top.

    Args:
        space: The space of the samples.
        scaling: What they pass first.
        features: How many features.
        classes: How many classes.
    """

    def __init__(self, space: Space, scaling: Scaling, *, features: int, classes: int) -> None:
        super().__init__()
        self.space = space
        layers, wide = _convolutions(space) if space.kind == "image" else _dense(space)
        self.body = nn.Sequential(scaling, *layers, nn.Linear(wide, features), leaky())
        self.head = nn.Linear(features, classes)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits of the classes, shape ``(n, classes)``."""
        logits: Tensor = self.head(self.body(x))
        return logits


def _convolutions(space: Space) -> tuple[list[nn.Module], int]:
    """Returns strided convolutions with batch normalisation, and how many numbers come out."""
    c, h, w = space.shape
    layers: list[nn.Module] = []
    for i, wide in enumerate(_CHANNELS):
        side = max(h, w)
        if i >= 2 and side <= _BOTTOM:
            break
        # The first layer keeps all pixels of tiny images.
        stride = 2 if side > (_BOTTOM if i else 2 * _BOTTOM) else 1
        kernel = 5 if i == 0 and stride == 2 else 3
        conv = nn.Conv2d(c, wide, kernel, stride, padding=kernel // 2, bias=False)
        layers += [conv, nn.BatchNorm2d(wide), nn.ReLU()]
        c, h, w = wide, -(-h // stride), -(-w // stride)
    return [*layers, nn.Flatten()], c * h * w


def _dense(space: Space) -> tuple[list[nn.Module], int]:
    layers = mlp(space.size, _WIDTH, _WIDTH)
    return [nn.Flatten(), layers, leaky()], _WIDTH
