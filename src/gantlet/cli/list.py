"""gantlet list."""

from shutil import get_terminal_size
from textwrap import fill

from gantlet.cli.options import Flag
from gantlet.core.components import REGISTRIES
from gantlet.core.errors import unknown


def list_(kind: str | None = None, /, *, json: Flag = False) -> int:
    """List the components of a kind, or of all.

    Args:
        kind: families, solvers, datasets, features, metrics, probes, toys or studies.
        json: Print one JSON object.
    """
    from json import dumps

    if kind is not None and kind not in REGISTRIES:
        raise unknown("kind", kind, REGISTRIES)
    found = {k: r.names() for k, r in REGISTRIES.items() if kind in (None, k)}
    if json:
        print(dumps(found, indent=2))
        return 0
    wide = max(map(len, found)) + 2
    for name, names in found.items():
        text = f"{name:<{wide}}{', '.join(names)}"
        print(fill(text, get_terminal_size().columns, subsequent_indent=" " * wide))
    return 0
