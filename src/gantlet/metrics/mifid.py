"""Memorization-informed Frechet distance (MiFID)."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import GroupedTrainMetric, Groups, Sees
from gantlet.core.spec import Between
from gantlet.metrics.checks import checked, checked_groups, without_interval
from gantlet.metrics.frechet import Frechet
from gantlet.metrics.neighbour_search import knn, points
from gantlet.stats.intervals import around
from gantlet.stats.jackknife import variance_of_mean

_METHOD = (
    "Frechet distance {:.4g}, memorization distance {:.4g} (held-out real samples {:.4g}), "
    "threshold {:g}: {}; {}"
)
_NEAR = (
    "no interval: the memorization distance, {:.4g} to {:.4g}, may lie on either side of the "
    "threshold"
)
_COPIES = "every fake points exactly as a training sample does: the penalty is infinite"


def memorization_distances(fake: Tensor, train: Tensor) -> Tensor:
    """Returns ``min_j (1 - |cos(fake_i, train_j)|)`` of each fake, shape ``(m,)``, float64.

    Found exactly, as half the squared distance of unit vectors to the nearest of all training
    samples and their negatives. A vector of zeros is at distance 1 from everything.

    Args:
        fake: Features, shape ``(m, d)``.
        train: Features, shape ``(t, d)``, at least one that is not zero.
    """
    u, v = _units(fake), _units(train)
    v = v[v.any(1)]
    found = torch.ones(len(u), dtype=torch.float64, device=u.device)
    known = u.any(1)
    if bool(known.any()) and len(v):
        queries, base = points(u[known], torch.cat([v, -v]))
        found[known] = knn(queries, base).distance[:, 0] / (2 * queries.scale**2)
    return found


def _units(x: Tensor) -> Tensor:
    wide = x.to(torch.float64)
    # By the largest first, so that squares neither vanish nor overflow.
    largest = wide.abs().amax(1, keepdim=True)
    wide = wide / torch.where(largest > 0, largest, 1)
    length = wide.norm(dim=1, keepdim=True)
    return wide / torch.where(length > 0, length, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class MiFid(GroupedTrainMetric):
    """The Frechet distance, divided by how far fakes are from copies where that is little.

    The memorization distance is the mean over fakes of the smallest cosine distance
    ``1 - |cos|`` to a training sample. Below ``threshold`` the Frechet distance is divided by
    it, so that a model that copies half as far off scores twice as badly; above, nothing is
    changed. The method states both, and the memorization distance of held-out real samples: where
    that is below the threshold too, the penalty says nothing of copying.

    Source: Bai et al., 2021, https://arxiv.org/abs/2106.03062; first used as the score of a
    Kaggle competition. It may be called MiFID only on the features of Inception.

    Differs from the paper: the Frechet distance is the bias-corrected one, and against held-out
    samples; ``published`` is the ratio with the plug-in one.

    Attributes:
        threshold: Memorization distances from here on mean no penalty.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    threshold: Annotated[float, Between(0, 1)] = 0.1

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
        """Compares features, shapes ``(n, d)``, ``(m, d)`` and ``(t, d)``.

        The interval is for this training set.

        Raises:
            UserError: If the features cannot be compared.
        """
        (x, y), (_, t) = checked(real, fake), checked(real, train, names=("real", "train"))
        distance = Frechet().detail(x, y, rng=rng, groups=groups).estimate
        if distance.value is None:
            return distance
        if not bool(t.any()):
            return Estimate.missing("needs a training sample that is not zero", better=self.better)
        known = checked_groups(groups, len(x), len(y)) or Groups()
        each = memorization_distances(y, t)
        spread = variance_of_mean(each, known.fake)
        near = around(float(each.mean()), spread, n=len(y), method="mean over fakes")
        floor = float(memorization_distances(x, t).mean())
        found = self._penalized(distance, near, floor)
        return found.named(unit=self.unit, better=self.better)

    def _penalized(self, distance: Estimate, near: Estimate, floor: float) -> Estimate:
        away, value = near.value or 0.0, distance.value or 0.0
        plain = distance.also.get("plain", value)
        if away >= self.threshold:
            found = replace(distance, also={"plain": plain, "published": plain})
            how = "no penalty"
        elif away > 0:
            found = _divided(distance, near).beside(plain=plain, published=plain / away)
            how = f"divided by {away:.4g}"
        else:
            return Estimate.missing(_COPIES)
        how = _METHOD.format(value, away, floor, self.threshold, how, distance.method)
        found = replace(found, method=how)
        low, high = near.low or 0.0, near.high or 0.0
        if low < self.threshold < high:
            return without_interval(found, _NEAR.format(low, high))
        return found


def _divided(distance: Estimate, near: Estimate) -> Estimate:
    """Returns the ratio; relative half-widths of both in quadrature, each side its own.

    Source: Donner and Zou, 2012, https://doi.org/10.1177/0962280210383082, in its first order.
    """
    value, away = distance.value or 0.0, near.value or 1.0
    ratio = value / away
    if distance.low is None or distance.high is None or near.half_width is None:
        return replace(distance, value=ratio)
    own = abs(ratio) * near.half_width / away
    low = ratio - math.hypot((value - distance.low) / away, own)
    high = ratio + math.hypot((distance.high - value) / away, own)
    return replace(distance, value=ratio, low=low, high=high)
