"""CMMD: the maximum mean discrepancy that was proposed for CLIP's embeddings."""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from gantlet.core.measure import Groups
from gantlet.metrics.discrepancy import METHOD, Discrepancy, KernelMetric
from gantlet.metrics.mmd import gaussian_discrepancy
from gantlet.metrics.paired import Detailed

_BANDWIDTH = 10.0
_UNIT = 1000.0
_PAPER = (
    "{:.6g} by the paper's code, where each sample also meets itself; a CMMD only on CLIP's "
    "embeddings; {}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Cmmd(KernelMetric):
    """1000 times the squared MMD of unit vectors, with a Gaussian kernel of bandwidth 10.

    The features are divided by their length first. It may be called CMMD only on the embeddings
    that CLIP ViT-L/14 at 336 pixels makes; on other features it is a kernel distance all the
    same, of what direction they have.

    Source: Jayasumana et al., 2024, https://arxiv.org/abs/2401.09603, section 4.

    Differs from the paper: unbiased, where the published code lets each sample meet itself; the
    method tells the number of that code too. On unit vectors a bandwidth of 10 makes the kernel
    nearly linear, so that it mostly sees the means.
    """

    @override
    def _compare(
        self, x: Tensor, y: Tensor, *, rng: torch.Generator, groups: Groups | None
    ) -> Detailed:
        x, y = (normalize(z.to(torch.float64)) for z in (x, y))
        found = gaussian_discrepancy(x, y, _BANDWIDTH, rng=rng, unit=_UNIT, groups=groups)
        if groups is not None:
            return found.detail(method=METHOD)
        published = _with_itself(found)
        made = found.detail(method=_PAPER.format(published, METHOD))
        return replace(made, estimate=made.estimate.beside(published=published))


def _with_itself(found: Discrepancy) -> float:
    """Returns the V-statistic: a sample's kernel with itself is 0 here, the largest there is."""
    n, m = len(found.real.influence), len(found.fake.influence)
    return found.value - found.within[0] / n - found.within[1] / m
