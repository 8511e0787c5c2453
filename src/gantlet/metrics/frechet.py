"""The Frechet distance of features, freed of its bias and with an interval."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Sees
from gantlet.metrics.inputs import about_zero, pair, too_few
from gantlet.metrics.intervals import Variance, around, total
from gantlet.metrics.jackknife import FOLDS, Jackknifed, folds, jackknife

_METHOD = (
    "plain {:.4g}, less its bias by block jackknife; interval by block jackknife, less the "
    "second-order part that it counts twice"
)
_CAVEAT = "; with less than two samples a feature some bias is left, and the interval too narrow"


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Frechet:
    """The Frechet distance between normal distributions fitted to the features.

    It is ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``. Computed as it stands, it is too high by
    an amount that grows with ``d^2 / n`` and is often many times the distance itself; the value
    here is corrected by leaving out one fold of samples at a time, and so may be negative. The
    method tells the plain number. It is called FID only on Inception's features, so never here.

    Source: Dowson and Landau, 1982, https://doi.org/10.1016/0047-259X(82)90077-X; on features,
    Heusel et al., 2017, https://arxiv.org/abs/1706.08500.

    Differs from the paper: the bias is removed; the trace comes from the eigenvalues of a
    symmetric matrix in float64 instead of a matrix root.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = False

    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares features, shapes ``(n, d)`` and ``(m, d)``; ``rng`` draws the folds.

        There is no interval where a set, one fold less, has no more samples than features: the
        bias then exceeds what leaving out samples can show.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = about_zero(*pair(real, fake))
        if reason := too_few(x, y, 3):
            return Estimate.missing(reason, better=self.better)
        return _estimate(x, y, rng).named(unit=self.unit, better=self.better)


def frechet_distance(x: Tensor, y: Tensor) -> Tensor:
    """Returns the plain Frechet distance of float64 features, a scalar; biased upwards."""
    return _distances(x, y, _kept(x, None))[0]


def _estimate(x: Tensor, y: Tensor, rng: torch.Generator) -> Estimate:
    n, d = min(len(x), len(y)), x.shape[1]
    sides = [_leave_out(x, y, rng), _leave_out(y, x, rng)]
    plain = float(frechet_distance(x, y))
    value = plain - math.fsum(side.bias for side in sides)
    if n * (1 - 1 / FOLDS) <= d:
        return Estimate(
            value=value,
            n=n,
            method=f"plain {plain:.4g}, less what the block jackknife shows of its bias; no "
            f"interval, since {n} samples of {d} features leave an unknown part of it",
        )
    spread = total(side.variance for side in sides)
    second = _second_order(x, y)
    variance = Variance(max(spread.value - second, second), spread.noise)
    return around(value, variance, n=n, method=_METHOD.format(plain) + _CAVEAT * (n < 2 * d))


def _leave_out(x: Tensor, y: Tensor, rng: torch.Generator) -> Jackknifed:
    fold = folds(len(x), rng=rng, device=x.device)
    distances = _distances(x, y, _kept(x, fold))
    return jackknife(distances[0], distances[1:], fold)


def _kept(x: Tensor, fold: Tensor | None) -> list[Tensor]:
    """Returns masks that keep all samples, then all but those of each fold."""
    everyone = torch.ones(len(x), dtype=torch.bool, device=x.device)
    return (
        [everyone]
        if fold is None
        else [everyone, *(fold != f for f in range(int(fold.max()) + 1))]
    )


def _distances(x: Tensor, y: Tensor, kept: list[Tensor]) -> Tensor:
    """Returns the distance of each part of ``x`` from ``y``, shape ``(len(kept),)``.

    With ``S2 = L L^T``, the eigenvalues of ``S1 S2`` are those of the covariance of ``x L``.
    """
    projected, centre, trace = x @ _root(y), y.mean(0), _trace(y)
    values: list[Tensor] = []
    for keep in kept:
        part = x[keep]
        shift = part.mean(0) - centre
        root = torch.linalg.eigvalsh(_covariance(projected[keep])).clamp_min(0).sqrt().sum()
        values.append(shift @ shift + _trace(part) + trace - 2 * root)
    return torch.stack(values)


def _root(y: Tensor) -> Tensor:
    """Returns ``L`` with ``L L^T`` the covariance of ``y``, of no more columns than needed."""
    if len(y) <= y.shape[1]:
        return (y - y.mean(0)).T / math.sqrt(len(y) - 1)
    variances, axes = torch.linalg.eigh(_covariance(y))
    root: Tensor = axes * variances.clamp_min(0).sqrt()
    return root


def _second_order(x: Tensor, y: Tensor) -> float:
    """Returns the variance of the distance where its first-order variance vanishes.

    From the second derivatives of the distance at the fitted covariances, for normal features:
    with ``l`` the eigenvalues of ``S1 S2``, those of the trace term weigh the errors of entry
    ``(i, j)`` by ``h = sqrt(l_i l_j) / (sqrt(l_i) + sqrt(l_j))``.
    """
    n, m = len(x), len(y)
    s1, s2 = _covariance(x), _covariance(y)
    roots = torch.linalg.eigvalsh(_covariance(x @ _root(y))).clamp_min(0).sqrt()
    h = torch.nan_to_num(roots[:, None] * roots / (roots[:, None] + roots))
    trace = (h**2).sum() + (h.diagonal() ** 2).sum()
    within = 2 * (s1**2).sum() / n**2 + 2 * (s2**2).sum() / m**2 + 4 * (s1 * s2).sum() / (n * m)
    return float(within + trace * (1 / n + 1 / m) ** 2)


def _covariance(x: Tensor) -> Tensor:
    centred = x - x.mean(0)
    return centred.T @ centred / (len(x) - 1)


def _trace(x: Tensor) -> Tensor:
    return x.var(0).sum()
