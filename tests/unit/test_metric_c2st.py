import pytest
import torch
from scipy.stats import binomtest

from gantlet.core.intervals import proportion
from gantlet.core.rng import Rng
from gantlet.metrics.c2st import C2st, rate, train

KINDS = ["network", "knn"]


def draw(n, d=6, seed=0):
    return torch.randn(2, n, d, generator=Rng(seed).stream("x"), dtype=torch.float64)


def measure(kind, real, fake, seed=0):
    return C2st(classifier=kind).measure(real, fake, rng=Rng(seed).stream("m"))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_sets_cannot_be_told_apart(kind):
    found = [measure(kind, *draw(100, seed=seed), seed) for seed in range(12)]
    mean = sum(e.value for e in found) / 12
    assert abs(mean - 0.5) < 0.05
    assert sum(e.low <= 0.5 <= e.high for e in found) >= 10


@pytest.mark.parametrize("kind", KINDS)
def test_distant_sets_are_always_told_apart(kind):
    real, fake = draw(100)
    found = measure(kind, real, fake + 5)
    assert found.value == found.high == 1.0
    assert found.low > 0.95
    assert "p = 7.9e-31" in found.method


def test_the_network_sees_spread_that_no_line_sees():
    real, fake = draw(400)
    assert measure("network", real, fake * 1.8).low > 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_units_of_features_do_not_matter(kind):
    real, fake = draw(200)
    units = torch.logspace(-4, 4, 6, dtype=torch.float64)
    here, there = measure(kind, real, fake + 1), measure(kind, real * units, (fake + 1) * units)
    assert there.value == pytest.approx(here.value, abs=0.011)


@pytest.mark.parametrize("kind", KINDS)
def test_the_larger_set_is_thinned(kind):
    real, fake = draw(300)
    assert measure(kind, real, fake[:40]).n == 40


def test_interval_and_p_value_are_the_binomial_ones():
    judged = rate(
        lambda z: z[:, 0] > 0, torch.zeros(10, 1), torch.tensor([[1.0]] * 3 + [[0.0]] * 7)
    )
    test = binomtest(13, 20, alternative="greater")
    ends = binomtest(13, 20).proportion_ci(method="exact")
    assert (judged.low, judged.high) == pytest.approx((ends.low, ends.high))
    assert f"p = {test.pvalue:.2g}" in judged.method


@pytest.mark.parametrize(("count", "n"), [(0, 7), (7, 7), (3, 7), (180, 360)])
def test_proportion_equals_scipy(count, n):
    found, ends = proportion(count, n), binomtest(count, n).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=1e-12)
    assert found.value == count / n


def test_proportion_of_nothing_is_missing():
    assert proportion(0, 0).value is None


@pytest.mark.parametrize("kind", KINDS)
def test_no_sample_serves_both_training_and_judging(kind):
    real, fake = draw(20)
    _, left_real, left_fake = train(real, fake, kind, rng=Rng(0).stream("m"))
    for left, whole in ((left_real, real), (left_fake, fake)):
        assert len(left) == 10
        assert (torch.cdist(left, whole) == 0).sum() == 10


def test_gradients_are_not_followed():
    real, fake = draw(50)
    assert measure("network", real.requires_grad_(), fake + 5).value == 1.0
