"""Which samples a report shows besides the first ones."""

from torch import Tensor

from gantlet.metrics.neighbour_train import nearest_training

# How many of each kind.
_EXTREMES = 32
_COPIES = 16


def exhibits(real: Tensor, fake: Tensor, train: Tensor | None) -> dict[str, Tensor]:
    """Returns the places of samples worth seeing.

    Args:
        real: Features of the reference, shape ``(n, d)``.
        fake: Features of the samples to judge, shape ``(m, d)``.
        train: Features of the training samples, or None.

    Returns:
        Those nearest to real samples, ``near``, and farthest from them, ``far``; where the
        training is known, those nearest to it, ``copies``, and what each is nearest to,
        ``originals``.
    """
    _, distance = nearest_training(fake, real)
    order = distance[:, 0].argsort(stable=True)
    found = {"near": order[:_EXTREMES], "far": order.flip(0)[:_EXTREMES]}
    if train is not None:
        original, close = nearest_training(fake, train)
        copies = close[:, 0].argsort(stable=True)[:_COPIES]
        found |= {"copies": copies, "originals": original[copies, 0]}
    return {name: places.contiguous() for name, places in found.items()}
