import itertools
import math

import pytest
import torch

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.models import ar, pixel_conv
from gantlet.models.ar import Autoregressive, MadeDensity, PixelTransformer
from gantlet.models.causal import CausalTransformer
from gantlet.models.nets import bits_per_dim, seeded
from gantlet.models.pixel_conv import PixelConv
from gantlet.testing import check_family

DIGITS = Space("image", (1, 8, 8), 17)
SPACES = [
    DIGITS,
    Space("image", (3, 4, 4), 5),
    Space("image", (1, 4, 4)),
    Space("vector", (3,)),
    Space("vector", (1,)),
    Space("vector", (4,), 6),
    Space("tokens", (12,), 27),
    Space("audio", (1, 20), 256),
]


def build(space, **options):
    return Autoregressive(**options).build(space, rng=Rng(0))


def shaken(game, size=0.3):
    """Moves every parameter, so that nothing is hidden by layers that start at zero."""
    rng = Rng(0).stream("shake")
    with torch.no_grad():
        for parameter in game.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=rng), alpha=size)
    return game.model


def log_prob(model, x):
    return model.log_prob(x, rng=Rng(0).stream("test")).value


def sample(model, n, **options):
    return model.sample(n, rng=Rng(0).stream("sample"), **options)


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.label)
def test_contract(space):
    check_family(Autoregressive(), space)


@pytest.mark.parametrize("net", ["transformer", "made", "conv"])
def test_contract_of_all_networks_on_digits(net):
    check_family(Autoregressive(net=net), DIGITS)


@pytest.mark.parametrize(
    ("space", "options"),
    [
        (Space("image", (1, 2, 2), 3), {}),
        (Space("image", (1, 2, 2), 3), {"patch": 2}),
        (Space("image", (3, 1, 1), 4), {}),
        (Space("image", (1, 2, 2), 3), {"net": "made"}),
        (Space("image", (1, 2, 2), 3), {"net": "conv"}),
        (Space("image", (2, 2, 1), 3), {"net": "conv"}),
        (Space("image", (1, 2, 2), 3), {"net": "conv", "patch": 2}),
        (Space("vector", (4,), 3), {}),
        (Space("vector", (3,), 4), {"net": "transformer"}),
        (Space("tokens", (4,), 3), {"patch": 2}),
    ],
)
def test_probabilities_of_a_tiny_alphabet_sum_to_one(space, options):
    model = shaken(build(space, **options))
    states = itertools.product(range(space.levels), repeat=space.size)
    x = torch.tensor(list(states), dtype=torch.float32).view(-1, *space.shape)
    with torch.no_grad():
        p = log_prob(model, x).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-5)
    assert float(p.max() / p.min()) > 2


def test_samples_follow_the_probabilities():
    space = Space("image", (1, 2, 2), 2)
    model = shaken(build(space, patch=2), 1.0)
    x = torch.tensor(list(itertools.product(range(2), repeat=4)), dtype=torch.float32)
    with torch.no_grad():
        p = log_prob(model, x.view(-1, 1, 2, 2)).exp()
    drawn = sample(model, 20_000).flatten(1) @ torch.tensor([8.0, 4.0, 2.0, 1.0])
    found = drawn.long().bincount(minlength=16) / 20_000
    assert float((found - p).abs().max()) < 0.015


@pytest.mark.parametrize("options", [{}, {"patch": 2}, {"net": "made"}, {"patch": 8}], ids=str)
def test_a_network_that_says_nothing_is_uniform(options):
    model = build(DIGITS, **options).model
    last = model.out if isinstance(model, PixelTransformer) else model.net.out
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    x = sample(model, 5)
    bits = bits_per_dim(log_prob(model, x), DIGITS)
    torch.testing.assert_close(bits, torch.full((5,), math.log2(17)), rtol=1e-6, atol=0)


def test_density_of_made_integrates_to_one():
    game = build(Space("vector", (2,)))
    rng = Rng(0).stream("data")
    game.prepare(3 * torch.randn(256, 2, generator=rng) + 5, rng=rng)
    model = shaken(game, 0.1)
    line = torch.linspace(-40, 50, 451)
    with torch.no_grad():
        p = log_prob(model, torch.cartesian_prod(line, line)).exp()
    assert float(p.sum()) * 0.2**2 == pytest.approx(1, abs=1e-3)


