import math

import pytest
import torch
from scipy.stats import binomtest, norm

from gantlet.core.metric import GroupedMetric, Groups
from gantlet.core.rng import Rng
from gantlet.metrics.checks import equal_rows, without_duplicates
from gantlet.metrics.classifier import (
    C2st,
    clustered,
    fit,
    fit_logistic,
    fit_network,
    halves,
    kept_together,
    rate,
    train,
)
from gantlet.stats.intervals import proportion

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
    return found.also["p"]


def test_permutations_give_a_p_value_of_their_own():
    real, fake = draw(40)
    test = C2st(classifier="logistic", permutations=19)
    near, far = (test.measure(real, x, rng=Rng(0).stream("m")) for x in (fake, fake + 2))
    assert far.method.endswith("p = 0.05 of 19 permutations")
    assert far.also["p_of_permutations"] == 0.05
    assert near.also["p_of_permutations"] > 0.05


def test_permutations_reject_equal_distributions_as_often_as_promised():
    test = C2st(classifier="logistic", permutations=9)
    rejected = 0
    for seed in range(60):
        found = test.measure(*draw(16, 2, seed), rng=Rng(seed).stream("m"))
        rejected += found.also["p_of_permutations"] <= 0.1
    assert binomtest(rejected, 60, 0.1, alternative="greater").pvalue > 0.01


def newton(z, target):
    """Returns bias and weights of logistic regression with the penalty |w|^2 / 2."""
    x = torch.cat([torch.ones(len(z), 1).double(), z], 1)
    ridge = torch.eye(x.shape[1]).double()
    ridge[0, 0] = 0
    found = torch.zeros(x.shape[1]).double()
    for _ in range(30):
        p = torch.sigmoid(x @ found)
        slope = x.T @ (p - target) + ridge @ found
        found -= torch.linalg.solve((x.T * (p * (1 - p))) @ x + ridge, slope)
    assert float(slope.abs().max()) < 1e-9
    return found


