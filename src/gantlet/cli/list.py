"""gantlet list."""

from shutil import get_terminal_size
from textwrap import fill

from gantlet.cli.options import Flag
from gantlet.core.components import REGISTRIES
from gantlet.core.errors import unknown

_SYNONYMS = {
    "model": "families",
    "dataset": "datasets",
    "data": "datasets",
    "set": "datasets",
    "extractor": "features",
    "embedding": "features",
    "optimizer": "solvers",
    "optimiser": "solvers",
    "trainer": "solvers",
    "game": "toys",
    "toy-game": "toys",
    "experiment": "studies",
}


def list_(kind: str | None = None, /, *, json: Flag = False) -> int:
    """List the components of a kind, or of all.

    Args:
        kind: families, solvers, datasets, features, metrics, probes, toys or studies; the
            singular and usual synonyms will do.
        json: Print one JSON object.
    """
    from json import dumps

    chosen = None if kind is None else _kind(kind)
    found = {k: r.names() for k, r in REGISTRIES.items() if chosen in (None, k)}
    if json:
        print(dumps(found, indent=2))
        return 0
    wide = max(map(len, found)) + 2
    for name, names in found.items():
        text = f"{name:<{wide}}{', '.join(names)}"
        print(fill(text, get_terminal_size().columns, subsequent_indent=" " * wide))
    return 0


def _kind(word: str) -> str:
    """Returns the kind that a word means: "metric", "Data set" and "models" do too."""
    plain = word.strip().lower().replace("_", "-").replace(" ", "-").replace("data-set", "dataset")
    one = plain.removesuffix("s")
    meant = {_singular(k): k for k in REGISTRIES} | _SYNONYMS
    for form in (plain, one):
        if form in REGISTRIES or form in meant:
            return meant.get(form, form)
    raise unknown("kind", word, REGISTRIES, meant)


def _singular(kind: str) -> str:
    return f"{kind.removesuffix('ies')}y" if kind.endswith("ies") else kind.removesuffix("s")
