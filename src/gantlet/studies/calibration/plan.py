"""How large the study is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final

from gantlet.studies.calibration.scenarios import SCENARIOS

Size = Literal["small", "gate", "frechet", "wide", "full"]

BLOCK = 25
"""Replicates of one trial: what is lost when the study is interrupted is at most so much."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What is simulated.

    Attributes:
        ns: Sizes of either sample.
        ds: Numbers of features.
        scenarios: Which pairs of distributions.
        replicates: How often each is drawn.
        rarer: How often those of a sample size are drawn instead, where time asks for fewer.
        metrics: Which metrics; empty means every metric that there is.
        without: Those that are left out of every metric, as they would take most of the time.
    """

    ns: tuple[int, ...]
    ds: tuple[int, ...]
    scenarios: tuple[str, ...]
    replicates: int
    metrics: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    rarer: Mapping[int, int] = field(default_factory=dict)

    def replicates_at(self, n: int) -> int:
        """Returns how often samples of this size are drawn."""
        return self.rarer.get(n, self.replicates)


GATE = ("frechet", "kid", "precision", "recall", "density", "coverage", "c2st", "energy")

SCALES: Mapping[Size, Scale] = {
    "small": Scale(
        ns=(250, 1000),
        ds=(8, 64),
        scenarios=("equal", "clusters"),
        replicates=100,
        without=("frechet-infinity", "geometry-score"),
    ),
    "gate": Scale(ns=(1000,), ds=(64,), scenarios=tuple(SCENARIOS), replicates=400, metrics=GATE),
    # Bias is small beside the spread of the values, so that it takes many replicates to see it.
    "frechet": Scale(
        ns=(1000,), ds=(64,), scenarios=tuple(SCENARIOS), replicates=2000, metrics=("frechet",)
    ),
    "wide": Scale(
        ns=(250, 1000, 4000),
        ds=(8, 64, 512),
        scenarios=("equal", "clusters"),
        replicates=200,
        rarer={1000: 100, 4000: 50},
    ),
    "full": Scale(
        ns=(250, 1000, 4000), ds=(8, 64, 512), scenarios=tuple(SCENARIOS), replicates=400
    ),
}
"""The sizes of the study."""
