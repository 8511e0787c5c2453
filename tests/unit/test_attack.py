"""Attacks against closed forms: linear critics in any norm, a quadratic critic, balls, masks."""

import math

import pytest
import torch
from torch import Tensor, nn

from gantlet.core.errors import UserError
from gantlet.games.attack import (
    Ball,
    Goal,
    attackable,
    deepfool,
    dual,
    fgsm,
    lengths,
    median_distance,
    minimal,
    pgd,
    slopes,
    steepest,
    threshold_of,
)
from gantlet.games.masking import masking
from gantlet.models.nets import mlp, seeded

NORMS = [1.0, 1.5, 2.0, 3.0, math.inf]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(w: Tensor, b: float = 0.0):
    return lambda x: x.flatten(1) @ w.flatten() + b


def quadratic(a: Tensor, b: Tensor):
    return lambda x: x @ b - 0.5 * ((x @ a) * x).sum(1)


def best_of_quadratic(a: Tensor, b: Tensor, x: Tensor, radius: float) -> Tensor:
    """The largest value in an L2 ball around one point: the secular equation, by bisection."""
    values, vectors = torch.linalg.eigh(a)
    slope = vectors.T @ (b - a @ x)
    low, high = max(0.0, -float(values[0])) + 1e-12, 1e6

    def step(mu: float) -> Tensor:
        return slope / (values + mu)

    if float(values[0]) > 0 and float(step(0.0).norm()) <= radius:
        d = step(0.0)
    else:
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if float(step(middle).norm()) > radius else (low, middle)
        d = step(high)
    at = x + vectors @ d
    return quadratic(a, b)(at[None])[0]


@pytest.mark.parametrize("norm", NORMS)
def test_steepest_direction_attains_the_dual_norm(norm):
    slope = noise(50, 3, 4)
    d = steepest(slope, norm)
    assert torch.allclose(lengths(d, norm), torch.ones(50, dtype=torch.float64))
    reached = (slope * d).flatten(1).sum(1)
    assert torch.allclose(reached, lengths(slope, dual(norm)))


def test_steepest_direction_of_nothing_is_nothing():
    assert steepest(torch.zeros(2, 3), 3.0).abs().sum() == 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("towards", ["real", "fake"])
def test_attack_on_a_linear_critic_gains_radius_times_dual_norm(norm, towards):
    w, x = noise(12, seed=1), noise(20, 3, 4)
    found = pgd(linear(w), x, Ball(radius=0.7, norm=norm), towards=towards)
    exact = 0.7 * float(lengths(w[None], dual(norm)))
    assert torch.allclose(found.gain, torch.full_like(found.gain, exact), rtol=1e-3)
    single = fgsm(linear(w), x, Ball(radius=0.7, norm=norm), towards=towards)
    assert torch.allclose(single.gain, torch.full_like(found.gain, exact))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("towards", ["real", "fake"])
def test_least_perturbation_of_a_linear_critic_is_exact(norm, towards):
    w, x = noise(12, seed=1), noise(20, 12)
    critic, goal = linear(w, 0.3), Goal(threshold=0.1, towards=towards)
    found = minimal(critic, x, goal, norm=norm)
    exact = goal.gap(critic(x)).clamp(min=0) / lengths(w[None], dual(norm))
    assert torch.allclose(found.distance, exact, rtol=1e-5)
    assert (goal.gap(critic(found.x)) <= 1e-9).all()


@pytest.mark.parametrize("kind", ["concave", "saddle"])
def test_attack_on_a_quadratic_critic_solves_the_trust_region_problem(kind):
    root = noise(6, 6, seed=3)
    a = root @ root.T / 6 if kind == "concave" else (root + root.T) / 2
    b, x = noise(6, seed=4), noise(30, 6, seed=5)
    found = pgd(
        quadratic(a, b),
        x,
        Ball(radius=0.8),
        steps=60,
        restarts=4,
        rng=torch.Generator().manual_seed(0),
    )
    exact = torch.stack([best_of_quadratic(a, b, one, 0.8) for one in x])
    gain = exact - found.before
    assert (found.gain <= gain * (1 + 1e-6)).all()
    assert (found.gain >= 0.99 * gain).all()


