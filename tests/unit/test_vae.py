"""Autoencoders whose likelihood is known, and observation models that must sum to one."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from gantlet.core.data import InMemory, Space, Splits, all_samples
from gantlet.core.errors import UserError
from gantlet.core.estimate import Budget
from gantlet.core.rng import Rng
from gantlet.core.spec import families, solvers
from gantlet.models import vae
from gantlet.models.nets import Scaling, bits_per_dim
from gantlet.models.vae import (
    CategoricalLikelihood,
    DiscretisedLogistics,
    GaussianLikelihood,
    Vae,
    likelihood,
)
from gantlet.run.train import Plan, train
from gantlet.testing import check_family

DIGITS = Space("image", (1, 8, 8), 17)
CUBE = Space("vector", (3,))
STD = 0.5


def samples(space, n, seed=0):
    rng = Rng(seed).stream("x")
    if space.levels is None:
        return torch.randn(n, *space.shape, generator=rng)
    return torch.randint(0, space.levels, (n, *space.shape), generator=rng).float()


def linear_gaussian(*, stretch=1.0):
    """Returns a VAE without hidden layers, x = W z + b + noise, and its exact distribution.

    The columns of W are orthogonal, so that the posterior has independent components. Its
    standard deviation in the encoder is ``stretch`` times the true one.
    """
    game = Vae(latent=2, depth=0).build(CUBE, rng=Rng(0))
    model = game.model.double()
    W = torch.tensor([[1.0, 0.5], [1.0, -0.5], [0.5, 0.0]], dtype=torch.float64)
    b = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    precision = 1 + W.square().sum(0) / STD**2
    back = W.T / STD**2 / precision[:, None]
    inward, outward = (
        next(m for m in net.modules() if isinstance(m, nn.Linear))
        for net in (model.encoder, model.decoder)
    )
    with torch.no_grad():
        inward.weight.copy_(torch.cat([back, torch.zeros(2, 3)]))
        inward.bias.copy_(torch.cat([-back @ b, -precision.log() / 2 + math.log(stretch)]))
        # A logarithm of a standard deviation passes a soft floor at -7.
        log_std = math.log(math.expm1(math.log(STD) + 7)) - 7
        outward.weight.copy_(torch.cat([W, torch.zeros(3, 2)]))
        outward.bias.copy_(torch.cat([b, torch.full((3,), log_std)]))
    covariance = W @ W.T + STD**2 * torch.eye(3)
    return game, torch.distributions.MultivariateNormal(b, covariance)


def every_level(levels, params, observed):
    """Returns the probability of each level, one component at a time, shape (n, levels)."""
    n = len(params)
    x = torch.arange(levels, dtype=params.dtype).repeat(n, 1).view(-1, 1)
    return observed.log_prob(x, params.repeat_interleave(levels, 0)).exp().view(n, levels)


def test_bound_of_an_exact_posterior_is_the_likelihood():
    game, truth = linear_gaussian()
    x = 2 * samples(CUBE, 40).double()
    expected = truth.log_prob(x)
    for k in (1, 3, 64):
        found = game.model.importance_bound(x, k, rng=Rng(k).stream("z"))
        assert torch.allclose(found, expected, atol=1e-5)
    noisy = game.model.elbo(x.repeat(2000, 1), beta=1.0, rng=Rng(0).stream("z"))
    mean = noisy.view(2000, -1).mean(0)
    assert torch.allclose(mean, expected, atol=0.15)
    assert game.validate(x, rng=Rng(0).stream("z")).item() == pytest.approx(
        -expected.mean().item(), abs=1e-5
    )


def test_bound_rises_to_the_likelihood_with_the_number_of_samples():
    game, truth = linear_gaussian(stretch=2.0)
    x = samples(CUBE, 30).double()
    many = x.repeat(400, 1)
    with torch.no_grad():
        elbo = game.model.elbo(many, beta=1.0, rng=Rng(0).stream("z")).mean().item()
        bounds = [
            game.model.importance_bound(many, k, rng=Rng(0).stream("z")).mean().item()
            for k in (1, 2, 8, 64)
        ]
    expected = truth.log_prob(x).mean().item()
    assert bounds[0] == pytest.approx(elbo, abs=0.05)
    assert bounds == sorted(bounds)
    assert bounds[1] - bounds[0] > 0.1
    assert bounds[-1] == pytest.approx(expected, abs=0.02)
    assert bounds[-1] < expected + 0.003


def test_bound_does_not_depend_on_the_parts(monkeypatch):
    model = Vae(width=16, latent=3).build(DIGITS, rng=Rng(0)).model
    x = samples(DIGITS, 5)
    whole = model.log_prob(x, rng=Rng(0).stream("z")).value
    monkeypatch.setattr(vae, "OUTPUTS_AT_ONCE", 7 * 17 * 64)
    assert torch.allclose(model.log_prob(x, rng=Rng(0).stream("z")).value, whole, rtol=1e-6)


def with_flow(space, **options):
    """Returns a VAE whose prior is a flow that is not the identity."""
    model = Vae(latent=3, prior_layers=2, **options).build(space, rng=Rng(0)).model.double()
    rng = Rng(1).stream("weights")
    for p in model.flow.parameters():
        p.data += 0.2 * torch.randn(p.shape, generator=rng, dtype=p.dtype)
    return model


def test_a_learned_prior_enters_both_bounds():
    """The twin adds up densities of torch's distributions, and takes the volume by autograd."""
    model = with_flow(CUBE, depth=1, width=8)
    x = samples(CUBE, 4).double()
    mean, log_std = model.posterior(x)
    noise = torch.randn(mean.shape, generator=Rng(0).stream("z"), dtype=torch.float64)
    z = mean + log_std.exp() * noise
    normal = torch.distributions.Normal(0, 1)
    codes, _ = model.flow(z)
    volume = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda v: model.flow(v[None])[0][0], one)
            .slogdet()
            .logabsdet
            for one in z
        ]
    )
    assert volume.abs().max() > 0.01
    prior = normal.log_prob(codes).sum(1) + volume
    posterior = torch.distributions.Normal(mean, log_std.exp()).log_prob(z).sum(1)
    truth = model.observed.log_prob(x, model.decoder(z)) + prior - posterior
    assert torch.allclose(model.elbo(x, beta=1.0, rng=Rng(0).stream("z")), truth)
    assert torch.allclose(model.importance_bound(x, 1, rng=Rng(0).stream("z")), truth)


