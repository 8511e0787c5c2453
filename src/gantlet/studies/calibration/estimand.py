"""What each metric estimates: the truth that its interval should hold."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal

from gantlet.core.components import metrics
from gantlet.core.spec import Spec
from gantlet.studies.calibration import truth
from gantlet.studies.calibration.scenarios import SCENARIOS, World

Estimand = Literal["distributions", "classifier", "direction", "mean"]
"""``distributions``: a number of the two distributions, whatever the sample size. ``classifier``:
how often the classifier that was trained is right on new samples. ``direction``: how far the two
distributions lie apart along the direction that was found. ``mean``: the mean over all samples of
this size, for metrics whose value depends on the size."""

WORDS: Mapping[Estimand, str] = {
    "distributions": "the distance of the two distributions, without sampling",
    "classifier": "the accuracy of each trained classifier on new samples",
    "direction": "the distance along each direction that was found, without sampling",
    "mean": "its own mean over the replicates: other sizes have other values",
}

_KNOWN: Mapping[str, Callable[[World, World], float]] = {
    "frechet": truth.frechet,
    "frechet-infinity": truth.frechet,
    "kid": truth.kid,
    "energy": truth.energy,
    "mmd": truth.rbf_at_median,
    "sliced-wasserstein": truth.sliced,
    "mind": truth.mind,
}


def estimand(metric: str) -> Estimand:
    """Returns what the metric in written form estimates."""
    name = Spec.parse(metric).name
    if name == "c2st":
        return "classifier"
    # Truths are those of the default options.
    is_default = metrics.make(name) == metrics.make(metric)
    if name == "max-sliced-wasserstein" and is_default:
        return "direction"
    return "distributions" if name in _KNOWN and is_default else "mean"


@cache
def population(metric: str, scenario: str, d: int) -> float:
    """Returns the distance of two distributions, or NaN where the estimand is another."""
    if estimand(metric) != "distributions":
        return math.nan
    return _KNOWN[Spec.parse(metric).name](*SCENARIOS[scenario].draw(d))
