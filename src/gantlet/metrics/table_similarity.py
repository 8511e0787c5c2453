"""How alike two tables are, column by column and pair by pair."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.columns import ColumnSlice, columns_of, names_of, number_columns
from gantlet.core.data import Code, Space
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Metric, Sees, SpaceMetric, TrainMetric
from gantlet.core.spec import Between
from gantlet.metrics.checks import checked, too_few
from gantlet.stats.intervals import Variance, around, total
from gantlet.stats.jackknife import Detailed, Paired, folds, jackknife, spread

# ----------------------------------------------------------------------------
# How alike two sets are in one column, or in two: from counts of values.
#
# Counts have shape (folds, values): those of each fold of a set, so that a set without a fold is a
# difference of sums.
# ----------------------------------------------------------------------------

_LEAST = 10  # rows of each set

Rows = tuple[Tensor, Tensor]
"""Real and fake rows, shapes ``(n, d)`` and ``(m, d)``."""


class Likeness(ABC):
    """How alike two sets of rows are in one respect, from 0 to 1."""

    @abstractmethod
    def statistics(self, x: Tensor, fold: Tensor) -> Tensor:
        """Returns what is needed of each fold of a set, summed, shape ``(folds, k)``."""

    @abstractmethod
    def of(self, real: Tensor, fake: Tensor) -> Tensor:
        """Returns the likeness of sets from their sums, shapes ``(..., k)``, shape ``(...)``."""

    @abstractmethod
    def dealt(self, first: Tensor) -> Tensor:
        """Returns the likeness of some of the rows of both sets and of all others, a scalar.

        Args:
            first: Which rows are the first set, bool, shape ``(n + m,)``.
        """


class CountedLikeness(Likeness):
    """A likeness that is a function of how often each value occurs.

    Args:
        values: How many values there are.
    """

    def __init__(self, values: int) -> None:
        self._values = values
        self._pooled: Tensor | None = None
        self._total: Tensor | None = None

    @abstractmethod
    def codes(self, x: Tensor) -> Tensor:
        """Returns which value each row has, int64, shape ``(n,)``."""

    def pool(self, pooled: Tensor) -> None:
        """Looks at the rows of both sets, so that they can be dealt out."""
        self._pooled = self.codes(pooled)
        self._total = torch.bincount(self._pooled, minlength=self._values).double()

    @override
    def statistics(self, x: Tensor, fold: Tensor) -> Tensor:
        return _counted(self.codes(x), self._values, fold)

    @override
    def dealt(self, first: Tensor) -> Tensor:
        if self._pooled is None or self._total is None:
            raise RuntimeError("pool() comes before dealt().")
        own = torch.bincount(self._pooled[first], minlength=self._values).double()
        return self.of(own, self._total - own)


def _counted(codes: Tensor, values: int, fold: Tensor) -> Tensor:
    g = int(fold.max()) + 1
    flat = torch.bincount(fold * values + codes, minlength=g * values)
    return flat.reshape(g, values).double()


@final
class ColumnLikeness(CountedLikeness):
    """One less the largest difference of distribution functions, or of probabilities.

    Of a column of numbers the Kolmogorov-Smirnov distance is taken off, a missing one counted as
    lower than all others; of a category the total variation distance.

    Args:
        column: The column.
        rows: Both sets.
    """

    def __init__(self, column: ColumnSlice, rows: Rows) -> None:
        self._column, pooled = column, torch.cat(rows)
        is_number = column.kind == "number"
        self._order = torch.unique(self._numbers(pooled)) if is_number else None
        super().__init__(column.values if self._order is None else len(self._order))
        self.pool(pooled)

    def _numbers(self, x: Tensor) -> Tensor:
        value = x[:, self._column.start].double()
        return torch.where(self._column.present(x), value, -torch.inf)

    @override
    def codes(self, x: Tensor) -> Tensor:
        if self._order is None:
            return self._column.codes(x)
        return torch.searchsorted(self._order, self._numbers(x).contiguous())

    @override
    def of(self, real: Tensor, fake: Tensor) -> Tensor:
        p, q = (z / z.sum(-1, keepdim=True) for z in (real, fake))
        if self._order is None:
            return 1 - (p - q).abs().sum(-1) / 2
        return 1 - (p.cumsum(-1) - q.cumsum(-1)).abs().amax(-1)


# Bins of a column of numbers beside one of categories.
_BINS = 10


@final
class TableLikeness(CountedLikeness):
    """One less the total variation distance of the joint distribution of two columns.

    Numbers are taken in 10 bins of equal shares of the real rows; a missing one is a bin.

    Args:
        first: A column.
        second: Another one.
        rows: Both sets.
    """

    def __init__(self, first: ColumnSlice, second: ColumnSlice, rows: Rows) -> None:
        self._parts = [(column, self._edges(column, rows[0])) for column in (first, second)]
        n, self._m = (c.values if e is None else len(e) + 2 for c, e in self._parts)
        super().__init__(n * self._m)
        self.pool(torch.cat(rows))

    @staticmethod
    def _edges(column: ColumnSlice, real: Tensor) -> Tensor | None:
        if column.kind == "category":
            return None
        own = real[column.present(real), column.start].double()
        at = torch.arange(1, _BINS, dtype=torch.float64, device=real.device) / _BINS
        return torch.unique(torch.quantile(own, at)) if len(own) else own

    @override
    def codes(self, x: Tensor) -> Tensor:
        a, b = (self._binned(x, *part) for part in self._parts)
        return a * self._m + b

    @staticmethod
    def _binned(x: Tensor, column: ColumnSlice, edges: Tensor | None) -> Tensor:
        if edges is None:
            return column.codes(x)
        bins = torch.searchsorted(edges, x[:, column.start].double().contiguous())
        return torch.where(column.present(x), bins, len(edges) + 1)

    @override
    def of(self, real: Tensor, fake: Tensor) -> Tensor:
        p, q = (z / z.sum(-1, keepdim=True) for z in (real, fake))
        return 1 - (p - q).abs().sum(-1) / 2


@final
class CorrelationLikeness(Likeness):
    """One less half of the difference of rank correlations of two columns of numbers.

    Over the rows that have both. A column that does not vary has the correlation 0.

    Args:
        first: A column of numbers.
        second: Another one.
        rows: Both sets.
    """

    def __init__(self, first: ColumnSlice, second: ColumnSlice, rows: Rows) -> None:
        self._columns, self._pooled = (first, second), torch.cat(rows)

    @override
    def statistics(self, x: Tensor, fold: Tensor) -> Tensor:
        both = torch.stack([c.present(x) for c in self._columns]).all(0)
        a, b = (_centred_ranks(x[both, c.start]) for c in self._columns)
        terms = torch.stack([torch.ones_like(a), a, b, a * a, b * b, a * b], 1)
        sums = terms.new_zeros(int(fold.max()) + 1, terms.shape[1])
        return sums.index_add_(0, fold[both], terms)

    @override
    def of(self, real: Tensor, fake: Tensor) -> Tensor:
        return 1 - (self._correlation(real) - self._correlation(fake)).abs() / 2

    @override
    def dealt(self, first: Tensor) -> Tensor:
        sets = (self._pooled[first], self._pooled[~first])
        none = [torch.zeros(len(z), dtype=torch.int64, device=z.device) for z in sets]
        return self.of(*(self.statistics(z, f)[0] for z, f in zip(sets, none, strict=True)))

    @staticmethod
    def _correlation(sums: Tensor) -> Tensor:
        _, a, b, aa, bb, ab = (sums / sums[..., :1].clamp(min=1)).unbind(-1)
        square = (aa - a * a).clamp(min=0) * (bb - b * b).clamp(min=0)
        return torch.where(square > 1e-12, (ab - a * b) / square.clamp(min=1e-12).sqrt(), 0.0)


def _centred_ranks(x: Tensor) -> Tensor:
    """Returns mean ranks of numbers, shape ``(n,)``, between -1/2 and 1/2."""
    order = x.double().sort().values
    low, high = (
        torch.searchsorted(order, x.double().contiguous(), right=r) for r in (False, True)
    )
    return (low + high).double() / (2 * max(len(x), 1)) - 0.5


# ----------------------------------------------------------------------------
# The mean over all columns, or over all pairs of them.
# ----------------------------------------------------------------------------

# Columns that are compared, at most, and those of which all pairs are.
_COLUMNS, _PAIRED = 512, 32
_SIMILARITY = (
    "mean over {} {}; lowest: {}; two sets of these sizes from the pooled rows have {:.4g} on "
    "average, p = {:.2g} of {} permutations; interval by block jackknife"
)

Respect = tuple[str, Callable[[Rows], Likeness]]
"""A respect in which sets are compared: its name, and how its likeness is made for two sets."""


@final
class Similarity(Paired):
    """The mean of several likenesses of two sets of rows.

    Args:
        respects: In which they are compared.
        what: What these are, for the method.
        permutations: Number of permutations of the rows.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = False

    def __init__(self, respects: Sequence[Respect], what: str, permutations: int) -> None:
        self._respects, self._what, self._permutations = respects, what, permutations

    @override
    def detail(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Detailed:
        """Compares rows, shapes ``(n, d)`` and ``(m, d)``.

        Raises:
            UserError: If they cannot be compared.
        """
        x, y = checked(real.flatten(1), fake.flatten(1))
        reason = too_few(x, y, _LEAST) or ("" if self._respects else "needs two columns or more")
        if reason:
            missing = Estimate.missing(reason, better=self.better)
            return Detailed(missing, torch.zeros(len(x), dtype=torch.float64), Variance(0.0))
        of_x, of_y = (folds(len(z), rng=rng, device=z.device) for z in (x, y))
        each = [make((x, y)) for _, make in self._respects]
        whole, real_out, fake_out = self._without_folds(each, (x, y), (of_x, of_y))
        chance, p = self._chance(each, (len(x), len(y)), float(whole.mean()), rng)
        low = int(whole.argmin())
        method = _SIMILARITY.format(
            len(each),
            self._what,
            f"{self._respects[low][0]} {float(whole[low]):.4g}",
            chance,
            p,
            self._permutations,
        )
        value = float(whole.mean())
        of_fake = jackknife(whole.mean(), fake_out, of_y).variance
        influence = (len(real_out) - 1) * (real_out.mean() - real_out)
        found = around(
            value, total([spread(influence), of_fake]), n=min(len(x), len(y)), method=method
        )
        high = None if found.high is None else min(found.high, 1.0)
        found = replace(found, high=high, is_proportion=True)
        named = found.named(unit=self.unit, better=self.better).beside(chance=chance, p=p)
        return Detailed(named, influence, of_fake)

    @staticmethod
    def _without_folds(
        each: Sequence[Likeness], sets: tuple[Tensor, Tensor], fold: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns all likenesses, and their mean without each fold of real and of fake rows."""
        whole, of_real, of_fake = [], [], []
        for one in each:
            a, b = (one.statistics(z, f) for z, f in zip(sets, fold, strict=True))
            s, t = a.sum(0), b.sum(0)
            whole.append(one.of(s, t))
            of_real.append(one.of(s - a, t))
            of_fake.append(one.of(s, t - b))
        return (
            torch.stack(whole),
            torch.stack(of_real).mean(0),
            torch.stack(of_fake).mean(0),
        )

    def _chance(
        self, each: Sequence[Likeness], sizes: tuple[int, int], value: float, rng: torch.Generator
    ) -> tuple[float, float]:
        """Returns the mean over random splits of all rows, and the p-value of ``value``."""
        found = torch.stack([_dealt(each, sizes, rng) for _ in range(self._permutations)])
        p = (1 + int((found <= value + 1e-12).sum())) / (self._permutations + 1)
        return float(found.mean()), p


def _dealt(each: Sequence[Likeness], sizes: tuple[int, int], rng: torch.Generator) -> Tensor:
    """Returns the mean likeness of the rows of both sets dealt out at random."""
    order = torch.randperm(sum(sizes), generator=rng, device=rng.device)
    return torch.stack([one.dealt(order < sizes[0]) for one in each]).mean()


class SimilarityMetric(SpaceMetric):
    """Settings of a mean likeness of columns, which are those of the space."""

    __slots__ = ()

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = False

    @abstractmethod
    def _over(self, columns: Sequence[ColumnSlice], names: Sequence[str]) -> Similarity:
        """Returns the mean likeness over columns of these names."""

    @final
    @override
    def on(self, space: Space, code: Code | None) -> Metric | TrainMetric:
        columns = columns_of(space)
        return self._over(columns, names_of(columns, code))

    @final
    def measure(self, real: Tensor, fake: Tensor, *, rng: torch.Generator) -> Estimate:
        """Compares samples of which every component is a number.

        Raises:
            UserError: If they cannot be compared.
        """
        columns = number_columns(real.flatten(1).shape[1])
        return self._over(columns, names_of(columns, None)).measure(real, fake, rng=rng)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class ColumnSimilarity(SimilarityMetric):
    """The mean likeness of the columns of two tables, each by itself: 1 where all are equal.

    Of a column of numbers it is one less the Kolmogorov-Smirnov distance, with missing values
    below all others; of a category one less the total variation distance. It does not see how
    columns go together. The first 512 columns are compared. Finite sets are never quite alike:
    the method says how alike two sets from the pooled rows are on average.

    Source: Massey, 1951, https://doi.org/10.2307/2280095, for the distance of numbers; "KS
        complement" and "TV complement" of the library SDMetrics.
    Differs from SDMetrics: missing values count.

    Attributes:
        permutations: Number of permutations of the rows for the level of chance.
    """

    permutations: Annotated[int, Between(1)] = 99

    @override
    def _over(self, columns: Sequence[ColumnSlice], names: Sequence[str]) -> Similarity:
        respects = [_column(c, name) for c, name in zip(columns, names, strict=True)]
        what = "columns" + _of_many(len(columns), _COLUMNS)
        return Similarity(respects[:_COLUMNS], what, self.permutations)


def _of_many(columns: int, most: int) -> str:
    return f", those of the first {most} of {columns} columns" if columns > most else ""


def _column(column: ColumnSlice, name: str) -> Respect:
    return f"column {name}", lambda rows: ColumnLikeness(column, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class PairSimilarity(SimilarityMetric):
    """The mean likeness of all pairs of columns of two tables: 1 where all are equal.

    Of two columns of numbers it is one less half of the difference of their rank correlations;
    with a category one less the total variation distance of the joint distribution, numbers in 10
    bins. Pairs of the first 32 columns are compared. Finite sets are never quite alike: the
    method says how alike two sets from the pooled rows are on average.

    Source: "correlation similarity" and "contingency similarity" of the library SDMetrics; rank
        correlation, Spearman, 1904, https://doi.org/10.2307/1412159.
    Differs from SDMetrics: bins hold equal shares of the real rows; missing values count.

    Attributes:
        permutations: Number of permutations of the rows for the level of chance.
    """

    permutations: Annotated[int, Between(1)] = 19

    @override
    def _over(self, columns: Sequence[ColumnSlice], names: Sequence[str]) -> Similarity:
        known = list(zip(columns, names, strict=True))[:_PAIRED]
        what = "pairs of columns" + _of_many(len(columns), _PAIRED)
        return Similarity(
            [_pair(a, b) for a, b in combinations(known, 2)], what, self.permutations
        )


def _pair(a: tuple[ColumnSlice, str], b: tuple[ColumnSlice, str]) -> Respect:
    (first, name), (second, other) = a, b
    if first.kind == second.kind == "number":
        return f"{name} and {other}", lambda rows: CorrelationLikeness(first, second, rows)
    return f"{name} and {other}", lambda rows: TableLikeness(first, second, rows)
