"""Laws that every registered metric keeps."""

import pytest
import torch

from gantlet.core.components import metrics
from gantlet.core.errors import UserError
from gantlet.core.measure import Metric
from gantlet.core.rng import Rng
from gantlet.testing.metrics import check_metric

NAMES = [
    "frechet",
    "kid",
    "energy",
    "sliced-wasserstein",
    "precision",
    "recall",
    "density",
    "coverage",
    "c2st",
    "realism",
    "alpha-precision",
    "beta-recall",
]
EXTRA = ["sliced-wasserstein:order=1", "mind:directions=64", "c2st:classifier=knn"]
DISTANCES = NAMES[:4]
COUNTS = NAMES[4:8]


def features(n=60, m=60, d=5, shift=0.5):
    rng = Rng(0).stream("features")
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return x, torch.randn(m, d, generator=rng, dtype=torch.float64) + shift


def measure(name, real, fake, seed=0):
    return metrics.make(name).measure(real, fake, rng=Rng(seed).stream("metric"))


@pytest.mark.parametrize("name", NAMES + EXTRA)
def test_contract(name):
    metric = metrics.make(name)
    assert isinstance(metric, Metric)
    check_metric(metric)


@pytest.mark.parametrize("name", NAMES + EXTRA)
def test_the_interval_holds_the_value_and_says_how(name):
    found = measure(name, *features())
    assert found.low <= found.value <= found.high
    assert found.low < found.high
    assert found.level == 0.95
    assert found.unit == metrics.make(name).unit
    assert found.method


@pytest.mark.parametrize("name", NAMES + EXTRA)
@pytest.mark.parametrize("few", [0, 1])
def test_too_few_samples_are_a_reason_not_a_number(name, few):
    real, fake = features()
    for x, y in ((real[:few], fake), (real, fake[:few])):
        found = measure(name, x, y)
        assert found.value is None
        assert "samples" in found.method
        assert found.better == metrics.make(name).better


@pytest.mark.parametrize("name", NAMES + EXTRA)
@pytest.mark.parametrize("few", range(2, 12))
def test_few_samples_give_a_number_or_a_reason(name, few):
    found = measure(name, *features(few, few + 1))
    assert found.value is not None or found.method


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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_user_error_of_one_line(name, case):
    real, fake, message = BAD[case]
    with pytest.raises(UserError, match=message) as error:
        measure(name, real, fake)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES + EXTRA)
def test_unequal_sizes(name):
    found = measure(name, *features(40, 75))
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("name", NAMES + EXTRA)
def test_constant_features(name):
    point = torch.full((30, 4), 0.1)
    for fake in (point.clone(), point + 1):
        found = measure(name, point, fake)
        if name.startswith("c2st") and not fake.equal(point):
            # One sample again and again is one sample: a reason, and no number.
            assert found.value is None
            assert "nearly all of a set are equal" in found.method
            continue
        assert found.low <= found.value <= found.high
        assert abs(found.value) < 100


@pytest.mark.parametrize("name", NAMES + EXTRA)
def test_one_constant_feature_among_others(name):
    real, fake = features()
    real[:, 2] = fake[:, 2] = 7.0
    found = measure(name, real, fake)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("name", NAMES + EXTRA)
def test_duplicates(name):
    real, fake = features(12, 12)
    found = measure(name, real.repeat(5, 1), fake.repeat(5, 1))
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("name", NAMES + EXTRA)
def test_half_precision_is_widened(name):
    real, fake = (z.half() for z in features())
    assert measure(name, real, fake) == measure(name, real.double(), fake.double())


@pytest.mark.parametrize("name", [*DISTANCES, *COUNTS])
def test_scale_does_not_break(name):
    real, fake = features()
    for scale in (1e-6, 1e12):
        found = measure(name, real * scale, fake * scale)
        assert found.low <= found.value <= found.high


@pytest.mark.parametrize("name", NAMES)
def test_largest_numbers_give_a_number_or_a_reason(name):
    real, fake = features()
    found = measure(name, real * 1e37, fake * 1e37)
    assert found.value is not None or "precision" in found.method


@pytest.mark.parametrize("name", ["frechet", "energy", "sliced-wasserstein", *COUNTS])
def test_a_large_mean_costs_no_digits(name):
    real, fake = features()
    here, there = measure(name, real, fake), measure(name, real + 1e4, fake + 1e4)
    assert there.value == pytest.approx(here.value, rel=1e-8)
    assert there.low == pytest.approx(here.low, rel=1e-6)


@pytest.mark.parametrize("name", ["kid", "energy", *COUNTS])
def test_the_order_of_samples_does_not_matter(name):
    real, fake = features()
    order = torch.randperm(len(real), generator=Rng(0).stream("order"))
    moved = measure(name, real[order], fake.flip(0))
    assert moved.value == pytest.approx(measure(name, real, fake).value, rel=1e-9)


@pytest.mark.parametrize("name", ["frechet", "sliced-wasserstein"])
def test_the_order_of_samples_hardly_matters_where_folds_are_drawn(name):
    real, fake = features(200, 200)
    here = measure(name, real, fake)
    there = measure(name, real[real[:, 0].argsort()], fake[fake[:, 0].argsort()], seed=0)
    assert abs(there.value - here.value) < 0.2 * here.half_width
    assert there.half_width == pytest.approx(here.half_width, rel=0.5)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_not_changed_and_need_no_gradient(name):
    real, fake = features()
    kept = real.clone()
    measure(name, real.requires_grad_(), fake)
    assert torch.equal(real, kept)
    assert real.grad is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same(name):
    real, fake = features()
    here = measure(name, real, fake)
    rng = Rng(0, "cuda").stream("metric")
    there = metrics.make(name).measure(real.cuda(), fake.cuda(), rng=rng)
    assert there.value == pytest.approx(here.value, abs=2 * here.half_width)
