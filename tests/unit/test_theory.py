"""Bounds for Lipschitz generators against simulations, searches and closed forms."""

import math

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.spatial.distance import cdist

import gantlet
from gantlet.core.errors import UserError
from gantlet.stats import theory

# Precision at gap / L = .25, .5, 1, 2: the bound, the simplicial layout with M - 1 latent
# dimensions, equal sectors of a plane. The second and third were found by Monte Carlo.
TABLE = {
    2: [(0.901, 0.901, None), (0.803, 0.804, None), (0.617, 0.620, None), (0.317, 0.319, None)],
    4: [(0.848, 0.826, 0.812), (0.710, 0.670, 0.645), (0.480, 0.422, 0.380), (0.188, 0.135, 0.1)],
    8: [(0.809, 0.769, 0.65), (0.646, 0.581, 0.394), (0.395, 0.311, 0.116), (0.126, 0.069, 0.004)],
    25: [(0.759, 0.699, 0.209), (0.568, 0.476, 0.022), (0.305, 0.206, 0.0), (0.074, 0.029, 0.0)],
    100: [(0.712, 0.633, 0.0), (0.499, 0.388, 0.0), (0.235, 0.136, 0.0), (0.044, 0.013, 0.0)],
}
GAPS = (0.25, 0.5, 1.0, 2.0)
CELLS = [(m, gap, *row) for m, rows in TABLE.items() for gap, row in zip(GAPS, rows, strict=True)]
DRAWS = 40_000


def inside(hits, expected, draws=DRAWS):
    """Whether a probability is in the Clopper-Pearson interval, at 1 in 10,000."""
    ci = stats.binomtest(int(hits), draws).proportion_ci(0.9999)
    return ci.low <= expected <= ci.high


@pytest.mark.parametrize(("modes", "gap", "bound", "simplicial", "planar"), CELLS)
def test_the_table_of_bounds_and_layouts(modes, gap, bound, simplicial, planar):
    rng = np.random.default_rng(modes)
    assert theory.precision_bound(modes, gap, 1.0) == pytest.approx(bound, abs=6e-4)
    found = theory.simplicial_precision(modes, gap, 1.0)
    assert found == pytest.approx(simplicial, abs=0.005)
    assert inside(_inside_simplex(rng, modes, gap).sum(), found)
    if planar is not None:
        assert theory.planar_precision(modes, gap, 1.0) == pytest.approx(planar, abs=0.004)
    hits = _inside_sector(rng, modes, gap).sum()
    assert inside(hits, theory.planar_precision(modes, gap, 1.0))


def _inside_simplex(rng, modes, gap):
    """Whether z in M - 1 dimensions is gap / 2 inside its Voronoi cell of a regular simplex."""
    corners = np.linalg.svd(np.eye(modes) - 1 / modes)[0][:, : modes - 1]
    z = rng.normal(size=(DRAWS, modes - 1))
    heights = np.sort(z @ corners.T, 1)
    side = np.linalg.norm(corners[0] - corners[1])
    return (heights[:, -1] - heights[:, -2]) / side >= gap / 2


def _inside_sector(rng, modes, gap):
    """Whether z in the plane is gap / 2 from the two rays that bound its sector."""
    z = rng.normal(size=(DRAWS, 2))
    width = 2 * math.pi / modes
    first = np.floor(np.arctan2(z[:, 1], z[:, 0]) % (2 * math.pi) / width) * width
    distance = np.full(DRAWS, math.inf)
    for angle in (first, first + width):
        along = np.cos(angle) * z[:, 0] + np.sin(angle) * z[:, 1]
        across = np.abs(np.cos(angle) * z[:, 1] - np.sin(angle) * z[:, 0])
        distance = np.minimum(distance, np.where(along > 0, across, np.linalg.norm(z, axis=1)))
    return distance >= gap / 2


def test_with_two_modes_all_layouts_reach_the_bound():
    for gap in GAPS:
        bound = theory.precision_bound(2, gap, 1.0)
        assert bound == pytest.approx(2 * stats.norm.cdf(-gap / 2), abs=1e-12)
        assert theory.simplicial_precision(2, gap, 1.0) == pytest.approx(bound, abs=1e-8)
        assert theory.planar_precision(2, gap, 1.0) == pytest.approx(bound, abs=1e-8)


