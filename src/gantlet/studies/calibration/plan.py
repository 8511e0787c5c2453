"""How large the study is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final

Size = Literal["small", "gate", "frechet", "near", "wide", "full", "verdicts"]

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
        only: The only numbers of features of some scenarios.
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
    only: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def wants(self, scenario: str, d: int) -> bool:
        """Returns whether the scenario is simulated with so many features."""
        return d in self.only.get(scenario, (d,))

    def replicates_at(self, n: int) -> int:
        """Returns how often samples of this size are drawn."""
        return self.rarer.get(n, self.replicates)


PLAIN = ("equal", "shift", "spread", "clusters")
"""The pairs that suit any number of features."""

GATE = ("frechet", "kid", "precision", "recall", "density", "coverage", "c2st", "energy")

SCALES: Mapping[Size, Scale] = {
    "small": Scale(
        ns=(250, 1000),
        ds=(8, 64),
        scenarios=("equal", "clusters"),
        replicates=100,
        without=("frechet-infinity", "geometry-score"),
    ),
    "gate": Scale(ns=(1000,), ds=(64,), scenarios=PLAIN, replicates=400, metrics=GATE),
    # Bias is small beside the spread of the values, so that it takes many replicates to see it.
    "frechet": Scale(ns=(1000,), ds=(64,), scenarios=PLAIN, replicates=2000, metrics=("frechet",)),
    # Where the two are nearly equal, and where features are not as those of the others.
    "near": Scale(
        ns=(500,),
        ds=(1, 2, 16, 32),
        scenarios=("near", "chain", "atoms", "tails", "rare", "twice", "groups", "digits"),
        replicates=200,
        metrics=("energy", "kid", "frechet"),
        only={
            "near": (1, 2),
            "chain": (32,),
            "atoms": (1,),
            "tails": (2,),
            "rare": (2,),
            "twice": (2,),
            "groups": (2,),
            "digits": (16,),
        },
    ),
    "wide": Scale(
        ns=(250, 1000, 4000),
        ds=(8, 64, 512),
        scenarios=("equal", "clusters"),
        replicates=200,
        rarer={1000: 100, 4000: 50},
    ),
    # Its sets are files, see worlds.py.
    "verdicts": Scale(ns=(), ds=(), scenarios=(), replicates=200),
    "full": Scale(ns=(250, 1000, 4000), ds=(8, 64, 512), scenarios=PLAIN, replicates=400),
}
"""The sizes of the study."""
