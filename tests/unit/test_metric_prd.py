import pytest
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from gantlet.core.rng import Rng
from gantlet.metrics.prd import Prd, cluster, f_score, k_means, prd_curve, principal
from gantlet.stats.jackknife import difference


def modes(n, weights, rng, d=16):
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    which = torch.multinomial(torch.tensor(weights).double(), n, replacement=True, generator=rng)
    x[:, 0] += 12 * which
    return x


def measure(real, fake, seed=0, **options):
    return Prd(**({"runs": 3} | options)).measure(real, fake, rng=Rng(seed).stream("m"))


def test_equal_sets_have_all_of_both():
    """Sajjadi et al.: P = Q gives 1."""
    x = modes(500, [1, 1], Rng(0).stream("x"))
    curve = prd_curve(x, x.clone(), rng=Rng(0).stream("m"), runs=2)
    assert curve.score(8) == pytest.approx(1)
    assert curve.score(1 / 8) == pytest.approx(1)
    # The right angle: one of the two is 1 everywhere.
    assert torch.maximum(curve.precision, curve.recall).min() == pytest.approx(1)


def test_new_samples_of_the_same_come_near():
    rng = Rng(0).stream("x")
    x, y = modes(2000, [1, 1], rng), modes(2000, [1, 1], rng)
    for beta in (8.0, 1 / 8):
        assert measure(x, y, beta=beta).value > 0.97


def test_a_dropped_mode_costs_recall_not_precision():
    rng = Rng(0).stream("x")
    real, fake = modes(2000, [1, 1], rng), modes(2000, [1, 0], rng)
    recall, precision = (measure(real, fake, beta=beta) for beta in (8.0, 1 / 8))
    assert recall.value == pytest.approx(0.50, abs=0.02)
    assert recall.low < 0.5 < recall.high
    assert precision.value == pytest.approx(0.98, abs=0.02)
    # And the other way round: order matters.
    swapped = measure(fake, real, beta=8.0)
    assert swapped.value > 0.95


def test_an_invented_mode_costs_precision_not_recall():
    rng = Rng(0).stream("x")
    real, fake = modes(2000, [1, 0], rng), modes(2000, [1, 1], rng)
    assert measure(real, fake, beta=1 / 8).value == pytest.approx(0.5, abs=0.04)
    assert measure(real, fake, beta=8.0).value > 0.95


def test_the_curve_of_two_far_modes_is_known():
    """Weights a, 1 - a against b, 1 - b: precision is min(l a, b) + min(l - l a, 1 - b)."""
    a, b, n = 0.7, 0.2, 1000
    real, fake = torch.zeros(n, 1, dtype=torch.float64), torch.zeros(n, 1, dtype=torch.float64)
    real[700:], fake[200:] = 1, 1
    curve = prd_curve(real, fake, rng=Rng(0).stream("m"), clusters=2, runs=1, angles=101)
    l = curve.slopes
    expected = (l * a).clamp(max=b) + (l * (1 - a)).clamp(max=1 - b)
    assert torch.allclose(curve.precision, expected)
    assert torch.allclose(curve.recall, expected / l)


@pytest.mark.parametrize("beta", [8.0, 1.0, 1 / 8])
def test_the_interval_where_the_clusters_are_known(beta):
    """Two modes that k-means never misses, so that only the counts vary."""
    truth = max(
        float(f_score(p, p / l, beta))
        for l in torch.linspace(0.01, 1.56, 2001).tan().double()
        for p in [(l * 0.7).clamp(max=0.4) + (l * 0.3).clamp(max=0.6)]
    )
    hits = 0
    for seed in range(60):
        rng = Rng(seed).stream("x")
        real, fake = modes(300, [7, 3], rng, d=1), modes(300, [4, 6], rng, d=1)
        found = measure(real, fake, seed, beta=beta, clusters=2, runs=1, angles=2001)
        hits += found.low <= truth <= found.high
    assert hits >= 53


def test_a_paired_difference_is_tighter_than_an_unpaired_one():
    rng = Rng(0).stream("x")
    real = modes(600, [7, 3], rng, d=1)
    metric = Prd(clusters=2, runs=1)
    a, b = (
        metric.detail(real, modes(600, w, rng, d=1), rng=Rng(0).stream("m"))
        for w in ([5, 5], [4, 6])
    )
    apart = (a.estimate.half_width**2 + b.estimate.half_width**2) ** 0.5
    assert difference(a, b).half_width < apart


def test_clusters_are_as_tight_as_those_of_another_library():
    z = modes(600, [1] * 6, Rng(0).stream("x"), d=4)

    def spread(label):
        return sum(float((z[label == k] - z[label == k].mean(0)).square().sum()) for k in range(6))

    theirs = KMeans(6, n_init=10, random_state=0).fit(z.numpy()).inertia_
    ours = min(spread(cluster(z, 6, rng=Rng(seed).stream("k"))) for seed in range(5))
    assert ours == pytest.approx(theirs, rel=0.02)


def test_clusters_repeat_bit_for_bit_on_any_number_of_threads():
    z = modes(3000, [1] * 6, Rng(0).stream("x"), d=8)
    first = k_means(z, 6, rounds=25, rng=Rng(0).stream("k"))
    for threads in (1, 2):
        with threadpool_limits(threads):
            again = k_means(z, 6, rounds=25, rng=Rng(0).stream("k"))
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[1], again[1])


def test_a_centre_is_the_mean_of_its_cluster_and_the_nearest_to_it():
    z = modes(300, [1] * 3, Rng(0).stream("x"), d=4)
    centres, label = k_means(z, 3, rounds=100, rng=Rng(0).stream("k"))
    means = torch.stack([z[label == k].mean(0) for k in range(3)])
    assert torch.allclose(centres, means)
    assert torch.equal(torch.cdist(z, centres).argmin(1), label)


def test_more_clusters_than_samples_leave_some_empty():
    z = torch.tensor([[0.0], [0.0], [5.0], [5.0]], dtype=torch.float64)
    label = cluster(z, 20, rng=Rng(0).stream("k"))
    assert label[0] == label[1] != label[2] == label[3]


def test_principal_coordinates_equal_those_of_a_singular_value_decomposition():
    rng = Rng(0).stream("x")
    z = torch.randn(300, 90, generator=rng, dtype=torch.float64) * torch.logspace(0, -3, 90)
    found = principal(z, 5, rng=rng)
    centred = z - z.mean(0)
    expected = centred @ torch.linalg.svd(centred).Vh[:5].T
    ours, theirs = torch.cdist(found, found), torch.cdist(expected, expected)
    assert float((ours - theirs).norm() / theirs.norm()) < 0.01


def test_the_larger_set_is_thinned():
    rng = Rng(0).stream("x")
    metric = Prd(runs=1)
    detail = metric.detail(modes(90, [1, 1], rng), modes(60, [1, 1], rng), rng=rng)
    assert detail.estimate.n == 60
    assert detail.real.shape == (20,)
