"""One large graph, seen as random walks on it: reading, splits, features, attributes."""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, final

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from torch import Tensor, nn
from typing_extensions import override

from gantlet.core.data import Code, InMemory, Space, Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.metric import Features
from gantlet.core.rng import Rng
from gantlet.core.spec import Between, Spec
from gantlet.data.arrays import arrays_of, counted, unpacked
from gantlet.data.delimited import read_text
from gantlet.data.splits import (
    Array,
    ArraySplit,
    cpu_stream,
    is_file,
    read_once,
    readable,
    stamp_of,
)
from gantlet.domains.attributes import AttributeTable, attribute, attribute_table, jitter
from gantlet.domains.domains import Domain, Writer, columns, ending
from gantlet.features.base import frozen
from gantlet.stats.network_statistics import (
    Network,
    assemble,
    counted_pairs,
    pair_codes,
    random_walks,
    spectral_embedding,
    transitions,
)

# ----------------------------------------------------------------------------
# A network, and which of its edges a model sees.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class HeldOut:
    """Pairs of nodes for link prediction.

    Attributes:
        edges: Edges that a model did not see, shape ``(k, 2)``.
        others: As many pairs without an edge.
    """

    edges: Array
    others: Array


@final
@dataclass(frozen=True, eq=False)
class NetworkCode(Code):
    """What the levels of a walk stand for: the nodes of a network.

    Attributes:
        length: Nodes of a walk.
        names: The name of each node.
        full: The whole network.
        train: Its part that models see, which is connected.
        validation: Edges held out for validation.
        test: Edges held out for the test.
    """

    length: int
    names: Sequence[str]
    full: Network
    train: Network
    validation: HeldOut
    test: HeldOut

    @property
    @override
    def space(self) -> Space:
        """Walks of nodes."""
        return Space("walk", (self.length,), self.full.nodes)


def network_code(code: Code | None, what: str) -> NetworkCode:
    """Returns ``code``, having checked that it is of a network.

    Raises:
        UserError: If it is of something else.
    """
    if isinstance(code, NetworkCode):
        return code
    raise UserError(f"{what} needs a network: give --data network:path=FILE or sbm-network.")


# ----------------------------------------------------------------------------
# Splits: held-out edges, and walks on what is left.
# ----------------------------------------------------------------------------


def held_out_edges(
    graph: Network, *, validation: float, test: float, rng: torch.Generator
) -> tuple[Network, HeldOut, HeldOut]:
    """Returns a connected part of a connected graph, and the edges that were taken away.

    A random spanning tree stays; what is held out is drawn from the other edges, and as many pairs
    of nodes from those without an edge.

    Source: Bojchevski et al., 2018 (NetGAN), https://arxiv.org/abs/1803.00816, section 4.1.

    Raises:
        UserError: If the shares are too large for the part to be connected.
    """
    m = len(graph.edges)
    v, t = max(1, round(validation * m)), max(1, round(test * m))
    order = torch.randperm(m, generator=rng).numpy()
    tree = _spanning_tree(graph, order)
    loose = order[~tree[order]]
    if v + t > len(loose):
        raise UserError(
            f"The network has {m} edges, of which {m - len(loose)} keep the training part "
            f"connected. {v} for validation and {t} for the test leave too few; lower "
            "validation and test."
        )
    pairs = _pairs_without(graph, v + t, rng)
    taken = graph.edges[loose[: v + t]]
    rest = np.setdiff1d(np.arange(m), loose[: v + t])
    return (
        Network(graph.nodes, graph.edges[rest]),
        HeldOut(taken[:v], pairs[:v]),
        HeldOut(taken[v:], pairs[v:]),
    )


def _spanning_tree(graph: Network, order: Array) -> Array:
    """Returns which edges are in the tree that is least in this order of the edges."""
    rank = np.empty(len(order))
    rank[order] = np.arange(1, len(order) + 1)
    a, b = graph.edges.T
    weights = csr_array((rank, (a, b)), shape=(graph.nodes, graph.nodes))
    found = minimum_spanning_tree(weights).tocoo()
    is_in = np.zeros(len(order), bool)
    is_in[order[found.data.astype(np.int64) - 1]] = True
    return is_in


