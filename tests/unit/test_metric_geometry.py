import builtins
import math
import time

import numpy as np
import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.metrics import topology
from gantlet.metrics.topology import GeometryScore, living_times, shares

gudhi = pytest.importorskip("gudhi")


def circle(n, rng, noise=0.05):
    angle = torch.rand(n, generator=rng, dtype=torch.float64) * 2 * math.pi
    radius = 1 + noise * torch.randn(n, generator=rng, dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], 1) * radius[:, None]


def disc(n, rng):
    far = torch.rand(n, 1, generator=rng, dtype=torch.float64).sqrt()
    return circle(n, rng, 0) * far


def live(x, runs, seed=0, **options):
    known = {"landmarks": 32, "gamma": 1 / 8, "most": 10} | options
    return living_times(x, runs=runs, rng=Rng(seed).stream("m"), **known)


def slow_lives(x, landmarks, end):
    """Births and deaths of holes from the definition, with all landmarks of all witnesses."""
    distances = torch.cdist(x, x[landmarks])
    near, order = distances.sort(dim=1)
    table = [
        list(zip(i, d, strict=True)) for i, d in zip(order.tolist(), near.tolist(), strict=True)
    ]
    tree = gudhi.WitnessComplex(table).create_simplex_tree(max_alpha_square=end, limit_dimension=2)
    tree.compute_persistence(homology_coeff_field=2, min_persistence=0)
    return tree.persistence_intervals_in_dimension(1).reshape(-1, 2).clip(max=end)


def slow_shares(lives, end, most, ticks=20_000):
    times = (np.arange(ticks) + 0.5) / ticks * end
    alive = ((lives[:, :1] <= times) & (times < lives[:, 1:])).sum(0)
    return np.array([(alive == i).mean() for i in range(most)])


@pytest.mark.parametrize(("d", "gamma"), [(2, 1 / 8), (2, 1 / 64), (30, 0.05)])
def test_a_run_equals_the_definition(d, gamma):
    """Distances in single precision and short tables change nothing that matters."""
    x = torch.randn(300, d, generator=Rng(0).stream("x"), dtype=torch.float64)
    rng = Rng(0).stream("m")
    chosen = torch.randperm(300, generator=rng)[:24]
    end = gamma * float(torch.cdist(x, x[chosen]).max())
    lives = slow_lives(x, chosen, end)
    assert len(lives) > 2
    found = live(x, 1, landmarks=24, gamma=gamma, most=30)[0].numpy()
    assert np.abs(found - shares(lives, end, 30)).max() < 1e-5
    assert np.abs(found - slow_shares(lives, end, 30)).max() < 1e-3


def test_memory_does_not_change_the_times(monkeypatch):
    x = circle(200, Rng(0).stream("x"))
    whole = live(x, 6)
    monkeypatch.setattr(topology, "HELD_DISTANCES", 15_000)
    assert torch.equal(live(x, 6), whole)


def test_a_circle_has_one_hole_and_a_disc_none():
    rng = Rng(0).stream("x")
    assert live(circle(2000, rng), 5).mean(0)[1] > 0.95
    assert live(disc(2000, rng), 5).mean(0)[0] > 0.8


def test_shares_are_those_of_counting_at_many_times():
    rng = np.random.default_rng(0)
    lives = np.sort(rng.random((40, 2)), axis=1)
    assert np.abs(shares(lives, 1.0, 30) - slow_shares(lives, 1.0, 30)).max() < 2e-3
    assert shares(np.zeros((0, 2)), 1.0, 3).tolist() == [1, 0, 0]
    # Time with more things than are told apart is left out.
    assert shares(np.array([[0.0, 0.5], [0.0, 0.5]]), 1.0, 2).tolist() == [0.5, 0]


