"""Annealed importance sampling and Hamiltonian Monte Carlo.

Source: Neal, 2001, https://arxiv.org/abs/physics/9803008; for decoders Wu, Burda, Salakhutdinov
and Grosse, 2017, https://arxiv.org/abs/1611.04273; the way back (bidirectional Monte Carlo)
Grosse, Ghahramani and Adams, 2015, https://arxiv.org/abs/1511.02543.
"""

import abc
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from gantlet.core.model import Decoder, Invertible, Model
from gantlet.models.nets import Scaling

# Latent vectors by which the prior is checked to be standard normal, and the standard errors
# allowed.
_DRAWS, _ERRORS = 4096, 6.0
# How many are decoded to check that outputs are finite and differentiable.
_FEW = 16
# How far, in nats for each component, a density may be from that of standard normal codes.
_ROUNDING = 1e-2


@final
class FlatDecoder:
    """A decoder with flat outputs, in the numbers that an observation model speaks of.

    Of a discrete space these are dequantised levels in ``[0, levels)``, so that densities bound
    the probabilities of levels, or for two levels the mean, from 0 to 1. A flow's codes are
    latent vectors as long as a sample.

    Args:
        model: The model; its latent vectors are taken to be standard normal.
        dequantised: Whether levels are dequantised.
    """

    def __init__(self, model: Decoder | Invertible, *, dequantised: bool) -> None:
        self.model = model
        self.space = model.space
        self.latent = model.latent_dim if isinstance(model, Decoder) else self.space.size
        self.dtype = next((p.dtype for p in model.parameters()), torch.float32)
        self._dequantised = dequantised
        # Of a level, a decoder gives the level itself, a flow the middle of its interval.
        self._shift = 0.0
        if self.space.levels is not None:
            self._shift = 0.5 * (float(dequantised) - float(isinstance(model, Invertible)))

    def __call__(self, z: Tensor) -> Tensor:
        """Returns the output of each latent vector, shape ``(n, space.size)``."""
        y = self.model.decode(z).flatten(1)
        return y + self._shift if self._shift else y

    def prior(self, n: int, *, rng: torch.Generator) -> Tensor:
        """Returns standard normal latent vectors, shape ``(n, latent)``."""
        return torch.randn(n, self.latent, generator=rng, device=rng.device, dtype=self.dtype)

    def flat(self, x: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns samples of the space, shape ``(n, *space.shape)``, as outputs are."""
        x = x.to(self.dtype)
        if self._dequantised:
            x = Scaling(self.space).dequantise(x, rng=rng)
        return x.flatten(1)

    @torch.no_grad()
    def exact(self, x: Tensor) -> Tensor | None:
        """Returns the exact log-density of flat samples in nats, or None of a mere decoder."""
        if not isinstance(self.model, Invertible) or not self._fits(self.space.levels):
            return None
        z, log_det = self.model.encode(x.view(-1, *self.space.shape))
        return _log_normal(z) + log_det.double()

    def _fits(self, levels: int | None) -> bool:
        """Whether the exact density is one of the same numbers as the observation model's."""
        return levels is None or self._dequantised

    def fault(self, *, rng: torch.Generator) -> str | None:
        """Returns why the model cannot be annealed, or None."""
        z = self.prior(_FEW, rng=rng)
        with torch.enable_grad():
            y = self(z.requires_grad_())
        wrong = int((~y.isfinite()).any(1).sum())
        if wrong:
            return f"the decoder gave NaN or infinity for {wrong} of {_FEW} latent vectors"
        if not y.requires_grad:
            return "the decoder is not differentiable"
        if not self._is_normal(rng):
            return "the latent prior is not standard normal"
        return None

    @torch.no_grad()
    def _is_normal(self, rng: torch.Generator) -> bool:
        if isinstance(self.model, Decoder):
            return _looks_normal(self.model.prior(_DRAWS, rng=rng).double())
        if self.space.levels is not None:
            return True
        # The density of a flow's samples shows what density it gives to their codes.
        x = self.model.sample(_FEW, rng=rng).to(self.dtype)
        z, log_det = self.model.encode(x)
        claimed = self.model.log_prob(x, rng=rng)
        off = (claimed.value - _log_normal(z) - log_det).abs() / self.space.size
        return claimed.kind != "exact" or bool((off < _ROUNDING).all())


def _log_normal(z: Tensor) -> Tensor:
    z = z.double()
    return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))


def _looks_normal(z: Tensor) -> bool:
    """Whether mean, variance and fourth moment over all components are those of N(0, 1)."""
    moments = ((z, 0.0, 1.0), (z.square(), 1.0, 2.0), (z.square().square(), 3.0, 96.0))
    bound = _ERRORS / math.sqrt(z.numel())
    return all(
        abs(float(power.mean()) - mean) < bound * math.sqrt(variance)
        for power, mean, variance in moments
    )