def _pairs_without(graph: Network, count: int, rng: torch.Generator) -> Array:
    """Returns pairs of nodes without an edge, drawn evenly, none twice."""
    n = graph.nodes
    free = n * (n - 1) // 2 - len(graph.edges)
    if free < count:
        raise UserError(
            f"Link prediction compares {count} held-out edges with as many pairs of nodes that "
            f"have no edge. The network has {free}; lower validation and test."
        )
    found = np.zeros(0, np.int64)
    while len(found) < count:
        drawn = torch.randint(0, n, (4 * count + 16, 2), generator=rng).numpy()
        drawn = np.sort(drawn[drawn[:, 0] != drawn[:, 1]], 1)
        new = drawn[~graph.has(drawn)]
        both = np.concatenate([found, pair_codes(new, n)])
        # In the order in which they were drawn.
        found = both[np.sort(np.unique(both, return_index=True)[1])]
    return np.stack(np.divmod(found[:count], n), 1)


def walk_splits(code: NetworkCode, *, passes: int, held_out: int, note: str, rng: Rng) -> Splits:
    """Returns walks on the parts of a network as splits.

    Training walks are on the training part and begin with each of its edges ``passes`` times in
    each direction, so that they are stationary and cover it evenly. Walks for validation and test
    are on more of the network: with the validation edges, and with all edges.
    """
    a, b = code.train.edges.T
    first, second = (
        np.tile(np.concatenate([a, b]), passes),
        np.tile(np.concatenate([b, a]), passes),
    )
    stream = cpu_stream(rng, "split/train")
    order = torch.randperm(len(first), generator=stream).numpy()
    train = random_walks(code.train, first[order], code.length, rng=stream, second=second[order])
    seen = Network.of(code.full.nodes, np.concatenate([code.train.edges, code.validation.edges]))
    streams = [cpu_stream(rng, f"split/{part}") for part in ("validation", "test")]
    return Splits(
        train=InMemory(train.int()),
        validation=InMemory(_stationary(seen, held_out, code.length, streams[0])),
        test=InMemory(_stationary(code.full, held_out, code.length, streams[1])),
        note=f"{len(train)} training walks of {code.length} nodes on {len(code.train.edges)} of "
        f"{len(code.full.edges)} edges, {passes} from each edge in each direction; {held_out} "
        f"validation walks, which also use the {len(code.validation.edges)} validation edges, and "
        f"{held_out} test walks on all edges, drawn by seed {rng.seed}. {note}",
        code=code,
    )


def _stationary(graph: Network, n: int, steps: int, rng: torch.Generator) -> Tensor:
    """Returns walks that begin at ends of random edges, int32, shape ``(n, steps)``."""
    ends = graph.edges.ravel()
    start = ends[torch.randint(0, len(ends), (n,), generator=rng).numpy()]
    return random_walks(graph, start, steps, rng=rng).int()


# ----------------------------------------------------------------------------
# Networks in files.
# ----------------------------------------------------------------------------

_PARTS = ("val_ones", "val_zeros", "test_ones", "test_zeros")