def test_the_published_value_of_a_circle_and_a_disc():
    """The authors' notebook has 1.830 for a circle and a filled one.

    Its noise is not known; 5 % gives the living times that it shows. Over six draws with 60 runs
    the score was 1.844 with standard deviation 0.010.
    """
    rng = Rng(1).stream("x")
    metric = GeometryScore(landmarks=32, gamma=1 / 8, most=10, runs=30)
    found = metric.measure(circle(5000, rng), disc(5000, rng), rng=Rng(0).stream("m"))
    assert found.value == pytest.approx(1.83, abs=0.03)
    assert found.low <= 1.83 <= found.high


def score(real, fake, seed=0, **options):
    known = {"landmarks": 16, "gamma": 1 / 8, "most": 8, "runs": 30} | options
    return GeometryScore(**known).measure(real, fake, rng=Rng(seed).stream("m"))


def test_the_same_shape_scores_nothing_wherever_it_is():
    found = []
    for seed in range(12):
        rng = Rng(seed).stream("x")
        found.append(score(disc(150, rng), disc(150, rng) * 7 + 30, seed))
    values = torch.tensor([e.value for e in found])
    assert values.mean().abs() < 3 * values.std() / 12**0.5 + 1e-3
    assert sum(e.low <= 0 <= e.high for e in found) >= 11


def test_the_interval_holds_the_mean_over_new_samples():
    found = []
    for seed in range(20):
        rng = Rng(seed).stream("x")
        found.append(score(circle(200, rng), disc(200, rng), seed))
    mean = sum(e.value for e in found) / 20
    assert sum(e.low <= mean <= e.high for e in found) >= 17


def test_the_larger_set_is_thinned():
    rng = Rng(0).stream("x")
    assert score(circle(90, rng), disc(60, rng)).n == 60


def test_points_that_are_all_one_have_no_hole():
    found = live(torch.full((40, 3), 0.1), 2)
    assert found.tolist() == [[1.0] + [0.0] * 9] * 2


def test_without_gudhi_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "gudhi":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UserError, match=r"install gantlet\[topology\]"):
        live(circle(30, Rng(0).stream("x")), 1)


def test_repeated_points_add_nothing():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(40, 8, generator=rng, dtype=torch.float64)
    settings = {"landmarks": 16, "gamma": 0.1, "most": 20, "runs": 4}
    once = torch.unique(x, dim=0)
    again = living_times(x.repeat(3, 1), rng=torch.Generator().manual_seed(1), **settings)
    torch.testing.assert_close(
        again, living_times(once, rng=torch.Generator().manual_seed(1), **settings)
    )
    alike = living_times(x[:1].repeat(90, 1), rng=torch.Generator().manual_seed(1), **settings)
    assert alike[:, 0].tolist() == [1.0] * 4


@pytest.mark.parametrize("far", [50.0, 1e6, 1e30])
def test_one_far_sample_changes_little_and_costs_nothing(far):
    """It used to stretch time until all landmarks were neighbours, which never ended."""
    rng = Rng(0).stream("x")
    ring, other = circle(300, rng), circle(300, rng)
    alike = GeometryScore(runs=20, landmarks=32, gamma=1 / 8, most=10)
    ring[7] = far
    found = alike.measure(ring, other, rng=Rng(0).stream("m"))
    assert abs(found.value) < 0.3
    assert live(ring, 10).mean(0)[1] > 0.7


def test_an_outlier_does_not_set_the_default_time():
    x, y = torch.randn(2, 400, 16, generator=Rng(0).stream("x"))
    y[3] = 1e4
    start = time.process_time()
    found = GeometryScore(runs=20).measure(x, y, rng=Rng(0).stream("m"))
    assert time.process_time() - start < 20
    assert found.value is not None


def test_too_much_work_is_a_reason():
    x, y = torch.randn(2, 400, 6, generator=Rng(0).stream("x"))
    found = GeometryScore(gamma=5.0, runs=100).measure(x, y, rng=Rng(0).stream("m"))
    assert found.value is None
    assert "smaller gamma" in found.method
