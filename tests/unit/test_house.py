"""Rules of the house that no linter knows.

A class is abstract, or it is final. Words decide nothing. What checks or shows the package uses
its public names alone, so that the inside can change, and names them by imports, so that a module
can move. And the package holds nothing that only tests use.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from vulture import Vulture

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "gantlet"
OUTSIDE = ("tests", "benchmarks", "examples")
# What marks a class that others build on, or that is no class of objects.
OPEN = ("ABC", "Protocol", "NamedTuple", "TypedDict", "Error", "Exception")

# What is used where vulture does not look: in quotes, by a string, or by another package.
QUOTED = {"Probe", "Toy", "Axes", "train_parameters", "__getattr__", "Grouping"}
ASKED_FOR = {
    *("_should_skip_dynamo", "setup_context"),  # torch
    "atexit",  # weakref.finalize
    *("inter_op_num_threads", "intra_op_num_threads", "log_severity_level"),  # onnxruntime
    "on_broken_pipe",  # rich
    "_repr_html_",  # notebooks
    *("__class__", "__signature__"),  # Python
    *("filters", "globals", "alternative", "is_small", "is_unknown"),  # jinja2 and our templates
    *("do_GET", "do_HEAD", "do_PUT", "do_DELETE", "do_PATCH", "do_OPTIONS"),  # http.server
    *("protocol_version", "server_version", "sys_version", "timeout", "close_connection"),
    *("daemon_threads", "log_message", "handle_error"),
}
# What a program calls and the documentation shows, and no command needs.
FOR_PROGRAMS = {"by_operator", "measure_all", "realism", "to_frame", "figures"} | {
    "share_spent",  # of Watch, which no command makes
    # Planted flaws, for those who test a search for flaws.
    *("random_plan", "true_effect", "true_effects", "effects_among", "side_effects"),
    # What data sets know of their truth, and read off samples.
    *("KnownSupport", "modes_of", "ceiling", "count_of", "classifier_note"),
}


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                yield f"{file.relative_to(SOURCE)}: {node.name}", node


def last(node: ast.expr) -> str:
    return ast.unparse(node).partition("[")[0].rpartition(".")[2]


def is_abstract(node: ast.ClassDef) -> bool:
    marks = [
        last(d) for m in node.body if isinstance(m, ast.FunctionDef) for d in m.decorator_list
    ]
    return "abstractmethod" in marks or any(last(b).endswith(OPEN) for b in node.bases)


def test_every_class_is_abstract_or_final():
    found = list(classes())
    # nn.Module and others of packages are not meant: they are written with a dot.
    names = (b.value if isinstance(b, ast.Subscript) else b for _, n in found for b in n.bases)
    built_on = {name.id for name in names if isinstance(name, ast.Name)}
    for name, node in found:
        is_final = any(last(d) == "final" for d in node.decorator_list)
        assert is_final or is_abstract(node) or node.name in built_on, name


# Sentences for people: what they say must be a field or an enum before anything depends on it.
SENTENCES = {"because", "claim", "method", "note", "reason", "stopped"}
TAKES_APART = {
    "count", "endswith", "find", "index", "partition", "removeprefix", "removesuffix", "replace",
    "rfind", "rpartition", "rsplit", "split", "splitlines", "startswith",
}  # fmt: skip
# The first two read what an earlier version wrote in words alone; the last holds notes to a form.
# The last two lay sentences out: one takes the place off that cattrs puts behind a message.
EXCUSED = {
    *("run/store.py", "commands/tournament/play.py", "testing/contracts.py"),
    *("report/format.py", "report/json.py"),
}


def is_sentence(node: ast.expr) -> bool:
    while isinstance(node, ast.Subscript):
        node = node.value
    return isinstance(node, ast.Attribute) and node.attr in SENTENCES


def decides_by_words(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        is_tested = any(map(is_sentence, sides))
        return is_tested and not any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    if is_sentence(node.func.value):
        return node.func.attr in TAKES_APART
    # Names and keys that are put together with words between are not taken apart again.
    words = [a.value for a in node.args if isinstance(a, ast.Constant)]
    return node.func.attr in TAKES_APART - {"replace", "count"} and any(
        isinstance(w, str) and " " in w.rstrip("\n") and len(w) > 1 for w in words
    )


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("'were looked at' not in found.stopped", True),
        ("e.method.partition(',')[0]", True),
        ("results[0].note.startswith('features')", True),
        ("e.method == 'exact'", True),
        ("name.split(' judges ')", True),
        ("score.rpartition(' (')", True),
        ("name.removeprefix('after: ')", True),
        ("e.method is None", False),
        ("f'{e.method}, in quadrature'", False),
        ("spec.partition(':')", False),
        ("e.kind == 'exact'", False),
    ],
)
def test_logic_on_words_is_seen(code, found):
    assert any(map(decides_by_words, ast.walk(ast.parse(code)))) == found


def test_nothing_is_decided_by_the_words_of_a_sentence():
    found = [
        f"{file.relative_to(SOURCE)}:{node.lineno}: {ast.unparse(node)}"
        for file in sorted(SOURCE.rglob("*.py"))
        if str(file.relative_to(SOURCE)) not in EXCUSED
        for node in ast.walk(ast.parse(file.read_text()))
        if decides_by_words(node)
    ]
    assert found == []


def is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.endswith("_")


def private_uses(tree: ast.AST) -> Iterator[str]:
    """Yields each use of a private name of the package, and each patch of a path in a string."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("gantlet"):
                names = [*module.split("."), *(n.name for n in names)]
                yield from (f"import of {n}" for n in names if is_private(n))
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super"))):
                pass
            case ast.Attribute(attr=attr) if is_private(attr):
                yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr="setattr" | "delattr" | "patch"), args=args):
                for given in args[:2]:
                    name = given.value if isinstance(given, ast.Constant) else None
                    if is_private(name) or str(name).startswith("gantlet."):
                        yield ast.unparse(node)


def test_private_uses_are_seen():
    seen = private_uses(
        ast.parse("""
from gantlet.core.data import Space, _checked
from gantlet.core import data as module
module._SIZES
Space("vector", (2,))._known.add(3)
monkeypatch.setattr(module, "_SIZES", 3)
monkeypatch.setattr("gantlet.core.data.SIZES", 3)
module.__doc__, self._own, {"_": 1}
monkeypatch.setattr(module, "SIZES", 3)
""")
    )
    assert len(list(seen)) == 5


@pytest.mark.parametrize("folder", OUTSIDE)
def test_public_names_do(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = [f"{f}: {u}" for f in files for u in private_uses(ast.parse(f.read_text()))]
    assert not found, found


def components() -> set[str]:
    """The names that entry points load, and strings of the form ``package.module:name``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["scripts"], *project["entry-points"].values()]
    targets = {target.rpartition(":")[2] for group in groups for target in group.values()}
    text = "".join(f.read_text() for f in SOURCE.rglob("*.py"))
    return targets | set(re.findall(r'"gantlet[\w.]*:(\w+)"', text))


def test_nothing_in_the_package_is_there_for_tests_alone():
    reader = Vulture(ignore_names=[*components(), *QUOTED, *ASKED_FOR, *FOR_PROGRAMS])
    reader.scavenge([str(SOURCE)])
    # Commands are loaded by their names.
    found = [i for i in reader.get_unused_code(min_confidence=60) if "cli" not in i.filename.parts]
    assert not found, [f"{i.filename}: {i.name}" for i in found]
