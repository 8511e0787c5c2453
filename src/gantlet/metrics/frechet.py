"""The Frechet distance of features, freed of its bias and with an interval."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Sees
from gantlet.metrics.bures import Coupling, Diagonal, Full, NoCovariance, bures
from gantlet.metrics.influence import Side, detailed
from gantlet.metrics.inputs import checked, rows, too_few
from gantlet.metrics.intervals import Variance
from gantlet.metrics.paired import Detailed, Paired
from gantlet.metrics.spread import Margins, Spread, spread_of

Covariance = Literal["full", "diagonal", "none"]

_METHOD = (
    "plain {:.4g}, less its bias by leaving out each sample in turn, in closed form, to second "
    "order as for normal features; interval from the same, less the second-order part that it "
    "counts twice"
)
_CAVEAT = "; with less than two samples a feature a little of the bias is left"
_BIASED = (
    "plain {:.4g}, less what leaving out each sample shows of its bias; no interval, since {} "
    "samples of {} features leave an unknown part of it"
)
# From how many samples of each set the part of second order is estimated.
_PAIRS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Frechet(Paired):
    """The Frechet distance between normal distributions fitted to the features.

    It is ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``. Computed as it stands, it is too high by
    an amount that grows with ``d^2 / n`` and is often many times the distance itself; the value
    here is corrected by leaving out one sample at a time, and so may be negative. The method
    tells the plain number. It may be called FID only on the features of Inception.

    Source: Dowson and Landau, 1982, https://doi.org/10.1016/0047-259X(82)90077-X; on features,
    Heusel et al., 2017, https://arxiv.org/abs/1706.08500.

    Differs from the paper: the bias is removed; the trace comes from the eigenvalues of a
    symmetric matrix in float64 instead of a matrix root.

    Attributes:
        covariance: ``full``; ``diagonal``, of the variances of single features only, which needs
            far fewer samples and does not see correlations; or ``none``, the squared distance of
            the means.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = False

    covariance: Covariance = "full"

    @override
    def detail(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Detailed:
        """Compares as ``measure`` does, and tells what each real sample adds.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = checked(real, fake)
        if reason := too_few(x, y, 3):
            missing = Estimate.missing(reason, better=self.better)
            return Detailed(missing, x.new_zeros(len(x)), Variance(0.0))
        made = Fitted(x, y, self.covariance).detail(rng)
        estimate = made.estimate.named(unit=self.unit, better=self.better)
        return replace(made, estimate=estimate)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Returns the plain Frechet distance of features ``(n, d)`` and ``(m, d)``; biased upwards.

    The features may be of any floating point type and mapped from disk.
    """
    return between(spread_of(x), spread_of(y))


def between(a: Spread, b: Spread) -> float:
    """Returns the plain Frechet distance of two sets of which mean and covariance are known."""
    return float((a.mean - b.mean).square().sum()) + bures(a, b)


@final
class Fitted:
    """Normal distributions fitted to two sets.

    Attributes:
        plain: Their distance, biased upwards.
    """

    def __init__(self, x: Tensor, y: Tensor, covariance: Covariance = "full") -> None:
        """Takes features, shapes ``(n, d)`` and ``(m, d)``; solves one eigenvalue problem."""
        self._sets = (x, y)
        self._full = covariance == "full"
        fit = spread_of if self._full else Margins.of
        self._fits = a, b = fit(x), fit(y)
        self._coupling = _coupling(a, b, covariance)
        self._shift = a.mean - b.mean
        self.plain = float(self._shift @ self._shift) + self._coupling.value

    def detail(self, rng: torch.Generator) -> Detailed:
        """Returns the distance less its bias, with its interval."""
        x, y = self._sets
        n, d = min(len(x), len(y)), x.shape[1]
        influences = [self.influences(side) for side in (0, 1)]
        value = self.plain + sum(float(i.mean()) for i in influences)
        if self._full and n <= d + 1:
            method = _BIASED.format(self.plain, n, d)
            return Detailed(
                Estimate(value=value, n=n, method=method), influences[0], Variance(0.0)
            )
        value += self._coupling.left_over
        twice = self.second_order(rng)
        sides = (Side(i, t) for i, t in zip(influences, twice, strict=True))
        method = _METHOD.format(self.plain) + _CAVEAT * (self._full and n < 2 * d)
        return detailed(value, *sides, method=method)

    def influences(self, side: int) -> Tensor:
        """Returns ``n - 1`` times what leaving out each sample takes off the plain distance."""
        n = len(self._sets[side])
        shift = self._shift if side == 0 else -self._shift
        parts: list[Tensor] = []
        for block in rows(self._sets[side]):
            u = block - self._fits[side].mean
            means = (shift - u / (n - 1)).square().sum(1)
            without = means + self._coupling.without(side, u)
            parts.append((self.plain - without) * (n - 1))
        return torch.cat(parts)

    def second_order(self, rng: torch.Generator) -> tuple[float, float]:
        """Returns for each side the variance that comes from what pairs of samples add.

        What a sample of one side adds with one of the other is halved between them.
        ``rng`` draws up to 2048 pairs.
        """
        n, m = (len(x) for x in self._sets)
        a, b = (self._drawn(side, rng) for side in (0, 1))
        few = min(len(a.u), len(b.u))
        across = 4 / (n * m) * self._together(a.cut(few), b.cut(few))
        of_x, of_y = (
            2 / k**2 * self._together(drawn, drawn.rolled()) + across / 2
            for k, drawn in ((n, a), (m, b))
        )
        return of_x, of_y

    def _together(self, a: "_Drawn", b: "_Drawn") -> float:
        """Returns the mean square of what pairs of samples add together."""
        added = (a.u * b.u).sum(1) + self._coupling.curvature(a.z, b.z) / 2
        return float(added.square().mean())

    def _drawn(self, side: int, rng: torch.Generator) -> "_Drawn":
        x = self._sets[side]
        order = torch.randperm(len(x), generator=rng, device=rng.device)[:_PAIRS].to(x.device)
        u = x[order].to(torch.float64) - self._fits[side].mean
        return _Drawn(u, self._coupling.whitened(side, u))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """Some samples less the mean of their set, as they are and whitened."""

    u: Tensor
    z: Tensor

    def cut(self, n: int) -> "_Drawn":
        return _Drawn(self.u[:n], self.z[:n])

    def rolled(self) -> "_Drawn":
        return _Drawn(self.u.roll(1, 0), self.z.roll(1, 0))


def _coupling(a: Spread | Margins, b: Spread | Margins, covariance: Covariance) -> Coupling:
    if isinstance(a, Spread) and isinstance(b, Spread):
        return Full(a, b)
    if isinstance(a, Margins) and isinstance(b, Margins) and covariance == "diagonal":
        return Diagonal((a, b))
    return NoCovariance()
