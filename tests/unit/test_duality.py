import math

import pytest
import torch
from torch import nn

from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.model import Adversarial, Decoder
from gantlet.core.rng import Rng
from gantlet.core.spec import families
from gantlet.games.mixed import ZeroSumGame, duality_gap, regrets, worth
from gantlet.models.nets import seeded
from gantlet.stats.intervals import mean
from toy_games import Bilinear, Matrix

NOTHING = torch.zeros(8, 1)


class Shift(Decoder):
    """Normal noise, moved."""

    def __init__(self, by):
        super().__init__()
        self.space, self.latent_dim = Space("vector", (1,)), 1
        self.by = nn.Parameter(torch.tensor(by))

    def prior(self, n, *, rng):
        return torch.randn(n, 1, generator=rng)

    def _decode(self, z, context):
        return z + self.by

    def _sample(self, n, context, *, rng):
        return self.decode(self.prior(n, rng=rng)).detach()


class Linear(Adversarial):
    """A critic whose score is linear, which is all that two Gaussians of one width need."""

    def __init__(self, by):
        self._model = Shift(by)
        with seeded(Rng(0).stream("init")):
            self._net = nn.Linear(1, 1)
        nn.init.zeros_(self._net.weight)
        nn.init.zeros_(self._net.bias)

    @property
    def players(self):
        return {"critic": self._net, "generator": self._model}

    @property
    def model(self):
        return self._model

    def _scores(self, x, context):
        return self._net(x)[:, 0]

    def loss(self, player, batch, *, rng):
        raise NotImplementedError

    def validate(self, x, *, rng):
        raise NotImplementedError


def jensen_shannon(mu):
    """The divergence of N(0, 1) and N(mu, 1) in nats, by a sum over a fine grid."""
    x = torch.linspace(-15, 15 + mu, 200_001, dtype=torch.float64)
    p, q = (torch.exp(-0.5 * (x - m) ** 2) / math.sqrt(2 * math.pi) for m in (0, mu))
    middle = (p + q) / 2
    each = torch.special.xlogy(p, p / middle) + torch.special.xlogy(q, q / middle)
    return float(each.nan_to_num().sum() / 2 * (x[1] - x[0]))


def test_the_gap_of_a_matrix_game_is_its_exploitability():
    payoff = torch.randn(4, 3, generator=Rng(0).stream("payoff"))
    game = Matrix(payoff, torch.randn(4, generator=Rng(1).stream("x")), torch.zeros(3))
    found = duality_gap(game, NOTHING, NOTHING, steps=200, lr=1.0, rng=Rng(0), batch=4)
    assert found.value == pytest.approx(game.gap, abs=1e-4)
    assert found.low == found.high == found.value  # There is no noise.


def test_at_the_equilibrium_nobody_gains():
    for game in (
        Bilinear(torch.zeros(3), torch.zeros(3)),
        Matrix(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.zeros(2), torch.zeros(2)),
    ):
        found = duality_gap(game, NOTHING, NOTHING, steps=20, lr=0.1, rng=Rng(0), batch=4)
        assert found.value == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("mu", [0.5, 2.0])
def test_a_best_critic_gains_the_jensen_shannon_divergence(mu):
    real = torch.randn(20_000, 1, generator=Rng(0).stream("real"))
    game = ZeroSumGame(Linear(mu))
    gains = regrets(game, real[:10_000], real[10_000:], steps=500, lr=0.02, rng=Rng(0), batch=500)
    found = mean(gains["critic"])
    assert found.low < jensen_shannon(mu) < found.high
    assert found.value == pytest.approx(jensen_shannon(mu), abs=0.01)
    # Against a blind critic no generator gains.
    blind = regrets(game, real, real, steps=5, lr=0.1, rng=Rng(0), batch=500)["generator"]
    assert blind == pytest.approx([0] * len(blind), abs=1e-6)


def test_a_blind_critic_is_worth_log_two():
    assert worth(torch.zeros(3), torch.zeros(5)).item() == pytest.approx(-math.log(2))


@pytest.mark.parametrize("model", ["gan:width=8", "gan:width=8,loss=ns,penalty=r1"])
def test_the_game_is_left_as_it_was(model):
    x = torch.randn(64, 2, generator=Rng(0).stream("x"))
    game = families.make(model).build(Space("vector", (2,)), rng=Rng(0))
    before = {k: v.clone() for p in game.players.values() for k, v in p.state_dict().items()}
    for read in (game, ZeroSumGame(game)):
        first, again = (duality_gap(read, x, x, steps=3, rng=Rng(1), batch=16) for _ in range(2))
        assert first == again
        assert first.low < first.value < first.high
        assert "lower bound" in first.method
    for player in game.players.values():
        assert all(p.grad is None for p in player.parameters())
        for name, tensor in player.state_dict().items():
            assert torch.equal(tensor, before[name])


def test_levels_get_noise_as_in_training():
    game = families.make("gan:width=8").build(Space("image", (1, 4, 4), 17), rng=Rng(0))
    seen = []
    game.players["critic"].register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    ZeroSumGame(game).value(torch.full((100, 1, 4, 4), 3.0), rng=Rng(0).stream("x"))
    real = (seen[0] + 1) * 8.5 - 0.5
    assert 2.499 <= real.min() < 2.52
    assert 3.48 < real.max() < 3.501


def test_mistakes_are_told():
    game = Bilinear(torch.ones(1), torch.ones(1))
    with pytest.raises(UserError, match=r"held_out must hold a batch of 8 samples. Got 2"):
        duality_gap(game, NOTHING, NOTHING[:2], rng=Rng(0), batch=8)
    with pytest.raises(UserError, match=r"at least 1. Got 0"):
        duality_gap(game, NOTHING, NOTHING, steps=0, rng=Rng(0), batch=8)