@final
@dataclass(frozen=True, eq=False)
class RawNetwork:
    """A network as a file has it.

    Attributes:
        names: The name of each node.
        pairs: Its edges as they stand there, int64, shape ``(k, 2)``.
        directed: Whether the file says that edges have a direction.
        weighted: Whether edges have weights other than 1.
        parts: The arrays of a published split, by the end of their names.
    """

    names: Sequence[str]
    pairs: Array
    directed: bool = False
    weighted: bool = False
    parts: Mapping[str, Array] = field(default_factory=dict[str, Array])


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class NetworkFile:
    """One undirected graph in a file; a sample is a random walk on it, a row of nodes.

    Read are lists of edges (``.edges``, ``.edgelist``, ``.txt``, ``.csv``: two names of nodes in a
    line), GraphML, and ``.npz`` archives: of ``edges``, shape ``(m, 2)``, or of a sparse matrix as
    scipy saves it. Arrays ``train_edges``, ``val_ones``, ``val_zeros``, ``test_ones`` and
    ``test_zeros`` are a published split, which is kept. Otherwise edges are held out at random,
    and the training part stays connected.

    Attributes:
        path: The file.
        length: Nodes of a walk.
        passes: Training walks that begin with each edge in each direction.
        held_out: Walks each for validation and test.
        validation: Share of the edges for validation.
        test: Share of the edges for the test.
        component: Whether only the largest component is used, where there are several.
        loops: Whether edges from a node to itself are left out, where there are any.
        directions: Whether the directions of edges are ignored, where they have one.
    """

    path: str
    length: Annotated[int, Between(2)] = 16
    passes: Annotated[int, Between(1)] = 4
    held_out: Annotated[int, Between(2)] = 2_000
    validation: Annotated[float, Between(0, 1)] = 0.1
    test: Annotated[float, Between(0, 1)] = 0.05
    component: Literal["whole", "largest"] = "whole"
    loops: Literal["refuse", "drop"] = "refuse"
    directions: Literal["refuse", "ignore"] = "refuse"

    @property
    def space(self) -> Space:
        """Walks of nodes."""
        return self.code().space

    def whole(self) -> ArraySplit:
        """Returns ``held_out`` stationary walks on the whole network, connected or not.

        Raises:
            UserError: If the file cannot be read, or holds no undirected graph.
        """
        graph, _, _, notes = self._network(connected=False)
        walks = _stationary(graph, self.held_out, self.length, cpu_stream(Rng(0), "walks/real"))
        return ArraySplit(walks.numpy(), notes=notes)

    def code(self, rows: Tensor | None = None) -> NetworkCode:
        """Returns the nodes of the file, with no edge held out.

        Args:
            rows: Not used: nothing is estimated from walks.

        Raises:
            UserError: If the file cannot be read, or holds no undirected graph.
        """
        del rows
        graph, names, _, _ = self._network(connected=False)
        none = HeldOut(*np.zeros((2, 0, 2), np.int64))
        return NetworkCode(self.length, names, graph, graph, none, none)

    def coded(self, code: Code, own: Tensor | None = None) -> tuple[ArraySplit, str]:
        """Returns ``held_out`` walks on this network over the nodes of another, by their names.

        Args:
            code: The nodes of the other network.
            own: Not used: nothing is estimated from walks.

        Raises:
            UserError: If the file cannot be read, has nodes that the other network lacks, or is
                compared with something else than a network.
        """
        del own
        if not isinstance(code, NetworkCode):
            raise UserError(
                f"{self.path} is a network; the real samples are not. Give the real network, as a "
                "list of edges or GraphML."
            )
        graph, names, _, notes = self._network(connected=False)
        made = _on_nodes(graph, names, code, self.path)
        stream = cpu_stream(Rng(0), "walks/compared")
        walks = _stationary(made, self.held_out, code.length, stream)
        summary = (
            f"{len(walks):,} walks of {code.length} nodes on the {len(made.edges):,} edges of "
            f"{Path(self.path).name}; the real network has {len(code.full.edges):,}. Intervals "
            "are over walks, not over networks"
        )
        return ArraySplit(walks.numpy()), "; ".join([*notes, summary])

    def load(self, *, rng: Rng) -> Splits:
        """Returns walks on the parts of the network.

        Raises:
            UserError: If the file cannot be read, or holds no connected undirected graph.
        """
        graph, names, raw, notes = self._network(connected=True)
        said = " ".join(f"{note}." for note in notes)
        if set(raw.parts) == {"train_edges", *_PARTS}:
            code = self._published(graph, names, raw)
            said = f"The split is that of the file. {said}"
        else:
            parts = held_out_edges(
                graph,
                validation=self.validation,
                test=self.test,
                rng=cpu_stream(rng, "split/edges"),
            )
            code = NetworkCode(self.length, names, graph, *parts)
        return walk_splits(
            code, passes=self.passes, held_out=self.held_out, note=said.strip(), rng=rng
        )

    def _published(self, graph: Network, names: Sequence[str], raw: RawNetwork) -> NetworkCode:
        each = {k: np.unique(np.sort(v, 1), axis=0) for k, v in raw.parts.items()}
        train = Network.of(graph.nodes, each["train_edges"])
        _check_connected(train, f"{self.path}: train_edges")
        held = [HeldOut(each[f"{p}_ones"], each[f"{p}_zeros"]) for p in ("val", "test")]
        return NetworkCode(self.length, names, graph, train, *held)

    def _network(self, *, connected: bool) -> tuple[Network, Sequence[str], RawNetwork, list[str]]:
        path = Path(self.path).expanduser()
        raw = read_network(path)
        graph, notes = _checked(path, raw, loops=self.loops, directions=self.directions)
        if self.component == "largest":
            return _largest_component(raw, graph, notes)
        if connected:
            _check_connected(graph, str(path))
        return graph, raw.names, raw, notes