def decoding_of(model: Model, *, dequantised: bool) -> FlatDecoder | None:
    """Returns the decoding of a decoder or a flow, or None of any other model."""
    if isinstance(model, Decoder | Invertible):
        return FlatDecoder(model, dequantised=dequantised)
    return None


# Step sizes of chains: adapted in a pilot run, then fixed.
#
# Step sizes that follow a chain's own decisions make its weights wrong: where a chain is then
# depends on how it moved, and its moves no longer leave the distribution of each temperature as it
# is. On a linear decoder of 3 latents and 20 numbers the mean weight was 1.25 times the
# likelihood, so that the lower bound lay above the truth. So a short pilot run, of other chains,
# adapts the steps, and those that are weighed use its result.


# Bounds of a step's logarithm: about 1e-6 and 2.7.
_LEAST_STEP, _MOST = -14.0, 1.0


class StepSizes(abc.ABC):
    """The logarithm of each chain's step size, move by move."""

    @abc.abstractmethod
    def log_step(self, move: int) -> Tensor:
        """Returns the logarithms for a move, counted from 0, shape ``(n,)``."""

    def adapt(self, chance: Tensor) -> None:
        """Adapts the steps to the acceptance probabilities of the last move, shape ``(n,)``.

        Fixed steps ignore them.
        """


@final
class Fixed(StepSizes):
    """Steps that are known beforehand.

    Args:
        path: Their logarithms, shape ``(moves, n)``.
    """

    def __init__(self, path: Tensor) -> None:
        self._path = path

    @override
    def log_step(self, move: int) -> Tensor:
        return self._path[move]


@final
class Adapting(StepSizes):
    """Steps of which each follows its own chain, by the Robbins-Monro rule.

    Its logarithm moves by ``rate`` times what the acceptance probability is above ``target``.

    Args:
        first: The logarithms for the first move, shape ``(n,)``.
        target: The acceptance to adapt to.
        rate: How fast.
    """

    def __init__(self, first: Tensor, *, target: float = 0.65, rate: float = 0.5) -> None:
        self._now = first
        self._target = target
        self._rate = rate
        self._heard: list[Tensor] = []

    @override
    def log_step(self, move: int) -> Tensor:
        return self._now

    @override
    def adapt(self, chance: Tensor) -> None:
        self._now = (self._now + self._rate * (chance - self._target)).clamp(_LEAST_STEP, _MOST)
        self._heard.append(self._now)

    def path(self) -> Tensor:
        """Returns the logarithms to which each move has led, shape ``(moves, n)``."""
        return torch.stack(self._heard)


def stretched(path: Tensor, moves: int) -> Tensor:
    """Returns steps of another number of moves, interpolated, shape ``(moves, n)``."""
    across = path.T.unsqueeze(0)
    return functional.interpolate(across, size=moves, mode="linear", align_corners=True)[0].T


# A probability of exactly 0 or 1 would make one wrong component infinitely unlikely.
_LEAST = 1e-6


class Observation(abc.ABC):
    """A distribution with independent components around ``y``, the output of a decoder.

    Samples and outputs are flat, shape ``(n, size)``.
    """

    @abc.abstractmethod
    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns ``log p(x | y)`` in nats, shape ``(n,)``."""

    @abc.abstractmethod
    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns the gradient of ``log p(x | y)`` with respect to ``y``, shape ``(n, size)``."""

    @abc.abstractmethod
    def sample(self, y: Tensor, *, rng: torch.Generator) -> Tensor:
        """Returns one sample around each output."""

    @abc.abstractmethod
    def rows(self, index: Tensor) -> "Observation":
        """Returns the distribution of the rows at ``index``, where rows differ."""


@final
class GaussianNoise(Observation):
    """Independent normal noise around the output.

    Args:
        sigma: Its standard deviation, above 0: of every component ``(size,)``, of every row
            ``(n, 1)``, of both ``(n, size)``, or one number ``(1,)``.
    """

    def __init__(self, sigma: Tensor) -> None:
        self.sigma = sigma
        self._precision = sigma.square().reciprocal()

    @override
    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        distance = ((x - y) / self.sigma).square().sum(1)
        return -0.5 * distance - self.log_volume(x.shape[1])

    @override
    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.sub(x, y).mul_(self._precision)

    @override
    def sample(self, y: Tensor, *, rng: torch.Generator) -> Tensor:
        noise = torch.randn(y.shape, generator=rng, device=y.device, dtype=y.dtype)
        return y + self.sigma * noise

    @override
    def rows(self, index: Tensor) -> "GaussianNoise":
        return GaussianNoise(self.sigma[index]) if self.sigma.ndim == 2 else self

    def log_volume(self, size: int) -> Tensor:
        """Returns the logarithm of the normalising constant of ``size`` components."""
        spread = self.sigma.log()
        total = spread.sum(-1) if spread.shape[-1] == size else size * spread.squeeze(-1)
        return total + 0.5 * size * math.log(2 * math.pi)