def test_no_layout_beats_the_bound():
    for modes in (2, 3, 5, 9, 40):
        for gap in (0.0, 0.1, 0.7, 3.0):
            bound = theory.precision_bound(modes, gap, 1.0) + 1e-8
            assert theory.simplicial_precision(modes, gap, 1.0) <= bound
            assert theory.planar_precision(modes, gap, 1.0) <= bound


def test_only_the_ratio_of_gap_and_lipschitz_constant_counts():
    for f in (theory.precision_bound, theory.simplicial_precision, theory.planar_precision):
        assert f(5, 3.0, 4.0) == pytest.approx(f(5, 0.75, 1.0))
        assert f(5, 0.0, 1.0) == pytest.approx(1, abs=1e-9)
        assert f(1, 1.0, 1.0) == pytest.approx(1, abs=1e-9)


def test_equal_weights_are_the_closed_form_and_unequal_ones_are_easier():
    closed = theory.precision_bound(6, 1.0, 1.0)
    assert theory.precision_bound(6, 1.0, 1.0, [1 / 6] * 6) == pytest.approx(closed, abs=1e-9)
    assert theory.precision_bound(6, 1.0, 1.0, [0.5] + [0.1] * 5) > closed


def test_two_unequal_modes_reach_the_bound_with_half_lines():
    """A = {z < s - e/2} and B = {z > s + e/2}, with s such that both have their share."""
    w, e = 0.7, 0.8

    def unbalance(s):
        return (1 - w) * stats.norm.cdf(s - e / 2) - w * stats.norm.sf(s + e / 2)

    s = optimize.brentq(unbalance, -5, 5)
    reached = stats.norm.cdf(s - e / 2) + stats.norm.sf(s + e / 2)
    assert theory.precision_bound(2, e, 1.0, [w, 1 - w]) == pytest.approx(reached, abs=1e-9)


def test_many_modes_follow_the_asymptote():
    """The log of the bound falls with the root of log M."""
    gap = 0.5
    for modes in (10**6, 10**9):
        rough = -(gap**2) / 8 - gap * math.sqrt(math.log(modes) / 2)
        assert math.log(theory.precision_bound(modes, gap, 1.0)) == pytest.approx(rough, rel=0.12)


@pytest.mark.parametrize("weights", [None, [0.7, 0.2, 0.1]])
def test_the_constant_that_a_precision_needs_is_where_the_bound_is_that_precision(weights):
    for precision in (0.05, 0.5, 0.98889, 0.999999):
        constant = theory.lipschitz_of_precision(precision, 3, 0.7, weights)
        assert theory.precision_bound(3, 0.7, constant, weights) == pytest.approx(precision)
    assert theory.lipschitz_of_precision(1.0, 3, 0.7, weights) == math.inf
    assert theory.lipschitz_of_precision(0.0, 3, 0.7, weights) == 0
    assert theory.lipschitz_of_precision(1.0, 3, 0.0, weights) == 0
    assert theory.lipschitz_of_precision(1.0, 1, 0.7) == 0


@pytest.mark.parametrize("constant", [0.5, 2.0])
def test_half_lines_show_exactly_the_constant_that_they_have(constant):
    """Two points one apart, a ramp between them of this slope: no smaller constant will do."""
    z = np.random.default_rng(2).normal(size=400_000)
    y = np.clip(0.5 + constant * z, 0, 1)
    precision = np.isin(y, (0.0, 1.0)).mean()
    found = theory.lipschitz_of_precision(precision, 2, 1.0)
    assert found == pytest.approx(constant, rel=0.01)


@pytest.mark.parametrize(("ratio", "value"), [(4, 7.4), (6, 90), (8, 3000), (10, 2.7e5)])
def test_the_lipschitz_constant_of_two_gaussians(ratio, value):
    found = theory.lipschitz_needed(ratio * 0.5, 0.5)
    assert found / 0.5 == pytest.approx(value, rel=0.01)
    cut = theory.lipschitz_of_cut(0.5, stats.norm.pdf(ratio / 2))
    assert theory.lipschitz_needed(ratio, 1.0) == pytest.approx(cut, rel=1e-12)


