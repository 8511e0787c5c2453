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
        sums = torch.zeros(int(group.max()) + 1).to(terms)
        sums.index_add_(0, group, terms - terms.mean())
        terms = sums * (len(sums) / len(terms))
    g = len(terms)
    return Variance.of_squares(float(terms.var()) / g, g - 1) if g > 1 else Variance(0.0)
