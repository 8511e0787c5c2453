"""Train on synthetic rows, test on real ones: how well a model of fake rows predicts real ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, final

import torch
from torch import Tensor
from typing_extensions import override

from gantlet.core.columns import ColumnSlice, columns_of, names_of, number_columns
from gantlet.core.data import Code, Space
from gantlet.core.errors import unknown
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Metric, Sees, SpaceMetric, TrainMetric
from gantlet.core.spec import Between
from gantlet.metrics.boosted_trees import BoostedTrees
from gantlet.metrics.checks import checked_with_train, too_few_of_three
from gantlet.stats.intervals import around, proportion
from gantlet.stats.jackknife import spread

_LEAST = 10  # rows of each set
_TSTR = (
    "{} of boosted trees trained on fake rows, for column {} of held-out real rows: {}; trained "
    "on training rows {:.4g}; {}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Tstr(SpaceMetric):
    """How well a model that learned from fake rows predicts a column of real ones (TSTR).

    Gradient-boosted trees learn to predict one column from all others: on fake rows, and for
    comparison on training rows. The number is their accuracy on held-out real rows for a
    category, R2 for numbers. A table of copies is as good as the training rows.

    Source: Esteban, Hyland and Raetsch, 2017, https://arxiv.org/abs/1706.02633, section 4.2;
    trees of Ke et al., 2017 (LightGBM), https://papers.nips.cc/paper/6907, by scikit-learn.

    Attributes:
        target: The column that is predicted, by its name or its number from 1; the default is
            the last category, or the last column where there is none.
        rounds: Number of trees, for each class where there are more than two.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = False

    target: str | None = None
    rounds: Annotated[int, Between(1)] = 100

    @override
    def on(self, space: Space, code: Code | None) -> Metric | TrainMetric:
        columns = columns_of(space)
        return self._over(columns, names_of(columns, code))

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Predicts a component of samples of which every component is a number.

        Raises:
            UserError: If they cannot be compared.
        """
        columns = number_columns(real.flatten(1).shape[1])
        return self._over(columns, names_of(columns, None)).judge(real, fake, train=train, rng=rng)

    def _over(self, columns: Sequence[ColumnSlice], names: Sequence[str]) -> "Utility":
        return Utility(columns, names, self._target(columns, names), self.rounds)

    def _target(self, columns: Sequence[ColumnSlice], names: Sequence[str]) -> int:
        if self.target is None:
            categories = [i for i, c in enumerate(columns) if c.kind == "category"]
            return (categories or range(len(columns)))[-1]
        if self.target in names:
            return names.index(self.target)
        if self.target.isdecimal() and 1 <= int(self.target) <= len(columns):
            return int(self.target) - 1
        raise unknown("column", self.target, names)


@final
class Utility:
    """Predictions of one column by a model that learned from fake rows.

    Args:
        columns: All columns.
        names: Their names.
        target: Which one is predicted.
        rounds: Number of trees.
    """

    better: ClassVar[Better] = "higher"
    unit: ClassVar[str] = "1"
    sees: ClassVar[Sees] = "samples"
    quadratic: ClassVar[bool] = False

    def __init__(
        self, columns: Sequence[ColumnSlice], names: Sequence[str], target: int, rounds: int
    ) -> None:
        self._columns, self._target, self._name = columns, columns[target], names[target]
        self._rounds = rounds

    def judge(
        self, real: Tensor, fake: Tensor, *, train: Tensor, rng: torch.Generator
    ) -> Estimate:
        """Judges rows, shapes ``(n, d)``, ``(m, d)`` and ``(t, d)``.

        Raises:
            UserError: If they cannot be compared.
        """
        x, y, t = checked_with_train(*(z.flatten(1) for z in (real, fake, train)))
        if len(self._columns) < 2:
            return Estimate.missing("needs two columns or more", better=self.better)
        x, y, t = (z[self._target.present(z)] for z in (x, y, t))
        if reason := too_few_of_three(x, y, t, _LEAST):
            return Estimate.missing(f"{reason}, with a value of {self._name}", better=self.better)
        seed = int(torch.randint(2**31 - 1, (), generator=rng, device=rng.device))
        by_fake, by_train = (self._predictions(z, x, seed) for z in (y, t))
        if self._target.kind == "category":
            return self._accuracy(x, t, by_fake, by_train)
        return self._explained(x, by_fake, by_train)

    def _predictions(self, learned: Tensor, x: Tensor, seed: int) -> Tensor:
        """Returns what trees that learned from some rows say of others, shape ``(n,)``."""
        given, asked = self._without_target(learned), self._without_target(x)
        own = self._truth(learned)
        if bool((own == own[0]).all()):
            return own[:1].expand(len(x))
        is_category = self._target.kind == "category"
        return BoostedTrees.fit(
            given, own, classes=is_category, rounds=self._rounds, seed=seed
        ).predict(asked)

    def _without_target(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, : self._target.start], x[:, self._target.end :]], 1)

    def _truth(self, x: Tensor) -> Tensor:
        is_category = self._target.kind == "category"
        return self._target.codes(x) if is_category else x[:, self._target.start].double()

    def _accuracy(self, x: Tensor, t: Tensor, by_fake: Tensor, by_train: Tensor) -> Estimate:
        truth, known = self._truth(x), self._truth(t)
        usual = float((truth == known.mode().values).double().mean())
        right, ceiling = by_fake == truth, float((by_train == truth).double().mean())
        found = proportion(int(right.sum()), len(x), of="held-out rows are predicted")
        usual_said = f"the most frequent value has {usual:.4g}"
        return self._named(found, "accuracy", ceiling, usual_said)

    def _explained(self, x: Tensor, by_fake: Tensor, by_train: Tensor) -> Estimate:
        truth = self._truth(x)
        square = (truth - truth.mean()).square()
        if not float(square.mean()) > 0:
            return Estimate.missing(f"column {self._name} does not vary", better=self.better)
        error, ceiling = (truth - by_fake).square(), (truth - by_train).square()
        a, b = error.mean(), square.mean()
        # R2 is a function of two means: the influence of each row follows from its derivatives.
        influence = -(error - a) / b + (square - b) * a / b**2
        found = around(float(1 - a / b), spread(influence), n=len(x), method="interval over rows")
        return self._named(found, "R2", float(1 - ceiling.mean() / b), "the mean has 0")

    def _named(self, found: Estimate, score: str, ceiling: float, usual: str) -> Estimate:
        method = _TSTR.format(score, self._name, found.method, ceiling, usual)
        named = replace(found, method=method).named(unit=self.unit, better=self.better)
        return named.beside(real=ceiling)
