"""C_T: do fakes lie nearer to the training samples than held-out samples do?"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Groups, Sees
from gantlet.core.spec import Between
from gantlet.metrics.grouped_means import variance_of_mean
from gantlet.metrics.intervals import Variance, around
from gantlet.metrics.neighbour.cells import Cells, cells_of
from gantlet.metrics.neighbour.train import TrainPlan, TrainScene, judged

# A cell with fewer fakes or reals says nothing: the rank sum is not yet normal there.
_LEAST = 20

# Where k-means could divide the space in several ways, the number must not hang on one of them.
_DIVISIONS = 10

_METHOD = (
    "mean z of rank sums in up to {} cells, over {} divisions of the space; below -1.6 fakes lie "
    "nearer to training samples than held-out ones do (5 %), above 1.6 farther; interval by "
    "DeLong's variance, for this training set, the choice of divisions included; held 88 to 98 % "
    "in simulations"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Ct:
    """The data-copying test: well below zero where fakes are copies of training samples.

    Distances to the nearest training sample are ranked, those of fakes among those of held-out
    real ones. The z-score of the rank sum of Mann and Whitney is taken in each cell of the space,
    found by k-means on the training samples, and averaged with the cells' shares of real samples
    as weights. About 0 for a model that is neither; well above 0 where fakes lie far from
    everything. It grows with the root of the sample size.

    Source: Meehan, Chaudhuri and Dasgupta, 2020, https://arxiv.org/abs/2004.05675, section 4.

    Differs from the paper: the mean over 10 runs of k-means, which often ends in different cells;
    the nearest training sample may lie in another cell; a cell needs 20 reals as well as 20
    fakes; ties count half.

    Attributes:
        cells: Into how many cells k-means divides the space.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    cells: Annotated[int, Between(1, 1024)] = 3

    def plan_train(self, rng: torch.Generator) -> TrainPlan:
        """Returns how it is found; ``rng`` starts k-means."""
        return CtPlan(self.cells, rng)

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Judges features, shapes ``(n, d)``, ``(m, d)`` and ``(t, d)``; ``rng`` starts k-means.

        Raises:
            UserError: If the features cannot be compared.
        """
        return judged(self, TrainScene(real, fake, train), rng)


@final
class CtPlan(TrainPlan):
    """Ranks distances to training samples in cells."""

    by_groups: ClassVar[bool] = True

    def __init__(self, cells: int, rng: torch.Generator) -> None:
        self.cells = cells
        self.rng = rng

    @override
    def judge(self, scene: TrainScene) -> Estimate:
        if reason := scene.too_few(_LEAST):
            return Estimate.missing(reason)
        found = [score for _ in range(_DIVISIONS) if (score := self._divided(scene)) is not None]
        if not found:
            return Estimate.missing(f"no cell has {_LEAST} real and {_LEAST} fake samples")
        scores = torch.tensor([f.score for f in found], dtype=torch.float64)
        # That of the mean is at most the mean of the variances, since all see the same samples.
        variance = math.fsum(f.variance for f in found) / len(found)
        if len(found) > 1:
            variance += float(scores.var()) / len(found)
        n = min(len(scene.real), len(scene.fake))
        method = _METHOD.format(self.cells, len(found))
        return around(float(scores.mean()), Variance(variance), n=n, method=method)

    def _divided(self, scene: TrainScene) -> "RankScore | None":
        cells = Cells.fit(scene.train, min(self.cells, len(scene.train)), rng=self.rng)
        real, fake = scene.near_real.distance[:, 0], scene.near_fake.distance[:, 0]
        where = cells_of(scene.real, cells), cells_of(scene.fake, cells)
        return copying(real, fake, *where, scene.groups or Groups())


@dataclass(frozen=True, slots=True)
@final
class RankScore:
    """A z-score of a rank sum and the variance that it has where the two are not equal."""

    score: float
    variance: float


def copying(
    real: Tensor,
    fake: Tensor,
    real_cell: Tensor,
    fake_cell: Tensor,
    groups: Groups | None = None,
) -> RankScore | None:
    """Returns the mean z-score over cells of whether ``fake`` is larger than ``real``.

    Cells with too few samples do not count; None where all have too few.

    Args:
        real: The distance of each held-out sample to its nearest training sample, ``(n,)``.
        fake: That of each fake one, shape ``(m,)``.
        real_cell: The cell of each held-out sample, ``(n,)``.
        fake_cell: The cell of each fake one, ``(m,)``.
        groups: Which of them belong together.
    """
    known = groups or Groups()
    parts: list[tuple[int, RankScore]] = []
    for cell in torch.unique(torch.cat([real_cell, fake_cell])):
        mine, theirs = real_cell == cell, fake_cell == cell
        a, b = real[mine], fake[theirs]
        if min(len(a), len(b)) >= _LEAST:
            here = Groups(_within(known.real, mine), _within(known.fake, theirs))
            parts.append((len(a), rank_score(a, b, here)))
    if not parts:
        return None
    total = sum(w for w, _ in parts)
    return RankScore(
        math.fsum(w * s.score for w, s in parts) / total,
        math.fsum(w**2 * s.variance for w, s in parts) / total**2,
    )


def _within(group: Tensor | None, chosen: Tensor) -> Tensor | None:
    return None if group is None else torch.unique(group[chosen], return_inverse=True)[1]


def rank_score(a: Tensor, b: Tensor, groups: Groups | None = None) -> RankScore:
    """Returns the z-score of how often ``b`` is larger than ``a``, shapes ``(n,)`` and ``(m,)``.

    Its variance takes the samples of one group together (Obuchowski, 1997,
    https://doi.org/10.2307/2533958); the score itself is that of independent samples.

    Source: Mann and Whitney, 1947, https://doi.org/10.1214/aoms/1177730491; the variance, DeLong
    et al., 1988, https://doi.org/10.2307/2531595, but never below that of half a rank.
    """
    n, m = len(a), len(b)
    above, below = _placed(b, a), 1 - _placed(a, b)
    share = float(above.mean())
    spread = math.sqrt((n + m + 1) / (12 * n * m))
    known = groups or Groups()
    variance = math.fsum(
        variance_of_mean(placed, group).value
        for placed, group in ((above, known.fake), (below, known.real))
    )
    least = (0.5 / min(n, m)) ** 2
    return RankScore((share - 0.5) / spread, max(variance, least) / spread**2)


def _placed(x: Tensor, among: Tensor) -> Tensor:
    """Returns the share of ``among`` that each of ``x`` is larger than; ties count half."""
    ordered = among.sort().values
    left, right = (torch.searchsorted(ordered, x, right=side) for side in (False, True))
    return (left + right).to(torch.float64) / (2 * len(among))
