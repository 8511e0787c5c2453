"""KID and the energy distance: one U-statistic, two kernels."""

import math
from typing import final

import pytest
import torch
from scipy.stats import energy_distance as by_scipy

from gantlet.core.rng import Rng
from gantlet.metrics import kernel_sums
from gantlet.metrics.checks import Standard
from gantlet.metrics.kernel import Energy, Kid, discrepancy, energy_distance, kernel_distance


def rng():
    return Rng(0).stream("permutations")


def half(found):
    return found.detail().estimate.half_width


def draw(n=23, m=31, d=4, shift=0.7):
    rng = Rng(0).stream("features")
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return x, torch.randn(m, d, generator=rng, dtype=torch.float64) + shift


def by_loops(kernel, x, y):
    n, m = len(x), len(y)
    xx = [kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j]
    yy = [kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j]
    xy = [kernel(a, b) for a in x for b in y]
    return math.fsum(xx) / len(xx) + math.fsum(yy) / len(yy) - 2 * math.fsum(xy) / len(xy)


def cubic(a, b):
    return float((a @ b / len(a) + 1) ** 3)


def closeness(a, b):
    return -float((a - b).norm())


def test_kid_equals_a_loop_over_all_pairs():
    x, y = draw()
    assert kernel_distance(x, y, rng=rng()).value == pytest.approx(
        by_loops(cubic, x, y), rel=1e-12
    )


def test_energy_equals_a_loop_over_all_pairs():
    x, y = draw()
    assert energy_distance(x, y, rng=rng()).value == pytest.approx(
        by_loops(closeness, x, y), rel=1e-12
    )


def test_blocks_do_not_change_the_number(monkeypatch):
    x, y = draw()
    whole = kernel_distance(x, y, rng=rng()), energy_distance(x, y, rng=rng())
    monkeypatch.setattr(kernel_sums, "TILE", {"cpu": 7})
    monkeypatch.setattr(kernel_sums, "STRIP", {"cpu": 3})
    parts = kernel_distance(x, y, rng=rng()), energy_distance(x, y, rng=rng())
    for one, other in zip(whole, parts, strict=True):
        assert other.value == pytest.approx(one.value, rel=1e-10)
        assert half(other) == pytest.approx(half(one), rel=1e-8)
        assert other.p == one.p


def test_energy_equals_scipy_in_one_dimension():
    """SciPy has the root of the V-statistic, in which samples meet themselves."""
    x, y = draw(d=1)
    n, m = len(x), len(y)
    apart_x, apart_y = (torch.cdist(z, z).sum() for z in (x, y))
    # From means over n^2 pairs to means over n (n - 1).
    more = float(apart_x * (1 / (n * (n - 1)) - 1 / n**2))
    more += float(apart_y * (1 / (m * (m - 1)) - 1 / m**2))
    expected = by_scipy(x.flatten().numpy(), y.flatten().numpy()) ** 2 - more
    assert energy_distance(x, y, rng=rng()).value == pytest.approx(expected, rel=1e-9)


def test_energy_of_two_points():
    """2 |x - y| where each set is one point, twice."""
    x, y = torch.zeros(2, 3, dtype=torch.float64), torch.full((2, 3), 1.0, dtype=torch.float64)
    assert energy_distance(x, y, rng=rng()).value == pytest.approx(2 * 3**0.5)


@pytest.mark.parametrize("metric", [Kid(), Energy()])
def test_unbiased_and_right_variance_where_the_two_are_equal(metric):
    """The first-order variance vanishes there; the second order must carry the interval."""
    found = []
    for seed in range(200):
        x, y = torch.randn(2, 40, 3, generator=Rng(seed).stream("x"))
        found.append(metric.measure(x, y, rng=Rng(0).stream("m")))
    values = torch.tensor([e.value for e in found])
    assert abs(values.mean()) < 3.5 * values.std() / 200**0.5
    assert sum(e.low <= 0 <= e.high for e in found) >= 184
    # A little difference may hide behind a value near zero: upwards the interval is wider.
    below = sum(e.value - e.low for e in found) / 200 / float(values.std())
    above = sum(e.high - e.value for e in found) / 200 / float(values.std())
    assert 1.8 < below < 3.5
    assert below < above < 5.5


@pytest.mark.parametrize("metric", [Kid(), Energy()])
def test_right_variance_where_they_differ(metric):
    found = []
    for seed in range(200):
        x, y = torch.randn(2, 40, 3, generator=Rng(seed).stream("x"))
        found.append(metric.measure(x, y * 1.3 + 0.8, rng=Rng(0).stream("m")))
    values = torch.tensor([e.value for e in found])
    width = sum(e.half_width for e in found) / 200
    assert 1.7 < width / float(values.std()) < 2.5


def test_kid_keeps_its_digits_under_a_large_mean():
    """The cubes of features of mean 1e4 are 1e24 times those of mean 1; the interval must hold."""
    x, y = draw(200, 200)
    found = Kid().measure(x + 1e4, y + 1e4, rng=Rng(0).stream("m"))
    twin = by_loops(cubic, x[:10] + 1e4, y[:10] + 1e4)
    few = Kid().measure(x[:10] + 1e4, y[:10] + 1e4, rng=Rng(0).stream("m"))
    assert few.value == pytest.approx(twin, rel=1e-6)
    # At a large mean the kernel is linear, and the statistic is a difference of means.
    assert 0 < found.low < found.value < found.high < 3 * found.value


@final
class Linear:
    def __init__(self, constant=0.0):
        self.constant = constant

    def of_each(self, z):
        return z[:, 0]

    def __call__(self, product, of_a, of_b):
        return product + self.constant


def as_they_are(x):
    return Standard(torch.zeros_like(x[0]), 1.0, x.dtype)


def test_a_constant_in_the_kernel_cancels():
    x, y = draw()
    here, there = (
        discrepancy(Linear(constant), x, y, as_they_are(x), rng=rng()) for constant in (0, 5)
    )
    assert there.value == pytest.approx(here.value, rel=1e-9)
    assert half(there) == pytest.approx(half(here), rel=1e-9)


def test_linear_kernel_is_the_distance_of_means():
    x, y = draw()
    n, m = len(x), len(y)
    expected = (x.mean(0) - y.mean(0)).square().sum() - x.var(0).sum() / n - y.var(0).sum() / m
    found = discrepancy(Linear(), x, y, as_they_are(x), rng=rng())
    assert found.value == pytest.approx(float(expected))
