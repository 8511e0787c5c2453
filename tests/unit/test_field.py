import gc
import pathlib
import resource
from typing import final

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from typing_extensions import override

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import FittedFamily, Game
from gantlet.core.rng import Rng
from gantlet.core.spec import families
from gantlet.games.field import GameField, Linear
from gantlet.games.spectrum import (
    InTurn,
    Preconditioned,
    Shifted,
    ends,
    leading,
    rightmost,
    rotation,
    second_moments,
)
from gantlet.models.gan import Gan
from gantlet.testing.contracts import made_up
from kinds import ONE_KIND
from toy_games import Bilinear

PLANE = Space("vector", (2,))
NAMES = [n for n in families.names() if n != "module"]  # a game of the user's own needs a file
TRAINED = [n for n in NAMES if not isinstance(families.make(n), FittedFamily)]


@final
class Matrix(Linear):
    """A matrix that is written down.

    Args:
        entries: Shape ``(size, size)``.
    """

    def __init__(self, entries: Tensor) -> None:
        self._entries = entries

    @property
    @override
    def size(self) -> int:
        return len(self._entries)

    @property
    @override
    def like(self) -> Tensor:
        return self._entries

    @override
    def apply(self, u: Tensor) -> Tensor:
        return self._entries @ u

    @override
    def transposed(self, u: Tensor) -> Tensor:
        return self._entries.T @ u

    @override
    def dense(self) -> Tensor:
        return self._entries


def stream(name="test"):
    return Rng(0).stream(name)


def gan(**options):
    settings = {"width": 6, "depth": 1, "latent": 2, **options}
    game = Gan(**settings).build(PLANE, rng=Rng(0))
    x = made_up(PLANE, 32)
    game.prepare(x, rng=stream("prepare"))
    return game, x


def field(precise=True, **options):
    game, x = gan(**options)
    return GameField(game, x, rng=stream("noise"), precise=precise)


def noise(n, name="vector"):
    return torch.randn(n, generator=stream(name), dtype=torch.float64)


@pytest.mark.parametrize("loss", ["relativistic", "ns", "wgan"])
@pytest.mark.parametrize("penalty", ["none", "r1r2", "gp"])
def test_products_with_the_jacobian_are_differences_of_the_field(loss, penalty):
    f = field(loss=loss, penalty=penalty)
    z, u, h = f.position, noise(f.size), 1e-6
    pushed, pulled = f.push(u), torch.stack([f.pull(e) for e in torch.eye(f.size).double()]) @ u
    f.move(z + h * u)
    after = f.value()
    f.move(z - h * u)
    slope = (after - f.value()) / (2 * h)
    # A unit of a LeakyReLU may switch between the two points.
    assert torch.allclose(pushed, slope, rtol=1e-4, atol=1e-6)
    assert torch.allclose(pulled, pushed, rtol=1e-9, atol=1e-12)


def test_the_field_is_minus_the_gradient_that_training_uses():
    game, x = gan()
    f = GameField(game, x, rng=stream("noise"))
    v = f.value()
    for name, player in game.players.items():
        loss = game.loss(name, x, rng=stream("noise"))
        slopes = torch.autograd.grad(loss, list(player.parameters()))
        assert torch.allclose(v[f.players[name]], -torch.cat([g.flatten() for g in slopes]))
        assert f.losses()[name] == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("name", TRAINED)
def test_every_family_has_a_field_and_is_left_alone(name):
    space = ONE_KIND.get(name, Space("image", (1, 8, 8), 17))
    game = families.make(name).build(space, rng=Rng(0))
    x = made_up(space, 8)
    game.prepare(x, rng=stream("prepare"))
    before = {k: v.clone() for k, v in game.model.state_dict().items()}
    rng = stream("noise")
    state = rng.get_state()
    f = GameField(game, x, rng=rng)
    u, w = (torch.randn(f.size, generator=stream(n)) for n in "uw")
    pushed, pulled = f.push(u), f.pull(w)
    scale = float(pushed.norm() * w.norm()) + 1e-12
    assert abs(float(pushed @ w - pulled @ u)) < 1e-4 * scale
    if len(game.players) == 1:
        # The Jacobian of a gradient field is symmetric.
        assert torch.allclose(pushed, f.pull(u), atol=1e-4 * float(pushed.abs().max()))
    assert torch.equal(state, rng.get_state())
    assert torch.equal(f.pull(w), GameField(game, x, rng=rng).pull(w))
    for key, value in game.model.state_dict().items():
        assert torch.equal(value, before[key]), key


