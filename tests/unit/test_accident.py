"""The accidental attack against slow twins: kernels written out, critics one by one, steps."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

import gantlet
from gantlet.core.data import Space
from gantlet.core.errors import UserError
from gantlet.core.rng import Rng
from gantlet.core.spec import solvers
from gantlet.games.accident import (
    DIRECTIONS,
    Moves,
    Reality,
    Way,
    accident,
    contrast,
    generator_of,
    kernel_prediction,
    ratio,
    transfer,
)
from gantlet.games.attack import lengths
from gantlet.games.fresh import FreshCritics, train_critics
from gantlet.models.gan import Gan, GanGame
from gantlet.models.losses import AdversarialObjective
from gantlet.models.nets import mlp, seeded

PLANE = Space("vector", (2,))
TINY = {"latent": 3, "width": 8, "depth": 1}


def data(n: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, generator=rng) + torch.tensor([2.0, 0.0])


def gan(seed: int = 0, **options):
    game = Gan(**{**TINY, **options}).build(PLANE, rng=Rng(seed))
    game.prepare(data(200), rng=Rng(0).stream("prepare"))
    return game


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(n: int, seed: int = 9) -> Tensor:
    return torch.randn(n, 3, generator=stream(seed))


def critic_net(seed: int) -> nn.Module:
    with seeded(stream(seed)):
        return nn.Sequential(mlp(2, 8, 1), nn.Flatten(0))


def see(x: Tensor, _: torch.Generator | None) -> Tensor:
    return x


# ----------------------------------------------------------------------------
# Updates.
# ----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["ns", "relativistic"])
def test_kernel_prediction_is_the_kernel_written_out(loss):
    game, z, real = gan(loss=loss), latents(5), data(6)
    drawn, found = kernel_prediction(game, "generator", real, z, rng=stream(1))
    # By hand: J(z) from jacrev, g_j from the loss of fakes as free samples.
    model = game.model
    weights = {k: p.detach() for k, p in model.named_parameters()}

    def made(own, latent):
        return model.scaling.inverse(functional_call(model, own, (latent[None],)))[0]

    def jacobian(latent: Tensor) -> Tensor:
        parts = jacrev(made)(weights, latent)
        return torch.cat([parts[k].reshape(2, -1) for k in weights], dim=1)

    assert torch.equal(drawn, model.prior(6, rng=stream(1)))
    fakes = model.decode(drawn).detach().requires_grad_()
    scores = [game.players["critic"](model.scaling(x)) for x in (real, fakes)]
    rule = {
        "ns": nn.functional.softplus(-scores[1]),
        "relativistic": nn.functional.softplus(scores[0].detach() - scores[1]),
    }[loss]
    g = -torch.autograd.grad(rule.sum(), fakes)[0]
    spread = torch.stack([jacobian(one).T @ g_j for one, g_j in zip(drawn, g, strict=True)])
    exact = torch.stack([jacobian(one) @ spread.mean(0) for one in z])
    assert torch.allclose(found, exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mode", ["alternating", "simultaneous"])
@pytest.mark.parametrize("kind", ["gan", "own"])
def test_small_steps_of_descent_are_predicted_to_first_order(mode, kind):
    game = gan() if kind == "gan" else own_game()
    rate = 1e-4
    moves = Moves(
        game, solvers.make(f"sgd:lr={rate},mode={mode}"), held_out=latents(40), scale=1.0
    )
    with moves.move(data(32), stream(2)) as one:
        cosine = torch.cosine_similarity(one.held_u, one.predicted, dim=1)
        assert cosine.min() > 0.99
        assert lengths(one.held_u - rate * one.predicted).max() < 0.02 * lengths(one.held_u).max()


def own_game():
    with seeded(stream(3)):
        g, d = mlp(3, 8, 2), mlp(2, 8, 1)
    return gantlet.game({"generator": g, "critic": d}, losses="ns", data=data(300))


@pytest.mark.parametrize(
    "solver", ["adam:lr=0.01", "adam:lr=0.01,mode=simultaneous", "extragradient:lr=0.01"]
)
def test_a_move_is_the_step_that_the_solver_makes_and_is_undone(solver):
    game, twin = gan(), gan()
    made = solvers.make(solver)
    memory = None
    for one in (game, twin):  # some memory first
        play = made.start(one)
        for i in range(3):
            play.step(data(16 * play.batches, seed=i), rng=stream(i))
        memory = play.state_dict()
    z, before = latents(20), copy.deepcopy(game.players["generator"].state_dict())
    critic_before = copy.deepcopy(game.players["critic"].state_dict())
    moves = Moves(game, made, memory=memory, held_out=z)
    start = twin.model.decode(z).detach()
    play.step(data(16 * play.batches, seed=7), rng=stream(7))
    expected = twin.model.decode(z).detach() - start
    for _ in range(2):  # the second is as the first
        with moves.move(data(16 * moves.batches, seed=7), stream(7)) as one:
            assert torch.allclose(one.held_u, expected, atol=1e-6)
            assert torch.allclose(one.held_x, start)
        for state, player in ((before, "generator"), (critic_before, "critic")):
            now = game.players[player].state_dict()
            assert all(torch.equal(state[k], now[k]) for k in state)


def test_inside_a_move_the_critic_is_the_one_that_the_generator_climbs():
    game, twin = gan(), gan()
    solver = solvers.make("adam:lr=0.01")
    moves = Moves(game, solver, held_out=latents(4))
    solver.start(twin).step(data(16), rng=stream(0))  # alternating: the critic goes first
    with moves.move(data(16), stream(0)) as one:
        assert torch.allclose(moves.score(one.x), twin.critic(one.x), atol=1e-6)


def test_ways_hold_the_critic_and_differ_in_steps_latents_and_space():
    game = gan()
    moves = Moves(game, solvers.make("adam:lr=0.01"), held_out=latents(30))
    sizes = {}
    for name, way in {
        "one": Way(steps=1),
        "five": Way(steps=5),
        "same": Way(steps=5, same=True),
        "free": Way(steps=5, space="samples"),
        "sgd": Way(steps=1, rule=solvers.make("sgd:lr=0.01")),
    }.items():
        with moves.move(data(16), stream(1), way, length=torch.full((30,), 0.3)) as one:
            assert torch.equal(moves.score(one.held_x), game.critic(one.held_x))
            sizes[name] = float(lengths(one.held_u).mean())
    assert sizes["five"] > 2 * sizes["one"]
    assert sizes["same"] != sizes["five"]
    assert sizes["free"] == pytest.approx(0.3, rel=1e-4)
    assert sizes["sgd"] < sizes["one"]


def test_free_updates_need_lengths_and_frozen_ones_an_optimizer():
    moves = Moves(gan(), solvers.make("extragradient:lr=0.01"), held_out=latents(4))
    with (
        pytest.raises(UserError, match="need an optimizer"),
        moves.move(data(8), stream(), Way(steps=1)),
    ):
        pass
    moves = Moves(gan(), solvers.make("adam:lr=0.01"), held_out=latents(4))
    with (
        pytest.raises(UserError, match="need their lengths"),
        moves.move(data(8), stream(), Way(steps=1, space="samples")),
    ):
        pass


def test_the_generator_is_the_player_that_the_model_is_of():
    assert generator_of(gan()) == "generator"
    assert generator_of(own_game()) == "generator"


# ----------------------------------------------------------------------------
# Fresh critics.
# ----------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", ["none", "r1r2"])
def test_critics_trained_at_once_are_those_trained_one_by_one(penalty):
    nets = [critic_net(k) for k in range(3)]
    real, fakes = data(30), torch.randn(50, 2, generator=stream(4))
    rules = AdversarialObjective(loss="ns", penalty=penalty, gamma=0.5)
    found = train_critics(
        nets, real, fakes, rules=rules, see=see, rng=stream(5), steps=15, batch=7
    )
    rng = stream(5)
    parts = torch.randperm(30, generator=rng).reshape(3, 10)
    twins = [copy.deepcopy(net) for net in nets]
    steps = [torch.optim.Adam(t.parameters(), lr=1e-3, betas=(0.0, 0.99)) for t in twins]
    for _ in range(15):
        chosen = torch.randint(10, (3, 7), generator=rng)
        theirs = torch.randint(50, (21,), generator=rng).reshape(3, 7)
        for k, (twin, step) in enumerate(zip(twins, steps, strict=True)):
            step.zero_grad()
            rules.critic(twin, real[parts[k, chosen[k]]], fakes[theirs[k]], rng=rng).backward()
            step.step()
    x = torch.randn(11, 2, generator=stream(6))
    exact = torch.stack([twin(x).detach() for twin in twins])
    assert torch.allclose(found.score(x), exact, atol=1e-5)
    assert torch.allclose(found.one(1)(x), exact[1], atol=1e-5)


def test_fresh_critics_leave_the_networks_as_they_were():
    nets = [critic_net(k) for k in range(2)]
    before = copy.deepcopy(nets[0].state_dict())
    rules = AdversarialObjective(loss="hinge", penalty="none")
    train_critics(nets, data(8), data(8, 1), rules=rules, see=see, rng=stream(), steps=2)
    assert all(torch.equal(v, before[k]) for k, v in nets[0].state_dict().items())


def test_too_little_data_for_disjoint_parts_is_refused():
    rules = AdversarialObjective()
    with pytest.raises(UserError, match=r"at least 2 real samples each, 6 in all\. Got 5"):
        train_critics(
            [critic_net(k) for k in range(3)], data(5), data(5), rules=rules, see=see, rng=stream()
        )


# ----------------------------------------------------------------------------
# Shares.
# ----------------------------------------------------------------------------


class Ramp(nn.Module):
    """A linear critic."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w


