"""Families of graphs, against closed forms and against all graphs of three nodes."""

import math
from collections import Counter
from itertools import permutations, product

import networkx as nx
import pytest
import torch

from gantlet.core.data import Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.model import Density, Tunable
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families
from gantlet.models.graph_ar import GraphAr, breadth_first
from gantlet.models.graph_gan import GraphCritic, GraphGan
from gantlet.models.losses import PENALTIES, Scored
from gantlet.models.nets import seeded
from gantlet.models.random_graphs import DegreeMatched, ErdosRenyi, nodes_first, reordered
from gantlet.stats.graph_statistics import adjacency, isomorphism_classes, networks
from gantlet.testing.contracts import made_up

THREE = Space("graph", (3, 3), 2)
SEVEN = Space("graph", (7, 7), 2)


def stream(name="test", seed=0):
    return Rng(seed).stream(name)


def all_graphs(room=3):
    """Every graph whose nodes come first: 1, 1, 2 and 8 of them in the room for three."""
    found = []
    for n in range(room + 1):
        pairs = [(i, j) for i in range(n) for j in range(i)]
        for bits in product((0.0, 1.0), repeat=len(pairs)):
            x = torch.zeros(room, room)
            x[range(n), range(n)] = 1
            for (i, j), bit in zip(pairs, bits, strict=True):
                x[i, j] = x[j, i] = bit
            found.append(x)
    return torch.stack(found)


def labelled(x):
    return tuple(x.flatten().int().tolist())


def agrees(samples, log_p, graphs, limit):
    """Chi-squared of the frequencies of graphs against their probabilities."""
    counts = Counter(map(labelled, samples))
    expected = len(samples) * log_p.exp()
    chi2 = sum(
        (counts[labelled(x)] - float(e)) ** 2 / float(e)
        for x, e in zip(graphs, expected, strict=True)
    )
    assert sum(counts.values()) == sum(counts[labelled(x)] for x in graphs)
    assert chi2 < limit


# Independent edges


def test_probabilities_of_all_graphs_sum_to_one_and_are_those_of_samples():
    x = made_up(THREE, 50)
    model = ErdosRenyi().fit(THREE, x, rng=Rng(0)).model
    assert isinstance(model, Density)
    graphs = all_graphs()
    log_p = model.log_prob(graphs.double(), rng=stream()).value
    assert float(log_p.exp().sum()) == pytest.approx(1)
    agrees(model.sample(20_000, rng=stream()), log_p, graphs, 31.3)  # 0.1 % at 11 degrees


def test_the_density_of_edges_is_that_of_the_training_set():
    data = datasets.make("planar:nodes=12,n=300,held_out=1")
    x = all_samples(data.load(rng=Rng(0)).train)
    model = ErdosRenyi().fit(data.space, x, rng=Rng(0)).model
    edges = [
        float(adjacency(z)[0].sum() / 2 / len(z)) for z in (x, model.sample(2000, rng=stream()))
    ]
    assert edges[1] == pytest.approx(edges[0], rel=0.02)


# Degrees of training graphs


@pytest.mark.parametrize("swaps", [0.0, 0.3, 10.0])
def test_switching_keeps_degrees(swaps):
    x = made_up(Space("graph", (12, 12), 2), 40)
    model = DegreeMatched(swaps=swaps).fit(Space("graph", (12, 12), 2), x, rng=Rng(0)).model
    fake = model.sample(100, rng=stream())
    assert torch.equal(fake, fake.mT)
    known = {tuple(row) for row in x.sum(2).tolist()}
    assert {tuple(row) for row in fake.sum(2).tolist()} <= known
    copies = {labelled(z) for z in x} >= {labelled(z) for z in fake}
    assert copies == (swaps == 0)


def test_after_many_switches_all_graphs_with_the_degrees_are_equally_likely():
    """A cycle of five nodes has twelve labelled forms, and no other graph has its degrees."""
    x = torch.from_numpy(nx.to_numpy_array(nx.cycle_graph(5))).float() + torch.eye(5)
    space = Space("graph", (5, 5), 2)
    model = DegreeMatched(swaps=30).fit(space, x[None], rng=Rng(0)).model
    counts = Counter(labelled(z) for z in model.sample(6000, rng=stream()))
    assert len(counts) == 12
    assert sum((c - 500) ** 2 / 500 for c in counts.values()) < 31.3


