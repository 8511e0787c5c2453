"""Clipped density and coverage, symmetric precision and recall: twins, closed forms, flaws."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import betabinom

from gantlet.core.metric import Groups
from gantlet.core.rng import Rng
from gantlet.core.spec import metrics
from gantlet.metrics.clipped import Calibration, expected_cover

NAMES = ("clipped-density", "clipped-coverage", "symmetric-precision", "symmetric-recall")


def pair(n=120, m=90, d=6, shift=0.4, seed=0):
    rng = Rng(seed).stream("pair")
    return torch.randn(n, d, generator=rng), torch.randn(m, d, generator=rng) + shift


def measured(name, x, y, seed=0, groups=None):
    return metrics.make(name).measure(x, y, rng=Rng(seed).stream("m"), groups=groups)


def radii(x, k):
    within = cdist(x, x)
    np.fill_diagonal(within, np.inf)
    return np.sort(within, 1)[:, k - 1], within


def slow_density(x, y, k):
    reach, within = radii(x, k)
    reach = np.minimum(reach, np.median(reach))
    of_fakes = np.minimum((cdist(x, y) <= reach[:, None]).sum(0) / k, 1).mean()
    of_reals = np.minimum((within <= reach[:, None]).sum(0) / k, 1).mean()
    return min(of_fakes / of_reals, 1.0)


def slow_cover(x, y, k):
    reach, _ = radii(x, k)
    return np.minimum((cdist(x, y) <= reach[:, None]).sum(1), k).mean() / k


def slow_symmetric(x, y, k, side):
    a, b = (y, x) if side == "precision" else (x, y)
    of_b, _ = radii(b, k)
    of_a, _ = radii(a, k)
    apart = cdist(a, b)
    return min((apart <= of_b).any(1).mean(), (apart <= of_a[:, None]).any(1).mean())


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("n", "m", "d"), [(120, 90, 6), (61, 140, 2), (80, 80, 100)])
def test_values_are_those_of_slow_twins(k, n, m, d):
    x, y = pair(n, m, d)
    a, b = x.double().numpy(), y.double().numpy()
    assert measured(f"clipped-density:k={k}", x, y).value == pytest.approx(slow_density(a, b, k))
    found = measured(f"clipped-coverage:k={k}", x, y)
    assert found.also["plain"] == pytest.approx(slow_cover(a, b, k))
    for side in ("precision", "recall"):
        symmetric = measured(f"symmetric-{side}:k={k}", x, y)
        assert symmetric.value == pytest.approx(slow_symmetric(a, b, k, side))


@pytest.mark.parametrize(("n", "m", "k"), [(50, 30, 1), (200, 150, 5), (12, 40, 11)])
def test_the_mean_under_equality_is_the_beta_binomial_one(n, m, k):
    for good in (0, 1, m // 2, m):
        counts = np.arange(good + 1)
        mass = betabinom.pmf(counts, good, k, n - k) if n > k else None
        expected = float((np.minimum(counts, k) * mass).sum() / k)
        assert float(expected_cover(n, m, k)[good]) == pytest.approx(expected, abs=1e-9)


def test_the_mean_under_equality_is_that_of_draws():
    draws = [
        measured("clipped-coverage", *pair(60, 50, 3, 0.0, s)).also["plain"] for s in range(200)
    ]
    error = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws) - float(expected_cover(60, 50, 5)[50])) < 4 * error


def test_calibration_inverts_the_mean():
    to, means = Calibration(100, 80, 5), expected_cover(100, 80, 5)
    assert [to.share(float(means[g])) for g in (0, 20, 80)] == pytest.approx([0, 0.25, 1])
    assert to.share(1.0) == 1.0


@pytest.mark.parametrize("name", ["clipped-density", "clipped-coverage"])
def test_a_share_of_good_fakes_is_found(name):
    x, y = pair(800, 800, 8, 0.0)
    for bad in (0.2, 0.5, 0.8):
        mixed = y.clone()
        mixed[: round(800 * bad)] += 100
        found = measured(name, x, mixed)
        assert found.low <= 1 - bad <= found.high


def test_outliers_of_the_real_set_make_no_bad_fake_good():
    x, y = pair(400, 400, 4, 0.0)
    x[:20] *= 50
    bad = y + 30
    assert measured("density", x, bad).value > 0.2
    assert measured("clipped-density", x, bad).value < 0.02


def test_no_dimension_inverts_the_symmetric_ones():
    """Spheres a little inside and a little outside of the real one: both are as wrong."""
    rng = Rng(1).stream("spheres")
    real, inner, outer = (
        torch.nn.functional.normalize(torch.randn(400, 256, generator=rng)) for _ in range(3)
    )
    inner, outer = inner * 0.9, outer * 1.1
    assert measured("precision", real, inner).value > 0.9
    assert measured("precision", real, outer).value < 0.1
    for side in ("precision", "recall"):
        both = [measured(f"symmetric-{side}", real, z).value for z in (inner, outer)]
        assert max(both) < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_groups_change_the_interval_alone(name):
    x, y = pair(100, 100)
    x, y = x.repeat_interleave(2, 0), y.repeat_interleave(2, 0)
    alone = measured(name, x, y)
    groups = Groups(torch.arange(200) // 2, torch.arange(200) // 2)
    together = measured(name, x, y, groups=groups)
    assert together.value == pytest.approx(alone.value)
    assert together.low is not None
    assert "200 real and" not in together.method
    assert "100 real and 100 fake groups" in together.method
