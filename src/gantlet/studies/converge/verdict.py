"""Whether a training converges, oscillates, diverges or does not learn, by its course."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Literal, final

from gantlet.studies.converge.course import Course, Scale

StateName = Literal["converging", "rotating", "diverging", "stuck"]

# A deterministic game converges if its last third is at most so large a share of its middle third.
_SHRINKS = 0.5
# ... and diverges if its last third is so many times its first.
_GROWS = 1.2

# On the logarithmic scale of a distance, as factors. A GAN has learned something if its loss is
# at most this share of the untrained one,
_LEARNED = 1 / 4
# has lost what it had learned if its loss is so many times its best, beyond any swing of it,
_LOST_ALL = 2.8
# oscillates if its loss strays from its own trend by this factor (one standard deviation),
_SWINGS = 1.4
# has lost some of what it had learned if it does not and is so many times its best,
_LOST = 1.7
# and is as good as it gets if its loss is at most so many times the noise floor.
GOOD = 5.0

# On the scale of a likelihood, which has no zero: shares of what was gained.
_LOST_SHARE = 0.15
_SWINGS_SHARE = 0.15
# Differences below so many standard errors of the validation loss are noise.
_NOISE = 3.0
# A trend of the last half counts from this value of Student's t on.
_TREND = 2.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a training does.

    Attributes:
        name: In one word.
        because: The numbers behind it, in a sentence.
        end: The validation loss at the end: the median of the last quarter of the records.
        ratio: ``end`` in units of the noise floor, or None where the loss has no floor.
        is_improving: Whether the loss still falls in the last half of the training.
    """

    name: StateName
    because: str
    end: float
    ratio: float | None = None
    is_improving: bool = False

    @property
    def is_good(self) -> bool:
        """Whether training settles, and where no distance says that it is far from the data."""
        return self.name == "converging" and (self.ratio is None or self.ratio <= GOOD)


def state_of_course(course: Course) -> State:
    """Returns what a training does, by the quality of its records alone.

    A distance is judged on a logarithmic scale, against the noise floor: the largest of 19
    distances between real samples of the same number, below which no model is distinguishable
    from real data. A likelihood has no zero and is judged by shares of what was gained, beyond
    the noise of the validation loss.
    """
    qualities = [record.quality for record in course.records]
    if course.error is not None:
        told = f"{course.error[0].upper()}{course.error[1:]}."
        return State(name="diverging", because=told, end=qualities[-1])
    if course.is_exact:
        return _exact(qualities)
    if course.scale is not None and course.scale.floor is not None:
        return _distance(qualities, course.scale, course.scale.floor)
    return _likelihood(qualities, 0.0 if course.scale is None else course.scale.noise)


def _exact(size: list[float]) -> State:
    third = max(len(size) // 3, 1)
    first, middle, last = mean(size[:third]), mean(size[third:-third]), mean(size[-third:])
    told = (
        f"The field is {first:.3g} long on average in the first third of the training, "
        f"{middle:.3g} in the second, {last:.3g} in the last."
    )
    name: StateName = "rotating"
    if last <= max(_SHRINKS * middle, 1e-9):
        name = "converging"
    elif last > _GROWS * first:
        name = "diverging"
    return State(name=name, because=told, end=last)


def _distance(quality: list[float], scale: Scale, floor: float) -> State:
    logs = [math.log(max(q, floor)) for q in quality]
    half = logs[len(logs) // 2 :]
    trend = _trend(half)
    end = math.exp(_end(logs))
    best = math.exp(min(_smooth(logs)))
    told = (
        f"Validation loss: {quality[0]:.3g} untrained, {best:.3g} at best, {end:.3g} at the end "
        f"(median of the last quarter), {end / floor:.1f} times the noise floor {floor:.2g}"
    )
    if scale.mixture is not None:
        told += f"; a Gaussian mixture has {scale.mixture:.3g}"
    name, why = _shape(quality[0], best, end, trend, floor)
    is_improving = trend.t < -_TREND and name == "converging" and end > floor
    return State(
        name=name,
        because=f"{told}. {why}",
        end=end,
        ratio=end / floor,
        is_improving=is_improving,
    )


def _shape(
    start: float, best: float, end: float, trend: "_Trend", floor: float
) -> tuple[StateName, str]:
    reached = max(_LEARNED * start, GOOD * floor)
    lost = f"It is {end / best:.1f} times its best: what was learned is lost again."
    if best <= reached and end > _LOST_ALL * best:
        return "diverging", lost
    if end > reached:
        return "stuck", f"That is {end / start:.0%} of the untrained loss: little was learned."
    strays = math.exp(trend.spread)
    if strays > _SWINGS:
        return "rotating", f"In the last half it strays by a factor {strays:.1f} from its trend."
    if end > _LOST * best:
        return "diverging", lost
    return "converging", f"In the last half it stays within a factor {strays:.2f} of its trend."


def _likelihood(quality: list[float], noise: float) -> State:
    start, best = quality[0], min(quality)
    half = quality[len(quality) // 2 :]
    end, gained = _end(quality), start - best
    told = f"Validation loss: {start:.3g} untrained, {best:.3g} at best, {end:.3g} at the end"
    if gained <= _NOISE * noise:
        return State(name="stuck", because=f"{told}: little was learned.", end=end)
    trend = _trend(half)
    lost, swing = (end - best) / gained, (max(half) - min(half)) / gained
    if lost > _LOST_SHARE and end - best > _NOISE * noise and end >= mean(half):
        return State(
            name="diverging", because=f"{told}: {lost:.0%} of the gain is lost again.", end=end
        )
    told = f"{told}; in the last half it varies by {swing:.0%} of the gain."
    if swing > _SWINGS_SHARE and abs(trend.t) < _TREND and max(half) - min(half) > _NOISE * noise:
        return State(name="rotating", because=told, end=end)
    improving = trend.t < -_TREND and -trend.change > _NOISE * noise
    return State(name="converging", because=told, end=end, is_improving=improving)


def _end(values: Sequence[float]) -> float:
    return median(values[-max(len(values) // 4, 1) :])


def _smooth(values: Sequence[float]) -> list[float]:
    """Returns running medians of three, so that one lucky record is no best."""
    return [median(values[max(i - 1, 0) : i + 2]) for i in range(len(values))]


@final
@dataclass(frozen=True, slots=True)
class _Trend:
    """A straight line through values.

    Attributes:
        change: By how much it rises from the first value to the last.
        spread: The standard deviation of values around it.
        t: Its slope over the standard error of the slope.
    """

    change: float
    spread: float
    t: float


def _trend(values: Sequence[float]) -> _Trend:
    n = len(values)
    if n < 3:
        return _Trend(0.0, 0.0, 0.0)
    x = [i - (n - 1) / 2 for i in range(n)]
    sxx = math.fsum(a * a for a in x)
    slope = math.fsum(a * y for a, y in zip(x, values, strict=True)) / sxx
    middle = math.fsum(values) / n
    rest = [y - middle - slope * a for a, y in zip(x, values, strict=True)]
    spread = math.sqrt(math.fsum(r * r for r in rest) / (n - 2))
    error = spread / math.sqrt(sxx)
    t = slope / error if error > 0 else math.copysign(math.inf, slope) if slope else 0.0
    return _Trend(slope * (n - 1), spread, t)
