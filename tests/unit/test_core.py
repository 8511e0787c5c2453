import math

import pytest
import torch

from gantlet.core import spec
from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget, Estimate, Spend, Trial
from gantlet.core.rng import Rng
from gantlet.models.nets import Scaling, bits_per_dim

DIGITS = Space("image", (1, 8, 8), 17)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 8, 8), "must have shape (n, 1, 8, 8). Got (2, 8, 8)."),
        (torch.zeros(2, 1, 8, 8, dtype=torch.long), "must be floating point"),
        (torch.full((2, 1, 8, 8), math.nan), "2 of the 2 samples of x hold NaN or infinity."),
        (torch.full((2, 1, 8, 8), 17.0), "whole numbers from 0 to 16. Got values from 17 to 17."),
        (torch.full((2, 1, 8, 8), 0.5), "whole numbers from 0 to 16"),
    ],
)
def test_space_refuses(x, message):
    with pytest.raises(UserError) as caught:
        DIGITS.check(x)
    assert message in str(caught.value)


@pytest.mark.parametrize("limit", [0, -1, math.inf, math.nan])
def test_a_budget_must_be_positive(limit):
    with pytest.raises(UserError, match="must be above 0"):
        Budget(flops=limit)


def test_a_budget_ends_with_whatever_runs_out_first():
    budget = Budget(flops=100, steps=10)
    assert budget.used(Spend(flops=50, steps=2)) == 0.5
    assert not budget.fits(Spend(steps=11))
    assert budget.fits(Spend(flops=100, steps=10))
    assert Budget().used(Spend(flops=1e30)) == 0


def test_spends_add_up():
    assert Spend(flops=1, steps=2) + Spend(flops=3, examples=4) == Spend(
        flops=4, steps=2, examples=4
    )


def test_an_estimate_without_interval_must_say_why():
    with pytest.raises(ValueError, match="must say why"):
        Estimate(value=1.0)
    with pytest.raises(ValueError, match="both ends"):
        Estimate(value=1.0, low=0.0)
    with pytest.raises(ValueError, match="wrong way round"):
        Estimate(value=1.0, low=2.0, high=1.0)
    assert Estimate.missing("no density").value is None
    assert Estimate.exact(3).half_width == 0


def test_streams_are_independent_and_repeat():
    a, b, again = (Rng(0).stream(n) for n in ("a", "b", "a"))
    x, y, z = (torch.randn(1000, generator=g) for g in (a, b, again))
    assert torch.equal(x, z)
    assert abs(torch.corrcoef(torch.stack([x, y]))[0, 1]) < 0.1
    assert not torch.equal(x, torch.randn(1000, generator=Rng(1).stream("a")))


def test_equal_trials_share_a_key():
    a = Trial(parts={"model": "gan"}, budget=Budget(steps=1), seed=0)
    assert a.key == Trial(parts={"model": "gan"}, budget=Budget(steps=1)).key
    keys = {a.key, Trial(parts={"model": "gan"}, budget=Budget(steps=2)).key}
    assert len(keys | {Trial(parts={"model": "gan"}, budget=Budget(steps=1), seed=1).key}) == 3


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_uniform_density_has_exactly_log2_levels_bits(levels):
    space = Space("image", (3, 4, 4), levels)
    scaling = Scaling(space)
    # Uniform on [-1, 1)^d, which is where the levels are mapped to.
    nats = -space.size * math.log(2) + scaling.log_volume()
    assert float(bits_per_dim(nats, space)) == pytest.approx(math.log2(levels), abs=1e-6)


def test_dequantised_levels_fill_the_scaled_cube_and_come_back():
    scaling = Scaling(DIGITS)
    x = torch.arange(17.0).repeat(4, 16)[:, :64].reshape(4, 1, 8, 8)
    y = scaling(scaling.dequantise(x, rng=Rng(0).stream("u")))
    assert y.min() >= -1
    assert y.max() < 1
    assert torch.equal(scaling.samples(y), x)
    assert torch.equal(scaling.samples(torch.full_like(x, 5.0)), torch.full_like(x, 16.0))


def test_vectors_are_scaled_per_column_and_images_as_one():
    rng = Rng(0).stream("x")
    x = torch.randn(500, 2, generator=rng) * torch.tensor([3.0, 0.1]) + torch.tensor([5.0, -1.0])
    scaling = Scaling(Space("vector", (2,)))
    scaling.fit(x)
    y = scaling(x)
    assert torch.allclose(y.mean(0), torch.zeros(2), atol=1e-5)
    assert torch.allclose(y.std(0), torch.ones(2), atol=1e-5)
    assert torch.allclose(scaling.inverse(y), x, atol=1e-5)
    expected = -(x.std(0).log().sum())
    assert float(scaling.log_volume()) == pytest.approx(float(expected), abs=1e-5)
    image = Scaling(Space("image", (1, 2, 2)))
    image.fit(x.reshape(-1, 1, 2, 2))
    assert image.scale.numel() == 1
    assert float(image.log_volume()) == pytest.approx(-4 * math.log(float(x.std())), abs=1e-5)


def test_a_constant_column_is_left_unscaled():
    scaling = Scaling(Space("vector", (2,)))
    scaling.fit(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
    assert scaling(torch.tensor([[2.0, 7.0]])).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("error", [ImportError("No module named 'x'\nat all"), OSError()])
def test_a_broken_entry_point_names_its_package(monkeypatch, error):
    class Package:
        name = "gantlet-nice-metrics"

    class Broken:
        name, value, dist = "nice", "nice_metrics:Nice", Package

        def load(self):
            raise error

    monkeypatch.setattr(spec, "entry_points_of", lambda _: {"nice": Broken()})
    known = spec.Registry("metric", "gantlet.metrics")
    assert known.names() == ["nice"]
    with pytest.raises(UserError, match="of gantlet-nice-metrics cannot be imported") as told:
        known.load("nice")
    assert "nice_metrics:Nice" in str(told.value)
    assert "\n" not in str(told.value)
