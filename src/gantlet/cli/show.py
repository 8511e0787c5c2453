"""gantlet show."""

import re
from collections.abc import Mapping
from shutil import get_terminal_size
from textwrap import fill
from typing import Any

from gantlet.cli.options import Flag
from gantlet.core.components import REGISTRIES
from gantlet.core.errors import UserError, unknown
from gantlet.options import described


def show(name: str, /, *, json: Flag = False) -> int:
    """Explain a component: what it is, its options, its source.

    Args:
        name: A component of any kind, as name or name:key=value.
        json: Print one JSON object.
    """
    from dataclasses import asdict
    from json import dumps

    from gantlet.core.spec import Spec, options

    homes = {kind: r for kind, r in REGISTRIES.items() if r.knows(Spec.parse(name).name)}
    if not homes:
        raise _unknown(Spec.parse(name).name)
    told: list[dict[str, Any]] = []
    for kind, registry in homes.items():
        meant = registry.expand(name)
        cls = registry.load(meant.name)
        resolved = registry.resolve(name) if meant.options else meant.name
        doc, meanings = described(cls)
        takes = [{**asdict(o), "help": meanings.get(o.name, "")} for o in options(cls)]
        told.append({"name": resolved, "kind": kind, "doc": doc, "options": takes})
    if json:
        print(dumps(told, indent=2))
        return 0
    for entry in told:
        _print(entry)
    return 0


def _unknown(name: str) -> UserError:
    """Returns the error for a name of no component; says what it is called here, if known."""
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
        # Lists and formulas stand as they were written.
        is_prose = not re.search(r"(?m)^(?: |\d\.)", paragraph)
        print(fill(" ".join(paragraph.split()), width) if is_prose else paragraph, end="\n\n")
    if entry["options"]:
        print("Options:")
    for option in entry["options"]:
        default = option["default"]
        given = "must be given" if default is None else f"default {default}"
        head = f"  {option['name']}  ({option['kind']}; {given})"
        print(fill(head, width, subsequent_indent=" " * 6))
        meaning = option["help"].replace("``", "`")
        print(fill(meaning, width, initial_indent=" " * 6, subsequent_indent=" " * 6))
    print()
