"""Recipes of others for GANs that defaults are held against: they train, and seeds repeat."""

import importlib.util
import itertools
from pathlib import Path

import pytest
import torch

RIVALS = Path(__file__).parents[2] / "benchmarks" / "rivals"


def rival(name):
    spec = importlib.util.spec_from_file_location(name, RIVALS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def noise_of_its_own():
    """Rivals draw from torch's global state; it is as before after each test."""
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves by a second at each look, so that a training ends after so many steps."""
    looks = itertools.count()
    monkeypatch.setattr("time.process_time", lambda: next(looks))


@pytest.mark.parametrize("name", ["dcgan", "wgan_gp"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_it_trains_and_draws_images_of_the_shape_and_range(name, shape, clock):
    made = rival(name)
    x = 255 * torch.rand(40, *shape, generator=torch.Generator().manual_seed(0))
    seconds = 6 if shape[1] < 32 else 2
    draws = [made.train(x, seconds=seconds, seed=seed)(3) for seed in (0, 0, 1)]
    assert draws[0].shape == (3, *shape)
    assert draws[0].isfinite().all()
    assert draws[0].min() >= 0
    assert draws[0].max() <= 255
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("name", ["dcgan", "wgan_gp"])
def test_what_it_cannot_halve_is_refused(name):
    made = rival(name)
    for shape in [(1, 7, 7), (1, 4, 4)]:
        with pytest.raises(ValueError, match="even sides"):
            made.train(torch.zeros(4, *shape), seconds=1, seed=0)


def test_dcgan_learns_the_brightness_of_images():
    """Images of one colour: samples end nearer to them than those of a training of one step."""
    made = rival("dcgan")
    x = torch.full((64, 1, 8, 8), 200.0)
    first, later = (made.train(x, seconds=s, seed=0)(50) for s in (0.0, 1.5))
    assert (later - 200).abs().mean() < 0.5 * (first - 200).abs().mean()


def test_wgan_gp_learns_vectors_in_their_units():
    made, rng = rival("wgan_gp"), torch.Generator().manual_seed(0)
    x = torch.tensor([100.0, -3.0]) + torch.randn(500, 2, generator=rng) * torch.tensor([9.0, 0.1])
    y = made.train(x, seconds=1.0, seed=0)(400)
    assert y.shape == (400, 2)
    assert (y.mean(0) - x.mean(0)).abs().div(x.std(0)).max() < 1.5
