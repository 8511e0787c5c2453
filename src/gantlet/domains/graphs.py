"""Graphs: reading, features, attributes."""

import zipfile
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, final

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from typing_extensions import override

from gantlet.core.data import Code, Space, Splits
from gantlet.core.errors import UserError, unknown
from gantlet.core.metric import Features
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Spec
from gantlet.data.arrays import arrays_of, unpacked
from gantlet.data.splits import (
    Array,
    ArraySplit,
    check_size,
    published_split,
    random_split,
    read_once,
    readable,
    stamp_of,
)
from gantlet.domains.attributes import (
    Attribute,
    AttributeTable,
    attribute,
    attribute_table,
    jitter,
)
from gantlet.domains.domains import Domain
from gantlet.domains.networks import read_network
from gantlet.report.pictures import grid
from gantlet.stats.graph_statistics import node_histograms, normalised_spectra

# ----------------------------------------------------------------------------
# Graphs by the histograms of what their nodes are like.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GraphStatistics:
    """Histograms of degrees, of clustering and of the spectrum of the normalised Laplacian.

    Each is the share of the nodes of a graph in a bin. Degrees have a bin each, the last one that
    of all larger ones; clustering is the share of the pairs of a node's neighbours that are
    joined. The last number is the number of nodes, as a share of the room for them.

    Source: You et al., 2018, https://arxiv.org/abs/1802.08773, section 4.3, for degrees and
        clustering; Liao et al., 2019, https://arxiv.org/abs/1910.00760, for the spectrum.
    Differs from the paper: the histograms are features of single graphs here, and no kernel is
        put between them.

    Attributes:
        bins: How many bins each of the histograms has.
    """

    learns: ClassVar[bool] = False

    bins: Annotated[int, Between(2)] = 16

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the extractor; there is nothing to fit.

        Raises:
            UserError: If samples are no graphs.
        """
        del data, rng
        if space.kind != "graph":
            raise UserError(f"graph-statistics sees graphs alone. Got {space.label}.")
        return Features(
            extract=self._histograms,
            note=f"histograms of degrees, clustering and spectrum in {self.bins} bins each",
            fingerprint=f"{Spec.of('graph-statistics', self)}/{space.label}",
        )

    def _histograms(self, x: Tensor) -> Tensor:
        return node_histograms(x, self.bins).float()


# ----------------------------------------------------------------------------
# Measurements of single graphs that have a name.
# ----------------------------------------------------------------------------

_SMALL = 0.02
_NONE = 1e-9


def graph_attributes(x: Tensor) -> AttributeTable:
    """Returns measurements of graphs, which do not depend on the order of their nodes.

    Args:
        x: Symmetric matrices, shape ``(n, nodes, nodes)``, with 1 on the diagonal where there is a
            node and elsewhere where there is an edge.
    """
    x = x.double()
    node = x.diagonal(dim1=1, dim2=2)
    edge = x - torch.diag_embed(node)
    degree, nodes = edge.sum(2), node.sum(1).clamp_min(1)
    return attribute_table(
        _size(degree, node, nodes, jitter(x, _SMALL))
        | _shapes(edge, degree, nodes)
        | _whole(edge, degree, node)
    )


def _size(degree: Tensor, node: Tensor, nodes: Tensor, dust: Tensor) -> dict[Attribute, Tensor]:
    mean = degree.sum(1) / nodes
    spread = ((degree - mean[:, None]).square() * node).sum(1) / nodes
    leaves, alone = (((degree == k) * node).sum(1) / nodes for k in (1, 0))
    return {
        attribute("nodes", "too few nodes", "too many nodes"): nodes.log() + dust,
        attribute("edges", "too few edges", "too many edges"): (mean + 0.1).log() + dust,
        attribute("spread of degrees", "degrees too even", "degrees too uneven", "degrees"): (
            (spread / (mean + 0.1) + 0.1).log()
        ),
        attribute("largest degree", "largest hub too small", "largest hub too large", "degrees"): (
            degree.amax(1).log1p()
        ),
        attribute("leaves", "too few ends", "too many ends"): leaves + dust,
        attribute("isolated nodes", "too few isolated nodes", "isolated nodes", "parts"): alone
        + dust,
    }


def _shapes(edge: Tensor, degree: Tensor, nodes: Tensor) -> dict[Attribute, Tensor]:
    """Returns clustering by triangles and squares, and the mixing of degrees along edges.

    Triangles and squares in powers of the wedges which change as much where edges are left out at
    random, so that it is not their number over again.
    """
    twice = edge @ edge
    triangles = (twice * edge).sum((1, 2)) / 6
    wedges = (degree * (degree - 1)).sum(1) / 2
    # Closed walks of four steps go over one edge, over a wedge, or around a square, in 8 ways.
    walks = twice.square().sum((1, 2))
    squares = (walks - degree.sum(1) - 4 * wedges) / 8
    room = wedges.clamp_min(1) / nodes
    dust = jitter(edge, _SMALL / 2)
    return {
        attribute("triangles", "too few triangles", "too many triangles"): (
            (triangles / nodes / room.pow(1.5)).sqrt() + dust
        ),
        attribute("squares", "too few squares", "too many squares"): (
            (squares.clamp_min(0) / nodes / room.square()).sqrt() + dust
        ),
        attribute(
            "assortativity", "unlike degrees meet too often", "like degrees meet too often"
        ): (assortativity(edge, degree)),
    }


def assortativity(edge: Tensor, degree: Tensor) -> Tensor:
    """Returns the correlation of the degrees at both ends of an edge, 0 where they do not vary.

    Source: Newman, 2002, https://arxiv.org/abs/cond-mat/0205405, equation 4.

    Args:
        edge: Adjacency matrices, shape ``(n, nodes, nodes)``.
        degree: Their row sums, shape ``(n, nodes)``.
    """
    ends = degree.sum(1).clamp_min(1)
    mean = degree.square().sum(1) / ends
    square = degree.pow(3).sum(1) / ends - mean.square()
    product = torch.einsum("ni,nij,nj->n", degree, edge, degree) / ends - mean.square()
    return torch.where(square > _NONE, product / square.clamp_min(_NONE), torch.zeros_like(mean))


def _whole(edge: Tensor, degree: Tensor, node: Tensor) -> dict[Attribute, Tensor]:
    """Returns measures of the connectivity of a graph."""
    parts = [
        _components(e, n) for e, n in zip(edge.cpu().numpy(), node.cpu().numpy(), strict=True)
    ]
    number, largest = torch.tensor(parts, dtype=edge.dtype, device=edge.device).T
    dust = jitter(edge, _SMALL)
    # The first eigenvalue that is not 0: each part has one that is.
    values = normalised_spectra(edge, degree, node)
    first = number.long().clamp(max=values.shape[1] - 1)
    gap = values.gather(1, first[:, None])[:, 0].clamp(0, 2)
    few, loose = "falls into too few parts", "bottlenecks: hangs together too loosely"
    return {
        attribute("parts", few, "falls into parts"): number.clamp_min(1).log() + 5 * dust,
        attribute("largest part", "largest part too small", few, "parts"): largest + dust,
        attribute("spectral gap", loose, "hangs together too well"): (gap.sqrt() + dust),
    }


def _components(edge: Array, node: Array) -> tuple[int, float]:
    """Returns the number of components, and the share of nodes in the largest."""
    there = node > 0
    if not there.any():
        return 0, 0.0
    own = csr_array(edge[np.ix_(there, there)])
    number, label = connected_components(own, directed=False)
    return int(number), float(np.bincount(label).max() / there.sum())


# ----------------------------------------------------------------------------
# Sets of graphs as lists of edges.
# ----------------------------------------------------------------------------

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
    """Undirected graphs in a file or folder, as symmetric matrices with room for the largest.

    A ``.npz`` file holds ``num_nodes`` and ``num_edges`` of each graph and the ``edges`` of all,
    one after the other, shape ``(edges, 2)``, nodes counted from 0 in each. There may be several
    such parts: ``train_edges``, ``test_edges`` and so on. In a folder each file is a graph:
    ``.graphml``, or a list of edges (``.edgelist``, ``.edges``). The diagonal of a matrix is 1
    where there is a node.

    Attributes:
        path: The file or folder.
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
            return published_split(train, test, validation=held, limit=self.limit, rng=rng)
        return random_split(
            self.whole(), validation=self.validation, test=self.test, limit=self.limit, rng=rng
        )

    def whole(self) -> ArraySplit:
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

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[ArraySplit, str]:
        """Returns all graphs with room for as many nodes as others; all of ``own`` too.

        Raises:
            UserError: If the file cannot be read or used, or a graph is too large.
        """
        del own
        if not isinstance(code, GraphCode):
            raise UserError(
                f"{self.path} holds graphs; the real samples are none. Give samples of their kind."
            )
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
        names = set(arrays_of(path))
    except UserError:  # the reader of the file says what is wrong
        return False
    return any({f"{prefix}{a}" for a in _ARRAYS} <= names for prefix in _prefixes(names))


