import pytest
import torch

from gantlet.compute.meters import count
from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import Game
from gantlet.core.rng import Rng
from gantlet.core.spec import families, solvers
from gantlet.games.mixed_solvers import History
from gantlet.games.toys import PointPlayer
from gantlet.testing import check_solver
from toy_games import Bilinear

NOTHING = torch.zeros(8, 1)


def stream(name="test"):
    return Rng(0).stream(name)


def _play(solver, game, steps):
    play, noise = solvers.make(solver).start(game), stream()
    for i in range(steps):
        batch = torch.randn(16 * play.batches, 2, generator=stream(f"batch {i}"))
        play.step(batch, rng=noise)
    return [p.detach().clone() for player in game.players.values() for p in player.parameters()]


@pytest.mark.parametrize(
    "text", ["history:last=3,every=1", "history:base=sgd,clip=0.5", "langevin:decay=none"]
)
def test_variants_keep_the_contract(text):
    check_solver(solvers.make(text))


@pytest.mark.parametrize("base", ["adam", "sgd"])
def test_a_history_of_one_is_plain_play(base):
    def game():
        return families.make("gan:width=16").build(Space("vector", (2,)), rng=Rng(0))

    settings = "lr=0.01+0.002,clip=0.7"
    plain = "adam:beta1=0.0,beta2=0.99," if base == "adam" else "sgd:"
    found = _play(f"history:base={base},last=1,every=1,{settings}", game(), 6)
    expected = _play(plain + settings, game(), 6)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_opponents_are_drawn_evenly_from_the_last_few():
    """With moves that tell who the opponent is: d(x y)/dx = y, and y is the step's number."""
    game = Bilinear(torch.zeros(1), torch.zeros(1))
    x, y = (next(iter(p.parameters())) for p in game.players.values())
    play = History(base="sgd", lr=(1.0, 0.0), last=4, every=2).start(game)
    noise, seen = stream(), []
    for step in range(1000):
        with torch.no_grad():
            y.fill_(step)
        before = float(x.detach())
        play.step(NOTHING, rng=noise)
        seen.append(int(before - x.detach()))
        assert y == step  # The present ones are back.
    back = [step - y for step, y in enumerate(seen)][10:]
    # Snapshots of odd steps: 1, 3, 5 steps ago before an even step, 2, 4, 6 before an odd one.
    assert set(back) == {0, 1, 2, 3, 4, 5, 6}
    assert back.count(0) / len(back) == pytest.approx(1 / 4, abs=0.04)
    assert (back.count(1) + back.count(2)) / len(back) == pytest.approx(1 / 4, abs=0.04)


def test_a_step_against_several_opponents_is_charged_as_so_many():
    game = families.make("gan:width=16").build(Space("vector", (2,)), rng=Rng(0))
    play, noise = solvers.make("history:base=sgd,last=5,opponents=3").start(game), stream()
    batch = torch.randn(16, 2, generator=stream("batch"))
    work, flops = [], []
    for _ in range(5):
        work.append(play.work)
        flops.append(count(lambda: play.step(batch, rng=noise)).flops)
    assert work == [1, 2, 3, 3, 3]
    assert [f / flops[0] for f in flops] == pytest.approx(work, rel=1e-2)


def test_the_past_is_no_cure_for_rotation():
    """Late news push outwards: in ``x y`` alternating steps keep their distance, but against the
    past they spiral out. What converges in theory is the average of all selves."""

    def distance(last):
        game = Bilinear(torch.ones(1), torch.ones(1))
        at = _play(f"history:base=sgd,lr=0.1,every=5,last={last}", game, 300)
        return float(torch.cat(at).norm())

    assert distance(1) < 2
    assert distance(10) > 10


class Bowl(Game):
    """One player with loss ``a/2 x^2`` in each of its many coordinates."""

    def __init__(self, a, n):
        self._a, self._x = a, PointPlayer(torch.zeros(n))

    @property
    def players(self):
        return {"x": self._x}

    def loss(self, player, batch, *, rng):
        return 0.5 * self._a * self._x.at.square().sum()


def test_langevin_draws_from_the_gibbs_distribution():
    """For ``a/2 x^2`` that is normal with variance T/a, and with step h, T/(a (1 - a h / 2))."""
    a, T, h = 2.0, 0.5, 0.05
    game = Bowl(a, 20_000)
    _play(f"langevin:lr={h},temperature={T},inner=1,beta=1,decay=none", game, 60)
    x = game.players["x"].at.detach()
    assert float(x.var()) == pytest.approx(T / (a * (1 - a * h / 2)), rel=0.03)
    assert float(x.mean()) == pytest.approx(0, abs=0.02)


def test_langevin_without_noise_follows_the_running_mean():
    """Two inner steps at rate h from 1: 1-h, (1-h)^2, averaged with weight b and moved by b."""
    h, b = 0.1, 0.7
    game = Bowl(1.0, 1)
    (x,) = game.players["x"].parameters()
    with torch.no_grad():
        x.fill_(1.0)
    _play(f"langevin:lr={h},temperature=0,inner=2,beta={b},decay=none", game, 1)
    mean = (1 - b) + b * (1 - h)
    mean = (1 - b) * mean + b * (1 - h) ** 2
    assert x.item() == pytest.approx((1 - b) + b * mean, abs=1e-6)


def test_langevin_scaled_is_rmsprop_of_the_gradient():
    game = Bowl(3.0, 4)
    (x,) = game.players["x"].parameters()
    with torch.no_grad():
        x.copy_(torch.tensor([1.0, -2.0, 5.0, -0.1]))
    start = x.detach().clone()
    _play("langevin:lr=0.01,temperature=0,inner=1,beta=1", game, 1)
    # The first scaled gradient is its sign.
    assert torch.allclose(x, start - 0.01 * start.sign(), atol=1e-6)


def test_langevin_that_cannot_move_is_a_mistake():
    with pytest.raises(UserError, match=r"beta must be above 0"):
        solvers.make("langevin:beta=0").start(Bowl(1.0, 1))
