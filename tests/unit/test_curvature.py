"""Fields and steps of second order against dense Jacobians of small games."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.func import grad, jacrev

from gantlet.core.data import all_samples
from gantlet.core.errors import unknown
from gantlet.core.model import Game
from gantlet.core.rng import Rng
from gantlet.core.spec import datasets, families, solvers
from gantlet.games.field import Curvature, FixedLosses, PlayerParameters, Slopes, Vector
from gantlet.games.solvers import solve
from gantlet.games.toys import PointPlayer

SIZES = {2: (2, 3), 3: (2, 3, 2)}


class Curved(Game):
    """Losses of everybody's numbers that are not linear, quadratic or zero-sum."""

    def __init__(self, players, zero_sum=False):
        rng = Rng(players).stream("curved")
        sizes = SIZES[players]

        def draw(*shape):
            return torch.randn(*shape, generator=rng, dtype=torch.float64)

        self.zero_sum = zero_sum
        self.maps = [draw(sum(sizes), sum(sizes)) for _ in sizes]
        self.tilts = [draw(sum(sizes)) for _ in sizes]
        self._players = nn.ModuleDict(
            {"abc"[i]: PointPlayer(draw(s)) for i, s in enumerate(sizes)}
        )

    @property
    def players(self):
        return dict(self._players.items())

    def at(self, i, z):
        """The loss of player i at all numbers ``z``."""
        if self.zero_sum and i == 1:
            return -self.at(0, z)
        return (self.maps[i] @ z).sin().sum() + (z.square() * self.tilts[i]).sum() * z.sum()

    def loss(self, player, batch, *, rng):
        if player not in self.players:
            raise unknown("player", player, self.players)
        z = torch.cat([p.at for p in self._players.values()])
        return self.at(list(self.players).index(player), z)


def dense(game):
    """Returns place, field, Jacobian and the sizes of a game, by other means than solvers take."""
    z = torch.cat([p.at.detach() for p in game.players.values()])
    sizes = [p.at.numel() for p in game.players.values()]

    def field(z):
        rows = [grad(lambda z, i=i: game.at(i, z))(z).split(sizes)[i] for i in range(len(sizes))]
        return torch.cat(rows)

    return z, field(z), jacrev(field)(z), sizes


def off_diagonal(J, sizes):
    return J - torch.block_diag(*blocks(J, sizes))


def blocks(J, sizes):
    starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
    return [J[a:b, a:b] for a, b in pairwise(starts)]


def look():
    return FixedLosses(torch.zeros(1), rng=Rng(0).stream("look"))


def near(a, b):
    return torch.allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("players", [2, 3])
def test_products_are_those_of_the_dense_jacobian(players):
    game = Curved(players)
    z, F, J, sizes = dense(game)
    B, u = off_diagonal(J, sizes), torch.randn(len(z), generator=Rng(1).stream("u")).double()
    parameters = PlayerParameters(game)
    seen, u = Curvature(parameters, look()), Vector(parameters.layout, u)
    assert near(seen.value.flat, F)
    assert near(seen.jvp(u).flat, J @ u.flat)
    assert near(seen.vjp(u).flat, J.T @ u.flat)
    assert near(seen.twist(u).flat, (J - J.T) @ u.flat / 2)
    assert near(seen.mixed(u).flat, B @ u.flat)
    assert near(seen.mixed_transposed(u).flat, B.T @ u.flat)
    narrow = Curvature(parameters, look(), cross=False)
    assert near(narrow.vjp(u).flat, J.T @ u.flat)
    assert near(narrow.jvp(u).flat, J @ u.flat)
    # What a field gets for nothing from its two products alone.
    for product in ("twist", "mixed", "mixed_transposed"):
        plain, own = getattr(Slopes, product)(seen, u), getattr(seen, product)(u)
        assert near(plain.flat, own.flat)


def moved(text, game, steps=1):
    """Returns how far a solver moves a game."""
    before = PlayerParameters(game).read()
    play, noise = solvers.make(text).start(game), Rng(0).stream("noise")
    for _ in range(steps):
        play.step(torch.zeros(play.batches), rng=noise)
    return PlayerParameters(game).read() - before


@pytest.mark.parametrize("players", [2, 3])
@pytest.mark.parametrize("name", ["consensus", "sga", "crossing-the-curl", "whole"])
def test_fields_are_those_of_the_papers(name, players):
    _, F, J, _ = dense(Curved(players))
    text, field = {
        "consensus": ("consensus:gamma=0.3", F + 0.3 * J.T @ F),
        "sga": ("sga:gamma=0.3,align=false", F + 0.3 * (J - J.T).T @ F / 2),
        "crossing-the-curl": ("crossing-the-curl:", -(J - J.T) @ F / 2),
        "whole": ("crossing-the-curl:whole=true", -J @ F),
    }[name]
    step = moved(f"{text},base=sgd,lr=0.01".replace(":,", ":"), Curved(players))
    assert near(step, -0.01 * field)


def test_the_sign_of_the_adjustment_follows_the_alignment():
    signs = set()
    for seed in range(12):
        game = Curved(2)
        with torch.no_grad():
            for p in game.players.values():
                noise = torch.randn(p.at.shape, generator=Rng(seed).stream(str(p.at.shape)))
                p.at.copy_(noise)
        z, F, J, _ = dense(game)
        turn, uphill = (J - J.T).T @ F / 2, J.T @ F
        sign = torch.sign(F @ uphill * (turn @ uphill) / len(z) + 0.1)
        signs.add(float(sign))
        assert near(moved("sga:base=sgd,lr=0.01", game), -0.01 * (F + sign * turn))
    assert signs == {-1.0, 1.0}


