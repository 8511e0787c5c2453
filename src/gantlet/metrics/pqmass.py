"""PQMass: do the cells of random tessellations hold as many fakes as real samples?"""

import math
from dataclasses import dataclass, replace
from typing import Annotated, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Estimate
from gantlet.core.metric import Groups
from gantlet.core.spec import Between
from gantlet.metrics.checks import Standard
from gantlet.metrics.kernel import METHOD, KernelMetric, discrepancy, precision
from gantlet.metrics.neighbour_search import knn, points
from gantlet.stats.intervals import Variance
from gantlet.stats.jackknife import Detailed

_METHOD = (
    "{} tessellations into {} regions around samples that are not counted; mean chi-squared "
    "{:.4g} on {:.4g} degrees of freedom; {}"
)
# The most of the samples that may be centres of regions.
_SHARE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class PqMass(KernelMetric):
    """The chi-squared divergence between the masses that random regions hold of either set.

    Regions are the Voronoi cells of ``regions`` samples of both sets, drawn at random and counted
    nowhere. Pearson's chi-squared statistic of the counts of real and fake samples in them
    divides the square of each difference of masses by the pooled mass; over the effective sample
    size and less its bias it estimates ``sum_r (p_r - q_r)^2 / ((n p_r + m q_r) / (n + m))``, here
    averaged over ``tessellations``: 0 on average where the two distributions are equal, whatever
    the sample size. The method states the mean chi-squared statistic itself and its degrees of
    freedom; the p-value is that of a permutation test over all tessellations at once.

    Source: Lemos et al., 2024, https://arxiv.org/abs/2402.04355, section 2.

    Differs from the paper: it reports the distribution of chi-squared values, or their p-values,
    over tessellations, which are not independent of each other; centres are drawn from a fifth of
    the samples at most, set aside once; and where there are fewer than ten samples for each
    region, there are fewer regions.

    Attributes:
        regions: Regions of a tessellation.
        tessellations: How many tessellations are averaged.
    """

    regions: Annotated[int, Between(2, 4096)] = 100
    tessellations: Annotated[int, Between(1, 1000)] = 10

    @override
    def _compare(
        self, x: Tensor, y: Tensor, *, rng: torch.Generator, groups: Groups | None
    ) -> Detailed:
        of = groups or Groups()
        sides = [_Side.of(z, g, self._pool(len(x) + len(y)), rng) for z, g in zip((x, y), (of.real, of.fake), strict=True)]
        if min(len(s.kept) for s in sides) < 4:
            reason = "needs at least 4 samples of each set besides the centres of regions"
            return Detailed(Estimate.missing(reason, better=self.better), x.new_zeros(len(x)), Variance(0.0))
        cells = self._cells(x, y, sides, rng)
        a, b = (c.T for c in cells.split([len(s.kept) for s in sides], dim=1))
        weights, chi2, df = masses(a, b)
        maps = [_indicators(z, weights) for z in (a, b)]
        plain = Standard(maps[0].new_zeros(maps[0].shape[1]), 1.0, precision(*maps))
        left = None if groups is None else Groups(sides[0].group, sides[1].group)
        found = discrepancy(_Linear(), *maps, plain, rng=rng, groups=left)
        method = _METHOD.format(self.tessellations, cells.shape[0], chi2, df, METHOD)
        made = found.detail(method=method)
        estimate = made.estimate.beside(chi2=chi2, df=df)
        return replace(made, estimate=estimate, real=sides[0].spread(made.real))