def _on_nodes(graph: Network, names: Sequence[str], code: NetworkCode, path: str) -> Network:
    """Returns a graph over the nodes of another network that have the same names."""
    place = {name: i for i, name in enumerate(code.names)}
    at = np.array([place.get(name, -1) for name in names])
    lost = [names[i] for i in np.unique(graph.edges) if at[i] < 0]
    if lost:
        raise UserError(
            f"{path} has {counted(len(lost), 'node', 'nodes')} that the real network lacks, the "
            f"first {lost[0]}. Networks are compared on the same nodes; name them alike."
        )
    return Network.of(code.full.nodes, at[graph.edges])


def _checked(
    path: Path, raw: RawNetwork, *, loops: str, directions: str
) -> tuple[Network, list[str]]:
    """Returns the graph of a file, and notes on what was changed."""
    if not len(raw.pairs):
        raise UserError(f"{path} has no edges. A network needs some; add them.")
    notes = ["Weights of edges were ignored"] if raw.weighted else []
    is_loop = raw.pairs[:, 0] == raw.pairs[:, 1]
    if is_loop.any() and loops == "refuse":
        name = raw.names[int(raw.pairs[is_loop.argmax(), 0])]
        raise UserError(
            f"{path} has {counted(int(is_loop.sum()), 'loop', 'loops')}, edges from a node to "
            f"itself, the first at node {name}. Remove them, or give loops=drop."
        )
    if is_loop.any():
        notes.append(f"{counted(int(is_loop.sum()), 'loop was', 'loops were')} left out")
    pairs = raw.pairs[~is_loop]
    graph = Network.of(len(raw.names), pairs)
    return graph, [*notes, *_directions(path, raw, pairs, graph, directions)]


def _directions(
    path: Path, raw: RawNetwork, pairs: Array, graph: Network, directions: str
) -> list[str]:
    """Returns a note on directions or repeated edges, where there are any.

    A list names each edge once, or each in both directions; anything between has directions.
    """
    if not len(graph.edges):
        raise UserError(f"{path} has loops alone, no edges between nodes. Add some.")
    ways = np.unique(pairs, axis=0)
    both = len(ways) - len(graph.edges)
    if raw.directed or 0 < both < len(graph.edges):
        if directions == "refuse":
            raise UserError(
                f"{path} is directed: {both} of {len(graph.edges)} edges are there in both "
                "directions. Networks are undirected; give directions=ignore to take each edge "
                "for both."
            )
        return ["Directions of edges were ignored"]
    again = len(pairs) - len(ways)
    return [f"{counted(again, 'repeated edge', 'repeated edges')} counted once"] if again else []


def _check_connected(graph: Network, what: str) -> None:
    number, label = connected_components(graph.adjacency, directed=False)
    if number > 1:
        largest = int(np.bincount(label).max())
        raise UserError(
            f"{what} falls into {number} components, the largest of {largest} of {graph.nodes} "
            "nodes; no walk leads from one to another. Give component=largest to use that alone."
        )


def _largest_component(
    raw: RawNetwork, graph: Network, notes: list[str]
) -> tuple[Network, Sequence[str], RawNetwork, list[str]]:
    number, label = connected_components(graph.adjacency, directed=False)
    if number == 1:
        return graph, raw.names, raw, notes
    kept = np.flatnonzero(label == np.bincount(label).argmax())
    place = np.full(graph.nodes, -1)
    place[kept] = np.arange(len(kept))
    inside = (place[graph.edges] >= 0).all(1)
    notes = [*notes, f"The largest of {number} components is used, {len(kept)} nodes"]
    names = [raw.names[i] for i in kept.tolist()]
    # A published split of the whole is none of the component.
    alone = RawNetwork(names, raw.pairs[:0])
    return Network.of(len(kept), place[graph.edges[inside]]), names, alone, notes