def test_made_samples_follow_its_density():
    model = shaken(build(Space("vector", (2,))), 0.1)
    line = torch.linspace(-15, 15, 301)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        p = log_prob(model, grid).exp() * 0.1**2
    mean = (grid * p[:, None]).sum(0)
    second = grid.T @ (grid * p[:, None])
    x = sample(model, 20_000)
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=0.05)
    torch.testing.assert_close(x.T @ x / 20_000, second, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patch": 2},
        {"window": 1},
        {"net": "made"},
        {"net": "conv"},
        {"net": "conv", "patch": 2, "window": 1},
    ],
)
def test_a_level_changes_no_prediction_before_it(options):
    space = Space("image", (3, 4, 4), 4)
    model = shaken(build(space, **options), 0.1)
    x = sample(model, 1)
    order = torch.arange(48) if isinstance(model, MadeDensity) else model.order.flatten()
    with torch.no_grad():
        for place in (0, 1, 7, 30, 47):
            y = x.flatten(1).clone()
            y[:, order[place]] = (y[:, order[place]] + 1) % 4
            before, after = (_conditionals(model, z.view_as(x)) for z in (x, y))
            assert torch.equal(before[order[:place]], after[order[:place]])
            assert not torch.equal(before[order[place]], after[order[place]])


def _conditionals(model, x):
    """The log-probability of each level given those before it, in the order of the sample."""
    if isinstance(model, PixelConv):
        return model.each(x.flatten(1)[:, model.order]).flatten()[model.back]
    if isinstance(model, PixelTransformer):
        q = x.flatten(1)[:, model.order]
        h = model.body(model.embedded(torch.nn.functional.pad(q, (0, 0, 1, 0)), 0, len(q[0])))
        z = model.hidden(torch.cat([h, model.scaled(q)], 2))
        logits = model.out(torch.nn.functional.gelu(z).unflatten(2, (model.group, -1)))
        return model.output.log_prob(q, logits).flatten()[model.back]
    theta = model.net(model.output.describe(x.flatten(1)))
    return model.output.log_prob(x.flatten(1), theta).flatten()


def test_the_transformer_is_causal():
    with seeded(torch.Generator().manual_seed(0)):
        body = CausalTransformer(8, 2, 2)
    for parameter in body.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(2))
    jacobian = torch.autograd.functional.jacobian(lambda y: body(y[None])[0], x)
    reach = jacobian.abs().sum((1, 3))
    assert torch.equal(reach > 0, torch.ones(6, 6).tril().bool())


def test_one_token_after_another_gives_what_all_at_once_gives():
    with seeded(torch.Generator().manual_seed(0)):
        body = CausalTransformer(16, 3, 4)
    for parameter in body.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(1))
    x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(2))
    cache = body.cache(2, 9)
    with torch.no_grad():
        steps = torch.cat([body.step(x[:, t : t + 1], cache) for t in range(9)], 1)
        torch.testing.assert_close(steps, body(x), rtol=1e-4, atol=1e-5)


COLOUR = Space("image", (3, 6, 6), 40)


def smooth(space, n=256, seed=0):
    """Images in which neighbours are alike, but for noise."""
    draw = torch.Generator().manual_seed(seed)
    steps = torch.randn((n, *space.shape), generator=draw)
    x = (steps.cumsum(2) + steps.cumsum(3)) * 2 + 20
    return x.round().clamp(0, space.levels - 1)


def test_images_in_colour_have_convolutions_and_others_do_not():
    def kind(*space):
        return type(build(Space(*space)).model).__name__

    assert kind("image", (3, 32, 32), 256) == "PixelConv"
    assert kind("image", (1, 28, 28), 256) == "PixelTransformer"
    assert kind("image", (3, 8, 8), 17) == "PixelTransformer"
    assert kind("audio", (1, 20), 256) == "PixelTransformer"
    with pytest.raises(UserError, match="ar:net=conv needs images of discrete levels"):
        build(Space("vector", (4,), 6), net="conv")