@pytest.mark.parametrize("zero_sum", [False, True])
def test_competitive_steps_solve_the_local_game_of_the_paper(zero_sum):
    eta = 0.05
    game = Curved(2, zero_sum=zero_sum)
    _, F, J, (n, _) = dense(game)
    gx, gy, Dxy, Dyx = F[:n], F[n:], J[:n, n:], J[n:, :n]

    def one(own, other, mine, theirs):
        left = torch.eye(len(own), dtype=own.dtype) - eta**2 * mine @ theirs
        return -eta * torch.linalg.solve(left, own - eta * mine @ other)

    expected = torch.cat([one(gx, gy, Dxy, Dyx), one(gy, gx, Dyx, Dxy)])
    assert near(moved(f"cgd:beta2=none,lr={eta},iterations=12", game), expected)


def test_competitive_steps_take_a_rate_for_each_player_and_for_three():
    game = Curved(3)
    z, F, J, sizes = dense(game)
    D = torch.tensor([0.1, 0.02, 0.05]).double().repeat_interleave(torch.tensor(sizes)).diag()
    expected = torch.linalg.solve(torch.eye(len(z)) + D @ off_diagonal(J, sizes), -D @ F)
    step = moved("cgd:beta2=none,lr=0.1+0.02+0.05,iterations=30", game)
    assert torch.allclose(step, expected, rtol=1e-7, atol=1e-8)


def test_adaptive_competitive_rates_are_those_of_the_second_moment():
    game = Curved(2)
    _, F, J, sizes = dense(game)
    # After one step the bias-corrected mean of squares is the square itself.
    D = torch.diag(0.01 / (F.abs() + 1e-5))
    expected = torch.linalg.solve(torch.eye(len(F)) + D @ off_diagonal(J, sizes), -D @ F)
    assert near(moved("cgd:lr=0.01,beta2=0.9,iterations=40", game), expected)


def test_conjugate_gradients_meet_the_dense_solution_and_stay_there():
    A = torch.randn(6, 6, generator=Rng(0).stream("A")).double() + 4 * torch.eye(6)
    b = torch.randn(6, generator=Rng(0).stream("b")).double()
    for iterations in (6, 40):
        x = solve(lambda v: A @ v, lambda v: A.T @ v, b, iterations)
        assert torch.allclose(x, torch.linalg.solve(A, b), rtol=1e-8)
    assert torch.equal(solve(lambda v: A @ v, lambda v: A.T @ v, 0 * b, 3), 0 * b)


@pytest.mark.parametrize("penalty", ["none", "r1r2", "gp"])
def test_products_hold_through_penalties_of_a_gan(penalty):
    data = datasets.make("ring:n=64")
    x = all_samples(data.load(rng=Rng(0)).train).double()[:32]
    game = families.make(f"gan:width=8,latent=3,penalty={penalty}").build(data.space, rng=Rng(0))
    for player in game.players.values():
        player.double()
    game.prepare(x, rng=Rng(0).stream("prepare"))
    parameters, seen = PlayerParameters(game), FixedLosses(x, rng=Rng(0).stream("look"))
    n = len(parameters.read())
    u, v = (
        Vector(parameters.layout, torch.randn(n, generator=Rng(0).stream(name)).double())
        for name in "uv"
    )

    def field(step):
        with parameters.moving() as home:
            parameters.stand(home + step)
            return Vector(parameters.layout, parameters.gradients(seen)[0]).flat

    change = (field(1e-6 * u) - field(-1e-6 * u)) / 2e-6
    here = Curvature(parameters, seen)
    assert near(here.value.flat, field(0 * u))
    atol = 1e-6 * float(change.abs().max())
    assert torch.allclose(here.jvp(u).flat, change, rtol=1e-5, atol=atol)
    assert here.vjp(v).dot(u).item() == pytest.approx(here.jvp(u).dot(v).item())
    twist = here.jvp(u) - here.vjp(u)
    assert torch.allclose((2 * here.twist(u)).flat, twist.flat, rtol=1e-8, atol=1e-8)
    assert here.mixed(u).dot(v).item() == pytest.approx(here.mixed_transposed(v).dot(u).item())


def test_the_default_number_of_conjugate_gradients_solves_a_gan_to_a_few_per_cent():
    data = datasets.make("digits")
    x = all_samples(data.load(rng=Rng(0)).train)[:64]
    game = families.make("gan:width=32").build(data.space, rng=Rng(0))
    game.prepare(x, rng=Rng(0).stream("prepare"))
    seen = Curvature(PlayerParameters(game), FixedLosses(x, rng=Rng(0).stream("look")))
    how = solvers.make("cgd")
    F = seen.value
    half = Vector(F.layout, (how.lr[0] / (F.flat.abs() + how.eps)).sqrt())

    def times(v):
        return v + half * seen.mixed(half * v)

    def transposed(v):
        return v + half * seen.mixed_transposed(half * v)

    right = -half * F
    left = times(solve(times, transposed, right, how.iterations)) - right
    assert left.flat.norm() < 0.05 * right.flat.norm()
    assert left.flat.norm() < 0.3 * (times(right) - right).flat.norm()
