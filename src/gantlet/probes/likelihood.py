"""Held-out likelihood of a model."""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor

from gantlet.compute.meters import count
from gantlet.core.data import Dataset, KnownDensity, Space
from gantlet.core.estimate import KINDS_IN_WORDS, Estimate, Kind
from gantlet.core.metric import Findings
from gantlet.core.model import Density, LogProb, LogProbKind, Model
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.nets import bits_per_dim
from gantlet.stats.intervals import mean

_BLOCK = 128

MOST_FLOPS = 1e12
"""A likelihood that is integrated over many network evaluations is taken on fewer samples: those
that so many operations pay for, but at least the fewest."""

_FEWEST = 16

# A lower bound of log p is an upper bound of -log p.
_KINDS: dict[LogProbKind, Kind] = {"exact": "exact", "lower": "upper", "estimate": "estimate"}


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class HeldOutLikelihood:
    """The negative log-probability of held-out samples, with an interval over samples.

    In bits per dimension of a discrete sample (a uniform model has exactly ``log2(levels)``), in
    nats for a whole continuous sample. The kind says whether it is exact, an upper bound or a
    noisy estimate. Numbers of different kinds must not be ranked without saying so: a bound may
    be loose.

    Attributes:
        most: How many samples to look at, at most; fewer where they cost more than 1e12 FLOPs.
    """

    most: Annotated[int, Between(2)] = 1000

    @torch.no_grad()
    def inspect(self, model: Model, real: Tensor, *, rng: Rng) -> Findings:
        """Returns the score ``likelihood``."""
        if not isinstance(model, Density):
            missing = Estimate.missing(
                "the model has no density", unit=_unit(model.space), better="lower"
            )
            return Findings(scores={"likelihood": missing}, clock={})
        stream = rng.stream("likelihood")
        x = real[: min(self.most, affordable(model, real, rng))]
        found = [model.log_prob(part, rng=stream) for part in torch.split(x, _BLOCK)]
        return Findings(scores={"likelihood": _summary(found, model.space)}, clock={})


def true_likelihood(data: Dataset, real: Tensor, most: int) -> Estimate | None:
    """Returns the negative log-probability of held-out samples under the true distribution.

    The entropy floor: no model has a lower one in the mean. None where the truth is not known.

    Args:
        data: The data set.
        real: Held-out samples, shape ``(n, *space.shape)``.
        most: How many samples to look at, at most.
    """
    if not isinstance(data, KnownDensity):
        return None
    nats = data.log_density(real[:most].cpu())
    found = _summary([LogProb(nats, "exact", "under the true distribution")], data.space)
    return None if found.value is None else found


def affordable(model: Density, real: Tensor, rng: Rng) -> int:
    """Returns the number of samples that the limit allows, from the operations of two of them."""
    few = real[:2]
    cost = count(lambda: model.log_prob(few, rng=rng.stream("likelihood cost"))).flops
    return max(_FEWEST, int(MOST_FLOPS * len(few) / cost)) if cost > 0 else len(real)


def _summary(found: list[LogProb], space: Space) -> Estimate:
    nats = torch.cat([part.value for part in found]).double()
    unit = _unit(space)
    wrong = int((~nats.isfinite()).sum())
    if wrong:
        return Estimate.missing(
            f"{wrong} of {len(nats)} samples have probability 0 or NaN",
            unit=unit,
            better="lower",
        )
    values = -nats if space.levels is None else bits_per_dim(nats, space)
    estimate = mean(values.tolist(), unit=unit, better="lower", of="samples")
    kind = _KINDS[found[0].kind]
    how = ", ".join(filter(None, [KINDS_IN_WORDS[kind], found[0].method]))
    return Estimate(
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
        unit=unit,
        better="lower",
        method=f"{how}; {estimate.method}",
        kind=kind,
    )


def _unit(space: Space) -> str:
    return "nats" if space.levels is None else "bits/dim"
