"""Recipes of others that diffusion models and autoencoders are held against."""

import importlib.util
import itertools
from pathlib import Path

import pytest
import torch

RIVALS = Path(__file__).parents[2] / "benchmarks" / "rivals"


def rival(name):
    spec = importlib.util.spec_from_file_location(f"rival_{name}", RIVALS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _own_randomness():
    """Rivals draw from torch's global state; it is as before after each test."""
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def _steps(monkeypatch):
    """A clock that moves at each look, so that a training ends after so many steps."""
    looks = itertools.count()
    monkeypatch.setattr("time.process_time", lambda: next(looks))


@pytest.mark.usefixtures("_steps")
@pytest.mark.parametrize("name", ["ddpm", "flow_matching", "conv_vae"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 14, 12)])
def test_images_come_out_as_they_went_in(name, shape, monkeypatch):
    made = rival(name)
    for short in ("SAMPLED", "STEPS"):
        monkeypatch.setattr(made, short, 4, raising=False)
    x = 255 * torch.rand(40, *shape, generator=torch.Generator().manual_seed(0))
    drawn = [made.train(x, seconds=4, seed=seed)(3) for seed in (0, 0, 1)]
    assert drawn[0].shape == (3, *shape)
    assert drawn[0].dtype == torch.float32
    assert bool(((drawn[0] >= 0) & (drawn[0] <= 255)).all())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("name", "shape"),
    [("ddpm", (2,)), ("ddpm", (1, 3, 8)), ("flow_matching", (1, 3, 3)), ("conv_vae", (1, 7, 8))],
)
def test_what_it_cannot_take_is_refused(name, shape):
    with pytest.raises(ValueError, match="Images must"):
        rival(name).train(torch.zeros(4, *shape), seconds=1, seed=0)


@pytest.mark.usefixtures("_steps")
def test_flow_matching_learns_the_moments_of_vectors():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 2, generator=draw) @ torch.tensor([[3.0, 2.0], [0.0, 0.5]]) + 7
    found = rival("flow_matching").train(x, seconds=600, seed=0)(2000)
    assert torch.allclose(found.mean(0), x.mean(0), atol=0.5)
    assert torch.allclose(found.T.cov(), x.T.cov(), rtol=0.25, atol=0.5)


@pytest.mark.usefixtures("_steps")
def test_the_autoencoder_learns_that_images_are_of_one_grey():
    grey = torch.randint(180, 221, (256, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    x = grey.float().expand(256, 1, 8, 8).contiguous()
    made = rival("conv_vae")
    untrained, trained = (made.train(x, seconds=k, seed=0)(100) for k in (0, 200))
    assert abs(float(trained.mean()) - 200) < 15
    assert trained.flatten(1).std(1).mean() < 0.5 * untrained.flatten(1).std(1).mean()
