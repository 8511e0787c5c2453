"""Statistics of one undirected graph, and graphs assembled from scores of their edges."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, triu
from scipy.sparse.csgraph import connected_components, shortest_path
from torch import Tensor

Array = NDArray[Any]

# ----------------------------------------------------------------------------
# One undirected graph without loops.
# ----------------------------------------------------------------------------


@final
@dataclass(frozen=True, eq=False)
class Network:
    """An undirected graph without loops.

    Attributes:
        nodes: Number of nodes.
        edges: Each edge once, the smaller node first, in order; int64, shape ``(m, 2)``.
    """

    nodes: int
    edges: Array

    @classmethod
    def of(cls, nodes: int, pairs: Array) -> "Network":
        """Returns the graph of some pairs of nodes, whatever their order; loops are left out.

        Example:
            >>> Network.of(3, np.array([[1, 0], [0, 1], [2, 2], [1, 2]])).edges.tolist()
            [[0, 1], [1, 2]]
        """
        pairs = np.sort(np.asarray(pairs, np.int64).reshape(-1, 2), 1)
        codes = np.unique(pair_codes(pairs[pairs[:, 0] != pairs[:, 1]], nodes))
        return cls(nodes, np.stack(np.divmod(codes, nodes), 1))

    @cached_property
    def codes(self) -> Array:
        """One number for each edge, ascending: ``first * nodes + second``."""
        return pair_codes(self.edges, self.nodes)

    @cached_property
    def adjacency(self) -> csr_array:
        """The symmetric matrix of zeros and ones."""
        a, b = self.edges.T
        ones = np.ones(2 * len(self.edges))
        where = np.concatenate([a, b]), np.concatenate([b, a])
        found = csr_array((ones, where), shape=(self.nodes, self.nodes))
        found.sort_indices()
        return found

    @cached_property
    def degrees(self) -> Array:
        """The degree of each node, int64."""
        return np.bincount(self.edges.ravel(), minlength=self.nodes)

    def has(self, pairs: Array) -> Array:
        """Returns which pairs of nodes, shape ``(k, 2)``, are edges."""
        return np.isin(pair_codes(np.sort(pairs, 1), self.nodes), self.codes)


def pair_codes(pairs: Array, nodes: int) -> Array:
    """Returns one number for each pair, shape ``(k, 2)``: ``first * nodes + second``."""
    return pairs[:, 0].astype(np.int64) * nodes + pairs[:, 1]


def edge_overlap(made: Network, real: Network) -> float:
    """Returns the share of the edges of ``real`` that ``made`` has."""
    return float(np.isin(real.codes, made.codes).mean())


# ----------------------------------------------------------------------------
# Its statistics.
# ----------------------------------------------------------------------------

# Sources of shortest paths at once.
_SOURCES = 256


def statistics(graph: Network) -> dict[str, float]:
    """Returns the statistics of a graph by name; NaN where one is not defined.

    - ``max degree`` and ``mean degree``.
    - ``assortativity``: the correlation of the degrees at both ends of an edge (Newman, 2002,
      https://arxiv.org/abs/cond-mat/0205405, equation 4).
    - ``triangles``; ``4-cycles``, with or without chords; ``wedges``, the pairs of edges at a
      node; ``claws``, the triples.
    - ``clustering``: the transitivity, ``3 triangles / wedges``.
    - ``power law exponent``: by maximum likelihood of a continuous law from degree 1 on (Clauset,
      Shalizi and Newman, 2009, https://arxiv.org/abs/0706.1062, equation 3.1).
    - ``Gini``: of the degrees; ``degree entropy``: that of the distribution of edge ends over
      nodes, relative to its maximum ``log(nodes)``.
    - ``path length``: the mean over pairs of nodes that a path joins.
    - ``components``, and the nodes of the ``largest component``.
    """
    degree = graph.degrees.astype(float)
    wedges, claws = (degree * (degree - 1) / 2).sum(), _claws(degree)
    triangles, cycles = _cycles(graph)
    number, label = connected_components(graph.adjacency, directed=False)
    return {
        "max degree": float(degree.max(initial=0)),
        "mean degree": 2 * len(graph.edges) / max(graph.nodes, 1),
        "assortativity": _assortativity(graph),
        "triangles": triangles,
        "4-cycles": cycles,
        "wedges": float(wedges),
        "claws": claws,
        "clustering": _ratio(3 * triangles, wedges),
        "power law exponent": _power_law(degree),
        "Gini": _gini(degree),
        "degree entropy": _entropy(degree),
        "path length": path_length(graph),
        "components": float(number),
        "largest component": float(np.bincount(label).max()),
    }


def netgan_statistics(graph: Network) -> dict[str, float]:
    """Returns what the code of NetGAN computes under other names, for comparison with its tables.

    - ``clustering (NetGAN)``: ``3 triangles / claws``, where clustering has wedges.
    - ``squares (NetGAN)``: the number of cliques of four nodes.
    - ``Gini (NetGAN)``: with ranks counted from 0, hence less by ``2 / nodes``.
    - ``degree entropy (NetGAN)``: with 0.0001 added to each degree inside the logarithm.

    Source: Bojchevski et al., 2018, https://arxiv.org/abs/1803.00816, and its code.
    """
    degree = graph.degrees.astype(float)
    ends = degree.sum()
    share = degree / max(ends, 1)
    entropy = -(share * np.log((degree + 1e-4) / max(ends, 1))).sum() / np.log(graph.nodes)
    return {
        "clustering (NetGAN)": _ratio(3 * _cycles(graph)[0], _claws(degree)),
        "squares (NetGAN)": float(_cliques(graph)),
        "Gini (NetGAN)": _gini(degree) - 2 / graph.nodes,
        "degree entropy (NetGAN)": float(entropy),
    }


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b else math.nan


def _claws(degree: Array) -> float:
    return float((degree * (degree - 1) * (degree - 2) / 6).sum())


def _cycles(graph: Network) -> tuple[float, float]:
    """Returns the numbers of cycles of three and of four edges."""
    degree = graph.degrees.astype(float)
    twice = graph.adjacency @ graph.adjacency
    triangles = (twice * graph.adjacency).sum() / 6
    # Closed walks of four steps go over one edge, over a wedge, or around a cycle, in 8 ways.
    walks = np.square(np.asarray(twice.data)).sum()
    wedges = (degree * (degree - 1) / 2).sum()
    return float(triangles), float((walks - degree.sum() - 4 * wedges) / 8)


def _cliques(graph: Network) -> int:
    """Returns the number of cliques of four nodes; each has three pairs of opposite edges."""
    matrix = graph.adjacency
    around = [set(matrix.indices[i:j].tolist()) for i, j in pairwise(matrix.indptr)]
    twice = 0
    for a, b in graph.edges.tolist():
        both = around[a] & around[b]
        twice += sum(len(around[c] & both) for c in both) if len(both) > 1 else 0
    return twice // 12


def _assortativity(graph: Network) -> float:
    if not len(graph.edges):
        return math.nan
    at = graph.degrees[graph.edges].astype(float)
    ends, others = at.ravel(), at[:, ::-1].ravel()
    spread = ends.var()
    product = ((ends - ends.mean()) * (others - ends.mean())).mean()
    return float(product / spread) if spread > 1e-12 else math.nan


def _power_law(degree: Array) -> float:
    known = degree[degree > 0]
    total = np.log(known).sum()
    return float(1 + len(known) / total) if total > 0 else math.nan


def _gini(degree: Array) -> float:
    n, ends = len(degree), degree.sum()
    rank = np.arange(1, n + 1)
    return float(2 * (rank * np.sort(degree)).sum() / (n * ends) - (n + 1) / n) if ends else 0.0


def _entropy(degree: Array) -> float:
    share = degree[degree > 0] / max(degree.sum(), 1)
    return float(-(share * np.log(share)).sum() / np.log(max(len(degree), 2)))


def path_length(graph: Network) -> float:
    """Returns the mean length of shortest paths over all pairs of nodes that one joins."""
    total, pairs = 0.0, 0
    for start in range(0, graph.nodes, _SOURCES):
        sources = np.arange(start, min(start + _SOURCES, graph.nodes))
        found = shortest_path(graph.adjacency, unweighted=True, directed=True, indices=sources)
        joined = np.isfinite(found) & (found > 0)
        total += found[joined].sum()
        pairs += int(joined.sum())
    return float(total / pairs) if pairs else math.nan


# ----------------------------------------------------------------------------
# Graphs from scores of their edges.
# ----------------------------------------------------------------------------

Candidates = tuple[Array, Array]
"""Pairs of different nodes, int64, shape ``(k, 2)``, and their positive scores, shape ``(k,)``."""


def assemble(
    blocks: Iterator[Candidates], nodes: int, edges: int, *, rng: torch.Generator
) -> Network:
    """Returns a graph of ``edges`` edges drawn by their scores.

    First each node draws one edge in proportion to the scores of its own; then edges are drawn
    from all in proportion to their scores, without replacement, until there are enough. Where few
    pairs have a score there are fewer, and more where the first draws alone give more.

    Both are draws by the largest of ``log score`` plus Gumbel noise (Vieira, 2014; Kool, van Hoof
    and Welling, 2019, https://arxiv.org/abs/1903.06059), in one pass over the pairs.

    Source: Bojchevski et al., 2018 (NetGAN), https://arxiv.org/abs/1803.00816, section 3.3.

    Args:
        blocks: All pairs with a score, each once, in blocks.
        nodes: Number of nodes.
        edges: Number of edges.
        rng: Random generator.
    """
    first = _FirstEdges(nodes)
    kept, keys = np.zeros((0, 2), np.int64), np.zeros(0)
    for pairs, scores in blocks:
        noise = _gumbel(3 * len(pairs), rng).reshape(3, -1)
        by_node, by_other, by_all = noise + np.log(scores)
        first.see(pairs[:, 0], pairs, by_node)
        first.see(pairs[:, 1], pairs, by_other)
        kept, keys = _largest(np.concatenate([kept, pairs]), np.concatenate([keys, by_all]), edges)
    start = first.edges
    more = kept[np.argsort(-keys, kind="stable")]
    new = more[~start.has(more)] if len(more) else more
    wanted = max(edges - len(start.edges), 0)
    return Network.of(nodes, np.concatenate([start.edges, new[:wanted]]))


@final
class _FirstEdges:
    """For each node, the pair with the largest key that was seen."""

    def __init__(self, nodes: int) -> None:
        self._key = np.full(nodes, -np.inf)
        self._pair = np.full((nodes, 2), -1)

    def see(self, node: Array, pairs: Array, key: Array) -> None:
        """Looks at pairs of nodes with their keys, shape ``(k,)``."""
        best = self._key.copy()
        np.maximum.at(best, node, key)
        chosen = key == best[node]
        self._pair[node[chosen]] = pairs[chosen]
        self._key = best

    @property
    def edges(self) -> Network:
        """The pairs, as a graph."""
        return Network.of(len(self._pair), self._pair[np.isfinite(self._key)])


def _largest(pairs: Array, keys: Array, most: int) -> tuple[Array, Array]:
    if len(keys) <= most:
        return pairs, keys
    best = np.argpartition(-keys, most - 1)[:most] if most else np.zeros(0, np.int64)
    return pairs[best], keys[best]


def _gumbel(n: int, rng: torch.Generator) -> Array:
    u = torch.rand(n, generator=rng, device=rng.device, dtype=torch.float64)
    noise: Array = -(-u.clamp(1e-300, 1 - 1e-16).log()).log().cpu().numpy()
    return noise


def transitions(walks: Tensor, nodes: int) -> csr_array:
    """Returns how often walks, shape ``(n, steps)``, step between two nodes, in any direction.

    The symmetric matrix of counts; steps from a node to itself are left out.
    """
    x = walks.long().cpu().numpy()
    pairs = np.stack([x[:, :-1].ravel(), x[:, 1:].ravel()])
    pairs = pairs[:, pairs[0] != pairs[1]]
    ones = np.ones(pairs.shape[1])
    one_way = csr_array((ones, (pairs[0], pairs[1])), shape=(nodes, nodes))
    return csr_array(one_way + one_way.T)


def counted_pairs(counts: csr_array) -> Iterator[Candidates]:
    """Yields the pairs of a symmetric matrix of scores."""
    upper = triu(counts, k=1).tocoo()
    yield np.stack([upper.row, upper.col], 1).astype(np.int64), upper.data.astype(float)


def network_of(walks: Tensor, nodes: int) -> Network:
    """Returns the graph of all edges that walks, shape ``(n, steps)``, step along."""
    x = walks.long().cpu().numpy()
    return Network.of(nodes, np.stack([x[:, :-1].ravel(), x[:, 1:].ravel()], 1))


def random_walks(
    graph: Network, start: Array, steps: int, *, rng: torch.Generator, second: Array | None = None
) -> Tensor:
    """Returns random walks, whole numbers of shape ``(len(start), steps)``.

    Args:
        graph: The graph, in which no node of a walk is isolated.
        start: The first node of each walk.
        steps: Number of nodes of a walk.
        rng: Random generator.
        second: The second node of each walk, or None where it is drawn too.
    """
    matrix, degree = graph.adjacency, torch.from_numpy(graph.degrees)
    first = torch.from_numpy(matrix.indptr.astype(np.int64))
    around = torch.from_numpy(matrix.indices.astype(np.int64))
    walks = [torch.from_numpy(np.asarray(start, np.int64))]
    if second is not None and steps > 1:
        walks.append(torch.from_numpy(np.asarray(second, np.int64)))
    u = torch.rand(len(start), steps, generator=rng, device=rng.device, dtype=torch.float64).cpu()
    while len(walks) < steps:
        now = walks[-1]
        # Rounding may not lead to the neighbours of the next node.
        turn = (u[:, len(walks)] * degree[now]).long().minimum(degree[now] - 1)
        walks.append(around[first[now] + turn])
    return torch.stack(walks, 1)


# ----------------------------------------------------------------------------
# Nodes as points.
# ----------------------------------------------------------------------------

# Up to so many nodes all eigenvectors are computed.
_DENSE = 300


def spectral_embedding(counts: csr_array, dims: int, *, added: float = 0.0) -> Array:
    """Returns the leading eigenvectors of ``D^-1/2 S D^-1/2``, shape ``(nodes, dims)``.

    Columns have unit mean square; their signs are such that the largest component is positive.

    Args:
        counts: The symmetric matrix ``S``.
        dims: How many, fewer than there are nodes.
        added: Added to the diagonal of the degrees ``D``, the row sums of ``S``.
    """
    from scipy.sparse.linalg import eigsh

    total = np.asarray(counts.sum(1)).ravel() + added
    n = len(total)
    root = diags_array(1 / np.sqrt(np.maximum(total, 1e-12)))
    matrix = root @ counts @ root
    if n <= _DENSE:
        vectors = np.linalg.eigh(matrix.toarray())[1][:, ::-1][:, :dims]
    else:
        values, found = eigsh(matrix, k=dims, which="LA", v0=np.ones(n))
        vectors = found[:, np.argsort(-values)]
    largest = np.abs(vectors).argmax(0)
    sign = np.where(vectors[largest, np.arange(dims)] < 0, -1.0, 1.0)
    placed: Array = vectors * sign * np.sqrt(n)
    return placed
