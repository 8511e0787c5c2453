"""Precision and recall for distributions: how much quality at how much variety."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Sees
from gantlet.core.spec import Between
from gantlet.metrics.inputs import about_zero, pair, too_few
from gantlet.metrics.intervals import Variance, around
from gantlet.metrics.paired import Detailed
from gantlet.metrics.prd_clusters import cluster, principal

_AXES = 64
_METHOD = (
    "F_{:g} of the mean curve of {} runs of k-means with {} clusters; recall-like F_8 {:.3g}, "
    "precision-like F_1/8 {:.3g}; interval by the delta method, for these clusters and sample "
    "sizes; near 1 the interval is too wide, and larger samples give a higher value"
)


@dataclass(frozen=True, slots=True)
class PrdCurve:
    """The attainable pairs of precision and recall, from all recall to all precision.

    Attributes:
        precision: Shape ``(angles,)``, rising.
        recall: Shape ``(angles,)``, falling.
        slopes: The ratio of precision to recall at each, shape ``(angles,)``.
        real: How often each cluster holds a real sample, shape ``(runs, clusters)``.
        fake: The same for fake samples.
    """

    precision: Tensor
    recall: Tensor
    slopes: Tensor
    real: Tensor
    fake: Tensor

    def score(self, beta: float) -> float:
        """Returns the largest F score on the curve; ``beta`` above 1 weighs recall more."""
        return float(self._scores(beta).max())

    def at(self, beta: float) -> float:
        """Returns the slope of the point with the largest F score."""
        return float(self.slopes[self._scores(beta).argmax()])

    def _scores(self, beta: float) -> Tensor:
        return f_score(self.precision, self.recall, beta)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Prd:
    """The best F score on the curve of precision and recall of distributions.

    k-means on both sets together turns each into a histogram; precision at slope ``l`` is the sum
    of ``min(l p, q)`` over clusters, recall that over ``l``, with ``p`` of real and ``q`` of fake
    samples. ``beta`` 8 weighs recall: are all kinds made?  1/8 weighs precision: are they good?
    The larger set is thinned to the size of the smaller.

    Source: Sajjadi et al., 2018, https://arxiv.org/abs/1806.00035, equations 7 and 8.

    Differs from the paper: clusters are those of the 64 leading principal components, each run
    starts k-means once.

    Attributes:
        beta: How much more recall weighs than precision.
        clusters: How many clusters.
        runs: How many times k-means is run; the curve is the mean of theirs.
        angles: At how many slopes the curve is taken.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    beta: Annotated[float, Between(0)] = 8.0
    clusters: Annotated[int, Between(2, 4096)] = 20
    runs: Annotated[int, Between(1, 1024)] = 10
    angles: Annotated[int, Between(3, 100_001)] = 1001

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` thins and clusters.

        Raises:
            UserError: If the features cannot be compared.
        """
        return self.detail(real, fake, rng=rng).estimate

    def detail(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Detailed:
        """Compares as ``measure`` does and tells what each real sample adds, to first order.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = about_zero(*pair(real, fake))
        if reason := too_few(x, y, 4):
            missing = Estimate.missing(reason, better=self.better)
            return Detailed(missing, x.new_zeros(len(x)), Variance(0.0))
        h = min(len(x), len(y))
        chosen, other = (_order(z, rng)[:h].sort().values for z in (x, y))
        labels = _labels(x[chosen], y[other], self.clusters, self.runs, rng)
        curve = _curve(*labels, self.clusters, self.angles)
        of_real, of_fake = _adds(curve, *labels, self.beta)
        own = [Variance.of_squares(float(z.var()) / h, h - 1) for z in (of_real, of_fake)]
        both = Variance(own[0].value + own[1].value, own[0].noise + own[1].noise)
        method = _METHOD.format(
            self.beta, self.runs, self.clusters, curve.score(8), curve.score(1 / 8)
        )
        made = around(curve.score(self.beta), both, n=h, method=method)
        # Samples that were thinned out add nothing, the others the more.
        adds = x.new_zeros(len(x))
        adds[chosen] = of_real * (len(x) / h)
        return Detailed(made.named(unit=self.unit, better=self.better), adds, own[1])


def prd_curve(
    real: Tensor,
    fake: Tensor,
    *,
    rng: torch.Generator,
    clusters: int = 20,
    runs: int = 10,
    angles: int = 1001,
) -> PrdCurve:
    """Returns the curve of precision and recall, which the report draws.

    Args:
        real: Features, shape ``(n, d)``.
        fake: Features, shape ``(n, d)``, as many.
        rng: Draws the starts of k-means.
        clusters: How many clusters.
        runs: How many times k-means is run.
        angles: At how many slopes the curve is taken.

    Raises:
        UserError: If the features cannot be compared.
    """
    x, y = about_zero(*pair(real, fake))
    return _curve(*_labels(x, y, clusters, runs, rng), clusters, angles)


def f_score(precision: Tensor, recall: Tensor, beta: float) -> Tensor:
    """Returns the weighted harmonic mean of both; 0 where both are 0.

    Example:
        >>> f_score(torch.tensor([1.0]), torch.tensor([0.5]), 1.0).tolist()
        [0.6666666865348816]
    """
    b = beta**2
    return (1 + b) * precision * recall / (b * precision + recall).clamp_min(1e-30)


def _labels(
    x: Tensor, y: Tensor, clusters: int, runs: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Returns the cluster of each sample in each run, shapes ``(runs, n)`` and ``(runs, m)``."""
    z = principal(torch.cat([x, y]), _AXES, rng=rng)
    # Distances of huge or tiny features would leave the range of double precision.
    z = z / z.abs().max().clamp_min(1e-300)
    label = torch.stack([cluster(z, clusters, rng=rng) for _ in range(runs)])
    return label[:, : len(x)], label[:, len(x) :]


def _curve(x: Tensor, y: Tensor, clusters: int, angles: int) -> PrdCurve:
    p, q = (
        torch.stack([row.bincount(minlength=clusters) for row in z]).double() / z.shape[1]
        for z in (x, y)
    )
    quarter = torch.pi / 2
    slopes = torch.linspace(1e-10, quarter - 1e-10, angles, dtype=p.dtype, device=p.device).tan()
    precision = torch.stack([(l * p).minimum(q).sum(1).mean() for l in slopes])
    return PrdCurve(precision, precision / slopes, slopes, p, q)


def _adds(curve: PrdCurve, x: Tensor, y: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Returns what each sample adds to the best F score to first order, centred.

    At its maximum the score changes only through precision and recall, not through the slope.
    """
    l, b = curve.at(beta), beta**2
    p, q = curve.real, curve.fake
    # With recall = precision / l the score is (1 + b) precision / (b l + 1).
    factor = (1 + b) / (b * l + 1)
    full = (q < l * p).to(p), (l * p <= q).to(p)
    of_y = full[0].gather(1, y).mean(0) * factor
    of_x = full[1].gather(1, x).mean(0) * factor * l
    return of_x - of_x.mean(), of_y - of_y.mean()


def _order(x: Tensor, rng: torch.Generator) -> Tensor:
    return torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)
