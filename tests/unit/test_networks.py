"""One large graph: statistics, assembly, splits, and models of it, against what is known."""

import itertools
import math

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, save_npz
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2
from sklearn.metrics import average_precision_score, roc_auc_score

from gantlet.commands.compare.network_report import copied_edges
from gantlet.commands.standings import model_results
from gantlet.core.data import Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Outcome, Trial
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, extractors, families
from gantlet.domains.domains import attributes_of
from gantlet.models.chains import Cell, DcSbm, MarkovChain, Rewire, rewired
from gantlet.probes.network_probe import (
    AUC,
    FOUND,
    OVERLAP,
    NetworkProbe,
    average_precision,
    roc_auc,
)
from gantlet.stats.network_statistics import (
    Network,
    assemble,
    counted_pairs,
    edge_overlap,
    netgan_statistics,
    network_of,
    random_walks,
    statistics,
    transitions,
)
from gantlet.testing import check_dataset, check_extractor, check_probe


def stream(name="test", seed=0):
    return Rng(seed).stream(name)


def random_network(n=30, p=0.2, seed=0):
    graph = nx.gnp_random_graph(n, p, seed=seed)
    return Network.of(n, np.array(graph.edges())), graph


class TestStatistics:
    @pytest.mark.parametrize(("n", "p", "seed"), [(30, 0.2, 0), (60, 0.05, 1), (12, 0.7, 2)])
    def test_they_are_those_of_networkx(self, n, p, seed):
        network, graph = random_network(n, p, seed)
        found = statistics(network) | netgan_statistics(network)
        lengths = dict(nx.all_pairs_shortest_path_length(graph))
        joined = [d for row in lengths.values() for d in row.values() if d]
        degree = [d for _, d in graph.degree]
        cliques = sum(1 for c in nx.enumerate_all_cliques(graph) if len(c) == 4)
        cycles = sum(
            len(set(graph[a]) & set(graph[b])) * (len(set(graph[a]) & set(graph[b])) - 1) // 2
            for a, b in itertools.combinations(graph, 2)
        )
        wanted = {
            "max degree": max(degree),
            "mean degree": np.mean(degree),
            "assortativity": nx.degree_assortativity_coefficient(graph),
            "triangles": sum(nx.triangles(graph).values()) / 3,
            "4-cycles": cycles / 2,
            "wedges": sum(math.comb(d, 2) for d in degree),
            "claws": sum(math.comb(d, 3) for d in degree),
            "clustering": nx.transitivity(graph),
            "path length": np.mean(joined),
            "components": nx.number_connected_components(graph),
            "largest component": max(map(len, nx.connected_components(graph))),
            "Gini": np.abs(np.subtract.outer(degree, degree)).mean() / (2 * np.mean(degree)),
            "squares (NetGAN)": cliques,
        }
        for name, value in wanted.items():
            assert found[name] == pytest.approx(value), name

    def test_what_is_not_defined_is_not_a_number(self):
        ring = Network.of(5, np.array([[i, (i + 1) % 5] for i in range(5)]))
        found = statistics(ring)
        assert math.isnan(found["assortativity"])
        assert found["clustering"] == 0
        assert math.isnan(netgan_statistics(ring)["clustering (NetGAN)"])
        assert statistics(Network.of(3, np.zeros((0, 2))))["components"] == 3

    @pytest.mark.data
    def test_cora_ml_has_the_published_statistics(self, shared_data):
        held = np.load(shared_data / "graphs/cora_ml_lcc_edges.npz")
        train = Network.of(2810, held["train_edges"])
        found = statistics(train) | netgan_statistics(train)
        # Those of NetGAN's notebook, to its last digit.
        assert found["max degree"] == 240
        assert found["mean degree"] == pytest.approx(4.827758, abs=5e-7)
        assert found["assortativity"] == pytest.approx(-0.0754303248, abs=5e-11)
        assert found["triangles"] == 2814
        assert found["wedges"] == 101_872
        assert found["claws"] == 3_094_240
        assert found["clustering (NetGAN)"] == pytest.approx(0.00272829515, abs=5e-12)
        assert found["power law exponent"] == pytest.approx(1.85595899191, abs=5e-12)
        assert found["components"] == 1
        assert found["largest component"] == 2810
        assert found["squares (NetGAN)"] == 517
        assert found["Gini (NetGAN)"] == pytest.approx(0.48239581, abs=5e-9)
        assert found["degree entropy (NetGAN)"] == pytest.approx(0.94070677, abs=5e-9)
        # By the right formulas.
        assert found["clustering"] == pytest.approx(0.0828686980, abs=5e-11)
        assert found["path length"] == pytest.approx(5.60937302, abs=5e-9)
        assert found["4-cycles"] == 14_650
        assert found["Gini"] == pytest.approx(0.48310755, abs=5e-9)
        assert found["degree entropy"] == pytest.approx(0.94070938, abs=5e-9)
        full = statistics(Network.of(2810, held["edges"]))
        assert full["max degree"] == 246
        assert full["triangles"] == 5247
        assert full["path length"] == pytest.approx(5.27141762, abs=5e-9)

    @pytest.mark.data
    def test_the_split_of_cell_has_the_statistics_of_its_notebook(self, shared_data):
        data = datasets.make(f"network:path={shared_data}/graphs/cell_CORA-ML_train.npz")
        found = statistics(data.load(rng=Rng(0)).code.full)
        wanted = {
            "max degree": 238,
            "triangles": 2802,
            "wedges": 101_747,
            "claws": 3_033_514,
            "4-cycles": 14_268,
            "power law exponent": 1.85506486,
            "Gini": 0.48257429,
            "degree entropy": 0.94066520,
            "assortativity": -0.07626405,
            "clustering": 0.08261669,
            "path length": 5.63000625,
        }
        for name, value in wanted.items():
            assert found[name] == pytest.approx(value, abs=5e-9), name


