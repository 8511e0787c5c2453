"""What fake rows give away of the training rows: distances to the closest record, an attack."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.columns import ColumnSlice, columns_of, names_of, number_columns
from gantlet.core.data import Code, Space
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Metric, Sees, SpaceMetric, TrainMetric
from gantlet.core.spec import Between
from gantlet.metrics.checks import checked_with_train, too_few_of_three
from gantlet.metrics.neighbour_search import knn, points
from gantlet.stats.intervals import Variance, around, fraction, total
from gantlet.stats.jackknife import variance_of_mean
from gantlet.stats.moments import blocks

_LEAST = 10  # samples of each set

# ----------------------------------------------------------------------------
# The distance to the closest record.
# ----------------------------------------------------------------------------

_DCR = (
    "{:.4g} of {} fakes have a training sample for the nearest of {} training and {} held-out "
    "ones, where {:.4g} is expected of new samples, p = {:.2g}; rescaled to equal numbers of "
    "both; Wilson's interval at the effective size of {} nearest records"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Dcr:
    """The share of fakes that lie nearer to a training sample than to a held-out real one.

    0.5 for a model that does not copy: to a new sample training samples and held-out ones are
    alike. 1 where all fakes are copies. The set with more samples has no advantage: the share is
    rescaled to equal numbers. Of equal records the share of training ones counts.

    Source: distance to the closest record, as in Zhao et al., 2021 (CTAB-GAN),
    https://arxiv.org/abs/2102.08369; held against held-out records after Platzer and
    Reutterer, 2021, https://doi.org/10.3389/fdata.2021.679939.

    Differs from the papers: all fakes with the same nearest record count as one draw in the
    interval, since that record is of the training or it is not.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "features"
    quadratic: ClassVar[bool] = True

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Judges features, shapes ``(n, d)``, ``(m, d)`` and ``(t, d)``; nothing is random.

        Raises:
            UserError: If the features cannot be compared.
        """
        del rng
        x, y, t = checked_with_train(real, fake, train)
        if reason := too_few_of_three(x, y, t, _LEAST):
            return Estimate.missing(reason, better=self.better)
        share, record = _nearest(t, x, y)
        expected = len(t) / (len(t) + len(x))
        records = int(record.max()) + 1
        variance = variance_of_mean(share, record)
        value = float(share.mean())
        p = _p_above(value, expected, records, record)
        method = _DCR.format(value, len(y), len(t), len(x), expected, p, records)
        found = fraction(value, variance, n=records, method=method)
        ends = [_rescaled(v, expected) for v in (found.value, found.low, found.high)]
        moved = replace(found, value=ends[0], low=ends[1], high=ends[2])
        return moved.named(unit=self.unit, better=self.better).beside(p=p)


def _nearest(train: Tensor, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Returns of each fake which share of its nearest record is of the training, and the record.

    Equal samples are one record; records are numbered from 0 without gaps, shape ``(m,)``.
    """
    both = torch.cat([train, real])
    known, which = torch.unique(both, dim=0, return_inverse=True)
    counts = torch.stack([which[: len(train)].bincount(minlength=len(known)), which.bincount()])
    base, queries = points(known, fake)
    index = knn(queries, base).index[:, 0]
    share = (counts[0] / counts[1]).double()
    return share[index], torch.unique(index, return_inverse=True)[1]


def _p_above(value: float, expected: float, records: int, record: Tensor) -> float:
    """Returns the p-value of a share where each nearest record is of the training by chance.

    Normal, with the variance of records that are dealt out at random and count as often as they
    are nearest.
    """
    often = torch.bincount(record, minlength=records).double() / len(record)
    spread = math.sqrt(expected * (1 - expected) * float(often.square().sum()))
    return math.erfc((value - expected) / spread / math.sqrt(2)) / 2


def _rescaled(share: float | None, expected: float) -> float | None:
    """Returns a share as it were if both sets had equally many samples."""
    if share is None:
        return None
    training, held_out = share / expected, (1 - share) / (1 - expected)
    return training / (training + held_out)


# ----------------------------------------------------------------------------
# An attack: what all columns but one say of the last one, by the nearest fake row.
# ----------------------------------------------------------------------------

_DISCLOSURE = (
    "the nearest fake row gives {:.4g} of the secret values of {} training rows and {:.4g} of "
    "those of {} held-out ones, mean over {} columns; largest for column {}: {:.4g}; interval "
    "over rows, for these fakes"
)
# Columns that are looked at, at most.
_COLUMNS = 64
# A number is guessed if it is off by this share of the range of nine in ten, at most.
_NEAR = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Disclosure(SpaceMetric):
    """How much more an attack with fake rows learns of training rows than of other real rows.

    Who knows all columns of a real row but one guesses that one from the fake row that is nearest
    in the others; each of the first 64 columns is the secret in turn. A category is guessed if it
    is equal, a number if it is off by at most a twentieth of the range of nine in ten real
    numbers. The number is ``(a - b) / (1 - b)``, where ``a`` is the success on training rows and
    ``b`` that on held-out rows, of which the model knew nothing: 0 where training rows are no
    more exposed than others, 1 where all their values are guessed.

    Source: Giomi et al., 2022 (Anonymeter), https://arxiv.org/abs/2211.10459, sections 3 and 4.3.

    Differs from the paper: numbers are compared on the scale of their range, and the interval
    is that of Student's t over rows.

    Attributes:
        attacks: Rows of each kind that are attacked, at most.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = True

    attacks: Annotated[int, Between(_LEAST)] = 1000

    @override
    def on(self, space: Space, code: Code | None) -> Metric | TrainMetric:
        columns = columns_of(space)
        return Attack(columns, names_of(columns, code), self.attacks)

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Attacks samples of which every component is a number.

        Raises:
            UserError: If they cannot be compared.
        """
        columns = number_columns(real.flatten(1).shape[1])
        attack = Attack(columns, names_of(columns, None), self.attacks)
        return attack.judge(real, fake, train=train, rng=rng)


