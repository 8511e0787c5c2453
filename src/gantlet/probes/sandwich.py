"""Bounds of log-likelihoods by annealing: of any sample from below, of simulated ones from above.

Bidirectional Monte Carlo (Grosse, Ghahramani and Adams, 2015, https://arxiv.org/abs/1511.02543):
the model itself draws ``z`` and then ``x``, so that ``z`` is an exact draw from the posterior of
``x``; chains that start there bound ``log p(x)`` from above.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from gantlet.probes.annealing import Chains, ScheduleName, anneal, log_mean_exp, schedule
from gantlet.probes.decoding import Decoding
from gantlet.probes.hmc import Hmc, Posterior
from gantlet.probes.observation import Observation
from gantlet.probes.pace import Adapting, Fixed, stretched

DECODED_AT_ONCE = 2**20
"""Outputs of the decoder that are held at a time, in numbers, for memory's sake."""

# The logarithm of the step size with which a pilot starts at the prior, whose width is 1.
_FIRST_STEP = -2.0
# A pilot passes a share of the temperatures, but not fewer than this where there are as many.
_PILOT, _SHORTEST = 10, 100


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Bounds of ``log p(x)``, one for each data point.

    Attributes:
        value: The bounds in nats, float64, shape ``(n,)``.
        acceptance: The mean acceptance probability of each point's chains, shape ``(n,)``.
        pace: The logarithms of the step sizes by move and point, shape ``(moves, n)``.
    """

    value: Tensor
    acceptance: Tensor
    pace: Tensor


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Annealer:
    """How to anneal; samples ``x`` are flat, shape ``(n, size)``.

    Attributes:
        temperatures: How many, prior and posterior included.
        chains: Independent chains of each data point.
        schedule: How the temperatures are spread.
        hmc: How the chains move.
    """

    temperatures: int
    chains: int
    schedule: ScheduleName = "sigmoid"
    hmc: Hmc = field(default_factory=Hmc)

    @property
    def pilot(self) -> int:
        """How many temperatures the pilot run passes."""
        return max(self.temperatures // _PILOT, min(self.temperatures, _SHORTEST))

    def lower(
        self, decoding: Decoding, observation: Observation, x: Tensor, *, rng: torch.Generator
    ) -> Bound:
        """Returns a stochastic lower bound of ``log p(x)``.

        Its expectation is at most ``log p(x)``, the closer the more temperatures and chains.
        """
        pace = self._paces(decoding, observation, x, rng)
        betas = schedule(self.schedule, self.temperatures)
        found: list[Chains] = []
        for index in blocks(x, self.chains):
            z = decoding.prior(len(index), rng=rng)
            posterior = Posterior(decoding, observation.rows(index), x[index])
            steps = Fixed(pace[:, index])
            found.append(anneal(posterior, z, betas, hmc=self.hmc, pace=steps, rng=rng))
        return self._bound(found, pace, 1)

    def upper(
        self,
        decoding: Decoding,
        observation: Observation,
        x: Tensor,
        z: Tensor,
        *,
        pace: Tensor,
        rng: torch.Generator,
    ) -> Bound:
        """Returns a stochastic upper bound of ``log p(x)``.

        Args:
            decoding: The decoder.
            observation: The distribution around its outputs, from which ``x`` was drawn.
            x: Simulated samples.
            z: The latent vectors that they were simulated from, shape ``(n, latent)``.
            pace: The steps of the lower bound's chains, which are taken in reverse.
            rng: Decides moves and acceptance.
        """
        betas = schedule(self.schedule, self.temperatures).flip(0)
        found: list[Chains] = []
        for index in blocks(x, self.chains):
            posterior = Posterior(decoding, observation.rows(index), x[index])
            steps = Fixed(pace[:, index].flip(0))
            found.append(anneal(posterior, z[index], betas, hmc=self.hmc, pace=steps, rng=rng))
        return self._bound(found, pace, -1)

    def _paces(
        self, decoding: Decoding, observation: Observation, x: Tensor, rng: torch.Generator
    ) -> Tensor:
        """Returns the logarithms of step sizes to which chains of each point adapt, on average.

        They take shape ``(moves, n)``.
        """
        betas = schedule(self.schedule, self.pilot)
        found: list[Tensor] = []
        for index in blocks(x, self.chains):
            z = decoding.prior(len(index), rng=rng)
            posterior = Posterior(decoding, observation.rows(index), x[index])
            pace = Adapting(torch.full_like(z[:, 0], _FIRST_STEP))
            anneal(posterior, z, betas, hmc=self.hmc, pace=pace, rng=rng)
            found.append(pace.path().view(self.pilot - 2, -1, self.chains).mean(2))
        return stretched(torch.cat(found, 1), self.temperatures - 2)

    def _bound(self, found: list[Chains], pace: Tensor, sign: int) -> Bound:
        log_weight = torch.cat([c.log_weight for c in found])
        acceptance = torch.cat([c.acceptance for c in found])
        return Bound(
            value=sign * log_mean_exp(log_weight, self.chains),
            acceptance=acceptance.view(-1, self.chains).mean(1),
            pace=pace,
        )


@torch.no_grad()
def simulate(
    decoding: Decoding, observation: Observation, n: int, *, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Returns latent vectors and flat samples that the model draws from them."""
    z = decoding.prior(n, rng=rng)
    return z, observation.sample(decoding(z), rng=rng)


def blocks(x: Tensor, chains: int) -> Iterator[Tensor]:
    """Yields for each chain of a block the data point of ``x`` that it belongs to."""
    points = max(1, DECODED_AT_ONCE // x.shape[1] // chains)
    for part in torch.split(torch.arange(len(x), device=x.device), points):
        yield part.repeat_interleave(chains)
