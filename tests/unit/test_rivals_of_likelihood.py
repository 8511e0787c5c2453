"""The recipes of benchmarks/rivals that are trained by likelihood."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

RIVALS = Path(__file__).parents[2] / "benchmarks" / "rivals"


@pytest.fixture(autouse=True)
def _own_randomness():
    """Rivals draw from torch's global state, as plain scripts do."""
    with torch.random.fork_rng():
        torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
        yield


def rival(name):
    spec = importlib.util.spec_from_file_location(f"rival_{name}", RIVALS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stripes(n, shape, seed=0):
    """Images of one grey or colour each, whose left half is dark."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randint(128, 256, (n, shape[0], 1, 1), generator=draw).float().expand(n, *shape)
    x = x.clone()
    x[..., : shape[2] // 2] = 10
    return x


@pytest.mark.parametrize("name", ["pixel_transformer", "pixelcnn"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8)])
def test_images_come_out_as_they_went_in(name, shape):
    sample = rival(name).train(stripes(256, shape), seconds=1.0, seed=0)
    x = torch.cat([sample(3), sample(2)])
    assert x.shape == (5, *shape)
    assert x.dtype == torch.float32
    assert bool(((x >= 0) & (x <= 255)).all())
    assert not torch.equal(x[0], x[3])


def test_the_spline_flow_learns_the_moments_of_vectors():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 2, generator=draw) @ torch.tensor([[3.0, 2.0], [0.0, 0.5]]) + 7
    y = rival("spline_flow").train(x, seconds=2.0, seed=0)(2000)
    assert y.shape == (2000, 2)
    torch.testing.assert_close(y.mean(0), x.mean(0), rtol=0, atol=0.5)
    torch.testing.assert_close(y.T.cov(), x.T.cov(), rtol=0.3, atol=0.3)


@pytest.mark.parametrize("name", ["pixel_transformer", "pixelcnn", "spline_flow"])
def test_shapes_that_it_cannot_take_are_refused(name):
    module = rival(name)
    x = torch.zeros(4, 1, 8, 8) if name == "spline_flow" else torch.zeros(4, 64)
    with pytest.raises(ValueError, match="not"):
        module.train(x, seconds=1.0, seed=0)


def test_seeds_repeat():
    """A training is a number of CPU seconds, so that no step at all is what can repeat."""
    for name, x in (("pixelcnn", stripes(8, (1, 4, 4))), ("spline_flow", torch.randn(9, 2))):
        a, b = (rival(name).train(x, seconds=1e-9, seed=3)(4) for _ in range(2))
        assert torch.equal(a, b)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixel_at_a_time_is_what_the_whole_image_says(channels):
    module = rival("pixelcnn")
    net = module.PixelCnn(channels).eval()
    seen = []
    last = net.last.forward
    net.last.forward = lambda h: seen.append(last(h)) or seen[-1]
    x = net.sample(2, (channels, 4, 5))
    stepwise = torch.stack([theta[..., 0, 0] for theta in seen], 2).view(2, -1, 4, 5)
    torch.testing.assert_close(stepwise, net(x), rtol=1e-4, atol=1e-5)


def test_cached_tokens_are_predicted_as_in_the_whole_sequence():
    module = rival("pixel_transformer")
    net = module.Transformer(7, 12)
    tokens = torch.randint(7, (3, 12))
    caches = [
        torch.empty(2, 3, module.HEADS, 12, module.WIDTH // module.HEADS) for _ in net.blocks
    ]
    before = torch.nn.functional.pad(tokens[:, :-1], (1, 0), value=7)
    found = []
    for at in range(12):
        x = net.embed(before[:, at : at + 1]) + net.place.weight[at]
        for block, seen in zip(net.blocks, caches, strict=True):
            x = block(x, seen, at)
        found.append(net.head(net.norm(x[:, 0])))
    torch.testing.assert_close(torch.stack(found, 1), net(tokens), rtol=1e-4, atol=1e-5)


def test_the_probabilities_of_colour_levels_sum_to_one():
    module = rival("pixelcnn")
    theta = torch.randn(1, 10 * module.MIXTURES, 1, 1)
    # Over all levels of green and blue they sum to the probability of red.
    levels = torch.arange(256.0) / 127.5 - 1
    green, blue = torch.meshgrid(levels, levels, indexing="ij")
    for red in levels[::51]:
        x = torch.stack([red.expand_as(green), green, blue])[None]
        nats = module.colour_log_prob(theta.expand(1, -1, 256, 256), x)
        assert float(nats.exp().sum()) == pytest.approx(_red(module, theta, red), rel=1e-3)


def _red(module, theta, red):
    k = module.MIXTURES
    logits, parts = theta[0, :k, 0, 0], theta[0, k:, 0, 0].view(3, 3, k)
    mean, scale = parts[0, 0], parts[1, 0].clamp(min=-7).exp()
    top, low = (red + 1 / 255 - mean) / scale, (red - 1 / 255 - mean) / scale
    upper = torch.ones(k) if red > 0.999 else top.sigmoid()
    lower = torch.zeros(k) if red < -0.999 else low.sigmoid()
    return float((logits.softmax(0) * (upper - lower)).sum())


def test_a_palette_holds_the_colours_there_are():
    module = rival("pixel_transformer")
    x = torch.tensor([[0.0, 0, 0], [255, 0, 0], [0, 0, 255]])[torch.randint(3, (40, 64))]
    found = module.palette(x.transpose(1, 2).reshape(40, 3, 8, 8))
    assert math.isclose(float(torch.cdist(x[0], found).min(1).values.max()), 0, abs_tol=1e-3)
