"""How solvers move: noise, buffers, moments, memory, and what they leave alone."""

import math
from typing import final

import pytest
import torch
from torch import nn

from gantlet.core.errors import UserError, unknown
from gantlet.core.model import Game
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.games.toys import PointPlayer
from gantlet.testing.contracts import Tug
from toy_games import Bilinear

H = 0.1
JOINT = [
    *("extragradient", "past-extragradient", "optimistic"),
    *("consensus", "sga", "crossing-the-curl", "cgd"),
]


def centred(start=(1.0, 0.5)):
    return Bilinear(*(torch.tensor([s], dtype=torch.float64) for s in start))


def place(game):
    return torch.cat(
        [p.detach().flatten().clone() for m in game.players.values() for p in m.parameters()]
    )


def play(text, game, steps, between=lambda game: None):
    """Returns the places of a play, shape ``(steps + 1, n)``."""
    player, noise = solvers.make(text).start(game), Rng(0).stream("noise")
    places = [place(game)]
    for step in range(steps):
        batch = torch.randn(4 * player.batches, 3, generator=Rng(step).stream("batch"))
        player.step(batch, rng=noise)
        between(game)
        places.append(place(game))
    return torch.stack(places)


def zero_in_place(game):
    for player in game.players.values():
        player.zero_grad(set_to_none=False)


def zero_to_none(game):
    for player in game.players.values():
        player.zero_grad(set_to_none=True)


@pytest.mark.parametrize("name", ["optimistic", "past-extragradient", "extragradient"])
@pytest.mark.parametrize("zero", [zero_in_place, zero_to_none])
def test_zeroing_gradients_does_not_reach_what_a_solver_remembers(name, zero):
    text = f"{name}:base=sgd,lr={H}"
    game = centred()
    for player in game.players.values():
        player.at.grad = torch.zeros_like(player.at)
    places = play(text, game, 300, between=zero)
    assert torch.equal(places, play(text, centred(), 300))
    # With the last gradient zeroed behind its back, optimism is plain descent and runs away:
    # after 300 steps, 1.01 ** 150 = 4.4 times as far.
    assert places[-1].norm() < 0.25 * places[0].norm()


def test_the_average_of_simultaneous_play_runs_away_and_that_of_alternation_does_not():
    start = complex(1.0, 0.5)
    once = play(f"sgd:lr={H},mode=simultaneous", centred(), 900)[1:]
    turn = play(f"sgd:lr={H}", centred(), 900)[1:]
    norms = []
    for T in (63, 900):  # after about one turn, and fourteen
        average = complex(*once[:T].mean(0).tolist())
        # Descent of x and ascent of y turn x + i y by 1 + i h; a geometric series.
        step = 1 + 1j * H
        assert average == pytest.approx(start * (step ** (T + 1) - step) / (1j * H * T), rel=1e-9)
        norms.append(abs(average))
    assert norms[1] > 10 * norms[0]
    for T in (30, 300, 900):
        assert turn[:T].mean(0).norm() * T * H < 3


def moments(gradients, lr, beta1, beta2, eps=1e-8):
    """Adam's displacements for a sequence of gradients, as the paper has it."""
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        yield -lr * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + eps)


def test_extra_adam_is_the_algorithm_of_the_paper():
    lr, beta1, beta2 = 0.1, 0.5, 0.9
    x, y = 1.0, 0.5
    seen = {"x": [], "y": []}

    def displacement(player, gradient):
        seen[player].append(gradient)
        return list(moments(seen[player], lr, beta1, beta2))[-1]

    for _ in range(5):
        ahead = x + displacement("x", y), y + displacement("y", -x)
        x, y = x + displacement("x", ahead[1]), y + displacement("y", -ahead[0])
    found = play(f"extragradient:lr={lr},beta1={beta1},beta2={beta2}", centred(), 5)
    assert found[-1].tolist() == pytest.approx([x, y], rel=1e-9)


