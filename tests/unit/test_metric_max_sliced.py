import math

import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.metrics.transport import MaxSlicedWasserstein, SlicedWasserstein, max_sliced_direction
from gantlet.stats.jackknife import Paired, difference
from gantlet.stats.wasserstein import potential, transport, wasserstein


def draw(n=400, d=6, seed=0):
    return torch.randn(2, n, d, generator=Rng(seed).stream("x"), dtype=torch.float64)


def measure(real, fake, seed=0, **options):
    return MaxSlicedWasserstein(**options).measure(real, fake, rng=Rng(seed).stream("m"))


def around_the_circle(x, y, order, count=721):
    angle = torch.linspace(0, math.pi, count, dtype=torch.float64)
    u = torch.stack([angle.cos(), angle.sin()])
    return float(wasserstein((x @ u).T.sort(1).values, (y @ u).T.sort(1).values, order).max())


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("m", [300, 220])
def test_in_the_plane_it_is_the_best_of_all_directions(order, m):
    x, y = draw(300, 2)
    y = y[:m] @ torch.tensor([[1.5, 0.4], [0.0, 0.8]], dtype=torch.float64) + 0.2
    u, cost = max_sliced_direction(x, y, order=order, rng=Rng(0).stream("m"))
    assert u.norm() == pytest.approx(1)
    assert cost == pytest.approx(around_the_circle(x, y, order), rel=1e-3)


@pytest.mark.parametrize("flaw", ["mean", "spread"])
def test_the_flawed_axis_is_found(flaw):
    x, y = draw(2000, 20)
    if flaw == "mean":
        y[:, 3] += 1
    else:
        y[:, 3] *= 2
    u, _ = max_sliced_direction(x, y, rng=Rng(0).stream("m"))
    assert u[3].abs() > 0.95


def test_the_closed_form_of_a_shift_and_a_spread():
    """Along its axis a shift of 1 costs 1, a spread of 2 costs 1."""
    x, y = draw(2000, 8)
    y[:, 0] += 1
    assert measure(x, y).value == pytest.approx(1, abs=0.1)
    x, y = draw(2000, 8)
    y[:, 0] *= 2
    assert measure(x, y).value == pytest.approx(1, abs=0.2)


def test_the_search_does_not_inflate_the_value():
    """On the samples of the search equal distributions look 0.3 apart, on new ones 0."""
    found = [measure(*draw(200, 30, seed), seed, steps=20) for seed in range(12)]
    values = torch.tensor([e.value for e in found])
    sought = torch.tensor([e.also["sought"] for e in found])
    assert sought.min() > 0.3
    assert values.mean().abs() < 3 * values.std() / 12**0.5 + 0.01
    assert sum(e.low <= 0 <= e.high for e in found) >= 10


def test_the_interval_holds_the_value_along_the_direction():
    """With means 2 apart in one dimension the direction is known: the cost is 4."""
    hits = 0
    for seed in range(30):
        x, y = draw(200, 1, seed)
        found = measure(x, y + 2, seed, steps=1)
        hits += found.low <= 4 <= found.high
    assert hits >= 26


def test_equal_samples_have_a_direction():
    x, _ = draw(20)
    u, cost = max_sliced_direction(x, x, rng=Rng(0).stream("m"))
    assert u.norm() == pytest.approx(1)
    assert cost == 0


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("n", "m"), [(60, 60), (60, 90), (70, 45)])
def test_the_potential_is_what_more_of_a_sample_adds(order, n, m):
    """Against repeating all samples 50 times and one of them once more, and once less."""
    rng = Rng(0).stream("x")
    x = torch.randn(1, n, generator=rng, dtype=torch.float64).sort(1).values
    y = torch.randn(1, m, generator=rng, dtype=torch.float64).sort(1).values * 1.4 + 0.5
    adds = potential(x, y, order)[0]
    for i in (3, n // 2, n - 4):
        many = x.repeat_interleave(50, dim=1)
        more = torch.cat([many[:, : 50 * i], x[:, i : i + 1], many[:, 50 * i :]], 1)
        fewer = torch.cat([many[:, : 50 * i], many[:, 50 * i + 1 :]], 1)
        slope = (wasserstein(more, y, order) - wasserstein(fewer, y, order)) * 50 * n / 2
        assert float(adds[i]) == pytest.approx(float(slope), abs=0.02)
    assert float(adds.mean()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "metric", [SlicedWasserstein(directions=32), MaxSlicedWasserstein(steps=9)]
)
def test_what_the_real_samples_add_explains_their_part_of_the_variance(metric):
    """The fakes are fixed: only what comes from the real samples varies."""
    assert isinstance(metric, Paired)
    _, fake = draw(300, 2)
    found = []
    for seed in range(40):
        x, _ = draw(300, 2, seed + 1)
        # Along one axis only, so that the direction does not vary with the samples.
        real, made = x * torch.tensor([1.0, 1e-3]), fake * torch.tensor([1.5, 1e-3]) + 1
        found.append(metric.detail(real, made, rng=Rng(0).stream("m")))
    spread = torch.tensor([e.estimate.value for e in found]).std()
    told = torch.stack([(e.real.var() / len(e.real)).sqrt() for e in found]).mean()
    assert float(told / spread) == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize("metric", [SlicedWasserstein(directions=32), MaxSlicedWasserstein()])
def test_a_paired_difference_is_tighter_than_an_unpaired_one(metric):
    x, y = draw(1000, 4)
    a, b = (metric.detail(x, fake, rng=Rng(0).stream("m")) for fake in (y + 1.0, y + 1.1))
    found = difference(a, b)
    apart = (a.estimate.half_width**2 + b.estimate.half_width**2) ** 0.5
    assert found.half_width < apart
    assert found.value < 0


def test_leaving_transport_of_real_out_never_makes_the_rest_negative():
    x, y = draw(50)
    found = transport(x, y, torch.eye(6, dtype=torch.float64), 2, rng=Rng(0).stream("m"))
    assert found.rest(found.variance, found.of_real, found.of_fake).value > 0
