"""What annealed importance sampling found, as estimates."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gantlet.core.estimate import Better, Estimate
from gantlet.core.intervals import mean
from gantlet.core.measure import Findings
from gantlet.core.space import Space
from gantlet.nets.scaling import bits_per_dim
from gantlet.probes.sandwich import Bound

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
    gap = _mean(GAP, found.gap, f"upper less lower bound, simulated samples, {settings}")
    both = torch.cat([found.real.acceptance, found.below.acceptance, found.above.acceptance])
    acceptance = _mean(ACCEPTANCE, both, "mean acceptance probability of all chains")
    told = (
        f"{found.noise}, {settings}, acceptance {acceptance.value or 0:.2f}, "
        f"gap on simulated samples {_short(gap)}"
    )
    real = found.real.value
    return {
        LOWER: _mean(LOWER, real, f"lower bound, {told}"),
        BITS: _mean(BITS, bits_per_dim(real, space), f"upper bound, {told}"),
        GAP: gap,
        BELOW: _mean(BELOW, found.below.value, told),
        ABOVE: _mean(ABOVE, found.above.value, told),
        ACCEPTANCE: acceptance,
        SIGMA: _sigma(found),
        **dict(_beside(found, told)),
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
        why = f"{wrong} of {len(values)} samples have no finite value: {method}"
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