def test_logistic_regression_decides_as_newtons_method_does():
    real, fake = draw(50, 3)
    z = torch.cat([real, fake + 1])
    bias, weight = newton(z, (torch.arange(100) >= 50).double()).split([1, 3])
    new = draw(20_000, 3, seed=1)[0]
    margin = new @ weight + bias
    # Where the margin is smaller than the solver's tolerance either is right.
    clear = margin.abs() > 1e-5
    assert float(clear.double().mean()) > 0.999
    assert torch.equal(fit_logistic(z)(new)[clear], margin[clear] > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_repeats_bit_for_bit_whatever_has_been_drawn_elsewhere(kind):
    real, fake = draw(60)
    new = draw(500, seed=1)[0]
    z = torch.cat([real, fake + 0.3])
    first = fit(kind, z.clone(), rng=Rng(0).stream("m"))(new)
    assert torch.equal(fit(kind, z.clone(), rng=Rng(0).stream("m"))(new), first)
    if kind in {"mlp", "network"}:
        assert not torch.equal(fit(kind, z.clone(), rng=Rng(1).stream("m"))(new), first)


def test_the_small_network_reaches_the_accuracy_of_the_best_possible_rule():
    """Two normal distributions a distance apart: the best rule is right with Phi(distance / 2)."""
    d, gap = 4, 2.0
    real, fake = draw(1000, d)
    new_real, new_fake = draw(10_000, d, seed=1)
    fake[:, 0] += gap
    new_fake[:, 0] += gap
    judge = fit("mlp", torch.cat([real, fake]), rng=Rng(0).stream("m"))
    found = rate(judge, new_real, new_fake).value
    assert norm.cdf(gap / 2) - 0.03 < found < norm.cdf(gap / 2) + 0.005


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


def primal_network(z, rng):
    """The classifier by the system with one equation for each coefficient, as it is defined."""
    n, d = z.shape
    drawn = torch.randn(d + 1, 1024, generator=rng, dtype=z.dtype)
    weight, bias = drawn[1:] / math.sqrt(d), drawn[0]

    def units(w):
        return torch.cat([w, (w @ weight + bias).relu()], 1)

    seen = units(z)
    centre = seen.mean(0)
    seen = seen - centre
    gram = seen.T @ seen
    sign = torch.cat([-torch.ones(n // 2), torch.ones(n - n // 2)]).double()
    gram.diagonal().add_(0.3 * gram.trace() / n + 1e-12)
    coefficients = torch.linalg.solve(gram, seen.T @ sign)
    return lambda w: (units(w) - centre) @ coefficients


@pytest.mark.parametrize(("n", "d"), [(60, 20), (400, 100), (200, 700), (1300, 8)])
def test_either_system_of_the_network_makes_the_same_decisions(n, d):
    real, fake = draw(n, d)
    z = torch.cat([real, fake * 1.1])
    z = (z - z.mean(0)) / z.std(0)
    new = torch.randn(500, d, generator=Rng(9).stream("x"), dtype=torch.float64)
    expected = primal_network(z, Rng(0).stream("m"))(new)
    found = fit_network(z, rng=Rng(0).stream("m"))(new)
    assert torch.equal(found, expected > 0)
    assert float(expected.abs().min()) < 0.02, "some decisions are close"


def test_many_features_need_no_matrix_of_their_square():
    """40 images of 128 x 128 in colour: one equation for each feature would ask for 20 GB."""
    real, fake = torch.rand(2, 40, 49_152, generator=Rng(0).stream("x"))
    found = C2st().measure(real, fake * 0.9, rng=Rng(0).stream("m"))
    assert found.value == 1.0


def twice(x):
    return x.repeat_interleave(2, 0)


@pytest.mark.parametrize("kind", ["knn", "logistic", "network"])
def test_each_sample_twice_is_no_difference(kind):
    """Once held by heart, a sample would be told by its twin."""
    rejected, count = 0, 40 if kind == "network" else 150
    for seed in range(count):
        found = measure(kind, *(twice(z) for z in draw(60, 3, seed)), seed)
        rejected += not found.low <= 0.5 <= found.high
    assert binomtest(rejected, count, 0.05, alternative="greater").pvalue > 0.01
    assert found.n == 60
    assert "60 groups" in found.method


def test_a_difference_is_found_among_twins():
    real, fake = draw(100)
    assert measure("network", twice(real), twice(fake + 3)).low > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_the_real_set_cannot_be_told_from_it(kind):
    """Were a sample to train as real and its copy to judge as fake, it would seem below chance."""
    real, _ = draw(100)
    found = measure(kind, real, real[torch.randperm(100, generator=Rng(1).stream("o"))])
    assert found.value == 0.5
    assert found.low < 0.5 < found.high


def test_clustered_samples_hold_what_single_ones_do_not():
    """20 subjects of 10 samples each, alike within a subject."""
    missed = {"groups": 0, "none": 0}
    for seed in range(60):
        rng = Rng(seed).stream("x")
        real, fake = (
            (torch.randn(20, 1, 4, generator=rng) + 0.2 * torch.randn(20, 10, 4, generator=rng))
            for _ in range(2)
        )
        group = torch.arange(20).repeat_interleave(10)
        for name, groups in (("groups", Groups(group, group)), ("none", None)):
            found = C2st(classifier="knn").measure(
                real.flatten(0, 1), fake.flatten(0, 1), rng=Rng(seed).stream("m"), groups=groups
            )
            missed[name] += not found.low <= 0.5 <= found.high
    assert missed["groups"] <= 8
    assert missed["none"] > 50


def test_permutations_deal_whole_groups():
    rng = Rng(0).stream("x")
    real, fake = (torch.randn(12, 3, generator=rng).repeat_interleave(4, 0) for _ in range(2))
    test = C2st(classifier="logistic", permutations=19)
    near, far = (test.measure(real, x, rng=Rng(0).stream("m")).method for x in (fake, fake + 4))
    assert far.endswith("p = 0.05 of 19 permutations")
    assert float(near.split("p = ")[2].split()[0]) > 0.05


def test_the_clustered_interval_is_the_plain_one_where_nothing_is_clustered():
    right = torch.arange(50) < 34, torch.arange(50) < 30
    group = torch.arange(50), torch.arange(50) + 50
    found, size = clustered(right, group)
    plain = proportion(64, 100)
    assert size == pytest.approx(100, abs=0.5), "two shares of halves, not one of the whole"
    assert (found.value, found.low, found.high) == pytest.approx(
        (plain.value, plain.low, plain.high), abs=1e-3
    )


def test_whole_groups_are_on_one_side_and_sides_are_even():
    rng = Rng(3).stream("x")
    group = torch.randint(40, (300,), generator=rng), torch.randint(40, (300,), generator=rng) + 20
    split = halves(group, (300, 300), rng=rng, device=torch.device("cpu"))
    learns, judges = (
        torch.cat([g[i] for g, i in zip(group, side, strict=True)])
        for side in (split.train, split.test)
    )
    assert not set(learns.tolist()) & set(judges.tolist())
    assert len(split.train[0]) == len(split.train[1])
    assert all(abs(len(z) - 150) < 12 for z in (*split.train, *split.test))


def test_what_is_joined_by_groups_or_by_equality_stays_together():
    x = torch.tensor([[1.0], [2.0], [3.0], [1.0]])
    y = torch.tensor([[2.0], [5.0], [6.0]])
    groups = Groups(torch.tensor([7, 7, 1, 2]), torch.tensor([0, 4, 4]))
    real, fake = kept_together(x, y, groups)
    assert real[0] == real[1] == real[3] == fake[0]
    assert fake[1] == fake[2]
    assert len({int(real[0]), int(real[2]), int(fake[1])}) == 3
    assert kept_together(x[:3], y[1:], None) is None


def test_repeats_of_discrete_data_are_independent():
    real, fake = (torch.randint(4, (100, 2), generator=Rng(s).stream("x")).float() for s in (0, 1))
    assert kept_together(real, fake, None) is None
    assert measure("network", real, fake + 0.0 * real).n == 100


@pytest.mark.parametrize("alike", ["fake", "real"])
def test_a_set_of_one_sample_again_and_again_gives_a_reason(alike):
    real, fake = draw(40)
    sets = (real, fake[:1].expand(40, 6)) if alike == "fake" else (real[:1].expand(40, 6), fake)
    found = measure("network", *sets)
    assert found.value is None
    assert "nearly all of a set are equal" in found.method


def test_the_contract_of_groups():
    assert isinstance(C2st(), GroupedMetric)


def test_duplicates_of_a_training_set_are_dropped_unless_the_data_repeat():
    train = torch.tensor([[3.0], [1.0], [3.0], [2.0]])
    assert without_duplicates(train, torch.tensor([[7.0], [8.0]])).tolist() == [[3], [1], [2]]
    assert torch.equal(without_duplicates(train, torch.tensor([[1.0], [8.0]])), train)
    assert equal_rows(train)[0].tolist() == [2, 0, 2, 1]
