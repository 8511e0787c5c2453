import math

import pytest
import torch
from scipy.stats import binomtest, norm

from gantlet.core.intervals import proportion
from gantlet.core.rng import Rng
from gantlet.metrics.c2st import C2st, rate, train
from gantlet.metrics.c2st_fits import logistic_weights

KINDS = ["network", "knn", "logistic", "mlp"]


def draw(n, d=6, seed=0):
    return torch.randn(2, n, d, generator=Rng(seed).stream("x"), dtype=torch.float64)


def measure(kind, real, fake, seed=0):
    return C2st(classifier=kind).measure(real, fake, rng=Rng(seed).stream("m"))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_sets_cannot_be_told_apart(kind):
    count = 4 if kind == "mlp" else 12
    found = [measure(kind, *draw(100, seed=seed), seed) for seed in range(count)]
    mean = sum(e.value for e in found) / count
    assert abs(mean - 0.5) < 0.05
    assert sum(e.low <= 0.5 <= e.high for e in found) >= 0.8 * count


@pytest.mark.parametrize("kind", KINDS)
def test_distant_sets_are_always_told_apart(kind):
    real, fake = draw(100)
    found = measure(kind, real, fake + 5)
    assert found.value == found.high == 1.0
    assert found.low > 0.95
    assert "p = 7.9e-31" in found.method


@pytest.mark.parametrize("kind", ["network", "mlp"])
def test_networks_see_spread_that_no_line_sees(kind):
    real, fake = draw(400)
    assert measure(kind, real, fake * 1.8).low > 0.5
    line = measure("logistic", real, fake * 1.8)
    assert line.low <= 0.5 <= line.high


@pytest.mark.parametrize("kind", ["knn", "logistic"])
def test_equal_distributions_are_rejected_as_often_as_promised(kind):
    """Type I error at 5 %: the exact test never exceeds it."""
    rejected, replicates = 0, 200
    for seed in range(replicates):
        found = measure(kind, *draw(60, 3, seed), seed)
        rejected += p_of(found) <= 0.05
    assert binomtest(rejected, replicates, 0.05, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize("n", [50, 200, 800])
def test_power_follows_the_formula_of_the_paper(n):
    """Lopez-Paz and Oquab, Theorem 1: it grows with the root of the held-out samples."""
    epsilon, replicates = 0.06, 400
    shift = norm.ppf(0.5 + epsilon)
    rng = Rng(n).stream("x")
    rejected = 0
    for _ in range(replicates):
        real, fake = torch.randn(2, n // 2, 1, generator=rng)
        found = rate(lambda z: z[:, 0] > 0, real - shift, fake + shift)
        rejected += p_of(found) <= 0.05
    spread = math.sqrt(1 / 4 - epsilon**2)
    power = norm.cdf((epsilon * math.sqrt(n) - norm.ppf(0.95) / 2) / spread)
    # The exact test is a little cautious: counts are whole.
    assert -0.12 < rejected / replicates - power < 0.08


@pytest.mark.parametrize(("kind", "replicates"), [("network", 12), ("logistic", 60)])
def test_the_interval_holds_the_accuracy_on_new_samples(kind, replicates):
    hits = 0
    for seed in range(replicates):
        rng = Rng(seed).stream("x")
        real, fake, new_real, new_fake = (
            torch.randn(n, 8, generator=rng, dtype=torch.float64) for n in (150, 150, 4000, 4000)
        )
        judge, *test = train(real, fake + 0.3, kind, rng=Rng(seed).stream("m"))
        truth = rate(judge, new_real, new_fake + 0.3).value
        found = rate(judge, *test)
        hits += found.low <= truth <= found.high
    assert hits >= 0.87 * replicates


def p_of(found):
    return float(found.method.split("p = ")[1].split()[0])


def test_permutations_give_a_p_value_of_their_own():
    real, fake = draw(40)
    test = C2st(classifier="logistic", permutations=19)
    near, far = (test.measure(real, x, rng=Rng(0).stream("m")).method for x in (fake, fake + 2))
    assert far.endswith("p = 0.05 of 19 permutations")
    assert float(near.split("p = ")[2].split()[0]) > 0.05


def test_permutations_reject_equal_distributions_as_often_as_promised():
    test = C2st(classifier="logistic", permutations=9)
    rejected = 0
    for seed in range(60):
        found = test.measure(*draw(16, 2, seed), rng=Rng(seed).stream("m"))
        rejected += float(found.method.split("p = ")[2].split()[0]) <= 0.1
    assert binomtest(rejected, 60, 0.1, alternative="greater").pvalue > 0.01


def test_logistic_regression_reaches_its_minimum():
    """Its gradient is zero: the penalty balances the residuals."""
    real, fake = draw(50, 3)
    z = torch.cat([real, fake + 1])
    bias, weight = logistic_weights(z).split([1, 3])
    target = torch.cat([torch.zeros(50), torch.ones(50)]).double()
    residual = torch.sigmoid(z @ weight + bias) - target
    assert torch.allclose(z.T @ residual + weight, torch.zeros(3).double(), atol=1e-5)
    assert float(residual.sum()) == pytest.approx(0, abs=1e-5)


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
