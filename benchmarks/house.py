"""How the source is housed: files, what is written twice, how far a feature must be followed.

    python benchmarks/house.py --out docs/results/house-after.json
    python benchmarks/house.py --compare docs/results/house-{before,after}.json

What is counted, over the Python files below the package:

- Files and lines of all; "under 40 lines" without ``__init__``. The header of a file is its
  docstring and the imports that follow it.
- One importer: files that exactly one other file imports, lazy imports counted, those for type
  checkers alone not; without ``__init__``, ``__main__`` and what pyproject.toml names as an entry
  point, which others reach by name. An import from the face of a package is one of the file that
  defines the name.
- Shared base names: names that several files bear, other than study, trial, report, options and
  those with underscores around them, which are meant to.
- Functions: lines from ``def`` to the end, docstring included, decorators not; methods and inner
  functions are functions. "Of code" leaves the docstring out.
- Shared class names: names that classes of several files bear.
- To follow a component (``frechet``, ``extragradient``, ``flow-gan``): the file its entry point
  names and all that it imports, directly or not, counted in its own package, in all packages
  without ``core`` (the contracts), and in all. Where a package holds only whole families, as
  ``families`` did, its number says little: nets and losses stand elsewhere; read the second.
- To follow ``evaluate``: files with a function that is entered while ``gantlet evaluate`` judges a
  file of vectors by one metric, in one process, after a first run has imported all. The headline
  counts the rooms of the command itself: ``cli``, ``studies`` or ``commands``, and ``report`` (and
  ``api`` and ``options``, where they are), so neither the metric's own files nor the store, the
  workers, the features and the data; beside it every room is counted alone.

Needs nothing but the source; evaluate needs what the package needs. About ten seconds.
"""

import argparse
import ast
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from same_numbers import write_entry_points

ROOT = Path(__file__).parent.resolve().parent
MEANT = {"study", "trial", "report", "options"}
FOLLOWED = {"frechet": "metrics", "extragradient": "solvers", "flow-gan": "families"}
ROOMS = ("cli", "api", "options", "studies", "commands", "report")

# Runs evaluate twice in one process and prints the files that the second run enters.
TRACE = """
import contextlib, inspect, io, json, sys
import numpy as np
from gantlet.cli.main import run

draw = np.random.default_rng(0)
for name in ("real.npy", "fake.npy"):
    np.save(name, draw.normal(size=(80, 4)).astype("float32"))
entered = set()

def note(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_flags & inspect.CO_OPTIMIZED and code.co_name != "<module>":
        entered.add(code.co_filename)

for i in (1, 2):
    argv = ["evaluate", "fake.npy", "--against", "real.npy", "--metric", "frechet"]
    argv += ["--rank", "frechet", "--seed", str(i), "--workers", "1", "--out", str(i)]
    with contextlib.redirect_stdout(io.StringIO()):
        sys.setprofile(note if i == 2 else None)
        code = run(argv)
        sys.setprofile(None)
    if code:
        raise SystemExit(f"evaluate ended with exit code {code}")
print(json.dumps(sorted(entered)))
"""


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def is_face(self) -> bool:
        return self.path.stem == "__init__"

    @property
    def room(self) -> str:
        """The first part of its name below the package."""
        return [*self.name.split("."), ""][1]

    @cached_property
    def header(self) -> int:
        """Lines of docstring and first imports."""
        end = 0
        for i, node in enumerate(self.tree.body):
            text = i == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not text and not isinstance(node, ast.Import | ast.ImportFrom):
                break
            end = node.end_lineno or end
        return end

    @cached_property
    def functions(self) -> list[tuple[int, int]]:
        """Lines of every function, with its docstring and without."""
        return [
            _lengths(node)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]

    @cached_property
    def classes(self) -> set[str]:
        return {node.name for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)}


def _lengths(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int]:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node, clean=False) is None:
        return lines, lines
    text = node.body[0]
    return lines, lines - ((text.end_lineno or text.lineno) - text.lineno + 1)


