"""Distances of sets of graphs, against published definitions computed slowly and closed forms."""

import math

import networkx as nx
import numpy as np
import pytest
import torch

from gantlet.core.data import Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.metric import metric_on
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, metrics
from gantlet.metrics.graph_mmd import mean_orbits
from gantlet.stats.graph_statistics import networks
from gantlet.stats.intervals import Variance, fraction
from gantlet.testing.contracts import made_up

ROOM = Space("graph", (9, 9), 2)
MMDS = ["degree-mmd", "clustering-mmd", "spectrum-mmd", "orbit-mmd"]
ALL = [*MMDS, "pgd"]


def stream(name="test", seed=0):
    return Rng(seed).stream(name)


def sets(name, n=200, **options):
    written = ",".join([f"n={n}", f"held_out={n}", *(f"{k}={v}" for k, v in options.items())])
    data = datasets.make(f"{name}:{written}")
    splits = data.load(rng=Rng(0))
    return data, all_samples(splits.train), all_samples(splits.test)


def shuffled(x):
    order = torch.stack(
        [torch.randperm(x.shape[1], generator=stream(str(i))) for i in range(len(x))]
    )
    rows = torch.arange(len(x))[:, None, None]
    return x[rows, order[:, :, None], order[:, None]]


# As the evaluation of GRAN has them, one graph after the other.


def by_degree(graph):
    return np.array(nx.degree_histogram(graph), dtype=float), 1.0


def by_clustering(graph):
    values = list(nx.clustering(graph).values())
    return np.histogram(values, bins=100, range=(0.0, 1.0))[0].astype(float), 0.1


def by_spectrum(graph):
    values = np.linalg.eigvalsh(nx.normalized_laplacian_matrix(graph).toarray())
    return np.histogram(values, bins=200, range=(-1e-5, 2))[0].astype(float), 1.0


def slow(first, second, describe):
    def kernel(a, b, sigma):
        size = max(len(a), len(b))
        a, b = (np.pad(z / z.sum(), (0, size - len(z))) for z in (a, b))
        return math.exp(-((np.abs(a - b).sum() / 2) ** 2) / (2 * sigma * sigma))

    def mean(xs, ys):
        return np.mean([kernel(a, b, s) for a, s in xs for b, _ in ys])

    xs, ys = ([describe(g) for g in graphs] for graphs in (first, second))
    return mean(xs, xs) + mean(ys, ys) - 2 * mean(xs, ys)


@pytest.mark.parametrize(
    ("name", "describe"),
    [("degree-mmd", by_degree), ("clustering-mmd", by_clustering), ("spectrum-mmd", by_spectrum)],
)
def test_the_published_number_is_that_of_the_published_code(name, describe):
    _, x, _ = sets("planar", 12, nodes=10)
    y = families.make("degree-matched").fit(room_of(x), x, rng=Rng(0)).model
    fake = y.sample(9, rng=stream())
    found = metrics.make(name).measure(x, fake, rng=stream())
    expected = slow(list(networks(x)), list(networks(fake)), describe)
    # Eigenvalues at the edge of a bin may fall on either side.
    tolerance = 0.02 if name == "spectrum-mmd" else 1e-9
    assert found.also["published"] == pytest.approx(expected, rel=tolerance, abs=1e-9)
    assert "squared" in found.method


def room_of(x):
    return Space("graph", tuple(x.shape[1:]), 2)


def test_orbits_are_compared_by_their_means():
    x = made_up(ROOM, 6)
    counts = mean_orbits(x.double())
    degrees = [np.mean([d for _, d in g.degree()] or [0]) for g in networks(x)]
    np.testing.assert_allclose(counts[:, 0].numpy(), degrees)


@pytest.mark.parametrize("name", MMDS)
def test_it_is_unbiased_and_the_published_one_is_not(name):
    """Over many draws of eight and eight graphs of one distribution the mean is about 0."""
    _, x, _ = sets("sbm", 480)
    values, published = [], []
    for part in x.split(16):
        found = metrics.make(name).measure(part[:8], part[8:], rng=stream())
        values.append(found.value)
        published.append(found.also["published"])
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    assert abs(np.mean(values)) < 3.5 * error
    assert np.mean(published) > 4 * np.std(published) / math.sqrt(len(published))


