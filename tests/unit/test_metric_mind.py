"""MIND: its published closed form, its definition, and its tie to the sliced distance."""

import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.metrics.transport import Mind, SlicedWasserstein, random_directions


def measure(metric, x, y):
    return metric.measure(x, y, rng=Rng(0).stream("m"))


@pytest.mark.parametrize("d", [4, 64])
def test_a_shift_of_the_mean_gives_three_times_its_square(d):
    x, y = torch.randn(2, 1000, d, generator=Rng(0).stream("x"), dtype=torch.float64)
    shift = torch.full((d,), 2.0 / d**0.5)  # of length 2 in all
    found = measure(Mind(), x, y + shift)
    assert found.low <= 12 <= found.high
    assert found.value == pytest.approx(12, rel=0.1)


def test_the_plain_number_is_that_of_the_definition():
    d, count = 16, 300
    x, y = torch.randn(2, 200, d, generator=Rng(1).stream("x"), dtype=torch.float64)
    y = y * 1.5
    u = random_directions(d, count, rng=Rng(0).stream("m"), like=x)
    sorted_apart = (x @ u).sort(0).values - (y @ u).sort(0).values
    expected = 3 * d * float(sorted_apart.square().mean())
    found = measure(Mind(directions=count), x, y)
    assert f"plug-in {expected:.4g}," in found.method


def test_it_is_the_sliced_distance_in_another_unit():
    x, y = torch.randn(2, 150, 7, generator=Rng(2).stream("x"))
    mind, sliced = (measure(m(directions=64), x, y) for m in (Mind, SlicedWasserstein))
    pairs = (mind.value, sliced.value), (mind.low, sliced.low), (mind.high, sliced.high)
    for a, b in pairs:
        assert a == pytest.approx(21 * b, rel=1e-9)
