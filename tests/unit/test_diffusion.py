"""Flow matching against Gaussians, whose velocity, density and moments are known."""

import math

import pytest
import torch
from torch import nn

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import families, solvers
from gantlet.models import diffusion
from gantlet.models.diffusion import Diffusion, DiffusionModel, FlowMatching
from gantlet.models.flow import Base
from gantlet.models.nets import bits_per_dim
from gantlet.testing import check_family

DIGITS = Space("image", (1, 8, 8), 17)
PLANE = Space("vector", (2,))


class GaussianVelocity(nn.Module):
    """The velocity of straight paths from N(0, I) to N(mean, covariance)."""

    def __init__(self, mean, covariance):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("covariance", covariance)

    def forward(self, y, t):
        m, S, eye = self.mean, self.covariance, torch.eye(len(self.mean), dtype=y.dtype)
        t = t.view(-1, 1, 1)
        gain = (t * S - (1 - t) * eye) @ torch.linalg.inv(t**2 * S + (1 - t) ** 2 * eye)
        return m + (gain @ (y - t[:, 0] * m)[:, :, None])[:, :, 0]


class Still(nn.Module):
    def forward(self, y, t):
        return 0 * y * t.view(-1, *[1] * (y.ndim - 1))


class Uniform(Base):
    """Even on [-1, 1]."""

    def forward(self, z):
        inside = (z.abs() <= 1).all(1)
        return torch.where(inside, -z.shape[1] * math.log(2), -torch.inf)

    def sample(self, like, *, rng):
        return torch.rand(like.shape, generator=rng) * 2 - 1


def gaussian(sampler, steps):
    mean = torch.tensor([1.0, -2], dtype=torch.float64)
    covariance = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)
    velocity = GaussianVelocity(mean, covariance)
    model = DiffusionModel(PLANE, velocity, steps=steps, sampler=sampler).double()
    return model, torch.distributions.MultivariateNormal(mean, covariance)


def perturbed(game, scale):
    rng = Rng(9).stream("weights")
    for p in game.model.parameters():
        p.data += scale * torch.randn(p.shape, generator=rng)
    return game


def samples(space, n, seed=0):
    rng = Rng(seed).stream("x")
    if space.levels is None:
        return torch.randn(n, *space.shape, generator=rng)
    return torch.randint(0, space.levels, (n, *space.shape), generator=rng).float()


@pytest.mark.parametrize("sampler", ["midpoint", "heun"])
def test_gaussian_density_is_the_closed_form_at_second_order(sampler):
    errors = []
    for steps in (200, 400):
        model, truth = gaussian(sampler, steps)
        noise = torch.randn(50, 2, generator=Rng(0).stream("x"), dtype=torch.float64)
        x = truth.mean + noise * truth.variance.sqrt()
        found = model.log_prob(x, rng=Rng(0).stream("p"))
        errors.append((found.value - truth.log_prob(x)).abs().max().item())
    assert found.kind == "estimate"
    assert errors[1] < 5e-4
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)


@pytest.mark.parametrize("sampler", ["midpoint", "heun"])
def test_gaussian_samples_have_the_moments_of_the_closed_form(sampler):
    model, truth = gaussian(sampler, 100)
    # The flow of a Gaussian is affine: three codes tell its mean and covariance without noise.
    codes = torch.tensor([[0.0, 0], [1, 0], [0, 1]], dtype=torch.float64)
    mean, a, b = model.decode(codes)
    factor = torch.stack([a - mean, b - mean], 1)
    assert torch.allclose(mean, truth.mean, atol=1e-3)
    assert torch.allclose(factor @ factor.T, truth.covariance_matrix, atol=1e-3)
    drawn = model.sample(4000, rng=Rng(0).stream("fake"))
    assert torch.allclose(drawn.mean(0), truth.mean, atol=0.05)
    assert torch.allclose(drawn.T.cov(), truth.covariance_matrix, atol=0.05)


def test_still_water_over_a_uniform_base_is_exactly_uniform():
    for space in (DIGITS, Space("vector", (5,), 3), Space("image", (3, 16, 16), 256)):
        model = DiffusionModel(space, Still(), steps=3, sampler="heun", base=Uniform())
        found = model.log_prob(samples(space, 6), rng=Rng(0).stream("p")).value
        expected = torch.full((6,), math.log2(space.levels))
        assert torch.allclose(bits_per_dim(found, space), expected, atol=1e-5)


@pytest.mark.parametrize("prepared", [False, True])
def test_density_integrates_to_one(prepared):
    game = perturbed(Diffusion(width=16, steps=40).build(PLANE, rng=Rng(0)), 0.3)
    if prepared:
        game.prepare(samples(PLANE, 50) * 0.8 + 1, rng=Rng(0).stream("prepare"))
    axis = torch.linspace(-8, 8, 121)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = game.model.log_prob(grid, rng=Rng(0).stream("p")).value.double().exp()
    # It is not the Gaussian that it starts from.
    spread = game.model.sample(500, rng=Rng(0).stream("fake")).T.cov()
    assert (spread - torch.eye(2)).abs().max() > 0.1
    assert density.sum().item() * (16 / 120) ** 2 == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("space", [PLANE, Space("image", (1, 4, 4), 5)])