def test_codes_are_standard_normal_where_latent_vectors_are_not():
    model = with_flow(CUBE, depth=1, width=8)
    codes = model.prior(500, rng=Rng(0).stream("e"))
    latent = model.flow.inverse(codes)
    assert not torch.allclose(latent, codes, atol=0.1)
    assert torch.allclose(model.flow(latent)[0], codes)
    assert torch.equal(model.decode(codes), model.observed.mean(model.decoder(latent)))


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 12, 16), (1, 28, 28), (2, 37, 20)])
def test_strided_nets_fit_images_of_any_sides(shape):
    space = Space("image", shape, 256)
    game = Vae(width=16).build(space, rng=Rng(0))
    loss = game.loss("vae", samples(space, 3), rng=Rng(0).stream("z"))
    # Couplings start as the identity; what lies below their zeros has no gradient yet.
    nets = [*game.model.encoder.parameters(), *game.model.decoder.parameters()]
    assert all(g.any() for g in torch.autograd.grad(loss, nets))
    assert game.model.sample(2, rng=Rng(0).stream("x")).shape == (2, *shape)


@pytest.mark.parametrize("space", [DIGITS, CUBE])
def test_means_are_drawn_of_nothing_but_codes(space):
    drawn, means = (Vae(width=8, means=m).build(space, rng=Rng(0)).model for m in (False, True))
    codes = means.prior(5, rng=Rng(0).stream("x"))
    found = means.sample(5, rng=Rng(0).stream("x"))
    truth = means.decode(codes).detach()
    assert torch.equal(found, truth.round() if space.levels else truth)
    assert not torch.equal(found, drawn.sample(5, rng=Rng(0).stream("x")))
    assert not Vae(width=8).build(space, rng=Rng(0)).model.means
    assert Vae(width=8).build(Space("image", (1, 9, 9), 5), rng=Rng(0)).model.means


