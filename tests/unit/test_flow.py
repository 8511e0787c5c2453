import math

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from gantlet.compute.meters import count
from gantlet.core.data import InMemory, Space, Splits
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.model import Invertible
from gantlet.core.rng import Rng
from gantlet.core.spec import families, solvers
from gantlet.models.bijections import Couplings, EarlyExit, InvertibleConv, Logit, Planar
from gantlet.models.flow import Base, Flow
from gantlet.models.nets import bits_per_dim
from gantlet.models.patch_flow import CausalAffine
from gantlet.run.train import Plan, train
from gantlet.testing import check_family
from gantlet.testing.contracts import made_up

PLANE = Space("vector", (2,))
VECTOR = Space("vector", (6,))
DIGITS = Space("image", (1, 8, 8), 17)
GREY = Space("image", (1, 16, 16), 256)
COLOUR = Space("image", (3, 16, 16), 256)
SMALL = {"width": 16, "layers": 4}
KINDS = [
    (VECTOR, {}),
    (VECTOR, {"coupling": "spline"}),
    (VECTOR, {"coupling": "planar", "layers": 8}),
    (Space("image", (2, 4, 6), 9), {"arch": "patches", "patch": 2, "depth": 1}),
    (Space("vector", (5,), 3), {}),
    (Space("vector", (1,)), {"coupling": "planar"}),
    (DIGITS, {}),
    (DIGITS, {"coupling": "spline"}),
    (DIGITS, {"arch": "glow"}),
    (GREY, {}),
    (COLOUR, {"layers": 4}),
    (COLOUR, {"layers": 2, "arch": "glow"}),
    (COLOUR, {"layers": 2, "coupling": "spline"}),
    (Space("image", (1, 9, 9)), {}),
]


def stream(name="test"):
    return Rng(0).stream(name)


def build(space, **options):
    return Flow(**{**SMALL, **options}).build(space, rng=Rng(0))


def stirred(space, dtype=torch.float32, n=32, **options):
    """A prepared flow whose parameters have moved, and dequantised samples."""
    model = build(space, **options).model.to(dtype)
    x = made_up(space, n).to(dtype)
    model.prepare(x, rng=stream())
    rng = stream("stir")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=rng, dtype=dtype))
    return model, model.scaling.dequantise(x, rng=rng)


@pytest.mark.parametrize(("space", "options"), KINDS, ids=str)
def test_flow_keeps_the_contract(space, options):
    check_family(Flow(**{**SMALL, **options}), space, n=8)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
@pytest.mark.parametrize(("space", "options"), KINDS, ids=str)
@torch.no_grad()
def test_decode_undoes_encode(space, options, dtype, most):
    model, x = stirred(space, dtype, **options)
    z, log_det = model.encode(x)
    assert isinstance(model, Invertible)
    assert z.shape == (len(x), space.size)
    assert log_det.shape == (len(x),)
    unit = model.scaling.scale
    assert ((model.decode(z) - x) / unit).abs().max() < most


@pytest.mark.parametrize(("space", "options"), KINDS[:9], ids=str)
def test_log_det_is_that_of_the_jacobian(space, options):
    model, x = stirred(space, torch.float64, **options)
    _, log_det = model.encode(x)
    for i in range(2):
        J = jacobian(lambda v: model.encode(v[None])[0][0], x[i]).reshape(space.size, space.size)
        expected = torch.linalg.slogdet(J)[1].item()
        assert log_det[i].item() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("coupling", ["affine", "spline", "planar"])
@torch.no_grad()
def test_the_density_integrates_to_one(coupling):
    model, _ = stirred(PLANE, torch.float64, coupling=coupling, layers=8)
    rng = stream("more")
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    density = model.log_prob(grid, rng=rng).value.exp()
    assert density.std() > 0.001
    assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-3)


class UniformBase(Base):
    """What the logit makes of uniform components."""

    def forward(self, z):
        logit = Logit()
        _, log_det = logit(logit.inverse(z))
        return -z.shape[1] * math.log(2) - log_det

    def sample(self, like, *, rng):
        u = torch.rand(like.shape, generator=rng, dtype=like.dtype)
        return Logit()(2 * u - 1)[0]


