"""FID-infinity: the Frechet distance extrapolated to infinitely many samples."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Sees
from gantlet.core.moments import Moments
from gantlet.metrics.frechet import Fitted, between
from gantlet.metrics.influence import spread
from gantlet.metrics.inputs import checked, rows, too_few
from gantlet.metrics.intervals import Variance, around, total
from gantlet.metrics.spread import Many

_POINTS = 15
# The smallest share of the samples, if it leaves four samples a feature; at most half.
_LEAST, _PER_FEATURE = 0.1, 4
_METHOD = (
    "extrapolated from {} sizes, {:.0%} to 100 % of the samples, plain {:.4g}; interval from the "
    "influence of each sample on the line, both orders"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class FrechetInfinity:
    """The intercept of a line through plain Frechet distances over one over the sample size.

    It estimates what ``frechet`` estimates, with up to twice the spread, and is here because
    papers use it. It may be called FID-infinity only on the features of Inception.

    Source: Chong and Forsyth, 2020, https://arxiv.org/abs/1911.07023, section 4.

    Differs from the paper: both sets are thinned by the same share, so that the bias of both goes,
    where the paper thins the generated set alone; the sizes begin at a tenth, or at four samples
    a feature if that is more, instead of at 5000; smaller sets lie inside larger ones; samples
    are independent draws, not Sobol points.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = False

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` draws the subsets.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = checked(real, fake)
        d = x.shape[1]
        if reason := too_few(x, y, 2 * d + 4):
            return Estimate.missing(f"{reason}: twice the features", better=self.better)
        found = _estimate(x, y, rng)
        return found.named(unit=self.unit, better=self.better)


def _estimate(x: Tensor, y: Tensor, rng: torch.Generator) -> Estimate:
    n = min(len(x), len(y))
    least = min(0.5, max(_LEAST, _PER_FEATURE * x.shape[1] / n))
    shares = torch.linspace(least, 1.0, _POINTS, dtype=torch.float64)
    nested = zip(_growing(x, shares, rng), _growing(y, shares, rng), strict=True)
    plain = torch.tensor([between(a, b) for a, b in nested], dtype=torch.float64)
    weights = _intercept(1 / shares)
    method = _METHOD.format(_POINTS, least, float(plain[-1]))
    variance = _variance(x, y, shares, weights, rng)
    return around(float(weights @ plain), variance, n=n, method=method)


def _growing(x: Tensor, shares: Tensor, rng: torch.Generator) -> Iterator[Many]:
    """Yields the spread of ever larger shares of ``x``, each inside the next; reads it once."""
    order = torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)
    seen, ends = None, [round(len(x) * share) for share in shares.tolist()]
    for start, end in zip([0, *ends], ends, strict=False):
        drawn = order[start:end].sort().values
        more = Moments.of(rows(x[drawn]))
        seen = more if seen is None else seen + more
        yield Many(seen)


def _intercept(t: Tensor) -> Tensor:
    """Returns the weights that turn values at ``t`` into their least-squares line at 0."""
    centred = t - t.mean()
    weights: Tensor = 1 / len(t) - t.mean() * centred / centred.square().sum()
    return weights


def _variance(
    x: Tensor, y: Tensor, shares: Tensor, weights: Tensor, rng: torch.Generator
) -> Variance:
    """Returns the variance of the weighted sum of distances of nested shares of the samples.

    A sample's influence on it is its influence on one distance times the sum of ``w_k / f_k`` over
    the shares that hold it; that of a pair times the sum of ``w_k / f_k^2``. Their mean squares
    are the two factors here.
    """
    larger = torch.maximum(shares[:, None], shares)
    first, second = (float(weights @ larger**-power @ weights) for power in (1, 2))
    fitted, parts = Fitted(x, y), []
    for side, twice in enumerate(fitted.second_order(rng)):
        raw = spread(fitted.influences(side))
        value = first * max(raw.value - 2 * twice, 0.0) + second * twice
        parts.append(Variance(value, first * first * raw.noise))
    return total(parts)
