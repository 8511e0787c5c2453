"""gantlet data list, gantlet data where, gantlet data fetch."""

from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill

from gantlet.core.errors import printable


def list_() -> None:
    """List the published data sets, their terms, and which are here."""
    from rich.console import Console
    from rich.table import Table

    from gantlet.core.components import datasets
    from gantlet.data import catalogue

    table = Table("name", "train + test", "image", "here", "terms", box=None, pad_edge=False)
    for entry in catalogue.entries():
        here = "yes" if _place(entry.name) else "no"
        table.add_row(entry.name, entry.samples, entry.space, here, entry.licence)
    Console().print(table)
    named = {entry.name for entry in catalogue.entries()}
    others = [name for name in datasets.names() if name not in named]
    print("\nMade here, or read from your own files:")
    print(fill(", ".join(others), get_terminal_size().columns))
    print(f"\nPublished sets are looked for in {catalogue.home()} (GANTLET_DATA).")


def _place(name: str) -> Path | None:
    from gantlet.core.errors import UserError
    from gantlet.data.catalogue import locate

    try:
        return locate(name)
    except UserError:
        return None


def where(name: str | None = None) -> None:
    """Print the folder of a published data set, or the folder of them all.

    Args:
        name: Data set; without it, the folder below which all are looked for.
    """
    from gantlet.data import catalogue

    print(catalogue.home() if name is None else catalogue.locate(name))


def fetch(name: str, *, to: Path | None = None, url: str | None = None) -> None:
    """Fetch a published data set from its own site, and check its hash.

    Args:
        name: Data set.
        to: Folder to put it in; the folder for data, below its name, if none is given.
        url: Another address that serves the same files.
    """
    from gantlet.cli.transfer import bar
    from gantlet.data import catalogue
    from gantlet.data.fetch import fetch as bring

    entry = catalogue.entry(name)
    folder = to or catalogue.home() / name
    here = _place(name)
    if to is None and here is not None:
        print(printable(f"{name} is already here: {here}"))
        return
    size = sum(file.size for file in entry.files)
    with bar(name, size) as progress:
        bring(entry, folder, url=url, progress=progress)
    print(printable(f"{name} is in {folder}. Its terms: {entry.licence} ({entry.page})."))
