"""Networks that turn a sample into a vector, and a vector into what describes a sample."""

from torch import nn

from gantlet.core.space import Space
from gantlet.nets.critic import critic
from gantlet.nets.generator import generator
from gantlet.nets.mlp import mlp
from gantlet.nets.residual import WHOLE_CODED, NetName, is_convolutional


def encoder(
    space: Space, *, outputs: int, width: int, depth: int, net: NetName = "auto"
) -> nn.Module:
    """Returns an untrained map of scaled samples ``(n, *space.shape)`` to ``(n, outputs)``.

    Args:
        space: What one sample is.
        outputs: How many numbers come out.
        width: Width of the hidden layers of an MLP; a convolutional net has ``width // 4``
            channels up to 8x8 and fewer above.
        depth: Hidden layers of an MLP; residual blocks at each resolution of a convolutional net.
        net: ``mlp``, ``conv``, or ``auto``: convolutions for images larger than
            28x28 grey.

    Raises:
        UserError: If convolutions are asked for on what is no image.
    """
    if not is_convolutional(space, net, whole=WHOLE_CODED):
        return nn.Sequential(nn.Flatten(), mlp(space.size, *[width] * depth, outputs))
    judge = critic(space, width=width, depth=depth, net="conv")
    return nn.Sequential(judge.body, nn.Linear(judge.head.in_features, outputs))


def decoder(
    space: Space, *, latent: int, per: int, width: int, depth: int, net: NetName = "auto"
) -> nn.Module:
    """Returns an untrained map of vectors ``(n, latent)`` to ``(n, per, *space.shape)``.

    Args:
        space: What one sample is.
        latent: Components of a latent vector.
        per: How many numbers describe one component of a sample.
        width: As for ``encoder``.
        depth: As for ``encoder``.
        net: As for ``encoder``.

    Raises:
        UserError: If convolutions are asked for on what is no image.
    """
    kind: NetName = "conv" if is_convolutional(space, net, whole=WHOLE_CODED) else "mlp"
    first, *rest = space.shape
    stacked = Space(space.kind, (per * first, *rest))
    made = generator(stacked, latent=latent, width=width, depth=depth, net=kind)
    return nn.Sequential(made, nn.Unflatten(1, (per, first)))
