"""How large the study is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

Size = Literal["small", "full"]

NOTHING = "nothing"
"""The damage that is none: how often a metric notices it is its rate of false alarms."""


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
