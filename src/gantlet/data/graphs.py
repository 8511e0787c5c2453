"""Sets of graphs as lists of edges."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, final

import numpy as np
from torch import Tensor
from typing_extensions import override

from gantlet.core.code import Code
from gantlet.core.dataset import Splits
from gantlet.core.errors import UserError, unknown
from gantlet.core.rng import Rng
from gantlet.core.space import Space
from gantlet.core.spec import Between
from gantlet.data.arrays import unpacked
from gantlet.data.checks import Array, check_size, is_file, readable
from gantlet.data.rows import Rows
from gantlet.data.splits import by_share, official

_ARRAYS = ("num_nodes", "num_edges", "edges")
_TEST = "test"


@final
@dataclass(frozen=True, slots=True, eq=False)
class GraphCode(Code):
    """The form of adjacency matrices.

    Attributes:
        nodes: How many nodes a matrix has room for.
    """

    nodes: int

    @property
    @override
    def space(self) -> Space:
        """Symmetric matrices of zeros and ones."""
        return Space("graph", (self.nodes, self.nodes), 2)


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class Graphs:
    """Undirected graphs in a ``.npz`` file, as symmetric matrices with room for the largest.

    The file holds ``num_nodes`` and ``num_edges`` of each graph and the ``edges`` of all, one
    after the other, shape ``(edges, 2)``, nodes counted from 0 in each graph. There may be several
    such parts: ``train_edges``, ``test_edges`` and so on. The diagonal of a matrix is 1 where
    there is a node.

    Attributes:
        path: The file.
        part: Which part is wanted, or none for all.
        nodes: How many nodes a matrix has room for, or none for the largest graph.
        validation: Share of the graphs for validation.
        test: Share of the graphs for the test, where the file has no part of that name.
        limit: Most graphs for training, or none.
    """

    path: str
    part: str | None = None
    nodes: Annotated[int, Between(1)] | None = None
    validation: Annotated[float, Between(0, 1)] = 0.1
    test: Annotated[float, Between(0, 1)] = 0.1
    limit: Annotated[int, Between(1)] | None = None

    @property
    def space(self) -> Space:
        """Matrices with room for the largest graph."""
        return self.code().space

    def load(self, *, rng: Rng) -> Splits:
        """Returns the splits; a part called ``test`` is the test.

        Raises:
            UserError: If the file cannot be read or used.
        """
        parts = _parts(Path(self.path).expanduser())
        room = self.code().nodes
        if self.part is None and _TEST in parts and len(parts) > 1:
            others = [p for name, p in parts.items() if name != _TEST]
            train, test = (_matrices(p, room, self.path) for p in (others, [parts[_TEST]]))
            held = max(1, round(self.validation * len(train)))
            return official(train, test, validation=held, limit=self.limit, rng=rng)
        return by_share(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )

    def whole(self) -> Rows:
        """Returns all graphs in the order of the file.

        Raises:
            UserError: If the file cannot be read or used.
        """
        return _matrices(self._chosen(), self.code().nodes, self.path)

    def code(self, rows: Tensor | None = None) -> GraphCode:
        """Returns for how many nodes there is room, of all graphs whatever ``rows`` are.

        Raises:
            UserError: If the file cannot be read or used.
        """
        del rows
        return GraphCode(self.nodes or max(int(p.nodes.max()) for p in self._chosen()))

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[Rows, str]:
        """Returns all graphs with room for as many nodes as others; all of ``own`` too.

        Raises:
            UserError: If the file cannot be read or used, or a graph is too large.
        """
        del own
        if not isinstance(code, GraphCode):
            raise UserError(f"{self.path} holds graphs; the real samples are none.")
        return _matrices(self._chosen(), code.nodes, self.path), ""

    def _chosen(self) -> list["_Part"]:
        parts = _parts(Path(self.path).expanduser())
        if self.part is None:
            return list(parts.values())
        if self.part not in parts:
            raise unknown(f"part of {self.path}", self.part, parts)
        return [parts[self.part]]


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Graphs as they are in a file.

    Attributes:
        nodes: How many nodes each has.
        starts: Where the edges of each start, and the end of the last.
        edges: The edges, shape ``(edges, 2)``.
    """

    nodes: Array
    starts: Array
    edges: Array


def holds_graphs(path: Path) -> bool:
    """Returns whether a ``.npz`` file holds sets of graphs."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).stem for name in archive.namelist()}
    except Exception:  # noqa: BLE001  (whatever it is, the reader of the file will say it)
        return False
    return any({f"{prefix}{a}" for a in _ARRAYS} <= names for prefix in _prefixes(names))


def _prefixes(names: set[str] | Sequence[str]) -> list[str]:
    return [n.removesuffix("num_edges") for n in names if n.endswith("num_edges")]


def _parts(path: Path) -> dict[str, _Part]:
    stat = is_file(path).stat()
    return _read_once(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read_once(path: Path, *_stamp: int) -> dict[str, _Part]:
    with readable(path, "a set of graphs"), zipfile.ZipFile(path) as archive:
        names = {n.removesuffix(".npy"): n for n in archive.namelist()}
        found = {
            prefix.rstrip("_") or "all": _part(
                path, *(unpacked(archive, names[f"{prefix}{a}"], path) for a in _ARRAYS)
            )
            for prefix in _prefixes(list(names))
            if all(f"{prefix}{a}" in names for a in _ARRAYS)
        }
    if not found:
        raise UserError(f"{path} holds no graphs. It needs the arrays {', '.join(_ARRAYS)}.")
    return found


def _part(path: Path, nodes: Array, counts: Array, edges: Array) -> _Part:
    whole = all(a.dtype.kind in "iu" for a in (nodes, counts, edges))
    fits = whole and nodes.ndim == counts.ndim == 1 and len(nodes) == len(counts) > 0
    if not fits or edges.shape != (int(counts.sum()), 2) or min(nodes.min(), counts.min()) < 0:
        raise UserError(
            f"{path}: num_nodes {nodes.shape} and num_edges {counts.shape} must be whole numbers "
            f"of one length, and edges of shape (their sum, 2). Got {edges.shape}."
        )
    starts, edges = np.cumsum([0, *counts.tolist()]), edges.astype(np.int64)
    graph = np.repeat(np.arange(len(nodes)), counts)
    outside = (edges < 0).any(1) | (edges >= nodes.astype(np.int64)[graph][:, None]).any(1)
    for wrong, what in (
        (outside, "an edge to a node that it lacks"),
        (edges[:, 0] == edges[:, 1], "a loop"),
    ):
        if wrong.any():
            raise UserError(
                f"{path}: graph {graph[wrong.argmax()]} (from 0) has {what}. Remove it."
            )
    return _Part(nodes.astype(np.int64), starts, edges)


def _matrices(parts: Sequence[_Part], room: int, name: str) -> Rows:
    largest = max(int(p.nodes.max()) for p in parts)
    if largest > room:
        raise UserError(
            f"{name} has graphs of {largest} nodes, the real ones have {room} at most. Give those "
            f"as graphs:path=FILE,nodes={largest}."
        )
    many = sum(len(p.nodes) for p in parts)
    check_size(name, many * room * room)
    x = np.zeros((many, room, room), np.uint8)
    rows = iter(x)
    for part in parts:
        for i, n in enumerate(part.nodes.tolist()):
            matrix = next(rows)
            matrix[np.arange(n), np.arange(n)] = 1
            a, b = part.edges[part.starts[i] : part.starts[i + 1]].T
            matrix[a, b] = matrix[b, a] = 1
    return Rows(x)