def slow_assembly(scores, edges, rng):
    """The published procedure, one draw after another."""
    n, found = len(scores), set()
    for i in range(n):
        j = rng.choice(n, p=scores[i] / scores[i].sum())
        found.add((min(i, j), max(i, j)))
    left = {
        (i, j): scores[i, j]
        for i, j in itertools.combinations(range(n), 2)
        if scores[i, j] > 0 and (i, j) not in found
    }
    while len(found) < edges:
        pairs, weight = list(left), np.array(list(left.values()))
        pair = pairs[rng.choice(len(pairs), p=weight / weight.sum())]
        found.add(pair)
        del left[pair]
    return tuple(sorted(found))


class TestAssembly:
    def test_graphs_are_as_often_as_drawn_one_edge_after_another(self):
        score = np.array([[0, 4, 1, 2], [4, 0, 3, 1], [1, 3, 0, 0], [2, 1, 0, 0]], float)
        draws, rng, numbers = 4000, stream(), np.random.default_rng(0)
        fast, slow = {}, {}
        for _ in range(draws):
            made = assemble(counted_pairs(csr_array(score)), 4, 4, rng=rng)
            key = tuple(map(tuple, made.edges.tolist()))
            fast[key] = fast.get(key, 0) + 1
            key = slow_assembly(score, 4, numbers)
            slow[key] = slow.get(key, 0) + 1
        assert len(slow) > 3
        a, b = (np.array([c.get(k, 0) for k in {*fast, *slow}]) for c in (fast, slow))
        statistic = ((a - b) ** 2 / (a + b)).sum()
        assert statistic < chi2.ppf(0.999, len(a) - 1)

    def test_blocks_give_the_distribution_of_the_whole(self):
        # Gumbel top-k: draws without replacement in proportion, from blocks of one pair each.
        pairs = np.array([[0, 1], [2, 3], [4, 5]])
        weight = np.array([1.0, 2.0, 4.0])
        count = np.zeros(3)
        rng = stream()
        for _ in range(1500):
            blocks = ((pairs[i : i + 1], weight[i : i + 1]) for i in range(3))
            made = assemble(blocks, 6, 1, rng=rng)
            assert len(made.edges) == 3, "each node has drawn the one edge that it can have"
            star = ((np.array([[0, i + 1]]), weight[i : i + 1]) for i in range(3))
            first = assemble(star, 2 * 4, 1, rng=rng).edges
            count += np.isin([1, 2, 3], first[:, 1])
        assert count.tolist() == [1500] * 3

    def test_counts_are_of_both_directions_and_without_stays(self):
        walks = torch.tensor([[0.0, 1.0, 0.0], [2.0, 2.0, 1.0]])
        assert transitions(walks, 3).toarray().tolist() == [[0, 2, 0], [2, 0, 1], [0, 1, 0]]
        assert network_of(walks, 3).edges.tolist() == [[0, 1], [1, 2]]

    def test_walks_step_evenly_along_edges(self):
        network, _ = random_network(10, 0.5)
        walks = random_walks(network, np.zeros(20_000, int), 2, rng=stream())[:, 1]
        around = network.adjacency[[0]].indices
        counts = np.bincount(walks, minlength=10)[around]
        assert counts.sum() == 20_000
        expected = 20_000 / len(around)
        assert ((counts - expected) ** 2 / expected).sum() < chi2.ppf(0.999, len(around) - 1)


