"""Laws that every registered metric keeps; what it makes of input that is few, odd or wrong."""

import math
import time

import pytest
import torch

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.metric import Metric
from gantlet.core.rng import Rng
from gantlet.core.spec import metrics
from gantlet.testing import check_metric
from gantlet.testing.contracts import made_up

NAMES = metrics.names()
DISTANCES = ["frechet", "kid", "energy", "sliced-wasserstein"]
COUNTS = ["precision", "recall", "density", "coverage"]
# Those that rate any two sets of features, with an interval.
SINCE = [
    *("clipped-density", "clipped-coverage", "symmetric-precision", "symmetric-recall"),
    "pqmass",
]
PAIRS = [*DISTANCES, *COUNTS, *SINCE, "c2st", "realism", "alpha-precision", "beta-recall"]
# Settings with code of their own.
SETTINGS = ["sliced-wasserstein:order=1", "mind:directions=64", "c2st:classifier=knn"]
# The same metrics with less work.
OF_FAKES_ALONE = ("inception-score", "ms-ssim", "vendi", "birthday")
# Those of one kind of sample: rows of tokens, which end with a 0.
OF_TOKENS = ("bleu", "self-bleu", "lm-forward", "lm-reverse", "verbatim", "longest-copy")
OF_GRAPHS = ("degree-mmd", "clustering-mmd", "spectrum-mmd", "orbit-mmd", "pgd")
QUICK = {
    "geometry-score": "geometry-score:runs=20",
    "prd": "prd:runs=2",
    "c2st-auc": "c2st-auc:rounds=2",
    "tstr": "tstr:rounds=2",
    "column-similarity": "column-similarity:permutations=2",
    "pair-similarity": "pair-similarity:permutations=1",
}


def some(sees, n, seed, d=6, shift=0.0):
    rng = Rng(seed).stream("input")
    if sees == "tokens":
        x = torch.randint(0, 9, (n, d), generator=rng)
        return x * ((x == 0).cumsum(1) == 0) / 8
    if sees == "graphs":
        return made_up(Space("graph", (8, 8), 2), n, seed=seed)
    if sees == "samples":
        return torch.rand(n, 1, 16, 16, generator=rng)
    x = torch.randn(n, d, generator=rng) + shift
    return x.softmax(1) if sees == "probabilities" else x


def made(name):
    try:
        return metrics.make(QUICK.get(name, name))
    except UserError:
        return metrics.make(name)


def measured(name, real, fake, train=None, device="cpu"):
    metric, rng = made(name), Rng(0, device).stream("metric")
    if isinstance(metric, Metric):
        return metric.measure(real, fake, rng=rng)
    train = some(sees(name), 70, 5, d=real.shape[1]) if train is None else train
    return metric.judge(real, fake, train=train, rng=rng)


def is_sound(found):
    """A finite number with a sound interval, or a reason."""
    if found.value is None:
        return bool(found.method)
    ends = [e for e in (found.low, found.high) if e is not None]
    ordered = not ends or found.low <= found.value <= found.high
    return math.isfinite(found.value) and ordered and bool(found.method)


def sees(name):
    if name in OF_GRAPHS:
        return "graphs"
    return "tokens" if name in OF_TOKENS else metrics.load(name).sees


def features(n=60, m=60, d=5, shift=0.5):
    rng = Rng(0).stream("features")
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return x, torch.randn(m, d, generator=rng, dtype=torch.float64) + shift


@pytest.mark.parametrize("name", PAIRS + SETTINGS)
def test_contract(name):
    check_metric(metrics.make(name))


@pytest.mark.parametrize("name", PAIRS + SETTINGS)
def test_the_interval_holds_the_value_and_the_features_stay_as_they_are(name):
    real, fake = features(40, 75)
    kept = real.clone()
    found = measured(name, real.requires_grad_(), fake)
    assert found.low <= found.value <= found.high
    assert found.low < found.high
    assert found.level == 0.95
    assert found.unit == metrics.make(name).unit
    assert found.method
    assert torch.equal(real, kept)
    assert real.grad is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
def test_few_samples_of_either_side(name, n):
    few, many = some(sees(name), n, 0), some(sees(name), 60, 1)
    for real, fake in ((few, many), (many, few), (few, few)):
        found = measured(name, real, fake)
        assert is_sound(found), found
        assert found.better == made(name).better
        if len(fake) == 0 or (n == 0 and name not in OF_FAKES_ALONE):
            assert found.value is None
        if n < 2 and name in PAIRS:
            assert found.value is None
            assert "samples" in found.method


def constant(x, y, what):
    if what not in {"probabilities", "graphs"}:
        x.flatten(1)[:, 0] = y.flatten(1)[:, 0] = 0.5
    return x, y


