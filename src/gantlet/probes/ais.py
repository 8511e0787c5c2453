"""Log-likelihood of decoders by annealed importance sampling."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal, final

import torch
from torch import Tensor

from gantlet.compute.meters import count
from gantlet.core.data import Space
from gantlet.core.estimate import Better, Estimate
from gantlet.core.metric import Findings
from gantlet.core.model import Model
from gantlet.core.rng import Rng
from gantlet.core.spec import Between
from gantlet.models.nets import bits_per_dim
from gantlet.probes.annealing import (
    Adapting,
    Annealer,
    Bernoulli,
    Bound,
    FlatDecoder,
    GaussianNoise,
    Hmc,
    Observation,
    Posterior,
    ScheduleName,
    anneal,
    blocks,
    decoding_of,
    log_mean_exp,
    simulate,
)
from gantlet.stats.intervals import mean

# ----------------------------------------------------------------------------
# What annealed importance sampling found, as estimates.
# ----------------------------------------------------------------------------

LOWER = "AIS log-likelihood"
BITS = "AIS bits/dim"
GAP = "AIS sandwich gap"
BELOW = "AIS lower bound, simulated samples"
ABOVE = "AIS upper bound, simulated samples"
ACCEPTANCE = "AIS acceptance"
SIGMA = "AIS sigma"
EXACT = "exact log-likelihood of the AIS samples"
OFF = "AIS minus exact log-likelihood"

_UNITS: dict[str, tuple[str, Better | None]] = {
    LOWER: ("nats", "higher"),
    BITS: ("bits/dim", "lower"),
    GAP: ("nats", "lower"),
    BELOW: ("nats", None),
    ABOVE: ("nats", None),
    ACCEPTANCE: ("1", None),
    SIGMA: ("1", None),
    EXACT: ("nats", "higher"),
    OFF: ("nats", None),
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Annealed:
    """What was found.

    Attributes:
        real: Bounds of held-out samples from below.
        below: Bounds of simulated samples from below.
        above: Bounds of the same samples from above.
        exact: The exact log-densities of the held-out samples where there is no noise, or None.
        width: The width of the noise in standard deviations of the data, or None.
        tuned: On how many samples it was tuned, or 0 where it was given.
    """

    real: Bound
    below: Bound
    above: Bound
    exact: Tensor | None
    width: float | None
    tuned: int

    @property
    def gap(self) -> Tensor:
        """Upper less lower bound of each simulated sample, in nats."""
        return self.above.value - self.below.value

    @property
    def noise(self) -> str:
        """The observation model in words."""
        if self.width is None:
            return "bernoulli"
        how = f"tuned on {self.tuned} other held-out samples" if self.tuned else "as given"
        return f"gaussian noise of {self.width:.3g} standard deviations of the data, {how}"


def missing(reason: str) -> Findings:
    """Returns findings without a number in them."""
    scores = {n: Estimate.missing(reason, unit=u, better=b) for n, (u, b) in _UNITS.items()}
    return Findings(scores=scores, clock={})


def scores(found: Annealed, settings: str, space: Space) -> dict[str, Estimate]:
    """Returns every score, the gap and all settings in the method of each."""
    gap = _mean(GAP, found.gap, f"upper minus lower bound, simulated samples, {settings}")
    both = torch.cat([found.real.acceptance, found.below.acceptance, found.above.acceptance])
    acceptance = _mean(ACCEPTANCE, both, "mean acceptance probability of all chains")
    summary = (
        f"{found.noise}, {settings}, acceptance {acceptance.value or 0:.2f}, "
        f"gap on simulated samples {_short(gap)}"
    )
    real = found.real.value
    return {
        LOWER: _mean(LOWER, real, f"lower bound, {summary}"),
        BITS: _mean(BITS, bits_per_dim(real, space), f"upper bound, {summary}"),
        GAP: gap,
        BELOW: _mean(BELOW, found.below.value, summary),
        ABOVE: _mean(ABOVE, found.above.value, summary),
        ACCEPTANCE: acceptance,
        SIGMA: _sigma(found),
        **dict(_beside(found, summary)),
    }


def _beside(found: Annealed, told: str) -> Iterator[tuple[str, Estimate]]:
    """Yields the exact likelihood of the same samples, and how far the bound is from it."""
    if found.exact is None:
        for name in (EXACT, OFF):
            unit, better = _UNITS[name]
            why = "the model has no exact density of the same numbers"
            yield name, Estimate.missing(why, unit=unit, better=better)
        return
    yield EXACT, _mean(EXACT, found.exact, "change of variables, without noise")
    yield OFF, _mean(OFF, found.real.value - found.exact, f"paired by sample, {told}")


def _sigma(found: Annealed) -> Estimate:
    if found.width is None:
        return Estimate.missing("bernoulli noise has no width")
    words = f"{found.noise}; no interval"
    return Estimate(value=found.width, n=found.tuned, method=words)


def _mean(name: str, values: Tensor, method: str) -> Estimate:
    """Returns the mean over samples with Student's t interval."""
    unit, better = _UNITS[name]
    wrong = int((~values.isfinite()).sum())
    if wrong:
        why = f"{wrong} of {len(values)} samples are not finite: {method}"
        return Estimate.missing(why, unit=unit, better=better)
    found = mean(values.double().tolist(), unit=unit, better=better, of="samples")
    return Estimate(
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        unit=unit,
        better=better,
        method=f"{method}; {found.method}",
    )


