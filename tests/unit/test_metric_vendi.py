import math

import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.metrics.diversity import Vendi, vendi_score


def draw(n, d=6, seed=0):
    return torch.randn(2, n, d, generator=Rng(seed).stream("x"), dtype=torch.float64)


def measure(real, fake, seed=0, **options):
    return Vendi(**options).measure(real, fake, rng=Rng(seed).stream("m"))


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, math.inf])
@pytest.mark.parametrize("n", [2, 7, 30])
def test_orthonormal_samples_are_all_different_and_equal_ones_all_alike(n, order):
    assert vendi_score(torch.eye(n), order=order) == pytest.approx(n)
    assert vendi_score(torch.ones(n, 5), order=order) == pytest.approx(1)


@pytest.mark.parametrize("order", [0.0, 0.5, 1.0, 2.0, math.inf])
def test_groups_of_copies_have_the_diversity_of_their_shares(order):
    """Hill numbers: (sum p^q)^(1 / (1 - q))."""
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    x = torch.eye(3).repeat_interleave(torch.tensor([5, 3, 2]), dim=0)
    expected = {
        0.0: 3.0,
        1.0: math.exp(-float((p * p.log()).sum())),
        math.inf: 2.0,
    }.get(order) or float((p**order).sum()) ** (1 / (1 - order))
    assert vendi_score(x, order=order) == pytest.approx(expected)


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, math.inf])
def test_the_short_form_equals_the_long_one(order):
    """More samples than features, against the kernel matrix of all samples."""
    x, _ = draw(60)
    unit = x / x.norm(dim=1, keepdim=True)
    p = torch.linalg.eigvalsh(unit @ unit.T / 60).clamp_min(0)[-6:]
    slow = {
        1.0: math.exp(-float((p * p.log()).sum())),
        math.inf: 1 / float(p.max()),
    }.get(order) or float((p**order).sum()) ** (1 / (1 - order))
    assert vendi_score(x, order=order) == pytest.approx(slow, rel=1e-9)


def test_far_samples_are_all_different_for_the_local_kernel():
    x, _ = draw(20)
    assert vendi_score(x, "rbf", width=1e-3) == pytest.approx(20)
    assert vendi_score(x, "rbf", width=1e5) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("kernel", ["cosine", "rbf"])
def test_a_collapsed_model_scores_less_than_the_data(kernel):
    real, fake = draw(200)
    found = measure(real, fake[:5].repeat(40, 1), kernel=kernel)
    told = found.also["real"]
    assert found.value <= 5.0001
    assert told > found.high


@pytest.mark.parametrize(
    ("options", "n"),
    [({}, 120), ({"order": 2.0}, 120), ({}, 40), ({"kernel": "rbf", "width": 4.0}, 60)],
)
def test_the_interval_holds_the_mean_over_new_samples(options, n):
    scale = torch.logspace(0, -1, 50)
    found = []
    for seed in range(40):
        x, y = draw(n, 50, seed) * scale + 0.3
        found.append(measure(x, y, seed, **options))
    mean = sum(e.value for e in found) / 40
    assert sum(e.low <= mean <= e.high for e in found) >= 34


def test_vectors_of_zeros_are_alike_and_unlike_all_others():
    x = torch.cat([torch.eye(3), torch.zeros(3, 3)])
    p = torch.tensor([1 / 6] * 3 + [1 / 2])
    assert vendi_score(x) == pytest.approx(math.exp(-float((p * p.log()).sum())))


def test_the_interval_stays_within_what_a_score_can_be():
    x = torch.eye(8).double()
    found = measure(x, x)
    assert found.value == pytest.approx(8)
    assert found.high <= found.value * (1 + 1e-9)


def test_so_many_samples_are_looked_at():
    real, fake = draw(90)
    assert measure(real, fake[:60]).n == 60
    assert measure(real, fake, samples=25).n == 25
    assert "got 90 and 3" in measure(real, fake[:3]).method


def test_an_order_below_one_keeps_its_interval():
    real, fake = draw(40)
    found = measure(real, fake, order=0.5)
    assert found.low < found.value < found.high
