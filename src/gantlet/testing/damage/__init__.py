"""Damaged real data with a known truth: which flaws are planted, and how large each truly is.

from gantlet.testing.damage import Labelled, plant, random_plan, true_effects

plan = random_plan(space, classes=10, rng=Rng(0).stream("plan"))
damaged = plant(plan, Labelled(x=images, y=labels), space, 1200, rng=Rng(0).stream("plant"))
"""

from gantlet.testing.damage.kinds import CLASS_KINDS, IMAGE_KINDS, KINDS, OPPOSED, Kind
from gantlet.testing.damage.plan import Labelled, Planted, places_with_share, plant, random_plan
from gantlet.testing.damage.truth import (
    Effect,
    effects_among,
    side_effects,
    true_effect,
    true_effects,
)

__all__ = [
    "CLASS_KINDS",
    "IMAGE_KINDS",
    "KINDS",
    "OPPOSED",
    "Effect",
    "Kind",
    "Labelled",
    "Planted",
    "effects_among",
    "places_with_share",
    "plant",
    "random_plan",
    "side_effects",
    "true_effect",
    "true_effects",
]
