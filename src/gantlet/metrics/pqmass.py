"""PQMass: do the cells of random tessellations hold as many fakes as real samples?"""

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
_FEW = "needs at least 4 samples or groups of each set besides the centres of regions"
# At most one in so many samples is set aside, and so many for each region of a tessellation.
_SHARE, _POOL = 5, 10


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class PqMass(KernelMetric):
    """The chi-squared divergence between the masses that random regions hold of either set.

    Regions are the Voronoi cells of ``regions`` samples of both sets, drawn at random and counted
    nowhere. Pearson's chi-squared statistic of the counts of real and fake samples in them
    divides the square of each difference of masses by the pooled mass; over the effective sample
    size and bias-corrected it estimates ``sum_r (p_r - q_r)^2 / ((n p_r + m q_r) / (n + m))``,
    here averaged over ``tessellations``: 0 on average where the two distributions are equal,
    whatever the sample size. The method states the mean chi-squared statistic itself and its
    degrees of freedom; the p-value is that of a permutation test over all tessellations at once.

    Source: Lemos et al., 2024, https://arxiv.org/abs/2402.04355, section 2.

    Differs from the paper: it reports the distribution of chi-squared values, or their p-values,
    over tessellations, which are not independent of each other; centres are drawn from a fifth of
    the samples at most, set aside once; and where that is fewer than two for each region, there
    are fewer regions.

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
        most = min((len(x) + len(y)) // _SHARE, _POOL * self.regions)
        sides = [
            _Side.of(z, group, most * len(z) // (len(x) + len(y)), rng)
            for z, group in ((x, of.real), (y, of.fake))
        ]
        pool = torch.cat([side.aside for side in sides])
        if min(side.units for side in sides) < 4 or len(pool) < 2:
            missing = Estimate.missing(_FEW, better=self.better)
            return Detailed(missing, x.new_zeros(len(x)), Variance(0.0))
        cells = self._cells(torch.cat([side.kept for side in sides]), pool, rng)
        counted = Masses.of(*torch.split(cells, [len(side.kept) for side in sides]))
        a, b = counted.maps()
        zero = a.new_zeros(a.shape[1], dtype=torch.float64)
        left = None if groups is None else Groups(sides[0].group, sides[1].group)
        standard = Standard(zero, 1.0, precision(a, b))
        made = discrepancy(_Linear(), a, b, standard, rng=rng, groups=left).detail(
            method=_METHOD.format(
                self.tessellations, counted.regions, counted.chi2, counted.df, METHOD
            )
        )
        estimate = made.estimate.beside(chi2=counted.chi2, df=counted.df)
        return replace(made, estimate=estimate, real=sides[0].over_all(made.real))

    def _cells(self, z: Tensor, pool: Tensor, rng: torch.Generator) -> Tensor:
        """Returns the cell of each sample, shape ``(k, tessellations)``."""
        count = max(2, min(self.regions, len(pool) // 2))
        found: list[Tensor] = []
        for _ in range(self.tessellations):
            chosen = torch.randperm(len(pool), generator=rng, device=rng.device)[:count]
            queries, centres = points(z, pool[chosen.to(pool.device)])
            found.append(knn(queries, centres).index[:, 0])
        return torch.stack(found, 1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One set without the samples that are set aside as centres.

    Attributes:
        kept: The samples that are counted.
        aside: The others.
        group: The groups of those kept, numbered without gaps, or None.
        places: Which samples, or groups, those kept are.
        all_units: How many samples, or groups, there were.
    """

    kept: Tensor
    aside: Tensor
    group: Tensor | None
    places: Tensor
    all_units: int

    @classmethod
    def of(cls, z: Tensor, group: Tensor | None, most: int, rng: torch.Generator) -> "_Side":
        """Sets ``most`` samples aside, or the share of groups that holds as many on average."""
        unit = torch.arange(len(z), device=z.device) if group is None else group
        count = int(unit.max()) + 1
        order = torch.randperm(count, generator=rng, device=rng.device).to(z.device)
        places = order[max(1, round(most * count / len(z))) :].sort().values
        number = torch.full((count,), -1, device=z.device)
        number[places] = torch.arange(len(places), device=z.device)
        dense = number[unit]
        left = None if group is None else dense[dense >= 0]
        return cls(z[dense >= 0], z[dense < 0], left, places, count)

    @property
    def units(self) -> int:
        """How many samples, or groups of them, are counted."""
        return len(self.places)

    def over_all(self, influence: Tensor) -> Tensor:
        """Returns the influence of all samples or groups, those set aside included.

        It is as much larger as they are more, so that the variance of its mean is the same.
        """
        scale = self.all_units / max(self.units, 1)
        return influence.new_zeros(self.all_units).index_copy_(
            0, self.places, (influence - influence.mean()) * scale
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class Masses:
    """How many samples of either set the regions of several tessellations hold.

    Attributes:
        cells: The region of each sample of either set, shapes ``(n, t)`` and ``(m, t)``; those of
            different tessellations have different numbers.
        counts: How many of either set each region holds, shape ``(2, regions of all)``.
        regions: Regions of one tessellation.
    """

    cells: tuple[Tensor, Tensor]
    counts: Tensor
    regions: int

    @classmethod
    def of(cls, a: Tensor, b: Tensor) -> "Masses":
        """Counts the regions of both sets, shapes ``(n, t)`` and ``(m, t)``, numbered from 0."""
        regions, times = int(torch.cat([a, b]).max()) + 1, a.shape[1]
        first = torch.arange(times, device=a.device) * regions
        moved = (a + first, b + first)
        counts = [z.flatten().bincount(minlength=regions * times) for z in moved]
        return cls(moved, torch.stack(counts).double(), regions)

    @property
    def chi2(self) -> float:
        """Pearson's chi-squared statistic of the counts, the mean over tessellations."""
        n, m = (len(z) for z in self.cells)
        both = self.counts.sum(0)
        gap = self.counts[0] / n - self.counts[1] / m
        terms = gap.square() / both.clamp_min(1) * n * m
        return float(terms.sum()) / self.cells[0].shape[1]

    @property
    def df(self) -> float:
        """Its degrees of freedom: regions that hold anything, less one; the mean."""
        return int((self.counts.sum(0) > 0).sum()) / self.cells[0].shape[1] - 1

    def maps(self) -> tuple[Tensor, Tensor]:
        """Returns the vectors whose squared mean difference is the divergence, float32.

        The indicator of a region over the root of its pooled mass and of the number of
        tessellations, shapes ``(n, r)`` and ``(m, r)``.
        """
        n, m = (len(z) for z in self.cells)
        mass = self.counts.sum(0).clamp_min(1) / (n + m)
        scale = (1 / (mass * self.cells[0].shape[1])).sqrt().float()
        a, b = (
            torch.zeros(len(z), len(scale), device=z.device).scatter_(1, z, scale[z])
            for z in self.cells
        )
        return a, b


@final
class _Linear:
    """The product of two vectors."""

    def of_each(self, z: Tensor) -> Tensor:
        """Returns zeros, as nothing else is needed."""
        return z.new_zeros(len(z))

    def __call__(self, product: Tensor, of_a: Tensor, of_b: Tensor) -> Tensor:
        """Returns the products."""
        del of_a, of_b
        return product