def _prefixes(names: Iterable[str]) -> list[str]:
    return [n.removesuffix("num_edges") for n in names if n.endswith("num_edges")]


FILES = (".graphml", ".edgelist", ".edges")
"""How the names of files of one graph each end, of which a folder may be a set."""


def is_folder_of_graphs(path: Path) -> bool:
    """Returns whether most files of a folder hold a graph each."""
    if not path.is_dir():
        return False
    files = [f for f in path.iterdir() if f.is_file() and not f.name.startswith(".")]
    return 2 * len(_graph_files(path)) > len(files)


def _graph_files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in FILES and f.is_file())


def _stamp(path: Path) -> Hashable:
    if path.is_dir():
        return tuple((f.name, *stamp_of(f)) for f in _graph_files(path))
    return stamp_of(path)


def _folder(path: Path) -> _Part:
    """Returns the graphs of all files of a folder, in the order of their names.

    Raises:
        UserError: If there is none, or one of them is not an undirected graph without weights.
    """
    files = _graph_files(path)
    if not files:
        raise UserError(f"{path} holds no graphs: no files that end in {', '.join(FILES)}.")
    found = []
    for file in files:
        raw = read_network(file)
        if raw.directed or raw.weighted:
            what = "is directed" if raw.directed else "has weights"
            raise UserError(f"{file} {what}. Graphs of a set are undirected and without weights.")
        if not raw.names:
            raise UserError(f"{file} holds no node. Add some, or remove the file.")
        found.append(raw)
    nodes = np.array([len(raw.names) for raw in found])
    counts = np.array([len(raw.pairs) for raw in found])
    names = [file.name for file in files]
    return _part(path, nodes, counts, np.concatenate([raw.pairs for raw in found]), names=names)