@pytest.mark.parametrize(
    ("space", "options"), [(DIGITS, {}), (GREY, {}), (DIGITS, {"coupling": "planar"})], ids=str
)
@torch.no_grad()
def test_an_untrained_flow_on_a_uniform_base_needs_log2_levels_bits(space, options):
    model = build(space, **options).model.double()
    model.base = UniformBase()
    for part in model.modules():
        if isinstance(part, InvertibleConv):
            part.lower.zero_()
            part.upper.zero_()
            part.log_scale.zero_()
    found = model.log_prob(made_up(space, 50).double(), rng=stream())
    assert found.kind == "lower"
    bits = bits_per_dim(found.value, space)
    torch.testing.assert_close(bits, torch.full_like(bits, math.log2(space.levels)))
    fake = model.sample(200, rng=stream())
    counts = torch.bincount(fake.flatten().long(), minlength=space.levels)
    assert counts.float().std() / counts.float().mean() < 0.3


@torch.no_grad()
def test_log_prob_is_the_change_of_variables_formula():
    model, x = stirred(VECTOR, torch.float64)
    z, log_det = model.encode(x)
    normal = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    found = model.log_prob(x, rng=stream())
    assert found.kind == "exact"
    torch.testing.assert_close(found.value, normal + log_det)


@torch.no_grad()
def test_the_bound_on_discrete_samples_is_below_their_probability():
    space = Space("vector", (2,), 3)
    model, _ = stirred(space)
    states = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    rng = stream()
    draws = [model.log_prob(states, rng=rng).value.double() for _ in range(500)]
    mean_exp = torch.stack(draws).exp().mean(0)
    # The mean of the densities is the probability; that of their logs is below it.
    assert mean_exp.sum() < 1.02
    assert (torch.stack(draws).mean(0) < mean_exp.log()).all()


def test_preparing_standardises_codes_of_continuous_samples():
    game = build(VECTOR)
    x = 7 * made_up(VECTOR, 500) - 3
    game.prepare(x, rng=stream())
    z, _ = game.model.encode(x)
    assert z.mean(0).abs().max() < 1e-5
    assert (z.std(0) - 1).abs().max() < 1e-2


def test_auto_takes_glow_for_images_above_8x8_with_even_sides():
    def is_glow(space, **options):
        return any(isinstance(m, InvertibleConv) for m in build(space, **options).model.modules())

    assert not is_glow(VECTOR)
    assert not is_glow(DIGITS)
    assert not is_glow(Space("image", (1, 15, 15)))
    assert not is_glow(GREY, coupling="planar")
    assert not is_glow(GREY, arch="realnvp")
    assert is_glow(GREY)
    assert is_glow(Space("image", (3, 28, 28)), arch="glow")
    assert is_glow(DIGITS, arch="glow")


def test_auto_reads_images_in_colour_in_patches():
    def in_patches(space, **options):
        return any(isinstance(m, CausalAffine) for m in build(space, **options).model.modules())

    assert in_patches(COLOUR)
    assert in_patches(Space("image", (3, 28, 28)))
    assert not in_patches(GREY)
    assert in_patches(GREY, arch="patches")
    assert not in_patches(Space("image", (3, 8, 8), 17))
    assert not in_patches(Space("image", (3, 31, 31)))
    assert not in_patches(COLOUR, coupling="spline")
    assert not in_patches(COLOUR, levels=2)
    model = build(COLOUR).model
    assert (model.density_depth, model.sample_depth) == (1, 64)