def test_optimistic_adam_is_the_algorithm_of_the_paper():
    lr, beta1, beta2 = 0.1, 0.5, 0.9
    x, y, last = 1.0, 0.5, (0.0, 0.0)
    seen = {"x": [], "y": []}
    for _ in range(6):
        seen["x"].append(y)
        seen["y"].append(-x)
        now = tuple(list(moments(seen[p], lr, beta1, beta2))[-1] for p in "xy")
        x, y = x + 2 * now[0] - last[0], y + 2 * now[1] - last[1]
        last = now
    found = play(f"optimistic:lr={lr},beta1={beta1},beta2={beta2}", centred(), 6)
    assert found[-1].tolist() == pytest.approx([x, y], rel=1e-9)


def test_simultaneous_adam_is_adam_on_both_at_once():
    x, y = 1.0, 0.5
    seen = {"x": [], "y": []}
    for _ in range(6):
        seen["x"].append(y)
        seen["y"].append(-x)
        x, y = (a + list(moments(seen[p], 0.1, 0.9, 0.999))[-1] for p, a in (("x", x), ("y", y)))
    found = play("adam:lr=0.1,mode=simultaneous", centred(), 6)
    assert found[-1].tolist() == pytest.approx([x, y], rel=1e-9)


def test_lookahead_goes_back_part_of_the_way_for_all_players_together():
    fast = play(f"sgd:lr={H}", centred(), 4)
    found = play(f"lookahead:base=sgd,lr={H},k=4,alpha=0.3", centred(), 5)
    assert torch.equal(found[:4], fast[:4])
    back = fast[0] + 0.3 * (fast[4] - fast[0])
    assert torch.allclose(found[4], back, rtol=1e-12)
    again = play(f"sgd:lr={H}", centred(back.tolist()), 1)
    assert torch.allclose(found[5], again[1], rtol=1e-12)


def test_alternating_adam_is_a_plain_loop_bit_by_bit():
    game, twin = Tug(), Tug()
    found = play("adam:lr=0.01+0.002,beta1=0.5", game, 5)
    optimizers = {
        name: torch.optim.Adam(p.parameters(), lr, betas=(0.5, 0.999), fused=True)
        for (name, p), lr in zip(twin.players.items(), (0.01, 0.002), strict=True)
    }
    noise = Rng(0).stream("noise")
    for step in range(5):
        batch = torch.randn(4, 3, generator=Rng(step).stream("batch"))
        for name, player in twin.players.items():
            player.zero_grad()
            loss = twin.loss(name, batch, rng=noise)
            loss.backward(inputs=list(player.parameters()))
            optimizers[name].step()
    assert torch.equal(found[-1], place(twin))


@pytest.mark.parametrize("mode", ["alternating", "simultaneous"])
def test_two_time_scales_are_a_rate_for_each_player(mode):
    one = play(f"sgd:lr=0.01,mode={mode}", Tug(), 1)
    two = play(f"sgd:lr=0.04+0.01,mode={mode}", Tug(), 1)
    a = sum(p.numel() for p in Tug().players["a"].parameters())
    assert torch.allclose((two[1] - two[0])[:a], 4 * (one[1] - one[0])[:a], atol=1e-6)
    same = mode == "simultaneous"
    # In turn, the second player answers a first one that has moved further.
    assert torch.equal(two[1][a:], one[1][a:]) is same


@pytest.mark.parametrize(
    "text", ["sgd:mode=simultaneous", "extragradient:base=sgd", "optimistic:base=sgd"]
)
def test_clipping_bounds_the_gradient_of_each_player(text):
    sizes = [sum(p.numel() for p in m.parameters()) for m in Tug().players.values()]
    extra = "," if ":" in text else ":"
    places = play(f"{text}{extra}lr=1,clip=0.01", Tug(), 1)
    bound = 0.02 if text.startswith("optimistic") else 0.01  # its first step is twice as long
    for part in (places[1] - places[0]).split(sizes):
        assert part.norm() == pytest.approx(bound, rel=1e-3)


