"""Intervals of squared distances near zero, and of samples that come in groups."""

import math

import pytest
import torch
from scipy.stats import ncx2

from gantlet.core.metric import Groups
from gantlet.core.rng import Rng
from gantlet.metrics.classifier import InceptionScore
from gantlet.metrics.diversity import Vendi
from gantlet.metrics.frechet import Frechet
from gantlet.metrics.kernel import Cmmd, Energy, Kid, Mmd, energy_distance
from gantlet.metrics.neighbours import Precision
from gantlet.metrics.prd import Prd
from gantlet.metrics.transport import Mind, SlicedWasserstein
from gantlet.stats.intervals import (
    Curvature,
    Variance,
    curvature_of,
    drawn_by_size,
    products_of,
    squared_distance,
)

DISTANCES = [Energy(), Kid(), Mmd(bandwidth=1.0), Cmmd(), Frechet(), Frechet(covariance="none")]


def held(intervals, truth):
    """How many intervals hold the truth, lie below it, and lie above."""
    below = sum(e.high < truth for e in intervals)
    above = sum(e.low > truth for e in intervals)
    return len(intervals) - below - above, below, above


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5, 8.0])
def test_along_one_direction_the_interval_is_that_of_the_noncentral_chi_squared(shift):
    """``(shift + z)^2 - 1`` with the moments that one direction has: tails of 2.5 % each."""
    for z in (-1.5, -0.4, 0.7, 2.0):
        root = shift + z
        # delta^T S^k delta as found is the squared root; S is 1.
        bent = Curvature(along=1.0, first=1.0, second=1.0)
        found = squared_distance(
            root**2 - 1, Variance(4 * root**2), 2.0, bent, n=1, method="a square"
        )
        high = ncx2.cdf(root**2, 1, found.high) if found.high > 1e-9 else None
        low = ncx2.cdf(root**2, 1, found.low) if found.low > 1e-9 else None
        assert high is None or high == pytest.approx(0.025, abs=0.013)
        assert low is None or low == pytest.approx(0.975, abs=0.008)