@pytest.fixture(scope="module")
def made():
    data = datasets.make("sbm-network")
    return data, data.load(rng=Rng(0))


class TestData:
    def test_the_contract(self, made):
        check_dataset(made[0])

    def test_training_walks_begin_once_with_each_edge_in_each_direction(self, made):
        _, splits = made
        x = all_samples(splits.train).long()
        first = (x[:, 0] * 180 + x[:, 1]).unique(return_counts=True)
        assert len(first[0]) == 2 * len(splits.code.train.edges)
        assert set(first[1].tolist()) == {4}
        assert network_of(x, 180).codes.tolist() == splits.code.train.codes.tolist()

    def test_held_out_edges_are_no_training_edges_and_others_are_none(self, made):
        code = made[1].code
        parts = (code.validation, code.test)
        for held in parts:
            assert code.full.has(held.edges).all()
            assert not code.train.has(held.edges).any()
            assert not code.full.has(held.others).any()
            assert len(held.edges) == len(held.others)
        total = len(code.train.edges) + sum(len(h.edges) for h in parts)
        assert total == len(code.full.edges)
        assert connected_components(code.train.adjacency)[0] == 1

    def test_test_walks_use_all_edges_and_validation_walks_no_test_edge(self, made):
        code, splits = made[1].code, made[1]
        seen = network_of(all_samples(splits.test), 180)
        assert code.full.has(seen.edges).all()
        assert seen.has(code.test.edges).mean() > 0.9
        seen = network_of(all_samples(splits.validation), 180)
        assert not seen.has(code.test.edges).any()
        assert seen.has(code.validation.edges).mean() > 0.9

    def test_attributes_see_steps_off_the_network(self, made):
        data, splits = made
        real = all_samples(splits.test, 200)
        noise = torch.randint(180, real.shape, generator=stream()).float()
        values = attributes_of(data.space, torch.cat([real, noise]), code=splits.code)
        on = values.values[:, [w.name for w in values.words].index("steps along edges")]
        assert on[:200].min() > 0.95
        assert on[200:].mean() < 0.2

    def test_the_extractor_keeps_the_contract_and_sees_blocks(self, made):
        check_extractor(extractors.make("walk-embedding"), Space("walk", (6,), 9))
        data, splits = made
        seen = extractors.make("walk-embedding").fit(data.space, splits, rng=Rng(0))
        real = all_samples(splits.test, 500)
        # The same walks with their nodes exchanged at random.
        moved = torch.randperm(180, generator=stream())[real.long()].float()
        apart = (seen.extract(real)[:, 16:32].mean() - seen.extract(moved)[:, 16:32].mean()).item()
        assert apart > 0.1


