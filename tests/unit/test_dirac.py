"""The table of the Dirac-GAN: eigenvalues at the equilibrium, and what trajectories do."""

import itertools
import math

import numpy as np
import pytest
import torch

from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers, toys
from gantlet.games.field import GameField
from gantlet.games.spectrum import InTurn, ends, leading, rotation
from gantlet.games.toys import Dirac, Saddle
from gantlet.models.losses import LOSSES, PENALTIES


def stream():
    return Rng(0).stream("test")


def field(toy):
    return GameField(toy.build(), toy.real, rng=stream())


def eigenvalues(**options):
    """At the equilibrium, by automatic differentiation of the losses that training uses."""
    f = field(Dirac(theta=0.0, psi=0.0, **options))
    return sorted(leading(f.jacobian, rng=stream()).values, key=lambda v: (v.real, v.imag))


def norms(toy, solver, steps):
    """How far from the equilibrium the players are after each step."""
    game = toy.build()
    play = solvers.make(solver).start(game)
    found = [_norm(game)]
    for _ in range(steps):
        play.step(torch.cat([toy.real] * play.batches), rng=stream())
        found.append(_norm(game))
    return np.array(found)


def _norm(game):
    return math.hypot(*(p.detach().item() for m in game.players.values() for p in m.parameters()))


SIM, ALT = "sgd:lr=0.1,mode=simultaneous", "sgd:lr=0.1"


@pytest.mark.parametrize(("loss", "penalty"), list(itertools.product(LOSSES, PENALTIES)))
def test_every_loss_goes_with_every_penalty(loss, penalty):
    f = field(Dirac(loss=loss, penalty=penalty, theta=0.4, psi=0.3))
    assert f.value().isfinite().all()
    assert f.jacobian.dense().isfinite().all()


@pytest.mark.parametrize(
    ("loss", "turn"),
    [("ns", 0.5), ("minimax", 0.5), ("relativistic", 0.5), ("wgan", 1.0), ("hinge", 1.0)],
)
def test_without_a_penalty_it_only_turns(loss, turn):
    found = eigenvalues(loss=loss)
    assert np.allclose(found, [-1j * turn, 1j * turn], rtol=0, atol=1e-9)


@pytest.mark.parametrize("gamma", [0.3, 0.7, 2.0])
@pytest.mark.parametrize("penalty", ["r1", "r2"])
@pytest.mark.parametrize("loss", ["ns", "minimax"])
def test_r1_and_r2_pull_inwards(loss, penalty, gamma):
    """Mescheder et al., 2018: -gamma/2 +- sqrt(gamma^2/4 - f'(0)^2)."""
    root = np.emath.sqrt(gamma**2 / 4 - 0.25)
    wanted = sorted([-gamma / 2 - root, -gamma / 2 + root], key=lambda v: (v.real, v.imag))
    found = eigenvalues(loss=loss, penalty=penalty, gamma=gamma)
    assert np.allclose(found, wanted, rtol=0, atol=1e-9)


def test_the_numbers_that_are_told_of_r1():
    low, high = eigenvalues(penalty="r1", gamma=0.3)
    assert high == pytest.approx(-0.15 + 0.4769696j, abs=1e-6)
    assert abs(1 + 0.1 * high) == pytest.approx(0.98615, abs=5e-6)
    assert low == high.conjugate()
    assert np.allclose(eigenvalues(penalty="r1", gamma=2.0), [-1.866, -0.134], atol=5e-4)


