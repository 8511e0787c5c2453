"""Statistics of graphs, against networkx and against counting one subset after the other."""

from itertools import combinations

import networkx as nx
import numpy as np
import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.stats.graph_statistics import (
    adjacency,
    check_graphs,
    clustering_shares,
    colours,
    degree_shares,
    isomorphism_classes,
    networks,
    orbit_counts,
    spectrum_shares,
)


def random_graphs(n=30, nodes=9, p=0.45, seed=0):
    rng = Rng(seed).stream("graphs")
    edge = (torch.rand(n, nodes, nodes, generator=rng) < p).float().triu(1)
    x = edge + edge.mT + torch.eye(nodes)
    count = torch.randint(0, nodes + 1, (n,), generator=rng)
    there = (torch.arange(nodes) < count[:, None]).float()
    return x * there[:, :, None] * there[:, None]


def permuted(x, seed=1):
    rng = Rng(seed).stream("order")
    order = torch.stack([torch.randperm(x.shape[1], generator=rng) for _ in x])
    rows = torch.arange(len(x))[:, None, None]
    return x[rows, order[:, :, None], order[:, None]]


PATTERNS = {
    (1, 1, 2, 2): {1: 4, 2: 5},
    (1, 1, 1, 3): {1: 6, 3: 7},
    (2, 2, 2, 2): {2: 8},
    (1, 2, 2, 3): {1: 9, 2: 10, 3: 11},
    (2, 2, 3, 3): {2: 12, 3: 13},
    (3, 3, 3, 3): {3: 14},
}


def counted(graph, nodes):
    """Counts orbits by looking at every subset of two, three and four nodes."""
    found = np.zeros((nodes, 15))
    for v, d in graph.degree():
        found[v, 0] = d
    for size in (3, 4):
        for some in combinations(graph.nodes, size):
            part = graph.subgraph(some)
            if not nx.is_connected(part):
                continue
            degrees = dict(part.degree())
            if size == 3:
                names = {1: 1, 2: 2} if part.number_of_edges() == 2 else {2: 3}
            else:
                names = PATTERNS[tuple(sorted(degrees.values()))]
            for v, d in degrees.items():
                found[v, names[d]] += 1
    return found


def test_orbits_are_those_of_all_subsets():
    x = torch.cat([random_graphs(), torch.ones(1, 9, 9), torch.zeros(1, 9, 9)])
    found = orbit_counts(x)
    for i, graph in enumerate(networks(x)):
        np.testing.assert_array_equal(found[i].numpy(), counted(graph, 9))


def test_histograms_are_those_of_networkx():
    x = random_graphs(20, 8)
    by_degree, by_clustering = degree_shares(x, 8), clustering_shares(x, 10)
    by_value = spectrum_shares(x, 20)
    for i, graph in enumerate(networks(x)):
        n = max(len(graph), 1)
        degrees = np.bincount([d for _, d in graph.degree()], minlength=8) / n
        np.testing.assert_allclose(by_degree[i].numpy(), degrees)
        local = np.array(list(nx.clustering(graph).values()))
        place = np.minimum(np.floor(local * 10 + 1e-6), 9).astype(int)
        np.testing.assert_allclose(by_clustering[i].numpy(), np.bincount(place, minlength=10) / n)
        values = nx.normalized_laplacian_spectrum(graph) if len(graph) else np.zeros(0)
        place = np.minimum(np.floor((values / 2 + 1e-6) * 20), 19).astype(int)
        np.testing.assert_allclose(by_value[i].numpy(), np.bincount(place, minlength=20) / n)


def test_isomorphism_classes_are_those_of_networkx():
    x = random_graphs(40, 5)
    x = torch.cat([x, permuted(x)])
    found = isomorphism_classes(x).tolist()
    assert found[:40] == found[40:], "another order of the nodes is the same graph"
    graphs = list(networks(x))
    for i, j in combinations(range(40), 2):
        assert (found[i] == found[j]) == nx.is_isomorphic(graphs[i], graphs[j])


def test_what_colours_do_not_separate_is_matched_exactly():
    """Two triangles and a cycle of six have one colour each, and are not isomorphic."""
    triangles = nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3))
    x = torch.stack(
        [
            torch.from_numpy(nx.to_numpy_array(g)).float() + torch.eye(6)
            for g in (triangles, nx.cycle_graph(6), triangles)
        ]
    )
    colour = colours(x, 5)
    assert len(np.unique(colour)) == 1
    assert isomorphism_classes(x).tolist() == [0, 1, 0]


def test_colours_do_not_depend_on_the_order():
    x = random_graphs(10, 7)
    first, second = (np.sort(colours(z, 3), axis=1) for z in (x, permuted(x)))
    np.testing.assert_array_equal(first, second)


def test_edges_need_both_nodes():
    x = torch.tensor([[[1.0, 1, 1], [1, 1, 0], [1, 0, 0]]])
    edge, node = adjacency(x)
    assert edge.sum() == 2
    assert node.tolist() == [[1, 1, 0]]


@pytest.mark.parametrize(
    "x", [torch.zeros(2, 3), torch.full((2, 3, 3), 0.5), torch.ones(2, 3, 3).triu()]
)
def test_what_is_no_graph_is_refused(x):
    with pytest.raises(UserError, match="real must be graphs"):
        check_graphs(x, "real")
