"""Hamiltonian Monte Carlo in the latent space of a decoder, many chains at once.

Source: Neal, 2011, https://arxiv.org/abs/1206.1901, figure 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.probes.observation import Observation


@final
@dataclass(frozen=True, slots=True)
class State:
    """Where each chain is, and what is known there.

    Attributes:
        z: Latent vectors, shape ``(n, latent)``.
        log_likelihood: ``log p(x | z)`` in nats, shape ``(n,)``.
        slope: Its gradient with respect to ``z``, shape ``(n, latent)``.
    """

    z: Tensor
    log_likelihood: Tensor
    slope: Tensor


@final
class Posterior:
    """``p(z) p(x | z)`` of one data point for each chain, with a standard normal prior.

    Args:
        decode: Maps latent vectors ``(n, latent)`` to flat outputs ``(n, size)``.
        observation: The distribution of a sample around an output.
        x: The data point of each chain, flat, shape ``(n, size)``.
    """

    def __init__(
        self, decode: Callable[[Tensor], Tensor], observation: Observation, x: Tensor
    ) -> None:
        self._decode = decode
        self._observation = observation
        self._x = x

    def at(self, z: Tensor) -> State:
        """Returns likelihood and slope at ``z``."""
        y, slope = self._pull(z)
        return State(z, self._observation.log_prob(self._x, y), slope)

    def slope(self, z: Tensor) -> Tensor:
        """Returns the slope alone, which is all that a leapfrog step needs."""
        return self._pull(z)[1]

    @torch.enable_grad()
    def _pull(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Returns outputs and the slope, pulled back through the decoder alone.

        The gradient with respect to the output is known in closed form, so that autograd need
        not go through the likelihood.
        """
        z = z.detach().requires_grad_()
        y = self._decode(z)
        seen = y.detach()
        (slope,) = torch.autograd.grad(y, z, self._observation.slope(self._x, seen))
        return seen, slope


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Hmc:
    """How chains move.

    Attributes:
        leapfrogs: Steps in one trajectory.
    """

    leapfrogs: int = 10

    def move(
        self,
        posterior: Posterior,
        state: State,
        beta: float,
        log_step: Tensor,
        *,
        rng: torch.Generator,
    ) -> tuple[State, Tensor]:
        """Returns where ``p(z) p(x | z)^beta`` moves the chains, and the acceptance probability.

        A trajectory that ends in a number that is not finite is rejected.
        """
        z = state.z
        step = log_step.exp().unsqueeze(1)
        v = torch.randn(z.shape, generator=rng, device=z.device, dtype=z.dtype)
        before = _energy(state, v, beta)
        moved, v = self._leapfrog(posterior, state, v, beta, step)
        chance = (before - _energy(moved, v, beta)).exp().clamp(max=1).nan_to_num(0.0)
        uniform = torch.rand(chance.shape, generator=rng, device=z.device, dtype=z.dtype)
        return _choose(uniform < chance, moved, state), chance

    def _leapfrog(
        self, posterior: Posterior, state: State, v: Tensor, beta: float, step: Tensor
    ) -> tuple[State, Tensor]:
        z, half = state.z, step / 2
        v = torch.addcmul(v, half, torch.sub(beta * state.slope, z))
        for _ in range(self.leapfrogs - 1):
            z = torch.addcmul(z, step, v)
            v = torch.addcmul(v, step, torch.sub(beta * posterior.slope(z), z))
        end = posterior.at(torch.addcmul(z, step, v))
        return end, torch.addcmul(v, half, torch.sub(beta * end.slope, end.z))


def _energy(state: State, v: Tensor, beta: float) -> Tensor:
    """The Hamiltonian, up to a constant."""
    return 0.5 * (state.z.square() + v.square()).sum(1) - beta * state.log_likelihood


def _choose(accept: Tensor, new: State, old: State) -> State:
    each = accept.unsqueeze(1)
    return State(
        torch.where(each, new.z, old.z),
        torch.where(accept, new.log_likelihood, old.log_likelihood),
        torch.where(each, new.slope, old.slope),
    )
