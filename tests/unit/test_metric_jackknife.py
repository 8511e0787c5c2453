import math

import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.stats.intervals import Variance, around, fraction, total
from gantlet.stats.jackknife import folds, jackknife, shared


def left_out(statistic, x, fold):
    return torch.stack([statistic(x[fold != f]) for f in range(int(fold.max()) + 1)])


@pytest.mark.parametrize(("n", "count"), [(3, 3), (20, 20), (360, 20), (371, 20)])
def test_folds_are_of_equal_size_to_within_one(n, count):
    sizes = folds(n, rng=Rng(0).stream("f"), device=torch.device("cpu")).bincount()
    assert len(sizes) == count
    assert sizes.max() - sizes.min() <= 1
    assert sizes.sum() == n


def test_a_mean_has_no_bias_and_its_textbook_variance():
    """With one sample a fold the jackknife of the mean is exact."""
    x = torch.randn(20, generator=Rng(0).stream("x"), dtype=torch.float64)
    fold = torch.arange(20)
    found = jackknife(x.mean(), left_out(torch.mean, x, fold), fold)
    assert found.bias == pytest.approx(0, abs=1e-12)
    assert found.variance.value == pytest.approx(float(x.var()) / 20)
    assert found.variance.df == pytest.approx(19)


def test_the_bias_of_the_plain_variance_is_removed_exactly():
    """The jackknife removes a bias of the form a / n, even with folds of unequal size."""

    def plain(z):
        return z.var(correction=0)

    x = torch.randn(20, generator=Rng(0).stream("x"), dtype=torch.float64)
    fold = torch.arange(20)
    found = jackknife(plain(x), left_out(plain, x, fold), fold)
    assert float(plain(x)) - found.bias == pytest.approx(float(x.var()))


def test_unequal_folds_give_about_the_same():
    x = torch.randn(371, generator=Rng(0).stream("x"), dtype=torch.float64)
    fold = folds(371, rng=Rng(0).stream("f"), device=x.device)
    found = jackknife(x.mean(), left_out(torch.mean, x, fold), fold)
    assert found.bias == pytest.approx(0, abs=1e-12)
    assert found.variance.value == pytest.approx(float(x.var()) / 371, rel=0.8)


def test_terms_that_share_nothing_have_no_shared_variance():
    """Each fold changes terms of its own: all products of different terms vanish."""
    assert shared(torch.zeros(20, 50)).value == 0.0
    changes = torch.randn(20, 400, generator=Rng(0).stream("x")) / 400
    found = shared(changes)
    assert abs(found.value) < 5 * math.sqrt(found.noise)


def test_terms_that_all_share_one_change_have_its_variance():
    """The mean of J equal terms varies as one of them does."""
    z = torch.randn(20, generator=Rng(0).stream("x"), dtype=torch.float64)
    found = shared(z[:, None].expand(20, 100) / 100)
    jackknifed = float((z - z.mean()).square().sum()) * 19 / 20
    assert found.value == pytest.approx(jackknifed * 99 / 100)


def test_total_adds_variances_and_noise():
    found = total([Variance.of_squares(1.0, 10), Variance(3.0)])
    assert found.value == 4.0
    assert found.df == pytest.approx(160)


def test_around_is_students_interval():
    found = around(1.0, Variance.of_squares(4.0, 10), n=5, method="m")
    assert found.half_width == pytest.approx(2 * 2.228139, rel=1e-5)


@pytest.mark.parametrize("variance", [Variance(math.inf), Variance(math.nan)])
def test_what_is_not_finite_is_missing(variance):
    assert around(1.0, variance, n=5, method="m").value is None


def test_fraction_is_wilsons_interval():
    """At the variance of a plain count: Wilson, 1927; 0.5 of 100 gives [.4038, .5962]."""
    found = fraction(0.5, Variance(0.25 / 100), n=100, method="m")
    assert (found.low, found.high) == pytest.approx((0.40383, 0.59617), abs=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_fraction_of_all_or_none_keeps_an_interval(value):
    found = fraction(value, Variance(0.0), n=50, method="m")
    assert 0 <= found.low <= value <= found.high <= 1
    assert found.high - found.low == pytest.approx(0.0713, abs=1e-3)