def test_batches_are_small_where_steps_are_dear():
    larger = Space("image", (3, 12, 12), 256)
    assert [Vae().batch_size(space) for space in (DIGITS, CUBE, larger)] == [128, 128, 32]
    assert Vae(net="mlp").batch_size(larger) == 128


def test_the_usual_net_of_small_samples_is_the_one_that_was():
    for space in (DIGITS, CUBE):
        usual = Vae().build(space, rng=Rng(0)).model
        named = (
            Vae(net="mlp", latent=16, mixtures=5, prior_layers=0).build(space, rng=Rng(0)).model
        )
        assert usual.latent_dim == 16
        assert not usual.has_flow
        x = samples(space, 3)
        found = (m.log_prob(x, rng=Rng(0).stream("z")).value for m in (usual, named))
        assert torch.equal(*found)


def test_log_prob_says_what_it_is():
    found = (
        Vae(width=8)
        .build(DIGITS, rng=Rng(0))
        .model.log_prob(samples(DIGITS, 2), rng=Rng(0).stream("z"))
    )
    assert (found.kind, found.method) == ("lower", "IWAE, 64 samples")


def test_log_prob_is_differentiable_in_the_parameters():
    model = Vae(width=8, iwae=3).build(DIGITS, rng=Rng(0)).model
    value = model.log_prob(samples(DIGITS, 2), rng=Rng(0).stream("z")).value
    gradients = torch.autograd.grad(value.sum(), list(model.parameters()))
    assert all(g.abs().sum() > 0 for g in gradients)


@pytest.mark.parametrize(
    "space", [DIGITS, Space("vector", (5,), 2), Space("image", (3, 12, 12), 9)]
)
def test_zeroed_heads_give_the_uniform_model(space):
    game = Vae(width=16).build(space, rng=Rng(0))
    for parameter in game.model.parameters():
        nn.init.zeros_(parameter)
    x = samples(space, 6)
    value = game.model.log_prob(x, rng=Rng(0).stream("z")).value
    expected = torch.full((6,), math.log2(space.levels))
    assert torch.allclose(bits_per_dim(value, space), expected, atol=1e-5)
    loss = game.loss("vae", x, rng=Rng(0).stream("z"))
    assert loss.item() == pytest.approx(math.log2(space.levels), abs=1e-5)


def test_elbo_of_beta_weighs_the_divergence():
    model = Vae(width=16).build(DIGITS, rng=Rng(0)).model.double()
    x = samples(DIGITS, 4).double()
    mean, log_std = model.posterior(x)
    posterior = torch.distributions.Normal(mean, log_std.exp())
    prior = torch.distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    divergence = torch.distributions.kl_divergence(posterior, prior).sum(1)
    none, one, three = (model.elbo(x, beta=b, rng=Rng(0).stream("z")) for b in (0.0, 1.0, 3.0))
    assert torch.allclose(none - one, divergence)
    assert torch.allclose(none - three, 3 * divergence)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("mixtures", [1, 5])
def test_discretised_logistics_sum_to_one(levels, mixtures):
    observed = DiscretisedLogistics(levels, mixtures)
    params = 4 * torch.randn(
        30, 3 * mixtures, 1, generator=Rng(0).stream("p"), dtype=torch.float64
    )
    total = every_level(levels, params, observed).sum(1)
    assert torch.allclose(total, torch.ones(30, dtype=torch.float64), atol=1e-10)


def test_discretised_logistics_are_differences_of_the_cumulative_distribution():
    observed = DiscretisedLogistics(8, 1)
    params = torch.tensor([[[0.0], [0.2], [-0.7]]], dtype=torch.float64)
    edges = torch.linspace(-1, 1, 9, dtype=torch.float64)[1:-1]
    inner = torch.sigmoid((edges - 0.2) / math.exp(-0.7 - 1.5))
    cdf = torch.cat([torch.zeros(1), inner, torch.ones(1)])
    assert torch.allclose(every_level(8, params, observed)[0], cdf.diff(), atol=1e-12)


