"""Which samples a report shows besides the first ones."""

import torch
from torch import Tensor

from gantlet.features.frozen import some
from gantlet.metrics.neighbour.train import nearest_training

# So many samples are looked through, since the work grows with the pairs.
_SEARCHED = 10_000
# How many of each kind are shown.
_EXTREMES = 32
_COPIES = 16


def exhibits(
    real: Tensor, fake: Tensor, train: Tensor | None, *, rng: torch.Generator
) -> dict[str, Tensor]:
    """Returns the places of samples worth seeing, among at most 10,000 fakes.

    Args:
        real: Features of the reference, shape ``(n, d)``.
        fake: Features of the samples to judge, shape ``(m, d)``.
        train: Features of the training samples, or None.
        rng: Draws those that are looked through.

    Returns:
        Those nearest to real samples, ``near``, and farthest from them, ``far``; where the
        training is known, those nearest to it, ``copies``, and what each is nearest to,
        ``originals``.
    """
    searched = some(len(fake), _SEARCHED, rng=rng)
    fake, real = fake[searched], real[some(len(real), _SEARCHED, rng=rng)]
    _, distance = nearest_training(fake, real)
    order = distance[:, 0].argsort(stable=True).cpu()
    found = {"near": searched[order[:_EXTREMES]], "far": searched[order.flip(0)[:_EXTREMES]]}
    if train is not None:
        original, close = nearest_training(fake, train)
        copies = close[:, 0].argsort(stable=True)[:_COPIES]
        found |= {"copies": searched[copies.cpu()], "originals": original[copies, 0].cpu().clone()}
    return found
