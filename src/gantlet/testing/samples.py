"""Made-up samples of any space."""

import torch
from torch import Tensor

from gantlet.core.rng import Rng
from gantlet.core.space import Space


def made_up(space: Space, n: int, *, seed: int = 0) -> Tensor:
    """Returns ``n`` smooth random samples of ``space``, shape ``(n, *space.shape)``."""
    rng = Rng(seed).stream("made up")
    x = torch.randn(n, *space.shape, generator=rng)
    if space.levels is None:
        return x
    # Correlated components, as in images, and every level in use.
    x = (x + torch.randn(n, *([1] * len(space.shape)), generator=rng)) / 2**0.5
    uniform = 0.5 * (1 + torch.erf(x / 2**0.5))
    return (uniform * space.levels).floor().clamp(0, space.levels - 1)
