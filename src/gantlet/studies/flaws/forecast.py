"""What the sizes of the sets let be found, before anything is looked for."""

from gantlet.core.power import detectable_accuracy, fewest_right
from gantlet.studies.evaluation.inputs import named
from gantlet.studies.evaluation.sets import Asked, other_set, real_set

_POWER = 0.8


def forecasts(asked: Asked, level: float) -> list[str]:
    """Returns a sentence for each set: the accuracy that its held-out samples let be found."""
    found: list[str] = []
    for fake in asked.fakes:
        judged = 2 * (min(real_set(asked).n, other_set(asked, fake, "fake").n) // 2)
        if fewest_right(judged, level=level) > judged:
            found.append(f"{named(fake)[0]}: {judged} held-out samples cannot tell anything")
            continue
        least = detectable_accuracy(judged, level=level, power=_POWER)
        found.append(
            f"{named(fake)[0]}: with {judged:,} held-out samples you can detect an accuracy of at "
            f"least {least:.3f} (probability {_POWER:g}, level {level:g})"
        )
    return found
