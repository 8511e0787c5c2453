"""The error one step ahead of a predictor that learned from fake series."""

import math

import pytest
import torch

from gantlet.core.data import Part, Space, all_samples
from gantlet.core.errors import UserError
from gantlet.core.metric import metric_on
from gantlet.core.rng import Rng
from gantlet.core.spec import metrics
from gantlet.data.processes import Process

DATA = Process(kind="series", size=32, memory=0.9, n=4000, held_out=4000)
SPLITS = DATA.load(rng=Rng(0))
TRAIN, FRESH, REAL = (all_samples(s) for s in (SPLITS.train, SPLITS.validation, SPLITS.test))


def coefficients(memory):
    """Those of an oscillation with a period of 8 steps, x_t = a x_{t-1} + b x_{t-2} + e_t."""
    return 2 * memory * math.cos(2 * math.pi / 8), -(memory**2)


def correlations(memory):
    """Autocorrelations at lags 0, 1 and 2, by the equations of Yule and Walker."""
    a, b = coefficients(memory)
    first = a / (1 - b)
    return 1.0, first, a * first + b


def error_of(other, memory):
    """Share of the variance that the coefficients of another process leave, in closed form."""
    r = correlations(memory)
    form = torch.tensor([1.0, *(-c for c in coefficients(other))], dtype=torch.float64)
    rows = [[r[abs(i - j)] for j in range(3)] for i in range(3)]
    matrix = torch.tensor(rows, dtype=torch.float64)
    return float(form @ matrix @ form)


def innovation(memory):
    """The variance of the innovations, 1, over that of the process."""
    a, b = coefficients(memory)
    return (1 + b) * ((1 - b) ** 2 - a**2) / (1 - b)


def measured(fake, *, real=REAL, train=TRAIN, text="predictive", seed=0):
    metric = metric_on(metrics.make(text), DATA.space, None)
    return metric.judge(real, fake, train=train, rng=Rng(seed).stream("metric"))


def drawn(memory, n, seed=1, size=32):
    process = Process(kind="series", size=size, memory=memory, n=n, held_out=1)
    return all_samples(process.load(rng=Rng(seed)).train)


def test_the_closed_forms_agree():
    assert error_of(0.9, 0.9) == pytest.approx(innovation(0.9), abs=1e-12)


def test_fresh_series_leave_the_innovations():
    found = measured(FRESH)
    assert found.low < innovation(0.9) < found.high
    assert found.high - found.low < 0.01
    assert found.also["real"] == pytest.approx(innovation(0.9), abs=0.005)


@pytest.mark.parametrize("memory", [0.5, 0.7, 0.97])
def test_another_process_leaves_what_its_coefficients_leave(memory):
    truth = error_of(memory, 0.9)
    assert truth > innovation(0.9) * 1.01
    found = measured(drawn(memory, 4000), text="predictive:lags=2")
    assert found.low < truth < found.high


def test_series_without_memory_and_constant_ones_predict_the_mean():
    noise = torch.randn(4000, 32, generator=Rng(0).stream("noise"))
    for fake in (noise, torch.zeros(4000, 32)):
        assert measured(fake).value == pytest.approx(1, abs=0.03)


def test_it_does_not_see_the_spread_of_series_and_sees_their_mean():
    assert measured(FRESH * 3).value == pytest.approx(measured(FRESH).value, abs=1e-4)
    assert measured(FRESH + 9).value > 1


def test_units_and_origin_do_not_matter():
    here = measured(FRESH)
    moved = [x.double() * 1e-9 + 1e-3 for x in (FRESH, REAL, TRAIN)]
    there = measured(moved[0], real=moved[1], train=moved[2])
    assert there.value == pytest.approx(here.value, rel=1e-6)
    assert there.high == pytest.approx(here.high, rel=1e-6)


def test_the_coefficients_are_those_of_least_squares():
    """One predictor against the pseudo-inverse of the windows, on few series."""
    x, y = REAL[:50].double(), FRESH[:40].double()
    windows = y.unfold(1, 4, 1).reshape(-1, 4)
    known = torch.cat([torch.ones(len(windows), 1).double(), windows[:, :3]], 1)
    weights = torch.linalg.lstsq(known, windows[:, 3:]).solution[:, 0]
    asked = x.unfold(1, 4, 1).reshape(-1, 4)
    error = asked[:, 3] - weights[0] - asked[:, :3] @ weights[1:]
    share = error.square().mean() / asked[:, 3].var(correction=0)
    found = measured(FRESH[:40], real=REAL[:50], text="predictive:lags=3,ridge=1e-12")
    assert found.value == pytest.approx(float(share), rel=1e-6)


def test_intervals_of_small_sets_hold_the_error_of_the_process():
    """Of 100 runs with 60 series each; the error of the fit, 2 lags on 1,680 steps, is small."""
    truth, held = innovation(0.9), 0
    pool = drawn(0.9, 100 * 180, seed=2).split(180)
    for seed, part in enumerate(pool):
        real, fake, train = part.split(60)
        found = measured(fake, real=real, train=train, text="predictive:lags=2", seed=seed)
        held += found.low < truth < found.high
    assert held >= 90


def test_sounds_of_one_channel_are_series():
    found = measured(FRESH[:, None], real=REAL[:, None], train=TRAIN[:, None])
    assert found == measured(FRESH)
    assert metric_on(metrics.make("predictive"), Space("audio", (1, 32)), None)


def test_series_that_cannot_be_judged():
    assert "at least 10" in measured(FRESH[:9]).method
    assert measured(FRESH, real=torch.ones(20, 32)).method == "held-out series do not vary"


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (Space("image", (1, 8, 8)), "series of one channel"),
        (Space("audio", (2, 64)), "series of one channel"),
        (Space("table", (3,), parts=(Part("number"),) * 3), "series of one channel"),
        (Space("vector", (2,)), "at least 9 values. Got 2; predictive:lags=1 "),
        (Space("vector", (1,)), "at least 9 values. Got 1."),
    ],
)
def test_other_samples_are_refused_in_one_line(space, said):
    with pytest.raises(UserError, match=said) as error:
        metric_on(metrics.make("predictive"), space, None)
    assert "\n" not in str(error.value)