def test_convolutions_start_as_linear_prediction():
    model, x = build(COLOUR, net="conv").model, smooth(COLOUR)
    model.prepare(x, rng=Rng(0).stream("prepare"))
    y = x.flatten(1)[:, model.order].flatten(1) / 39 * 2 - 1
    before = model.order.flatten().tolist()
    # The level in the middle: all that it is predicted from, by a least squares of its own.
    at = 61
    token, g = divmod(at, model.group)
    seen = [3 * (k - 1) + c for k in model.near[token].tolist() if k for c in range(3)]
    seen += [3 * token + c for c in range(g)]
    assert max(seen) < at
    assert before[at] not in [before[k] for k in seen]
    rows = torch.cat([y[:, seen], torch.ones(len(y), 1)], 1)
    theirs = rows @ torch.linalg.lstsq(rows, y[:, at : at + 1]).solution
    around = model.around(y.view(len(y), -1, 3))
    ours = model.predicted(around, y.view(len(y), -1, 3)).flatten(1)[:, at]
    # One prediction for all places does nearly as well as one for this place alone.
    errors = [float((found - y[:, at]).square().mean()) for found in (theirs[:, 0], ours)]
    assert errors[1] < 1.25 * errors[0]
    bits = bits_per_dim(log_prob(model, smooth(COLOUR, seed=1)).detach(), COLOUR).mean()
    assert float(bits) < 0.85 * math.log2(40)


def test_logistics_are_differences_of_their_distribution_function():
    model = shaken(build(COLOUR, net="conv"), 0.2)
    theta = torch.randn(30, 40, generator=torch.Generator().manual_seed(0)).double()
    q, centre = torch.arange(40.0).double(), torch.full((40,), 0.1).double()
    spread = torch.full((40,), -1.0).double()
    with torch.no_grad():
        found = model.mixture(q, centre, spread, theta[:, :1].expand(-1, 40)).exp()
    logits, shift, log_scale = theta[:, 0].chunk(3)
    scale = (log_scale - 1).exp()
    mean = 0.1 + math.exp(-1) * shift
    edges = (2 * torch.arange(39).double() + 1) / 39 - 1
    below = ((edges[:, None] - mean) / scale).sigmoid() @ logits.softmax(0)
    ends = torch.tensor([0.0, 1.0]).double()
    whole = torch.cat([ends[:1], below, ends[1:]])
    torch.testing.assert_close(found, whole.diff(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"patch": 2}, {"patch": 3, "layers": 1}])
def test_cached_and_naive_sampling_of_convolutions_agree(options, monkeypatch):
    game = build(COLOUR, net="conv", **options)
    game.prepare(smooth(COLOUR), rng=Rng(0).stream("prepare"))
    model = shaken(game, 0.05)
    cached, naive = (sample(model, 7, cached=c) for c in (True, False))
    assert torch.equal(cached, naive)
    monkeypatch.setattr(pixel_conv, "SAMPLED_AT_ONCE", 3)
    assert torch.equal(sample(model, 7), cached)


def test_samples_of_convolutions_follow_the_probabilities():
    space = Space("image", (1, 2, 2), 2)
    model = shaken(build(space, net="conv", patch=2), 0.5)
    x = torch.tensor(list(itertools.product(range(2), repeat=4)), dtype=torch.float32)
    with torch.no_grad():
        p = log_prob(model, x.view(-1, 1, 2, 2)).exp()
    drawn = sample(model, 20_000).flatten(1) @ torch.tensor([8.0, 4.0, 2.0, 1.0])
    found = drawn.long().bincount(minlength=16) / 20_000
    assert float((found - p).abs().max()) < 0.015


