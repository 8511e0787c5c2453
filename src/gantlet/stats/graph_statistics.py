"""Statistics of graphs as adjacency matrices: clustering, spectra, orbits, colours, isomorphism.

A graph is a symmetric matrix of 0 and 1 with 1 on its diagonal where there is a node.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gantlet.core.errors import UserError

# ----------------------------------------------------------------------------
# Edges and nodes of a set of matrices.
# ----------------------------------------------------------------------------

_NUMBERS = 2**23  # of the largest intermediate result


def adjacency(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the edges, shape ``(n, nodes, nodes)``, and which nodes there are, ``(n, nodes)``.

    Both in float64, without the diagonal; an edge counts if it is in either triangle and both of
    its nodes are there.
    """
    x = x.double()
    node = x.diagonal(dim1=1, dim2=2)
    edge = torch.maximum(x, x.mT) * node[:, :, None] * node[:, None]
    return edge - torch.diag_embed(edge.diagonal(dim1=1, dim2=2)), node


def check_graphs(x: Tensor, name: str) -> Tensor:
    """Returns ``x``, validated as graphs of shape ``(n, nodes, nodes)``.

    Raises:
        UserError: If these are not symmetric matrices of 0 and 1.
    """
    square = x.ndim == 3 and x.shape[1] == x.shape[2]
    if not square or not bool(((x == 0) | (x == 1)).all()) or not torch.equal(x, x.mT):
        raise UserError(
            f"{name} must be graphs: symmetric matrices of 0 and 1, shape (n, nodes, nodes). "
            f"Got shape {tuple(x.shape)}."
        )
    return x