class TestFiles:
    def write(self, folder, name, text):
        path = folder / name
        path.write_text(text)
        return f"network:path={path},validation=0.01,test=0.01"

    def test_forms_of_one_network_are_one(self, tmp_path):
        network, graph = random_network(40, 0.2)
        lines = "".join(f"{a} {b}\n" for a, b in graph.edges)
        forms = {"a.edges": f"# nodes\n{lines}", "a.csv": lines.replace(" ", ",")}
        specs = [self.write(tmp_path, name, text) for name, text in forms.items()]
        nx.write_graphml(graph, tmp_path / "a.graphml")
        save_npz(tmp_path / "sparse.npz", csr_array(network.adjacency))
        np.savez(tmp_path / "list.npz", edges=network.edges)
        specs += [
            f"network:path={tmp_path / name},validation=0.01,test=0.01"
            for name in ("a.graphml", "sparse.npz", "list.npz")
        ]
        for spec in specs:
            code = datasets.make(spec).load(rng=Rng(0)).code
            assert code.full.codes.tolist() == network.codes.tolist(), spec
            assert [int(name) for name in code.names] == list(range(40))

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("a.edges", "", "has no edges"),
            ("a.edges", "# nothing\n", "has no edges"),
            ("a.edges", "0 1\n1 1\n1 2\n", "has 1 loop, edges from a node to itself, the first"),
            ("a.edges", "0 1\n2 3\n", "falls into 2 components, the largest of 2 of 4 nodes"),
            ("a.edges", "0 1\n1 0\n1 2\n", "is directed: 1 of 2 edges are there in both"),
            ("a.edges", "0 1\n1 2 3 4\n", "line 2: an edge is two names of nodes"),
            ("a.edges", "0,1\n1,2\n,2\n", "line 3: an edge is two names"),
            ("a.edges", "0,1\n1 2\n", "line 2: mixed delimiters, spaces here and commas in"),
            ("a.csv", "source,target\n0,1\n1,2\n", "first line, 'source target', is a header"),
            ("a.graphml", "<graphml><graph", "cannot be read as GraphML"),
            ("a.edges", "0 1\n1 2\n2 3\n", "keep the training part connected"),
        ],
    )
    def test_a_bad_file_is_one_line(self, tmp_path, name, text, message):
        with pytest.raises(UserError) as caught:
            datasets.make(self.write(tmp_path, name, text)).load(rng=Rng(0))
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_binary_file_is_one_line(self, tmp_path):
        (tmp_path / "a.edges").write_bytes(b"\x00\x01\x80\x81")
        found = refused(f"network:path={tmp_path / 'a.edges'}")
        assert "a.edges" in found
        assert "\n" not in found

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"x": np.zeros(3)}, "holds no network: it needs an array edges"),
            ({"edges": np.zeros((3, 2))}, "edges must hold whole numbers of shape (m, 2)"),
            ({"edges": np.array([[0, 9]]), "num_nodes": np.array(3)}, "must be from 0 to 2"),
            (
                {
                    "edges": np.array([[0, 1]]),
                    "num_nodes": np.array([2]),
                    "num_edges": np.array([1]),
                },
                "holds a set of graphs, not one network",
            ),
            ({"edges": np.array([[0, 1]], object)}, "Python objects, which are never loaded"),
        ],
    )
    def test_a_bad_archive_is_one_line(self, tmp_path, arrays, message):
        path = tmp_path / "a.npz"
        np.savez(path, **arrays)
        with pytest.raises(UserError) as caught:
            datasets.make(f"network:path={path}").load(rng=Rng(0))
        assert message in str(caught.value)

    def test_a_directed_matrix_is_refused_and_can_be_taken_for_both(self, tmp_path):
        ring = csr_array((np.ones(4), ([0, 1, 2, 0], [1, 2, 3, 2])), shape=(4, 4))
        save_npz(tmp_path / "a.npz", ring)
        spec = f"network:path={tmp_path / 'a.npz'},validation=0.01,test=0.01"
        with pytest.raises(UserError, match="is directed: 0 of 4 edges"):
            datasets.make(spec).load(rng=Rng(0))
        found = refused(f"{spec},directions=ignore")
        assert "keep the training part connected" in found

    def test_what_is_left_out_on_request_is_said(self, tmp_path):
        network, graph = random_network(40, 0.2)
        lines = "".join(f"{a} {b} 2.5\n" for a, b in graph.edges)
        spec = self.write(tmp_path, "a.edges", f"{lines}3 3\nx y\n")
        spec = f"{spec},loops=drop,component=largest"
        splits = datasets.make(spec).load(rng=Rng(0))
        assert splits.code.full.codes.tolist() == network.codes.tolist()
        for note in ("1 loop was left out", "Weights of edges were ignored", "The largest of 2"):
            assert note in splits.note


def refused(spec):
    with pytest.raises(UserError) as caught:
        datasets.make(spec).load(rng=Rng(0))
    return str(caught.value)


def every_walk(nodes, steps):
    return torch.tensor(list(itertools.product(range(nodes), repeat=steps))).float()


@pytest.fixture(scope="module")
def fitted():
    network, _ = random_network(6, 0.7, 3)
    walks = random_walks(network, network.edges.ravel(), 3, rng=stream())
    space = Space("walk", (3,), 6)
    both = Cell(rank=2, overlap=1, steps=30), DcSbm(blocks=2)
    return network, [f.fit(space, walks.float(), rng=Rng(0)).model for f in both]


