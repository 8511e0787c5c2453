"""The squares of gradients by which Adam divides."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gantlet.core.game import Game


def second_moments(game: Game, batches: Sequence[Tensor], *, rng: torch.Generator) -> Tensor:
    """Returns the mean square of each component of the players' gradients, shape ``(size,)``.

    What Adam's second moments settle at where the players stay where they are. Parameters are in
    the order of ``GameField``.

    Args:
        game: The game; its players do not move.
        batches: Real samples, as many as training puts in a batch, in each.
        rng: Draws the noise; moved.
    """
    total: list[Tensor] = []
    for batch in batches:
        parts = []
        for name, player in game.players.items():
            own = [p for p in player.parameters() if p.requires_grad]
            slopes = torch.autograd.grad(
                game.loss(name, batch, rng=rng), own, materialize_grads=True
            )
            parts += [g.detach().flatten() for g in slopes]
        square = torch.cat(parts).square()
        total = [total[0] + square if total else square]
    return total[0] / len(batches)
