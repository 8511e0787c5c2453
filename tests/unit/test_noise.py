"""Gradient noise: examples, micro-batches, noise scales and floors, against closed forms."""

import math

import pytest
import torch
from torch import nn

import gantlet
from gantlet.core.errors import UserError
from gantlet.core.model import Game
from gantlet.core.rng import Rng
from gantlet.core.spec import families, solvers
from gantlet.games.field import FixedLosses, GameField
from gantlet.games.noise import Ledger, Look, adam_weights, look_at, noise_floor
from gantlet.games.toys import Dirac
from gantlet.models.losses import AdversarialObjective
from gantlet.models.nets import seeded
from gantlet.run.trials import load
from gantlet.stats.noise_scale import (
    Parts,
    fit_critical_batch,
    pooled,
    predicted_critical_batch,
    scaled_rate,
    steps_saved,
)


@pytest.fixture(autouse=True)
def weights():
    """Draws weights of networks from a seed."""
    with seeded(Rng(7).stream("init")):
        yield


class SampledLgq(Game):
    """The LGQ game on samples: quadratic critic ``x' W x``, linear generator ``A z``."""

    def __init__(self, S, A, W):
        dim = len(S)
        self.generator, self.critic = (
            nn.Linear(dim, dim, bias=False),
            nn.Linear(dim, dim, bias=False),
        )
        self.generator.weight.data = A.clone()
        self.critic.weight.data = W.clone()
        self.S = S

    @property
    def players(self):
        return {"critic": self.critic, "generator": self.generator}

    def loss(self, player, batch, *, rng):
        z = torch.randn(batch.shape, generator=rng, dtype=batch.dtype)
        fake = self.generator(z)
        if player == "generator":
            return -(fake * self.critic(fake)).sum(1).mean()
        fake = fake.detach()
        return (fake * self.critic(fake)).sum(1).mean() - (batch * self.critic(batch)).sum(
            1
        ).mean()

    def exact(self):
        """Noise scales by the fourth moments of normal vectors."""
        S, A = self.S, self.generator.weight.detach()
        T = A @ A.T

        def spread(C):
            return C.trace() ** 2 + (C @ C).trace()

        critic = (spread(S) + spread(T)) / (S - T).square().sum()
        return {"critic": float(critic), "generator": len(S) + 1.0}


def lgq(dim=3):
    g = torch.Generator().manual_seed(1)
    S = torch.diag(torch.tensor([1.0, 0.6, 0.3], dtype=torch.float64))[:dim, :dim]
    A = torch.randn(dim, dim, generator=g, dtype=torch.float64)
    W = torch.randn(dim, dim, generator=g, dtype=torch.float64)
    return SampledLgq(S, A, W + W.T)


def lgq_batch(game, n, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, len(game.S), generator=g, dtype=torch.float64) @ game.S.sqrt()


def built(model, data="ring", n=64):
    space, splits = load(data, 0)
    family = families.make(model)
    game = family.build(space, rng=Rng(0))
    x = splits.train.take(torch.arange(n))
    with torch.no_grad():
        game.prepare(x, rng=Rng(0).stream("prepare"))
    return game, solvers.make(family.solver), x


@pytest.mark.parametrize(
    ("loss", "penalty"), [("relativistic", "r1r2"), ("ns", "r1"), ("hinge", "none")]
)
def test_gradients_of_examples_are_those_of_pairs_taken_one_by_one(loss, penalty):
    game, _, x = built(f"gan:loss={loss},penalty={penalty},width=16", n=12)
    look = Look(game, x, rng=Rng(3).stream("noise"))
    assert look.unit == "example"
    rules = AdversarialObjective(loss=loss, penalty=penalty, gamma=0.3)
    rng = FixedLosses(x, rng=Rng(3).stream("noise")).rng()
    critic, model = game.players["critic"], game.model
    real, z = model.scaling(x), model.prior(len(x), rng=rng)
    for i in range(len(x)):
        mine = slice(i, i + 1)
        fake = model(z[mine])
        of_critic = rules.critic(critic, real[mine], fake.detach(), rng=rng)
        of_generator = rules.generator(critic, real[mine], fake)
        for name, value in (("critic", of_critic), ("generator", of_generator)):
            own = list(game.players[name].parameters())
            expected = torch.cat([g.flatten() for g in torch.autograd.grad(value, own)])
            found = look.rows[name].rows[i]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "model", ["wgan-gp:width=16", "gan:width=16,spectral=true", "ar:width=16"]
)
@pytest.mark.parametrize("data", ["ring", "digits"])
def test_the_mean_over_examples_is_the_gradient_of_the_batch(model, data):
    game, _, x = built(model, data, n=20)
    before = [p.clone() for player in game.players.values() for p in player.parameters()]
    look = Look(game, x, rng=Rng(0).stream("noise"), unit="example")
    rows = Look(game, x, rng=Rng(0).stream("noise"), unit="example").rows
    for player, own in game.players.items():
        rng = FixedLosses(x, rng=Rng(0).stream("noise")).rng()
        slopes = torch.autograd.grad(game.loss(player, x, rng=rng), list(own.parameters()))
        whole = torch.cat([g.flatten() for g in slopes])
        torch.testing.assert_close(look.rows[player].rows.mean(0), whole, rtol=1e-3, atol=1e-6)
        assert torch.equal(look.rows[player].rows, rows[player].rows)
    after = [p for player in game.players.values() for p in player.parameters()]
    assert all(map(torch.equal, before, after))


