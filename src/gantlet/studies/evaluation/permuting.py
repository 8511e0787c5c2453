"""Whether fakes and the whole reference differ, by dealing out again which is which."""

import torch
from torch import Tensor

from gantlet.features.frozen import some
from gantlet.metrics.inputs import checked

ENERGY = "energy"
"""The metric that is tested by permutation too."""

PERMUTED = "p by permutation"
"""The detail of an outcome that holds the p-value."""

# So many samples of each set, and so many times.
_MOST, _TIMES = 1_000, 999
# So many numbers are held of the labels and of their products at a time.
_AT_ONCE = 2**22


def energy_p(real: Tensor, fake: Tensor, *, rng: torch.Generator) -> float:
    """Returns the p-value of the energy distance of two sets if their samples were exchangeable.

    Exact, and on whole sets: it needs no noise floor. At most 1,000 samples of each.
    Source: Szekely and Rizzo, 2004, http://interstat.statjournals.net/YEAR/2004/articles/0411005.pdf.

    Args:
        real: Features, shape ``(n, d)``.
        fake: Features, shape ``(m, d)``.
        rng: Deals out, on the CPU.
    """
    real, fake = checked(real, fake)
    x, y = (z[some(len(z), _MOST, rng=rng)].double() for z in (real, fake))
    n, both = len(x), torch.cat([x, y])
    if min(n, len(y)) < 2:
        return 1.0
    apart = torch.cdist(both, both).to(both.dtype)
    total = len(both)
    orders = torch.stack([torch.randperm(total, generator=rng)[:n] for _ in range(_TIMES)])
    orders = torch.cat([torch.arange(n)[None], orders]).to(both.device)
    step = max(1, _AT_ONCE // total)
    found = torch.cat([_energies(apart, o) for o in torch.split(orders, step)])
    # Equal sums differ by rounding.
    slack = 1e-9 * float(apart.mean())
    return float((found[1:] >= found[0] - slack).sum() + 1) / (_TIMES + 1)


def _energies(apart: Tensor, chosen: Tensor) -> Tensor:
    """Returns the energy distance between some samples and the others, for each row of places."""
    total, n = len(apart), chosen.shape[1]
    labels = apart.new_zeros(len(chosen), total).scatter_(1, chosen, 1.0)
    sums = labels @ apart
    within, among_all = (sums * labels).sum(1), sums.sum(1)
    between = among_all - within
    others = apart.sum() - within - 2 * between
    m = total - n
    return 2 * between / (n * m) - within / (n * (n - 1)) - others / (m * (m - 1))