def test_the_knob_goes_from_chance_to_copies():
    data = datasets.make("trees:nodes=16,n=50,held_out=1")
    x = all_samples(data.load(rng=Rng(0)).train)
    model = DegreeMatched().fit(data.space, x, rng=Rng(0)).model
    assert isinstance(model, Tunable)
    assert model.knob.neutral == 10
    shares = []
    for value in (model.knob.neutral, *model.knob.values):
        fake = model.tuned(value).sample(60, rng=stream())
        classes = isomorphism_classes(torch.cat([x, fake])).tolist()
        shares.append(sum(c in set(classes[:50]) for c in classes[50:]) / 60)
    assert shares[0] < 0.1
    assert shares[-1] == 1
    assert shares[-2] > shares[0]


# Autoregressive


def ar(space=THREE, **options):
    game = GraphAr(width=8, edge_width=4, **options).build(space, rng=Rng(0))
    for parameter in game.model.parameters():
        # Away from the start, where all logits are near to each other.
        torch.nn.init.normal_(parameter, std=0.8, generator=stream(str(parameter.shape)))
    return game.model.double().requires_grad_(requires_grad=False)


def exact(model, graphs):
    """Sums over all orders of the nodes, each as likely."""
    found = []
    for x in graphs:
        edge, count = nodes_first(x[None])
        n = int(count)
        values = []
        for order in permutations(range(n)):
            whole = torch.tensor([[*order, *range(n, len(x))]])
            values.append(model.of_sequence(reordered(edge, whole), count))
        found.append(torch.cat(values).logsumexp(0) - math.lgamma(n + 1))
    return torch.stack(found)


@pytest.mark.parametrize("window", [None, 1])
def test_the_law_of_sequences_is_normalised(window):
    model = ar(window=window)
    edge, count = nodes_first(all_graphs())
    assert model.of_sequence(edge, count).exp().sum().item() == pytest.approx(1)


@pytest.mark.parametrize("window", [None, 1])
def test_samples_have_the_exact_law(window):
    model = ar(window=window)
    graphs = all_graphs()
    log_p = exact(model, graphs)
    assert float(log_p.exp().sum()) == pytest.approx(1)
    agrees(model.float().sample(20_000, rng=stream()), log_p, graphs, 31.3)


def test_the_bound_is_one_and_is_exact_on_average_over_orders():
    """Weights are unbiased for the sum over breadth-first orders: all orders of three nodes."""
    model = ar()
    graphs = all_graphs()[4:].double()
    log_p = exact(model, graphs)
    draws = torch.stack([model.log_prob(graphs, rng=stream(str(i))).value for i in range(400)])
    assert (draws.mean(0) <= log_p + 1e-9).all()
    # Graphs of three nodes that are not connected, or complete, or a path: of these all orders
    # are breadth first but for the path and the graph of one edge.
    complete = graphs[-1]
    assert labelled(complete) == (1,) * 9
    assert float(draws[:, -1].exp().mean()) == pytest.approx(float(log_p[-1].exp()), rel=0.2)


def test_breadth_first_orders_are_as_likely_as_is_said():
    graph = nx.Graph([(0, 1), (0, 2), (0, 3), (3, 4)])
    graph.add_node(5)
    edge = torch.from_numpy(nx.to_numpy_array(graph, nodelist=range(6)))[None].repeat(8000, 1, 1)
    edge = torch.nn.functional.pad(edge, (0, 1, 0, 1))
    order, log_q = breadth_first(edge, torch.full((8000,), 6), rng=stream())
    counts = Counter(map(tuple, order.tolist()))
    said = {tuple(o): float(q.exp()) for o, q in zip(order.tolist(), log_q, strict=True)}
    assert sum(said.values()) == pytest.approx(1), "all orders were met"
    chi2 = sum((counts[o] - 8000 * q) ** 2 / (8000 * q) for o, q in said.items())
    assert chi2 < len(said) + 4 * math.sqrt(2 * len(said))
    for o in said:
        assert o[-1] == 6, "a node that is not there is last"
        part = [v for v in o if v not in (5, 6)]
        layers = nx.single_source_shortest_path_length(graph, part[0])
        assert [layers[v] for v in part] == sorted(layers.values())


def test_temperature_sharpens_and_shares_parameters():
    model = ar(SEVEN)
    cold = model.tuned(0.01).float()
    assert cold.rows.weight is model.rows.weight
    fake = cold.sample(50, rng=stream())
    assert len(set(isomorphism_classes(fake).tolist())) < 5
    assert model.temperature == 1


# Adversarial


def test_the_critic_does_not_see_the_order_of_nodes():
    with seeded(stream()):
        net = GraphCritic(16, 3).double()
    x = made_up(SEVEN, 20).double()
    order = torch.stack([torch.randperm(7, generator=stream(str(i))) for i in range(20)])
    assert torch.allclose(net(x), net(reordered(x, order)), atol=1e-10)


