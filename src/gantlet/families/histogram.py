"""The baseline that knows every component and no dependence between them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.family import Fit
from gantlet.core.model import Density, LogProb, Model
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between

_CHUNK = 4096  # samples that are counted or sampled at once
_METHOD = "independent histograms"


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Histogram:
    """A baseline of one histogram for each component of a sample, all independent.

    A component of a discrete space has a bin for each level, and its probabilities are exact:
    ``P(v) = (count(v) + alpha) / (n + alpha levels)``. A component of a continuous space has bins
    of equal width over the range of the training data. As a further draw falls outside the range
    of ``n`` with probability ``2 / (n + 1)``, that share goes to a Gaussian around the middle of
    the range, with the range as its standard deviation; so no sample is impossible.

    Attributes:
        alpha: What is added to every count.
        bins: Bins of a continuous component.
    """

    alpha: Annotated[float, Between(0)] = 1.0
    bins: Annotated[int, Between(1)] = 64

    def fit(self, space: Space, train: Tensor, *, rng: Rng) -> Fit:
        """Returns the histograms of ``train``, shape ``(n, *space.shape)``.

        The cost is one addition for each value.

        Raises:
            UserError: If ``train`` is not of ``space``.
        """
        del rng  # nothing is random
        x = space.check(train, "train").flatten(1)
        flops = float(x.numel())
        if space.levels is not None:
            counts = _count(x, space.levels)
            return Fit(_Levels(space, self._share(counts)), flops)
        low, high = x.double().amin(0), x.double().amax(0)
        flat = low == high
        low, high = torch.where(flat, low - 0.5, low), torch.where(flat, high + 0.5, high)
        # The largest value lies on the upper edge of the last bin and belongs to it.
        place = ((x - low) / (high - low) * self.bins).floor().clamp(max=self.bins - 1)
        shares = self._share(_count(place, self.bins))
        outside = torch.tensor(2 / (len(x) + 1), dtype=torch.float64, device=x.device)
        return Fit(_Bins(space, shares, low, high, outside), flops)

    def _share(self, counts: Tensor) -> Tensor:
        smoothed = counts.double() + self.alpha
        return smoothed / smoothed.sum(1, keepdim=True)

    def restore(self, space: Space, state: Mapping[str, Tensor]) -> Model:
        """Returns fitted histograms from their saved tensors."""
        return (_Bins if space.levels is None else _Levels)(space, **state)


def _count(x: Tensor, bins: int) -> Tensor:
    """Returns how often each whole number below ``bins`` occurs in each column of ``x``."""
    columns = torch.arange(x.shape[1], device=x.device) * bins
    counts = torch.zeros(x.shape[1] * bins, dtype=torch.long, device=x.device)
    for i in range(0, len(x), _CHUNK):
        place = (x[i : i + _CHUNK].long() + columns).flatten()
        counts += torch.bincount(place, minlength=len(counts))
    return counts.reshape(x.shape[1], bins)


def _draw(shares: Tensor, n: int, rng: torch.Generator) -> Tensor:
    """Returns a bin for each of ``n`` samples and each row of ``shares``, shape ``(n, rows)``."""
    total = shares.cumsum(1)
    u = torch.rand(len(shares), n, generator=rng, device=rng.device, dtype=shares.dtype)
    # To the right of equal values, so that a bin of share zero is never drawn.
    return torch.searchsorted(total / total[:, -1:], u, right=True).T


@final
class _Levels(Density):
    """Independent probabilities of levels, ``shares`` of shape ``(size, levels)``."""

    shares: Tensor

    def __init__(self, space: Space, shares: Tensor) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("shares", shares)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        parts = [_draw(self.shares, min(_CHUNK, n - i), rng) for i in range(0, n, _CHUNK)]
        flat = torch.cat(parts) if parts else self.shares.new_zeros(0, self.space.size)
        return flat.float().reshape(n, *self.space.shape)

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        level = x.flatten(1).long().T
        value = self.shares.log().gather(1, level).sum(0)
        return LogProb(value.to(x.dtype), "exact", _METHOD)


@final
class _Bins(Density):
    """Independent densities: ``shares`` of equal bins from ``low`` to ``high``, and tails."""

    shares: Tensor
    low: Tensor
    high: Tensor
    outside: Tensor

    def __init__(
        self, space: Space, shares: Tensor, low: Tensor, high: Tensor, outside: Tensor
    ) -> None:
        super().__init__()
        self.space = space
        self.register_buffer("shares", shares)
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.register_buffer("outside", outside)

    @override
    @torch.no_grad()
    def _sample(self, n: int, context: Tensor | None, *, rng: torch.Generator) -> Tensor:
        bins, width = self.shares.shape[1], self.high - self.low
        shape = (n, self.space.size)
        u, v = torch.rand(2, *shape, generator=rng, device=rng.device, dtype=torch.float64)
        z = torch.randn(shape, generator=rng, device=rng.device, dtype=torch.float64)
        x = self.low + width * (_draw(self.shares, n, rng) + u) / bins
        wide = (self.low + self.high) / 2 + width * z
        tail = v < self.outside
        return torch.where(tail, wide, x).float().reshape(n, *self.space.shape)

    @override
    def _log_prob(self, x: Tensor, context: Tensor | None, *, rng: torch.Generator) -> LogProb:
        y = x.flatten(1).double()
        bins, width = self.shares.shape[1], self.high - self.low
        place = (y - self.low) / width * bins
        inside = (place >= 0) & (place <= bins)
        share = self.shares.gather(1, place.long().clamp(0, bins - 1).T).T * inside
        z = (y - (self.low + self.high) / 2) / width
        tail = (-0.5 * z.square()).exp() / math.sqrt(2 * math.pi)
        density = ((1 - self.outside) * share * bins + self.outside * tail) / width
        return LogProb(density.log().sum(1).to(x.dtype), "exact", _METHOD)
