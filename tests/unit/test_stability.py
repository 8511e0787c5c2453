import cmath
import math

import numpy as np
import pytest
import torch

from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.games.field import GameField
from gantlet.games.spectrum import LONGEST, largest_delay, largest_step, leading, path_angle
from gantlet.games.toys import Dirac


def stream():
    return Rng(0).stream("test")


def dirac(gamma):
    toy = Dirac(penalty="r1", gamma=gamma, theta=0.0, psi=0.0)
    f = GameField(toy.build(), toy.real, rng=stream())
    return leading(f.jacobian, rng=stream()).values


def delayed_radius(values, step, delay):
    """By which factor ``z_{t+1} = z_t + h v(z_{t - delay})`` grows at most.

    The largest root of ``x^(delay+1) - x^delay - h l``.
    """
    middle = [0.0] * (delay - 1)
    roots = [
        np.roots([1, -1 - step * v] if not delay else [1, -1, *middle, -step * v]) for v in values
    ]
    return max(float(np.abs(r).max()) for r in roots)


def radius(values, step):
    return max(abs(1 + step * v) for v in values)


@pytest.mark.parametrize("gamma", [0.1, 0.3, 0.6, 2.0])
def test_the_largest_step_is_where_descent_stops_contracting(gamma):
    values = dirac(gamma)
    step = largest_step(values)
    assert radius(values, 0.99 * step) < 1 < radius(values, 1.01 * step)


def test_no_step_is_small_enough_on_the_axis_or_right_of_it():
    assert largest_step(dirac(0.0)) is None
    # Directions in which nothing happens do not count.
    assert largest_step([-1.0, 0.0]) == 2.0


@pytest.mark.parametrize(
    ("delay", "bound"), [(0, 2.0), (1, 1.0), (2, 0.618034), (4, 0.347296), (8, 0.184537)]
)
def test_the_longest_step_of_a_stale_minimisation(delay, bound):
    """The closed form 2 sin(pi / (2 (2 delay + 1)))."""
    exact = 2 * math.sin(math.pi / (2 * (2 * delay + 1)))
    assert exact == pytest.approx(bound, abs=1e-6)
    assert delayed_radius([-1.0], exact, delay) == pytest.approx(1.0, abs=1e-9)
    assert largest_delay([-1.0], exact * (1 - 1e-6), most=20) == delay
    below = largest_delay([-1.0], exact * (1 + 1e-6), most=20)
    assert below == (delay - 1 if delay else None)


@pytest.mark.parametrize(
    ("gamma", "step", "delay"), [(0.1, 0.05, 3), (0.3, 0.05, 11), (0.3, 0.1, 5), (0.6, 0.1, 12)]
)
def test_the_longest_delay_of_the_dirac_gan_with_r1(gamma, step, delay):
    values = dirac(gamma)
    assert largest_delay(values, step) == delay
    for late, contracts in ((delay, True), (delay + 1, False)):
        z = [np.array([1.0, 1.0])] * (late + 1)
        matrix = np.array([[-gamma, -0.5], [0.5, 0.0]])
        for _ in range(6000):
            z.append(z[-1] + step * matrix @ z[-1 - late])
        half = max(map(np.linalg.norm, z[2900:3000]))
        assert (max(map(np.linalg.norm, z[-100:])) < half) == contracts


def test_a_rotation_bears_no_delay_at_all():
    assert largest_delay(dirac(0.0), 0.1) is None
    assert largest_delay([-1.0], 1e-9) == LONGEST
    # Growth per step h^2 b^2 (delay + 1/2).
    for delay in (0, 1, 2, 4):
        growth = delayed_radius([1j, -1j], 0.02, delay) - 1
        assert growth == pytest.approx(0.02**2 * (delay + 0.5), rel=0.05)


def test_a_staircase_of_roots_agrees_with_a_slow_twin():
    step, delay, value = 0.3, 3, cmath.rect(0.8, 2.0)
    companion = np.zeros((delay + 1, delay + 1), complex)
    companion[0, 0], companion[0, -1] = 1, step * value
    companion[1:, :-1] = np.eye(delay)
    slow = np.abs(np.linalg.eigvals(companion)).max()
    assert delayed_radius([value], step, delay) == pytest.approx(slow)


def test_the_path_to_an_attractor_changes_sign_at_its_end():
    toy = Dirac(penalty="r1", gamma=1.5)
    game = toy.build()
    f = GameField(game, toy.real, rng=stream())
    start = f.position
    play = solvers.make("sgd:lr=0.1").start(game)
    for _ in range(400):
        play.step(toy.real, rng=stream())
    end = torch.cat([p.detach() for m in game.players.values() for p in m.parameters()])
    path = path_angle(f, start, end, points=60)
    before = [c for a, c in zip(path.place, path.cosine, strict=True) if 0.5 < a < 0.99]
    after = [c for a, c in zip(path.place, path.cosine, strict=True) if a > 1.02]
    assert min(before) > 0 > max(after)
    assert path.norm[0] > 10 * min(path.norm)
    assert torch.equal(f.position, end)
