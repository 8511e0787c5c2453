"""Commands for components, data sets, weights, run directories and the machine."""

import re
from collections.abc import Mapping
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from gantlet.cli.running import Flag
from gantlet.core.errors import UserError, printable, unknown
from gantlet.core.option_fields import split_docstring
from gantlet.core.spec import REGISTRIES

if TYPE_CHECKING:
    from gantlet.report.blocks import Report
    from gantlet.view.page import View

# ----------------------------------------------------------------------------
# gantlet report.
# ----------------------------------------------------------------------------


def report(
    run: Path,
    /,
    *,
    format: Literal["text", "html", "json", "markdown", "latex", "csv"] = "text",  # noqa: A002
    summary: bool = False,
    out: Path | None = None,
    figure: str | None = None,
) -> int:
    """Show the report of a run, in any format.

    Args:
        run: Run directory, or its report.json.
        format: Output format.
        summary: Omit per-trial rows and embedded images. With --format json: a small file from
            which the same tables and charts can be rendered.
        out: Output file; without it the report is printed.
        figure: Write a single chart, given by its title or a prefix of it, to --out: a .pdf,
            .svg or .png file.
    """
    from gantlet.report.documents import render
    from gantlet.report.json import check_rows, summarize
    from gantlet.report.terminal import show
    from gantlet.run.execute import read_report

    shown = summarize(read_report(run)) if summary else read_report(run)
    if format == "csv":
        check_rows(shown)
    if figure is not None:
        if out is None:
            raise UserError("--figure needs a file. Give --out, such as chart.pdf.")
        shown.figure(figure, out)
        return 0
    if format == "text" and out is None:
        show(shown, path=str(run / "report.html") if run.is_dir() else None)
        return 0
    _print_or_write(render(shown, format), out)
    return 0


def _print_or_write(content: str, out: Path | None) -> None:
    from gantlet.run.store import write_bytes

    if out is None:
        print(content, end="")
    else:
        write_bytes(out, content.encode())


# ----------------------------------------------------------------------------
# gantlet watch.
# ----------------------------------------------------------------------------


def watch(run: Path, /, *, follow: Flag = False, json: Flag = False) -> int:
    """Show the record of a watched training.

    Args:
        run: Run folder of gantlet.Watch.
        follow: Show it again after each look, until the training ends.
        json: Print one JSON object; with --follow, one per look.
    """
    import time

    from gantlet.report.json import dumps
    from gantlet.report.terminal import show
    from gantlet.run.execute import read_report

    seen, file = None, run / "report.json"
    while True:
        now = file.stat().st_mtime_ns if file.exists() else None
        if now != seen or now is None:
            found, seen = read_report(run), now
            if found.command != "watch":
                raise UserError(f"{run} is no watched training. Use gantlet report {run}.")
            if json:
                print(dumps(found, blocks=False), flush=True)
            else:
                show(found, path=str(run / "report.html"))
            if not (follow and found.extra.get("running")):
                return 0
        time.sleep(_PAUSE)


# Seconds between two looks at the file.
_PAUSE = 0.5


# ----------------------------------------------------------------------------
# gantlet view.
# ----------------------------------------------------------------------------


def view(
    folder: Path = Path("runs"),
    /,
    *,
    out: Path | None = None,
    format: Literal["html", "text", "json"] = "html",  # noqa: A002
    serve: Annotated[
        list[int] | None, Parameter(consume_multiple=(0, 1), show_default=False)
    ] = None,
    follow: Flag = False,
    compare: tuple[Path, Path] | None = None,
    check: Flag = False,
) -> int:
    """Show all runs below a folder in one page.

    Args:
        folder: Folder that holds run directories, at any depth.
        out: Output file. Default: index.html in the folder; text and json are printed.
        format: A page, or the same table as text or as one JSON object.
        serve: Serve the page on this machine alone, at this port or 8765; the folder comes first.
        follow: Write the page again and again until no run goes on.
        compare: Show two runs beside each other, without a test.
        check: Compare the checksums of all reports and outcomes too.
    """
    import json

    from gantlet.report.json import dumps
    from gantlet.view.page import View

    if serve is not None:
        _alone("--serve", out=out, follow=follow, compare=compare, format=format != "html")
        return _serve(View(folder, check=check), serve)
    if compare is not None:
        _alone("--compare", follow=follow)
        two = View(folder, check=check).compare(*compare)
        shown = "text" if format == "html" and out is None else format
        return _output(two, shown, out, dumps(two, blocks=False))
    found = View(folder, check=check)
    if format != "html":
        _alone(f"--format {format}", follow=follow)
        return _output(found.report(), format, out, json.dumps(found.as_json(), indent=2))
    page = found.write(out, live=follow and found.is_running)
    print(printable(f"{found.claim}\nPage: {page}"), flush=True)
    return _follow(found, page) if follow else 0


