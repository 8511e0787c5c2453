"""Fixed-step solvers against equations with a known solution, divergences against Jacobians."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from gantlet.core.rng import Rng
from gantlet.models import diffusion
from gantlet.models.diffusion import (
    UNet,
    VelocityMlp,
    exact_divergence,
    hutchinson,
    integrate,
    integrate_with_volume,
    rademacher,
)
from gantlet.models.nets import Standardise, seeded


def spin(y, t):
    """Rotates and grows with time: y' = t (1 + i) y, solved by y exp((1 + i) t^2 / 2)."""
    a, b = y.unbind(1)
    return t[:, None] * torch.stack([a - b, a + b], 1)


def spun(y):
    angle = torch.tensor(0.5, dtype=torch.float64)
    turn = torch.stack(
        [torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])]
    )
    return y @ turn * math.exp(0.5)


def logistic(y, t):
    return y * (1 - y) + 0 * t[:, None]


def even(steps):
    return [i / steps for i in range(steps + 1)]


def randomise(net, scale):
    rng = Rng(3).stream("net")
    for p in net.double().parameters():
        p.data = torch.randn(p.shape, generator=rng, dtype=torch.float64) * scale


def random_net(shape=(1, 4, 4)):
    with seeded(Rng(0).stream("init")):
        layers = [nn.Conv2d(2, 6, 3, padding=1), nn.SiLU(), nn.Conv2d(6, 1, 3, padding=1)]
    net = nn.Sequential(*layers)
    randomise(net, 1 / 3)

    def field(y, t):
        clock = t.view(-1, 1, 1, 1).expand(-1, 1, *shape[1:])
        return net(torch.cat([y, clock], 1))

    return net, field


def jacobian_trace(field, y, t):
    def flat(v, i):
        return field(v.view(1, *y.shape[1:]), t[i : i + 1]).flatten()

    return torch.stack(
        [
            torch.autograd.functional.jacobian(lambda v, i=i: flat(v, i), y[i].flatten()).trace()
            for i in range(len(y))
        ]
    )


@pytest.mark.parametrize("method", ["midpoint", "heun"])
def test_second_order_on_a_known_equation(method):
    y = torch.randn(5, 2, generator=Rng(0).stream("y"), dtype=torch.float64)
    errors = [
        (integrate(spin, y, even(n), method) - spun(y)).abs().max().item() for n in (20, 40, 80)
    ]
    assert errors[-1] < 1e-3
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("method", ["midpoint", "heun"])
def test_log_volume_is_second_order_on_a_known_equation(method):
    # y' = y (1 - y) is solved by e y / (1 - y + e y), of derivative e / (1 - y + e y)^2.
    y = torch.rand(7, 1, generator=Rng(0).stream("y"), dtype=torch.float64)
    truth = 1 - 2 * (1 - y + math.e * y).log().squeeze(1)
    errors = []
    for n in (20, 40):
        end, volume = integrate_with_volume(logistic, y, even(n), method, exact_divergence)
        errors.append((volume - truth).abs().max().item())
    assert torch.allclose(end, math.e * y / (1 - y + math.e * y), atol=1e-4)
    assert errors[1] < 1e-4
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("method", ["midpoint", "heun"])
def test_two_evaluations_a_step(method):
    calls = []

    def counted(y, t):
        calls.append(t[0].item())
        return -y

    integrate(counted, torch.ones(1, 1), even(7), method)
    assert len(calls) == 14
    assert min(calls) == 0
    assert max(calls) <= 1


@pytest.mark.parametrize("method", ["midpoint", "heun"])
def test_uneven_steps_are_second_order_too(method):
    y = torch.rand(7, 1, generator=Rng(0).stream("y"), dtype=torch.float64)
    truth = math.e * y / (1 - y + math.e * y)
    errors = []
    for n in (20, 40):
        times = [t**2 for t in even(n)]
        errors.append((integrate(logistic, y, times, method) - truth).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)


def test_backward_undoes_forward():
    y = torch.rand(5, 1, generator=Rng(0).stream("y"), dtype=torch.float64)
    there = integrate(logistic, y, even(50), "midpoint")
    back = integrate(logistic, there, even(50)[::-1], "midpoint")
    assert torch.allclose(back, y, atol=1e-5)


def test_exact_divergence_is_the_trace_of_the_jacobian(monkeypatch):
    _, field = random_net()
    rng = Rng(0).stream("y")
    y = torch.randn(3, 1, 4, 4, generator=rng, dtype=torch.float64)
    t = torch.rand(3, generator=rng, dtype=torch.float64)
    truth = jacobian_trace(field, y, t)
    assert torch.allclose(exact_divergence(field, y, t), truth, atol=1e-12)
    # The same in parts of one, of five (which does not divide 16) and of all directions.
    for cotangents in (1, 5 * 48, 10**6):
        monkeypatch.setattr(diffusion, "MOST_COTANGENTS", cotangents)
        assert torch.allclose(exact_divergence(field, y, t), truth, atol=1e-12)


