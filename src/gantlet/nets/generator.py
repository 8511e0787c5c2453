"""Networks that make samples from latent vectors."""

from torch import nn

from gantlet.core.space import Space
from gantlet.nets.mlp import leaky, mlp
from gantlet.nets.residual import (
    NetName,
    Residual,
    Up,
    channels,
    convolution,
    is_convolutional,
    sizes,
)


def generator(
    space: Space, *, latent: int, width: int, depth: int, net: NetName = "auto"
) -> nn.Sequential:
    """Returns an untrained map of latent vectors ``(n, latent)`` to ``(n, *space.shape)``.

    What comes out is in scaled numbers: between -1 and 1 for a discrete space, where a hyperbolic
    tangent gives the ends of the range for nothing, and not bounded for a continuous one.

    Args:
        space: What one sample is.
        latent: Components of a latent vector.
        width: Width of the hidden layers of an MLP; a convolutional net has ``width // 4``
            channels up to 8x8 and fewer above.
        depth: Hidden layers of an MLP; residual blocks at each resolution of a convolutional net.
        net: ``mlp``, ``conv``, or ``auto``: convolutions for images larger than
            32x32 in colour.

    Raises:
        UserError: If convolutions are asked for on what is no image.
    """
    if is_convolutional(space, net):
        layers = _convolutional(space, latent, width, depth)
    else:
        layers = mlp(latent, *[width] * depth, space.size)
        layers.append(nn.Unflatten(1, space.shape))
    return layers.append(nn.Tanh()) if space.levels else layers


def _convolutional(space: Space, latent: int, width: int, depth: int) -> nn.Sequential:
    steps = sizes(space)[::-1]
    widths = [channels(width, size) for size in steps]
    first = (widths[0], *steps[0])
    layers: list[nn.Module] = [
        nn.Linear(latent, widths[0] * steps[0][0] * steps[0][1]),
        nn.Unflatten(1, first),
    ]
    for i, (wide, size) in enumerate(zip(widths, steps, strict=True)):
        layers += [Up(widths[i - 1], wide, size)] if i else []
        layers += [Residual(wide) for _ in range(depth)]
    return nn.Sequential(*layers, leaky(), convolution(widths[-1], space.shape[0]))
