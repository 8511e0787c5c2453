"""What trainings at several batch sizes say: critical batches, and noise against instability."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

from gantlet.commands.batch.trial import Course
from gantlet.core.errors import UserError
from gantlet.core.estimate import Estimate
from gantlet.core.rng import Rng
from gantlet.games.noise import TOGETHER, Metric
from gantlet.stats.intervals import holm_adjusted, mean, paired, proportion, t_quantile
from gantlet.stats.noise_scale import (
    Hyperbola,
    Parts,
    fit_critical_batch,
    pooled,
    predicted_critical_batch,
    steps_saved,
)

# Parts of a training in which its noise is pooled.
_WINDOWS = 8
# A share of trainings that lose their progress which would be no surprise.
_RARE = 0.05


@final
class Sweep:
    """Trainings at several batch sizes.

    Args:
        courses: The trainings.
        base: The batch that was asked for.
    """

    def __init__(self, courses: Sequence[Course], base: int) -> None:
        self.courses = courses
        self.base = base
        self.batches = sorted({c.batch for c in courses})

    def at(self, batch: int) -> list[Course]:
        """Returns the trainings at one batch."""
        return [c for c in self.courses if c.batch == batch]

    @property
    def metric(self) -> Metric:
        """The coordinates of the solver: those of Adam, where it keeps second moments."""
        seen = [s for c in self.at(self.base) for s in c.ledger.looks]
        return "adam" if seen and all("adam" in s.parts for s in seen) else "plain"

    @property
    def players(self) -> list[str]:
        """The players that were seen, and all together where there are several."""
        found = [c.ledger.players("plain") for c in self.at(self.base) if c.ledger.looks]
        return found[0] if found else []

    @property
    def whole(self) -> str | None:
        """The player whose critical batch is that of the training."""
        players = self.players
        return TOGETHER if TOGETHER in players else (players[0] if players else None)

    # ------------------------------------------------------------------------
    # Gradient noise at the batch that was asked for.
    # ------------------------------------------------------------------------

    def scale(self, player: str, metric: Metric) -> Estimate:
        """Returns the noise scale of a player over all trainings."""
        found = [p for c in self.at(self.base) for p in c.ledger.parts(player, metric)]
        if not found:
            return Estimate.missing("no look at the gradients", unit="examples")
        return pooled(found).scale()

    def windows(self, player: str, metric: Metric) -> list[tuple[float, Parts]]:
        """Returns numerator and denominator in parts of the training, over all seeds."""
        several = [c.ledger.windows(player, metric, _WINDOWS) for c in self.at(self.base)]
        several = [w for w in several if w]
        count = min(map(len, several), default=0)
        return [
            (float(several[0][i][0]), pooled([w[i][1] for w in several])) for i in range(count)
        ]

    def critical(self, player: str) -> Estimate:
        """Returns the critical batch that a player's gradient noise predicts."""
        windows = [p for _, p in self.windows(player, self.metric)]
        return predicted_critical_batch(windows, self.base, rng=Rng(0).stream("draws"))

    # ------------------------------------------------------------------------
    # Steps to a target.
    # ------------------------------------------------------------------------

    @property
    def target(self) -> float | None:
        """The validation loss that all trainings reach that do not diverge."""
        best = [min(c.smooth) for c in self.courses if c.values]
        return max(best, default=None)

    def steps(self) -> tuple[list[float], list[float]]:
        """Returns batch and steps to the target of each training that reached it."""
        target = self.target
        if target is None:
            return [], []
        found = [(float(c.batch), c.steps_to(target)) for c in self.courses if c.values]
        known = [(b, s) for b, s in found if s is not None]
        return [b for b, _ in known], [s for _, s in known]

    def measured(self) -> Hyperbola | None:
        """Returns the hyperbola through the steps to the target, or None where there is none."""
        try:
            return fit_critical_batch(*self.steps())
        except UserError:
            return None

    def steps_at(self, batch: int) -> Estimate:
        """Returns the mean steps to the target at a batch."""
        pairs = zip(*self.steps(), strict=True)
        found = [s for b, s in pairs if b == batch]
        if not found:
            return Estimate.missing("no training reached the target", unit="steps")
        return mean(found, unit="steps")


# ----------------------------------------------------------------------------
# Noise or instability?
# ----------------------------------------------------------------------------