def test_least_perturbation_of_a_round_critic_is_the_distance_to_the_circle():
    # Real inside of the unit circle.
    x = 3 * noise(40, 5)
    found = minimal(lambda at: 1 - at.square().sum(1), x, Goal())
    exact = (x.norm(dim=1) - 1).clamp(min=0)
    assert torch.allclose(found.distance, exact, rtol=1e-2, atol=1e-9)
    assert (found.distance >= exact - 1e-9).all()


@pytest.mark.parametrize("norm", NORMS)
def test_no_attack_leaves_the_ball_or_the_limits(norm):
    net = critic_net(0, size=8)
    x = torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
    radius = torch.linspace(0.0, 2.0, 64)
    ball = Ball(radius=radius, norm=norm, limits=(0.0, 1.0))
    for towards in ("real", "fake"):
        found = pgd(
            net,
            x,
            ball,
            towards=towards,
            restarts=3,
            rng=torch.Generator().manual_seed(1),
        )
        assert found.x.min() >= 0
        assert found.x.max() <= 1
        assert (lengths(found.x - x, norm) <= radius * (1 + 1e-5) + 1e-6).all()
        assert (found.gain >= 0).all()
    near = minimal(lambda at: net(at) - 0.1, x, Goal(), norm=norm, limits=(0.0, 1.0))
    assert near.x.min() >= 0
    assert near.x.max() <= 1


def test_l1_projection_is_the_nearest_point():
    p = noise(200, 5)
    inside = Ball(radius=1.0, norm=1.0).held(torch.zeros_like(p), p)
    assert (lengths(inside, 1) <= 1 + 1e-9).all()
    # No point of the ball is nearer: the variational inequality at random points and corners.
    others = torch.cat([torch.eye(5).double(), -torch.eye(5).double(), noise(50, 5, seed=9)])
    others = others / lengths(others, 1)[:, None].clamp(min=1)
    assert (((p - inside) @ others.T) <= ((p - inside) * inside).sum(1)[:, None] + 1e-9).all()


def test_random_starts_fill_the_ball_evenly():
    x = torch.zeros(20_000, 3)
    p = Ball(radius=2.0).drawn(x, torch.Generator().manual_seed(0))
    share = (p.norm(dim=1) < 1).double().mean()
    assert abs(float(share) - 1 / 8) < 0.01


def test_steps_that_cannot_reach_the_surface_are_refused():
    with pytest.raises(UserError, match="never reach the surface"):
        pgd(linear(noise(3)), noise(4, 3), Ball(radius=1.0), steps=20, step=1 / 30)


def test_bad_settings_are_refused():
    x = noise(4, 3)
    with pytest.raises(UserError, match="at least 0"):
        Ball(radius=-1.0)
    with pytest.raises(UserError, match="from 1 to infinity"):
        Ball(radius=1.0, norm=0.5)
    with pytest.raises(UserError, match="the lower first"):
        Ball(radius=1.0, limits=(1.0, 0.0))
    with pytest.raises(UserError, match="needs rng"):
        pgd(linear(noise(3)), x, Ball(radius=1.0), restarts=2)
    with pytest.raises(UserError, match="within the limits"):
        pgd(linear(noise(3)), x, Ball(radius=1.0, limits=(0.0, 0.1)))
    with pytest.raises(UserError, match="at least 1 step"):
        pgd(linear(noise(3)), x, Ball(radius=1.0), steps=0)


def test_blocks_change_nothing():
    x, critic = noise(20, 6), quadratic(torch.eye(6).double(), noise(6, seed=2))
    radius = torch.rand(20, generator=torch.Generator().manual_seed(0)).double()
    whole = pgd(critic, x, Ball(radius=radius)).x
    assert torch.allclose(whole, pgd(critic, x, Ball(radius=radius), block=7).x)
    far = minimal(critic, x, Goal(threshold=1.0), largest=9.0)
    parts = minimal(critic, x, Goal(threshold=1.0), largest=9.0, block=7)
    assert torch.allclose(far.distance, parts.distance)


def test_what_cannot_be_attacked_is_infinitely_far():
    x = noise(10, 3)
    found = minimal(lambda at: -at.square().sum(1), x, Goal(threshold=1.0))
    assert found.distance.isinf().all()
    assert torch.equal(found.x, x)
    assert not found.succeeded.any()
    assert "could be attacked" in median_distance(found.distance).method