def test_noise_scales_of_a_linear_quadratic_game_are_those_of_its_moments():
    game, covered = lgq(), {"critic": 0, "generator": 0}
    for seed in range(40):
        look = Look(game, lgq_batch(game, 400, seed), rng=Rng(seed).stream("noise"))
        for player, exact in game.exact().items():
            found = look.moments()[player].parts().scale()
            covered[player] += found.low <= exact <= found.high
    # Below 34 of 40 has probability 1 % at 95 %.
    assert min(covered.values()) >= 34


def test_micro_batches_and_examples_estimate_the_same():
    game = lgq()
    parts = {
        unit: pooled(
            [
                Look(game, lgq_batch(game, 256, seed), rng=Rng(seed).stream("n"), unit=unit)
                .moments()["together"]
                .parts()
                for seed in range(60)
            ]
        )
        for unit in ("example", "micro-batch")
    }
    for name, at in (("trace", 0), ("square", 2)):
        a, b = (getattr(p, name) for p in parts.values())
        error = math.sqrt(sum(p.covariance[at] for p in parts.values()))
        assert abs(a - b) < 3.5 * error
    assert parts["example"].covariance[0] < parts["micro-batch"].covariance[0]


def test_of_micro_batches_the_estimator_is_that_of_two_batch_sizes():
    game = lgq()
    look = Look(game, lgq_batch(game, 64, 0), rng=Rng(0).stream("n"), unit="micro-batch", groups=4)
    rows, found = look.rows["critic"].rows, look.moments()["critic"]
    small, big = rows.square().sum(1).mean(), rows.mean(0).square().sum()
    # McCandlish et al., 2018, appendix A.1, with B_small = 16 and B_big = 64.
    assert found.square == pytest.approx(float((64 * big - 16 * small) / (64 - 16)))
    assert found.trace == pytest.approx(float((small - big) / (1 / 16 - 1 / 64)))


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x):
        return self.body(x)


def test_where_a_batch_is_normalised_there_are_no_examples():
    game = gantlet.game({"generator": nn.Linear(3, 2), "critic": Normed()}, losses="ns", latent=3)
    batch = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    kept = game.players["critic"].body[1].running_mean.clone()
    look = Look(game, batch, rng=Rng(0).stream("n"))
    assert look.unit == "micro-batch"
    assert "batch normalisation" in look.reason
    assert torch.equal(kept, game.players["critic"].body[1].running_mean)
    with pytest.raises(UserError, match=r"Compare micro-batches\.$"):
        Look(game, batch, rng=Rng(0).stream("n"), unit="example")
    for module in game.players.values():
        module.eval()
    assert Look(game, batch, rng=Rng(0).stream("n")).unit == "example"


@pytest.mark.parametrize("unit", ["example", "micro-batch"])
def test_a_parameter_that_the_loss_does_not_use_has_no_gradient(unit):
    critic = nn.Linear(2, 1)
    game = gantlet.game({"generator": nn.Linear(3, 2), "critic": critic}, losses="ns", latent=3)
    batch = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    used = Look(game, batch, rng=Rng(0).stream("n"), unit=unit).rows["critic"].rows
    critic.spare = nn.Parameter(torch.ones(5))
    found = Look(game, batch, rng=Rng(0).stream("n"), unit=unit).rows["critic"].rows
    assert sorted(found.abs().sum(0).tolist())[:5] == [0.0] * 5
    assert found.square().sum() == pytest.approx(float(used.square().sum()))
    assert found.shape[1] == used.shape[1] + 5


