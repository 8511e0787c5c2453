"""Memorization: authenticity, C_T, the Feature Likelihood Divergence."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Protocol, final, runtime_checkable

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.errors import UserError
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import GroupedTrainMetric, Groups, Sees
from gantlet.core.spec import Between
from gantlet.metrics.checks import (
    checked,
    checked_groups,
    checked_with_train,
    too_few_of_three,
    without_duplicates,
    without_interval,
)
from gantlet.metrics.neighbour_search import (
    Nearest,
    Points,
    edge,
    knn,
    nearest_distance_within,
    points,
    row_blocks,
)
from gantlet.metrics.neighbour_sharing import Searches
from gantlet.metrics.prd import k_means
from gantlet.stats.intervals import Variance, around, fraction, proportion, total
from gantlet.stats.jackknife import folds, jackknife, variance_of_mean
from gantlet.stats.moments import blocks, squared_distances

# ----------------------------------------------------------------------------
# The feature likelihood divergence: quality, diversity and memorising in one number.
# ----------------------------------------------------------------------------

_STEPS = 30
# The smallest variance of a centre, over the typical squared distance from one training sample to
# the next, for each feature: exact copies end here, and copies with less noise than this.
_FLOOR = 1e-6
_FLD_METHOD = (
    "mixtures of {} centres, fitted to {} of {} training samples; mean over {} real samples; "
    "interval from those and, by block jackknife of the centres at their widths, from the fake "
    "samples; for this training set"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Fld(GroupedTrainMetric):
    """How much worse the fake samples explain held-out real ones than training samples do.

    A mixture of normal distributions is centred on the fake samples, one round width for each,
    which the training samples fit. The number is 100 times its mean negative log-likelihood of
    the real samples for each feature, in nats, less that of a mixture centred on training samples
    instead: about 0 for a perfect model. A copy of a training sample fits it with no width at all
    and explains nothing else, so that a model that memorizes scores badly: about 10^8 where all
    fakes are exact copies.

    Source: Jiralerspong et al., 2023, https://arxiv.org/abs/2302.04440, section 3.

    Differs from the paper: the constant that is taken off is that of training data at the same
    sizes, each of them fitted to all others, not one of a table for each data set; the widths are
    fitted by expectation maximisation (Dempster, Laird and Rubin, 1977,
    https://doi.org/10.1111/j.2517-6161.1977.tb01600.x) instead of by Adam, and are kept above a
    thousandth of the distance from one training sample to the next.

    Attributes:
        centres: The most centres of a mixture.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    centres: Annotated[int, Between(2, 65536)] = 2000

    @override
    def judge(
        self,
        real: Tensor,
        fake: Tensor,
        *,
        train: Tensor,
        rng: torch.Generator,
        groups: Groups | None = None,
    ) -> Estimate:
        """Compares features, shapes ``(n, d)``, ``(m, d)`` and ``(t, d)``; ``rng`` thins them.

        Raises:
            UserError: If the features cannot be compared.
        """
        (x, y), (_, t) = checked(real, fake), checked(real, train, names=("real", "train"))
        t = without_duplicates(t, x)
        known = checked_groups(groups, len(x), len(y)) or Groups()
        k = min(len(y), len(t) // 2, self.centres)
        if k < 2 or len(x) < 2:
            return Estimate.missing(
                "needs at least 2 real, 2 fake and 4 training samples, got "
                f"{len(x)}, {len(y)} and {len(t)}",
                better=self.better,
            )
        standard = _Standard.of_real(x.double())
        chosen, order = _order(y, k, rng), _order(t, len(t), rng)
        sides = TrainingCentres(t, order, 2 * k, standard)
        mixtures = Mixtures(standard.of(x), known, 100 / x.shape[1], _pieces(known, chosen, rng))
        worse, variance = mixtures.compare(standard.of(y[chosen]), sides)
        method = _FLD_METHOD.format(k, sides.seen, len(t), len(x))
        found = around(worse, variance, n=len(x), method=method)
        if _single(known.real) or _single(known.fake, chosen):
            found = without_interval(found, "no interval: all samples are of one group")
        return found.named(unit=self.unit, better=self.better)


@final
class TrainingCentres:
    """The training samples: what fits the widths, and two halves of them as centres.

    Where there are more than ``size``, the likelihood of all is estimated from that many: those
    nearest to a centre, which are all taken so that no copy goes unseen, and a random part of the
    others, each with the weight of those that it stands for.

    Args:
        train: Features as they came, shape ``(t, d)``.
        order: The training samples in random order.
        size: How many fit the widths, even; half of them are the centres of a mixture.
        standard: What is done to features.
    """

    def __init__(self, train: Tensor, order: Tensor, size: int, standard: "_Standard") -> None:
        self._train, self._order, self._size, self._standard = train, order, size, standard
        self.left_out = 1 - size / len(train)
        self.seen = min(size, len(train))
        self.floor = _FLOOR * self._apart() / train.shape[1]

    @property
    def halves(self) -> tuple[Tensor, Tensor]:
        """The numbers of the training samples that are centres, shape ``(size / 2,)`` each."""
        first, second = self._order[: self._size].chunk(2)
        return first, second

    def _apart(self) -> float:
        """Returns the median squared distance of a training sample to the next that differs."""
        nearest = torch.cat([self._nearest(self.centres(half), half) for half in self.halves])
        some = self.centres(self._order[: self._size])
        # What is equal is at zero, but for rounding.
        apart = nearest[nearest > 1e-13 * some.square().sum(1).mean()]
        return float(apart.median()) if len(apart) else some.shape[1] * 1.0

    def centres(self, which: Tensor) -> Tensor:
        """Returns some training samples, made standard."""
        return self._standard.of(self._train[which])

    def widths(self, centres: Tensor, own: Tensor | None = None) -> Tensor:
        """Returns the variance of each centre that fits the training samples best, ``(k,)``.

        Args:
            centres: Standard features, shape ``(k, d)``.
            own: Which training sample each centre is, if it is one: that does not fit itself.
        """
        chosen, weight = self._chosen(centres, own)
        x = self.centres(chosen)
        distances = squared_distances(x, centres)
        if own is not None:
            distances[chosen[:, None] == own] = torch.inf
        return variances(distances, x, weight, self.floor)

    def _chosen(self, centres: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns which training samples fit widths around these centres, and their weights."""
        if len(self._order) <= self._size:
            return self._order, torch.ones(len(self._order)).to(centres)
        near = torch.unique(self._search(centres, own)[1])
        rest = self._order[~torch.isin(self._order, near)]
        some = rest[: self._size - len(near)]
        weight = torch.ones(len(near) + len(some)).to(centres)
        weight[len(near) :] = len(rest) / len(some)
        return torch.cat([near, some]), weight

    def _nearest(self, centres: Tensor, own: Tensor | None) -> Tensor:
        return self._search(centres, own)[0]

    def _search(self, centres: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the squared distance of each centre to the nearest, and which one that is."""
        best = centres.new_full((len(centres),), torch.inf)
        which = torch.zeros(len(centres), dtype=torch.int64, device=centres.device)
        for part in blocks(len(self._train), max(len(centres), centres.shape[1])):
            rows = torch.arange(part.start, part.stop, device=centres.device)
            distances = squared_distances(self.centres(rows), centres)
            if own is not None:
                distances[rows[:, None] == own] = torch.inf
            low = distances.min(0)
            which = torch.where(low.values < best, low.indices + part.start, which)
            best = torch.minimum(best, low.values)
        return best, which


@final
class Mixtures:
    """The log density of real samples under mixtures, and what single centres do to it.

    Args:
        real: Standard features, float64, shape ``(n, d)``.
        groups: Which real samples belong together.
        unit: What a log density in nats is multiplied with.
        fold: The fold of each of the ``k`` centres of fakes, and of those of training samples.
    """

    def __init__(
        self, real: Tensor, groups: Groups, unit: float, fold: tuple[Tensor, Tensor]
    ) -> None:
        self._real, self._groups, self._unit = real, groups, unit
        self._of_fake, self._of_train = fold

    def compare(self, fake: Tensor, training: TrainingCentres) -> tuple[float, Variance]:
        """Returns the shortfall of fakes in explaining the real samples, and its variance.

        Args:
            fake: The centres, standard, shape ``(k, d)``.
            training: What fits their widths; two halves of it are the other centres. Where it is
                all in them, which half a sample is in cancels to first order.
        """
        of_fake = self._under(fake, training.widths(fake), self._of_fake)
        halves = [
            self._under(
                training.centres(h), training.widths(training.centres(h), h), self._of_train
            )
            / 2
            for h in training.halves
        ]
        worse = halves[0][0] + halves[1][0] - of_fake[0]
        drawn, left_out = [_of_centres(z, self._of_train) for z in halves], training.left_out
        parts = [
            variance_of_mean(worse, self._groups.real),
            _of_centres(of_fake, self._of_fake),
            *(Variance(left_out * v.value, left_out**2 * v.noise) for v in drawn),
        ]
        return float(worse.mean()), total(parts)

    def _under(self, centres: Tensor, variance: Tensor, fold: Tensor) -> Tensor:
        return self._unit * log_mixtures(self._real, centres, variance, fold)


def _of_centres(found: Tensor, fold: Tensor) -> Variance:
    """Returns the variance of a mean log density over what its centres may be.

    Their widths stay as they are: these are where the likelihood is largest, so that it changes
    only to second order with them.
    """
    means = found.mean(1)
    return jackknife(means[0], means[1:], fold).variance


def _pieces(groups: Groups, chosen: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns the folds of the fakes that were chosen, whole groups in one, and of others."""
    k = len(chosen)
    plain = folds(k, rng=rng, device=chosen.device)
    if groups.fake is None or _single(groups.fake, chosen):
        return plain, plain
    kinds, group = torch.unique(groups.fake[chosen], return_inverse=True)
    return folds(len(kinds), rng=rng, device=chosen.device)[group], plain


def _single(group: Tensor | None, chosen: Tensor | slice = slice(None)) -> bool:
    return group is not None and bool((group[chosen] == group[chosen][0]).all())


def variances(distances: Tensor, x: Tensor, weight: Tensor, floor: float) -> Tensor:
    """Returns the variance of each centre under which the mixture explains ``x`` best.

    Each begins with its nearest sample. One wide component more, about the mean of ``x``, explains
    what no centre does, so that centres that copy a few samples need not widen for the others; as
    in the authors' program.

    Args:
        distances: Squared, of each sample to each centre, shape ``(n, k)``; infinite where a
            sample is no sample for a centre.
        x: The samples, shape ``(n, d)``.
        weight: For how many each sample counts, shape ``(n,)``.
        floor: The least variance.
    """
    d = x.shape[1]
    about = (x - (weight @ x) / weight.sum()).square().sum(1)
    wide = (weight @ about / weight.sum() / d).clamp_min(floor)
    found = (distances.amin(0) / d).clamp_min(floor)
    for _ in range(_STEPS):
        mass, moment = _expected(distances, about, weight, (found, wide), d)
        fitted = (moment / (d * mass)).clamp_min(floor)
        # A centre that explains nothing stays as it is.
        fitted = torch.where(mass > 1e-12, fitted, torch.cat([found, wide[None]]))
        found, wide = fitted[:-1], fitted[-1]
    return found


def _expected(
    distances: Tensor, about: Tensor, weight: Tensor, widths: tuple[Tensor, Tensor], d: int
) -> tuple[Tensor, Tensor]:
    """Returns the weight on each component and its second moment, ``(k + 1,)`` each."""
    mass = distances.new_zeros(distances.shape[1] + 1)
    moment = mass.clone()
    variance = torch.cat([widths[0], widths[1][None]])
    for part in blocks(*distances.shape):
        squares = torch.cat([distances[part], about[part, None]], 1)
        share = _log_parts(squares, variance, d).softmax(1).mul_(weight[part, None])
        mass += share.sum(0)
        moment += share.mul_(squares.nan_to_num_(posinf=0.0)).sum(0)
    return mass, moment


def log_mixtures(x: Tensor, centres: Tensor, variance: Tensor, fold: Tensor) -> Tensor:
    """Returns the log density of ``x`` under all centres, then without each fold of them.

    In nats, shape ``(1 + folds, n)``.

    Args:
        x: Shape ``(n, d)``.
        centres: Shape ``(k, d)``.
        variance: Of each centre, shape ``(k,)``.
        fold: Of each centre, shape ``(k,)``.
    """
    parts = [
        _by_fold(squared_distances(x[block], centres), variance, x.shape[1], fold)
        for block in blocks(len(x), len(centres))
    ]
    each = torch.cat(parts, 1)
    sizes = fold.bincount().to(each)
    kept = ~torch.eye(len(sizes), dtype=torch.bool, device=x.device)
    every = torch.ones_like(kept[:1])
    return torch.stack([each[k].logsumexp(0) - sizes[k].sum().log() for k in (*every, *kept)])


def _by_fold(distances: Tensor, variance: Tensor, d: int, fold: Tensor) -> Tensor:
    """Returns the log of the summed density of the centres of each fold, ``(folds, n)``."""
    each = _log_parts(distances, variance, d)
    return torch.stack([each[:, fold == f].logsumexp(1) for f in range(int(fold.max()) + 1)])


def _log_parts(distances: Tensor, variance: Tensor, d: int) -> Tensor:
    """Returns the log density of each sample under each centre, shape ``(n, k)``."""
    return -distances / (2 * variance) - d / 2 * (2 * math.pi * variance).log()


def _order(x: Tensor, k: int, rng: torch.Generator) -> Tensor:
    return torch.randperm(len(x), generator=rng, device=rng.device)[:k].to(x.device)


@final
@dataclass(frozen=True, slots=True)
class _Standard:
    """Takes out the mean and spread of the real samples; constants are left alone."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of_real(cls, x: Tensor) -> "_Standard":
        scale = x.std(0)
        return cls(x.mean(0), torch.where(scale > 0, scale, torch.ones_like(scale)))

    def of(self, x: Tensor) -> Tensor:
        return (x.double() - self.mean) / self.scale


# ----------------------------------------------------------------------------
# Cells of the space, by k-means.
# ----------------------------------------------------------------------------

# So many samples are enough to place a few cells.
_SAMPLES = 2000
_ROUNDS = 50


@dataclass(frozen=True, slots=True)
@final
class VoronoiCells:
    """The centres of cells; a place belongs to the nearest.

    Attributes:
        centres: Shape ``(cells, d)``, in float64.
    """

    centres: Tensor

    @classmethod
    def fit(cls, x: Tensor, count: int, *, rng: torch.Generator) -> "VoronoiCells":
        """Returns ``count`` cells of the samples ``x``, shape ``(n, d)``, or fewer.

        At most 2000 samples, drawn at random, place the cells.

        Source: ``gantlet.metrics.prd.k_means``.
        """
        order = torch.randperm(len(x), generator=rng, device=rng.device)[:_SAMPLES]
        some = x[order.to(x.device)].to(torch.float64)
        different = len(torch.unique(some, dim=0))
        return cls(k_means(some, min(count, different), rounds=_ROUNDS, rng=rng)[0])


def cells_of(x: Tensor, cells: VoronoiCells) -> Tensor:
    """Returns the cell of each sample, shape ``(n,)``."""
    parts = [_nearest(x[part].to(torch.float64), cells.centres) for part in row_blocks(x)]
    return torch.cat(parts)


def _nearest(x: Tensor, centres: Tensor) -> Tensor:
    middle = centres.mean(0)
    y, c = x - middle, centres - middle
    return torch.addmm((c**2).sum(1)[None], y, c.T, alpha=-2).argmin(1)


# ----------------------------------------------------------------------------
# The nearest training samples of fake and of held-out real ones.
# ----------------------------------------------------------------------------


@final
class TrainNeighbourhoods:
    """All three sets; neighbours are looked for when first asked for, and once.

    Args:
        real: Held-out features, shape ``(n, d)``.
        fake: Features of the model, shape ``(m, d)``.
        train: Features of the training, shape ``(t, d)``.
        groups: Which real and which fake samples belong together, if any do.

    Raises:
        UserError: If they cannot be compared.
    """

    def __init__(
        self, real: Tensor, fake: Tensor, train: Tensor, *, groups: Groups | None = None
    ) -> None:
        self.real, self.fake, self.train = checked_with_train(real, fake, train)
        self.groups = checked_groups(groups, len(real), len(fake))

    def too_few(self, least: int) -> str | None:
        """Returns why the sets are too small, or None if each has ``least`` samples."""
        return too_few_of_three(self.real, self.fake, self.train, least)

    @cached_property
    def base(self) -> Points:
        """The training samples."""
        return points(self.train)[0]

    @cached_property
    def near_fake(self) -> Nearest:
        """The nearest training samples of each fake one."""
        return self._near(self.fake)

    @cached_property
    def near_real(self) -> Nearest:
        """The nearest training samples of each real one."""
        return self._near(self.real)

    def _near(self, x: Tensor) -> Nearest:
        train, queries = points(self.train, x)
        return knn(queries, train)


class TrainPlan(ABC):
    """How one number is found from the neighbours of the training samples.

    Attributes:
        by_groups: Whether its interval heeds the groups of the scene.
    """

    by_groups: ClassVar[bool] = False

    @abstractmethod
    def judge(self, scene: TrainNeighbourhoods) -> Estimate:
        """Returns the number."""


@runtime_checkable
class SharedPassTrainMetric(Protocol):
    """A metric that uses the neighbours among the training samples that others use too."""

    better: ClassVar[Better]
    unit: ClassVar[str]

    def plan_train(self, rng: torch.Generator) -> TrainPlan:
        """Returns how its number is found; ``rng`` draws what is random."""
        ...


def judged(
    metric: SharedPassTrainMetric, scene: TrainNeighbourhoods, rng: torch.Generator
) -> Estimate:
    """Returns the number of one metric; without its interval if it heeds no groups there are."""
    plan = metric.plan_train(rng)
    found = plan.judge(scene).named(unit=metric.unit, better=metric.better)
    return found if scene.groups is None or plan.by_groups else without_interval(found)


def nearest_training(
    fake: Tensor, train: Tensor, *, k: int = 1, searches: Searches | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the ``k`` nearest training samples of each fake one, the nearest first.

    Memory grows with the samples, not with their pairs.

    Args:
        fake: Features, shape ``(m, d)``.
        train: Features of the training, shape ``(t, d)``.
        k: How many for each.
        searches: Where others may have kept them, if one for each is wanted.

    Returns:
        Which they are and how far, both of shape ``(m, k)``; distances in float64.

    Raises:
        UserError: If they cannot be compared or there are fewer than ``k`` of the training.
    """
    y = checked(fake, fake)[0]
    base = checked(train, y, names=("train", "fake"))[0]
    if not 1 <= k <= len(base):
        raise UserError(f"k must be from 1 to the {len(base)} training samples. Got {k}.")
    if not len(y):
        nobody = torch.empty(0, k, dtype=torch.float64, device=y.device)
        return nobody.to(torch.int64), nobody
    samples, queries = points(base, y)
    known = searches.across(queries, samples) if searches and k == 1 else None
    near = known or knn(queries, samples, k)
    return near.index[:, :k], near.distance[:, :k].sqrt()


# ----------------------------------------------------------------------------
# C_T: do fakes lie nearer to the training samples than held-out samples do?
# ----------------------------------------------------------------------------

# A cell with fewer fakes or reals says nothing: the rank sum is not yet normal there.
_LEAST = 20

# Where k-means could divide the space in several ways, the number must not hang on one of them.
_DIVISIONS = 10

_CT_METHOD = (
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
        """Returns how its number is found; ``rng`` starts k-means."""
        return CtPlan(self.cells, rng)

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Judges features, shapes ``(n, d)``, ``(m, d)`` and ``(t, d)``; ``rng`` starts k-means.

        Raises:
            UserError: If the features cannot be compared.
        """
        return judged(self, TrainNeighbourhoods(real, fake, train), rng)


@final
class CtPlan(TrainPlan):
    """Ranks distances to training samples in cells."""

    by_groups: ClassVar[bool] = True

    def __init__(self, cells: int, rng: torch.Generator) -> None:
        self.cells = cells
        self.rng = rng

    @override
    def judge(self, scene: TrainNeighbourhoods) -> Estimate:
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
        method = _CT_METHOD.format(self.cells, len(found))
        return around(float(scores.mean()), Variance(variance), n=n, method=method)

    def _divided(self, scene: TrainNeighbourhoods) -> "RankScore | None":
        cells = VoronoiCells.fit(scene.train, min(self.cells, len(scene.train)), rng=self.rng)
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


# ----------------------------------------------------------------------------
# Authenticity: the share of fakes that are no copies of training samples.
# ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Authenticity:
    """The share of fake samples whose nearest training sample has a nearer training neighbour.

    A fake is authentic if it is farther from its nearest training sample than that one is from the
    nearest other training sample. Copies are not. New samples are in about half of the cases, more
    in many dimensions; the method gives the share of held-out real ones, which is the one to
    compare with.

    Source: Alaa et al., 2022, https://arxiv.org/abs/2102.08921, section 4.

    Differs from the authors' program: it looks up the distance of the wrong training samples, with
    the indices of fake ones.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    def plan_train(self, rng: torch.Generator) -> TrainPlan:
        """Returns how its number is found; draws nothing from ``rng``."""
        del rng  # nothing is random
        return AuthenticityPlan()

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Judges features, shapes ``(n, d)``, ``(m, d)`` and ``(t, d)``.

        The interval is for this training set and model, over new fakes.

        Raises:
            UserError: If the features cannot be compared.
        """
        return judged(self, TrainNeighbourhoods(real, fake, train), rng)


@final
class AuthenticityPlan(TrainPlan):
    """Compares the fakes' distances with those among training samples."""

    by_groups: ClassVar[bool] = True

    @override
    def judge(self, scene: TrainNeighbourhoods) -> Estimate:
        if reason := scene.too_few(2):
            return Estimate.missing(reason)
        fakes = authentic(scene, scene.near_fake)
        reals = authentic(scene, scene.near_real)
        floor = f"held-out real samples: {float(reals.double().mean()):.3f}"
        if scene.groups is None or scene.groups.fake is None:
            return proportion(int(fakes.sum()), len(fakes), of=f"fakes are authentic, {floor}")
        return _of_groups(fakes.double(), scene.groups.fake, floor)


def _of_groups(authentic: Tensor, group: Tensor, floor: str) -> Estimate:
    groups = int(group.max()) + 1
    method = (
        f"{int(authentic.sum())} of {len(authentic)} fakes are authentic, {floor}; Wilson's "
        f"interval at the effective size of {groups} groups"
    )
    found = fraction(
        float(authentic.mean()), variance_of_mean(authentic, group), n=groups, method=method
    )
    return found if groups > 1 else without_interval(found, "no interval: all are of one group")


def authentic(scene: TrainNeighbourhoods, near: Nearest) -> Tensor:
    """Returns which samples are farther from their training sample than its fellows, ``(m,)``."""
    owners, which = torch.unique(near.index[:, 0], return_inverse=True)
    fellows = nearest_distance_within(owners, scene.base)
    edges = edge(fellows, scene.base, owners)
    return near.distance[:, 0] > edges[which]