def wide(x, y, what):
    return (
        (x, y) if what in {"samples", "graphs"} else (some(what, 20, 0, 50), some(what, 20, 1, 50))
    )


def far(x, y, what):
    return (x + 1e4, y + 1e4) if what == "features" else (x, y)


def outlier(x, what, size=1e6):
    x = x.clone()
    if what == "features":
        x[3] = size
    return x


def scaled(x, y, what, size):
    return (x * size, y * size) if what == "features" else (x, y)


ODD = {
    "fewer samples than features": wide,
    "duplicates": lambda x, y, _: (x[:6].repeat_interleave(10, 0), y[:9].repeat_interleave(5, 0)),
    "all alike": lambda x, _y, _: (x[:1].expand(60, *x.shape[1:]), x[:1].expand(45, *x.shape[1:])),
    "the same set twice": lambda x, _y, _: (x, x.clone()),
    "one constant feature": constant,
    "a mean of 1e4": far,
    "a mean of 1e6": lambda x, y, what: (x + 1e6, y + 1e6) if what == "features" else (x, y),
    "one far fake": lambda x, y, what: (x, outlier(y, what)),
    "one far real": lambda x, y, what: (outlier(x, what), y),
    "a huge scale": lambda x, y, what: scaled(x, y, what, 1e30),
    "a large scale": lambda x, y, what: scaled(x, y, what, 1e12),
    "a tiny scale": lambda x, y, what: scaled(x, y, what, 1e-30),
    "a scale below normal numbers": lambda x, y, what: scaled(x, y, what, 1e-42),
    "different constants": lambda x, y, _: (x[:1].expand_as(x), y[:1].expand_as(y)),
    "constant fakes": lambda x, y, _: (x, y[:1].expand_as(y)),
    "copies of the real set": lambda x, _y, _: (x, x.flip(0)),
    "half precision": lambda x, y, _: (x.half(), y.half()),
    "double precision": lambda x, y, _: (x.double(), y.double()),
}


# Where every metric of PAIRS gives a number.
RATED = {
    *("one constant feature", "duplicates", "a tiny scale", "a large scale", "a mean of 1e4"),
    *("half precision", "double precision", "copies of the real set"),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ODD)
def test_odd_samples_give_a_sound_number_or_a_reason(name, kind):
    what = sees(name)
    found = measured(name, *ODD[kind](some(what, 60, 0), some(what, 45, 1), what))
    assert is_sound(found), found
    if name in PAIRS and kind in RATED:
        assert found.value is not None


@pytest.mark.parametrize("name", PAIRS + SETTINGS)
def test_constant_features(name):
    point = torch.full((30, 4), 0.1)
    for fake in (point.clone(), point + 1):
        found = measured(name, point, fake)
        if name.startswith("c2st") and not fake.equal(point):
            # One sample again and again is one sample: a reason, and no number.
            assert found.value is None
            assert "nearly all of a set are equal" in found.method
            continue
        assert found.low <= found.value <= found.high
        assert abs(found.value) < 100


@pytest.mark.parametrize("name", PAIRS)
def test_largest_numbers_give_a_number_or_a_reason(name):
    real, fake = features()
    found = measured(name, real * 1e37, fake * 1e37)
    assert found.value is not None or "precision" in found.method


@pytest.mark.parametrize("name", ["frechet", "energy", "sliced-wasserstein", *COUNTS])
def test_a_large_mean_costs_no_digits(name):
    real, fake = features()
    here, there = measured(name, real, fake), measured(name, real + 1e4, fake + 1e4)
    assert there.value == pytest.approx(here.value, rel=1e-8)
    assert there.low == pytest.approx(here.low, rel=1e-6)


@pytest.mark.parametrize("name", ["kid", "energy", *COUNTS])
def test_the_order_of_samples_does_not_matter(name):
    real, fake = features()
    order = torch.randperm(len(real), generator=Rng(0).stream("order"))
    moved = measured(name, real[order], fake.flip(0))
    assert moved.value == pytest.approx(measured(name, real, fake).value, rel=1e-9)


@pytest.mark.parametrize("name", ["frechet", "sliced-wasserstein"])
def test_the_order_of_samples_hardly_matters_where_folds_are_drawn(name):
    real, fake = features(200, 200)
    here = measured(name, real, fake)
    there = measured(name, real[real[:, 0].argsort()], fake[fake[:, 0].argsort()])
    assert abs(there.value - here.value) < 0.2 * here.half_width
    assert there.half_width == pytest.approx(here.half_width, rel=0.5)


# What does not depend on the unit of the features, by definition.
UNITLESS = [
    *SINCE,
    *("precision", "recall", "density", "coverage", "realism", "alpha-precision", "beta-recall"),
    *("authenticity", "ct", "fld", "c2st", "prd", "geometry-score"),
]


