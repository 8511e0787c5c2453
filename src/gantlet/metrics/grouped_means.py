"""The variance of a mean whose terms come in groups."""

import torch
from torch import Tensor

from gantlet.metrics.intervals import Variance


def variance_of_mean(terms: Tensor, group: Tensor | None = None) -> Variance:
    """Returns the variance of the mean of ``terms``; 0 where all are of one group.

    Sums over groups are taken as independent, the terms of one group as dependent on each other
    in whatever way.

    Args:
        terms: Float64, shape ``(n,)``.
        group: The group of each, numbered from 0, or None where all are independent.

    Example:
        >>> x = torch.tensor([1.0, 1.0, 3.0, 3.0], dtype=torch.float64)
        >>> variance_of_mean(x).value < variance_of_mean(x, torch.tensor([0, 0, 1, 1])).value
        True
    """
    if group is not None:
        terms = by_group(terms - terms.mean(), group)
    g = len(terms)
    return Variance.of_squares(float(terms.var()) / g, g - 1) if g > 1 else Variance(0.0)


def by_group(terms: Tensor, group: Tensor | None) -> Tensor:
    """Returns what each group adds to the mean of ``terms``, so that the mean stays what it is.

    Args:
        terms: Float64, shape ``(..., n)``.
        group: The group of each, numbered from 0 without gaps, or None where each is its own.

    Returns:
        Shape ``(..., groups)``.

    Example:
        >>> by_group(torch.tensor([1.0, 3.0, 8.0]).double(), torch.tensor([0, 0, 1])).tolist()
        [2.6666666666666665, 5.333333333333333]
    """
    if group is None:
        return terms
    sums = torch.zeros(*terms.shape[:-1], int(group.max()) + 1).to(terms)
    sums.index_add_(-1, group, terms)
    return sums * (sums.shape[-1] / terms.shape[-1])
