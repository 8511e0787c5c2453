"""gantlet weights list, gantlet weights add, gantlet weights fetch, gantlet weights where."""

from pathlib import Path

from gantlet.core.errors import printable


def list_() -> None:
    """List the trained weights that Gantlet knows, their terms, and which are here."""
    from rich.console import Console
    from rich.table import Table

    from gantlet.features import weights

    table = Table("name", "MB", "here", "terms", box=None, pad_edge=False)
    for known in weights.catalogue():
        here = "yes" if weights.here(known.name) else "no"
        table.add_row(known.name, f"{known.size / 1e6:.0f}", here, known.licence)
    for path in weights.added():
        table.add_row(printable(path.name), f"{path.stat().st_size / 1e6:.0f}", "yes", "your own")
    Console().print(table)
    print(f"\nWeights are kept in {weights.home()} (GANTLET_WEIGHTS).")


def add(file: Path) -> None:
    """Take a file of weights into the folder for weights.

    Args:
        file: The file; it is copied.
    """
    from gantlet.features import weights
    from gantlet.features.checkpoint import read
    from gantlet.store.files import draft_of, write_bytes

    found = weights.identify(file)
    if found.known is None:
        read(file)  # a file that cannot be used is told now
    name = file.name if found.known is None else found.known.files[0]
    target = weights.home() / name
    if target.resolve() != file.resolve():
        with draft_of(target) as draft:
            _copy(file, draft, found.sha256)
    if found.known is not None:
        known = found.known
        print(
            printable(f"{known.name} is in {target}. Its terms: {known.licence} ({known.page}).")
        )
        return
    write_bytes(weights.note_of(target), f"{found.sha256}  {name}\n".encode())
    told = (
        f"{target} is none of the published files, so nobody vouches for it. Its SHA-256 was "
        f"recorded: {found.sha256}. Use it with weights={name}."
    )
    print(printable(told))


def _copy(file: Path, draft: Path, sha256: str) -> None:
    from shutil import copyfile

    from gantlet.core.errors import UserError
    from gantlet.features.weights import sha256_of

    copyfile(file, draft)
    if sha256_of(draft) != sha256:
        raise UserError(f"{file} changed while it was copied. Run the same command again.")


def fetch(name: str, *, url: str | None = None) -> None:
    """Fetch weights from their own site, and check their hash.

    Args:
        name: Weights, as `gantlet weights list` names them.
        url: Another address that serves the same file.
    """
    from gantlet.cli.transfer import bar
    from gantlet.data.catalogue import File
    from gantlet.data.fetch import download
    from gantlet.features import weights

    known = weights.known(name)
    if weights.here(name):
        print(printable(f"{name} is already here: {weights.locate(name).path}"))
        return
    file = File(known.files[0], known.size, known.sha256)
    with bar(name, known.size) as progress:
        path = download(url or known.url, file, weights.home(), progress=progress)
    print(printable(f"{name} is in {path}. Its terms: {known.licence} ({known.page})."))


def where(name: str | None = None) -> None:
    """Print where weights are, or the folder for weights.

    Args:
        name: Weights, or the name of a file that was added; without it, the folder.
    """
    from gantlet.features import weights

    if name is None:
        print(weights.home())
        return
    published = {k.name for k in weights.catalogue()}
    print(weights.choose(name, None if name in published else name).path)
