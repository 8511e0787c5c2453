"""The LGQ GAN against what pen and paper say of it; every field is by autograd."""

from dataclasses import dataclass
from typing import Any, final

import pytest
import torch
from typing_extensions import override

import toy_games as exact
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.games import toys
from gantlet.games.batched import Ensemble, Plays
from gantlet.games.field import Vector
from gantlet.games.solvers import CrossingTheCurl, Sgd, Update, rates
from gantlet.games.toys import Lgq, LgqToy, LinearGenerator, QuadraticCritic
from gantlet.research.convergence.assumptions import Adaptive
from gantlet.research.convergence.games import (
    JensenShannonLgq,
    QuadraticWasserstein,
    Sampled,
    gaussian_goal,
)

NOTHING = torch.zeros(0, dtype=torch.float64)
CURL = CrossingTheCurl(base="sgd", lr=(0.01,))
SIX = torch.tensor([2.0, 1.2, 0.6, 0.4, 0.3, 0.2], dtype=torch.float64)


def normal(*shape, name="test"):
    return torch.randn(*shape, generator=Rng(0).stream(name), dtype=torch.float64)


def rotated(*values):
    """Returns a covariance with these eigenvalues, in no special position."""
    turn, _ = torch.linalg.qr(normal(len(values), len(values), name="turn"))
    return turn * torch.tensor(values, dtype=torch.float64) @ turn.mT


def parts(game, z):
    """Returns ``W`` and ``A`` at one point."""
    Ensemble(game).place(z)
    return game.critic.matrix.detach().clone(), game.generator.scale.detach().clone()


def simultaneous(field, z):
    return field.value(z)


def crossing_the_curl(field, z):
    return CrossingTheCurl(base="sgd").direction(field, z)


@final
@dataclass(frozen=True)
class RungeKutta(Update):
    """The classical method of fourth order."""

    direction: Any
    lr: tuple[float, ...]

    @override
    def step(self, fields, z, memory):
        h = -1 * rates(self.lr, z.layout, z.flat)
        a = self.direction(fields[0], z)
        b = self.direction(fields[0], z + a * (h / 2))
        c = self.direction(fields[0], z + b * (h / 2))
        d = self.direction(fields[0], z + c * h)
        return z + (a + 2 * b + 2 * c + d) * (h / 6), memory


def flow(game, direction, z, time, steps):
    """Returns where the flow of a direction has carried one point."""
    solver = RungeKutta(direction, (time / steps,))
    return play(game, z[None], steps=steps, solver=solver)[0]


def along(game, direction):
    ensemble, nothing = Ensemble(game), NOTHING[None]
    field = Plays(ensemble, nothing, nothing)
    return lambda z: -direction(field, Vector(ensemble.layout, z[None])).flat[0]