def test_transfer_of_linear_critics_is_known():
    """The critic likes the direction of the data and, as much, one that means nothing."""
    rules = AdversarialObjective(loss="wgan", penalty="none")
    truth, trick = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    game = GanGame(gan().model, Ramp(truth + trick), rules)
    sd = game.model.scaling.scale
    fresh = FreshCritics([Ramp(truth), Ramp(truth)], lambda x, _: game.model.scaling(x))
    moves = Moves(game, solvers.make("sgd:lr=0.0+0.01"), held_out=latents(50))
    real = data(300, 5)

    def batches():
        while True:
            yield data(16)

    found = accident(moves, batches(), fresh, Reality(real=real), updates=12, rng=stream(3))
    x = game.model.decode(latents(50)).detach()
    gap_truth = ((real.mean(0) - x.mean(0)) / sd) @ truth
    gap_both = ((real.mean(0) - x.mean(0)) / sd) @ (truth + trick)
    # The strongest attack goes along the critic's slope in raw samples, (1/sd) * w.
    slope = (truth + trick) / sd
    step = slope / slope.norm()
    exact = float((step / sd) @ truth / gap_truth) / float(
        (step / sd) @ (truth + trick) / gap_both
    )
    assert found.transfer("attack").value == pytest.approx(exact, rel=1e-3)
    assert found.cosine.shape == (12,)
    assert found.fresh["update"].shape == (2, 12)