class TestChains:
    def test_probabilities_of_all_walks_sum_to_1(self, fitted):
        for model in fitted[1]:
            found = model.log_prob(every_walk(6, 3), rng=stream())
            assert found.kind == "exact"
            assert found.value.exp().sum().item() == pytest.approx(1, abs=1e-5)

    def test_samples_are_as_often_as_their_probability(self, fitted):
        for model in fitted[1]:
            assert isinstance(model, MarkovChain)
            x = model.sample(20_000, rng=stream()).long()
            counts = torch.bincount(x @ torch.tensor([36, 6, 1]), minlength=216).double()
            wanted = model.log_prob(every_walk(6, 3), rng=stream()).value.exp().double() * 20_000
            kept = wanted > 5
            statistic = ((counts - wanted)[kept] ** 2 / wanted[kept]).sum().item()
            assert statistic < chi2.ppf(0.999, int(kept.sum()) - 1)

    def test_the_start_is_stationary_and_scores_are_the_flow(self, fitted):
        for model in fitted[1]:
            steps = model.rows(torch.arange(6)).exp().double()
            assert torch.allclose(model.start @ steps, model.start, atol=1e-7)
            flow = model.start[:, None] * steps
            wanted = (flow + flow.T).numpy()
            pairs, scores = (np.concatenate(a) for a in zip(*model.pairs(), strict=True))
            assert len(pairs) == 15
            assert scores == pytest.approx(wanted[pairs[:, 0], pairs[:, 1]])
            assert model.link_scores(pairs) == pytest.approx(scores)

    def test_blocks_and_degrees_are_those_of_maximum_likelihood(self):
        # Two cliques joined by one edge: the blocks are certain, and the rates follow.
        cliques = [*itertools.combinations(range(5), 2), *itertools.combinations(range(5, 10), 2)]
        network = Network.of(10, np.array([*cliques, (0, 5)]))
        walks = random_walks(network, network.edges.ravel(), 4, rng=stream())
        walks = torch.cat([walks, torch.tensor(np.pad(network.edges, ((0, 0), (0, 2)), "wrap"))])
        model = DcSbm(blocks=2).fit(Space("walk", (4,), 10), walks.float(), rng=Rng(0)).model
        steps = model.rows(torch.arange(10)).exp().double().numpy()
        degree, block = network.degrees, np.arange(10) // 5
        flow = np.array([[20.0, 1.0], [1.0, 20.0]])
        flow = 0.99 * flow + 0.01 * np.outer(flow.sum(1), flow.sum(1)) / flow.sum()
        wanted = np.outer(degree, degree) * flow[block][:, block]
        np.fill_diagonal(wanted, 0)
        assert steps == pytest.approx(wanted / wanted.sum(1, keepdims=True), rel=1e-4)

    def test_a_lower_rank_is_the_best_approximation(self, fitted):
        model = fitted[1][0]
        low = model.tuned(1)
        logits = (model.down @ model.up).double()
        u, d, v = torch.linalg.svd(logits)
        assert torch.allclose(
            (low.down @ low.up).double(), d[0] * torch.outer(u[:, 0], v[0]), atol=1e-5
        )
        assert model.tuned(2) is model
        with pytest.raises(UserError, match="from 1 to 2"):
            model.tuned(3)

    def test_cell_memorises_at_a_high_rank_and_stops_at_an_overlap(self, made):
        data, splits = made
        x, train = all_samples(splits.train), splits.code.train
        full = Cell(rank=64, overlap=1.0).fit(data.space, x, rng=Rng(0)).model
        copy = full.graph(len(train.edges), rng=stream())
        assert edge_overlap(copy, train) > 0.99
        early = Cell().fit(data.space, x, rng=Rng(0)).model
        part = early.graph(len(train.edges), rng=stream())
        assert 0.42 < edge_overlap(part, train) < 0.65

    def test_walks_that_stay_are_refused(self):
        with pytest.raises(UserError, match="1 of 2 stay at a node"):
            Rewire().fit(
                Space("walk", (2,), 3), torch.tensor([[0.0, 1.0], [2.0, 2.0]]), rng=Rng(0)
            )