def _alone(option: str, **others: object) -> None:
    """Refuses options that mean nothing beside another.

    Raises:
        UserError: If one was given.
    """
    for name, value in others.items():
        if value:
            raise UserError(f"{option} and --{name} do not go together. Leave one of them out.")


def _output(report: "Report", format: str, out: Path | None, json: str) -> int:  # noqa: A002
    """Prints a report, or writes it to a file; ``json`` is its form for programs."""
    from gantlet.report import terminal
    from gantlet.report.documents import render

    if format == "text" and out is None:
        terminal.show(report)
        return 0
    _print_or_write(f"{json}\n" if format == "json" else render(report, format), out)
    return 0


def _follow(found: "View", page: Path) -> int:
    """Writes the page again until no run goes on; Ctrl-C ends it."""
    import time

    try:
        while found.is_running:
            time.sleep(_REWRITE)
            found.renew()
            found.write(page, live=found.is_running)
    except KeyboardInterrupt:
        found.write(page)
        print(printable(f"\nStopped following {found.root}; the page stays as it was last."))
        return 0
    print(printable(found.claim))
    return 0


# Seconds between two pages.
_REWRITE = 5.0


def _serve(found: "View", given: list[int]) -> int:
    """Serves the page until Ctrl-C."""
    from gantlet.view.server import PORT, Server

    with Server(found, given[0] if given else PORT) as server:
        print(printable(f"{found.claim}\nServing {server.url} (Ctrl-C ends it)"), flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(printable(f"\nStopped serving {found.root}."), flush=True)
    return 0


# ----------------------------------------------------------------------------
# gantlet export.
# ----------------------------------------------------------------------------


def export(*runs: Path, to: Path = Path("results.csv")) -> int:
    """Write the estimates of runs as one table, one per row.

    Args:
        runs: Run directories.
        to: Output file: .csv, .json (a list of rows), .md or .tex.
    """
    from gantlet import api
    from gantlet.core.errors import printable

    n = api.export(runs, to=to)
    print(printable(f"{n} rows of {len(runs)} runs written to {to}"))
    return 0


# ----------------------------------------------------------------------------
# gantlet doctor.
# ----------------------------------------------------------------------------


def doctor(*, json: Flag = False) -> int:
    """Check this installation and this machine.

    Args:
        json: Print one JSON object.
    """
    from json import dumps

    from gantlet import api

    found = api.doctor()
    if json:
        print(dumps({"facts": found.facts, "warnings": list(found.warnings)}, indent=2))
        return 0
    width = max(map(len, found.facts))
    for name, value in found.facts.items():
        print(f"{name:<{width}}  {value}")
    for warning in found.warnings:
        print(f"Warning: {warning}")
    print("No problems found." if not found.warnings else "")
    return 0


# ----------------------------------------------------------------------------
# gantlet data list, gantlet data where, gantlet data fetch.
# ----------------------------------------------------------------------------


def data_list() -> None:
    """List the published data sets, their licenses, and which are downloaded."""
    from rich.console import Console
    from rich.table import Table

    from gantlet.core.spec import datasets
    from gantlet.data import catalogue

    table = Table(
        "name", "train + test", "shape", "downloaded", "license", box=None, pad_edge=False
    )
    for entry in catalogue.entries():
        here = "yes" if _place(entry.name) else "no"
        table.add_row(entry.name, entry.samples, entry.space, here, entry.licence)
    Console().print(table)
    named = {entry.name for entry in catalogue.entries()}
    others = [name for name in datasets.names() if name not in named]
    print("\nSynthetic, or read from your own files:")
    print(fill(", ".join(others), get_terminal_size().columns))
    print(f"\nData directory: {catalogue.home()} (GANTLET_DATA).")


def _place(name: str) -> Path | None:
    from gantlet.core.errors import UserError
    from gantlet.data.catalogue import locate

    try:
        return locate(name)
    except UserError:
        return None


def data_where(name: str | None = None) -> None:
    """Print the folder of a published data set, or the data directory.

    Args:
        name: Data set; without it, the data directory is printed.
    """
    from gantlet.data import catalogue

    print(catalogue.home() if name is None else catalogue.locate(name))


def data_fetch(name: str, *, to: Path | None = None, url: str | None = None) -> None:
    """Download a published data set from its own site and verify its hash.

    Args:
        name: Data set.
        to: Target folder. Default: a folder of its name in the data directory.
        url: Mirror that serves the same files.
    """
    from gantlet.cli.running import download_bar
    from gantlet.data import catalogue
    from gantlet.data.catalogue import fetch as bring

    entry = catalogue.entry(name)
    folder = to or catalogue.home() / name
    here = _place(name)
    if to is None and here is not None:
        print(printable(f"{name} is already downloaded: {here}"))
        return
    size = sum(file.size for file in entry.files)
    with download_bar(name, size) as progress:
        bring(entry, folder, url=url, progress=progress)
    print(printable(f"{name} is in {folder}. License: {entry.licence} ({entry.page})."))


# ----------------------------------------------------------------------------
# gantlet weights list, gantlet weights add, gantlet weights fetch, gantlet weights where.
# ----------------------------------------------------------------------------


def weights_list() -> None:
    """List the published weights, their licenses, and which are downloaded."""
    from rich.console import Console
    from rich.table import Table

    from gantlet.features import weights

    table = Table("name", "MB", "downloaded", "license", box=None, pad_edge=False)
    for known in weights.catalogue():
        here = "yes" if weights.is_downloaded(known.name) else "no"
        table.add_row(known.name, f"{known.size / 1e6:.0f}", here, known.licence)
    for path in weights.added():
        table.add_row(printable(path.name), f"{path.stat().st_size / 1e6:.0f}", "yes", "your own")
    Console().print(table)
    print(f"\nWeights directory: {weights.home()} (GANTLET_WEIGHTS).")


def weights_add(file: Path) -> None:
    """Add a file of weights to the weights directory.

    Args:
        file: The file; it is copied.
    """
    from gantlet.features import weights
    from gantlet.features.weights import read
    from gantlet.run.store import draft_of, write_bytes

    found = weights.identify(file)
    if found.known is None:
        read(file)  # reports an unusable file now
    name = file.name if found.known is None else found.known.files[0]
    target = weights.home() / name
    if target.resolve() != file.resolve():
        with draft_of(target) as draft:
            _copy(file, draft, found.sha256)
    if found.known is not None:
        known = found.known
        print(printable(f"{known.name} is in {target}. License: {known.licence} ({known.page})."))
        return
    write_bytes(weights.note_of(target), f"{found.sha256}  {name}\n".encode())
    result = (
        f"{target} is not a published file, so its origin is not verified. Its SHA-256 was "
        f"recorded: {found.sha256}. Use it with weights={name}."
    )
    print(printable(result))


def _copy(file: Path, draft: Path, sha256: str) -> None:
    from shutil import copyfile

    from gantlet.core.errors import UserError
    from gantlet.features.weights import sha256_of

    copyfile(file, draft)
    if sha256_of(draft) != sha256:
        raise UserError(f"{file} changed while it was copied. Run the same command again.")


def weights_fetch(name: str, *, url: str | None = None) -> None:
    """Download weights from their own site and verify their hash.

    Args:
        name: Weights, as listed by `gantlet weights list`.
        url: Mirror that serves the same file.
    """
    from gantlet.cli.running import download_bar
    from gantlet.data.catalogue import File, download
    from gantlet.features import weights

    known = weights.published_weights(name)
    if weights.is_downloaded(name):
        print(printable(f"{name} is already downloaded: {weights.locate(name).path}"))
        return
    file = File(known.files[0], known.size, known.sha256)
    with download_bar(name, known.size) as progress:
        path = download(url or known.url, file, weights.home(), progress=progress)
    print(printable(f"{name} is in {path}. License: {known.licence} ({known.page})."))


def weights_where(name: str | None = None) -> None:
    """Print the path of weights, or the weights directory.

    Args:
        name: Weights, or the name of an added file; without it, the weights directory is printed.
    """
    from gantlet.features import weights

    if name is None:
        print(weights.home())
        return
    published = {k.name for k in weights.catalogue()}
    print(weights.choose(name, None if name in published else name).path)


# ----------------------------------------------------------------------------
# gantlet show.
# ----------------------------------------------------------------------------


def show(name: str, /, *, json: Flag = False) -> int:
    """Describe a component: definition, options, source.

    Args:
        name: Component of any kind, as name or name:key=value.
        json: Print one JSON object.
    """
    from dataclasses import asdict
    from json import dumps

    from gantlet.core.spec import Spec, options

    homes = {kind: r for kind, r in REGISTRIES.items() if r.knows(Spec.parse(name).name)}
    if not homes:
        raise _unknown(Spec.parse(name).name)
    components: list[dict[str, Any]] = []
    for kind, registry in homes.items():
        meant = registry.expand(name)
        cls = registry.load(meant.name)
        resolved = registry.resolve(name) if meant.options else meant.name
        doc, meanings = split_docstring(cls)
        takes = [{**asdict(o), "help": meanings.get(o.name, "")} for o in options(cls)]
        components.append({"name": resolved, "kind": kind, "doc": doc, "options": takes})
    if json:
        print(dumps(components, indent=2))
        return 0
    for entry in components:
        _print(entry)
    return 0


def _unknown(name: str) -> UserError:
    """Returns the error for an unknown component, with its name in Gantlet if known."""
    plain = name.strip().lower().replace("_", "-")
    for registry in REGISTRIES.values():
        if plain in registry.pointers:
            return UserError(f"No component is called {name!r}. {registry.pointers[plain]}")
    known = {n for r in REGISTRIES.values() for n in r.names()}
    also = {n for r in REGISTRIES.values() for n in (*r.aliases, *r.pointers)}
    return unknown("component", name, known, also)


def _print(entry: Mapping[str, Any]) -> None:
    width = min(get_terminal_size().columns, 88)
    print(f"{entry['name']} ({entry['kind']})\n")
    for paragraph in entry["doc"].split("\n\n"):
        # Lists and formulas keep their layout.
        is_prose = not re.search(r"(?m)^(?: |\d\.)", paragraph)
        print(fill(" ".join(paragraph.split()), width) if is_prose else paragraph, end="\n\n")
    if entry["options"]:
        print("Options:")
    for option in entry["options"]:
        default = option["default"]
        given = "required" if default is None else f"default {default}"
        head = f"  {option['name']}  ({option['kind']}; {given})"
        print(fill(head, width, subsequent_indent=" " * 6))
        meaning = option["help"].replace("``", "`")
        print(fill(meaning, width, initial_indent=" " * 6, subsequent_indent=" " * 6))
    print()


# ----------------------------------------------------------------------------
# gantlet list.
# ----------------------------------------------------------------------------

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
        kind: families, solvers, datasets, features, metrics, probes, toys, studies, writers or
            monitors; the singular and common synonyms are accepted.
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
    """Returns the kind for a name such as "metric", "Data set" or "models"."""
    plain = word.strip().lower().replace("_", "-").replace(" ", "-").replace("data-set", "dataset")
    one = plain.removesuffix("s")
    meant = {_singular(k): k for k in REGISTRIES} | _SYNONYMS
    for form in (plain, one):
        if form in REGISTRIES or form in meant:
            return meant.get(form, form)
    raise unknown("kind", word, REGISTRIES, meant)


def _singular(kind: str) -> str:
    return f"{kind.removesuffix('ies')}y" if kind.endswith("ies") else kind.removesuffix("s")
