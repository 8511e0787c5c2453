"""The power of a classifier two-sample test: exact, in the limit, and by simulation."""

import math
import statistics

import pytest
import torch
from scipy.special import bdtrc

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.stats.intervals import detectable_accuracy, fewest_correct

NORMAL = statistics.NormalDist()


def limit(accuracy, n, level=0.05):
    """The formula of Lopez-Paz and Oquab, section 3."""
    eps = accuracy - 0.5
    top = eps * math.sqrt(n) - NORMAL.inv_cdf(1 - level) / 2
    return NORMAL.cdf(top / math.sqrt(0.25 - eps**2))


@pytest.mark.parametrize(("n", "close"), [(400, 0.03), (10_000, 0.006), (1_000_000, 0.001)])
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_it_approaches_the_closed_form(n, close, level):
    least = detectable_accuracy(n, level=level)
    assert limit(least, n, level) == pytest.approx(0.8, abs=close)
    found = bdtrc(fewest_correct(n, level=level) - 1, n, least)
    assert found == pytest.approx(0.8, abs=1e-9)


def test_simulated_classifiers_are_found_as_often():
    rng, n, times = Rng(0).stream("classifiers"), 300, 4000
    for wanted in (0.5, 0.8, 0.95):
        a = detectable_accuracy(n, power=wanted)
        right = (torch.rand(times, n, generator=rng) < a).sum(1)
        share = float((right >= fewest_correct(n)).double().mean())
        assert share == pytest.approx(wanted, abs=4 * math.sqrt(wanted * (1 - wanted) / times))
    guessed = (torch.rand(times, n, generator=rng) < 0.5).sum(1)
    assert float((guessed >= fewest_correct(n)).double().mean()) < 0.05 + 4 * 0.0035


def test_the_fewest_right_answers_are_the_first_that_are_significant():
    for n in (5, 10, 41, 100):
        tail = [sum(math.comb(n, j) for j in range(k, n + 1)) / 2**n for k in range(n + 2)]
        assert fewest_correct(n) == next(k for k in range(n + 2) if tail[k] <= 0.05)


def test_more_samples_find_less_and_too_few_are_refused():
    assert detectable_accuracy(4000) < detectable_accuracy(400) < detectable_accuracy(40) < 0.75
    with pytest.raises(UserError, match="4 held-out samples"):
        detectable_accuracy(4)
