"""Annealed importance sampling from the prior of a decoder to its posterior, and back.

Source: Neal, 2001, https://arxiv.org/abs/physics/9803008; for decoders Wu, Burda, Salakhutdinov
and Grosse, 2017, https://arxiv.org/abs/1611.04273; the way back (bidirectional Monte Carlo)
Grosse, Ghahramani and Adams, 2015, https://arxiv.org/abs/1511.02543.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, final

import torch
from torch import Tensor

from gantlet.probes.hmc import Hmc, Posterior
from gantlet.probes.pace import Pace

ScheduleName = Literal["sigmoid", "linear"]

# Half the width of the stretch of the sigmoid that is used (Wu et al., 2017, section 4.1).
_RADIUS = 4.0


def schedule(name: ScheduleName, temperatures: int) -> Tensor:
    """Returns inverse temperatures from 0 (the prior) to 1 (the posterior), float64.

    Example:
        >>> [round(b, 3) for b in schedule("sigmoid", 5).tolist()]
        [0.0, 0.105, 0.5, 0.895, 1.0]
    """
    steps = torch.linspace(0, 1, temperatures, dtype=torch.float64)
    if name == "linear":
        return steps
    s = (_RADIUS * (2 * steps - 1)).sigmoid()
    return (s - s[0]) / (s[-1] - s[0])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chains:
    """What a run of chains gave; a row is a chain.

    Attributes:
        log_weight: The logarithm of each chain's importance weight, float64, shape ``(n,)``.
        acceptance: The mean acceptance probability of each chain's moves, shape ``(n,)``.
    """

    log_weight: Tensor
    acceptance: Tensor


Watch = Callable[[float, Tensor], None]
"""Told each inverse temperature, and the log-weights of the chains up to there."""


def anneal(
    posterior: Posterior,
    z: Tensor,
    betas: Tensor,
    *,
    hmc: Hmc,
    pace: Pace,
    rng: torch.Generator,
    watch: Watch | None = None,
) -> Chains:
    """Moves chains through ``p(z) p(x | z)^beta`` for each ``beta`` in turn and weighs them.

    From the prior to the posterior (``betas`` rising from 0 to 1, ``z`` drawn from the prior) the
    expected weight is ``p(x)``; on the way back (falling, ``z`` drawn from the posterior)
    it is ``1 / p(x)``. No move is made at either end, where ``z`` is such a draw already or is
    no longer needed.

    Args:
        posterior: What the chains go to, or come from.
        z: Where each chain starts, shape ``(n, latent)``.
        betas: Inverse temperatures, in the order in which they are passed.
        hmc: How the chains move.
        pace: How large their steps are.
        rng: Decides moves and acceptance.
        watch: Told of each temperature.
    """
    state = posterior.at(z)
    log_weight = torch.zeros(len(z), dtype=torch.float64, device=z.device)
    accepted = torch.zeros_like(state.log_likelihood)
    ladder = betas.tolist()
    for move, (before, beta) in enumerate(pairwise(ladder)):
        log_weight.add_(state.log_likelihood, alpha=beta - before)
        if watch is not None:
            watch(beta, log_weight)
        if move < len(ladder) - 2:
            state, chance = hmc.move(posterior, state, beta, pace.log_step(move), rng=rng)
            pace.told(chance)
            accepted += chance
    return Chains(log_weight=log_weight, acceptance=accepted / max(1, len(ladder) - 2))


def log_mean_exp(log_weight: Tensor, chains: int) -> Tensor:
    """Returns ``log mean exp`` over the chains of each data point, shape ``(n / chains,)``.

    The chains of one data point are neighbours in ``log_weight``.
    """
    each = log_weight.view(-1, chains)
    return each.logsumexp(1) - math.log(chains)
