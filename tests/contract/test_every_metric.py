"""What every metric, of whatever it sees, makes of input that is few, odd or wrong."""

import math

import pytest
import torch

from gantlet.core.components import metrics
from gantlet.core.errors import UserError
from gantlet.core.measure import Metric
from gantlet.core.rng import Rng

NAMES = metrics.names()
# The same metrics with less work.
OF_FAKES_ALONE = ("inception-score", "ms-ssim", "vendi", "birthday")
QUICK = {"geometry-score": "geometry-score:runs=20", "prd": "prd:runs=2"}


def some(sees, n, seed, d=6, shift=0.0):
    rng = Rng(seed).stream("input")
    if sees == "samples":
        return torch.rand(n, 1, 16, 16, generator=rng)
    x = torch.randn(n, d, generator=rng) + shift
    return x.softmax(1) if sees == "probabilities" else x


def made(name):
    try:
        return metrics.make(QUICK.get(name, name))
    except UserError:
        return metrics.make(name)


def measured(name, real, fake, train=None):
    metric, rng = made(name), Rng(0).stream("metric")
    if isinstance(metric, Metric):
        return metric.measure(real, fake, rng=rng)
    train = some(metric.sees, 70, 5, d=real.shape[1]) if train is None else train
    return metric.judge(real, fake, train=train, rng=rng)


def is_sound(found):
    """A finite number with a sound interval, or a reason."""
    if found.value is None:
        return bool(found.method)
    ends = [e for e in (found.low, found.high) if e is not None]
    ordered = not ends or found.low <= found.value <= found.high
    return math.isfinite(found.value) and ordered and bool(found.method)


def sees(name):
    return metrics.load(name).sees


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
def test_few_samples_of_either_side(name, n):
    few, many = some(sees(name), n, 0), some(sees(name), 60, 1)
    for real, fake in ((few, many), (many, few), (few, few)):
        found = measured(name, real, fake)
        assert is_sound(found), found
        if len(fake) == 0 or (n == 0 and name not in OF_FAKES_ALONE):
            assert found.value is None


def constant(x, y, what):
    if what != "probabilities":
        x.flatten(1)[:, 0] = y.flatten(1)[:, 0] = 0.5
    return x, y


def wide(x, y, what):
    return (x, y) if what == "samples" else (some(what, 20, 0, 50), some(what, 20, 1, 50))


def far(x, y, what):
    return (x + 1e4, y + 1e4) if what == "features" else (x, y)


ODD = {
    "fewer samples than features": wide,
    "duplicates": lambda x, y, _: (x[:6].repeat_interleave(10, 0), y[:9].repeat_interleave(5, 0)),
    "all alike": lambda x, _y, _: (x[:1].expand(60, *x.shape[1:]), x[:1].expand(45, *x.shape[1:])),
    "the same set twice": lambda x, _y, _: (x, x.clone()),
    "one constant feature": constant,
    "a mean of 1e4": far,
    "half precision": lambda x, y, _: (x.half(), y.half()),
    "double precision": lambda x, y, _: (x.double(), y.double()),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ODD)
def test_odd_samples_give_a_sound_number_or_a_reason(name, kind):
    what = sees(name)
    found = measured(name, *ODD[kind](some(what, 60, 0), some(what, 45, 1), what))
    assert is_sound(found), found


@pytest.mark.parametrize("name", NAMES)
def test_precision_of_the_input_does_not_matter(name):
    x, y = (some(sees(name), n, n).half() for n in (60, 45))
    values = [measured(name, x.to(d), y.to(d)).value for d in (torch.float16, torch.float64)]
    if values[0] is not None:
        assert values[0] == pytest.approx(values[1], rel=1e-3, abs=1e-4)


def broken(kind, what):
    x, y = some(what, 30, 0), some(what, 30, 1)
    if kind == "other width":
        return x, y[..., :-1]
    y.flatten(1)[3, 2] = {"nan": math.nan, "infinity": math.inf}[kind]
    return x, y


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["nan", "infinity", "other width"])
def test_wrong_samples_are_refused_in_one_line(name, kind):
    if kind == "other width" and name == "ms-ssim":
        pytest.skip("ms-ssim compares fake images with one another")
    real, fake = broken(kind, sees(name))
    for pair in ((real, fake), (fake, real)):
        with pytest.raises(UserError) as error:
            measured(name, *pair)
        assert "\n" not in str(error.value)
        assert "Got" in str(error.value) or "hold" in str(error.value)


@pytest.mark.parametrize("name", [n for n in NAMES if hasattr(metrics.load(n), "judge")])
def test_wrong_training_samples_are_refused_in_one_line(name):
    x = some(sees(name), 30, 0)
    for train in (x[:, :-1], torch.full_like(x, math.nan)):
        with pytest.raises(UserError) as error:
            measured(name, x, x.clone(), train)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_the_stream_decides(name):
    x, y = some(sees(name), 40, 0), some(sees(name), 40, 1)
    before = torch.random.get_rng_state()
    assert measured(name, x, y) == measured(name, x, y)
    assert torch.equal(before, torch.random.get_rng_state())
