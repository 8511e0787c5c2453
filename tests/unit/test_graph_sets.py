"""Made sets of graphs: their law, and the checks that tell graphs that break it."""

import math
from collections import Counter

import networkx as nx
import numpy as np
import pytest
import torch

from gantlet.core.data import all_samples
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets
from gantlet.data.graph_sets import Checkable, Planar, Sbm, Trees, is_planar, is_tree
from gantlet.domains.domains import reader_of
from gantlet.stats.graph_statistics import adjacency, networks

PUBLISHED = "sbm:most=5,smallest=20,largest=40,inside=0.3,across=0.005"


def matrix(graph):
    return torch.from_numpy(nx.to_numpy_array(graph)).float() + torch.eye(len(graph))


def without_edge(x):
    """Takes the first edge of each graph."""
    x = x.clone()
    for one in x:
        a, b = one.triu(1).nonzero()[0].tolist()
        one[a, b] = one[b, a] = 0
    return x


def test_all_labelled_trees_are_equally_likely():
    """There are 4**2 trees on four labelled nodes (Cayley); chi-squared on 15 degrees."""
    x = all_samples(Trees(nodes=4, n=8000, held_out=1).load(rng=Rng(0)).train)
    counts = Counter(tuple(one.triu(1).flatten().tolist()) for one in x)
    assert len(counts) == 16
    chi2 = sum((c - 500) ** 2 / 500 for c in counts.values())
    assert chi2 < 37.7  # 0.1 % of a right sampler


@pytest.mark.parametrize("name", ["trees", "planar"])
def test_made_graphs_are_valid_and_broken_ones_are_not(name):
    data = datasets.make(f"{name}:n=60,held_out=1")
    x = all_samples(data.load(rng=Rng(0)).train)
    assert isinstance(data, Checkable)
    assert data.valid(x).all()
    assert torch.equal(x, x.mT)
    if name == "trees":
        assert not data.valid(without_edge(x)).any()


def test_triangulations_have_the_edges_that_euler_counts():
    """3 n - 3 - h edges, with h nodes on the hull, three at least."""
    x = all_samples(Planar(nodes=20, n=50, held_out=1).load(rng=Rng(0)).train)
    edges = adjacency(x)[0].sum((1, 2)) / 2
    assert (edges <= 3 * 20 - 6).all()
    assert (edges >= 2 * 20 - 3).all()


@pytest.mark.parametrize(
    ("graph", "tree", "planar"),
    [
        (nx.path_graph(5), True, True),
        (nx.cycle_graph(5), False, True),
        (nx.complete_graph(5), False, False),
        (nx.complete_bipartite_graph(3, 3), False, False),
        (nx.disjoint_union(nx.path_graph(2), nx.path_graph(3)), False, False),
        (nx.empty_graph(1), True, True),
    ],
)
def test_trees_and_planar_graphs_are_told(graph, tree, planar):
    x = matrix(graph)[None]
    assert is_tree(x).item() == tree
    assert is_planar(x).item() == planar


def test_no_nodes_are_no_graph():
    empty = torch.zeros(1, 30, 30)
    assert not is_tree(empty).item()
    assert not is_planar(empty).item()
    assert not Sbm().valid(empty).item()


def test_graphs_of_the_block_model_are_accepted_and_others_are_not():
    data = datasets.make(f"{PUBLISHED},n=1,held_out=40")
    x = all_samples(data.load(rng=Rng(0)).test)
    assert data.valid(x).float().mean() > 0.85
    rng = np.random.default_rng(0)
    for graph in list(networks(x))[:8]:
        n, m = graph.number_of_nodes(), graph.number_of_edges()
        room = torch.zeros(1, 200, 200)
        room[0, :n, :n] = matrix(nx.gnm_random_graph(n, m, seed=int(rng.integers(1000))))
        assert not data.valid(room).item(), "as many edges at random have no communities"


def test_communities_have_the_densities_that_are_asked_for():
    data = Sbm(fewest=2, most=2, smallest=15, largest=15, n=200, held_out=1)
    x = all_samples(data.load(rng=Rng(0)).train)
    edges = float(adjacency(x)[0].sum() / 2)
    expected = 200 * (2 * math.comb(15, 2) * 0.7 + 225 * 0.05)
    spread = math.sqrt(200 * (2 * math.comb(15, 2) * 0.7 * 0.3 + 225 * 0.05 * 0.95))
    assert abs(edges - expected) < 4 * spread


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "check", "least"),
    [("tree", "trees", 1.0), ("planar", "planar", 1.0), ("sbm", PUBLISHED, 0.85)],
)
def test_published_sets_are_valid(shared_data, file, check, least):
    path = shared_data / f"graphs/{file}_edges.npz"
    x = all_samples(datasets.make(f"graphs:path={path}").load(rng=Rng(0)).test)
    assert datasets.make(check).valid(x).float().mean() >= least


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("sbm:fewest=4", "sbm:fewest must be at most most=3. Got 4."),
        ("sbm:smallest=13", "sbm:smallest must be at most largest=12. Got 13."),
        ("sbm:across=0.7", "sbm:inside must be above across=0.7"),
    ],
)
def test_settings_without_meaning_are_refused(written, text):
    with pytest.raises(UserError, match=text):
        datasets.make(written)


# Folders of files of one graph each


def folder_of(tmp_path, graphs):
    for i, graph in enumerate(graphs):
        nx.write_graphml(graph, tmp_path / f"{i:02}.graphml")
    return tmp_path


def test_a_folder_of_files_is_a_set(tmp_path):
    graphs = [nx.path_graph(k) for k in range(3, 14)]
    folder_of(tmp_path, graphs)
    (tmp_path / "99.edgelist").write_text("a b\nb c\nc b\n")
    data = reader_of(tmp_path)
    assert data.space.shape == (13, 13)
    x = all_samples(data.whole())
    assert [g.number_of_edges() for g in networks(x)] == [*range(2, 13), 2]
    assert is_tree(x).all()
    (tmp_path / "99.edgelist").write_text("a b\n")
    assert adjacency(all_samples(data.whole()))[0][-1].sum() == 2, "changed files are read again"


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        (nx.DiGraph([(0, 1)]), r"02.graphml is directed\. Graphs of a set are undirected"),
        (nx.Graph([(0, 0), (0, 1)]), r"02.graphml has a loop\. Remove it"),
        (nx.Graph(), r"02.graphml holds no node"),
        (nx.from_edgelist([(0, 1, {"weight": 2})]), r"02.graphml has weights"),
    ],
)
def test_what_is_no_graph_of_a_set_is_refused_in_one_line(tmp_path, graph, text):
    folder_of(tmp_path, [nx.path_graph(3), nx.path_graph(4), graph])
    with pytest.raises(UserError, match=text) as error:
        datasets.make(f"graphs:path={tmp_path}").load(rng=Rng(0))
    assert "\n" not in str(error.value)


def test_a_folder_without_graphs_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no graphs: no files that end in .graphml"):
        datasets.make(f"graphs:path={tmp_path}").load(rng=Rng(0))
