"""Real samples on which known damages are tried, to see what each does to all measurements."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, final

import torch
from torch import Tensor

from gantlet.core.measure import Features
from gantlet.core.space import Space
from gantlet.critics.causes import Causes
from gantlet.critics.causes_images import image_causes
from gantlet.critics.halves import Seen
from gantlet.critics.vocabulary import Probes, can_name_images, probes_of
from gantlet.features.frozen import block_of, some
from gantlet.studies.evaluation.sets import Chosen


@final
class Quantity(Enum):
    """What is measured of a flaw; the value is its name in reports."""

    SIZE = "size"
    ALONE = "accuracy, this flaw only"
    P = "p"
    RESIDUAL = "residual accuracy"


class Key(NamedTuple):
    """Which number of a list it is.

    Attributes:
        rank: The place of the flaw, counted from 1; 0 where no flaw is removed yet.
        what: What is measured.
        other: In which other set, by name, or None for the set whose list it is.
    """

    rank: int
    what: Quantity
    other: str | None = None

    @property
    def name(self) -> str:
        """What outcomes and reports call it.

        Example:
            >>> Key(1, Quantity.SIZE).name, Key(2, Quantity.SIZE, "B").name
            ('1: size', '2: size in B')
        """
        if self.rank == 0:
            return CRITIC
        return f"{self.rank}: {self.measured}"

    @property
    def measured(self) -> str:
        """What is measured, in words, and where."""
        return self.what.value if self.other is None else f"{self.what.value} in {self.other}"


CRITIC = "accuracy of a linear critic"
"""The name of the accuracy before any flaw is removed."""

BEFORE = Key(0, Quantity.RESIDUAL)
"""The accuracy before any flaw is removed."""

# Samples on which each damage is tried in each strength: what it does is seen on the same ones
# before and after, so that few are enough.
_TRIED = 128


def causes_for(
    real: Chosen, features: Features, *, among: Tensor, device: str, rng: torch.Generator
) -> Causes | None:
    """Returns the damages that samples may have suffered, tried on real ones; None without any.

    Args:
        real: Real samples.
        features: The extractor of the list.
        among: The places of those on which damages are tried: none of them is judged.
        device: Where it works.
        rng: Draws on which samples they are tried; on the CPU.
    """
    space, source = real.samples.space, real.samples.source
    if space.levels is None or not can_name_images(space):
        return None
    return Causes(
        image_causes(space),
        space.unit(source.take(among[some(len(among), _TRIED, rng=rng)])).float(),
        _See(space, features, device),
        lambda places: space.unit(source.take(places)).float(),
    )


@final
@dataclass(frozen=True, slots=True)
class _See:
    """Measures images with pixels in [0, 1] as a list of flaws does, block by block."""

    space: Space
    features: Features
    device: str

    def __call__(self, x: Tensor) -> Seen:
        blocks = torch.split(x, block_of(self.space))
        parts = [self._block((b * ((self.space.levels or 2) - 1)).round()) for b in blocks]
        values = torch.cat([p.probes.values for p in parts])
        return Seen(
            probes=Probes(words=parts[0].probes.words, values=values),
            features=torch.cat([p.features for p in parts]),
        )

    def _block(self, x: Tensor) -> Seen:
        classify = self.features.classify
        classes = None if classify is None else classify(x.to(self.device)).cpu()
        return Seen(
            probes=probes_of(self.space, x, classes),
            features=self.features.extract(x.to(self.device)).cpu(),
        )