@torch.no_grad()
def test_a_flow_over_patches_starts_as_the_gaussian_of_its_data():
    """Of a field whose neighbours are alike, white noise is left."""
    draw = stream("field")
    x = torch.randn(600, 1, 16, 16, generator=draw)
    x = (x + x.roll(1, 2) + x.roll(1, 3) + x.roll((1, 1), (2, 3)))[:, :, 1:9, 1:9]
    game = Flow(arch="patches", patch=2, layers=2).build(Space("image", (1, 8, 8)), rng=Rng(0))
    game.prepare(x[:512], rng=stream())
    z, log_det = game.model.encode(x[512:])
    # Exactly: the density of the Gaussian with the covariance of the field.
    true = torch.distributions.MultivariateNormal(torch.zeros(64), covariance(8))
    exact = true.log_prob(x[512:].flatten(1)).mean()
    found = game.model.log_prob(x[512:], rng=stream()).value.mean()
    independent = torch.distributions.Normal(0, 2).log_prob(x[512:]).flatten(1).sum(1).mean()
    assert float(exact - found) < 0.3 * float(exact - independent)
    assert abs(float(z.std()) - 1) < 0.05
    assert torch.isfinite(log_det).all()


def covariance(side):
    """That of sums of 2x2 neighbours of white noise."""
    line = (
        2 * torch.eye(side)
        + torch.eye(side).roll(1, 1).triu(1)
        + torch.eye(side).roll(-1, 1).tril(-1)
    )
    return torch.kron(line, line)


@pytest.mark.parametrize(("side", "levels"), [(10, 1), (16, 2), (28, 2), (32, 3), (64, 3)])
def test_glow_halves_the_sides_down_to_four(side, levels):
    model = build(Space("image", (1, side, side), 2), layers=1, width=2).model
    assert sum(isinstance(m, EarlyExit) for m in model.modules()) == levels - 1
    x = made_up(Space("image", (1, side, side), 2), 2)
    assert model.encode(x + 0.5)[0].shape == (2, side * side)


def test_realnvp_changes_every_component_with_two_layers():
    model = build(DIGITS, layers=2).model
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, Couplings):
                for net in part.nets:
                    net[-1].bias.fill_(1)
    x = made_up(DIGITS, 1) + 0.5
    start, _ = build(DIGITS, layers=2).model.encode(x)
    assert (model.encode(x)[0] != start).all()


def test_the_default_has_the_size_of_its_description():
    model = Flow().build(DIGITS, rng=Rng(0)).model
    couplings = [m for m in model.modules() if isinstance(m, Couplings)]
    assert [len(c.nets) for c in couplings] == [4, 4]
    inside = 32 * 128 + 128 + 128 * 128 + 128 + 128 * 64 + 64
    assert sum(p.numel() for p in model.parameters()) == 8 * inside + 2 * 64
    planar = build(VECTOR, coupling="planar", layers=3).model
    assert sum(isinstance(m, Planar) for m in planar.modules()) == 3


def test_it_is_a_game_of_one_player_whose_loss_is_bits_per_component():
    game = build(DIGITS)
    assert list(game.players) == ["flow"]
    assert game.players["flow"] is game.model
    x = made_up(DIGITS, 600)
    loss = game.loss("flow", x, rng=stream())
    value = game.model.log_prob(x, rng=stream()).value
    torch.testing.assert_close(loss, bits_per_dim(value, DIGITS).mean())
    torch.testing.assert_close(loss, game.loss("flow", x, rng=stream()), rtol=0, atol=0)
    with pytest.raises(UserError, match="Unknown player 'flaw'"):
        game.loss("flaw", x, rng=stream())


@pytest.mark.parametrize("n", [1, 512, 600])
def test_validation_is_bits_for_levels_and_nats_for_real_numbers(n):
    for space, unit in ((DIGITS, 64 * math.log(2)), (VECTOR, 1)):
        game = build(space)
        x = made_up(space, n)
        found = game.validate(x, rng=stream())
        assert not found.requires_grad
        value = game.model.log_prob(x, rng=stream()).value
        # Noise is drawn for one part after the other.
        assert found.item() == pytest.approx(-value.mean().item() / unit, rel=0.02)


@pytest.mark.parametrize(
    ("space", "options"), [(VECTOR, {}), (PLANE, {"coupling": "planar"}), (GREY, {})], ids=str
)
def test_it_costs_the_same_on_the_meta_device(space, options):
    def cost(device):
        game = build(space, **options)
        game.model.to(device)
        x = made_up(space, 4).to(device)

        def work():
            loss = game.loss("flow", x, rng=stream())
            torch.autograd.grad(loss, list(game.model.parameters()))

        return count(work)

    assert cost("meta") == cost("cpu")
    assert not cost("cpu").unknown