def test_encode_inverts_decode_with_the_right_log_determinant(space):
    game = perturbed(Diffusion(width=12, steps=60).build(space, rng=Rng(0)), 0.2)
    x = samples(space, 64)
    game.prepare(x, rng=Rng(0).stream("prepare"))
    model = game.model.double()
    x = x[:3].double() + (0.5 if space.levels else 0)
    z, log_det = model.encode(x)
    assert torch.allclose(model.decode(z), x, atol=1e-3)
    for i in range(3):
        jacobian = torch.autograd.functional.jacobian(
            lambda v: model.encode(v.view(1, *space.shape))[0][0], x[i].flatten()
        )
        assert jacobian.slogdet().logabsdet.item() == pytest.approx(log_det[i].item(), abs=5e-3)


def test_large_samples_use_hutchinson_and_small_ones_do_not():
    small = Diffusion(width=8, steps=2).build(Space("image", (1, 16, 16)), rng=Rng(0)).model
    large = Diffusion(width=8, steps=2).build(Space("image", (1, 17, 17)), rng=Rng(0)).model
    found = [m.log_prob(samples(m.space, 3), rng=Rng(0).stream("p")) for m in (small, large)]
    assert "exact divergence" in found[0].method
    assert "Hutchinson divergence" in found[1].method
    # Encoding takes no generator, and still gives the same numbers twice.
    perturbed(FlowMatching(large), 0.05)
    x = samples(large.space, 3)
    assert torch.equal(large.encode(x)[1], large.encode(x)[1])


def test_hutchinson_density_is_unbiased_against_the_exact_one():
    space = Space("vector", (6,))
    game = perturbed(Diffusion(width=16, steps=5).build(space, rng=Rng(0)), 0.3)
    x = samples(space, 1).expand(3000, -1)
    rng = Rng(0).stream("p")
    with torch.no_grad():
        exact = game.model.log_density(x[:1], 5, rng=rng, exact=True).item()
        noisy = game.model.log_density(x, 5, rng=rng, exact=False)
    assert noisy.std() > 0.01
    assert abs(noisy.mean().item() - exact) < 4 * noisy.std().item() / math.sqrt(3000)


def test_parts_change_nothing(monkeypatch):
    model = perturbed(Diffusion(width=8, steps=3).build(DIGITS, rng=Rng(0)), 0.2).model
    x = samples(DIGITS, 7)
    with torch.no_grad():
        for exact in (True, False):
            whole = model.log_density(x, 3, rng=Rng(0).stream("p"), exact=exact)
            with monkeypatch.context() as patch:
                patch.setattr(diffusion, "INTEGRATED_AT_ONCE", 2 * DIGITS.size)
                parts = model.log_density(x, 3, rng=Rng(0).stream("p"), exact=exact)
            assert torch.allclose(whole, parts, rtol=1e-5)


def test_the_loss_of_the_true_velocity_is_the_variance_that_remains():
    model, truth = gaussian("midpoint", 1)
    rng = Rng(0).stream("x")
    noise = torch.randn(20000, 2, generator=rng, dtype=torch.float64)
    x = truth.mean + noise @ torch.linalg.cholesky(truth.covariance_matrix).T
    best = FlowMatching(model).loss("velocity", x, rng=Rng(0).stream("loss")).item()
    # E |x1 - x0|^2 given x_t is S + I - (tS - (1-t)I)^2 / (t^2 S + (1-t)^2 I), in t on average.
    t = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    eigenvalues = torch.linalg.eigvalsh(truth.covariance_matrix)
    s, t = torch.meshgrid(eigenvalues, t, indexing="ij")
    remains = (s + 1 - (t * s - (1 - t)) ** 2 / (t**2 * s + (1 - t) ** 2)).mean().item()
    assert best == pytest.approx(remains, rel=0.03)


def test_training_finds_a_gaussian():
    game = Diffusion(width=32, ema=0.0).build(PLANE, rng=Rng(0))
    rng = Rng(1).stream("x")
    factor = torch.tensor([[1.0, 0], [0.8, 0.6]])
    x = torch.randn(2000, 2, generator=rng) @ factor.T * 3 + 5
    entropy = math.log(2 * math.pi * math.e) + math.log(0.6 * 9)
    game.prepare(x, rng=rng)
    before = game.validate(x, rng=Rng(0).stream("v")).item()
    play = solvers.make("adam:lr=0.005").start(game)
    for i in range(300):
        play.step(x[torch.arange(128 * i, 128 * i + 128) % 2000], rng=rng)
    after = game.validate(x, rng=Rng(0).stream("v")).item()
    assert before - entropy > 0.3
    assert after == pytest.approx(entropy, abs=0.15)