class House:
    """A source tree of one package.

    Args:
        source: The folder that holds the package; pyproject.toml lies beside it.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self.project = tomllib.loads((source.parent / "pyproject.toml").read_text())["project"]
        self.package = self.project["name"]
        self.modules = {m.name: m for m in self._found()}

    def _found(self) -> Iterator[Module]:
        for path in sorted((self.source / self.package).rglob("*.py")):
            parts = path.relative_to(self.source).with_suffix("").parts
            yield Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path)

    @cached_property
    def entries(self) -> set[str]:
        """The modules that entry points and scripts name."""
        told = [w for group in self.project["entry-points"].values() for w in group.values()]
        return {where.partition(":")[0] for where in [*told, *self.project["scripts"].values()]}

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """What each module imports of the package."""
        return {
            name: {
                target
                for node in _imports(module.tree)
                for target in self._targets(node)
                if target != name
            }
            for name, module in self.modules.items()
        }

    def _targets(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in self.modules)
        elif node.module in self.modules:
            yield from (self._defining(node.module, a.name) for a in node.names)

    def _defining(self, module: str, name: str, depth: int = 0) -> str:
        """Returns the module behind a name, through the faces of packages."""
        if f"{module}.{name}" in self.modules:
            return f"{module}.{name}"
        if self.modules[module].is_face and depth < 5:
            for node in _imports(self.modules[module].tree):
                if isinstance(node, ast.ImportFrom) and node.module in self.modules:
                    for a in node.names:
                        if (a.asname or a.name) == name:
                            return self._defining(node.module, a.name, depth + 1)
        return module

    def closure(self, start: str) -> set[str]:
        """Returns a module and all that it imports, directly or not, without faces."""
        seen, todo = {start}, [start]
        while todo:
            new = self.imports[todo.pop()] - seen
            seen |= new
            todo += new
        return {name for name in seen if not self.modules[name].is_face or name == start}

    def place(self, kind: str, component: str) -> str:
        """Returns the module of a component, by its written name."""
        points = self.project["entry-points"][f"{self.package}.{kind}"]
        if component not in points:
            raise SystemExit(f"No entry point of {kind} is called {component!r}.")
        return points[component].partition(":")[0]


def _imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yields all imports at any depth, but for those that only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (n for part in node.orelse for n in _imports(part))
        else:
            yield from _imports(node)


# ---- what is measured --------------------------------------------------------------------------


def measured(house: House, *, trace: bool = True) -> dict[str, Any]:
    """Returns every number of a source tree."""
    return {
        "size": _size(house),
        "written twice": _twice(house),
        "functions": _functions(house),
        "to follow": {
            **{name: _followed(house, kind, name) for name, kind in FOLLOWED.items()},
            **({"evaluate": _evaluate(house)} if trace else {}),
        },
    }


def _size(house: House) -> dict[str, float]:
    modules = list(house.modules.values())
    lines = sum(m.lines for m in modules)
    header = sum(m.header for m in modules)
    importers = Counter(t for targets in house.imports.values() for t in targets)
    reached = house.entries | {m.name for m in modules if m.path.stem.startswith("__")}
    single = [n for n, count in importers.items() if count == 1 and n not in reached]
    return {
        "files": len(modules),
        "lines": lines,
        "mean lines of a file": round(lines / len(modules), 1),
        "files under 40 lines": sum(m.lines < 40 and not m.is_face for m in modules),
        "files above 900 lines": sum(m.lines > 900 for m in modules),
        "files with one importer": len(single),
        "lines of these": sum(house.modules[n].lines for n in single),
        "of these under 150 lines": sum(house.modules[n].lines < 150 for n in single),
        "header lines": header,
        "share of headers": round(header / lines, 4),
    }


def _twice(house: House) -> dict[str, Any]:
    stems = Counter(m.path.stem for m in house.modules.values())
    shared = {s: n for s, n in stems.items() if n > 1 and s not in MEANT and s[:2] != "__"}
    classes: dict[str, int] = Counter(c for m in house.modules.values() for c in m.classes)
    same = {c: n for c, n in classes.items() if n > 1}
    return {
        "shared base names": len(shared),
        "files that bear these": sum(shared.values()),
        "shared class names": len(same),
        "classes that bear these": sum(same.values()),
        "base names": dict(sorted(shared.items())),
        "class names": dict(sorted(same.items())),
    }


def _functions(house: House) -> dict[str, float]:
    found = [n for m in house.modules.values() for n in m.functions]
    lengths, code = (sorted(column) for column in zip(*found, strict=True))
    long = sum(n > 50 for n in lengths)
    return {
        "functions": len(lengths),
        "median lines": statistics.median(lengths),
        "lines at 90 %": lengths[int(0.9 * len(lengths))],
        "above 50 lines": long,
        "share above 50 lines": round(long / len(lengths), 5),
        "median lines of code": statistics.median(code),
        "above 50 lines of code": sum(n > 50 for n in code),
    }


def _followed(house: House, kind: str, component: str) -> dict[str, Any]:
    start = house.place(kind, component)
    files = house.closure(start)
    room = house.modules[start].room
    return {
        "in its own package": sum(house.modules[f].room == room for f in files),
        "in all but core": sum(house.modules[f].room != "core" for f in files),
        "in all": len(files),
        "files": sorted(files),
    }


def _evaluate(house: House) -> dict[str, Any]:
    """Runs evaluate and counts the files that it enters."""
    with tempfile.TemporaryDirectory(prefix="house-") as folder:
        points = write_entry_points(house.project, Path(folder))
        paths = os.pathsep.join(map(str, (points, house.source)))
        more = {"PYTHONPATH": paths, "GANTLET_CACHE": f"{folder}/cache", "OMP_NUM_THREADS": "1"}
        argv = [sys.executable, "-c", TRACE]
        done = subprocess.run(
            argv,
            check=False,
            cwd=folder,
            env={**os.environ, **more},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise SystemExit(f"evaluate cannot be followed: {done.stderr[-600:]}")
    names = {str(m.path): m for m in house.modules.values()}
    files = [names[f] for f in json.loads(done.stdout.splitlines()[-1]) if f in names]
    rooms: dict[str, int] = defaultdict(int)
    for m in files:
        rooms[m.room] += 1
    return {
        "in the rooms of the command": sum(rooms[r] for r in ROOMS if r in rooms),
        "in all": len(files),
        "by room": dict(sorted(rooms.items())),
        "files": sorted(m.name for m in files),
    }


# ---- before and after --------------------------------------------------------------------------


def table(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Returns all numbers of two trees side by side, as Markdown."""
    old, new = dict(_numbers(before)), dict(_numbers(after))
    lines = ["| what | before | after |", "|---|---:|---:|"]
    lines += [
        f"| {key} | {_said(key, old.get(key))} | {_said(key, new.get(key))} |"
        for key in [*old, *(k for k in new if k not in old)]
    ]
    return "\n".join(lines)


def _numbers(found: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    for key, value in found.items():
        if isinstance(value, Mapping):
            if key not in {"base names", "class names", "by room"}:
                yield from _numbers(value, f"{above}{key}: ")
        elif isinstance(value, int | float):
            yield f"{above}{key}", value


def _said(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if re.search(r"\bshare\b(?! base| class)", key) else f"{value:,}"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--src", type=Path, default=ROOT / "src", help="source to be measured")
    parser.add_argument("--out", type=Path, help="file for the numbers; default: print them")
    parser.add_argument("--no-run", action="store_true", help="leave evaluate out")
    parser.add_argument("--compare", type=Path, nargs=2, metavar="JSON", help="print a table")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    asked = _arguments(argv)
    if asked.compare:
        print(table(*(json.loads(path.read_text()) for path in asked.compare)))
        return
    found = measured(House(asked.src.resolve()), trace=not asked.no_run)
    text = json.dumps(found, indent=1)
    if asked.out is None:
        print(text)
    else:
        asked.out.write_text(text + "\n")
        for key, value in _numbers(found):
            print(f"{key}: {_said(key, value)}")


if __name__ == "__main__":
    main()
