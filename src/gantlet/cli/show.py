"""gantlet show."""

from collections.abc import Mapping

from gantlet.cli.options import Flag
from gantlet.core.components import REGISTRIES
from gantlet.core.errors import unknown


def show(name: str, /, *, json: Flag = False) -> int:
    """Explain a component: what it is, its options, its source.

    Args:
        name: A component of any kind, as name or name:key=value.
        json: Print one JSON object.
    """
    import inspect
    from dataclasses import asdict
    from json import dumps

    from gantlet.core.spec import Spec, options

    short = Spec.parse(name).name
    homes = {kind: r for kind, r in REGISTRIES.items() if short in r.names()}
    if not homes:
        known = {n for r in REGISTRIES.values() for n in r.names()}
        raise unknown("component", short, known)
    told = []
    for kind, registry in homes.items():
        cls = registry.load(short)
        resolved = registry.resolve(name) if name != short else short
        doc = inspect.getdoc(cls) or ""
        takes = [asdict(o) for o in options(cls)]
        told.append({"name": resolved, "kind": kind, "doc": doc, "options": takes})
    if json:
        print(dumps(told, indent=2))
        return 0
    for entry in told:
        _print(entry)
    return 0


def _print(entry: Mapping[str, object]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    console.print(f"{entry['name']} ({entry['kind']})\n")
    console.print(f"{entry['doc']}\n")
    table = Table("option", "takes", "default", box=None, padding=(0, 2, 0, 0))
    rows = entry["options"]
    for option in rows if isinstance(rows, list) else []:
        table.add_row(option["name"], option["kind"], option["default"] or "must be given")
    console.print(table)