@pytest.mark.parametrize("name", [n for n in UNITLESS if n in NAMES])
@pytest.mark.parametrize("size", [2.0**100, 2.0**-100])
def test_units_do_not_matter_to_those_that_have_none(name, size):
    x, y, train = (some("features", n, seed) for n, seed in ((60, 0), (45, 1), (70, 5)))
    here, there = measured(name, x, y, train), measured(name, x * size, y * size, train * size)
    assert there.value == pytest.approx(here.value, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", [n for n in UNITLESS if n in NAMES])
def test_a_far_origin_does_not_matter_to_them_either(name):
    """Numbers of few digits, which are still exact at a mean of 1e6."""
    x, y, train = (
        (some("features", n, seed) * 8).round() / 8 for n, seed in ((60, 0), (45, 1), (70, 5))
    )
    here, there = measured(name, x, y, train), measured(name, x + 1e6, y + 1e6, train + 1e6)
    assert there.value == pytest.approx(here.value, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", [n for n in NAMES if sees(n) == "features"])
@pytest.mark.parametrize("side", ["real", "fake"])
@pytest.mark.parametrize("size", [1e3, 1e30])
def test_one_far_sample_is_no_endless_work(name, side, size):
    x, y = some("features", 60, 0), some("features", 60, 1)
    x, y = (
        (outlier(x, "features", size), y) if side == "real" else (x, outlier(y, "features", size))
    )
    start = time.process_time()
    assert is_sound(measured(name, x, y))
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("recall", "real"),
        ("coverage", "real"),
        ("precision", "fake"),
        ("density", "fake"),
        ("coverage", "fake"),
    ],
)
def test_a_sample_beyond_all_others_does_not_blur_them(name, side):
    """At 1e5 and at 1e30 it is as far, and the others are where they were."""
    found = []
    for size in (1e5, 1e30):
        x, y = some("features", 60, 0), some("features", 60, 1)
        (x if side == "real" else y)[3] = size
        found.append(measured(name, x, y).value)
    assert found[0] == pytest.approx(found[1], abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_precision_of_the_input_does_not_matter(name):
    x, y = (some(sees(name), n, n).half() for n in (60, 45))
    half, double = (measured(name, x.to(d), y.to(d)) for d in (torch.float16, torch.float64))
    if name in PAIRS:
        assert half == double
    elif half.value is not None:
        assert half.value == pytest.approx(double.value, rel=1e-3, abs=1e-4)


def broken(kind, what):
    x, y = some(what, 30, 0), some(what, 30, 1)
    if kind == "other width":
        return x, y[..., :-1]
    y.flatten(1)[3, 2] = {"nan": math.nan, "infinity": math.inf}[kind]
    return x, y


@pytest.mark.parametrize("name", [n for n in NAMES if n not in PAIRS])
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


BAD = {
    "not a matrix": (torch.zeros(8, 2, 2), torch.zeros(8, 4), "shape"),
    "a vector": (torch.zeros(8), torch.zeros(8), "shape"),
    "no features": (torch.zeros(8, 0), torch.zeros(8, 0), "shape"),
    "whole numbers": (torch.zeros(8, 4).long(), torch.zeros(8, 4), "floating point"),
    "unequal width": (torch.zeros(8, 4), torch.zeros(8, 5), "4 and 5"),
    "nan": (torch.zeros(8, 4), torch.full((8, 4), torch.nan), "8 of the 8"),
    "infinity": (torch.full((8, 4), -torch.inf), torch.zeros(8, 4), "real hold"),
    "beyond float32": (torch.zeros(8, 4), torch.full((8, 4), 1e40, dtype=torch.float64), "beyond"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_wrong_is_said(name):
    for real, fake, message in BAD.values():
        with pytest.raises(UserError, match=message) as error:
            measured(name, real, fake)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [n for n in NAMES if hasattr(metrics.load(n), "judge")])
def test_wrong_training_samples_are_refused_in_one_line(name):
    x = some(sees(name), 30, 0)
    for train, message in ((x[:, :-1], "features"), (torch.full_like(x, math.nan), "train hold")):
        with pytest.raises(UserError, match=message) as error:
            measured(name, x, x.clone(), train)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_the_stream_decides(name):
    x, y = some(sees(name), 40, 0), some(sees(name), 40, 1)
    before = torch.random.get_rng_state()
    assert measured(name, x, y) == measured(name, x, y)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same(name):
    real, fake = features()
    here = measured(name, real, fake)
    there = measured(name, real.cuda(), fake.cuda(), device="cuda")
    assert there.value == pytest.approx(here.value, abs=2 * here.half_width)
