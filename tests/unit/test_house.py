"""A rule of the house that no linter knows: a class is abstract, or it is final."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "gantlet"
# What marks a class that others build on, or that is no class of objects.
OPEN = ("ABC", "Protocol", "NamedTuple", "TypedDict", "Error", "Exception")


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
    assert len(found) > 500
    for name, node in found:
        is_final = any(last(d) == "final" for d in node.decorator_list)
        assert is_final or is_abstract(node) or node.name in built_on, name