def test_samples_have_no_gradient_and_come_from_the_density():
    model, _ = stirred(PLANE)
    fake = model.sample(20_000, rng=stream())
    assert not fake.requires_grad
    z, _ = model.encode(fake)
    assert z.mean(0).abs().max() < 0.03
    assert (z.T.cov() - torch.eye(2)).abs().max() < 0.05


def test_no_parameter_is_shared_and_all_can_be_saved():
    model = build(COLOUR, layers=2).model
    state = model.state_dict()
    storages = [v.untyped_storage().data_ptr() for v in state.values()]
    assert len(set(storages)) == len(storages)
    other = Flow(**{**SMALL, "layers": 2}).build(COLOUR, rng=Rng(1)).model
    other.load_state_dict(state)
    x = made_up(COLOUR, 2)
    assert torch.equal(
        model.log_prob(x, rng=stream()).value, other.log_prob(x, rng=stream()).value
    )


@pytest.mark.parametrize(
    ("space", "options", "says"),
    [
        (Space("tokens", (12,), 5), {}, "tokens 12 with 5 levels; use a family for sequences"),
        (Space("graph", (4, 4)), {}, "quantities"),
        (Space("vector", (1,)), {}, "use coupling=planar"),
        (VECTOR, {"arch": "patches"}, "arch=patches needs images and coupling=affine"),
        (COLOUR, {"arch": "patches", "patch": 5}, "patch must divide the sides"),
        (VECTOR, {"arch": "glow"}, "arch=glow needs images"),
        (GREY, {"arch": "glow", "coupling": "planar"}, "coupling=planar; use arch=realnvp"),
        (Space("image", (1, 9, 9)), {"arch": "glow"}, "multiples of 2"),
        (GREY, {"levels": 5}, "multiples of 32"),
    ],
)
def test_what_it_cannot_model_is_said_in_one_line(space, options, says):
    with pytest.raises(UserError) as caught:
        build(space, **options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_has_a_written_form():
    assert families.make("flow:coupling=spline,layers=4,levels=none") == Flow(
        coupling="spline", layers=4
    )
    solvers.make(Flow().solver)
    with pytest.raises(UserError, match="at least 1"):
        families.make("flow:layers=0")


def play(game, sample, steps, lr):
    turns = solvers.make(f"adam:lr={lr}").start(game)
    rng = stream("noise")
    for _ in range(steps):
        turns.step(sample(128, rng), rng=rng)


@pytest.mark.parametrize("coupling", ["affine", "spline", "planar"])
def test_it_learns_a_correlated_gaussian_down_to_its_entropy(coupling):
    L = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    entropy = 1 + math.log(2 * math.pi) + L.det().log().item()
    game = build(PLANE, coupling=coupling)

    def sample(n, rng):
        return torch.randn(n, 2, generator=rng) @ L.T

    game.prepare(sample(500, stream()), rng=stream())
    start = game.validate(sample(4000, stream("held out")), rng=stream())
    play(game, sample, 300, 0.01)
    found = game.validate(sample(4000, stream("held out")), rng=stream())
    assert start > entropy + 0.4
    assert found == pytest.approx(entropy, abs=0.08)


def digits():
    from sklearn.datasets import load_digits

    order = np.random.RandomState(0).permutation(1797)
    x = torch.tensor(load_digits().images, dtype=torch.float32)[order].unsqueeze(1)
    parts = [InMemory(part) for part in (x[:1257], x[1257:1437], x[1437:])]
    return Splits(train=parts[0], validation=parts[1], test=parts[2])


@pytest.mark.slow
def test_digits_take_less_than_2_35_bits():
    data, rng, family = digits(), Rng(0), Flow()
    game = family.build(DIGITS, rng=rng)
    plan = Plan(budget=Budget(flops=1e11), ema=family.ema)
    train(game, solvers.make(family.solver), data, plan, rng=rng)
    assert game.validate(data.test.take(torch.arange(360)), rng=stream()) < 2.35
