import math

import pytest
import torch

from gantlet.models.losses import LOSSES, AdversarialObjective

REAL = torch.tensor([2.0, -1.0])
FAKE = torch.tensor([0.5, 1.0])


def f(t):
    return math.log1p(math.exp(t))


CRITIC = {
    "relativistic": (f(-1.5) + f(2.0)) / 2,
    "ns": (f(-2.0) + f(1.0)) / 2 + (f(0.5) + f(1.0)) / 2,
    "minimax": (f(-2.0) + f(1.0)) / 2 + (f(0.5) + f(1.0)) / 2,
    "hinge": (0.0 + 2.0) / 2 + (1.5 + 2.0) / 2,
    "wgan": 0.75 - 0.5,
}
GENERATOR = {
    "relativistic": (f(1.5) + f(-2.0)) / 2,
    "ns": (f(-0.5) + f(-1.0)) / 2,
    "minimax": -(f(0.5) + f(1.0)) / 2,
    "hinge": -0.75,
    "wgan": -0.75,
}


def rng():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_have_the_values_of_their_formulas(name):
    loss = LOSSES[name]
    assert loss.critic(REAL, FAKE).item() == pytest.approx(CRITIC[name])
    assert loss.generator(REAL, FAKE).item() == pytest.approx(GENERATOR[name])


@pytest.mark.parametrize("name", LOSSES)
def test_the_critic_wants_real_up_and_fake_down_and_the_generator_the_contrary(name):
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    up, down = torch.autograd.grad(LOSSES[name].critic(real, fake), [real, fake])
    assert (up <= 0).all()
    assert (down >= 0).all()
    (wish,) = torch.autograd.grad(LOSSES[name].generator(real, fake), fake)
    assert (wish < 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_of_the_generator_is_that_of_its_formula(name):
    fake = FAKE.clone().requires_grad_()
    (found,) = torch.autograd.grad(LOSSES[name].generator(REAL, fake), fake)
    slopes = {
        "relativistic": -torch.sigmoid(REAL - FAKE),
        "ns": -torch.sigmoid(-FAKE),
        "minimax": -torch.sigmoid(FAKE),
        "hinge": -torch.ones(2),
        "wgan": -torch.ones(2),
    }
    assert torch.allclose(found, slopes[name] / 2)


def test_only_paired_losses_of_the_generator_look_at_real_scores():
    real = REAL.clone().requires_grad_()
    for loss in LOSSES.values():
        assert loss.generator(real, FAKE).requires_grad == loss.is_paired


@pytest.mark.parametrize("name", LOSSES)
def test_losses_stay_finite_at_huge_scores(name):
    huge = torch.tensor([1e4, -1e4])
    assert LOSSES[name].critic(huge, -huge).isfinite()
    assert LOSSES[name].generator(huge, -huge).isfinite()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("theta", "psi"), [(1.0, 0.5), (-1.0, 0.5), (0.3, -0.2)])
def test_dirac_gan_pulls_as_mescheder_says(name, theta, psi):
    """Data at 0, G = theta, D(x) = psi x: theta follows psi, psi runs against theta."""
    rules = AdversarialObjective(loss=name, penalty="none")
    t, p = torch.tensor(theta, requires_grad=True), torch.tensor(psi, requires_grad=True)
    real = torch.zeros(1)
    critic = rules.critic(lambda x: p * x, real, t.reshape(1), rng=rng())
    generator = rules.generator(lambda x: p * x, real, t.reshape(1))
    (critic_slope,) = torch.autograd.grad(critic, p)
    (generator_slope,) = torch.autograd.grad(generator, t)
    weight = {"hinge": 1.0, "wgan": 1.0}.get(name)
    c = torch.tensor(theta * psi)
    assert critic_slope.item() == pytest.approx(theta * (weight or torch.sigmoid(c).item()))
    pull = torch.sigmoid(c if name == "minimax" else -c).item()
    assert generator_slope.item() == pytest.approx(-psi * (weight or pull))


def field(rules, theta, psi):
    t = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    p = torch.tensor(psi, dtype=torch.float64, requires_grad=True)
    real = torch.zeros(1, dtype=torch.float64)
    critic = rules.critic(lambda x: p * x, real, t.reshape(1), rng=rng())
    (dp,) = torch.autograd.grad(critic, p)
    (dt,) = torch.autograd.grad(rules.generator(lambda x: p * x, real, t.reshape(1)), t)
    return torch.stack([-dt, -dp])


@pytest.mark.parametrize(
    ("rules", "real", "imaginary"),
    [
        (AdversarialObjective(loss="ns", penalty="none"), 0.0, 0.5),
        (AdversarialObjective(loss="wgan", penalty="none"), 0.0, 1.0),
        (
            AdversarialObjective(loss="ns", penalty="r1", gamma=0.3),
            -0.15,
            math.sqrt(0.25 - 0.15**2),
        ),
        (
            AdversarialObjective(loss="ns", penalty="r2", gamma=0.3),
            -0.15,
            math.sqrt(0.25 - 0.15**2),
        ),
        (AdversarialObjective(loss="relativistic", penalty="r1r2", gamma=0.3), -0.3, 0.4),
    ],
    ids=str,
)
def test_dirac_gan_has_the_eigenvalues_of_theory(rules, real, imaginary):
    """Mescheder et al., 2018: which methods converge, read off at the equilibrium."""
    h = 1e-5
    columns = [
        (field(rules, h, 0.0) - field(rules, -h, 0.0)) / (2 * h),
        (field(rules, 0.0, h) - field(rules, 0.0, -h)) / (2 * h),
    ]
    eigenvalues = torch.linalg.eigvals(torch.stack(columns, 1))
    assert eigenvalues.real.tolist() == pytest.approx([real, real], abs=1e-6)
    assert eigenvalues.imag.abs().tolist() == pytest.approx([imaginary] * 2, abs=1e-6)
