import math

import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.metrics import neighbour_search
from gantlet.metrics.measure import measure_all
from gantlet.metrics.neighbours import Coverage, Density, Precision, Recall


def draw(n=60, m=45, d=3, shift=0.4, seed=0):
    rng = Rng(seed).stream("features")
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return x, torch.randn(m, d, generator=rng, dtype=torch.float64) * 0.8 + shift


def naive(real, fake, k_precision=3, k_density=5):
    """Every definition as the papers have it, one pair at a time."""

    def radius(x, k):
        apart = [[math.dist(a, b) for j, b in enumerate(x) if j != i] for i, a in enumerate(x)]
        return [sorted(row)[k - 1] for row in apart]

    x, y = real.tolist(), fake.tolist()
    r3, f3, r5 = radius(x, k_precision), radius(y, k_precision), radius(x, k_density)
    inside_real = [sum(math.dist(a, b) <= r for a, r in zip(x, r3, strict=True)) for b in y]
    inside_fake = [sum(math.dist(a, b) <= r for b, r in zip(y, f3, strict=True)) for a in x]
    holds = [[math.dist(a, b) <= r for b in y] for a, r in zip(x, r5, strict=True)]
    return {
        "precision": sum(c > 0 for c in inside_real) / len(y),
        "recall": sum(c > 0 for c in inside_fake) / len(x),
        "density": sum(map(sum, holds)) / (k_density * len(y)),
        "coverage": sum(map(any, holds)) / len(x),
    }


def estimates(real, fake, *, seed=0, k_precision=3, k_density=5):
    made = {
        "precision": Precision(k=k_precision),
        "recall": Recall(k=k_precision),
        "density": Density(k=k_density),
        "coverage": Coverage(k=k_density),
    }
    return measure_all(made, real, fake, rng=Rng(seed))


def measure(real, fake, **settings):
    return {name: e.value for name, e in estimates(real, fake, **settings).items()}


@pytest.mark.parametrize(("k_precision", "k_density"), [(3, 5), (1, 1), (4, 2)])
def test_equals_the_definitions(k_precision, k_density):
    x, y = draw()
    found = measure(x, y, k_precision=k_precision, k_density=k_density)
    assert found == pytest.approx(naive(x, y, k_precision, k_density), rel=1e-12)


def test_blocks_do_not_change_a_thing(monkeypatch):
    x, y = draw()
    whole = estimates(x, y)
    for module in (neighbour_search, neighbour_search):
        monkeypatch.setattr(module, "ROWS", 7)
        monkeypatch.setattr(module, "COLUMNS", 16)
    monkeypatch.setattr(neighbour_search, "PAIRS_AT_ONCE", 5)
    assert estimates(x, y) == whole


def test_recall_is_precision_with_the_roles_swapped():
    x, y = draw()
    there, back = measure(x, y), measure(y, x)
    assert there["recall"] == back["precision"]


def test_copies_of_the_real_samples_are_wholly_inside():
    x, _ = draw()
    found = measure(x, x.clone())
    assert found["precision"] == found["recall"] == found["coverage"] == 1.0
    assert found["density"] >= 1.0


def test_points_on_the_edge_are_inside_in_spite_of_rounding():
    """All distances between corners of a simplex are equal: every corner is on every edge."""
    corners = torch.eye(12) * 0.1 + 1000.3
    found = measure(corners, corners.roll(1, 0) + 0.0)
    assert found["precision"] == found["recall"] == 1.0
    # Each of the 12 balls holds all 12 corners.
    assert found["density"] == pytest.approx(12 / 5)


def test_identical_constant_sets_agree():
    point = torch.full((20, 3), 0.3)
    found = measure(point, point.clone())
    assert found["precision"] == found["recall"] == found["coverage"] == 1.0


def test_distant_sets_share_nothing():
    x, y = draw(shift=100.0)
    found = estimates(x, y)
    for name in ("precision", "recall", "coverage"):
        assert found[name].value == found[name].low == 0.0
        assert 0 < found[name].high < 0.2
    assert found["density"].value == 0.0


@pytest.mark.parametrize(("n", "m"), [(100, 100), (80, 160)])
def test_expected_values_where_the_two_are_equal(n, m):
    """Density 1, coverage 1 - prod (n - 1 - i) / (n + m - 1 - i): Naeem et al., 2020."""
    k, repeats = 5, 60
    found = {"density": [], "coverage": []}
    for seed in range(repeats):
        rng = Rng(seed).stream("x")
        x, y = torch.randn(n, 8, generator=rng), torch.randn(m, 8, generator=rng)
        measured = measure(x, y, seed=seed, k_density=k)
        for name, values in found.items():
            values.append(measured[name])
    expected = {
        "density": 1.0,
        "coverage": 1 - math.prod((n - 1 - i) / (n + m - 1 - i) for i in range(k)),
    }
    for name, values in found.items():
        all_ = torch.tensor(values)
        assert abs(all_.mean() - expected[name]) < 3.5 * all_.std() / repeats**0.5


def test_a_dropped_mode_costs_recall_and_coverage_not_precision():
    rng = Rng(0).stream("x")
    real, fake = (torch.randn(300, 4, generator=rng) for _ in range(2))
    real[:150, 0] += 50
    found = measure(real, fake)
    assert found["recall"] < 0.5
    assert found["coverage"] < 0.55
    assert found["precision"] > 0.7


def test_intervals_hold_the_mean_over_repeats():
    repeats = [estimates(*draw(120, 120, 6, seed=seed), seed=seed) for seed in range(60)]
    for name in ("precision", "recall", "density", "coverage"):
        found = [each[name] for each in repeats]
        mean = sum(e.value for e in found) / 60
        assert sum(e.low <= mean <= e.high for e in found) >= 51
