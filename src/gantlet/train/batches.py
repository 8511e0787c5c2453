"""Batches in epochs of shuffled samples, with nothing to remember but how many were taken."""

from typing import final

import torch
from torch import Tensor

from gantlet.core.dataset import Source
from gantlet.core.rng import Rng


@final
class Batches:
    """Takes samples without replacement, epoch after epoch.

    The order of epoch ``e`` depends on the seed and ``e`` alone, so that ``taken`` is all there is
    to save and restore.

    Args:
        source: The samples.
        rng: From which the orders follow; batches are put on its device.
    """

    def __init__(self, source: Source, *, rng: Rng) -> None:
        self._source = source
        self._rng = rng
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)
        self.taken = 0

    def next(self, n: int) -> Tensor:
        """Returns the next ``n`` samples, shape ``(n, *space.shape)``."""
        parts = []
        while n > 0:
            epoch, start = divmod(self.taken, len(self._source))
            part = self._order_of(epoch)[start : start + n]
            parts.append(part)
            self.taken += len(part)
            n -= len(part)
        return self._source.take(torch.cat(parts)).to(self._rng.device)

    def _order_of(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            stream = Rng(self._rng.seed).stream(f"epoch/{epoch}")
            self._order = torch.randperm(len(self._source), generator=stream)
            self._epoch = epoch
        return self._order