def test_discretised_logistics_stay_finite_far_from_the_data():
    observed = DiscretisedLogistics(256, 2)
    params = torch.zeros(2, 6, 1)
    params[0, 2:4] = 50.0
    params[1, 4:] = -50.0
    params.requires_grad_()
    for level in (0.0, 128.0, 255.0):
        value = observed.log_prob(torch.full((2, 1), level), params)
        (gradient,) = torch.autograd.grad(value.sum(), params)
        assert value.isfinite().all()
        assert gradient.isfinite().all()


def test_categories_sum_to_one():
    params = torch.randn(20, 17, 1, generator=Rng(0).stream("p"), dtype=torch.float64) * 3
    probabilities = every_level(17, params, CategoricalLikelihood(17))
    assert torch.allclose(probabilities, params[:, :, 0].softmax(1), atol=1e-12)


def test_gaussian_density_is_normal_in_the_units_of_the_data():
    scaling = Scaling(CUBE)
    scaling.fit(samples(CUBE, 50) * 7 + 3)
    scaling.double()
    observed = GaussianLikelihood(scaling)
    rng = Rng(0).stream("p")
    params = torch.randn(6, 2, 3, generator=rng, dtype=torch.float64)
    x = torch.randn(6, 3, generator=rng, dtype=torch.float64) * 7 + 3
    std = (torch.nn.functional.softplus(params[:, 1] + 7) - 7).exp() * scaling.scale
    truth = torch.distributions.Normal(observed.mean(params), std).log_prob(x).sum(1)
    assert torch.allclose(observed.log_prob(x, params), truth)


@pytest.mark.parametrize(
    "space", [Space("vector", (4,)), Space("vector", (4,), 17), Space("vector", (4,), 64)]
)
def test_samples_of_the_observation_follow_its_probabilities(space):
    scaling = Scaling(space)
    observed = likelihood(scaling, mixtures=3)
    params = torch.randn(1, observed.per, 4, generator=Rng(2).stream("p"))
    drawn = observed.sample(params.expand(6000, -1, -1), rng=Rng(0).stream("x"))
    error = 4 * drawn.std(0) / math.sqrt(6000)
    if space.levels is None:
        assert ((drawn.mean(0) - observed.mean(params)[0]).abs() < error).all()
        return
    space.check(drawn, "sample")
    for i in range(4):
        truth = every_level(space.levels, params[:, :, i : i + 1], observed)[0]
        counts = torch.bincount(drawn[:, i].long(), minlength=space.levels) / 6000
        assert (counts - truth).abs().max() < 0.03
        mean = (truth * torch.arange(space.levels)).sum()
        assert (drawn[:, i].mean() - mean).abs() < error[i] + 1e-3


def test_mean_of_the_mixture_is_close_to_that_of_its_levels():
    observed = DiscretisedLogistics(64, 3)
    params = torch.randn(8, 9, 1, generator=Rng(2).stream("p")) / 2
    params[:, 6:] -= 2
    truth = (every_level(64, params, observed) * torch.arange(64)).sum(1)
    assert torch.allclose(observed.mean(params)[:, 0], truth, atol=1.0)


def test_the_observation_suits_the_space():
    kinds = {
        None: GaussianLikelihood,
        2: CategoricalLikelihood,
        32: CategoricalLikelihood,
        33: DiscretisedLogistics,
    }
    for levels, kind in kinds.items():
        assert isinstance(likelihood(Scaling(Space("vector", (2,), levels)), mixtures=5), kind)


def test_training_finds_a_gaussian():
    game = Vae(width=32, latent=2).build(CUBE, rng=Rng(0))
    rng = Rng(1).stream("x")
    factor = torch.tensor([[1.0, 0, 0], [0.9, 0.3, 0], [0.8, 0.2, 0.2]])
    x = torch.randn(2000, 3, generator=rng) @ factor.T * 3 + 5
    entropy = 1.5 * math.log(2 * math.pi * math.e) + math.log(0.06 * 27)
    game.prepare(x, rng=rng)
    before = game.validate(x, rng=Rng(0).stream("v")).item()
    play = solvers.make("adam:lr=0.01").start(game)
    for i in range(300):
        play.step(x[torch.arange(128 * i, 128 * i + 128) % 2000], rng=rng)
    after = game.validate(x, rng=Rng(0).stream("v")).item()
    assert before - entropy > 1
    assert after == pytest.approx(entropy, abs=0.2)


