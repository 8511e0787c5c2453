import pytest
import torch
from scipy.stats import wasserstein_distance

from gantlet.core.rng import Rng
from gantlet.metrics.transport import SlicedWasserstein, random_directions
from gantlet.stats.wasserstein import wasserstein


def draw(n, m, rows=3):
    rng = Rng(0).stream("x")
    x = torch.randn(rows, n, generator=rng, dtype=torch.float64)
    y = torch.randn(rows, m, generator=rng, dtype=torch.float64) * 1.5 + 0.3
    return x.sort(1).values, y.sort(1).values


@pytest.mark.parametrize(("n", "m"), [(50, 50), (50, 75), (37, 101), (1, 9)])
def test_order_one_equals_scipy(n, m):
    x, y = draw(n, m)
    expected = [wasserstein_distance(a, b) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    assert wasserstein(x, y, 1).tolist() == pytest.approx(expected, rel=1e-12)


def test_order_two_is_the_mean_square_of_sorted_differences():
    x, y = draw(40, 40)
    expected = (x - y).square().mean(1)
    assert torch.allclose(wasserstein(x, y, 2), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_repeating_every_sample_changes_nothing(order):
    x, y = draw(20, 30)
    more = wasserstein(x.repeat_interleave(3, dim=1), y, order)
    assert torch.allclose(more, wasserstein(x, y, order), rtol=1e-12)


def test_in_one_dimension_every_direction_is_the_same():
    u = random_directions(1, 5, rng=Rng(0).stream("u"), like=torch.zeros(1))
    assert u.abs().tolist() == [[1.0] * 5]


def test_directions_are_unit_vectors_drawn_evenly():
    u = random_directions(3, 4000, rng=Rng(0).stream("u"), like=torch.zeros(1).double())
    assert torch.allclose((u**2).sum(0), torch.ones(4000).double())
    assert torch.allclose(u @ u.T / 4000, torch.eye(3).double() / 3, atol=0.02)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.3)])
def test_closed_form_of_normal_features(shift, scale):
    """|m1 - m2|^2 / d + (s - t)^2; most of the bias is removed."""
    d, truth = 6, shift**2 / 6 + (scale - 1) ** 2
    found, plain = [], []
    for seed in range(20):
        x, y = torch.randn(2, 150, d, generator=Rng(seed).stream("x"))
        fake = y * scale + shift / d**0.5
        found.append(SlicedWasserstein(directions=64).measure(x, fake, rng=Rng(seed).stream("m")))
        u = random_directions(d, 64, rng=Rng(seed).stream("u"), like=x)
        rows = ((z @ u).T.sort(1).values for z in (x, fake))
        plain.append(float(wasserstein(*rows, 2).mean()))
    values = torch.tensor([e.value for e in found])
    assert abs(values.mean() - truth) < 1.2 * values.std()
    assert sum(plain) / 20 - values.mean() > 0.02
    assert sum(e.low <= truth <= e.high for e in found) >= 17


def test_few_directions_widen_the_interval():
    """One direction in ten sees the shift, so that which are drawn matters."""
    x, y = torch.randn(2, 200, 10, generator=Rng(0).stream("x"))
    y[:, 0] += 3
    few, many = (
        SlicedWasserstein(directions=n).measure(x, y, rng=Rng(1).stream("m")) for n in (8, 512)
    )
    assert few.half_width > 2 * many.half_width


def test_order_one_says_that_it_is_biased_near_equality():
    x, y = torch.randn(2, 50, 3, generator=Rng(0).stream("x"))
    found = SlicedWasserstein(order=1, directions=16).measure(x, y, rng=Rng(0).stream("m"))
    assert "is biased upwards" in found.method
