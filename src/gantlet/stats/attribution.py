"""What each of several settings adds to the difference of two values: Shapley values.

Two values of one number differ since several settings differ. Switching one setting after the
other from the first to the second gives parts that add up, but they depend on the order. Their
mean over all orders does not, and still adds up.

Source: Shapley, 1953, https://doi.org/10.1515/9781400881970-018; by sampled orders, Castro, Gomez
and Tejada, 2009, https://doi.org/10.1016/j.cor.2008.04.004.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias, final

import torch
from torch import Tensor

from gantlet.core.estimate import Estimate
from gantlet.stats.intervals import t_quantile

Coalition: TypeAlias = frozenset[int]
"""The settings that are switched, by number."""

ALL_ORDERS = 6
"""Up to so many settings all orders are taken: at most 64 values are needed."""

SAMPLED = 24
"""With more settings, so many orders are drawn, and each is gone through backwards too."""


@final
@dataclass(frozen=True, slots=True)
class Orders:
    """The orders in which settings are switched.

    Attributes:
        parts: How many settings there are.
        drawn: The orders, each followed by its reverse; empty for all orders.
    """

    parts: int
    drawn: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, parts: int, *, rng: torch.Generator) -> "Orders":
        """Returns all orders of a few settings, else some; ``rng`` draws these.

        Example:
            >>> [Orders.of(k, rng=torch.Generator()).label for k in (1, 3)]
            ['one order', 'all 6 orders']
            >>> Orders.of(8, rng=torch.Generator()).label
            '48 orders drawn at random, in pairs of an order and its reverse'
        """
        if parts <= ALL_ORDERS:
            return cls(parts)
        once = [tuple(torch.randperm(parts, generator=rng).tolist()) for _ in range(SAMPLED)]
        return cls(parts, tuple(o for order in once for o in (order, order[::-1])))

    @property
    def label(self) -> str:
        """The orders, in words."""
        if not self.drawn:
            n = math.factorial(self.parts)
            return "one order" if n == 1 else f"all {n} orders"
        return f"{len(self.drawn)} orders drawn at random, in pairs of an order and its reverse"

    def coalitions(self) -> list[Coalition]:
        """Returns which settings are switched at once in some order; none and all included."""
        if not self.drawn:
            everyone = range(self.parts)
            sizes = range(self.parts + 1)
            return [frozenset(c) for size in sizes for c in combinations(everyone, size)]
        found = (frozenset(o[:k]) for o in self.drawn for k in range(self.parts + 1))
        return list(dict.fromkeys(found))

    def parts_of(self, values: Mapping[Coalition, Tensor]) -> Tensor:
        """Returns what each setting adds, the mean over orders.

        Args:
            values: The number where these settings are switched, each of shape ``(...)``.

        Returns:
            Shape ``(parts, ...)``; their sum is the value of all less that of none.
        """
        if self.drawn:
            return torch.stack(self._by_order(values)).mean(0)
        return torch.stack([self._exactly(part, values) for part in range(self.parts)])

    def spread(self, values: Mapping[Coalition, Tensor]) -> Tensor:
        """Returns the variance of each part that comes from drawing orders, shape ``(parts,)``.

        Args:
            values: As for ``parts_of``, each a scalar.
        """
        if not self.drawn:
            return torch.zeros(self.parts, dtype=torch.float64)
        added = torch.stack(self._by_order(values))
        pairs = (added[0::2] + added[1::2]) / 2
        return pairs.var(0) / len(pairs)

    def _by_order(self, values: Mapping[Coalition, Tensor]) -> list[Tensor]:
        found: list[Tensor] = []
        for order in self.drawn:
            steps = [values[frozenset(order[:k])] for k in range(self.parts + 1)]
            added = {part: steps[k + 1] - steps[k] for k, part in enumerate(order)}
            found.append(torch.stack([added[part] for part in range(self.parts)]))
        return found

    def _exactly(self, part: int, values: Mapping[Coalition, Tensor]) -> Tensor:
        """Returns one part, each set of earlier ones weighed by how many orders begin with it."""
        whole: Tensor = torch.zeros_like(values[frozenset()])
        for before in self.coalitions():
            if part not in before:
                s, k = len(before), self.parts
                weight = math.factorial(s) * math.factorial(k - s - 1) / math.factorial(k)
                whole = whole + weight * (values[before | {part}] - values[before])
        return whole


def left_out_variance(left_out: Tensor) -> Tensor:
    """Returns the variance of numbers from their values without each fold of the samples.

    The delete-a-group jackknife. Source: Efron and Stein, 1981,
    https://doi.org/10.1214/aos/1176345462.

    Args:
        left_out: Float64, shape ``(..., folds)``.

    Example:
        >>> x = torch.arange(10, dtype=torch.float64)
        >>> without = (x.sum() - x) / 9
        >>> bool(torch.isclose(left_out_variance(without), x.var() / 10))
        True
    """
    g = left_out.shape[-1]
    centred = left_out - left_out.mean(-1, keepdim=True)
    return centred.square().sum(-1) * ((g - 1) / g)


def with_interval(value: float, variance: float, *, folds: int, n: int, method: str) -> Estimate:
    """Returns a number with Student's t interval, of one less degree of freedom than folds."""
    half = t_quantile(0.975, folds - 1) * math.sqrt(max(variance, 0.0))
    return Estimate(value=value, low=value - half, high=value + half, n=n, method=method)


def p_of(value: float, variance: float, *, folds: int) -> float:
    """Returns the two-sided p-value of "the number is 0"; 1 for one that is exactly 0.

    Example:
        >>> p_of(0.0, 0.0, folds=20), round(p_of(2.093, 1.0, folds=20), 3)
        (1.0, 0.05)
    """
    from scipy.special import stdtr

    if value == 0:
        return 1.0
    if variance <= 0:
        return 0.0
    return float(2 * stdtr(folds - 1, -abs(value) / math.sqrt(variance)))