@pytest.mark.parametrize("name", ALL)
def test_the_order_of_nodes_does_not_matter(name):
    _, x, y = sets("planar", 40, nodes=10)
    first, second = (metrics.make(name).measure(x, z, rng=stream()) for z in (y, shuffled(y)))
    assert second.value == pytest.approx(first.value, abs=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_equal_sets_are_not_told_and_random_edges_are(name):
    data, x, y = sets("planar", 150, nodes=12)
    metric = metrics.make(name)
    same = metric.measure(x, y, rng=stream())
    assert same.also["p"] > 0.01
    fake = families.make("erdos-renyi").fit(data.space, x, rng=Rng(0)).model
    other = metric.measure(x, fake.sample(150, rng=stream()), rng=stream())
    assert other.low > max(same.high, 0)
    assert other.also["p"] < 0.02


def test_degrees_alone_do_not_tell_switched_edges_and_the_rest_does():
    data, x, y = sets("planar", 150, nodes=12)
    fake = families.make("degree-matched").fit(data.space, x, rng=Rng(0)).model
    z = fake.sample(150, rng=stream())
    assert metrics.make("degree-mmd").measure(y, z, rng=stream()).also["p"] > 0.01
    found = metrics.make("pgd").measure(y, z, rng=stream())
    assert found.value > 0.8
    assert found.also["degrees"] < 0.3
    assert found.also["clustering"] > 0.5


# The polygraph discrepancy, where the true distance is known


def two_kinds(share, n):
    """A path or a star of five nodes, of which the first is a given share."""
    kinds = [nx.path_graph(5), nx.star_graph(4)]
    x = torch.stack([torch.from_numpy(nx.to_numpy_array(g)).float() + torch.eye(5) for g in kinds])
    count = round(share * n)
    return x[torch.arange(n).ge(count).long()]


def entropy(p):
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


@pytest.mark.parametrize(
    ("classifier", "p", "q"),
    [("logistic", 0.75, 0.25), ("logistic", 0.9, 0.5), ("boosting", 0.9, 0.5)],
)
def test_it_is_the_jensen_shannon_distance_of_two_kinds_of_graphs(classifier, p, q):
    truth = math.sqrt(entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2)
    metric = metrics.make(f"pgd:classifier={classifier}")
    found = metric.measure(two_kinds(p, 1000), two_kinds(q, 1000), rng=stream())
    assert found.low < truth < found.high
    assert found.value == pytest.approx(truth, abs=0.05)


def test_sets_without_a_common_graph_are_almost_at_distance_one():
    found = metrics.make("pgd").measure(two_kinds(1, 400), two_kinds(0, 400), rng=stream())
    assert 0.99 < found.value < 1
    assert found.high <= 1


def test_graphs_that_are_all_alike_are_not_compared():
    found = metrics.make("pgd").measure(two_kinds(1, 40), two_kinds(1, 40), rng=stream())
    assert found.value is None
    assert "alike" in found.method


def test_the_interval_of_a_mean_in_a_range_holds_as_often_as_it_says():
    """Two-valued terms, as a sure classifier gives them: mostly 1, sometimes far below."""
    rng = np.random.default_rng(0)
    hits, rounds, n = 0, 1000, 200
    for _ in range(rounds):
        parts = [np.where(rng.random(n) < 0.97, 0.95, 0.3) for _ in range(2)]
        value = np.mean([z.mean() for z in parts])
        variance = Variance.of_squares(sum(z.var(ddof=1) / (4 * n) for z in parts), n - 1)
        found = fraction(float(value), variance, n=2 * n, method="")
        hits += found.low <= 0.97 * 0.95 + 0.03 * 0.3 <= found.high
    assert hits / rounds > 0.93


# What is refused


@pytest.mark.parametrize("name", ALL)
def test_other_samples_are_refused_in_one_line(name):
    metric, noise = metrics.make(name), torch.rand(20, 5, 5, generator=stream())
    assert metric_on(metric, ROOM, None) == metric
    with pytest.raises(UserError, match=r"graphs \(kind graph\)\. Got vector 2"):
        metric_on(metric, Space("vector", (2,)), None)
    with pytest.raises(UserError, match=r"symmetric matrices of 0 and 1.*Got shape"):
        metric.measure(noise, noise, rng=stream())
    with pytest.raises(UserError, match=r"equally many nodes\. Got 5 and 4"):
        metric.measure(torch.ones(20, 5, 5), torch.ones(20, 4, 4), rng=stream())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("n", [0, 1, 3])
def test_few_graphs_are_a_reason(name, n):
    few, many = made_up(ROOM, n), made_up(ROOM, 40)
    found = metrics.make(name).measure(few, many, rng=stream())
    assert found.value is None
    assert "needs at least" in found.method