def test_the_moments_are_those_of_the_eigenvalues():
    rng = Rng(0).stream("gram")
    root = torch.randn(40, 3, generator=rng, dtype=torch.float64)
    gram = root @ root.T
    gram -= torch.diag(gram.diagonal())
    added = root @ torch.randn(3, generator=rng, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(gram)
    share = (vectors.T @ added) ** 2

    def power(k):
        return float((share * values**k).sum())

    found = curvature_of(gram + torch.eye(40) * 7, added)
    assert found.first == pytest.approx(power(1) / power(0))
    assert found.along == pytest.approx(power(3) / power(2))
    assert found.second == pytest.approx(float((values**3).sum()))


def test_where_nothing_bends_the_interval_is_that_of_students_t():
    flat = Curvature(0.0, 0.0, 0.0)
    found = squared_distance(5.0, Variance.of_squares(0.04, 10), 0.0, flat, n=9, method="")
    assert found.high - 5 == pytest.approx(5 - found.low, rel=1e-9)
    assert found.half_width == pytest.approx(2.228139 * 0.2, rel=1e-5)


def test_far_from_zero_the_two_sides_are_nearly_equal():
    x, y = torch.randn(2, 300, 4, generator=Rng(0).stream("x"))
    found = Energy().measure(x, y + 4, rng=Rng(0).stream("m"))
    assert 1 < (found.high - found.value) / (found.value - found.low) < 1.2


@pytest.mark.parametrize(
    ("metric", "truth"), [(Energy(), 0.0056395462), (Frechet(), 0.01)], ids=["energy", "frechet"]
)
def test_a_small_shift_of_one_feature_is_held(metric, truth):
    """N(0, 1) against N(.1, 1), 200 samples: an interval as of a normal number held 80 to 85 %."""
    found = []
    for seed in range(150):
        x, y = torch.randn(2, 200, 1, generator=Rng(seed).stream("x"))
        found.append(metric.measure(x, y + 0.1, rng=Rng(seed).stream("m")))
    inside, below, above = held(found, truth)
    # Of 95 % there are at most 3 in 1000 that few.
    assert inside >= 134
    assert max(below, above) <= 13


@pytest.mark.parametrize("metric", DISTANCES, ids=str)
def test_every_sample_twice_is_as_every_sample_once(metric):
    """All of it, but for what is drawn: the value to rounding, the interval to a few per cent."""
    x, y = torch.randn(2, 60, 3, generator=Rng(1).stream("x"), dtype=torch.float64)
    y = y + 0.3
    once = metric.measure(x, y, rng=Rng(0).stream("m"))
    pairs = torch.arange(60).repeat_interleave(2)
    twice = metric.measure(
        x.repeat_interleave(2, 0),
        y.repeat_interleave(2, 0),
        rng=Rng(0).stream("m"),
        groups=Groups(pairs, pairs),
    )
    close = 0.1 * once.half_width if isinstance(metric, Frechet) else 1e-9 * abs(once.value)
    assert twice.value == pytest.approx(once.value, abs=close)
    assert twice.n == 60
    assert twice.half_width == pytest.approx(once.half_width, rel=0.25)
    if not isinstance(metric, Frechet):
        assert twice.method.split("p = ")[0] != once.method
        assert "60 real and 60 fake" in twice.method


def test_pairs_of_one_group_are_left_out():
    """The loop over all pairs, with groups of unequal size on one side only."""
    rng = Rng(2).stream("x")
    x, y = (torch.randn(k, 3, generator=rng, dtype=torch.float64) for k in (17, 12))
    group = torch.tensor([5, 5, 5, 5, 1, 1, 2, 2, 2, 3, 4, 6, 7, 8, 8, 9, 9])
    apart = torch.cdist(x, x)[group[:, None] != group].mean()
    within = torch.pdist(y).mean()
    expected = 2 * torch.cdist(x, y).mean() - apart - within
    found = Energy().measure(x, y, rng=rng, groups=Groups(real=group))
    assert found.value == pytest.approx(float(expected), rel=1e-9)
    assert found.n == 9


def test_groups_of_one_sample_change_nothing():
    x, y = torch.randn(2, 50, 3, generator=Rng(0).stream("x"))
    each = Groups(torch.randperm(50, generator=Rng(0).stream("g")), None)
    for metric in DISTANCES:
        alone = metric.measure(x, y, rng=Rng(0).stream("m"))
        assert metric.measure(x, y, rng=Rng(0).stream("m"), groups=each) == alone


def clustered(seed, groups, size, alike):
    """Groups of normal samples with this correlation inside; both sets the same."""
    rng = Rng(seed).stream("x")
    shared = torch.randn(2, groups, 1, 2, generator=rng) * alike**0.5
    own = torch.randn(2, groups, size, 2, generator=rng) * (1 - alike) ** 0.5
    return (shared + own).reshape(2, -1, 2)


@pytest.mark.parametrize("metric", [Energy(), Frechet()], ids=["energy", "frechet"])
def test_intervals_hold_for_samples_that_come_in_groups(metric):
    """Groups of five that correlate by .9: taken for independent they hold 5 to 30 %."""
    group = torch.arange(40).repeat_interleave(5)
    groups = Groups(group, group)
    heeded, ignored = [], []
    for seed in range(80):
        x, y = clustered(seed, 40, 5, 0.9)
        heeded.append(metric.measure(x, y, rng=Rng(seed).stream("m"), groups=groups))
        if seed < 30:
            ignored.append(metric.measure(x, y, rng=Rng(seed).stream("m")))
    values = torch.tensor([e.value for e in heeded])
    assert abs(float(values.mean())) < 3.5 * float(values.std()) / math.sqrt(80)
    assert held(heeded, 0.0)[0] >= 69
    assert held(ignored, 0.0)[0] <= 20


def test_the_variance_is_that_of_a_bootstrap_of_groups():
    x, y = clustered(3, 60, 4, 0.8)
    y = y + 1.5
    group = torch.arange(60).repeat_interleave(4)
    found = energy_distance(x, y, rng=Rng(0).stream("m"), groups=Groups(group, group))
    rng, values = Rng(0).stream("bootstrap"), []
    for _ in range(300):
        a, b = (
            z.view(60, 4, 2)[torch.randint(60, (60,), generator=rng)].reshape(-1, 2)
            for z in (x, y)
        )
        values.append(
            2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()
        )
    expected = float(torch.stack(values).std())
    estimate = found.detail().estimate
    assert estimate.half_width / 2 == pytest.approx(expected, rel=0.15)


def test_permutations_move_whole_groups():
    x, y = clustered(0, 30, 10, 0.95)
    group = torch.arange(30).repeat_interleave(10)
    by_groups = [
        energy_distance(
            *clustered(s, 30, 10, 0.95), rng=Rng(s).stream("m"), groups=Groups(group, group)
        ).p
        for s in range(40)
    ]
    alone = energy_distance(x, y, rng=Rng(0).stream("m")).p
    assert alone <= 0.02
    assert sum(p <= 0.05 for p in by_groups) <= 7
    assert min(by_groups) < 0.3 < max(by_groups)


def test_too_few_groups():
    x, y = torch.randn(2, 50, 3, generator=Rng(0).stream("x"))
    for metric in DISTANCES:
        found = metric.measure(
            x, y, rng=Rng(0).stream("m"), groups=Groups(fake=torch.arange(50) // 25)
        )
        assert found.value is None
        assert "groups of fake samples, got 2" in found.method


OTHERS = [
    (SlicedWasserstein(directions=8), 0.35),
    (Mind(directions=8), 0.35),
    (Vendi(), 0.35),
    # k-means finds other clusters where there are more samples.
    (Prd(runs=2), 0.7),
]


@pytest.mark.parametrize(("metric", "close"), OTHERS, ids=lambda m: type(m).__name__)
def test_block_jackknives_leave_out_whole_groups(metric, close):
    """Every sample ten times: as wide as every sample once, where it would be a third of that."""
    x, y = torch.randn(2, 80, 3, generator=Rng(1).stream("x"), dtype=torch.float64)
    y = y * 1.7
    tens = torch.arange(80).repeat_interleave(10)
    many = x.repeat_interleave(10, 0), y.repeat_interleave(10, 0)
    once = metric.measure(x, y, rng=Rng(0).stream("m"))
    heeded = metric.measure(*many, rng=Rng(0).stream("m"), groups=Groups(tens, tens))
    ignored = metric.measure(*many, rng=Rng(0).stream("m"))
    assert heeded.half_width == pytest.approx(once.half_width, rel=close)
    assert ignored.half_width < 0.7 * heeded.half_width


def test_the_inception_score_leaves_out_whole_groups():
    p = torch.randn(60, 5, generator=Rng(0).stream("p"), dtype=torch.float64).softmax(1)
    twos = torch.arange(60).repeat_interleave(2)
    once = InceptionScore().measure(p, p, rng=Rng(0).stream("m"))
    twice = p.repeat_interleave(2, 0)
    heeded = InceptionScore().measure(
        twice, twice, rng=Rng(0).stream("m"), groups=Groups(fake=twos)
    )
    assert heeded.value == pytest.approx(once.value, rel=1e-9)
    assert heeded.low == pytest.approx(once.low, rel=1e-9)
    assert "60 groups instead of samples" in heeded.method


def test_neighbour_metrics_have_wider_intervals_for_groups():
    x, y = torch.randn(2, 40, 3, generator=Rng(0).stream("x"))
    twos = Groups(torch.arange(40) // 2, torch.arange(40) // 2)
    alone = Precision().measure(x, y, rng=Rng(0).stream("m"))
    found = Precision().measure(x, y, rng=Rng(0).stream("m"), groups=twos)
    assert found.value == alone.value
    assert found.n == 20
    assert found.half_width > alone.half_width


def test_what_adds_most_is_always_drawn_and_sums_are_right_on_average():
    sizes = torch.cat([torch.ones(300), torch.full((5,), 400.0)]).double()
    total, rng = [], Rng(0).stream("draw")
    for _ in range(200):
        found = drawn_by_size(sizes, rng, most=40)
        assert len(found.places) == len(found.places.unique()) == 40
        assert torch.isin(torch.arange(300, 305), found.places).all()
        assert found.times[-5:].tolist() == [1.0] * 5
        total.append(float((found.times * found.places).sum()))
    expected = torch.arange(305).sum()
    assert torch.tensor(total).mean() == pytest.approx(float(expected), rel=0.03)


@pytest.mark.parametrize("sizes", [torch.zeros(50), torch.full((50,), -1e-18), torch.ones(50)])
def test_where_all_add_alike_the_draw_is_even(sizes):
    found = drawn_by_size(sizes, Rng(0).stream("draw"), most=10)
    assert found.times.tolist() == pytest.approx([5.0] * 10)


def test_few_are_all_taken():
    found = drawn_by_size(torch.arange(7.0), Rng(0).stream("draw"), most=10)
    assert found.places.tolist() == list(range(7))
    assert found.times.tolist() == [1.0] * 7


def test_the_moments_of_a_draw_are_those_of_all():
    """Of 400 and 300 samples whose third powers five carry, from 64 and from all of them."""
    rng = Rng(0).stream("x")
    x, y = (torch.randn(n, 3, generator=rng, dtype=torch.float64) for n in (400, 300))
    x[:5] *= 6
    of_x = x.square().sum(1)
    adds, found = (x.sum(1), y.sum(1)), []
    for most in (64, 400):
        i = drawn_by_size(of_x, rng, most=most)
        j = drawn_by_size(y.square().sum(1), rng, most=most)
        a, b = i.places, j.places
        parts = (x[a] @ x[a].T, y[b] @ y[b].T, -(x[a] @ y[b].T))
        found.append(products_of((400, 300), (i, j), parts, (adds[0][a], adds[1][b])))
    assert found[0].along == pytest.approx(found[1].along, rel=0.3)
    assert found[0].second == pytest.approx(found[1].second, rel=0.5)


def test_kid_holds_where_a_handful_of_samples_carries_it():
    """A mode of 1 and of 2 % six away: intervals that drew samples evenly held 83 %."""
    truth, found = 0.7884, []
    for seed in range(60):
        rng = Rng(seed).stream("x")
        x, y = torch.randn(2, 500, 2, generator=rng)
        for z, share in ((x, 0.01), (y, 0.02)):
            z[:, 0] += 6 * (torch.rand(500, generator=rng) < share)
        found.append(Kid().measure(x, y, rng=Rng(seed).stream("m")))
    inside, below, _above = held(found, truth)
    # Of 95 % there are at most 3 in 1000 that few; of 83 % 9 in 10.
    assert inside >= 52
    assert below <= 7