def test_interval_of_transfer_covers():
    """Critics and updates with effects of their own; the true transfer is .4."""
    rng, held = stream(0), 0
    for _ in range(200):
        by_critic = 0.2 * torch.randn(8, 1, generator=rng, dtype=torch.float64)
        by_update = 0.3 * torch.randn(50, generator=rng, dtype=torch.float64)
        noise = 0.3 * torch.randn(8, 50, generator=rng, dtype=torch.float64)
        own = 1 + by_update
        e = transfer(own, 0.4 * own + by_critic + noise)
        held += (e.low or 0.0) <= 0.4 <= (e.high or 0.0)
    assert 180 <= held <= 199


def test_contrast_is_the_difference_and_pairs_updates():
    own = {"a": torch.ones(20).double(), "b": torch.full((20,), 2.0).double()}
    shared = torch.randn(8, 20, generator=stream(1)).double()
    fresh = {"a": 0.5 + shared, "b": 2 * (0.2 + shared)}
    e = contrast(own, fresh, "a", "b")
    assert e.value == pytest.approx(0.3)
    assert (e.high or 0) - (e.low or 0) < 1e-6


def test_no_share_where_the_critic_gains_nothing():
    own = torch.randn(50, generator=stream(2)).double()
    e = transfer(own - own.mean() + 1e-3, torch.zeros(8, 50).double())
    assert e.value is None
    assert "not significantly different from zero" in e.method
    assert transfer(torch.full((9,), math.inf), torch.zeros(8, 9)).value is None
    assert ratio(own - own.mean(), own - own.mean(), of="updates").value is None


def test_worth_is_the_change_of_the_density_where_it_is_known():
    real = data(100)
    worth = Reality(real=real, log_density=lambda x: -0.5 * x.square().sum(1))
    assert worth.worth(torch.ones(3, 2), torch.zeros(3, 2)) == pytest.approx(1.0)
    towards = Reality(real=real)
    assert towards.worth(data(100, 1) + 3, data(100, 1)) > 0


def test_a_trained_gan_calibrates_between_attack_and_oracle():
    game = gan(loss="ns", penalty="none", width=32)
    solver = solvers.make("adam:lr=0.003,beta1=0.0,beta2=0.99")
    play, noise = solver.start(game), stream(8)
    for i in range(60):
        play.step(data(64, seed=i), rng=noise)
    fresh = train_critics(
        [gan(k, loss="ns", width=32).players["critic"] for k in range(100, 108)],
        data(800, 3),
        game.model.sample(500, rng=stream(4)),
        rules=AdversarialObjective(loss="ns", penalty="r1r2", gamma=0.3),
        see=lambda x, _: game.model.scaling(x),
        rng=stream(5),
        steps=100,
    )
    moves = Moves(game, solver, memory=play.state_dict(), held_out=latents(64))

    def batches():
        i = 1000
        while True:
            yield data(64, seed=(i := i + 1))

    found = accident(
        moves, batches(), fresh, Reality(real=data(300, 6)), updates=10, rng=stream(7)
    )
    assert set(found.own) == set(DIRECTIONS)
    oracle = found.share("oracle")
    assert oracle.value is not None
    assert oracle.value < 0.5
    assert (found.efficiency().high or 9) <= 1.1
    assert found.worth["oracle"].mean() > 0