@final
class Bernoulli(Observation):
    """Components that are 0 or 1; the output is the probability of 1, kept inside (0, 1)."""

    @override
    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        p = y.clamp(_LEAST, 1 - _LEAST)
        return (x * p.log() + (1 - x) * (-p).log1p()).sum(1)

    @override
    def slope(self, x: Tensor, y: Tensor) -> Tensor:
        p = y.clamp(_LEAST, 1 - _LEAST)
        return (x - p) / (p * (1 - p))

    @override
    def sample(self, y: Tensor, *, rng: torch.Generator) -> Tensor:
        uniform = torch.rand(y.shape, generator=rng, device=y.device, dtype=y.dtype)
        return (uniform < y.clamp(_LEAST, 1 - _LEAST)).to(y.dtype)

    @override
    def rows(self, index: Tensor) -> "Bernoulli":
        return self


# Hamiltonian Monte Carlo in the latent space of a decoder, many chains at once.
#
# Source: Neal, 2011, https://arxiv.org/abs/1206.1901, figure 2.


@final
@dataclass(frozen=True, slots=True)
class ChainState:
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

    def at(self, z: Tensor) -> ChainState:
        """Returns likelihood and slope at ``z``."""
        y, slope = self._pull(z)
        return ChainState(z, self._observation.log_prob(self._x, y), slope)

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
        state: ChainState,
        beta: float,
        log_step: Tensor,
        *,
        rng: torch.Generator,
    ) -> tuple[ChainState, Tensor]:
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
        self, posterior: Posterior, state: ChainState, v: Tensor, beta: float, step: Tensor
    ) -> tuple[ChainState, Tensor]:
        z, half = state.z, step / 2
        v = torch.addcmul(v, half, torch.sub(beta * state.slope, z))
        for _ in range(self.leapfrogs - 1):
            z = torch.addcmul(z, step, v)
            v = torch.addcmul(v, step, torch.sub(beta * posterior.slope(z), z))
        end = posterior.at(torch.addcmul(z, step, v))
        return end, torch.addcmul(v, half, torch.sub(beta * end.slope, end.z))


def _energy(state: ChainState, v: Tensor, beta: float) -> Tensor:
    """The Hamiltonian, up to a constant."""
    return 0.5 * (state.z.square() + v.square()).sum(1) - beta * state.log_likelihood


def _choose(accept: Tensor, new: ChainState, old: ChainState) -> ChainState:
    each = accept.unsqueeze(1)
    return ChainState(
        torch.where(each, new.z, old.z),
        torch.where(accept, new.log_likelihood, old.log_likelihood),
        torch.where(each, new.slope, old.slope),
    )


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
    pace: StepSizes,
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
            pace.adapt(chance)
            accepted += chance
    return Chains(log_weight=log_weight, acceptance=accepted / max(1, len(ladder) - 2))


def log_mean_exp(log_weight: Tensor, chains: int) -> Tensor:
    """Returns ``log mean exp`` over the chains of each data point, shape ``(n / chains,)``.

    The chains of one data point are neighbours in ``log_weight``.
    """
    each = log_weight.view(-1, chains)
    return each.logsumexp(1) - math.log(chains)


# ----------------------------------------------------------------------------
# Bounds of log-likelihoods by annealing: of any sample from below, of simulated ones from above.
#
# Bidirectional Monte Carlo (Grosse, Ghahramani and Adams, 2015, https://arxiv.org/abs/1511.02543):
# the model itself draws ``z`` and then ``x``, so that ``z`` is an exact draw from the posterior of
# ``x``; chains that start there bound ``log p(x)`` from above.
# ----------------------------------------------------------------------------

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
        self, decoding: FlatDecoder, observation: Observation, x: Tensor, *, rng: torch.Generator
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
        decoding: FlatDecoder,
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
        self, decoding: FlatDecoder, observation: Observation, x: Tensor, rng: torch.Generator
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
    decoding: FlatDecoder, observation: Observation, n: int, *, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Returns latent vectors and flat samples that the model draws from them."""
    z = decoding.prior(n, rng=rng)
    return z, observation.sample(decoding(z), rng=rng)


def blocks(x: Tensor, chains: int) -> Iterator[Tensor]:
    """Yields for each chain of a block the data point of ``x`` that it belongs to."""
    points = max(1, DECODED_AT_ONCE // x.shape[1] // chains)
    for part in torch.split(torch.arange(len(x), device=x.device), points):
        yield part.repeat_interleave(chains)