Bottleneck = Literal["noise", "instability", "both", "neither", "unknown"]
"""What holds a training back at the batch that was asked for, as far as it can be told."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Decomposition:
    """The error at the end of trainings of equal steps, in two parts.

    Attributes:
        larger: The batch that it was compared with.
        noise: By how much the larger batch ends lower, paired over seeds, in units of the
            validation loss.
        rest: What remains at the larger batch: above the noise floor for a distance, missing for
            a likelihood, whose best value is not known.
        lost: The share of trainings that lose their progress, at the batch that was asked for.
        lost_larger: The same at the larger batch.
        p_noise: Adjusted p-value of "the larger batch ends no lower or higher" (Holm over both).
        p_lost: Adjusted p-value of "not more than 5 % of trainings lose their progress".
        bottleneck: What follows at a family-wise error rate of 5 %.
        share: The share of the error above the noise floor that noise explains, or missing.
    """

    larger: int
    noise: Estimate
    rest: Estimate
    lost: Estimate
    lost_larger: Estimate
    p_noise: float
    p_lost: float
    bottleneck: Bottleneck
    share: Estimate


def decomposed(sweep: Sweep, *, level: float = 0.05) -> Decomposition | None:
    """Returns noise and instability apart, or None without a larger batch.

    A larger batch has less noise and, at the same learning rate, the same game: what it wins was
    lost to noise. What it loses again, or does not hold, is instability: a batch cannot cure it.

    Args:
        sweep: The trainings.
        level: Family-wise error rate.
    """
    if sweep.batches[-1] <= sweep.base:
        return None
    larger = sweep.batches[-1]
    here, there = sweep.at(sweep.base), sweep.at(larger)
    noise = noise_part(here, there)
    lost = [c.loses for c in there]
    p_noise, p_lost = holm_adjusted([p_paired(noise), _p_lost(sum(lost), len(lost))])
    helps = p_noise <= level and (noise.value or 0) > 0
    unstable = p_lost <= level
    return Decomposition(
        larger=larger,
        noise=noise,
        rest=_rest(there),
        lost=proportion(sum(c.loses for c in here), len(here), of="trainings"),
        lost_larger=proportion(sum(lost), len(lost), of="trainings"),
        p_noise=p_noise,
        p_lost=p_lost,
        bottleneck=_bottleneck(noise, helps=helps, unstable=unstable),
        share=_share(here, there),
    )


def _bottleneck(noise: Estimate, *, helps: bool, unstable: bool) -> Bottleneck:
    if helps:
        return "both" if unstable else "noise"
    if unstable:
        return "instability"
    # Where the interval is missing nothing was tested.
    return "unknown" if noise.low is None else "neither"


def noise_part(here: Sequence[Course], there: Sequence[Course]) -> Estimate:
    """Returns by how much trainings end lower at another batch, paired over seeds."""
    ends = {c.seed: c.end for c in there}
    pairs = [(c.end, ends[c.seed]) for c in here if ends.get(c.seed) is not None]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not known:
        return Estimate.missing("no pair of trainings that ended")
    return paired([a for a, _ in known], [b for _, b in known])


def _rest(there: Sequence[Course]) -> Estimate:
    found = [c.end - c.floor for c in there if c.end is not None and c.floor is not None]
    if not found:
        return Estimate.missing("the best value of a likelihood is not known")
    return mean(found)


def _share(here: Sequence[Course], there: Sequence[Course]) -> Estimate:
    """Returns the share of the error above the floor that the larger batch takes away."""
    ends = {c.seed: c.end for c in there}
    shares = [
        (c.end - b) / (c.end - c.floor)
        for c in here
        if c.end is not None
        and c.floor is not None
        and (b := ends.get(c.seed)) is not None
        and c.end > c.floor
    ]
    if not any(c.floor is not None for c in here):
        return Estimate.missing("the best value of a likelihood is not known")
    if not shares:
        return Estimate.missing("no training ends above the noise floor")
    return mean(shares)


def p_paired(difference: Estimate) -> float:
    """Returns the two-sided p-value of Student's t that fits an interval of differences."""
    from scipy.special import stdtr

    half, df = difference.half_width, difference.n - 1
    if difference.value is None or half is None:
        return 1.0
    if half == 0:
        return 0.0 if difference.value else 1.0
    t = difference.value / half * t_quantile((1 + difference.level) / 2, df)
    return float(2 * stdtr(df, -abs(t)))


def _p_lost(count: int, n: int) -> float:
    """Returns the p-value of a share of at most 5 % of trainings, by the binomial."""
    from scipy.special import bdtrc

    return 1.0 if count == 0 else float(bdtrc(count - 1, n, _RARE))


# ----------------------------------------------------------------------------
# What a larger batch would buy.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True)
class Doubling:
    """What twice the batch buys.

    Attributes:
        saved: Share of the steps that it saves.
        flops: FLOPs to the same target over those of now.
    """

    saved: Estimate
    flops: Estimate


def doubling(critical: Estimate, batch: int) -> Doubling:
    """Returns steps saved and FLOPs paid by twice the batch, from a critical batch.

    Example:
        >>> e = Estimate(value=64.0, low=32.0, high=128.0, unit="examples", n=9)
        >>> found = doubling(e, 64)
        >>> found.saved.value, found.flops.value
        (0.25, 1.5)
    """
    if critical.value is None:
        reason = critical.method
        return Doubling(Estimate.missing(reason), Estimate.missing(reason))

    def of(value: float | None) -> float:
        return 0.5 if value is None else steps_saved(batch, value)

    low = critical.value if critical.low is None else critical.low
    ends = of(low), of(critical.high)
    bound = " (upper end: no noise scale is excluded above)" if critical.high is None else ""
    method = f"from the critical batch{bound}"
    saved = Estimate(
        value=of(critical.value),
        low=ends[0],
        high=ends[1],
        level=critical.level,
        n=critical.n,
        method=method,
    )
    flops = Estimate(
        value=2 * (1 - of(critical.value)),
        low=2 * (1 - ends[1]),
        high=2 * (1 - ends[0]),
        level=critical.level,
        n=critical.n,
        better="lower",
        method=method,
    )
    return Doubling(saved, flops)


def recommended(critical: Estimate) -> int | None:
    """Returns the power of two nearest to a critical batch, where one step more buys as much.

    There a training takes twice the fewest steps and twice the fewest examples.

    Example:
        >>> recommended(Estimate(value=90.0, low=80.0, high=100.0, n=9))
        64
    """
    if critical.value is None or critical.value <= 0:
        return None if critical.value is None else 1
    return int(2 ** max(round(math.log2(critical.value)), 0))


def as_plain(found: Decomposition | None) -> Mapping[str, object]:
    """Returns what decided, as plain values for the report's JSON."""
    if found is None:
        return {}
    return {
        "bottleneck": found.bottleneck,
        "compared with batch": found.larger,
        "p noise": found.p_noise,
        "p instability": found.p_lost,
    }