def graph_blocks(x: Tensor, numbers: int) -> Iterator[Tensor]:
    """Yields ``x`` in blocks of graphs, each of which needs ``numbers`` numbers; one if empty."""
    step = max(1, _NUMBERS // max(numbers, 1))
    yield from torch.split(x, step) if len(x) else (x,)


# ----------------------------------------------------------------------------
# Histograms over the nodes of a graph.
# ----------------------------------------------------------------------------

_ROUNDING = 1e-6
_LARGEST = 2.5  # above all eigenvalues, with what rounding adds


def clustering(edge: Tensor) -> Tensor:
    """Returns the share of the pairs of a node's neighbours that are joined, ``(n, nodes)``.

    Source: Watts and Strogatz, 1998, https://doi.org/10.1038/30918. 0 for fewer than two
    neighbours.
    """
    degree = edge.sum(2)
    around = (edge @ edge * edge).sum(2)
    return around / (degree * (degree - 1)).clamp_min(1)


def normalised_spectra(edge: Tensor, degree: Tensor, node: Tensor) -> Tensor:
    """Returns the eigenvalues of normalised Laplacians, ascending, shape ``(n, nodes)``.

    They lie in [0, 2]; 3 stands for nodes that are not there. Isolated nodes count as 0.

    Source: Chung, 1997, Spectral Graph Theory, chapter 1.
    """
    root = torch.where(degree > 0, degree.clamp_min(1).rsqrt(), torch.zeros_like(degree))
    laplacian = torch.diag_embed((degree > 0).to(edge)) - root[:, :, None] * edge * root[:, None]
    laplacian += torch.diag_embed(3 * (1 - node))
    found: Tensor = torch.linalg.eigvalsh(laplacian)
    return found


def shares(place: Tensor, counted: Tensor, bins: int) -> Tensor:
    """Returns the share of what is counted in each bin, shape ``(n, bins)``; zeros if nothing is.

    Args:
        place: The bin of each, not rounded, shape ``(n, k)``.
        counted: Whether it counts, shape ``(n, k)``.
        bins: How many bins there are.
    """
    index = place.floor().long().clamp(0, bins - 1)
    counted = counted.to(torch.float64)
    inside = counted.new_zeros(len(place), bins).scatter_add_(1, index, counted)
    return inside / counted.sum(1, keepdim=True).clamp_min(1)


def degree_shares(x: Tensor, bins: int) -> Tensor:
    """Returns the share of nodes of each degree; the last bin is that of all larger ones.

    Args:
        x: Graphs, shape ``(n, nodes, nodes)``.
        bins: How many bins there are.
    """
    edge, node = adjacency(x)
    return shares(edge.sum(2).clamp(max=bins - 1), node, bins)


def clustering_shares(x: Tensor, bins: int) -> Tensor:
    """Returns the share of nodes by their clustering, in bins of equal width over [0, 1]."""
    edge, node = adjacency(x)
    return shares((clustering(edge) * bins + _ROUNDING).clamp(max=bins - 1), node, bins)


def spectrum_shares(x: Tensor, bins: int) -> Tensor:
    """Returns the share of eigenvalues of the normalised Laplacian in bins over [0, 2].

    Many eigenvalues are 0 or 1 but for rounding, which must not decide their bin.
    """
    edge, node = adjacency(x)
    values = normalised_spectra(edge, edge.sum(2), node)
    return shares(((values / 2 + _ROUNDING) * bins).clamp(0, bins - 1), values < _LARGEST, bins)


def node_histograms(x: Tensor, bins: int) -> Tensor:
    """Returns shares by degree, clustering and spectrum, and the share of the room with nodes.

    Args:
        x: Graphs, shape ``(n, nodes, nodes)``.
        bins: How many bins each of the three histograms has.

    Returns:
        Float64, shape ``(n, 3 * bins + 1)``.
    """
    own = [f(x, bins) for f in (degree_shares, clustering_shares, spectrum_shares)]
    return torch.cat([*own, x.double().diagonal(dim1=1, dim2=2).mean(1, keepdim=True)], 1)


# ----------------------------------------------------------------------------
# Orbits: in which small connected subgraphs a node lies, and where.
# ----------------------------------------------------------------------------

# Each connected graph of four nodes: its edges, and the orbit of each node, in the order of the
# source; orbits 0 to 3 are those of two and three nodes.
_GRAPHLETS: tuple[tuple[tuple[tuple[int, int], ...], tuple[int, ...]], ...] = (
    (((0, 1), (1, 2), (2, 3)), (4, 5, 5, 4)),
    (((0, 1), (0, 2), (0, 3)), (7, 6, 6, 6)),
    (((0, 1), (1, 2), (2, 3), (0, 3)), (8, 8, 8, 8)),
    (((0, 1), (0, 2), (1, 2), (0, 3)), (11, 10, 10, 9)),
    (((0, 1), (0, 2), (1, 2), (1, 3), (2, 3)), (12, 13, 13, 12)),
    (((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)), (14, 14, 14, 14)),
)


def orbit_counts(x: Tensor) -> Tensor:
    """Returns how often each node lies in each orbit, float64, shape ``(n, nodes, 15)``.

    Subgraphs that need not be induced are counted by products of matrices, and induced ones
    follow by linear algebra.

    Source: Hocevar and Demsar, 2014 (ORCA), https://doi.org/10.1093/bioinformatics/btt717.

    Args:
        x: Graphs, shape ``(n, nodes, nodes)``.
    """
    return torch.cat([_orbits(adjacency(part)[0]) for part in graph_blocks(x, x.shape[1] ** 2)])


def _orbits(edge: Tensor) -> Tensor:
    d = edge.sum(2)
    common = edge @ edge * edge
    t = common.sum(2) / 2
    ends = (edge @ (d - 1)[..., None])[..., 0]
    small = [d, ends - 2 * t, d * (d - 1) / 2 - t, t]
    larger = torch.stack(_not_induced(edge, d, common, t, ends), 2)
    inverse = torch.from_numpy(np.linalg.inv(_inclusions())).to(larger)
    return torch.cat([torch.stack(small, 2), larger @ inverse.T], 2).round()


def _not_induced(edge: Tensor, d: Tensor, common: Tensor, t: Tensor, ends: Tensor) -> list[Tensor]:
    """Returns for orbits 4 to 14 in how many subgraphs, induced or not, a node lies so.

    Args:
        edge: Adjacency matrices.
        d: Degrees.
        common: Numbers of common neighbours of the ends of each edge.
        t: Triangles at each node.
        ends: Paths of three nodes that end at each node.
    """

    def over(value: Tensor) -> Tensor:
        """Returns the sum over neighbours."""
        return (edge @ value[..., None])[..., 0]

    two = edge @ edge
    other = two - torch.diag_embed(two.diagonal(dim1=1, dim2=2))
    beyond = edge * (common - 1)
    return [
        over(ends) - d * (d - 1) - 2 * t,
        (d - 1) * ends - 2 * t,
        over((d - 1) * (d - 2) / 2),
        d * (d - 1) * (d - 2) / 6,
        (other * (other - 1) / 2).sum(2),
        over(t) - common.sum(2),
        (common * (d - 2)[:, None]).sum(2),
        t * (d - 2),
        ((edge @ beyond) * edge).sum(2) / 2,
        (common * (common - 1) / 2).sum(2),
        _cliques(edge, d),
    ]


def _cliques(edge: Tensor, degree: Tensor) -> Tensor:
    """Returns the number of cliques of four at each node: triangles among its neighbours."""
    most = int(degree.max()) if degree.numel() else 0
    if most < 3:
        return torch.zeros_like(degree)
    found = [_triangles_around(e, most) for e in graph_blocks(edge, edge.shape[1] * most * most)]
    return torch.cat(found)


def _triangles_around(edge: Tensor, most: int) -> Tensor:
    there, index = edge.topk(most, dim=2)
    graph = torch.arange(len(edge), device=edge.device)[:, None, None, None]
    among = edge[graph, index[..., :, None], index[..., None, :]]
    among = among * there[..., :, None] * there[..., None, :]
    return (among @ among * among).sum((2, 3)) / 6


@cache
def _inclusions() -> NDArray[Any]:
    """Returns how many subgraphs of each orbit each induced subgraph holds, shape ``(11, 11)``."""
    found = np.zeros((11, 11))
    for edges, orbits in _GRAPHLETS:
        for node, orbit in enumerate(orbits):
            # One node of each orbit stands for all of it.
            if orbit in orbits[:node]:
                continue
            for small, own in _GRAPHLETS:
                for inside in _copies(small, own, edges, node):
                    found[inside - 4, orbit - 4] += 1
    return found


def _copies(
    small: tuple[tuple[int, int], ...],
    orbits: tuple[int, ...],
    edges: tuple[tuple[int, int], ...],
    node: int,
) -> list[int]:
    """Returns the orbit of ``node`` in each copy of a small graph among some edges."""
    copies: dict[frozenset[frozenset[int]], int] = {}
    whole = {frozenset(e) for e in edges}
    for place in permutations(range(4)):
        copy = frozenset(frozenset((place[a], place[b])) for a, b in small)
        if copy <= whole:
            copies[copy] = orbits[place.index(node)]
    return list(copies.values())


# ----------------------------------------------------------------------------
# Colours of nodes by what is around them, and isomorphism.
# ----------------------------------------------------------------------------

_ROUNDS = 8


def colours(x: Tensor, rounds: int) -> NDArray[np.uint64]:
    """Returns the colour of each node by its surroundings, shape ``(n, nodes)``.

    Two nodes have one colour after ``k`` rounds where colour refinement does not tell them apart,
    which sees all that lies within ``k`` edges; 0 stands for nodes that are not there. Colours are
    hashes, equal by accident with a probability of about ``2**-64``.

    Source: Weisfeiler and Leman, 1968; Shervashidze et al., 2011,
    https://jmlr.org/papers/v12/shervashidze11a.html, for its use as features.

    Args:
        x: Graphs, shape ``(n, nodes, nodes)``.
        rounds: How many rounds.
    """
    parts = [_coloured(part, rounds) for part in graph_blocks(x, x.shape[1] ** 2)]
    return np.concatenate(parts)


def _coloured(x: Tensor, rounds: int) -> NDArray[np.uint64]:
    edge, node = (z.cpu().numpy() > 0 for z in adjacency(x))
    found = np.where(node, np.uint64(1), np.uint64(0))
    for _ in range(rounds):
        around = np.where(edge, _mixed(found)[:, None], np.uint64(0)).sum(2, dtype=np.uint64)
        found = np.where(node, _mixed(_mixed(found + np.uint64(1)) + around), np.uint64(0))
    return found


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns a bijection of 64-bit numbers without visible structure.

    Source: Steele, Lea and Flood, 2014 (SplitMix), https://doi.org/10.1145/2660193.2660195.
    """
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def isomorphism_classes(x: Tensor) -> Tensor:
    """Returns numbers from 0, one for all graphs that are isomorphic, int64, shape ``(n,)``.

    Colour refinement separates most; those that it does not are matched exactly.

    Args:
        x: Graphs, shape ``(n, nodes, nodes)``.
    """
    colour = colours(x, _ROUNDS)
    known: dict[bytes, list[tuple[int, int]]] = {}
    found: list[int] = []
    count = 0
    for i, own in enumerate(colour):
        key = np.sort(own[own > 0]).tobytes()
        same = (
            number for j, number in known.get(key, []) if _isomorphic(x[i], x[j], own, colour[j])
        )
        number = next(same, count)
        if number == count:
            known.setdefault(key, []).append((i, number))
            count += 1
        found.append(number)
    return torch.tensor(found, dtype=torch.int64)


def _isomorphic(a: Tensor, b: Tensor, of_a: NDArray[Any], of_b: NDArray[Any]) -> bool:
    from networkx.algorithms.isomorphism import GraphMatcher

    first, second = (_labelled(x, colour) for x, colour in ((a, of_a), (b, of_b)))
    return bool(GraphMatcher(first, second, node_match=_same_colour).is_isomorphic())


def _same_colour(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return bool(a["colour"] == b["colour"])


def _labelled(x: Tensor, colour: NDArray[Any]) -> Any:
    (graph,) = networks(x[None])
    for v, own in graph.nodes.items():
        own["colour"] = int(colour[v])
    return graph


def networks(x: Tensor) -> Iterator[Any]:
    """Yields each graph as one of networkx."""
    import networkx as nx

    for edge, node in zip(*adjacency(x), strict=True):
        graph = nx.Graph()
        graph.add_nodes_from(node.nonzero()[:, 0].tolist())
        graph.add_edges_from(edge.triu().nonzero().tolist())
        yield graph
