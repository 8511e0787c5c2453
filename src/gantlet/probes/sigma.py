"""Which width of Gaussian noise around a decoder makes held-out samples most likely."""

import math
from collections import defaultdict

import torch
from torch import Tensor

from gantlet.probes.annealing import anneal, log_mean_exp
from gantlet.probes.decoding import Decoding
from gantlet.probes.hmc import Hmc, Posterior
from gantlet.probes.observation import Gaussian
from gantlet.probes.pace import Adapting
from gantlet.probes.sandwich import blocks

# The widths that are passed, as shares of the data's standard deviation; those above the second
# only lead there from the prior.
_FROM, _LARGEST, _SMALLEST = 10.0, 2.0, 0.01
_FIRST_STEP = -2.0


def tune(
    decoding: Decoding,
    x: Tensor,
    unit: Tensor,
    *,
    temperatures: int,
    chains: int,
    hmc: Hmc,
    rng: torch.Generator,
) -> float:
    """Returns the width, in ``unit``, with the largest bound of the mean ``log p(x)``.

    One run serves all widths: ``p(z) N(x; G(z), s^2)^b`` is, but for a constant, the posterior
    for the width ``s / sqrt(b)``. So chains that are annealed to the smallest width pass all
    larger ones, and their weights bound the likelihood at each.

    Args:
        decoding: The decoder.
        x: Flat held-out samples, shape ``(n, size)``, not among those that are judged.
        unit: The standard deviation of the data, shape ``(size,)`` or ``(1,)``.
        temperatures: How many widths to pass.
        chains: Independent chains of each sample.
        hmc: How the chains move.
        rng: Decides all draws.
    """
    narrow = Gaussian(_SMALLEST * unit)
    ladder = torch.linspace(2 * math.log(_SMALLEST / _FROM), 0, temperatures - 1).double().exp()
    betas = torch.cat([ladder.new_zeros(1), ladder])
    volume, size = float(narrow.log_volume(x.shape[1])), x.shape[1]
    totals: defaultdict[float, float] = defaultdict(float)

    def watch(beta: float, log_weight: Tensor) -> None:
        totals[beta] += float(log_mean_exp(log_weight, chains).sum())

    for index in blocks(x, chains):
        z = decoding.prior(len(index), rng=rng)
        pace = Adapting(torch.full_like(z[:, 0], _FIRST_STEP))
        posterior = Posterior(decoding, narrow, x[index])
        anneal(posterior, z, betas, hmc=hmc, pace=pace, rng=rng, watch=watch)
    found = {
        _SMALLEST / math.sqrt(b): t / len(x) - (1 - b) * volume + 0.5 * size * math.log(b)
        for b, t in totals.items()
        if _SMALLEST / math.sqrt(b) <= _LARGEST
    }
    return max(found, key=lambda width: found[width])


def spread(x: Tensor, *, each: bool) -> Tensor:
    """Returns the standard deviation of flat samples: of each component, or of all together.

    Components that never change count as of width 1.
    """
    std = x.std(0) if each else x.std().expand(1)
    return torch.where(std > 0, std, torch.ones_like(std))
