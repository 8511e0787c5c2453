"""Which columns of a table go together, and along what."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import final

import torch
from torch import Tensor

from gantlet.data.checks import Array

_MOST = 64
# Columns that are looked at, so that wide tables are read in seconds.
_NUMBERS, _CATEGORIES = 512, 64
# A weaker correlation with a column of categories is no bond.
_SURE = 0.3


@final
@dataclass(frozen=True, slots=True, eq=False)
class Bond:
    """Two columns and their largest correlation.

    Attributes:
        columns: Which two, by their places.
        weights: Of the components of each, whose sums go together. A column of numbers has one
            component, the normal score of its rank in its own set, so that it does not matter how
            its numbers are spread.
        correlation: Of the two sums.
    """

    columns: tuple[int, int]
    weights: tuple[Tensor, Tensor]
    correlation: float


def bonds(parts: Sequence[tuple[Array, bool]]) -> tuple[Bond, ...]:
    """Returns the strongest bonds of columns, at most 64.

    Of two columns of numbers it is the correlation of their normal scores; with categories the
    first canonical correlation of their indicators, as in correspondence analysis. Of more than
    512 columns of numbers, and 64 of categories, the first are looked at.

    Source: Hirschfeld, 1935, https://doi.org/10.1017/S0305004100013517.

    Args:
        parts: For each column its components, shape ``(n, k)``, and whether it holds numbers.
    """
    numbers = [i for i, (_, is_number) in enumerate(parts) if is_number][:_NUMBERS]
    categories = [i for i, (_, is_number) in enumerate(parts) if not is_number][:_CATEGORIES]
    scaled = {
        i: _scaled(torch.from_numpy(parts[i][0]).double(), is_number=parts[i][1])
        for i in sorted([*numbers, *categories])
    }
    found = [*_of_numbers(numbers, scaled), *_of_categories(numbers, categories, scaled)]
    return tuple(sorted(found, key=lambda b: (-b.correlation, b.columns))[:_MOST])


_Scaled = Mapping[int, tuple[Tensor, Tensor]]


def _of_numbers(columns: Sequence[int], scaled: _Scaled) -> Iterator[Bond]:
    """Yields the strongest bonds of columns of numbers, all of one matrix."""
    if len(columns) < 2:
        return
    z = torch.cat([scaled[i][0] for i in columns], 1)
    matrix = z.T @ z / len(z)
    first, second = torch.triu_indices(len(columns), len(columns), 1)
    strength = matrix[first, second].abs()
    for k in strength.argsort(descending=True, stable=True)[:_MOST].tolist():
        i, j = columns[int(first[k])], columns[int(second[k])]
        sign = matrix[first[k], second[k]].sign()
        yield Bond((i, j), (scaled[i][1], sign * scaled[j][1]), float(strength[k]))


def _of_categories(
    numbers: Sequence[int], categories: Sequence[int], scaled: _Scaled
) -> Iterator[Bond]:
    """Yields the bonds of columns of categories with each other and with some of numbers."""
    mixed = [(min(i, j), max(i, j)) for i in numbers[:_CATEGORIES] for j in categories]
    for i, j in (*combinations(categories, 2), *mixed):
        (z, scale), (z_j, scale_j) = scaled[i], scaled[j]
        u, s, vh = torch.linalg.svd(z.T @ z_j / len(z), full_matrices=False)
        # A column of categories can always be set off against another one a little.
        if float(s[0]) >= max(_SURE, 2 * (z.shape[1] * z_j.shape[1] / len(z)) ** 0.5):
            yield Bond((i, j), (u[:, 0] * scale, vh[0] * scale_j), float(s[0]))


def normal_scores(x: Tensor) -> Tensor:
    """Returns the normal quantiles of ranks, shape ``(n,)``; equal numbers have their mean rank.

    Example:
        >>> normal_scores(torch.tensor([3.0, 1.0, 2.0])).tolist()[2]
        0.0
    """
    x = x.double().contiguous()
    order = x.sort().values
    low, high = (torch.searchsorted(order, x, right=side) for side in (False, True))
    scores: Tensor = torch.special.ndtri((low + high).double() / (2 * len(x)))
    return scores


def _scaled(x: Tensor, *, is_number: bool) -> tuple[Tensor, Tensor]:
    """Returns scaled components of deviation about 1, and their scale."""
    if is_number:
        scores = normal_scores(x[:, 0])[:, None]
        scale = 1 / scores.std(0, correction=0).clamp_min(1e-6)
        return scores * scale, scale
    mean = x.mean(0)
    scale = torch.where(mean > 0, mean.clamp_min(1e-12).rsqrt(), torch.zeros_like(mean))
    return (x - mean) * scale, scale