@final
class Attack:
    """Guesses of one column of a row from the fake row that is nearest in all others.

    Args:
        columns: All columns.
        names: Their names.
        attacks: Rows of each kind that are attacked, at most.
    """

    better: ClassVar[Better] = "lower"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = True

    def __init__(self, columns: Sequence[ColumnSlice], names: Sequence[str], attacks: int) -> None:
        self._columns, self._names, self._attacks = columns[:_COLUMNS], names, attacks
        self._all = len(columns)

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Judges rows, shapes ``(n, d)``, ``(m, d)`` and ``(t, d)``; ``rng`` draws the attacked.

        Raises:
            UserError: If they cannot be compared.
        """
        x, y, t = checked_with_train(*(z.flatten(1) for z in (real, fake, train)))
        reason = too_few_of_three(x, y, t, _LEAST)
        if reason or len(self._columns) < 2:
            return Estimate.missing(reason or "needs two columns or more", better=self.better)
        scales = [self._range(c, x) for c in self._columns]
        attacked = [self._some(z, rng) for z in (t, x)]
        known, other = (self._successes(z, y, scales) for z in attacked)
        a, b = known.mean(1), other.mean(1)
        risk = self._risk(a, b)
        each = [float(self._risk(u, v)) for u, v in zip(known.T, other.T, strict=True)]
        worst = max(range(len(each)), key=each.__getitem__)
        method = _DISCLOSURE.format(
            float(a.mean()),
            len(a),
            float(b.mean()),
            len(b),
            len(each),
            self._names[worst],
            each[worst],
        )
        if self._all > _COLUMNS:
            method += f"; of {self._all} columns the first {_COLUMNS} are looked at"
        found = around(float(risk), self._variance(a, b), n=min(len(a), len(b)), method=method)
        return found.named(unit=self.unit, better=self.better).beside(worst=each[worst])

    @staticmethod
    def _risk(known: Tensor, other: Tensor) -> Tensor:
        return (known.mean() - other.mean()) / (1 - other.mean()).clamp(min=1e-9)

    @staticmethod
    def _variance(a: Tensor, b: Tensor) -> Variance:
        """Returns the variance of the risk, to first order in both means."""
        rest = max(1 - float(b.mean()), 1e-9)
        slope = (1 - float(a.mean())) / rest
        parts = []
        for terms, factor in ((a, 1 / rest), (b, slope / rest)):
            own = variance_of_mean(terms)
            parts.append(Variance(own.value * factor**2, own.noise * factor**4))
        return total(parts)

    def _some(self, x: Tensor, rng: torch.Generator) -> Tensor:
        order = torch.randperm(len(x), generator=rng, device=rng.device).to(x.device)
        return x[order[: self._attacks]]

    @staticmethod
    def _range(column: ColumnSlice, real: Tensor) -> float:
        """Returns the range of nine in ten numbers; 1 of categories and of constant columns."""
        if column.kind == "category":
            return 1.0
        own = real[column.present(real), column.start].double()
        if not len(own):
            return 1.0
        low, high = torch.quantile(own, own.new_tensor([0.05, 0.95])).tolist()
        return (high - low) or float(own.max() - own.min()) or 1.0

    def _successes(self, x: Tensor, fake: Tensor, scales: Sequence[float]) -> Tensor:
        """Returns which columns of which rows are guessed, float64, shape ``(n, columns)``."""
        found = []
        for block in blocks(len(x), len(fake) * (len(self._columns) + 2)):
            parts = [
                self._apart(c, x[block], fake, s)
                for c, s in zip(self._columns, scales, strict=True)
            ]
            whole = torch.stack(parts).sum(0)
            rows = torch.arange(whole.shape[0], device=x.device)
            hits = [part[rows, (whole - part).argmin(1)] <= _NEAR for part in parts]
            found.append(torch.stack(hits, 1))
        return torch.cat(found).double()

    @staticmethod
    def _apart(column: ColumnSlice, x: Tensor, fake: Tensor, scale: float) -> Tensor:
        """Returns how far rows are apart in one column (Gower, 1971), shape ``(n, m)``.

        The difference of numbers over their range, at most 1; 1 for other categories, or where one
        of two numbers is missing. Source: https://doi.org/10.2307/2528823.
        """
        if column.kind == "category":
            return (column.codes(x)[:, None] != column.codes(fake)).double()
        apart = (x[:, column.start, None].double() - fake[:, column.start]).abs() / scale
        here, there = column.present(x)[:, None], column.present(fake)
        apart = torch.where(here & there, apart.clamp(max=1), 1.0)
        return torch.where(~here & ~there, 0.0, apart)
