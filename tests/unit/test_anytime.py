"""Evidence that may be looked at every time keeps its level, and finds changes."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from gantlet.stats.anytime import (
    ChangeEvidence,
    level_of_look,
    log_evidence_of_rate,
    rate_upper,
)


@pytest.mark.parametrize(("n", "bound"), [(5, 0.3), (40, 0.04), (200, 0.02), (64, 0.5)])
def test_the_evidence_has_mean_one_at_the_bound_and_less_below(n, bound):
    counts = np.arange(n + 1)
    e = np.array([log_evidence_of_rate(int(k), n, bound) for k in counts])
    assert np.exp(e + binom.logpmf(counts, n, bound)).sum() == pytest.approx(1, rel=1e-9)
    for smaller in (0.2 * bound, 0.7 * bound):
        assert np.exp(e + binom.logpmf(counts, n, smaller)).sum() < 1


def test_the_evidence_is_that_of_numerical_integration():
    n, k, bound = 50, 12, 0.1
    p = np.linspace(bound, 1, 400_001)[1:-1]
    ratio = (p / bound) ** k * ((1 - p) / (1 - bound)) ** (n - k)
    assert math.exp(log_evidence_of_rate(k, n, bound)) == pytest.approx(ratio.mean(), rel=1e-4)


@pytest.mark.parametrize("count", [0, 1, 500, 100_000])
def test_the_evidence_is_finite_for_many_trials(count):
    found = log_evidence_of_rate(count, 100_000, 0.5)
    assert math.isfinite(found)
    assert (found > 0) == (count > 50_000)


def test_no_trials_and_a_bound_of_one_say_nothing():
    assert log_evidence_of_rate(0, 0, 0.1) == 0
    assert log_evidence_of_rate(9, 9, 1.0) == 0


def test_the_upper_bound_is_missed_as_often_as_it_says():
    n, level = 60, 0.05
    for p in (0.01, 0.1, 0.6):
        counts = np.arange(n + 1)
        missed = np.array([rate_upper(int(k), n, level) < p for k in counts])
        assert binom.pmf(counts, n, p)[missed].sum() <= level
    assert rate_upper(n, n, level) == 1


def evidence(counts, n, bound):
    found = ChangeEvidence()
    for k in counts:
        found.update(log_evidence_of_rate(int(k), n, bound))
    return found


def test_a_true_hypothesis_is_rejected_at_most_as_often_as_the_level_says():
    """1000 runs at the very edge of the hypothesis, stopped whenever it is rejected."""
    draw, n, bound, level = np.random.default_rng(0), 30, 0.1, 0.1
    known = [log_evidence_of_rate(k, n, bound) for k in range(n + 1)]
    alarms = 0
    for _ in range(1000):
        found = ChangeEvidence()
        for k in draw.binomial(n, bound, 100):
            found.update(known[k])
        alarms += found.exceeds(level)
    # Three standard errors above the level.
    assert alarms <= 1000 * level + 3 * math.sqrt(1000 * level * (1 - level))


def test_a_change_after_many_quiet_looks_is_found_at_once():
    draw = np.random.default_rng(1)
    for seed in range(20):
        quiet = draw.binomial(100, 0.02, 200)
        found = evidence(quiet, 100, 0.05)
        assert not found.exceeds(0.01), seed
        found.update(log_evidence_of_rate(int(draw.binomial(100, 0.3)), 100, 0.05))
        assert found.exceeds(0.01), seed


def test_the_sum_is_that_of_all_starts():
    logs = [0.3, -2.0, 1.5, 0.7]
    found = ChangeEvidence()
    for x in logs:
        found.update(x)
    by_hand = sum(math.exp(sum(logs[s - 1 :])) / (s * (s + 1)) for s in range(1, 5)) + 1 / 5
    assert math.exp(found.log_now) == pytest.approx(by_hand)
    assert found.p == pytest.approx(1 / max(1, by_hand, math.exp(found.log_peak)))


def test_it_goes_on_from_its_state():
    found = evidence([3, 1, 9], 20, 0.2)
    again = ChangeEvidence.of_state(found.state())
    assert again == found
    assert ChangeEvidence.of_state(ChangeEvidence().state()) == ChangeEvidence()


def test_levels_of_all_looks_sum_to_the_level():
    assert sum(level_of_look(0.05, k) for k in range(1, 100_000)) == pytest.approx(0.05, rel=1e-4)
