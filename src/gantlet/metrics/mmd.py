"""The squared maximum mean discrepancy with a Gaussian kernel."""

from dataclasses import dataclass
from typing import Annotated, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.measure import Groups
from gantlet.core.spec import Between
from gantlet.metrics.blocks import squared_distances
from gantlet.metrics.discrepancy import (
    METHOD,
    Discrepancy,
    KernelMetric,
    discrepancy,
    precision,
)
from gantlet.metrics.inputs import Standard, centre_and_scale
from gantlet.metrics.kernel_sums import OfDistance
from gantlet.metrics.paired import Detailed

# From how many samples of each set the median distance is taken.
_MEDIAN = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Mmd(KernelMetric):
    """The squared maximum mean discrepancy with the kernel ``exp(-|x - y|^2 / (2 s^2))``.

    It is zero only when the two distributions are equal, lies below 2, and is unbiased here, so
    that it may be negative when they are close.

    Source: Gretton et al., 2012, https://jmlr.org/papers/v13/gretton12a.html, Lemma 6.

    Attributes:
        bandwidth: The ``s`` of the kernel, in units of the features, or None for the median
            distance between samples of both sets together. Compare numbers of one bandwidth only:
            the method tells it.
    """

    bandwidth: Annotated[float, Between(1e-30, 1e30)] | None = None

    @override
    def _compare(
        self, x: Tensor, y: Tensor, *, rng: torch.Generator, groups: Groups | None
    ) -> Detailed:
        s = self.bandwidth or median_distance(x, y, rng=rng)
        found = gaussian_discrepancy(x, y, s, rng=rng, groups=groups)
        return found.detail(method=f"bandwidth {s:.4g}; {METHOD}")


def median_distance(x: Tensor, y: Tensor, *, rng: torch.Generator) -> float:
    """Returns the median distance between two samples of the union, or 1 where that is 0.

    At most 1000 samples of each set, drawn at random, take part.
    """
    drawn = []
    for z in (x, y):
        order = torch.randperm(len(z), generator=rng, device=rng.device)[:_MEDIAN]
        drawn.append(z[order.to(z.device)].to(torch.float64))
    both = torch.cat(drawn)
    # Distances do not see a common move, but lose digits to a large mean.
    both -= both.mean(0)
    distances = squared_distances(both, both)
    i, j = torch.triu_indices(len(both), len(both), 1)
    return float(distances[i, j].median().sqrt()) or 1.0


def gaussian_discrepancy(
    x: Tensor,
    y: Tensor,
    bandwidth: float,
    *,
    rng: torch.Generator,
    unit: float = 1.0,
    groups: Groups | None = None,
) -> Discrepancy:
    """Returns the discrepancy with the Gaussian kernel, times ``unit``.

    Args:
        x: Features, shape ``(n, d)``.
        y: Features, shape ``(m, d)``.
        bandwidth: The standard deviation of the kernel.
        rng: Draws permutations.
        unit: What the kernel is multiplied with.
        groups: Which samples belong together, as `discrepancy` takes them.
    """
    centre, scale = centre_and_scale(x, y)
    standard = Standard(centre, scale, precision(x, y))
    kernel = _Gaussian(bandwidth / scale)
    return discrepancy(kernel, x, y, standard, rng=rng, unit=unit, groups=groups)


@final
class _Gaussian(OfDistance):
    """``exp(-|a - b|^2 / (2 s^2))``, less 1.

    Which cancels in the statistic, and would cost digits where all are near.
    """

    def __init__(self, bandwidth: float) -> None:
        """Takes ``s``."""
        self._bandwidth = bandwidth

    @override
    def of_squares(self, squares: Tensor) -> Tensor:
        return squares.mul_(-0.5 / self._bandwidth**2).expm1_()