def play(game, z, *, tau=1.0, h=0.01, steps, solver=None):
    """Returns where many plays end."""
    ensemble, empty = Ensemble(game), z.new_empty(len(z), 0)
    plain = Sgd(lr=(tau * h, h), mode="simultaneous")
    step, memory = ensemble.program(solver or plain, z, empty, empty)
    with torch.no_grad():
        for _ in range(steps):
            z, memory = step(z, memory, empty, empty)
    return z


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_field_of_the_game_is_that_of_the_paper(dim):
    covariance = rotated(*torch.linspace(0.4, 1.6, dim).tolist())
    game = Lgq(covariance)
    ensemble, z = Ensemble(game), normal(dim * (dim + 1) // 2 + dim * dim)
    w, a = parts(game, z)
    v = ensemble.field(z, NOTHING, NOTHING)
    ensemble.place(v)
    assert torch.allclose(game.critic.matrix, covariance - a @ a.mT)
    assert torch.allclose(game.generator.scale, 2 * w @ a)


def test_crossing_the_curl_follows_its_own_closed_form():
    covariance = rotated(1.0, 0.7, 0.4, 0.2)
    game = Lgq(covariance)
    z = 0.5 * normal(26)
    _, start = parts(game, z)
    end = flow(game, crossing_the_curl, z, 1.0, 500)
    _, a = parts(game, end)
    found, told = torch.linalg.inv(a @ a.mT), exact.precision_path(covariance, start, 1.0)
    assert float(torch.linalg.norm(found - told) / torch.linalg.norm(told)) < 1e-10


def test_the_field_of_crossing_the_curl_is_two_lines():
    covariance = rotated(1.0, 0.5, 0.2)
    game, z = Lgq(covariance), normal(15)
    w, a = parts(game, z)
    Ensemble(game).place(along(game, crossing_the_curl)(z))
    made = a @ a.mT
    assert torch.allclose(game.critic.matrix, -2 * (w @ made + made @ w))
    assert torch.allclose(game.generator.scale, -2 * (made - covariance) @ a)


@pytest.mark.slow
def test_the_invariant_of_one_dimension_is_kept_by_descent_and_lowered_by_crossing_the_curl():
    game = Lgq(torch.tensor([[0.8]], dtype=torch.float64))
    z = torch.tensor([0.7, 1.9], dtype=torch.float64)

    def height(at):
        return exact.invariant(at[0], at[1], 0.8)

    round_and_round = flow(game, simultaneous, z, 5.0, 500)
    assert float(torch.linalg.norm(round_and_round - z)) > 0.1
    assert float((height(round_and_round) - height(z)).abs()) < 1e-8
    early, late = (flow(game, crossing_the_curl, z, time, 60) for time in (0.1, 1.0))
    assert height(z) > height(early) > height(late)
    # The rate that is told, by autograd.
    at = torch.tensor([0.3, 1.2], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(height(at), at)
    rate = slope @ along(game, crossing_the_curl)(at.detach())
    w, a = at.detach()
    assert float(rate) == pytest.approx(float(-8 * a**2 * w**2 - 2 * (a**2 - 0.8) ** 2), rel=1e-12)


RIDGE = [(1.0, 0.5), (1.0, 1.0), (4.0, 0.5), (1.5, 1.0), (1.0, 1.5), (4.0, 0.65)]
R1 = [(1.0, 0.35), (1.0, 0.5), (1.0, 0.7), (2.0, 0.5), (1.0, 0.9), (4.0, 0.5)]


def solution(game, values, rank, *, ridge=0.0, gamma=0.0):
    """Returns the principal solution of a diagonal covariance as one point."""
    game.generator.scale.data = (torch.diag(values).sqrt())[:, :rank].clone()
    best = toys.best_critic(torch.diag(values), rank, ridge=ridge, gamma=gamma)
    game.critic.curve.data = (game.critic.basis * best).sum((1, 2))
    assert float(game.distance().detach()) < 1e-12
    return Ensemble(game).now


def rightmost(game, z, tau, rank):
    """Returns the largest real part of the Jacobian without the turns of the noise."""
    ensemble = Ensemble(game)
    rates = ensemble.rates({"critic": tau, "generator": 1.0})
    jacobian = rates[:, None] * ensemble.jacobian(z, NOTHING, NOTHING)
    values = torch.linalg.eigvals(jacobian)
    values = values[values.abs().argsort()]
    idle = rank * (rank - 1) // 2
    assert values[:idle].abs().max() < 1e-7
    return float(values[idle:].real.max())


@pytest.mark.parametrize(("tau", "ridge"), RIDGE)
def test_ridge_and_two_time_scales_are_stable_above_the_threshold_alone(tau, ridge):
    game = Lgq(torch.diag(SIX), rank=2, ridge=ridge)
    ratio = exact.ridge_ratio(SIX, 2, ridge=ridge, tau=tau)
    edge = rightmost(game, solution(game, SIX, 2, ridge=ridge), tau, 2)
    assert (edge < 0) == (ratio > 1), (ratio, edge)


@pytest.mark.parametrize(("tau", "c"), R1)
def test_r1_is_stable_above_the_threshold_alone(tau, c):
    game = Lgq(torch.diag(SIX), rank=2, gamma=c / 2)
    ratio = exact.r1_ratio(SIX, 2, gamma=c / 2, tau=tau)
    edge = rightmost(game, solution(game, SIX, 2, gamma=c / 2), tau, 2)
    assert (edge < 0) == (ratio > 1), (ratio, edge)


def test_thresholds_are_met_on_both_sides():
    cases = [(*c, 0.0) for c in RIDGE] + [(tau, 0.0, c / 2) for tau, c in R1]
    sides = {exact.ridge_ratio(SIX, 2, ridge=r, tau=t) > 1 for t, r, _ in cases if r}
    assert sides == {True, False}
    sides = {exact.r1_ratio(SIX, 2, gamma=g, tau=t) > 1 for t, _, g in cases if g}
    assert sides == {True, False}


def test_another_subspace_than_the_principal_one_is_not_stable():
    game = Lgq(torch.diag(SIX), rank=2, ridge=3.0)
    scale = torch.zeros(6, 2, dtype=torch.float64)
    scale[0, 0], scale[2, 1] = SIX[0].sqrt(), SIX[2].sqrt()  # the second direction is left out
    game.generator.scale.data = scale
    curve = (torch.diag(SIX) - scale @ scale.mT) / 3.0
    game.critic.curve.data = (game.critic.basis * curve).sum((1, 2))
    z = Ensemble(game).now
    assert float(torch.linalg.norm(Ensemble(game).field(z, NOTHING, NOTHING))) < 1e-12
    assert rightmost(game, z, 10.0, 2) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tau", "penalty", "share"),
    [
        (1.0, {"ridge": 1.0}, 0),
        (2.0, {"ridge": 1.5}, 20),
        (1.0, {"gamma": 0.25}, 0),
        (4.0, {"gamma": 0.5}, 20),
    ],
)
def test_training_converges_on_one_side_of_the_threshold_alone(tau, penalty, share):
    values = torch.tensor([2.0, 1.2, 0.6, 0.4], dtype=torch.float64)
    game = Lgq(torch.diag(values), rank=2, **penalty)
    z = play(game, normal(20, 10 + 8), tau=tau, h=0.02, steps=2000)
    reached = Ensemble(game).distance(z) < 1e-3
    ratios = {"ridge": exact.ridge_ratio, "gamma": exact.r1_ratio}
    (name,) = penalty
    assert (ratios[name](values, 2, **penalty, tau=tau) > 1) == (share == 20)
    assert int(reached.sum()) == share


@pytest.mark.slow
def test_crossing_the_curl_converges_from_everywhere_and_descent_does_not():
    covariance = rotated(1.0, 0.5)
    z = normal(20, 7)
    crossed = play(Lgq(covariance), z, steps=900, solver=CURL)
    descended = play(Lgq(covariance), z, steps=900)
    assert int((Ensemble(Lgq(covariance)).distance(crossed) < 1e-3).sum()) == 20
    assert int((Ensemble(Lgq(covariance)).distance(descended) < 1e-3).sum()) == 0


def test_adaptive_steps_reach_from_afar_where_a_fixed_step_overflows():
    game = Lgq(rotated(1.0, 0.5))
    far = 6 * normal(20, 7)
    solver = Adaptive(along=CrossingTheCurl(base="sgd", lr=(1.0,)), tolerance=1e-4)
    near = Ensemble(game).distance(play(game, far, steps=600, solver=solver))
    assert int((near < 1e-3).sum()) == 20
    fixed = Ensemble(game).distance(
        play(game, far, steps=400, solver=CrossingTheCurl(base="sgd", lr=(0.05,)))
    )
    assert int((fixed < 1e-3).sum()) < 20


def test_wasserstein_is_smallest_at_the_principal_part():
    covariance = rotated(1.0, 0.6, 0.3, 0.1)
    best = toys.wasserstein(covariance, toys.principal(covariance, 2))
    assert float(best) == pytest.approx(0.4, abs=1e-6)
    for k in range(20):
        other = normal(4, 2, name=f"other {k}")
        assert toys.wasserstein(covariance, other @ other.mT) >= best
    # Minimised by descent, which knows nothing of eigenvectors.
    factor = normal(4, 2).requires_grad_()
    for _ in range(1000):
        cross = torch.linalg.svdvals(torch.linalg.cholesky(covariance).mT @ factor).sum()
        loss = torch.trace(covariance) + factor.square().sum() - 2 * cross
        (slope,) = torch.autograd.grad(loss, factor)
        factor = (factor - 0.05 * slope).detach().requires_grad_()
    assert float(loss.detach()) == pytest.approx(0.4, abs=1e-6)
    assert torch.allclose(factor @ factor.mT, toys.principal(covariance, 2), atol=1e-3)


def test_wasserstein_of_commuting_covariances_is_that_of_standard_deviations():
    a, b = torch.tensor([1.0, 4.0, 0.25]).double(), torch.tensor([9.0, 1.0, 0.0]).double()
    found = toys.wasserstein(torch.diag(a), torch.diag(b))
    assert float(found) == pytest.approx(float((a.sqrt() - b.sqrt()).square().sum()), rel=1e-12)


def test_the_inner_maximum_of_the_quadratic_game_is_the_wasserstein_distance():
    covariance = rotated(1.0, 0.5, 0.2)
    game = QuadraticWasserstein(covariance)
    game.generator.scale.data = normal(3, 3)
    for _ in range(800):
        loss = game.judge("critic", NOTHING, NOTHING)
        (slope,) = torch.autograd.grad(loss, game.critic.curve)
        game.critic.curve.data -= 0.2 * slope
    told = toys.wasserstein(covariance, game.generator.covariance.detach())
    assert float(-loss.detach()) == pytest.approx(float(told), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "share"), [(2, 10), (1, 0)])
