"""By what samples that are no images are looked at where nothing is asked for."""

from gantlet.core.code import Code
from gantlet.core.space import Kind
from gantlet.data.columns import TableCode

_USUAL: dict[Kind, str] = {
    "tokens": "ngrams",
    "table": "pca",
    "audio": "spectrogram",
    "graph": "graph-statistics",
}


def usual_features(kind: Kind, code: Code | None = None) -> str:
    """Returns the extractor that suits samples of a kind.

    Args:
        kind: What a sample stands for.
        code: What its numbers stand for: columns of a table have units, which must not matter.
    """
    if kind == "vector" and isinstance(code, TableCode):
        return "columns"
    return _USUAL.get(kind, "pixels")