@pytest.mark.parametrize("gap", [3.0, 4.0, 5.0])
def test_the_increasing_map_has_the_lipschitz_constant_needed(gap):
    """In one dimension: the steepest place of the only increasing map."""
    x = np.linspace(-8, 8, 16_001)
    z = stats.norm.ppf((stats.norm.cdf(x - gap / 2) + stats.norm.cdf(x + gap / 2)) / 2)
    steepest = (np.diff(x) / np.diff(z)).max()
    assert steepest == pytest.approx(theory.lipschitz_needed(gap, 1.0), rel=0.01)


@pytest.mark.parametrize("mass", [0.5, 0.3, 0.85])
@pytest.mark.parametrize("gap", [0.3, 1.0, 3.0])
def test_the_total_variation_bound_is_the_best_of_a_search(mass, gap):
    """Two points: of all half-line layouts, the nearest in total variation."""
    s = np.linspace(-12, 12, 240_001)
    left, right = stats.norm.cdf(s), stats.norm.sf(s + gap)
    between = 1 - left - right
    tv = (np.abs(left - mass) + np.abs(right - (1 - mass)) + between) / 2
    assert theory.tv_lower_bound(gap, 1.0, mass) == pytest.approx(tv.min(), abs=1e-4)


def test_the_total_variation_bound_with_mass_between():
    s, gap, mass, between = np.linspace(-12, 12, 240_001), 1.5, 0.5, 0.1
    left, right = stats.norm.cdf(s), stats.norm.sf(s + gap)
    middle = 1 - left - right
    other = 1 - mass - between
    tv = (np.abs(left - mass) + np.abs(right - other) + np.abs(middle - between)) / 2
    bound = theory.tv_lower_bound(gap, 1.0, mass, between)
    assert 0 < bound <= tv.min() + 1e-9
    assert theory.tv_lower_bound(0.1, 1.0, mass, between) == 0  # a small layer is no obstacle
    dropped = theory.tv_lower_bound(50.0, 1.0, 0.8)
    assert dropped == pytest.approx(0.2)  # dropping the smaller side costs its probability


def test_a_lipschitz_map_has_sub_gaussian_tails():
    z = np.random.default_rng(0).normal(size=(200_000, 5))
    for y, constant in ((np.linalg.norm(z, axis=1), 1.0), (3 * np.abs(z).max(1), 3.0)):
        above = y - np.median(y)
        for t in (0.5, 1.0, 2.0, 3.0):
            share = (above > t * constant).mean()
            limit = theory.tail_probability(t * constant, constant)
            assert share <= limit + 3 * math.sqrt(limit / len(y))
    linear = 2 * z[:, 0]
    assert (linear > 3).mean() == pytest.approx(theory.tail_probability(3.0, 2.0), abs=0.002)


def test_the_tail_index_is_that_of_the_base():
    assert theory.tail_index() == math.inf
    rng = np.random.default_rng(1)
    z = stats.t(3).rvs(400_000, random_state=rng)
    y = np.sort(np.abs(50 * np.tanh(z) + 0.5 * np.abs(z)))[::-1]  # Lipschitz, and bends
    hill = 1 / np.log(y[:200] / y[200]).mean()
    assert theory.tail_index(3.0) == 3
    assert hill > 3 - 4 * 3 / math.sqrt(200)


@pytest.mark.parametrize(("n", "nu"), [(100, 5.0), (10_000, 2.2), (1_000, math.inf)])
def test_the_lipschitz_constant_of_a_tail(n, nu):
    ratio = stats.t(nu).isf(1 / n) / stats.norm.isf(1 / n) if nu < math.inf else 1.0
    assert theory.lipschitz_of_tail(n, nu) == pytest.approx(ratio, rel=1e-9)