def test_the_quadratic_game_converges_at_full_rank_alone(rank, share):
    game = QuadraticWasserstein(torch.diag(torch.tensor([1.0, 0.5])).double(), rank=rank)
    z = play(game, normal(10, 3 + 2 * rank), h=0.05, steps=600)
    assert int((Ensemble(game).distance(z) < 1e-3).sum()) == share


def test_quadrature_has_the_moments_and_the_best_critic_is_the_log_ratio():
    covariance = torch.diag(torch.tensor([1.0, 0.4])).double()
    game = JensenShannonLgq(covariance)
    game.generator.scale.data = torch.tensor([[0.9, 0.1], [0.0, 0.8]]).double()
    made = game.generator.covariance.detach()
    curve = (torch.linalg.inv(made) - torch.linalg.inv(covariance)) / 2
    game.critic.curve.data = (game.critic.basis * curve).sum((1, 2))
    game.critic.offset.data = (torch.logdet(made) - torch.logdet(covariance)) / 2
    loss = game.judge("critic", NOTHING, NOTHING)
    slopes = torch.autograd.grad(loss, list(game.critic.parameters()))
    # Twenty nodes know the expectation of a softplus to about so many digits.
    assert all(s.abs().max() < 1e-5 for s in slopes)


def test_samples_give_what_expectations_give():
    covariance, mean = rotated(1.0, 0.5), torch.tensor([0.3, -0.2]).double()
    known = Lgq(covariance, mean=mean, gamma=0.7)
    generator, critic = LinearGenerator(2, 2, is_shifted=True), QuadraticCritic(2, is_tilted=True)
    goal = gaussian_goal(generator, mean, covariance)
    drawn = Sampled(generator, critic, latent=2, goal=goal, gamma=0.7)
    z = normal(3 + 2 + 4 + 2)
    Ensemble(known).place(z)
    Ensemble(drawn).place(z)
    x = mean + normal(400_000, 2) @ torch.linalg.cholesky(covariance).mT
    for player in known.players:
        exactly = known.judge(player, NOTHING, NOTHING)
        about = drawn.loss(player, x, rng=Rng(0).stream("noise"))
        assert float(about.detach()) == pytest.approx(float(exactly.detach()), abs=0.02)


