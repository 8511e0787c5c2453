"""MiFID: a slow twin, and what copies cost; torchmetrics is among the peers."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from gantlet.core.rng import Rng
from gantlet.core.spec import metrics
from gantlet.metrics.mifid import memorization_distances


def sets(n=200, d=6, seed=0, offset=2.0):
    rng = Rng(seed).stream("sets")
    return tuple(torch.randn(n, d, generator=rng) + offset for _ in range(3))


def judged(real, fake, train, text="mifid"):
    return metrics.make(text).judge(real, fake, train=train, rng=Rng(0).stream("m"))


def test_distances_are_those_of_all_pairs():
    _, fake, train = sets(80, offset=0.3)
    slow = 1 - cosine_similarity(fake[:, None].double(), train[None].double(), dim=2).abs()
    assert torch.allclose(memorization_distances(fake, train), slow.amin(1), atol=1e-12)


def test_a_vector_of_zeros_is_near_to_none():
    assert memorization_distances(torch.zeros(2, 3), torch.ones(4, 3)).tolist() == [1.0, 1.0]


def test_without_penalty_it_is_the_frechet_distance():
    real, fake, train = sets(offset=0.0, d=64)
    found = judged(real, fake, train)
    distance = metrics.make("frechet").measure(real, fake, rng=Rng(0).stream("m"))
    assert (found.value, found.low, found.high) == (distance.value, distance.low, distance.high)
    assert "no penalty" in found.method


def test_copies_cost_in_proportion_to_how_near_they_are():
    real, _, train = sets(d=64, offset=0.0)
    noise = torch.randn(200, 64, generator=Rng(1).stream("noise"))
    near, nearer = (judged(real, train + e * noise + 1, train + 1) for e in (0.2, 0.1))
    assert nearer.value > 3 * near.value
    assert near.low < near.value < near.high
    assert "divided by" in near.method
    for far, found in ((0.2, near), (0.1, nearer)):
        away = memorization_distances(train + far * noise + 1, train + 1).mean()
        distance = metrics.make("frechet").measure(
            real, train + far * noise + 1, rng=Rng(0).stream("m")
        )
        assert found.value == pytest.approx(distance.value / float(away))
    exact = judged(real, train, train)
    assert exact.value is None
    assert "the penalty is infinite" in exact.method


def test_at_the_threshold_there_is_no_interval():
    real, fake, train = sets(d=4)
    away = float(memorization_distances(fake, train).mean())
    found = judged(real, fake, train, f"mifid:threshold={away:.6f}")
    assert found.low is None
    assert "either side of the threshold" in found.method