@pytest.mark.parametrize("d", [1, 3, 6])
def test_the_wasserstein_rate_is_the_slope_of_a_simulation(d):
    """Two samples of a cube, matched exactly."""
    rng, sizes = np.random.default_rng(d), (50, 400)

    def distance(n):
        cost = cdist(rng.uniform(size=(n, d)), rng.uniform(size=(n, d)))
        rows, columns = optimize.linear_sum_assignment(cost)
        return cost[rows, columns].mean()

    means = [
        np.mean([distance(n) for _ in range(repeats)]) for n, repeats in ((50, 200), (400, 8))
    ]
    slope = math.log(means[1] / means[0]) / math.log(sizes[1] / sizes[0])
    expected = math.log(theory.expected_w1(400, d) / theory.expected_w1(50, d)) / math.log(8)
    assert slope == pytest.approx(expected, abs=0.09)
    assert expected == pytest.approx(-1 / max(d, 2))


def test_the_lower_wasserstein_bound():
    for n in (1, 4, 10):  # on a line equally spaced points reach it
        points = (np.arange(n) + 0.5) / n
        x = np.linspace(0, 1, 100_001)
        mean = np.abs(x[:, None] - points).min(1).mean()
        assert theory.w1_lower_bound(n, 1) == pytest.approx(mean, abs=1e-4)
    rng = np.random.default_rng(0)
    for n, d in ((100, 2), (500, 3), (100, 6)):
        x, points = rng.uniform(size=(4000, d)), rng.uniform(size=(n, d))
        assert theory.w1_lower_bound(n, d) < cdist(x, points).min(1).mean()
    assert theory.w1_lower_bound(50, 3, density=8) == pytest.approx(theory.w1_lower_bound(400, 3))


@pytest.mark.parametrize("weights", [None, [0.5, 0.25, 0.125, 0.125]])
def test_the_floor_of_the_mode_divergence(weights):
    modes, n = (4, 200) if weights else (1000, 26_000)
    p = np.array(weights or [1 / modes] * modes)
    counts = np.random.default_rng(0).multinomial(n, p, size=300 if not weights else 20_000)
    f = counts / n
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = np.where(f > 0, f * np.log(f / p), 0).sum(1)
    error = kl.std() / math.sqrt(len(kl))
    floor = theory.expected_kl_floor(modes, n, weights)
    assert floor == pytest.approx(kl.mean(), abs=4 * error)
    assert floor == pytest.approx((modes - 1) / (2 * n), rel=0.02)
    if not weights:
        assert floor == pytest.approx(0.0193, abs=5e-5)


def test_it_is_a_public_name():
    assert gantlet.theory is theory
    assert all(callable(getattr(theory, name)) for name in theory.__all__)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: theory.precision_bound(0, 1, 1), "modes must be at least 1. Got 0"),
        (lambda: theory.precision_bound(2, -1, 1), "gap must be 0 or more. Got -1"),
        (lambda: theory.precision_bound(2, 1, 0), "lipschitz must be positive. Got 0"),
        (lambda: theory.precision_bound(2, math.nan, 1), "gap must be 0 or more. Got nan"),
        (lambda: theory.precision_bound(2, 1, 1, [0.5, 0.4]), "sum 1. Got 2 with sum 0.9"),
        (lambda: theory.precision_bound(3, 1, 1, [0.5, 0.5]), "must be 3 positive numbers"),
        (lambda: theory.lipschitz_needed(1, 0), "sigma must be positive"),
        (lambda: theory.lipschitz_of_precision(1.1, 2, 1), "precision must be from 0 to 1"),
        (lambda: theory.lipschitz_of_precision(0.5, 2, 1, [1.0]), "must be 2 positive numbers"),
        (lambda: theory.lipschitz_of_cut(1.0, 1), "mass must be between 0 and 1"),
        (lambda: theory.tv_lower_bound(1, 1, 0.9, 0.1), "leave something for the other side"),
        (lambda: theory.tail_index(0), "base must be positive"),
        (lambda: theory.lipschitz_of_tail(2, 5), "n must be at least 3"),
        (lambda: theory.expected_w1(0, 2), "n must be at least 1"),
        (lambda: theory.expected_w1(9, 0), "d must be positive"),
        (lambda: theory.w1_lower_bound(9, 2, 0), "density must be positive"),
    ],
)
def test_bad_arguments_are_refused(call, words):
    with pytest.raises(UserError, match=words):
        call()