def test_exact_divergence_is_differentiable_in_the_parameters():
    net, field = random_net()
    y = torch.randn(2, 1, 4, 4, generator=Rng(0).stream("y"), dtype=torch.float64)
    t = torch.full((2,), 0.3, dtype=torch.float64)
    weight = net[2].weight
    (slope,) = torch.autograd.grad(exact_divergence(field, y, t).sum(), weight)
    step = torch.zeros_like(weight)
    step.view(-1)[7] = 1e-5
    with torch.no_grad():
        weight += step
        up = exact_divergence(field, y, t).sum()
        weight -= 2 * step
        down = exact_divergence(field, y, t).sum()
    assert slope.view(-1)[7].item() == pytest.approx(((up - down) / 2e-5).item(), rel=1e-5)


def test_hutchinson_is_unbiased():
    _, field = random_net()
    rng = Rng(1).stream("probe")
    y = torch.randn(1, 1, 4, 4, generator=rng, dtype=torch.float64).expand(4000, -1, -1, -1)
    t = torch.full((4000,), 0.5, dtype=torch.float64)
    estimates = hutchinson(rademacher(y, rng=rng))(field, y, t)
    truth = exact_divergence(field, y[:1], t[:1]).item()
    error = estimates.std().item() / math.sqrt(4000)
    assert estimates.std() > 0.1
    assert abs(estimates.mean().item() - truth) < 4 * error


def test_hutchinson_over_all_signs_is_exact():
    # For two components the four sign vectors can all be tried.
    probe = torch.tensor([[1.0, 1.0], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    y = torch.tensor([[0.3, -0.7]], dtype=torch.float64).expand(4, 2)

    def field(y, t):
        a, b = y.unbind(1)
        return torch.stack([a * a * b, a.sin() + b**3 + t], 1)

    t = torch.zeros(4, dtype=torch.float64)
    found = hutchinson(probe)(field, y, t)
    assert found.mean().item() == pytest.approx(2 * 0.3 * -0.7 + 3 * 0.49, abs=1e-12)
    assert found.std() > 0.1


def test_rademacher_gives_signs():
    y = torch.zeros(1000, 3, dtype=torch.float64)
    probe = rademacher(y, rng=Rng(0).stream("probe"))
    assert probe.dtype == y.dtype
    assert set(probe.unique().tolist()) == {-1, 1}
    assert probe.mean().abs() < 0.1


def test_networks_have_smooth_divergences():
    rng = Rng(5).stream("y")
    with seeded(Rng(0).stream("init")):
        nets = [
            VelocityMlp((1, 8, 8), width=16, depth=2, time_features=3),
            UNet((1, 8, 8), width=4, depth=1, time_features=3),
        ]
    for net in nets:
        randomise(net, 1 / 4)
        y = torch.randn(2, 1, 8, 8, generator=rng, dtype=torch.float64)
        t = torch.rand(2, generator=rng, dtype=torch.float64)
        assert torch.allclose(exact_divergence(net, y, t), jacobian_trace(net, y, t), atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 9, 13), (2, 4, 4), (3, 64, 64)])
def test_unet_keeps_the_shape_and_starts_at_zero(shape):
    with seeded(Rng(0).stream("init")):
        net = UNet(shape, width=8, depth=2, time_features=2)
    y = torch.randn(2, *shape, generator=Rng(0).stream("y"))
    velocity = net(y, torch.rand(2, generator=Rng(0).stream("t")))
    assert velocity.shape == y.shape
    assert (velocity == 0).all()
    # Every parameter takes part.
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.1)
    gradients = torch.autograd.grad(net(y, torch.ones(2)).square().sum(), list(net.parameters()))
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("each", [True, False])
def test_standardise(each):
    rng = Rng(0).stream("y")
    y = torch.randn(400, 2, 3, generator=rng) * torch.tensor([1.0, 5, 2]) + 7
    module = Standardise((2, 3), each=each)
    assert torch.equal(module(y), y)
    assert module.log_volume() == 0
    module.fit(y)
    u = module(y)
    means, stds = (u.mean(0), u.std(0, correction=0)) if each else (u.mean(), u.std(correction=0))
    assert means.abs().max() < 1e-5
    assert (stds - 1).abs().max() < 1e-5
    assert torch.allclose(module.inverse(u), y, atol=1e-5)
    jacobian = torch.autograd.functional.jacobian(lambda v: module(v[None])[0].flatten(), y[0])
    truth = jacobian.reshape(6, 6).slogdet().logabsdet
    assert module.log_volume().item() == pytest.approx(truth.item(), abs=1e-5)


def test_standardise_bounds_what_a_constant_component_can_become():
    y = torch.randn(300, 2, generator=Rng(0).stream("y"))
    y[:, 0] = 3
    module = Standardise((2,), each=True)
    module.fit(y)
    assert module.scale[0] == pytest.approx(0.1 * y.std(correction=0).item())
    assert module(y + 1).abs().max() < 100