def test_the_critic_tells_graphs_that_messages_alone_do_not():
    """Two triangles and a cycle of six: every node of both has two neighbours."""
    both = [nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3)), nx.cycle_graph(6)]
    x = torch.stack([torch.from_numpy(nx.to_numpy_array(g)) + torch.eye(6) for g in both])
    with torch.no_grad(), seeded(stream()):
        first, second = GraphCritic(16, 2).double()(x).tolist()
    assert abs(first - second) > 1e-4


def test_the_penalty_takes_the_norm_over_all_of_a_graph():
    """A critic with a known slope: half the mean squared distance of its norm from 1."""
    weight = torch.randn(7, 7, generator=stream(), dtype=torch.float64)
    critic = lambda x: (x * weight).sum((1, 2))  # noqa: E731
    x, y = (made_up(SEVEN, 5, seed=s).double() for s in (0, 1))
    both = [Scored.by(critic, z) for z in (x, y)]
    found = PENALTIES["gp"](critic, *both, rng=stream())
    assert float(found) == pytest.approx(float((weight.norm() - 1) ** 2 / 2))


@pytest.mark.parametrize("net", ["nodes", "mlp"])
def test_relaxed_fakes_are_graphs_and_hard_ones_are_samples(net):
    game = GraphGan(net=net).build(SEVEN, rng=Rng(0))
    game.prepare(made_up(SEVEN, 64), rng=stream())
    model = game.model
    z = model.prior(50, rng=stream())
    soft, hard = (model.relaxed(z, hard=hard, rng=stream("x")) for hard in (False, True))
    for x in (soft.detach(), hard.detach()):
        assert torch.allclose(x, x.mT)
        assert float(x.min()) >= -1e-6
        assert float(x.max()) <= 1 + 1e-6
    SEVEN.check(hard.detach().round(), "hard")
    (slope,) = torch.autograd.grad(hard.sum(), next(model.net.parameters()))
    assert slope.abs().sum() > 0


@pytest.mark.parametrize("net", ["nodes", "mlp"])
def test_the_mean_of_samples_is_what_decode_says(net):
    game = GraphGan(net=net).build(THREE, rng=Rng(0))
    model = game.model
    z = model.prior(1, rng=stream())
    drawn = model.relaxed(z.expand(40_000, -1), hard=True, rng=stream("x")).detach().mean(0)
    assert torch.allclose(drawn, model.decode(z)[0].detach(), atol=0.012)


def test_the_first_fakes_have_sizes_and_density_of_the_real_ones():
    data = datasets.make("planar:nodes=12,n=200,held_out=1")
    x = all_samples(data.load(rng=Rng(0)).train)
    game = GraphGan().build(data.space, rng=Rng(0))
    game.prepare(x, rng=stream())
    fake = game.model.sample(500, rng=stream())
    (real, _), (made, node) = adjacency(x), adjacency(fake)
    assert float(node.mean()) > 0.97
    assert float(made.sum() / 500) == pytest.approx(float(real.sum() / 200), rel=0.1)


# What all of them refuse


@pytest.mark.parametrize("name", ["erdos-renyi", "degree-matched", "graph-ar", "graph-gan"])
@pytest.mark.parametrize("space", [Space("graph", (4, 4)), Space("walk", (8,), 20)])
def test_other_samples_are_refused(name, space):
    family = families.make(name)

    def use():
        if hasattr(family, "fit"):
            return family.fit(space, torch.zeros(3, *space.shape), rng=Rng(0))
        return family.build(space, rng=Rng(0))

    with pytest.raises(UserError, match=f"{name} models graphs .* Got {space.kind}"):
        use()


def test_no_training_graphs_are_no_model():
    with pytest.raises(UserError, match=r"at least one training graph\. Got 0"):
        DegreeMatched().fit(THREE, torch.zeros(0, 3, 3), rng=Rng(0))


def test_samples_are_graphs_in_any_room():
    for room in (1, 2, 5):
        space = Space("graph", (room, room), 2)
        for family in (GraphAr(width=4, edge_width=4), GraphGan(width=4))[: 2 if room > 1 else 1]:
            model = family.build(space, rng=Rng(0)).model
            fake = model.sample(8, rng=stream())
            space.check(fake, "samples")
            assert len(list(networks(fake))) == 8
            assert model.sample(0, rng=stream()).shape == (0, room, room)


def test_a_graph_of_one_node_has_no_edges_to_learn():
    with pytest.raises(UserError, match=r"two nodes or more\. Got graph 1x1"):
        GraphGan().build(Space("graph", (1, 1), 2), rng=Rng(0))
