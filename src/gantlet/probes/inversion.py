"""Recall by inversion: which real samples does a decoder reach from any latent vector?"""

import math
from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.core.metric import Findings
from gantlet.core.model import Decoder, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.nets import Scaling
from gantlet.probes.sampling import median
from gantlet.stats.moments import squared_distances
from gantlet.stats.support import wilson

RECALL, ERROR = "recall by inversion", "median inversion error"

QUANTILE = 0.95
"""A sample is reached if it is as near as this share of real samples is to another real one."""

_BLOCK, _AT_ONCE = 256, 64
_RATE = 0.1


@final
@dataclass(frozen=True, slots=True)
class Inverted:
    """The nearest decoded samples.

    Attributes:
        distance: The Euclidean distance of each sample to the nearest that was found, in the
            units of ``rows``, shape ``(n,)``.
        nearest: That decoded sample, not rounded, shape ``(n, *space.shape)``.
    """

    distance: Tensor
    nearest: Tensor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How a latent vector is looked for.

    Attributes:
        candidates: Draws from the prior; the nearest of them are starts.
        starts: Starts for each sample.
        steps: Steps of gradient descent (Adam, cosine schedule) from each start.
    """

    candidates: int = 2000
    starts: int = 2
    steps: int = 200


def rows(x: Tensor, scaling: Scaling) -> Tensor:
    """Returns samples as vectors of about unit size, shape ``(n, space.size)``."""
    y: Tensor = scaling(x.to(torch.float32)).flatten(1)
    return y


def reach(x: Tensor, scaling: Scaling) -> float:
    """Returns the distance within which 95 % of real samples have another one.

    Args:
        x: Real samples, at least 2, shape ``(n, *space.shape)``.
        scaling: The map to vectors.
    """
    y = rows(x, scaling).double()
    parts: list[Tensor] = []
    for place in torch.split(torch.arange(len(y)), _BLOCK):
        distances = squared_distances(y[place], y)
        distances[torch.arange(len(place)), place] = torch.inf
        parts.append(distances.amin(1))
    return math.sqrt(near_limit(torch.cat(parts)))


def near_limit(distances: Tensor) -> float:
    """Returns the squared distance within which 95 % of samples have another one.

    Args:
        distances: The squared distance of each sample to the nearest other, shape ``(n,)``.
    """
    ordered = distances.sort().values
    return float(ordered[min(int(QUANTILE * len(ordered)), len(ordered) - 1)])


def invert(
    model: Decoder, x: Tensor, scaling: Scaling, *, rng: torch.Generator, search: Search
) -> Inverted:
    """Returns for each sample the nearest that the decoder makes from any likely latent vector.

    Gradient descent on the squared distance, from the nearest draws of the prior; latent vectors
    stay within the largest norm of all draws, so that no sample is reached from where the prior
    has no mass. What is found is an upper bound of the distance to the decoder's range.

    Source: Lucic et al., 2018, https://arxiv.org/abs/1711.10337, section 5 (recall); Metz et al.,
    2017, https://arxiv.org/abs/1611.02163, section 3.4, for several starts.

    Args:
        model: The decoder; it is left as it was.
        x: The samples, shape ``(n, *space.shape)``.
        scaling: The map to the vectors in which distances are taken.
        rng: Draws the candidates.
        search: How to look.
    """
    z = model.prior(search.candidates, rng=rng)
    with torch.no_grad():
        made = torch.cat([rows(model.decode(part), scaling) for part in torch.split(z, _BLOCK)])
    reachable = _Range(model, scaling, z, made)
    found = [reachable.nearest(part, search) for part in torch.split(x, _AT_ONCE)]
    return Inverted(torch.cat([f.distance for f in found]), torch.cat([f.nearest for f in found]))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Range:
    """What a decoder makes.

    Attributes:
        model: The decoder.
        scaling: The map to the vectors in which distances are taken.
        z: Draws from the prior, shape ``(n, latent_dim)``.
        made: What is made of them, as vectors.
    """

    model: Decoder
    scaling: Scaling
    z: Tensor
    made: Tensor

    def nearest(self, x: Tensor, search: Search) -> Inverted:
        """Returns the nearest sample to each of ``x``, from the best of all starts."""
        target, k, n = rows(x, self.scaling), search.starts, len(x)
        near = squared_distances(target, self.made).topk(k, largest=False).indices
        best, z = self._descend(self.z[near.T.flatten()], target.repeat(k, 1), search.steps)
        places = torch.arange(n, device=best.device)
        chosen = best.view(k, n).argmin(0) * n + places
        with torch.no_grad():
            return Inverted(best[chosen].sqrt(), self.model.decode(z[chosen]))

    def _descend(self, start: Tensor, target: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Returns the least squared distance of each start, and its latent vector."""
        z = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([z], lr=_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
        best, kept = torch.full((len(z),), torch.inf, device=z.device), start.clone()
        for _ in range(steps + 1):
            loss = (rows(self.model.decode(z), self.scaling) - target).square().sum(1)
            better = loss.detach() < best
            best, kept[better] = torch.where(better, loss.detach(), best), z.detach()[better]
            (z.grad,) = torch.autograd.grad(loss.sum(), [z])
            optimizer.step()
            schedule.step()
            self._contain(z)
        return best, kept

    @torch.no_grad()
    def _contain(self, z: Tensor) -> None:
        """Moves latent vectors back to where the prior has mass."""
        most = self.z.norm(dim=1).max()
        z.mul_((most / z.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Inversion:
    """The share of real samples that a decoder reaches from any latent vector, and how nearly.

    A sample is reached if gradient descent on the latent vector finds one whose decoded sample is
    as near as 95 % of the real samples are to another real one. Distances are Euclidean, on
    samples scaled to unit size; the median error is relative to the median distance of real
    samples to their nearest. The descent may miss a better vector: recall is a lower bound.

    Attributes:
        most: Maximum number of samples to invert.
        candidates: Draws from the prior; the nearest of them are starts.
        starts: Starts for each sample.
        steps: Steps of gradient descent from each start.
    """

    most: Annotated[int, Between(2)] = 128
    candidates: Annotated[int, Between(1)] = 2000
    starts: Annotated[int, Between(1)] = 2
    steps: Annotated[int, Between(0)] = 200

    def inspect(self, model: Model, real: Tensor, *, rng: Rng) -> Findings:
        """Returns recall and median error as scores, and leaves the model as it was."""
        if not isinstance(model, Decoder):
            missing = Estimate.missing("the model has no latent vectors to search")
            return Findings(scores=dict.fromkeys((RECALL, ERROR), missing), clock={})
        scaling = Scaling(model.space).to(real.device)
        scaling.fit(real)
        stream = rng.stream("inversion")
        search = Search(
            candidates=self.candidates,
            starts=min(self.starts, self.candidates),
            steps=self.steps,
        )
        found = invert(model, real[: self.most], scaling, rng=stream, search=search).distance
        limit = reach(real, scaling)
        recall = wilson(int((found <= limit).sum()), len(found), of="real samples")
        unit = "1"
        error = median(
            (found / max(limit, 1e-30)).double().tolist(),
            unit=unit,
            better="lower",
            of="samples",
            method="distance over the distance that counts as reached",
        )
        scores = {RECALL: recall.named(unit=unit, better="higher"), ERROR: error}
        return Findings(scores=scores, clock={})