class TestRewiring:
    @pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
    def test_degrees_stay_and_so_do_the_edges_asked_for(self, overlap):
        network, _ = random_network(100, 0.05)
        found = rewired(network, overlap, rng=stream())
        assert found.degrees.tolist() == network.degrees.tolist()
        assert len(found.edges) == len(network.edges)
        assert overlap <= edge_overlap(found, network) <= overlap + 0.15

    def test_its_knob_is_the_overlap(self):
        network, _ = random_network(100, 0.05)
        walks = random_walks(network, network.edges.ravel(), 8, rng=stream())
        walks = torch.cat([walks, random_walks(network, network.edges.ravel(), 8, rng=stream())])
        model = Rewire().fit(Space("walk", (8,), 100), walks.float(), rng=Rng(0)).model
        assert model.knob.neutral == 0.52
        copy = model.tuned(1.0).sample(300, rng=stream())
        assert network.has(network_of(copy, 100).edges).all()


class TestLinkPrediction:
    def scores(self, shift, seed=0, m=120, n=150):
        rng = np.random.default_rng(seed)
        return rng.normal(shift, 1, m).round(1), rng.normal(0, 1, n).round(1)

    def test_both_numbers_are_those_of_scikit_learn(self):
        a, b = self.scores(1.0)
        y = [1] * len(a) + [0] * len(b)
        both = np.concatenate([a, b])
        assert roc_auc(a, b).value == pytest.approx(roc_auc_score(y, both))
        found = average_precision(a, b, rng=stream())
        assert found.value == pytest.approx(average_precision_score(y, both))
        assert found.low < found.value < found.high

    def test_the_interval_covers_the_truth_as_often_as_it_says(self):
        truth = 0.7602499389  # Phi(1 / sqrt 2)
        hits = 0
        for seed in range(300):
            rng = np.random.default_rng(seed)
            found = roc_auc(rng.normal(1, 1, 60), rng.normal(0, 1, 60))
            hits += found.low <= truth <= found.high
        assert 0.90 <= hits / 300 <= 0.985


class TestProbe:
    def measured(self, made, spec):
        data, splits = made
        model = families.make(spec).fit(data.space, all_samples(splits.train), rng=Rng(0)).model
        probe = NetworkProbe(graphs=2)
        real = all_samples(splits.test, 50)
        return probe.examine(model, real, data=data, splits=splits, rng=Rng(0)).scores

    def test_a_memoriser_copies_and_is_said_to(self, made):
        # It has no scores: its network is that of its walks.
        found = self.measured(made, "memorizer")
        assert found[OVERLAP].value > 0.95
        assert found[FOUND].value == 0
        assert found[OVERLAP].also["p"] < 1e-6
        assert found[AUC].value == 0.5, "no walk has a held-out edge: all scores are ties"
        trial = Trial(parts={"model": "cell:rank=64,overlap=1.0"})
        (said,) = copied_edges(model_results([Outcome(trial=trial, scores=found)]))
        assert "memorizes the network" in said.claim
        assert "significantly fewer" in said.claim

    def test_a_model_that_learns_finds_held_out_edges(self, made):
        found = self.measured(made, "cell")
        assert found[AUC].low > 0.7
        assert found[FOUND].value > 0.05
        assert (
            found["network: triangles"].also["real"] == statistics(made[1].code.train)["triangles"]
        )
        # At the same overlap, edges that are copied and rewired have far fewer triangles.
        triangles = found["network: triangles"]
        assert triangles.also["rewired"] < 0.6 * triangles.value
        trial = Trial(parts={"model": "cell"})
        assert not list(copied_edges(model_results([Outcome(trial=trial, scores=found)])))

    @pytest.mark.parametrize("spec", ["memorizer", "dc-sbm"])
    def test_it_keeps_the_contract(self, made, spec):
        data, splits = made
        x = all_samples(splits.train)
        model = families.make(spec).fit(data.space, x, rng=Rng(0)).model
        real = all_samples(splits.test, 20)
        check_probe(NetworkProbe(graphs=2, walks=2000), model, real, data)

    def test_other_data_are_refused(self, made):
        data = datasets.make("ring")
        splits = data.load(rng=Rng(0))
        with pytest.raises(UserError, match="needs a network"):
            NetworkProbe().examine(
                None, all_samples(splits.test), data=data, splits=splits, rng=Rng(0)
            )