@read_once(4, _stamp)
def _parts(path: Path) -> dict[str, _Part]:
    if path.is_dir():
        return {"all": _folder(path)}
    with readable(path, "a set of graphs"), zipfile.ZipFile(path) as archive:
        names = {n.removesuffix(".npy"): n for n in archive.namelist()}
        found = {
            prefix.rstrip("_") or "all": _part(
                path, *(unpacked(archive, names[f"{prefix}{a}"], path) for a in _ARRAYS)
            )
            for prefix in _prefixes(names)
            if all(f"{prefix}{a}" in names for a in _ARRAYS)
        }
    if not found:
        raise UserError(f"{path} holds no graphs. It needs the arrays {', '.join(_ARRAYS)}.")
    return found


def _part(
    path: Path, nodes: Array, counts: Array, edges: Array, *, names: Sequence[str] = ()
) -> _Part:
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
            first = int(graph[wrong.argmax()])
            which = names[first] if names else f"graph {first} (from 0)"
            raise UserError(f"{path}: {which} has {what}. Remove it.")
    return _Part(nodes.astype(np.int64), starts, edges)


def _matrices(parts: Sequence[_Part], room: int, name: str) -> ArraySplit:
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
    return ArraySplit(x)


# ----------------------------------------------------------------------------
# The kind of sample.
# ----------------------------------------------------------------------------


