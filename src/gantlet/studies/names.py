"""The names of scores that reports single out, in one place."""

import json
from collections.abc import Mapping, Sequence
from itertools import product

LIKELIHOOD = "likelihood"
TRAINING = "training FLOPs"
TRAINING_TIME = "training wall time"
STEP = "FLOPs per training step"
STEPS = "training steps"
SAMPLING = "FLOPs per sample"
SAMPLING_TIME = "wall time of one sample"
SAMPLING_CPU = "CPU time per sample"
DEPTH = "sequential depth of sampling"
INVERSE = "round-trip error fp32"
PARAMETERS = "parameters to sample"

_PIXELS = "pixels"


def ranking_features(features: Sequence[str]) -> str:
    """Returns the features on which models are ranked: the first that are not the raw numbers.

    Distances between raw pixels hardly see what people see, so they rank only where nothing better
    was measured.

    Args:
        features: The extractors of a comparison, in written form or by name.

    Example:
        >>> ranking_features(["pixels", "classifier:features=64"]), ranking_features(["pixels"])
        ('classifier', 'pixels')
    """
    short = [f.partition(":")[0] for f in features]
    return next((name for name in short if name != _PIXELS), _PIXELS)


def quality(features: Sequence[str]) -> str:
    """Returns the distance by which models are ranked: the energy distance on those features.

    Of the distances that are measured it alone is zero for equal distributions only, needs no
    bandwidth and no number of moments, and grows linearly with how far a sample lies, so that a
    few stray samples do not decide; KID's cubic kernel sees three moments and lets them decide.

    Source: Szekely and Rizzo, 2013, https://doi.org/10.1016/j.jspi.2013.03.018.
    """
    return distance("energy", ranking_features(features))


def distance(metric: str, features: str) -> str:
    """Returns the name of the score of a metric on some features, both in written form or by name.

    Example:
        >>> distance("kid:degree=3", "classifier:features=64")
        'kid (classifier)'
    """
    return f"{metric.partition(':')[0]} ({features.partition(':')[0]})"


def distances(parts: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Returns metric and features of each distance that a trial of these parts measures, by name.

    Names are made, never taken apart: logic asks here whether a score is a distance.

    Example:
        >>> distances({"metrics": '["kid"]', "features": '["pixels", "pca:dims=8"]'})
        {'kid (pixels)': ('kid', 'pixels'), 'kid (pca)': ('kid', 'pca:dims=8')}
    """
    pairs = product(
        json.loads(parts.get("metrics", "[]")), json.loads(parts.get("features", "[]"))
    )
    return {distance(metric, features): (metric, features) for metric, features in pairs}
