"""How large the study is."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple, final

Size = Literal["small", "full"]

NOTHING = "nothing"
"""The damage that is none: how often a metric notices it is its rate of false alarms."""

SAMPLES = "samples"
"""What metrics are said to look at that see the samples themselves."""


class Key(NamedTuple):
    """Which number of a trial it is.

    Attributes:
        metric: The metric, in written form.
        look: Through which extractor, by name, or ``SAMPLES``.
        strength: How strong the damage is.
    """

    metric: str
    look: str
    strength: float

    @property
    def name(self) -> str:
        """What outcomes call it.

        Example:
            >>> Key("kid:degree=3", "pca", 0.5).name
            'kid:degree=3 (pca) @ 0.5'
        """
        return f"{self.metric} ({self.look}) @ {self.strength:g}"


def keys(parts: Mapping[str, str]) -> Iterator[Key]:
    """Yields every number that a trial of these parts may have."""
    looks = [extractor.partition(":")[0] for extractor in json.loads(parts["features"])]
    metrics, strengths = json.loads(parts["metrics"]), map(float, json.loads(parts["strengths"]))
    yield from map(Key._make, product(metrics, [*looks, SAMPLES], strengths))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What is damaged how often.

    Attributes:
        ns: Sizes of each sample.
        strengths: How strong each damage is, above 0 and at most 1.
        draws: How often samples are drawn and damaged.
        controls: How often they are drawn and left alone.
        without: Metrics that are left out, as they would take most of the time.
    """

    ns: tuple[int, ...]
    strengths: tuple[float, ...]
    draws: int
    controls: int
    without: tuple[str, ...] = ()


SCALES: Mapping[Size, Scale] = {
    "small": Scale(
        ns=(100, 400),
        strengths=(0.05, 0.2, 0.5, 1.0),
        draws=5,
        controls=25,
        without=("frechet-infinity", "geometry-score"),
    ),
    "full": Scale(
        ns=(250, 1000, 4000),
        strengths=(0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        draws=10,
        controls=200,
    ),
}
"""The sizes of the study."""
