"""Scores of critics of any loss on one scale: the rank among real samples."""

import torch
from torch import Tensor


def ranks(scores: Tensor, reals: Tensor) -> Tensor:
    """Returns for each score the share of held-out reals that it exceeds, ties half.

    The isotonic map that makes real samples uniform on [0, 1], estimated by the empirical
    distribution of ``reals``. Any increasing change of a critic, such as another loss or scale,
    leaves it as it is. Its mean over fakes is the probability that the critic holds a fake for
    more real than a real sample: 1/2 where it cannot tell them apart.

    Args:
        scores: Scores of samples, shape ``(n,)``.
        reals: Scores of held-out real samples, shape ``(m,)``.

    Example:
        >>> ranks(torch.tensor([0.0, 2.0, 9.0]), torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist()
        [0.0, 0.375, 1.0]
    """
    order = reals.sort().values
    below = torch.searchsorted(order, scores.contiguous(), right=False)
    up_to = torch.searchsorted(order, scores.contiguous(), right=True)
    return (below + up_to).double() / (2 * len(reals))
