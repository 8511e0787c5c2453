import math

import numpy as np
import pytest
from scipy import stats

from gantlet.core.estimate import Estimate
from gantlet.stats.intervals import is_separated, mean, paired


def test_mean_equals_scipys_t_interval():
    values = [0.3, 0.7, 0.1, 0.9]
    found = mean(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.n == 4


def test_coverage_of_the_mean_is_nominal():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(4000):
        found = mean(list(rng.normal(2.0, 1.0, 4)))
        hits += found.low <= 2.0 <= found.high
    # Three standard errors of a share of .95 over 4000 repeats.
    assert hits / 4000 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 4000))


def test_paired_differences_cancel_what_is_common():
    a, b = [1.0, 11.0, 21.0], [0.0, 10.1, 19.9]
    found = paired(a, b)
    assert found.value == pytest.approx(1.0)
    assert found.half_width < 0.3
    assert is_separated(found)


def test_one_seed_or_none_has_no_interval():
    assert mean([1.0]).low is None
    assert mean([]).value is None
    assert not is_separated(mean([1.0]))
    assert not is_separated(Estimate.missing("nothing"))