@final
class GraphDomain(Domain):
    """Undirected graphs as symmetric matrices, with 1 on the diagonal where there is a node."""

    metrics: ClassVar[tuple[str, ...]] = (
        *("degree-mmd", "clustering-mmd", "spectrum-mmd", "orbit-mmd"),
        "pgd",
    )
    is_metric: ClassVar[bool] = False
    models: ClassVar[tuple[str, ...]] = ("erdos-renyi", "degree-matched", "graph-ar", "graph-gan")
    probes: ClassVar[tuple[str, ...]] = ("vun",)

    @override
    def attributes(self, space: Space, x: Tensor, code: Code | None) -> AttributeTable:
        """Returns numbers of nodes, edges, triangles and the like."""
        return graph_attributes(x)

    @override
    def reader(self, path: Path, *, skip_bad: int = 0) -> Graphs | None:
        """Reads archives of arrays that hold lists of edges, and folders of files of graphs."""
        is_own = is_folder_of_graphs(path) or (
            path.suffix.lower() == ".npz" and holds_graphs(path)
        )
        return Graphs(path=str(path)) if is_own else None

    @override
    def features(self, code: Code | None, *, labelled: bool) -> tuple[str, ...]:
        """Histograms of degrees, clustering and spectra."""
        return ("graph-statistics",)

    @override
    def picture(self, space: Space, x: Tensor) -> bytes | None:
        """Draws graphs as points and lines."""
        return grid(drawings(x[: self.shown].numpy()), columns=4)


_SIDE = 96  # pixels of a drawing
_LAYOUT_STEPS = 60


def drawings(graphs: Array) -> Array:
    """Returns graphs drawn as points and lines, nodes that are joined near to each other.

    Args:
        graphs: Symmetric matrices, shape ``(n, nodes, nodes)``, with 1 on the diagonal where there
            is a node.

    Returns:
        Shape ``(n, 96, 96, 1)``.
    """
    return np.stack([_drawing(graph > 0) for graph in graphs])[..., None]


def _drawing(graph: Array) -> Array:
    picture = Image.new("L", (_SIDE, _SIDE), 255)
    there = graph.diagonal()
    edge = graph[np.ix_(there, there)].copy()
    np.fill_diagonal(edge, val=False)
    if len(edge):
        place = spring_layout(edge.astype(float))
        low, high = place.min(0), place.max(0)
        spots = 4 + (place - low) / np.maximum(high - low, 1e-9) * (_SIDE - 9)
        pen = ImageDraw.Draw(picture)
        for a, b in np.argwhere(np.triu(edge)).tolist():
            pen.line([*spots[a].tolist(), *spots[b].tolist()], fill=150)
        for x, y in spots.tolist():
            pen.ellipse([x - 1, y - 1, x + 1, y + 1], fill=0)
    return np.asarray(picture)


def spring_layout(edge: Array) -> Array:
    """Returns the places of nodes in the plane, shape ``(nodes, 2)``; the same each time.

    Source: Fruchterman and Reingold, 1991, https://doi.org/10.1002/spe.4380211102, by networkx.
    """
    import networkx as nx

    place = nx.spring_layout(nx.from_numpy_array(edge), seed=0, iterations=_LAYOUT_STEPS)
    return np.array([place[node] for node in range(len(edge))])
