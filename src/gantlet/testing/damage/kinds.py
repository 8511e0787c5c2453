"""The kinds of flaws that can be planted, what each is about, and how strong it may be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from gantlet.core.space import Space
from gantlet.data.damage import blur, duplicated, hue, jpeg, noise
from gantlet.testing.damage.images import brightened, checkered, halves_swapped, paler

Apply = Callable[[Tensor, Space, float, torch.Generator], Tensor]
"""Damages samples of a space, the strength in [0, 1]; strength 0 is the weakest, not none."""


@final
@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of flaw.

    Attributes:
        about: The topics of the measurements it is about; for classes they depend on which one.
        apply: Damages single images.
        fits: What samples can have it: any, images in colour, or images of several JPEG blocks.
    """

    about: frozenset[str]
    apply: Apply
    fits: Literal["any", "colour", "blocks"] = "any"

    def suits(self, space: Space) -> bool:
        """Says whether images of ``space`` can have it."""
        channels, *size = space.shape
        return {"any": True, "colour": channels == 3, "blocks": min(size) >= 16}[self.fits]


IMAGE_KINDS: Mapping[str, Kind] = {
    "mean shift": Kind(
        frozenset({"brightness"}),
        lambda x, space, s, _: brightened(x, _top(space), 0.05 + 0.15 * s),
    ),
    "contrast": Kind(
        frozenset({"contrast"}),
        lambda x, space, s, _: paler(x, _top(space), 0.15 + 0.35 * s),
    ),
    "blur": Kind(
        frozenset({"fine detail"}),
        lambda x, space, s, _: blur(x, space.levels, (0.5 + 0.6 * s) * 4 / x.shape[2]),
    ),
    "noise": Kind(
        frozenset({"fine detail"}),
        lambda x, space, s, rng: noise(x, space.levels, 0.04 + 0.16 * s, rng),
    ),
    "checkerboard": Kind(
        frozenset({"checkerboard"}),
        lambda x, space, s, _: checkered(x, _top(space), 0.01 + 0.05 * s),
    ),
    "jpeg": Kind(
        frozenset({"block edges", "fine detail"}),
        lambda x, space, s, _: jpeg(x, space.levels or 256, 0.3 + 0.5 * s),
        "blocks",
    ),
    "hue": Kind(
        frozenset({"colour"}),
        lambda x, space, s, _: hue(x, space.levels, 0.1 + 0.4 * s),
        "colour",
    ),
    "lost correlation": Kind(
        frozenset({"middle seam", "mirror symmetry"}),
        lambda x, _, s, rng: halves_swapped(x, 0.3 + 0.7 * s, rng),
    ),
    "copies": Kind(
        frozenset({"distance to the nearest other"}),
        lambda x, _, s, rng: duplicated(x, 0.3 + 0.6 * s, rng),
    ),
}
"""Kinds that damage images, in the order in which they are planted; copies last, so that nothing
parts them again."""

CLASS_KINDS = ("dropped class", "over-represented class")
"""Kinds that choose other samples; planted before all others."""

KINDS = (*CLASS_KINDS, *IMAGE_KINDS)
"""All kinds, in the order in which they are planted."""

# One of each cannot be told in a list: noise laid over blur hides it, and the share of a class
# cannot go both ways.
OPPOSED = (frozenset({"blur", "noise"}), frozenset(CLASS_KINDS))


def _top(space: Space) -> float:
    return float((space.levels or 2) - 1)