def test_convolutions_in_blocks_give_the_same_gradient(monkeypatch):
    game = build(COLOUR, net="conv")
    model, x = shaken(game, 0.05), smooth(COLOUR, 8)
    parameters = list(model.parameters())

    def gradient():
        return torch.autograd.grad(game.loss("ar", x, rng=Rng(0).stream("loss")), parameters)

    kept = gradient()
    monkeypatch.setattr(pixel_conv, "MOST_NUMBERS", 10_000)
    for a, b in zip(kept, gradient(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_cached_and_naive_sampling_agree(patch):
    model = shaken(build(DIGITS, patch=patch), 0.1)
    cached, naive = (sample(model, 16, cached=c) for c in (True, False))
    assert torch.equal(cached, naive)
    # The features of a sequence, by the cache and at once, score the samples alike.
    q = cached.flatten(1)[:, model.order]
    padded = torch.nn.functional.pad(q, (0, 0, 1, 0))
    tokens = len(model.order)
    cache = model.body.cache(16, tokens)
    with torch.no_grad():
        steps = [model.body.step(model.embedded(padded, t, t + 1), cache) for t in range(tokens)]
        score = model.score(torch.cat(steps, 1), q)
        torch.testing.assert_close(score, log_prob(model, cached), rtol=0, atol=1e-4)


def test_samples_do_not_depend_on_the_blocks_they_are_drawn_in(monkeypatch):
    model = shaken(build(DIGITS), 0.1)
    whole = sample(model, 7)
    monkeypatch.setattr(ar, "SAMPLED_AT_ONCE", 3)
    assert torch.equal(sample(model, 7), whole)


def test_logits_that_are_computed_twice_give_the_same_gradient(monkeypatch):
    game = build(DIGITS, patch=2)
    model = shaken(game, 0.1)
    x = sample(model, 8)
    parameters = list(model.parameters())

    def gradient():
        return torch.autograd.grad(game.loss("ar", x, rng=Rng(0).stream("loss")), parameters)

    kept = gradient()
    monkeypatch.setattr(ar, "MOST_LOGITS", 1000)
    for a, b in zip(kept, gradient(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("space", "options"),
    [(DIGITS, {}), (Space("image", (3, 64, 64), 256), {}), (Space("vector", (2,)), {})],
)
def test_cost_can_be_computed_without_computing(space, options):
    game = Autoregressive(**options).build(space, rng=Rng(0))
    game.model.to("meta")
    x = torch.zeros(4, *space.shape, device="meta")
    loss = game.loss("ar", x, rng=Rng(0).stream("loss"))
    gradients = torch.autograd.grad(loss, list(game.model.parameters()))
    assert all(g.device.type == "meta" for g in gradients)


@pytest.mark.parametrize(
    ("shape", "tokens", "group"),
    [
        ((1, 8, 8), 64, 1),
        ((1, 28, 28), 196, 4),
        ((3, 32, 32), 256, 12),
        ((3, 64, 64), 256, 48),
        ((1, 2, 2), 4, 1),
        ((1, 31, 31), 961, 1),
    ],
)
def test_large_images_are_read_in_patches(shape, tokens, group):
    model = build(Space("image", shape, 256), net="transformer").model
    assert model.order.shape == (tokens, group)
    assert torch.equal(model.order.flatten().sort().values, torch.arange(model.space.size))
    assert model.sample_depth == model.space.size
    assert model.density_depth == 1


def test_order_is_raster_with_channels_innermost():
    model = build(Space("image", (3, 4, 4), 2)).model
    assert model.order[1].tolist() == [1, 17, 33]
    model = build(Space("image", (2, 4, 4), 2), patch=2).model
    assert model.order[1].tolist() == [2, 18, 3, 19, 6, 22, 7, 23]
    assert model.order[2, 0] == 8


def test_window_holds_earlier_neighbours_only():
    model = build(Space("image", (1, 3, 3), 2), window=1).model
    # Numbered from 1; the centre sees above-left, above, above-right and left.
    assert model.near[4].tolist() == [1, 2, 3, 4]
    assert model.near[0].tolist() == [0, 0, 0, 0]
    assert model.near[3].tolist() == [0, 1, 2, 0]


def test_training_learns():
    game = build(DIGITS)
    rng = Rng(0).stream("data")
    x = torch.randint(0, 3, (128, 1, 8, 8), generator=rng).float().cumsum(3).clamp(max=16)
    play = solvers.make(Autoregressive().solver).start(game)
    losses = [play.step(x, rng=rng)["ar"] for _ in range(40)]
    assert losses[0] == pytest.approx(math.log2(17), rel=1e-5)
    assert losses[-1] < 0.55 * losses[0]


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (Space("vector", (3,)), {"net": "transformer"}, "needs discrete samples"),
        (Space("image", (3, 64, 64), 256), {"net": "made"}, "use net=transformer"),
        (Space("image", (3, 64, 64)), {}, "use smaller samples"),
        (Space("graph", (5, 5), 2), {}, "an order"),
        (DIGITS, {"patch": 3}, "must divide"),
        (Space("tokens", (9,), 4), {"patch": 2}, "must divide"),
        (DIGITS, {"heads": 3}, "multiple of heads"),
    ],
)
def test_what_cannot_be_modelled_is_said_in_one_line(space, options, message):
    with pytest.raises(UserError, match=message) as found:
        build(space, **options)
    assert "\n" not in str(found.value)