def test_r3gan_pulls_twice_as_hard():
    found = eigenvalues(loss="relativistic", penalty="r1r2", gamma=0.3)
    assert np.allclose(found, [-0.3 - 0.4j, -0.3 + 0.4j], rtol=0, atol=1e-9)
    assert np.allclose(found, eigenvalues(penalty="r1", gamma=0.6), rtol=0, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_instance_noise_is_r1_of_half_its_variance(sigma):
    """f''(0) sigma^2 +- sqrt(f''(0)^2 sigma^4 - f'(0)^2), f''(0) = -1/4."""
    pull = -0.25 * sigma**2
    root = np.emath.sqrt(pull**2 - 0.25)
    found = eigenvalues(noise=sigma)
    assert np.allclose(found, [pull - root, pull + root], rtol=0, atol=1e-9)
    r1 = eigenvalues(penalty="r1", gamma=sigma**2 / 2)
    assert np.allclose(found, r1, rtol=0, atol=1e-9)


def test_noise_of_one_has_the_eigenvalues_that_are_told():
    assert np.allclose(eigenvalues(noise=1.0), [-0.25 - 0.433j, -0.25 + 0.433j], atol=1e-4)


def test_consensus_pulls_by_the_square_of_the_turn():
    """v - gamma grad |v|^2 / 2 has the Jacobian J - gamma J^T J at the equilibrium."""
    matrix = field(Dirac(theta=0.0, psi=0.0)).jacobian.dense()
    found = np.linalg.eigvals((matrix - matrix.T @ matrix).numpy())
    assert np.allclose(sorted(found, key=lambda v: v.imag), [-0.25 - 0.5j, -0.25 + 0.5j])
    assert abs(1 + 0.1 * found[0]) == pytest.approx(0.9763, abs=5e-5)


@pytest.mark.parametrize(("step", "radius"), [(0.1, 1.0), (1.0, 1.0), (3.9, 1.0), (4.1, 1.5625)])
def test_in_turn_it_circles_up_to_a_step_of_four(step, radius):
    f = field(Dirac(theta=0.0, psi=0.0))
    turn = InTurn(f.jacobian, torch.full((2,), step), f.players, {"critic": 1, "generator": 1})
    values = leading(turn, rng=stream()).values
    assert max(map(abs, values)) == pytest.approx(radius, abs=1e-4 if step > 4 else 1e-9)


def test_all_at_once_it_spirals_out():
    radius = max(abs(1 + 0.1 * v) for v in eigenvalues())
    assert radius == pytest.approx(math.sqrt(1 + 0.1**2 / 4), abs=1e-12)
    found = norms(Dirac(loss="minimax", psi=-1.0), SIM, 1000)
    assert found[0] == pytest.approx(1.414, abs=5e-4)
    assert found[-1] == pytest.approx(2.65, abs=5e-3)


@pytest.mark.parametrize(("solver", "last"), [(SIM, 0.47), (ALT, 0.28)])
def test_the_non_saturating_game_comes_near_too_slowly(solver, last):
    found = norms(Dirac(loss="ns"), solver, 1000)
    assert found[-1] == pytest.approx(last, abs=5e-3)
    # Not linearly: the second half gains less than the first.
    assert found[1000] / found[500] > 1.5 * found[500] / found[0]


def test_r1_comes_in_at_the_rate_of_its_eigenvalues():
    found = norms(Dirac(penalty="r1", gamma=0.3), SIM, 600)
    assert (found[-1] / found[200]) ** (1 / 400) == pytest.approx(0.98615, abs=5e-4)


@pytest.mark.parametrize("solver", [SIM, ALT])
def test_a_clipped_wgan_stays_bounded_and_never_settles(solver):
    found = norms(Dirac(loss="wgan", clip=0.5, theta=0.2, psi=0.2), solver, 1500)
    # The slope is at most the clip; the generator gets nowhere while it swings.
    assert found.max() < 4 * 0.5
    assert found[-300:].max() > 0.2
    assert found[-300:].max() / found[500:800].max() > 0.9


@pytest.mark.parametrize("solver", [SIM, ALT])
@pytest.mark.parametrize("start", [0.1, 3.0])
def test_wgan_gp_ends_in_a_limit_cycle(solver, start):
    """The field has one scale: a centre of 1 gives 1/0.3 times the cycle of a centre of 0.3."""
    toy = Dirac(loss="wgan", penalty="gp", gamma=1.0, theta=start, psi=start)
    found = norms(toy, solver, 1200)[500:] * 0.3
    assert 0.345 < found.min() < found.max() < 0.49


def test_the_limit_cycle_has_the_radius_of_averaging():
    """d r^2/dt = -gamma (r^2 - 4 r / pi) on average over a turn, for weak gamma: r = 4 / pi."""
    toy = Dirac(loss="wgan", penalty="gp", gamma=0.1, theta=2.0, psi=0.0)
    found = norms(toy, "sgd:lr=0.05", 3000)[-1000:]
    assert found.mean() == pytest.approx(4 / math.pi, rel=0.03)


def test_eigenvalues_beside_the_kink_of_wgan_gp_mislead():
    f = field(Dirac(loss="wgan", penalty="gp", theta=0.0, psi=1e-6))
    assert max(v.real for v in leading(f.jacobian, rng=stream()).values) < 0


def test_a_saddle_has_the_eigenvalues_of_its_matrix():
    toy = Saddle(own=(0.5, 0.2), cross=2.0)
    found = leading(field(toy).jacobian, rng=stream()).values
    wanted = np.linalg.eigvals(np.array([[-0.5, -2.0], [2.0, -0.2]]))
    assert np.allclose(sorted(found, key=lambda v: v.imag), sorted(wanted, key=lambda v: v.imag))
    f = field(Saddle(dim=3))
    assert rotation(f.jacobian, rng=stream()).share.value == pytest.approx(1.0)


def test_a_stable_point_need_not_be_a_nash_equilibrium():
    f = field(Saddle(own=(-1.0, 3.0), cross=2.0))
    assert max(v.real for v in leading(f.jacobian, rng=stream()).values) < 0
    assert ends(f.hessian("x"), rng=stream()) == (-1.0, -1.0)
    found = norms(Saddle(own=(-1.0, 3.0), cross=2.0), SIM, 500)
    assert found[-1] < 1e-6 * found[0]


def test_a_saddle_takes_one_curvature_or_two():
    with pytest.raises(UserError, match=r"saddle:own must be one number or two\. Got 3"):
        toys.make("saddle:own=1+2+3").build()


@pytest.mark.parametrize("name", toys.names())
def test_every_toy_is_played_by_its_solver(name):
    toy = toys.make(name)
    game, again = toy.build(), toy.build()
    play = solvers.make(toy.solver).start(game)
    losses = play.step(torch.cat([toy.real] * play.batches), rng=stream())
    assert set(losses) == set(game.players)
    assert GameField(game, toy.real, rng=stream()).size > 0
    for player in again.players:
        value = again.loss(player, toy.real, rng=stream())
        assert value.item() == pytest.approx(losses[player], abs=1.0)
    assert "Source:" in type(toy).__doc__


def test_a_centred_penalty_can_hold_the_generator_where_no_data_is():
    """At theta = 2 gamma the pull of the loss on psi = 0+ is that of the penalty's kink."""
    found = norms(Dirac(loss="ns", penalty="gp", gamma=1.0), "sgd:lr=0.2", 600)
    assert found[-1] == pytest.approx(2.0, abs=1e-3)