def apart(critic, generator, real, z):
    """A loss of pairs of fakes, which no example has."""
    fake = generator(z)
    return (critic(fake) - critic(fake.roll(1, 0))).square().mean() + critic(real).mean()


def test_a_loss_that_couples_samples_is_found_by_its_gradient():
    game = gantlet.game(
        {
            "generator": nn.Linear(3, 2),
            "critic": nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)),
        },
        losses={"critic": apart, "generator": lambda critic, fake: critic(fake).square().mean()},
        latent=3,
    )
    batch = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    look = Look(game, batch, rng=Rng(0).stream("n"))
    assert look.unit == "micro-batch"
    assert "the loss of critic is not a mean over examples" in look.reason
    for model in ("pac-gan:width=16", "mix-gan:width=16"):
        assert Look(*built(model)[::2], rng=Rng(0).stream("n")).unit == "micro-batch"


def test_adam_sees_gradients_in_its_own_units():
    game, solver, x = built("gan:width=16", n=64)
    play = solver.start(game)
    assert adam_weights(game, play) is None
    for seed in range(3):
        play.step(x, rng=Rng(seed).stream("noise"))
    weights = adam_weights(game, play)
    second = play.state_dict()["critic"]["second"]
    expected = torch.cat([1 / (v.sqrt() + 1e-8).flatten() for v in second])
    assert torch.equal(weights["critic"], expected)
    rows = Look(game, x, rng=Rng(0).stream("n"))
    scaled = (rows.rows["critic"].rows * expected.sqrt()).double()
    trace = float(scaled.var(0).sum())
    seen = look_at(game, play, x, step=3, rng=Rng(0).stream("n"))
    assert seen.parts["adam"]["critic"].trace == pytest.approx(trace, rel=1e-4)
    both = [seen.parts["adam"][p].trace for p in ("critic", "generator", "together")]
    assert both[0] + both[1] == pytest.approx(both[2])


@pytest.mark.parametrize("solver", ["extragradient", "optimistic", "lookahead"])
def test_second_moments_are_found_in_solvers_on_adam(solver):
    game, _, x = built("gan:width=16", n=64)
    play = solvers.make(solver).start(game)
    play.step(x[:32].repeat(play.batches, 1), rng=Rng(0).stream("noise"))
    weights = adam_weights(game, play)
    assert {k: v.numel() for k, v in weights.items()} == {
        k: sum(p.numel() for p in m.parameters()) for k, m in game.players.items()
    }


def test_a_gradient_that_noise_hides_gives_a_bound_and_says_so():
    found = Parts(10.0, -0.1, (1.0, 0.0, 0.04), 60, 64).scale()
    assert found.kind == "lower"
    assert found.high is None
    # (10 + 0.1 r)^2 = t^2 (1 + 0.04 r^2) with the quantile of 60 degrees of freedom.
    r, t = found.value, 2.0003
    assert (10 + 0.1 * r) ** 2 == pytest.approx(t**2 * (1 + 0.04 * r**2), rel=1e-4)
    assert "cannot be distinguished from 0" in found.method


def test_numerator_and_denominator_are_averaged_apart_and_kept():
    ledger, game = Ledger(), lgq()
    for seed in range(4):
        batch = lgq_batch(game, 64, seed)
        ledger.looks.append(look_at(game, None, batch, step=seed, rng=Rng(seed).stream("n")))
    again = Ledger()
    again.load_state_dict(ledger.state_dict())
    assert again.looks == ledger.looks
    assert ledger.players("plain") == ["critic", "generator", "together"]
    parts = ledger.parts("critic", "plain")
    ratio = sum(p.trace for p in parts) / sum(p.square for p in parts)
    assert ledger.scale("critic", "plain").value == pytest.approx(ratio)
    assert ledger.scale("critic", "plain").n == 4 * 64
    assert [step for step, _ in ledger.windows("critic", "plain", 2)] == [1, 3]


