"""By what samples that are no images are looked at where nothing is asked for."""

from gantlet.core.space import Kind

_USUAL: dict[Kind, str] = {
    "tokens": "ngrams",
    "table": "pca",
    "audio": "spectrogram",
    "graph": "graph-statistics",
}


def usual_features(kind: Kind) -> str:
    """Returns the extractor that suits samples of a kind."""
    return _USUAL.get(kind, "pixels")
