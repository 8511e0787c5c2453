"""MMD, CMMD, the permutation test and the paired detail of kernel metrics."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from gantlet.core.rng import Rng
from gantlet.metrics import kernel as module
from gantlet.metrics import kernel_sums
from gantlet.metrics.kernel import (
    Cmmd,
    Energy,
    Kid,
    Mmd,
    energy_distance,
    gaussian_discrepancy,
    kernel_distance,
    median_distance,
)
from gantlet.stats.jackknife import difference

METRICS = [Kid(), Energy(), Mmd(), Cmmd()]


def rng(seed=0):
    return Rng(seed).stream("m")


def draw(n=40, m=50, d=4, shift=0.7, seed=0):
    generator = Rng(seed).stream("features")
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return x, torch.randn(m, d, generator=generator, dtype=torch.float64) + shift


def p_of(estimate):
    return estimate.also["p"]


def by_matrix(x, y, s, *, biased):
    kxx, kyy, kxy = (
        torch.exp(-(torch.cdist(a, b) ** 2) / (2 * s**2)) for a, b in ((x, x), (y, y), (x, y))
    )
    n, m = len(x), len(y)
    if not biased:
        within = (kxx.sum() - n) / (n * (n - 1)) + (kyy.sum() - m) / (m * (m - 1))
        return float(within - 2 * kxy.mean())
    return float(kxx.mean() + kyy.mean() - 2 * kxy.mean())


def test_mmd_equals_the_whole_matrices():
    x, y = draw()
    found = gaussian_discrepancy(x, y, 1.5, rng=rng())
    assert found.value == pytest.approx(by_matrix(x, y, 1.5, biased=False), rel=1e-10)


def test_mmd_of_normal_distributions():
    """E k has a closed form; an independent sample must hold it in its interval."""
    d, s2, shift = 4, 4.0, 0.5
    within = (s2 / (s2 + 2)) ** (d / 2)
    truth = 2 * within * (1 - math.exp(-d * shift**2 / (2 * (s2 + 2))))
    x, y = draw(600, 600, d, shift)
    found = Mmd(bandwidth=2.0).measure(x, y, rng=rng())
    assert found.low < truth < found.high
    assert found.half_width < truth


def test_the_median_of_distances():
    x, y = draw(30, 20)
    both = torch.cat([x, y])
    expected = torch.pdist(both).median()
    assert median_distance(x, y, rng=rng()) == pytest.approx(float(expected), rel=1e-9)
    assert median_distance(x * 0, y * 0, rng=rng()) == 1.0


def test_the_bandwidth_is_told():
    x, y = draw()
    assert "bandwidth 2.5;" in Mmd(bandwidth=2.5).measure(x, y, rng=rng()).method


def test_cmmd_of_the_published_code_is_in_the_method():
    """1000 times the V-statistic of unit vectors with bandwidth 10."""
    x, y = draw(d=16)
    found = Cmmd().measure(x, y, rng=rng())
    units = normalize(x), normalize(y)
    published = 1000 * by_matrix(*units, 10.0, biased=True)
    assert found.also["published"] == pytest.approx(published, rel=1e-8)
    assert found.method.startswith(f"{published:.4g}"[:3])
    assert found.value == pytest.approx(1000 * by_matrix(*units, 10.0, biased=False), rel=1e-8)


def test_cmmd_sees_directions_only():
    x, y = draw()
    here, there = Cmmd().measure(x, y, rng=rng()), Cmmd().measure(x * 3, y * 0.1, rng=rng())
    assert there.value == pytest.approx(here.value, rel=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_equal_distributions_are_rejected_at_the_nominal_rate(metric):
    """With 99 permutations p is at most 0.1 in a tenth of all cases, exactly."""
    rejected = sum(
        p_of(metric.measure(*draw(12, 15, 3, 0.0, seed), rng=rng(seed))) <= 0.1
        for seed in range(200)
    )
    assert 6 <= rejected <= 36  # 20 expected, spread 4.2


@pytest.mark.parametrize("metric", METRICS)
def test_different_distributions_are_rejected(metric):
    assert p_of(metric.measure(*draw(60, 60), rng=rng())) == 0.01


def test_permutations_equal_computing_anew(monkeypatch):
    monkeypatch.setattr(module, "PERMUTATIONS", 8)
    x, y = draw(9, 12)
    labels = torch.cat(module.permutation_labels(9, 12, 1, rng()))
    both = torch.cat([x, y])
    anew = [energy_distance(both[g > 0], both[g == 0], rng=rng(1)).value for g in labels.T]
    found = energy_distance(x, y, rng=rng())
    as_large = sum(value >= found.value for value in anew)
    assert found.p == pytest.approx((1 + as_large) / 9)


def test_groups_change_sides_as_their_samples_would(monkeypatch):
    """The sums over groups are those of their samples, and the rest keeps its side."""
    monkeypatch.setattr(module, "PERMUTATIONS", 8)
    monkeypatch.setattr(module, "GROUPED_FROM", 10)
    monkeypatch.setattr(module, "GROUP_SIZE", 4)
    monkeypatch.setattr(kernel_sums, "TILE", {"cpu": 9})
    x, y = draw(21, 30)
    order, other = module.sample_orders(21, 30, rng(), x.device, shuffled=True)
    stream = rng()
    module.sample_orders(21, 30, stream, x.device, shuffled=True)
    first, second = module.permutation_labels(21, 30, 4, stream)
    assert first[-1].tolist() == [1.0] * 8
    assert second[-1].tolist() == [0.0] * 8
    both = torch.cat([x[order], y[other]])
    each = torch.cat([first.repeat_interleave(4, 0)[:21], second.repeat_interleave(4, 0)[:30]])
    anew = [energy_distance(both[g > 0], both[g == 0], rng=rng(1)).value for g in each.T]
    found = energy_distance(x, y, rng=rng())
    as_large = sum(value >= found.value for value in anew)
    assert found.p == pytest.approx((1 + as_large) / 9)
    monkeypatch.setattr(module, "GROUPED_FROM", 10**9)
    plain = energy_distance(x, y, rng=rng())
    assert found.value == pytest.approx(plain.value, rel=1e-12)
    torch.testing.assert_close(found.real.influence, plain.real.influence)
    torch.testing.assert_close(found.fake.influence, plain.fake.influence)


def test_equal_sets_of_constants_are_no_surprise():
    x = torch.ones(20, 3)
    for metric in METRICS:
        found = metric.measure(x, x.clone(), rng=rng())
        assert found.value == 0
        assert p_of(found) == 1


@pytest.mark.parametrize("function", [kernel_distance, energy_distance])
@pytest.mark.parametrize("mean", [0.4, 1e3])
def test_float32_agrees_with_float64(function, mean, monkeypatch):
    """Within a millionth of what matters: the standard error."""
    x, y = draw(300, 260, 32, 0.1)
    x, y = x + mean, y + mean
    exact = function(x, y, rng=rng())
    monkeypatch.setattr(module, "EXACT_PRODUCTS", 0)
    fast = function(x, y, rng=rng())
    error, other = (z.detail().estimate.half_width / 2 for z in (exact, fast))
    assert abs(fast.value - exact.value) < 1e-6 * error
    assert other == pytest.approx(error, rel=1e-5)
    assert fast.p == exact.p


@pytest.mark.parametrize("metric", METRICS)
def test_the_detail_holds_the_variance_and_pairs(metric):
    real, a = draw(200, 200, shift=0.5)
    b = draw(200, 200, shift=0.6, seed=1)[1]
    one, other = (metric.detail(real, z, rng=rng()) for z in (a, b))
    variance = float(one.real.var()) / 200 + one.rest.value
    assert one.estimate.half_width == pytest.approx(1.96 * variance**0.5, rel=0.05)
    found = difference(one, other)
    alone = (one.estimate.half_width**2 + other.estimate.half_width**2) ** 0.5
    assert found.half_width < alone