def test_samples_past_the_threshold_are_at_distance_zero():
    x = noise(10, 3)
    found = minimal(linear(torch.ones(3).double()), x, Goal(threshold=-100.0))
    assert (found.distance == 0).all()


def test_deepfool_needs_one_step_on_a_plane():
    w, x = noise(12, seed=1), noise(20, 12)
    goal = Goal(threshold=3.0)
    found = deepfool(linear(w), x, goal, steps=1)
    exact = 1.02 * goal.gap(linear(w)(x)).clamp(min=0) / w.norm()
    assert torch.allclose(found.distance, exact)


def test_gradients_go_to_samples_alone():
    with seeded(torch.Generator().manual_seed(0)):
        net = nn.Linear(3, 1)
    with torch.no_grad():
        slope, _ = slopes(lambda x: net(x)[:, 0], torch.zeros(2, 3))
    assert torch.allclose(slope, net.weight.detach().expand(2, 3))
    assert net.weight.grad is None


def test_median_covers_as_often_as_it_says():
    rng = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(200):
        e = median_distance(torch.rand(61, generator=rng))
        held += (e.low or 1) <= 0.5 <= (e.high or 0)
    assert 184 <= held <= 199


def test_median_counts_what_is_out_of_reach_as_far():
    e = median_distance(torch.tensor([1.0, 2.0, math.inf]))
    assert e.value == 2.0
    assert e.low is None
    assert attackable(torch.tensor([1.0, 2.0, math.inf]), 1.5).value == pytest.approx(1 / 3)


def test_threshold_of_scores_without_a_zero_is_that_of_real_samples():
    real = torch.tensor([1.0, 5.0, 9.0])
    assert [threshold_of(loss, real) for loss in ("bce", "hinge", "lsgan")] == [0.0, 0.0, 0.5]
    assert [threshold_of(loss, real) for loss in ("wgan", "relativistic", None)] == [5.0] * 3


# ----------------------------------------------------------------------------
# Gradient masking.
# ----------------------------------------------------------------------------


class Reversed(torch.autograd.Function):
    """The identity with a gradient that points the other way."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return -grad


def critic_net(seed: int, size: int = 10) -> nn.Module:
    with seeded(torch.Generator().manual_seed(seed)):
        return nn.Sequential(mlp(size, 64, 64, 1), nn.Flatten(0))


def masked(kind: str, net: nn.Module):
    match kind:
        case "staircase":
            return lambda x: (net(x) * 50).round() / 50
        case "ripples":
            return lambda x: net(x) + 1e-3 * torch.sin(3e4 * x.sum(1))
        case "reversed":
            return lambda x: net(Reversed.apply(x))
        case "rounded input":
            return lambda x: net((x * 8).round() / 8)
        case "random":
            rng = torch.Generator().manual_seed(0)
            return lambda x: net(x + 0.05 * torch.randn(x.shape, generator=rng))
        case "saturated":
            return lambda x: torch.logit(torch.sigmoid(1000 * (net(x) - 0.5)), eps=1e-7)
        case _:
            raise ValueError(kind)


KINDS = ["staircase", "ripples", "reversed", "rounded input", "random", "saturated"]


@pytest.mark.parametrize("kind", KINDS)
def test_masked_critics_are_flagged(kind):
    for seed in range(2):
        x = torch.randn(60, 10, generator=torch.Generator().manual_seed(seed))
        rng = torch.Generator().manual_seed(seed)
        found = masking(masked(kind, critic_net(seed)), x, Ball(radius=0.5), rng=rng)
        assert found.is_masked, kind


@pytest.mark.parametrize("norm", [2.0, math.inf])
def test_honest_critics_are_not_flagged(norm):
    for seed in range(4):
        x = torch.randn(60, 10, generator=torch.Generator().manual_seed(seed))
        rng = torch.Generator().manual_seed(seed)
        others = [critic_net(100 + seed)]
        ball = Ball(radius=0.5, norm=norm)
        found = masking(critic_net(seed), x, ball, rng=rng, others=others)
        assert not found.is_masked, found