def test_images_are_cut_in_patches_and_put_together_again():
    space = Space("image", (3, 16, 24))
    y, t = samples(space, 2), torch.tensor([0.3, 0.8])
    changed = y.clone()
    changed[..., :1, :1] += 1
    for patch in (1, 2, 4):
        family = Diffusion(net="unet", width=8, patch=patch)
        velocity = perturbed(family.build(space, rng=Rng(0)), 0.1).model.velocity
        assert velocity.sizes[0] == (16 // patch, 24 // patch)
        # What changes most by the change of one pixel lies in its own patch.
        change = (velocity(changed, t) - velocity(y, t)).abs().sum((0, 1))
        row, column = divmod(int(change.argmax()), 24)
        assert max(row, column) < 3 * patch


def test_batches_are_small_where_steps_are_dear():
    larger = Space("image", (3, 12, 12), 256)
    assert [Diffusion().batch_size(space) for space in (DIGITS, PLANE, larger)] == [128, 128, 32]


def test_the_net_of_before_has_a_name():
    space = Space("image", (1, 28, 28), 256)
    written = families.make("diffusion:net=unet,width=24,patch=1")
    velocity = written.build(space, rng=Rng(0)).model.velocity
    assert isinstance(velocity, diffusion.UNet)
    assert velocity.sizes == [(28, 28), (14, 14), (7, 7)]
    assert sum(p.numel() for p in velocity.parameters()) == 334465


def test_unused_weights_do_not_exist():
    larger = Space("image", (3, 20, 20), 256)
    for net, space in (("mlp", DIGITS), ("unet", DIGITS), ("unet", larger)):
        game = perturbed(Diffusion(net=net, width=8).build(space, rng=Rng(0)), 0.1)
        loss = game.loss("velocity", samples(space, 4), rng=Rng(0).stream("loss"))
        gradients = torch.autograd.grad(loss, list(game.model.parameters()))
        assert all(g.abs().sum() > 0 for g in gradients)


@pytest.mark.parametrize(
    ("space", "family"),
    [
        (DIGITS, Diffusion(steps=8)),
        (DIGITS, Diffusion(net="unet", width=8, steps=4, sampler="heun")),
        (PLANE, Diffusion(steps=8)),
        (Space("vector", (5,), 4), Diffusion(width=8, depth=1, steps=4)),
        (Space("image", (3, 12, 12), 256), Diffusion(width=4, steps=4)),
    ],
    ids=["digits", "unet", "plane", "levels", "colour"],
)
def test_contract(space, family):
    check_family(family, space, n=8)


@pytest.mark.parametrize("space", [DIGITS, Space("image", (3, 32, 32), 256)])
def test_cost_can_be_counted_without_computing(space):
    game = Diffusion().build(space, rng=Rng(0))
    game.model.to("meta")
    x = torch.empty(4, *space.shape, device="meta")
    loss = game.loss("velocity", x, rng=Rng(0).stream("loss"))
    gradients = torch.autograd.grad(loss, list(game.model.parameters()))
    assert all(g.device.type == "meta" for g in gradients)
    assert game.model.sample(2, rng=Rng(0).stream("fake")).shape == (2, *space.shape)


def test_depth_counts_network_evaluations():
    model = Diffusion(width=8, steps=7).build(PLANE, rng=Rng(0)).model
    calls = []
    model.velocity.register_forward_hook(lambda *_: calls.append(1))
    model.sample(2, rng=Rng(0).stream("fake"))
    assert model.sample_depth == model.density_depth == len(calls) == 14


def test_what_cannot_be_modelled_is_said():
    with pytest.raises(UserError, match="models vectors and images"):
        Diffusion().build(Space("tokens", (8,), 20), rng=Rng(0))
    for space in (PLANE, Space("image", (1, 3, 8))):
        with pytest.raises(UserError, match="net=unet needs images from 4x4"):
            Diffusion(net="unet").build(space, rng=Rng(0))
    with pytest.raises(UserError, match=r"patch must divide both sides.*patch=3"):
        Diffusion(patch=3).build(Space("image", (1, 28, 28)), rng=Rng(0))
    with pytest.raises(UserError, match="Did you mean 'midpoint'"):
        families.make("diffusion:sampler=midpointt")
    with pytest.raises(UserError, match="at least 1"):
        families.make("diffusion:steps=0")


def test_an_unknown_player_is_an_error():
    game = Diffusion().build(DIGITS, rng=Rng(0))
    with pytest.raises(UserError, match="Unknown player 'critic'"):
        game.loss("critic", samples(DIGITS, 2), rng=Rng(0).stream("loss"))


def test_written_form():
    family = families.make("diffusion:net=unet,width=16,steps=5,sampler=heun")
    assert family == Diffusion(net="unet", width=16, steps=5, sampler="heun")
    assert families.resolve("diffusion").startswith("diffusion:net=auto,width=none,")
