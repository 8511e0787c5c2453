import math

import pytest
import torch

from gantlet.models.ar import CategoricalOutput, GaussianMixture, Made
from gantlet.models.causal import MaskedLinear, choose
from gantlet.models.nets import seeded


def made(size, inputs=1, outputs=2, width=16, layers=2):
    with seeded(torch.Generator().manual_seed(0)):
        return Made(size, inputs, outputs, width, layers)


@pytest.mark.parametrize("size", [1, 2, 5, 40])
@pytest.mark.parametrize("inputs", [1, 3])
def test_an_output_sees_only_the_components_before_it(size, inputs):
    net = made(size, inputs)
    x = torch.randn(size, inputs, generator=torch.Generator().manual_seed(1))
    jacobian = torch.autograd.functional.jacobian(lambda y: net(y[None])[0], x)
    reach = jacobian.abs().sum((1, 3))
    assert torch.equal(reach, reach.tril(-1))


def test_every_component_before_is_seen():
    net = made(6, width=64)
    x = torch.randn(6, 1, generator=torch.Generator().manual_seed(1))
    jacobian = torch.autograd.functional.jacobian(lambda y: net(y[None])[0], x)
    reach = jacobian.abs().sum((1, 3))
    assert bool((reach[torch.ones(6, 6).tril(-1).bool()] > 0).all())


def test_masked_weights_do_not_act_and_have_no_gradient():
    mask = torch.tensor([[True, False], [True, True]])
    with seeded(torch.Generator().manual_seed(0)):
        layer = MaskedLinear(mask)
    layer(torch.ones(3, 2)).sum().backward()
    assert layer.masked[0, 1] == 0
    assert layer.weight.grad[0, 1] == 0
    assert layer.weight.grad[1, 1] == 3


def test_choice_follows_the_probabilities():
    logits = torch.tensor([0.5, 0.25, 0.0, 0.25]).log()
    u = (torch.arange(1000) + 0.5) / 1000
    counts = choose(logits.expand(1000, 4), u).bincount(minlength=4)
    assert counts.tolist() == [500, 250, 0, 250]


def test_choice_near_one_is_a_category():
    u = torch.full((5,), 1 - 2**-24)
    assert choose(torch.zeros(5, 7), u).tolist() == [6] * 5


def test_categorical_sums_to_one_and_describes_one_hot():
    out = CategoricalOutput(5)
    x = torch.arange(5.0)
    theta = torch.randn(5, generator=torch.Generator().manual_seed(0)).expand(5, 5)
    assert float(out.log_prob(x, theta).exp().sum()) == pytest.approx(1, abs=1e-6)
    assert torch.equal(out.describe(x), torch.eye(5))


def test_mixture_density_matches_torch_distributions():
    out = GaussianMixture(4)
    rng = torch.Generator().manual_seed(0)
    theta, x = torch.randn(7, 12, generator=rng), torch.randn(7, generator=rng)
    logits, mean, log_std = theta.chunk(3, -1)
    slow = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=logits),
        torch.distributions.Normal(mean, log_std.exp()),
    ).log_prob(x)
    torch.testing.assert_close(out.log_prob(x, theta), slow)


@pytest.mark.parametrize("components", [1, 10])
def test_mixture_starts_broad_and_normalised(components):
    out = GaussianMixture(components)
    x = torch.linspace(-30, 30, 6001)
    density = out.log_prob(x, out.start().expand(6001, -1)).exp()
    assert float(density.sum() * 0.01) == pytest.approx(1, abs=1e-4)
    assert float(density[2800:3200].min()) > 0.02


def test_mixture_density_of_a_point_mass_stays_finite():
    out = GaussianMixture(1)
    found = out.log_prob(torch.zeros(1), torch.tensor([[0.0, 0.0, -100.0]]))
    assert float(found) == pytest.approx(7 - 0.5 * math.log(2 * math.pi), abs=1e-5)


def test_mixture_draws_have_the_moments_of_the_mixture():
    out = GaussianMixture(2)
    theta = torch.tensor([math.log(0.3), math.log(0.7), -1.0, 2.0, math.log(0.5), 0.0])
    x = out.draw(theta.expand(50_000, 6), rng=torch.Generator().manual_seed(0))
    mean = 0.3 * -1 + 0.7 * 2
    variance = 0.3 * (0.25 + 1) + 0.7 * (1 + 4) - mean**2
    assert float(x.mean()) == pytest.approx(mean, abs=0.03)
    assert float(x.var()) == pytest.approx(variance, abs=0.06)