# Gradients of relaxed and of drawn tokens are estimates, and no derivatives of the loss.
@pytest.mark.parametrize("name", [n for n in TRAINED if n not in ONE_KIND])
def test_no_family_cuts_one_player_off_from_another(name):
    space = Space("image", (1, 4, 4), 5)
    game = families.make(name).build(space, rng=Rng(0))
    x = made_up(space, 8)
    game.prepare(x, rng=stream("prepare"))
    f = GameField(game, x, rng=stream("noise"), precise=True)
    z, u, h = f.position, noise(f.size), 1e-7
    pushed = f.push(u)
    f.move(z + h * u)
    after = f.value()
    f.move(z - h * u)
    slope = (after - f.value()) / (2 * h)
    # Units of a LeakyReLU may switch between the two points.
    assert (pushed - slope).norm() < 1e-2 * slope.norm()


class Normed(Game):
    """A critic whose normalisation writes to its buffers on every pass; tells which one plays."""

    def __init__(self):
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(0)
            layer = spectral_norm(nn.Linear(2, 3))
            self.net = nn.Sequential(layer, nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 1))

    @property
    def players(self):
        return {"net": self.net}

    def loss(self, player, batch, *, rng):
        Normed.played = self.net
        return self.net(batch).square().mean() + self.net(-batch).mean()


def test_buffers_that_a_loss_writes_to_stay_as_they_were():
    game = Normed()
    x = made_up(PLANE, 16)
    f = GameField(game, x, rng=stream())
    before = {k: v.clone() for k, v in game.net.state_dict().items()}
    first = f.value()
    u = torch.randn(f.size, generator=stream())
    assert torch.allclose(f.push(u), f.pull(u), atol=1e-5)
    f.move(f.position)
    assert torch.equal(first, f.value())
    assert f.losses()
    assert Normed.played is not game.net
    for key, value in Normed.played.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_double_precision_sees_the_same_game():
    single, double = field(precise=False), field(precise=True)
    assert double.value().dtype == torch.float64
    assert torch.allclose(single.value().double(), double.value(), rtol=1e-3, atol=1e-5)
    rough = leading(single.jacobian, 4, rng=stream()).values
    assert np.allclose(rough, leading(double.jacobian, 4, rng=stream()).values, atol=1e-4)


def test_an_unknown_player_has_no_hessian():
    with pytest.raises(UserError, match=r"Unknown player 'critik'\. Did you mean 'critic'"):
        field().hessian("critik")


def test_the_hessian_of_a_player_is_a_block_of_the_jacobian():
    f = field()
    matrix = f.jacobian.dense()
    for name, where in f.players.items():
        block = f.hessian(name).dense()
        assert torch.allclose(block, -matrix[where, where], atol=1e-12)
        low, high = ends(f.hessian(name), rng=stream())
        values = torch.linalg.eigvalsh(block)
        assert (low, high) == pytest.approx((values[0].item(), values[-1].item()))


def test_the_bilinear_game_turns_and_nothing_else():
    start = torch.ones(3, dtype=torch.float64)
    f = GameField(Bilinear(start, start), torch.zeros(1), rng=stream())
    found = leading(f.jacobian, rng=stream())
    assert np.allclose(found.values, [1j] * 3 + [-1j] * 3, atol=1e-12) or np.allclose(
        np.sort_complex(found.values), np.sort_complex([1j, -1j] * 3), atol=1e-12
    )
    turned = rotation(f.jacobian, rng=stream())
    assert turned.share.value == pytest.approx(1.0)
    assert turned.ratio.value is None


def test_a_linear_loss_has_a_jacobian_of_zeros():
    class Slide(Normed):
        def loss(self, player, batch, *, rng):
            return sum(p.sum() for p in self.net.parameters())

    f = GameField(Slide(), torch.zeros(1, 2), rng=stream())
    u = torch.ones(f.size)
    assert not f.push(u).any()
    assert not f.pull(u).any()
    assert rotation(f.jacobian, rng=stream()).share.value is None


@pytest.mark.parametrize(("which", "k"), [("magnitude", 6), ("imaginary", 4)])
def test_the_spectrum_of_a_gan_is_that_of_its_dense_jacobian(which, k):
    f = field(width=16, depth=1)
    assert f.size > 140
    found = leading(f.jacobian, k, which, rng=stream())
    values = np.linalg.eigvals(f.jacobian.dense().numpy())
    size = np.abs(values.imag if which == "imaginary" else values)
    largest = np.sort(size)[::-1][:k]
    got = np.abs([v.imag if which == "imaginary" else v for v in found.values])
    assert np.allclose(got, largest, rtol=1e-4)
    assert max(found.residuals) < 1e-4 * max(map(abs, found.values))
    assert found.good() == found.values
    for value in found.values:
        assert np.abs(values - value).min() < 1e-4 * abs(value)


def test_the_rightmost_eigenvalues_grow_fastest_under_the_step():
    f = field(width=16, depth=1)
    values = np.linalg.eigvals(f.jacobian.dense().numpy())
    found = rightmost(f.jacobian, 4, step=0.5, rng=stream())
    growth = np.sort(np.abs(1 + 0.5 * values))[::-1][:4]
    assert np.allclose([abs(1 + 0.5 * v) for v in found.values], growth, rtol=1e-4)
    assert found.values[0].real == pytest.approx(values.real.max(), rel=1e-4)


