"""Graphs as drawings: nodes that are joined lie near to each other, the same each time."""

import numpy as np

from gantlet.domains.graphs import drawings, spring_layout


def two_cliques(size=6):
    edge = np.zeros((2 * size, 2 * size))
    edge[:size, :size] = edge[size:, size:] = 1
    edge[0, size] = edge[size, 0] = 1
    np.fill_diagonal(edge, 0)
    return edge


def test_two_cliques_lie_apart():
    place = spring_layout(two_cliques())
    far = np.linalg.norm(place[:, None] - place, axis=2)
    same = np.arange(12)[:, None] // 6 == np.arange(12) // 6
    assert far[same].max() < far[~same].mean()


def test_a_graph_is_always_drawn_alike_whatever_was_drawn_before():
    graphs = np.stack([two_cliques(), np.zeros((12, 12)), two_cliques()[::-1, ::-1]])
    graphs[:, np.arange(12), np.arange(12)] = 1
    first = drawings(graphs)
    assert (drawings(graphs[::-1])[::-1] == first).all()
    assert first.shape == (3, 96, 96, 1)


def test_only_nodes_that_are_there_are_drawn():
    graph = np.zeros((3, 9, 9))
    graph[1, :2, :2] = 1
    graph[2, 0, 0] = 1
    empty, pair, single = drawings(graph)
    assert (empty == 255).all()
    assert (single == 0).sum() == (pair == 0).sum() / 2 > 0
    assert (pair == 150).any()
    assert not (single == 150).any()
