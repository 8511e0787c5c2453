"""The Frechet distance of features, freed of its bias and with an interval."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.estimate import Better, Estimate
from gantlet.core.measure import Groups, Sees
from gantlet.metrics.bures import Coupling, Diagonal, Full, NoCovariance, bures
from gantlet.metrics.groups import checked_groups, too_few_groups
from gantlet.metrics.influence import Side, by_group, detailed
from gantlet.metrics.inputs import checked, rows, too_few
from gantlet.metrics.intervals import Variance
from gantlet.metrics.near_equality import products_of
from gantlet.metrics.paired import ClusteredPaired, Detailed
from gantlet.metrics.spread import Margins, Spread, spread_of

Covariance = Literal["full", "diagonal", "none"]

_METHOD = (
    "plain {:.4g}, less its bias by leaving out each sample in turn, in closed form, to second "
    "order as for normal features; interval of all true values under which this one is not too "
    "far out, from both orders of influence and three moments"
)
_CAVEAT = (
    "; with less than four samples a feature a part of the bias is left: of normal features "
    "about a tenth of a standard error, but with heavier tails two and more, upwards"
)
_BY_GROUPS = "; {} real and {} fake groups"
_BIASED = (
    "plain {:.4g}, less what leaving out each sample shows of its bias; no interval, since {} "
    "samples of {} features leave an unknown part of it"
)
# From how many samples of each set the part of second order is estimated, and its eigenvalues.
_PAIRS, _SOME = 2048, 64
# Of so many samples of one group, at most, the pairs are looked at; and how many at once.
_OF_GROUP, _AT_ONCE = 8, 2**21
# Pairs of one group, at most, that tell how much bias they leave.
_SAME = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Frechet(ClusteredPaired):
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
    def detail(
        self, real: Tensor, fake: Tensor, *, rng: torch.Generator, groups: Groups | None = None
    ) -> Detailed:
        """Compares as ``measure`` does, and tells what each real sample or group of them adds.

        Raises:
            UserError: If the features cannot be compared.
        """
        x, y = checked(real, fake)
        groups = checked_groups(groups, len(x), len(y))
        if reason := too_few(x, y, 3) or too_few_groups(groups, 3):
            missing = Estimate.missing(reason, better=self.better)
            return Detailed(missing, x.new_zeros(len(x)), Variance(0.0))
        made = Fitted(x, y, self.covariance, groups).detail(rng)
        estimate = made.estimate.named(unit=self.unit, better=self.better)
        return replace(made, estimate=estimate)


def between(a: Spread, b: Spread) -> float:
    """Returns the plain Frechet distance of two sets of which mean and covariance are known."""
    return float((a.mean - b.mean).square().sum()) + bures(a, b)


@final
class Fitted:
    """Normal distributions fitted to two sets.

    Attributes:
        plain: Their distance, biased upwards.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        covariance: Covariance = "full",
        groups: Groups | None = None,
    ) -> None:
        """Takes features, shapes ``(n, d)`` and ``(m, d)``; solves one eigenvalue problem."""
        self._sets = (x, y)
        self._groups = (None, None) if groups is None else (groups.real, groups.fake)
        self._full = covariance == "full"
        fit = spread_of if self._full else Margins.of
        self._fits = a, b = fit(x), fit(y)
        self._coupling = _coupling(a, b, covariance)
        self._shift = a.mean - b.mean
        self.plain = float(self._shift @ self._shift) + self._coupling.value

    def detail(self, rng: torch.Generator) -> Detailed:
        """Returns the distance less its bias, with its interval."""
        units, d = [self._units(side) for side in (0, 1)], self._sets[0].shape[1]
        n = min(units)
        each = [self.influences(side) for side in (0, 1)]
        value = self.plain + sum(float(i.mean()) for i in each)
        influences = [by_group(i, g) for i, g in zip(each, self._groups, strict=True)]
        if self._full and n <= d + 1:
            method = _BIASED.format(self.plain, n, d)
            alone = Estimate(value=value, n=n, method=method).beside(plain=self.plain)
            return Detailed(alone, influences[0], Variance(0.0))
        value += self._coupling.left_over - sum(self._left_by_groups(s, rng) for s in (0, 1))
        method = _METHOD.format(self.plain) + _CAVEAT * (self._full and n < 4 * d)
        some = [self._some(side, _SOME, rng) for side in (0, 1)]
        (a, i), (b, j) = some
        blocks = (self._sums(a, a), self._sums(b, b), self._sums(a, b))
        if self._groups == (None, None):
            twice = self.second_order(rng)
        else:
            twice = self._second_by_groups(*blocks)
            method += _BY_GROUPS.format(*units)
        bent = products_of((units[0], units[1]), blocks, (influences[0][i], influences[1][j]))
        real, fake = (Side(i, t) for i, t in zip(influences, twice, strict=True))
        made = detailed(value, real, fake, bent, method=method)
        return replace(made, estimate=made.estimate.beside(plain=self.plain))

    def _units(self, side: int) -> int:
        """Returns how many samples or groups a set has."""
        group = self._groups[side]
        return len(self._sets[side]) if group is None else int(group.max()) + 1

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

    def _second_by_groups(self, xx: Tensor, yy: Tensor, xy: Tensor) -> tuple[float, float]:
        """Returns what ``second_order`` does, from what pairs of some groups add together."""
        across = float(xy.square().mean()) * 4 / (self._units(0) * self._units(1))
        found: list[float] = []
        for side, within in enumerate((xx, yy)):
            off = float(within.square().sum() - within.diagonal().square().sum())
            pairs = len(within) * (len(within) - 1)
            found.append(2 / self._units(side) ** 2 * off / pairs + across / 2)
        return found[0], found[1]

    def _left_by_groups(self, side: int, rng: torch.Generator) -> float:
        """Returns the bias that pairs of one group add, which single samples do not show."""
        group = self._groups[side]
        if group is None:
            return 0.0
        n, size = len(group), group.bincount()
        pairs = int((size * (size - 1)).sum())
        first = torch.multinomial(
            (size - 1)[group].double().cpu(), _SAME, replacement=True, generator=rng
        ).to(group.device)
        # Another one of its group, evenly.
        place, starts = group.argsort(stable=True), size.cumsum(0) - size
        rank = place.argsort() - starts[group]
        step = (
            1
            + (
                torch.rand(_SAME, generator=rng, device=rng.device).to(size.device)
                * (size[group[first]] - 1)
            ).long()
        )
        other = place[starts[group[first]] + (rank[first] + step) % size[group[first]]]
        total_ = 0.0
        for part in torch.split(torch.arange(_SAME, device=group.device), 1024):
            a, b = (self._taken(side, which[part]) for which in (first, other))
            total_ += float(self._added(a, b).sum())
        return total_ / _SAME * pairs / n**2

    def _some(self, side: int, most: int, rng: torch.Generator) -> tuple["_Some", Tensor]:
        """Returns samples of some groups, and which groups, or samples, these are."""
        units, group = self._units(side), self._groups[side]
        device = self._sets[side].device
        chosen = torch.randperm(units, generator=rng, device=rng.device)[:most].to(device)
        if group is None:
            return _Some(self._taken(side, chosen), None, len(chosen)), chosen
        place = torch.full((units,), -1, device=device).index_copy_(
            0, chosen, torch.arange(len(chosen), device=device)
        )
        order = torch.randperm(len(group), generator=rng, device=rng.device).to(device)
        order = order[group[order].argsort(stable=True)]
        size = group.bincount()
        rank = torch.arange(len(group), device=device) - (size.cumsum(0) - size)[group[order]]
        kept = order[(rank < _OF_GROUP) & (place[group[order]] >= 0)]
        # So that the groups' sums over samples become means over groups.
        scale = size[group[kept]] / size[group[kept]].clamp_max(_OF_GROUP) * (units / len(group))
        return _Some(
            self._taken(side, kept), (place[group[kept]], scale.double()), len(chosen)
        ), chosen

    def _sums(self, a: "_Some", b: "_Some") -> Tensor:
        """Returns what pairs of samples add together, summed over groups."""
        rows: list[Tensor] = []
        step = max(1, _AT_ONCE // (len(b.drawn.u) * a.drawn.u.shape[1]))
        for part in torch.split(torch.arange(len(a.drawn.u), device=a.drawn.u.device), step):
            i = part.repeat_interleave(len(b.drawn.u))
            j = torch.arange(len(b.drawn.u), device=i.device).repeat(len(part))
            rows.append(self._added(a.drawn.of(i), b.drawn.of(j)).view(len(part), -1))
        return a.summed(b.summed(torch.cat(rows).T).T)

    def _added(self, a: "_Drawn", b: "_Drawn") -> Tensor:
        """Returns what pairs of samples add together."""
        return (a.u * b.u).sum(1) + self._coupling.curvature(a.z, b.z) / 2

    def _together(self, a: "_Drawn", b: "_Drawn") -> float:
        """Returns the mean square of what pairs of samples add together."""
        return float(self._added(a, b).square().mean())

    def _drawn(self, side: int, rng: torch.Generator) -> "_Drawn":
        x = self._sets[side]
        order = torch.randperm(len(x), generator=rng, device=rng.device)[:_PAIRS].to(x.device)
        return self._taken(side, order)

    def _taken(self, side: int, which: Tensor) -> "_Drawn":
        u = self._sets[side][which].to(torch.float64) - self._fits[side].mean
        return _Drawn(u, self._coupling.whitened(side, u))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """Some samples less the mean of their set, as they are and whitened."""

    u: Tensor
    z: Tensor

    def cut(self, n: int) -> "_Drawn":
        return _Drawn(self.u[:n], self.z[:n])

    def of(self, which: Tensor) -> "_Drawn":
        return _Drawn(self.u[which], self.z[which])

    def rolled(self) -> "_Drawn":
        return _Drawn(self.u.roll(1, 0), self.z.roll(1, 0))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Some:
    """Some samples, and to which of ``count`` groups they are summed with which weight."""

    drawn: _Drawn
    groups: tuple[Tensor, Tensor] | None
    count: int

    def summed(self, rows: Tensor) -> Tensor:
        """Returns the sums over groups of ``rows``, one for each sample."""
        if self.groups is None:
            return rows
        place, scale = self.groups
        sums = rows.new_zeros(self.count, rows.shape[1])
        return sums.index_add_(0, place, rows * scale[:, None])


def _coupling(a: Spread | Margins, b: Spread | Margins, covariance: Covariance) -> Coupling:
    if isinstance(a, Spread) and isinstance(b, Spread):
        return Full(a, b)
    if isinstance(a, Margins) and isinstance(b, Margins) and covariance == "diagonal":
        return Diagonal((a, b))
    return NoCovariance()
