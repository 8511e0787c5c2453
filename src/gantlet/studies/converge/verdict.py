"""Whether a training converges, rotates, diverges or is stuck, by what it went through."""

from dataclasses import dataclass
from statistics import mean
from typing import Literal, final

from gantlet.studies.converge.course import Course

StateName = Literal["converging", "rotating", "diverging", "stuck"]

# A deterministic game converges if its last third is at most so large a share of its middle third.
_SHRINKS = 0.5
# ... and diverges if its last third is so many times its first.
_GROWS = 1.2
# A model has lost what it had learned if this share of its gain is gone again.
_LOST = 0.15
# It swings if the last half of a training varies by this share of what was gained.
_SWINGS = 0.15
# It has learned something if it is at most this share of where it began.
_LEARNED = 0.3


@final
@dataclass(frozen=True, slots=True)
class State:
    """What a training does.

    Attributes:
        name: In one word.
        because: The numbers behind it, in a sentence.
    """

    name: StateName
    because: str


def state_of_course(course: Course, *, is_adversarial: bool) -> State:
    """Returns what a training does, by the quality of its records alone."""
    if course.error is not None:
        return State("diverging", f"{course.error[0].upper()}{course.error[1:]}.")
    qualities = [record.quality for record in course.records]
    if course.is_exact:
        return _exact(qualities)
    return _noisy(qualities, is_adversarial=is_adversarial)


def _exact(size: list[float]) -> State:
    third = max(len(size) // 3, 1)
    first, middle, last = mean(size[:third]), mean(size[third:-third]), mean(size[-third:])
    told = (
        f"The field is {first:.3g} long on average in the first third of the training, "
        f"{middle:.3g} in the second, {last:.3g} in the last."
    )
    if last <= max(_SHRINKS * middle, 1e-9):
        return State("converging", told)
    if last > _GROWS * first:
        return State("diverging", told)
    return State("rotating", told)


def _noisy(quality: list[float], *, is_adversarial: bool) -> State:
    start, best = quality[0], min(quality)
    half = quality[len(quality) // 2 :]
    end = mean(quality[-max(len(quality) // 4, 1) :])
    gained = start - best
    told = f"Validation loss: {start:.3g} at the start, {best:.3g} at best, {end:.3g} at the end"
    # A distance is 0 at its best; a likelihood has no such floor.
    if gained <= 0 or (is_adversarial and best > _LEARNED * start):
        return State("stuck", f"{told}: little was learned.")
    lost, swing = (end - best) / gained, (max(half) - min(half)) / gained
    if lost > _LOST and end >= mean(half):
        return State("diverging", f"{told}: {lost:.0%} of what was gained is lost again.")
    if swing > _SWINGS:
        return State("rotating", f"{told}; it swings by {swing:.0%} of the gain in the last half.")
    return State("converging", f"{told}; it moves by {swing:.0%} of the gain in the last half.")
