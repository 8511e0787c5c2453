import math

import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.metrics.classifier import InceptionScore, inception_score


def draw(n, classes=10, sharpness=3.0, seed=0):
    logits = torch.randn(n, classes, generator=Rng(seed).stream("p"), dtype=torch.float64)
    return torch.softmax(logits * sharpness, 1)


def measure(p, real=None, seed=0):
    return InceptionScore().measure(p if real is None else real, p, rng=Rng(seed).stream("m"))


def test_equal_probabilities_score_one():
    p = draw(1).expand(50, 10)
    assert inception_score(p) == pytest.approx(1)
    assert measure(p).value == pytest.approx(1)


@pytest.mark.parametrize("classes", [2, 7])
def test_sure_and_even_classes_score_their_number(classes):
    p = torch.eye(classes, dtype=torch.float64).repeat(20, 1)
    assert inception_score(p) == pytest.approx(classes)


def test_lies_between_one_and_the_number_of_classes():
    for sharpness in (0.1, 1.0, 10.0, 100.0):
        assert 1 <= inception_score(draw(300, 5, sharpness)) <= 5


def test_equals_the_definition():
    p = draw(40)
    mean = p.mean(0)
    divergence = [float((row * (row / mean).log()).sum()) for row in p]
    assert inception_score(p) == pytest.approx(math.exp(sum(divergence) / 40), rel=1e-12)


def test_leaving_out_each_sample_equals_doing_so():
    p = draw(12)
    plain = inception_score(p)
    others = [inception_score(torch.cat([p[:i], p[i + 1 :]])) for i in range(12)]
    expected = 12 * plain - 11 * sum(others) / 12
    assert measure(p).value == pytest.approx(expected, rel=1e-10)


def test_the_bias_is_removed_and_the_interval_holds():
    truth = inception_score(draw(300_000, seed=1000))
    found = [measure(draw(200, seed=seed)) for seed in range(100)]
    values = torch.tensor([e.value for e in found])
    assert abs(float(values.mean()) - truth) < 3.5 * float(values.std()) / 10
    assert sum(e.low <= truth <= e.high for e in found) >= 88
    # The mean over ten splits of 20 is far below.
    published = [
        sum(inception_score(part) for part in draw(200, seed=seed).split(20)) / 10
        for seed in range(100)
    ]
    assert sum(published) / 100 < truth - 2 * float(values.std())


def test_the_method_tells_the_score_of_real_samples():
    real = torch.eye(10).repeat(3, 1)
    assert "real samples have 10;" in measure(draw(200), real).method


def test_few_samples_a_class_are_told():
    assert "too narrow" in measure(draw(50)).method
    assert "too narrow" not in measure(draw(100)).method


@pytest.mark.parametrize("bad", [torch.full((9, 4), 0.3), torch.tensor([[1.5, -0.5]] * 9)])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(UserError, match="class probabilities"):
        measure(bad)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_samples_are_a_reason(n):
    found = measure(draw(n), draw(20))
    assert found.value is None
    assert "3 fake samples" in found.method
