"""The feature likelihood divergence: quality, diversity and memorising in one number."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import ClusteredTrain, Groups, Sees
from gantlet.core.spec import Between
from gantlet.metrics.blocks import blocks, squared_distances
from gantlet.metrics.duplicates import without_duplicates
from gantlet.metrics.grouped_means import variance_of_mean
from gantlet.metrics.groups import checked_groups, without_interval
from gantlet.metrics.inputs import checked
from gantlet.metrics.intervals import Variance, around, total
from gantlet.metrics.jackknife import folds, jackknife

_STEPS = 30
# The smallest variance of a centre, over the typical squared distance from one training sample to
# the next, for each feature: exact copies end here, and copies with less noise than this.
_FLOOR = 1e-6
_METHOD = (
    "mixtures of {} centres, fitted to {} of {} training samples; mean over {} real samples; "
    "interval from those and, by block jackknife of the centres at their widths, from the fake "
    "samples; for this training set"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Fld(ClusteredTrain):
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
        sides = Training(t, order, 2 * k, standard)
        mixtures = Mixtures(standard.of(x), known, 100 / x.shape[1], _pieces(known, chosen, rng))
        worse, variance = mixtures.compare(standard.of(y[chosen]), sides)
        method = _METHOD.format(k, sides.seen, len(t), len(x))
        found = around(worse, variance, n=len(x), method=method)
        if _single(known.real) or _single(known.fake, chosen):
            found = without_interval(found, "no interval: all samples are of one group")
        return found.named(unit=self.unit, better=self.better)


@final
class Training:
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

    def compare(self, fake: Tensor, training: Training) -> tuple[float, Variance]:
        """Returns how much worse fakes explain the real samples, and its variance.

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
    """Returns how much each component explains, and its squares about it, ``(k + 1,)`` each."""
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