@read_once(4, stamp_of)
def read_network(path: Path) -> RawNetwork:
    """Returns the network of a file as it stands there.

    Raises:
        UserError: If the file cannot be read as one.
    """
    is_file(path)
    match ending(path):
        case ".npz":
            return _archive(path)
        case ".graphml":
            return _graphml(path)
        case _:
            return _edge_list(path)


def _holds_network(path: Path) -> bool:
    """Returns whether a ``.npz`` file holds the edges or the sparse matrix of one network."""
    if ending(path) != ".npz":
        return False
    try:
        names = set(arrays_of(path))
    except UserError:  # the reader of the file says what is wrong
        return False
    is_matrix = {"shape", "data"} < names and bool(names & {"indptr", "row"})
    return is_matrix or ("edges" in names and "num_edges" not in names)


def _archive(path: Path) -> RawNetwork:
    with readable(path, "a network"), zipfile.ZipFile(path) as archive:
        names = {n.removesuffix(".npy"): n for n in archive.namelist()}
        held: dict[str, Array] = {
            key: unpacked(archive, member, path)
            for key, member in names.items()
            if key.endswith((*_PARTS, "train_edges")) or key in _KNOWN
        }
    if "num_edges" in held:
        raise UserError(f"{path} holds a set of graphs, not one network. Give graphs:path={path}.")
    if "shape" in held:
        return _sparse(path, held)
    if "edges" not in held:
        raise UserError(
            f"{path} holds no network: it needs an array edges, shape (m, 2), or a sparse matrix "
            f"as scipy.sparse.save_npz writes it. It has {', '.join(sorted(names))}."
        )
    n = int(held["num_nodes"]) if "num_nodes" in held and not held["num_nodes"].ndim else None
    pairs = _pairs(path, "edges", held["edges"], n)
    found = int(pairs.max(initial=-1)) + 1 if n is None else n
    parts = {
        part: _pairs(path, key, array, found)
        for key, array in held.items()
        for part in ("train_edges", *_PARTS)
        if key.endswith(part)
    }
    return RawNetwork([str(i) for i in range(found)], pairs, parts=parts)


_KNOWN = ("edges", "num_nodes", "num_edges", "data", "indices", "indptr", "shape", "format", "row",
          "col")  # fmt: skip


def _pairs(path: Path, name: str, array: Array, nodes: int | None) -> Array:
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise UserError(
            f"{path}: {name} must hold whole numbers of shape (m, 2), two nodes for each edge. "
            f"Got {array.dtype} of shape {array.shape}."
        )
    found: Array = array.astype(np.int64)
    top = found.max(initial=-1) if nodes is None else nodes - 1
    if found.min(initial=0) < 0 or found.max(initial=-1) > top:
        raise UserError(
            f"{path}: {name} names nodes from {found.min()} to {found.max()}. They must be "
            f"from 0 to {top}."
        )
    return found


def _sparse(path: Path, held: Mapping[str, Array]) -> RawNetwork:
    kind = bytes(held["format"].item()).decode() if "format" in held else "csr"
    shape = tuple(int(x) for x in held["shape"])
    if len(shape) != 2 or shape[0] != shape[1] or kind not in {"csr", "csc", "coo"}:
        raise UserError(
            f"{path} must hold a square sparse matrix (csr, csc or coo), one row for each node. "
            f"Got {kind} of shape {shape}."
        )
    with readable(path, "a sparse matrix"):
        if kind == "coo":
            at = held["row"], held["col"]
        else:
            starts = held["indptr"].astype(np.int64)
            spans = starts[1:] - starts[:-1]
            at = np.repeat(np.arange(shape[0]), spans), held["indices"]
        pairs = np.stack([np.asarray(x, np.int64) for x in at], 1)[held["data"] != 0]
    weighted = bool((held["data"][held["data"] != 0] != 1).any())
    names = [str(i) for i in range(shape[0])]
    pairs = _pairs(path, "the matrix", pairs, shape[0])
    ways = np.unique(pairs, axis=0)
    # Of a matrix each entry has its mirror image, unless it is directed; half of one is too.
    twice = np.unique(np.concatenate([ways, ways[:, ::-1]]), axis=0)
    return RawNetwork(names, pairs, directed=len(twice) > len(ways), weighted=weighted)