class Watched(Game):
    """Two players that count how often they are seen, and a record of the noise they saw."""

    def __init__(self):
        self._players = nn.ModuleDict({n: Counting() for n in "ab"})
        self.noise = []

    @property
    def players(self):
        return dict(self._players.items())

    def loss(self, player, batch, *, rng):
        self.noise.append(float(torch.rand((), generator=rng)))
        a, b = (p() for p in self._players.values())
        return (a * b if player == "a" else -a * b) + a.square() + b.square()


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.at = nn.Parameter(torch.ones(()))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self):
        self.seen.add_(1)
        return self.at * 1.0


@pytest.mark.parametrize("name", JOINT)
def test_buffers_change_as_in_one_look(name):
    game = Watched()
    play(name, game, 3)
    # Each of the two losses sees each player once.
    assert [float(p.seen) for p in game.players.values()] == [6, 6]


@pytest.mark.parametrize(
    ("text", "looks"),
    [(n, 2 if n == "extragradient" else 1) for n in JOINT]
    + [("extragradient:fresh=false", 1), ("sgd:mode=simultaneous", 1)],
)
def test_players_see_the_same_noise_in_one_look_and_other_noise_in_another(text, looks):
    game = Watched()
    play(text, game, 3)
    drawn = game.noise
    assert all(a == b for a, b in zip(drawn[::2], drawn[1::2], strict=True))
    assert len(set(drawn)) == 3 * looks


@pytest.mark.parametrize("name", JOINT)
def test_one_player_alone_descends(name):
    class Alone(Game):
        def __init__(self):
            self.it = PointPlayer(torch.ones(3))

        @property
        def players(self):
            return {"it": self.it}

        def loss(self, player, batch, *, rng):
            return self.it.at.square().sum()

    if name == "crossing-the-curl":
        with pytest.raises(UserError, match="needs at least two players"):
            solvers.make(name).start(Alone())
    else:
        assert play(f"{name}:lr=0.01", Alone(), 20)[-1].norm() < 0.95 * math.sqrt(3)


def test_players_that_move_at_once_move_once():
    with pytest.raises(UserError, match=r"steps must be 1 for simultaneous updates.* Got 5\+1"):
        solvers.make("adam:mode=simultaneous,steps=5+1").start(Tug())
    with pytest.raises(UserError, match="one for each of a"):
        solvers.make("optimistic:lr=1+2+3").start(Tug())
    with pytest.raises(UserError, match="from -1 to 1"):
        solvers.make("sgd:momentum=-1.5")


@final
class Transposed(Game):
    """One player, whose gradient lies in memory otherwise than its parameter."""

    def __init__(self):
        self.player = PointPlayer(torch.zeros(2, 3))
        self.pull = torch.arange(6.0).view(3, 2).T + 1

    @property
    def players(self):
        return {"x": self.player}

    def loss(self, player, batch, *, rng):
        if player != "x":
            raise unknown("player", player, self.players)
        return (self.player.at * self.pull).sum()


@pytest.mark.parametrize("mode", ["alternating", "simultaneous"])
def test_adam_takes_gradients_by_their_place_and_not_as_they_lie_in_memory(mode):
    game, twin = Transposed(), nn.Parameter(torch.zeros(2, 3))
    (slope,) = torch.autograd.grad(game.loss("x", None, rng=None), [game.player.at])
    assert not slope.is_contiguous()
    play = solvers.make(f"adam:lr=0.1,eps=1,mode={mode}").start(game)
    theirs = torch.optim.Adam([twin], 0.1, eps=1)
    for _ in range(3):
        play.step(torch.zeros(1), rng=Rng(0).stream("noise"))
        twin.grad = game.pull.clone()
        theirs.step()
    assert torch.allclose(game.player.at, twin, rtol=1e-6)