def _short(gap: Estimate) -> str:
    if gap.value is None:
        return "not finite"
    spread = "" if gap.half_width is None else f" ± {gap.half_width:.2f}"
    return f"{gap.value:.2f}{spread} nats"


# The widths that are passed, as shares of the data's standard deviation; those above the second
# only lead there from the prior.
_FROM, _LARGEST, _SMALLEST = 10.0, 2.0, 0.01
_FIRST_STEP = -2.0


def tune(
    decoding: FlatDecoder,
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
    narrow = GaussianNoise(_SMALLEST * unit)
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


# ----------------------------------------------------------------------------
# How likely held-out data are under a decoder with noise on its output, by annealing.
# ----------------------------------------------------------------------------

ObservationName = Literal["auto", "gaussian", "bernoulli"]

# Where operations are short, so many samples of each kind are kept nevertheless, and up to so
# many times the operations spent.
_FEWEST, _OVER = 8, 2.0
# Some held-out samples are judged, others set the scale and tune the width.
_LEAST = 6
# Tuning the width anneals through so many times fewer temperatures.
_TUNING = 2


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Ais:
    """The log-likelihood of held-out samples under a decoder whose output is observed with noise.

    ``p(x) = int N(z; 0, I) p(x | G(z)) dz`` is bounded from below by annealed importance sampling
    (Neal, 2001), for each sample by ``log mean`` over chains that Hamiltonian Monte Carlo moves
    from the prior to the posterior. How loose the bound is shows on samples that the model draws
    itself: there a second run, back from the exact posterior, bounds the same number from above
    (Grosse et al., 2015). The mean distance of the two is the gap.

    The noise is part of the model: normal with one width relative to the data's standard
    deviation (of each component of a vector, of all components of an image together), or, where
    a component has two levels, none but the draw of the level (``bernoulli``). The width is tuned
    on held-out samples that are not among those judged. Discrete samples are dequantised, so that
    the density bounds the probability of the levels. Of a flow the exact density of the same
    samples is given beside it; it has no noise and is another model's.

    Source: Wu, Burda, Salakhutdinov and Grosse, 2017, https://arxiv.org/abs/1611.04273.

    Differs from the paper: fewer chains and temperatures by default; step sizes are those that
    the chains of a pilot run have adapted to for each sample and temperature, since a chain that
    adapts to its own past makes the bounds wrong; the width is relative to the data, and tuned by
    one run that passes all widths.

    Attributes:
        temperatures: How many, prior and posterior included.
        chains: Independent chains of each sample.
        points: How many samples to judge, at most; fewer where they cost more than ``flops``.
        simulated: How many simulated samples measure the gap, at most.
        tuning: How many samples tune the width, at most.
        leapfrogs: Steps in one trajectory of Hamiltonian Monte Carlo.
        schedule: How the temperatures are spread; ``linear`` needs several times as many.
        observation: The noise; ``auto`` is ``bernoulli`` for two levels and ``gaussian`` else.
        sigma: The width of normal noise, in standard deviations of the data; ``none`` tunes it.
        flops: About how many operations to spend.
    """

    temperatures: Annotated[int, Between(3)] = 500
    chains: Annotated[int, Between(1)] = 4
    points: Annotated[int, Between(2)] = 48
    simulated: Annotated[int, Between(2)] = 16
    tuning: Annotated[int, Between(2)] = 16
    leapfrogs: Annotated[int, Between(1)] = 10
    schedule: ScheduleName = "sigmoid"
    observation: ObservationName = "auto"
    sigma: Annotated[float, Between(1e-6)] | None = None
    flops: Annotated[float, Between(0)] = 5e11

    @torch.no_grad()
    def inspect(self, model: Model, real: Tensor, *, rng: Rng) -> Findings:
        """Returns the bounds as scores, each with how it was obtained."""
        kind = self._kind(model.space)
        decoding = decoding_of(model, dequantised=kind == "gaussian")
        if decoding is None:
            return missing("the model has no latent vectors to integrate over")
        reason = _obstacle(decoding, kind, real) or decoding.fault(rng=rng.stream("ais check"))
        if reason is not None:
            return missing(reason)
        cost = self._cost(decoding, real, rng)
        few = self._few(len(real), cost)
        if few.passes * cost > _OVER * self.flops:
            return missing(
                f"would take {few.passes * cost:.1e} FLOPs for {few.points} samples: give more "
                f"flops than {self.flops:.0e}, or fewer temperatures or chains"
            )
        found = few.measure(decoding, real, rng)
        return Findings(scores=scores(found, few.told, model.space), clock={})

    @property
    def passes(self) -> float:
        """How many times a single latent vector is decoded and its slope pulled back."""
        how = self._annealer()
        bounds = self.points * (how.temperatures + how.pilot)
        bounds += self.simulated * (2 * how.temperatures + how.pilot)
        return self.leapfrogs * self.chains * (bounds + self.tuning * self._widths)

    @property
    def told(self) -> str:
        """The settings, as the method of every score names them."""
        return (
            f"{self.chains} chains, {self.temperatures} temperatures ({self.schedule}), "
            f"{self.leapfrogs} leapfrogs"
        )

    @property
    def _widths(self) -> int:
        """How many widths of the noise are passed while it is tuned."""
        return max(3, self.temperatures // _TUNING)

    def _annealer(self) -> Annealer:
        return Annealer(
            temperatures=self.temperatures,
            chains=self.chains,
            schedule=self.schedule,
            hmc=Hmc(leapfrogs=self.leapfrogs),
        )

    def _kind(self, space: Space) -> str:
        if self.observation != "auto":
            return self.observation
        return "bernoulli" if space.levels == 2 else "gaussian"

    def _cost(self, decoding: FlatDecoder, real: Tensor, rng: Rng) -> float:
        """Returns the operations of one step of one chain."""
        stream = rng.stream("ais cost")
        z = decoding.prior(self.chains, rng=stream)
        x = decoding.flat(real[:1], rng=stream).expand(len(z), -1)
        posterior = Posterior(decoding, Bernoulli(), x)
        return count(lambda: posterior.slope(z)).flops / len(z)

    def _few(self, held_out: int, cost: float) -> "Ais":
        """Returns the same for as many samples as there are, and as operations last for."""
        total = self.passes * cost
        share = min(1.0, self.flops / total) if total else 1.0
        third = held_out // 3
        tuning = min(self.tuning, third)
        return replace(
            self,
            points=min(_shrunk(self.points, share), held_out - tuning),
            simulated=_shrunk(self.simulated, share),
            tuning=min(_shrunk(self.tuning, share), third),
        )

    def measure(self, decoding: FlatDecoder, real: Tensor, rng: Rng) -> Annealed:
        """Bounds the first samples of ``real``, the noise tuned on those behind them."""
        x = decoding.flat(real, rng=rng.stream("ais samples"))
        judged, rest = x[: self.points], x[self.points :]
        width, observation = self._observation(decoding, rest, rng)
        how = self._annealer()
        z, drawn = simulate(decoding, observation, self.simulated, rng=rng.stream("ais simulated"))
        below = how.lower(decoding, observation, drawn, rng=rng.stream("ais below"))
        above = how.upper(
            decoding, observation, drawn, z, pace=below.pace, rng=rng.stream("ais above")
        )
        return Annealed(
            real=how.lower(decoding, observation, judged, rng=rng.stream("ais")),
            below=below,
            above=above,
            exact=decoding.exact(judged),
            width=width,
            tuned=self.tuning if self.sigma is None else 0,
        )

    def _observation(
        self, decoding: FlatDecoder, rest: Tensor, rng: Rng
    ) -> tuple[float | None, Observation]:
        """Returns the width of the noise, in standard deviations of the data, and the noise."""
        if self._kind(decoding.space) == "bernoulli":
            return None, Bernoulli()
        unit = spread(rest, each=decoding.space.kind != "image")
        width = self.sigma
        if width is None:
            width = tune(
                decoding,
                rest[: self.tuning],
                unit,
                temperatures=self._widths,
                chains=self.chains,
                hmc=Hmc(leapfrogs=self.leapfrogs),
                rng=rng.stream("ais sigma"),
            )
        return width, GaussianNoise(width * unit)


def _obstacle(decoding: FlatDecoder, kind: str, real: Tensor) -> str | None:
    if kind == "bernoulli" and decoding.space.levels != 2:
        return f"bernoulli noise needs samples of two levels. Got {decoding.space.label}"
    if len(real) < _LEAST:
        return f"needs {_LEAST} held-out samples, including those for tuning. Got {len(real)}"
    return None


def _shrunk(n: int, share: float) -> int:
    return min(n, max(_FEWEST, int(n * share)))