def test_a_constant_noise_scale_is_the_critical_batch():
    windows = [Parts(50.0, 2.0, (0.5, 0.0, 0.001), 100, 128)] * 4
    found = predicted_critical_batch(windows, 64, rng=Rng(0).stream("draws"))
    assert found.value == pytest.approx(25.0)
    assert found.low < 25 < found.high < 27
    # Two halves of scale 1 and 100: steps of the first count 64/65, of the second 64/164.
    windows = [Parts(1.0, 1.0, (0.0, 0.0, 0.0), 9, 1), Parts(100.0, 1.0, (0.0, 0.0, 0.0), 9, 1)]
    found = predicted_critical_batch(windows, 64, rng=Rng(0).stream("draws"))
    a, b = 64 / 65, 64 / 164
    assert found.value == pytest.approx((a * 1 + b * 100) / (a + b))
    hidden = [Parts(50.0, 0.0, (0.5, 0.0, 1.0), 100, 128)]
    assert predicted_critical_batch(hidden, 64, rng=Rng(0).stream("draws")).kind == "lower"


def test_a_hyperbola_is_fitted_and_says_what_the_batches_do_not_bound():
    batches = [4, 8, 16, 64, 256]
    found = fit_critical_batch(batches, [100 * (1 + 30 / b) for b in batches])
    assert found.critical.value == pytest.approx(30, rel=1e-3)
    assert found.fewest.value == pytest.approx(100, rel=1e-3)
    assert found.steps(30) == pytest.approx(200, rel=1e-3)
    flat = fit_critical_batch(batches, [100, 101, 99, 100, 101])
    assert flat.critical.low == 0.0
    assert flat.critical.high < 1
    steep = fit_critical_batch([4, 8, 16], [4000, 2000, 1000])
    assert steep.critical.kind == "lower"
    assert steep.critical.high is None
    with pytest.raises(UserError, match="at least three trainings"):
        fit_critical_batch([4, 8], [10, 5])


def test_profile_intervals_of_critical_batches_cover():
    rng, batches = torch.Generator().manual_seed(0), [8, 32, 128, 512] * 3
    covered = 0
    for _ in range(60):
        noise = 0.15 * torch.randn(12, generator=rng, dtype=torch.float64)
        steps = [50 * (1 + 60 / b) * math.exp(e) for b, e in zip(batches, noise, strict=True)]
        found = fit_critical_batch(batches, steps).critical
        covered += found.low <= 60 <= found.high
    assert covered >= 52  # below has probability 1 % at 95 %


def test_rates_follow_the_batch():
    assert scaled_rate(0.1, 64, 256, "constant") == 0.1
    assert scaled_rate(0.1, 64, 16, "linear") == pytest.approx(0.025)
    assert scaled_rate(0.1, 64, 16, "sqrt") == pytest.approx(0.05)
    # Far below the critical batch the best step is proportional, far above it is constant.
    assert scaled_rate(0.1, 1, 2, "noise", 1e6) == pytest.approx(0.2, rel=1e-4)
    assert scaled_rate(0.1, 1e6, 2e6, "noise", 1) == pytest.approx(0.1, rel=1e-4)
    assert steps_saved(10, 0) == 0
    with pytest.raises(UserError, match="critical batch"):
        scaled_rate(0.1, 1, 2, "noise")


def test_the_noise_floor_of_dirac_with_r1_and_that_none_helps_without():
    game = Dirac(loss="ns", penalty="r1", gamma=0.3).build()
    for player in game.players.values():
        for p in player.parameters():
            p.data.zero_()
    field = GameField(game, torch.zeros(1, 1, dtype=torch.float64), rng=Rng(0).stream("n"))
    J = field.jacobian.dense().T
    one = float(noise_floor(J, torch.eye(2), step=0.05).trace())
    assert one == pytest.approx(0.379, abs=5e-4)
    assert float(noise_floor(J, torch.eye(2), step=0.05, batch=16).trace()) == pytest.approx(
        0.0237, abs=5e-5
    )
    # A slow twin: the recursion itself.
    P, update = torch.zeros(2, 2, dtype=torch.float64), torch.eye(2).double() + 0.05 * J
    for _ in range(3000):
        P = update @ P @ update.T + 0.05**2 * torch.eye(2).double()
    assert float(P.trace()) == pytest.approx(one, rel=1e-7)
    free = torch.tensor([[0.0, -0.5], [0.5, 0.0]])
    with pytest.raises(UserError, match="no noise floor at any"):
        noise_floor(free, torch.eye(2), step=0.05, batch=1e6)