def test_what_does_not_converge_is_left_out():
    # A circle of eigenvalues that are all as large: no iteration can tell which come first.
    turn = torch.eye(400, dtype=torch.float64).roll(1, 0)
    found = leading(Matrix(turn), 6, rng=stream())
    assert found.asked == 6
    assert len(found.values) == len(found.residuals) < 6


def test_a_bad_residual_is_not_trusted():
    found = leading(Matrix(torch.diag(torch.arange(1.0, 5.0))), 2, rng=stream())
    worse = type(found)(found.values, (0.5, 0.0), 2, 4)
    assert worse.good() == (found.values[1],)


def test_ends_of_a_large_symmetric_map():
    values = torch.linspace(-2, 5, 300, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(300, 300, generator=stream(), dtype=torch.float64))[0]
    found = ends(Matrix(turn @ torch.diag(values) @ turn.T), rng=stream())
    assert found == pytest.approx((-2, 5), abs=1e-2)


def test_rotation_is_that_of_the_dense_parts():
    matrix = torch.randn(60, 60, generator=stream(), dtype=torch.float64)
    matrix = matrix + 0.5 * matrix.T
    s, a = (matrix + matrix.T) / 2, (matrix - matrix.T) / 2
    share = float((a.norm() / matrix.norm()) ** 2)
    ratio = float(a.norm() / s.norm())
    exact = rotation(Matrix(matrix), probes=60, rng=stream())
    assert exact.share.value == pytest.approx(share)
    assert exact.ratio.value == pytest.approx(ratio)
    hits = 0
    for seed in range(40):
        guess = rotation(Matrix(matrix), probes=16, rng=Rng(seed).stream("signs"))
        hits += guess.ratio.low <= ratio <= guess.ratio.high
        assert guess.share.low <= guess.share.value <= guess.share.high
    assert hits >= 33


def test_a_single_loss_does_not_turn():
    matrix = torch.randn(80, 80, generator=stream(), dtype=torch.float64)
    found = rotation(Matrix(matrix + matrix.T), rng=stream())
    assert found.share.value == pytest.approx(0.0, abs=1e-9)


def test_preconditioning_gives_the_eigenvalues_of_rates_times_jacobian():
    f = field()
    rates = noise(f.size, "rates").abs()
    found = np.linalg.eigvals(Preconditioned(f.jacobian, rates).dense().numpy())
    wanted = np.linalg.eigvals((rates[:, None] * f.jacobian.dense()).numpy())
    # Sets of complex numbers: every one has its partner.
    assert max(np.abs(wanted - x).min() for x in found) < 1e-8
    u = noise(f.size)
    scaled = Preconditioned(f.jacobian, rates)
    assert torch.allclose(scaled.apply(u), scaled.dense() @ u)
    assert torch.allclose(Shifted(scaled, 0.1).apply(u), u + 0.1 * scaled.dense() @ u)


def test_turns_are_products_of_the_players_own_steps():
    f = field()
    rates = noise(f.size, "rates").abs()
    turn = InTurn(f.jacobian, rates, f.players, {"critic": 2, "generator": 1})
    matrix, step = torch.eye(f.size).double(), rates[:, None] * f.jacobian.dense()
    for name in ("critic", "critic", "generator"):
        own = torch.zeros_like(step)
        own[f.players[name]] = step[f.players[name]]
        matrix = matrix + own @ matrix
    u = noise(f.size)
    assert torch.allclose(turn.apply(u), matrix @ u)
    assert torch.allclose(turn.dense(), matrix)


def test_second_moments_are_mean_squares_of_the_losses_gradients():
    game, x = gan()
    rng = stream()
    found = second_moments(game, [x, x.flip(0)], rng=rng)
    again, total = stream(), 0
    for batch in (x, x.flip(0)):
        slopes = []
        for name, player in game.players.items():
            loss = game.loss(name, batch, rng=again)
            slopes += torch.autograd.grad(loss, list(player.parameters()))
        total = total + torch.cat([s.flatten() for s in slopes]).square() / 2
    assert torch.allclose(found, total)


def test_memory_does_not_grow_with_products():
    f = field(precise=False, width=128, depth=2)
    u = torch.randn(f.size, generator=stream())
    for _ in range(5):
        f.push(u), f.pull(u)
    gc.collect()
    before, tensors = _resident(), _tensors()
    for _ in range(300):
        f.push(u), f.pull(u)
    assert _tensors() <= tensors
    # One copy of all parameters for each product would be 80 MB.
    assert _resident() - before < 15e6


def _tensors():
    return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())


def _resident():
    with pathlib.Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * resource.getpagesize()