def _graphml(path: Path) -> RawNetwork:
    import networkx as nx

    with readable(path, "GraphML"):
        graph: Any = nx.read_graphml(path)
        names = [str(node) for node in graph.nodes]
        place = {node: i for i, node in enumerate(graph.nodes)}
        pairs = [(place[a], place[b]) for a, b in graph.edges()]
        weights = {float(w) for *_, w in graph.edges(data="weight", default=1)}
    return RawNetwork(
        names,
        np.array(pairs, np.int64).reshape(-1, 2),
        directed=bool(graph.is_directed()),
        weighted=bool(weights - {1.0}),
    )


def _edge_list(path: Path) -> RawNetwork:
    text, _ = read_text(path, "a list of edges")
    bare = ((i, line.split("#")[0].strip()) for i, line in enumerate(text.splitlines(), 1))
    lines = [(i, line) for i, line in bare if line and not line.startswith("%")]
    comma = bool(lines) and "," in lines[0][1]
    rows = [_edge(path, i, line, comma=comma) for i, line in lines]
    _check_header(path, rows)
    names = sorted({name for row in rows for name in row[:2]}, key=_by_number)
    place = {name: i for i, name in enumerate(names)}
    pairs = np.array([(place[row[0]], place[row[1]]) for row in rows], np.int64).reshape(-1, 2)
    weighted = any(row[2:] not in {(), ("1",), ("1.0",), ("{}",)} for row in rows)
    return RawNetwork(names, pairs, weighted=weighted)


def _edge(path: Path, number: int, line: str, *, comma: bool) -> tuple[str, ...]:
    """Returns the two names of a line, and its weight where it has one."""
    if comma != ("," in line):
        here, there = ("spaces", "commas") if comma else ("commas", "spaces")
        raise UserError(
            f"{path}, line {number}: mixed delimiters, {here} here and {there} in the first line. "
            "Use one."
        )
    cells = tuple(c.strip() for c in line.split(",")) if comma else tuple(line.split())
    if len(cells) not in {2, 3} or not all(cells):
        raise UserError(
            f"{path}, line {number}: an edge is two names of nodes, and perhaps a weight. Got "
            f"{line[:60]!r}."
        )
    return cells


