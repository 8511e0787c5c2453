import math

import pytest
import torch
from torch import nn

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.games.equilibria import DoubleOracleGame, double_oracle, equilibrium
from gantlet.games.mixed import (
    AgainstMixture,
    Mixed,
    NetworkOracles,
    mixed_gap,
    payoffs,
    state_of,
    tournament,
)
from gantlet.models.gan import Gan
from toy_games import Bilinear, Matrix

LINE = Space("vector", (1,))
LOG2 = math.log(2)


def stream(name="test"):
    return Rng(0).stream(name)


class Listed(DoubleOracleGame):
    """A matrix game, its oracles exact."""

    def __init__(self, A):
        self.A = A

    def payoff(self, row, column):
        return float(self.A[row, column])

    def best_row(self, columns, weights, start):
        return int((self.A[:, columns] @ weights).argmin())

    def best_column(self, rows, weights, start):
        return int((weights @ self.A[rows, :]).argmax())


@pytest.mark.parametrize("seed", range(3))
def test_a_double_oracle_finds_the_value_of_the_whole_game(seed):
    A = torch.randn(30, 20, generator=Rng(seed).stream("A"), dtype=torch.float64)
    rounds = list(double_oracle(Listed(A), [0], [0], epsilon=1e-9))
    truth = equilibrium(A).value
    assert rounds[-1].equilibrium.value == pytest.approx(truth, abs=1e-9)
    assert rounds[-1].gap < 1e-9
    assert len(rounds[-1].rows) < 30  # Not all had to be looked at.
    # Every round's gap bounds how far its value is from the truth.
    assert all(abs(r.equilibrium.value - truth) <= r.gap + 1e-9 for r in rounds)


def built():
    """A GAN on the line whose networks are set by hand: G(z) = at + z/100, D(x) = slope x."""
    return Gan(latent=1, width=4, depth=1, loss="ns", penalty="none").build(LINE, rng=Rng(0))


def generator(game, at):
    """Weights of a generator that puts all samples at one place."""
    net = game.model
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        list(net.parameters())[-1].fill_(at)
    return state_of(net)


def critic(game, slope):
    """Weights of a critic with score ``slope x``, by two leaky units."""
    net = game.players["critic"]
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        first, last = [m for m in net.modules() if isinstance(m, nn.Linear)]
        first.weight[:2, 0] = torch.tensor([1.0, -1.0])
        last.weight[0, :2] = torch.tensor([slope, -slope]) / 1.2
    return state_of(net)


TWO_MODES = torch.tensor([[-1.0], [1.0]]).repeat(200, 1)


def test_the_mixture_of_two_modes_is_found():
    """Each generator makes one of two modes; each critic likes one side. Both must be mixed."""
    game = built()
    generators = [generator(game, at) for at in (-1.0, 1.0)]
    critics = [critic(game, slope) for slope in (-1.5, 1.5)]
    mixed = tournament(game, generators, critics, TWO_MODES, rng=stream())
    assert mixed.rows.tolist() == pytest.approx([0.5, 0.5])
    assert mixed.columns.tolist() == pytest.approx([0.5, 0.5])
    assert mixed.networks == 4


def test_payoffs_are_the_value_of_the_paper():
    game = built()
    A = payoffs(
        game,
        [generator(game, 1.0), generator(game, -2.0)],
        [critic(game, 0.7), critic(game, 0.0)],
        TWO_MODES,
        rng=stream(),
    )

    def log_sigmoid(t):
        return -math.log1p(math.exp(-t))

    real = (log_sigmoid(0.7) + log_sigmoid(-0.7)) / 2
    assert A[:, 0].tolist() == pytest.approx(
        [0.5 * real + 0.5 * log_sigmoid(-0.7), 0.5 * real + 0.5 * log_sigmoid(1.4)], rel=1e-5
    )
    assert A[:, 1].tolist() == pytest.approx([-LOG2, -LOG2])


def test_the_gap_of_a_good_mixture_is_small_and_of_one_mode_it_is_not():
    game = built()
    left, right = (generator(game, at) for at in (-1.0, 1.0))
    blind = critic(game, 0.0)
    before = {name: state_of(p) for name, p in game.players.items()}
    how = {"steps": 150, "lr": 0.05, "rng": Rng(0), "batch": 40}
    both = mixed_gap(game, Mixed.uniform([left, right], [blind]), TWO_MODES, TWO_MODES, **how)
    one = mixed_gap(game, Mixed.pure(left, blind), TWO_MODES, TWO_MODES, **how)
    # Against one mode of two a perfect critic gains the divergence of 1/2, 1/2 from 1, 0.
    truth = 0.5 * (0.5 * math.log(0.5 / 0.75) + 0.5 * LOG2) + 0.5 * math.log(1 / 0.75)
    assert 0.9 * truth < one.value <= truth + 1e-6
    assert 0 <= both.value < 0.02
    for name, player in game.players.items():
        assert all(torch.equal(v, before[name][k]) for k, v in player.state_dict().items())


def test_the_double_oracle_lowers_the_gap_of_a_gan():
    game = built()
    stage = NetworkOracles(game, TWO_MODES, TWO_MODES, steps=60, lr=0.05, rng=Rng(1), batch=40)
    start = [generator(game, 0.3)], [critic(game, 0.1)]
    rounds = []
    for found in double_oracle(stage, *start, epsilon=0.02):
        rounds.append(found)
        if len(rounds) == 12:
            break
    assert stage.responses == 2 * len(rounds)
    assert len(rounds[-1].rows) == len(rounds)
    assert min(r.gap for r in rounds) < 0.5 * rounds[0].gap


def test_opponents_are_drawn_by_weight():
    game = Bilinear(torch.zeros(1), torch.zeros(1))
    opponents = [{"at": torch.tensor([float(i)])} for i in range(3)]
    against = AgainstMixture(
        game, "x", opponents, torch.tensor([0.2, 0.0, 0.8], dtype=torch.float64)
    )
    (x,) = against.players["x"].parameters()
    noise, seen = stream(), []
    for _ in range(500):
        loss = against.loss("x", torch.zeros(1, 1), rng=noise)
        seen.append(int(torch.autograd.grad(loss, [x])[0]))
    assert [seen.count(i) / 500 for i in range(3)] == pytest.approx([0.2, 0, 0.8], abs=0.05)


def test_a_gap_needs_a_batch():
    game = built()
    mixed = Mixed.pure(generator(game, 0.0), critic(game, 0.0))
    with pytest.raises(UserError, match=r"A batch of 128 .* Got 10 to train and 400 held out"):
        mixed_gap(game, mixed, TWO_MODES[:10], TWO_MODES, rng=Rng(0))


def test_a_matrix_game_must_fit_its_players():
    with pytest.raises(UserError, match=r"shape \(2, 3\)\. Got \(3, 2\)"):
        Matrix(torch.zeros(3, 2), torch.zeros(2), torch.zeros(3))
