"""Planned sample sizes: textbook numbers, and the power that they turn out to have."""

import math

import pytest
import torch

import gantlet
from gantlet import options
from gantlet.commands.plan import Pilot, RealRows
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.metrics.measure import detail_all, two_sample
from gantlet.research.calibration.truth import kid, normal
from gantlet.stats.intervals import p_value
from gantlet.stats.jackknife import difference
from gantlet.stats.planning import (
    Noise,
    Noises,
    PilotDraw,
    Question,
    looks,
    reals_needed,
    samples,
    seeds,
    with_interval,
)

# Shares near a half of independent samples, and a reference that adds nothing.
PLAIN = Noise((0.25, 0.0), (0.25, 0.0), (0.0, 0.0))
SHARES = Noises(PLAIN, PLAIN)


def test_two_shares_need_the_textbook_number():
    """(1.96 + 0.8416)^2 (0.25 + 0.25) / 0.1^2 = 392.4, as for two proportions near a half."""
    assert samples(SHARES, Question(detect=0.1), 10_000) == 393
    assert samples(SHARES, Question(detect=0.1, power=0.9), 10_000) == 526


def test_more_tests_need_more_samples_and_power_too():
    few, many = (samples(SHARES, Question(detect=0.1, tests=k), 10_000) for k in (1, 10))
    assert many > 1.5 * few


def test_too_few_real_samples_are_too_few():
    asked = Question(detect=0.1)
    assert samples(SHARES, asked, 780) is None
    assert reals_needed(SHARES, asked) == 786
    noisy = Noise((0.25, 0.0), (0.25, 0.0), (10.0, 0.0))
    assert samples(Noises(noisy, noisy), asked, 2000) is None
    assert reals_needed(Noises(noisy, noisy), asked) > 10_000


@pytest.mark.parametrize(("size", "needed"), [(0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_are_those_of_a_paired_t_test(size, needed):
    """Cohen, 1988; as G*Power has them, for power 0.8 at 5 %, two sides."""
    assert seeds(1.0, Question(detect=size)) == needed


def test_looks_at_a_fixed_floor_have_an_end():
    asked = Question(detect=0.06)
    found = looks(SHARES, asked, 1000, 10_000)
    assert found is not None
    assert found > 1
    assert looks(SHARES, Question(detect=0.02), 1000, 10_000) is None
    assert looks(SHARES, asked, 1000, 1500) is None


def test_variances_of_both_orders_are_told_apart():
    draws = [
        PilotDraw(n=n, reference=r, fake=2 / n + 30 / n**2, floor=1 / n, shared=5 / r + 1 / n)
        for n, r in ((100, 400), (400, 400))
    ]
    found = Noise.of(draws)
    assert found.fake == pytest.approx((2, 30))
    assert found.floor == pytest.approx((1, 0), abs=1e-9)
    assert found.shared == pytest.approx((5, 1))


def test_an_interval_says_how_sure_the_plan_is():
    rng = torch.Generator().manual_seed(0)
    noise = (0.2 + 0.1 * torch.rand(20, generator=rng)).tolist()
    draws = [PilotDraw(n=100, reference=500, fake=v / 100, floor=v / 100, shared=0) for v in noise]
    asked = Question(detect=0.1)
    found = with_interval(
        draws, lambda n: samples(n, asked, 5000), unit="samples", method="m", why="w"
    )
    assert found.low < found.value < found.high
    missing = with_interval(
        draws, lambda n: samples(n, asked, 100), unit="samples", method="m", why="too small"
    )
    assert missing.value is None
    assert missing.method == "too small"


def shift_of(delta):
    """The shift of one of eight normal features whose KID is ``delta``, in closed form."""
    one, low, high = torch.ones(8).double(), 0.0, 8.0
    for _ in range(50):
        middle = (low + high) / 2
        mean = torch.zeros(8).double()
        mean[0] = middle
        small = kid(normal(0 * one, one), normal(mean, one)) < delta
        low, high = (middle, high) if small else (low, middle)
    return high


def found_share(n, reals, move, runs, rng):
    """How often sets of ``n`` samples that are moved are found to differ, as by ``evaluate``."""
    metric, hits = two_sample("kid"), 0
    for run in range(runs):
        real, floor, fake = (torch.randn(k, 8, generator=rng) for k in (reals - n, n, n))
        a, b = (
            detail_all({"m": metric}, real, z, rng=Rng(run))["m"] for z in (fake + move, floor)
        )
        hits += p_value(difference(a, b)) <= 0.05 / 3
    return hits / runs


def test_the_planned_number_suffices_and_half_of_it_does_not():
    rng, delta, reals = Rng(0).stream("power"), 0.15, 2000
    pilot = Pilot("kid", RealRows.of(torch.randn(reals, 8, generator=rng)), 0)
    n = samples(Noises.of(pilot.draws(delta)), Question(detect=delta, tests=3), reals)
    move, runs = torch.zeros(8), 50
    move[0] = shift_of(delta)
    error = math.sqrt(0.8 * 0.2 / runs)
    assert found_share(n, reals, move, runs, rng) > 0.8 - 3 * error
    assert found_share(n // 2, reals, move, runs, rng) < 0.8


def test_python_plans_samples_and_commands(tmp_path):
    real = torch.randn(800, 4, generator=Rng(0).stream("real"))
    report = gantlet.plan(real, 0.4, metrics=["precision"], features="columns", look=50)
    row = next(r for r in report.rows if r.name == "samples, power 80%")
    assert 8 <= row.estimate.value <= 400
    assert row.estimate.low <= row.estimate.value <= row.estimate.high
    asked = options.Compare(["gmm"], data="ring:n=300", out=tmp_path / "run")
    assert gantlet.plan(asked)["trials"] >= 1


def test_what_cannot_be_planned_is_one_line():
    real = torch.randn(300, 4, generator=Rng(0).stream("real"))
    for change, message in (
        ({"metrics": ["authenticity"]}, "not a distance between two sets of features"),
        ({"metrics": ["kdi"]}, "Did you mean 'kid'"),
        ({"metrics": ["kid", "kid"]}, "each once"),
        ({"against": real[:50]}, "At least 100 are needed"),
        ({"against": torch.ones(200, 3)}, "same features"),
    ):
        with pytest.raises(UserError, match=message) as error:
            gantlet.plan(**{"against": real, "detect": 0.1, "features": "columns", **change})
        assert "\n" not in str(error.value)


def test_a_difference_that_no_shift_makes_is_missing():
    real = torch.randn(200, 4, generator=Rng(0).stream("real"))
    report = gantlet.plan(real, 1.5, metrics=["precision"], features="columns", look=50)
    assert all(r.estimate.value is None for r in report.rows)
    assert "no shift of the real samples" in report.rows[0].estimate.method
