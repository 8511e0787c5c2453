"""The names of scores that reports single out, in one place."""

from collections.abc import Sequence

LIKELIHOOD = "likelihood"
TRAINING = "training FLOPs"
STEPS = "training steps"
SAMPLING = "FLOPs per sample"
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
    return f"energy ({ranking_features(features)})"
