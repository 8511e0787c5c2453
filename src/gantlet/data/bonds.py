"""Which columns of a table go together, and along what."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import final

import torch
from torch import Tensor

from gantlet.data.checks import Array

_MOST = 64
# Columns of categories can always be set off against each other a little: less is no bond.
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
    first canonical correlation of their indicators, as in correspondence analysis.

    Source: Hirschfeld, 1935, https://doi.org/10.1017/S0305004100013517.

    Args:
        parts: For each column its components, shape ``(n, k)``, and whether it holds numbers.
    """
    found: list[Bond] = []
    scaled = [_scaled(torch.from_numpy(x).double(), is_number=number) for x, number in parts]
    for i, j in combinations(range(len(parts)), 2):
        (z, scale), (z_j, scale_j) = scaled[i], scaled[j]
        u, s, vh = torch.linalg.svd(z.T @ z_j / len(z), full_matrices=False)
        plain = parts[i][1] and parts[j][1]
        if not plain and float(s[0]) < max(_SURE, 2 * (z.shape[1] * z_j.shape[1] / len(z)) ** 0.5):
            continue
        found.append(Bond((i, j), (u[:, 0] * scale, vh[0] * scale_j), float(s[0])))
    return tuple(sorted(found, key=lambda b: -b.correlation)[:_MOST])


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