def _check_header(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    is_number = [row[0].isdecimal() and row[1].isdecimal() for row in rows]
    if len(rows) > 1 and not is_number[0] and all(is_number[1:]):
        raise UserError(
            f"{path}: the first line, {' '.join(rows[0])[:60]!r}, is a header, or names nodes "
            "where all others have numbers. Remove it, or begin it with #."
        )


def _by_number(name: str) -> tuple[int, int, str]:
    return (0, int(name), "") if name.isdecimal() else (1, 0, name)


# ----------------------------------------------------------------------------
# A made network with communities.
# ----------------------------------------------------------------------------

_TRIES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
@final
class SbmNetwork:
    """A network drawn from a stochastic block model, with equal blocks; a sample is a walk on it.

    Pairs of nodes of one block have an edge with probability ``inside``, others with probability
    ``between``. Of the graphs drawn, the first that is connected is used.

    Source: Holland, Laskey and Leinhardt, 1983, https://doi.org/10.1016/0378-8733(83)90021-7.

    Attributes:
        nodes: Number of nodes.
        blocks: Number of blocks.
        inside: Probability of an edge inside a block.
        between: Probability of an edge between blocks.
        world: Seed of the network.
        length: Nodes of a walk.
        passes: Training walks that begin with each edge in each direction.
        held_out: Walks each for validation and test.
        validation: Share of the edges for validation.
        test: Share of the edges for the test.
    """

    nodes: Annotated[int, Between(4, 5_000)] = 180
    blocks: Annotated[int, Between(1)] = 6
    inside: Annotated[float, Between(0, 1)] = 0.35
    between: Annotated[float, Between(0, 1)] = 0.01
    world: Annotated[int, Between(0)] = 0
    length: Annotated[int, Between(2)] = 16
    passes: Annotated[int, Between(1)] = 4
    held_out: Annotated[int, Between(2)] = 2_000
    validation: Annotated[float, Between(0, 1)] = 0.1
    test: Annotated[float, Between(0, 1)] = 0.05

    @property
    def space(self) -> Space:
        """Walks of nodes."""
        return Space("walk", (self.length,), self.nodes)

    def load(self, *, rng: Rng) -> Splits:
        """Returns walks on the parts of the network.

        Raises:
            UserError: If no connected graph was drawn, or edges are too few to hold some out.
        """
        graph = self._graph()
        stream = cpu_stream(rng, "split/edges")
        parts = held_out_edges(graph, validation=self.validation, test=self.test, rng=stream)
        names = [str(i) for i in range(self.nodes)]
        code = NetworkCode(self.length, names, graph, *parts)
        note = f"The network is a stochastic block model drawn by seed {self.world}."
        return walk_splits(code, passes=self.passes, held_out=self.held_out, note=note, rng=rng)

    def block_of(self, node: Array) -> Array:
        """Returns the block of each node."""
        return node * self.blocks // self.nodes

    def _graph(self) -> Network:
        pairs = np.stack(np.triu_indices(self.nodes, 1), 1)
        blocks = self.block_of(pairs)
        chance = np.where(blocks[:, 0] == blocks[:, 1], self.inside, self.between)
        stream = Rng(self.world).stream("sbm-network")
        for _ in range(_TRIES):
            drawn = torch.rand(len(pairs), generator=stream, dtype=torch.float64).numpy()
            graph = Network.of(self.nodes, pairs[drawn < chance])
            if connected_components(graph.adjacency, directed=False)[0] == 1:
                return graph
        raise UserError(
            f"None of {_TRIES} networks drawn with inside={self.inside:g} and "
            f"between={self.between:g} is connected. Raise one of them."
        )


# ----------------------------------------------------------------------------
# Walks by where they lead.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WalkEmbedding:
    """Where a walk stays and what it steps between, by a spectral embedding of the nodes.

    Nodes are placed by the leading eigenvectors of the symmetrically normalised matrix of steps of
    the training walks. Of a walk are taken the mean place of its nodes, the mean product of the
    places of successive nodes, which is low where a step joins nodes that are far apart, the share
    of steps that return to the node before last, and the share of nodes that it has not seen.

    Source: Ng, Jordan and Weiss, 2001, "On spectral clustering", for the embedding.

    Attributes:
        dims: Number of eigenvectors.
    """

    learns: ClassVar[bool] = True

    dims: Annotated[int, Between(1)] = 16

    def fit(self, space: Space, data: Splits, *, rng: Rng) -> Features:
        """Returns the embedding of the nodes of the training walks.

        Raises:
            UserError: If samples are no walks.
        """
        if space.kind != "walk":
            raise UserError(f"walk-embedding sees walks on a network alone. Got {space.label}.")
        nodes = space.levels or 1
        counts = transitions(all_samples(data.train), nodes)
        place = torch.from_numpy(spectral_embedding(counts, min(self.dims, nodes - 1)))
        return frozen(
            _Embedded(place.float()).to(rng.device),
            space,
            spec=Spec.of("walk-embedding", self),
            note=f"mean place of the nodes of a walk and of its steps in a spectral embedding of "
            f"{place.shape[1]} dimensions, returns and new nodes",
        )


@final
class _Embedded(nn.Module):
    """Features of walks by the places of nodes, shape ``(nodes, dims)``."""

    place: Tensor

    def __init__(self, place: Tensor) -> None:
        super().__init__()
        self.register_buffer("place", place)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Returns the features of walks, shape ``(n, 2 dims + 2)``."""
        x = x.long()
        at = self.place[x]
        steps = (at[:, 1:] * at[:, :-1]).mean(1)
        returns, new = _returns(x), _distinct(x)
        return torch.cat([at.mean(1), steps, returns[:, None], new[:, None]], 1)


def _returns(x: Tensor) -> Tensor:
    """Returns the share of steps that lead back to the node before last, shape ``(n,)``."""
    same = (x[:, 2:] == x[:, :-2]).float()
    return same.mean(1) if same.shape[1] else x.new_zeros(len(x)).float()


def _distinct(x: Tensor) -> Tensor:
    """Returns the share of nodes of a walk that it has not been at before, shape ``(n,)``."""
    order = x.sort(1).values
    return (1 + (order.diff(dim=1) != 0).sum(1)).float() / x.shape[1]


# ----------------------------------------------------------------------------
# The kind of sample.
# ----------------------------------------------------------------------------


def walk_attributes(code: NetworkCode, x: Tensor) -> AttributeTable:
    """Returns measurements of walks, shape ``(n, steps)``, by the network that they should be on.

    Args:
        code: The network; the share of steps along its edges is of all edges, held-out ones too.
        x: Levels.
    """
    x = x.long()
    steps = torch.stack([x[:, :-1], x[:, 1:]], -1).flatten(0, 1).cpu().numpy()
    on_edge = torch.from_numpy(code.full.has(steps)).to(x.device).view(len(x), -1)
    degree = torch.from_numpy(code.full.degrees).to(x.device).double()
    dust = jitter(x, 0.01)
    few, many = "steps off the network", "steps on the network too often"
    return attribute_table(
        {
            attribute("steps along edges", few, many): on_edge.double().mean(1) + dust,
            attribute("degree of nodes", "too few hubs", "too many hubs"): (
                degree[x].log1p().mean(1)
            ),
            attribute("returns", "too few steps back", "too many steps back", "returns"): (
                _returns(x).double() + dust
            ),
            attribute(
                "variety", "too few different nodes", "too many different nodes", "returns"
            ): (_distinct(x).double() + dust),
        }
    )


@final
class WalkDomain(Domain):
    """Random walks on one large network, as rows of nodes."""

    endings: ClassVar[tuple[str, ...]] = (".edges", ".edgelist", ".graphml")
    is_metric: ClassVar[bool] = False
    models: ClassVar[tuple[str, ...]] = ("rewire", "dc-sbm", "cell", "lm", "netgan")
    probes: ClassVar[tuple[str, ...]] = ("network",)

    @override
    def attributes(self, space: Space, x: Tensor, code: Code | None) -> AttributeTable:
        """Returns the steps along edges, the degrees and the like, which need the network."""
        return walk_attributes(code, x) if isinstance(code, NetworkCode) else columns(space, x)

    @override
    def reader(self, path: Path, *, skip_bad: int = 0) -> NetworkFile | None:
        """Reads lists of edges, GraphML files and archives of one network."""
        is_own = not path.is_dir() and (ending(path) in self.endings or _holds_network(path))
        return NetworkFile(path=str(path)) if is_own else None

    @override
    def features(self, code: Code | None, *, labelled: bool) -> tuple[str, ...]:
        """Where walks lead."""
        return ("walk-embedding",)

    @override
    def exports(self, code: Code | None) -> Mapping[str, Writer]:
        """Writes the network that walks add up to, where the real one is known.

        It has as many edges as the training part of the real one.
        """
        if not isinstance(code, NetworkCode):
            return {}
        return {
            suffix: partial(_write_assembled, code, write) for suffix, write in _WRITERS.items()
        }


def _assembled(code: NetworkCode, x: Tensor) -> Network:
    counts = transitions(x, code.full.nodes)
    rng = Rng(0).stream("assembled network")
    return assemble(counted_pairs(counts), code.full.nodes, len(code.train.edges), rng=rng)


def _write_assembled(code: NetworkCode, write: "_WriteNetwork", path: Path, x: Tensor) -> None:
    write(path, code.names, _assembled(code, x))


def _write_edges(path: Path, names: Sequence[str], graph: Network) -> None:
    lines = (f"{names[a]} {names[b]}\n" for a, b in graph.edges.tolist())
    path.write_text("".join(lines), encoding="utf-8")


def _write_graphml(path: Path, names: Sequence[str], graph: Network) -> None:
    import networkx as nx

    made: Any = nx.Graph()
    made.add_nodes_from(names)
    made.add_edges_from((names[a], names[b]) for a, b in graph.edges.tolist())
    nx.write_graphml_xml(made, path)


_WriteNetwork = Callable[[Path, Sequence[str], Network], None]

_WRITERS: Mapping[str, _WriteNetwork] = {
    ".edges": _write_edges,
    ".edgelist": _write_edges,
    ".graphml": _write_graphml,
}