def test_the_distance_of_gaussians_sees_mean_and_covariance():
    generator = LinearGenerator(2, 2, is_shifted=True)
    goal = gaussian_goal(generator, torch.tensor([3.0, 4.0]).double(), torch.eye(2).double())
    assert float(goal().detach()) == pytest.approx(5 / 2**0.5, rel=1e-9)


@pytest.mark.parametrize("make", [Lgq, QuadraticWasserstein, JensenShannonLgq])
def test_an_unknown_player_is_told(make):
    with pytest.raises(UserError, match="Did you mean 'critic'"):
        make(torch.eye(2).double()).judge("critc", NOTHING, NOTHING)


def test_the_toy_is_the_game_of_its_settings():
    game = LgqToy(dim=3, condition=4.0, rank=2, gamma=0.5, mean=True, seed=1).build()
    ensemble = Ensemble(game)
    assert ensemble.sizes == {"critic": 6 + 3, "generator": 6 + 3}
    assert len(set(ensemble.now.tolist())) == 18
    mean = torch.full((3,), 3**-0.5).double()
    covariance = torch.diag(torch.tensor([1.0, 0.5, 0.25])).double()
    twin = Lgq(covariance, mean=mean, rank=2, gamma=0.5)
    Ensemble(twin).place(ensemble.now)
    assert torch.allclose(twin.distance(), game.distance())
    with pytest.raises(UserError, match=r"at most dim, 2\. Got 3"):
        LgqToy(rank=3).build()