def test_digits_in_half_the_default_budget():
    images = torch.tensor(load_digits().images, dtype=torch.float32).view(-1, 1, 8, 8)
    order = torch.from_numpy(np.random.RandomState(0).permutation(1797))
    train_on, held_out, test = (InMemory(images[i]) for i in order.split([1257, 180, 360]))
    data = Splits(train=train_on, validation=held_out, test=test)
    family = Vae()
    game = family.build(DIGITS, rng=Rng(0))
    plan = Plan(budget=Budget(flops=1e11), ema=family.ema)
    train(game, solvers.make(family.solver), data, plan, rng=Rng(0))
    with torch.no_grad():
        found = game.model.log_prob(all_samples(test), rng=Rng(0).stream("z"))
    assert bits_per_dim(found.value, DIGITS).mean().item() < 2.15


@pytest.mark.parametrize(
    ("space", "family"),
    [
        (DIGITS, Vae()),
        (DIGITS, Vae(net="conv", width=16, depth=1)),
        (CUBE, Vae(depth=0)),
        (Space("vector", (5,), 4), Vae(latent=2, beta=0.5)),
        (Space("image", (3, 12, 12), 256), Vae(width=16, mixtures=2, iwae=4)),
        (Space("image", (3, 12, 12), 256), Vae(net="conv", width=16, iwae=4)),
        (Space("image", (1, 12, 12)), Vae(width=16, depth=1)),
    ],
    ids=["digits", "conv", "linear", "levels", "colour", "residual", "continuous"],
)
def test_contract(space, family):
    check_family(family, space, n=8)


@pytest.mark.parametrize("space", [DIGITS, CUBE, Space("image", (3, 32, 32), 256)])
def test_cost_can_be_counted_without_computing(space):
    game = Vae(iwae=3).build(space, rng=Rng(0))
    game.model.to("meta")
    x = torch.empty(4, *space.shape, device="meta")
    loss = game.loss("vae", x, rng=Rng(0).stream("loss"))
    gradients = torch.autograd.grad(loss, list(game.model.parameters()))
    assert all(g.device.type == "meta" for g in gradients)
    assert game.model.sample(2, rng=Rng(0).stream("fake")).shape == (2, *space.shape)
    assert game.model.log_prob(x, rng=Rng(0).stream("z")).value.shape == (4,)


def test_what_cannot_be_modelled_is_said():
    with pytest.raises(UserError, match="models vectors and images"):
        Vae().build(Space("tokens", (8,), 20), rng=Rng(0))
    with pytest.raises(UserError, match="net=conv needs images"):
        Vae(net="conv").build(CUBE, rng=Rng(0))
    with pytest.raises(UserError, match="net=strided needs images"):
        Vae(net="strided").build(CUBE, rng=Rng(0))
    with pytest.raises(UserError, match="needs latent=2 or more"):
        Vae(latent=1, prior_layers=1).build(CUBE, rng=Rng(0))
    with pytest.raises(UserError, match="at least 1"):
        families.make("vae:latent=0")
    with pytest.raises(UserError, match="Did you mean 'latent'"):
        families.make("vae:latnet=3")


def test_an_unknown_player_is_an_error():
    game = Vae().build(DIGITS, rng=Rng(0))
    with pytest.raises(UserError, match="Unknown player 'critic'"):
        game.loss("critic", samples(DIGITS, 2), rng=Rng(0).stream("loss"))


def test_written_form():
    assert families.make("vae:latent=8,beta=0.5,iwae=16") == Vae(latent=8, beta=0.5, iwae=16)
    assert families.resolve("vae") == (
        "vae:latent=none,width=256,depth=2,net=auto,beta=1.0,mixtures=none,iwae=64,ema=0.99"
    )
