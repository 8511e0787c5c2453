"""Equal samples: rows that come again in one set, or in two."""

import torch
from torch import Tensor


def equal_rows(*sets: Tensor) -> tuple[Tensor, ...]:
    """Returns numbers from 0 for the rows of the sets, one for all rows that are equal.

    Args:
        sets: Shapes ``(n, d)``, ``(m, d)``, ...

    Returns:
        Of each set, int64, shapes ``(n,)``, ``(m,)``, ...

    Example:
        >>> equal_rows(torch.tensor([[1.0], [2.0], [1.0]]), torch.tensor([[2.0]]))
        (tensor([0, 1, 0]), tensor([1]))
    """
    number = torch.unique(torch.cat(sets), dim=0, return_inverse=True)[1]
    return tuple(number.split([len(x) for x in sets]))


def without_duplicates(train: Tensor, real: Tensor) -> Tensor:
    """Returns the rows of ``train`` once each, unless repeats lie in the nature of the data.

    They do where new samples repeat those of the training, too, at least half as often as these
    repeat one another.

    Args:
        train: Shape ``(t, d)``.
        real: Samples of the same distribution that were not trained on, shape ``(n, d)``.
    """
    if len(train) == 0 or len(real) == 0:
        return train
    of_train, of_real = equal_rows(train, real)
    count = of_train.bincount(minlength=int(of_real.max()) + 1)
    kinds = int((count > 0).sum())
    repeated, met = 1 - kinds / len(train), float((count[of_real] > 0).double().mean())
    if kinds == len(train) or met >= repeated / 2:
        return train
    ordered, order = of_train.sort(stable=True)
    first = torch.cat([ordered.new_ones(1, dtype=torch.bool), ordered[1:] != ordered[:-1]])
    return train[order[first].sort().values]
